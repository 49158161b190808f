//! Messages in the user's language. Keys are checked when the dashboard is compiled (`build.rs`); the texts are fetched,
//! those of one language at a time. A change of language draws the page anew (see [`crate::app`]), so a message is a plain
//! text where it is used, and no closure for each.

use std::{cell::Cell, fmt::Display};

use js_sys::{Array, Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

pub mod messages {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locale {
    English,
    Chinese,
}

impl Locale {
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// As `lang` and `Intl` want it.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
        }
    }

    /// The language's name in itself.
    pub fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Chinese => "简体中文",
        }
    }
}

type Texts = &'static [&'static str];

thread_local! {
    static LANGUAGE: Cell<Locale> = const { Cell::new(Locale::English) };
    /// What was fetched; kept for ever, as whatever is drawn may hold a text of it.
    static FETCHED: Cell<[Texts; Locale::ALL.len()]> = const { Cell::new([&[]; Locale::ALL.len()]) };
}

/// The language of what is drawn now.
pub fn language() -> Locale {
    LANGUAGE.get()
}

/// The first language, whose texts came with the page.
pub fn begin(locale: Locale) {
    LANGUAGE.set(locale);
    keep(locale, &Reflect::get(&js_sys::global(), &"sampanTexts".into()).unwrap_or_default());
}

/// Goes over to a language, once its texts are here.
pub async fn speak(locale: Locale) -> Result<(), JsValue> {
    if FETCHED.get()[locale as usize].is_empty() {
        let fetch: Function = Reflect::get(&js_sys::global(), &"sampanSpeak".into())?.dyn_into()?;
        let texts = fetch.call1(&JsValue::UNDEFINED, &locale.tag().into())?.dyn_into::<Promise>()?;
        keep(locale, &JsFuture::from(texts).await?);
    }
    LANGUAGE.set(locale);
    Ok(())
}

fn keep(locale: Locale, texts: &JsValue) {
    let Some(texts) = texts.dyn_ref::<Array>().filter(|texts| texts.length() as usize == messages::COUNT)
    else {
        return;
    };
    let texts = texts.iter().map(|text| &*text.as_string().unwrap_or_default().leak());
    let mut fetched = FETCHED.get();
    fetched[locale as usize] = texts.collect::<Vec<_>>().leak();
    FETCHED.set(fetched);
}

/// The message of a number, in the language of now.
pub fn message(number: usize) -> &'static str {
    FETCHED.get()[language() as usize].get(number).copied().unwrap_or_default()
}

/// The same, with its gaps filled.
pub fn fill(number: usize, gaps: &[(&str, &dyn Display)]) -> String {
    let mut pieces = message(number).split("{{");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, after) = piece.split_once("}}").unwrap_or(("", piece));
        if let Some((_, value)) = gaps.iter().find(|(own, _)| *own == name.trim()) {
            filled.push_str(&value.to_string());
        }
        filled.push_str(after);
    }
    filled
}

/// A message: `tr!(nav.pods)`, `tr!(list.shown, shown = 3, total = 9)`.
macro_rules! tr {
    ($group:ident . $key:ident $(,)?) => { $crate::text::messages::$group::$key() };
    ($group:ident . $key:ident $(, $name:ident = $value:expr)+ $(,)?) => {
        $crate::text::messages::$group::$key { $($name: &$value),+ }.text()
    };
}

/// The word for how an object is.
pub fn health(health: sampan_view::Health) -> &'static str {
    use sampan_view::Health;
    match health {
        Health::Failed => tr!(health.failed),
        Health::Warning => tr!(health.warning),
        Health::Progressing => tr!(health.progressing),
        Health::Healthy => tr!(health.healthy),
        Health::Done => tr!(health.done),
        Health::None => tr!(health.none),
    }
}
