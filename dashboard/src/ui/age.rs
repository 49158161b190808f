//! Ages that tick, and times as the user's language writes them.

use std::cell::RefCell;

use js_sys::{Date, Function, Intl::DateTimeFormat, Object, Reflect};
use leptos::prelude::*;
use wasm_bindgen::JsValue;

use crate::{
    app::app,
    text::{self, Locale},
};

/// The age of something made then (seconds since 1970); its tooltip is the time itself.
#[component]
pub fn Age(at: i64) -> impl IntoView {
    let now = app().now;
    let age = move || sampan_view::age::text(now.get() - at);
    view! { <time title=move || absolute(at)>{age}</time> }
}

/// A time of the API, as an age.
#[component]
pub fn Since(#[prop(into)] time: String) -> impl IntoView {
    let at = Date::parse(&time);
    (!at.is_nan()).then(|| view! { <Age at=(at / 1000.0) as i64 /> })
}

thread_local! {
    /// Making one takes longer than all that is done with it.
    static FORMAT: RefCell<Option<(Locale, Function)>> = const { RefCell::new(None) };
}

/// As the language writes date and time.
pub fn absolute(at: i64) -> String {
    let date = Date::new(&JsValue::from_f64(at as f64 * 1000.0));
    FORMAT.with_borrow_mut(|kept| {
        let language = text::language();
        let format = match kept {
            Some((own, format)) if *own == language => format,
            _ => &mut kept.insert((language, format())).1,
        };
        format.call1(&JsValue::NULL, &date).ok().and_then(|text| text.as_string()).unwrap_or_default()
    })
}

fn format() -> Function {
    let options = Object::new();
    let _ = Reflect::set(&options, &"dateStyle".into(), &"medium".into());
    let _ = Reflect::set(&options, &"timeStyle".into(), &"medium".into());
    let locales = js_sys::Array::of1(&JsValue::from_str(text::language().tag()));
    DateTimeFormat::new(&locales, &options).format()
}
