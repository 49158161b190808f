//! Messages in the user's language. Keys are checked when the dashboard is compiled. A change of language draws the
//! page anew (see [`crate::app`]), so a message is a plain text where it is used, and no closure for each.

use std::cell::Cell;

pub use crate::i18n::Locale;

thread_local! {
    static LANGUAGE: Cell<Locale> = const { Cell::new(Locale::en) };
}

/// The language of what is drawn now.
pub fn language() -> Locale {
    LANGUAGE.get()
}

pub fn set_language(locale: Locale) {
    LANGUAGE.set(locale);
}

/// `en` or `zh-CN`, as `lang` and `Intl` want it.
pub fn tag() -> &'static str {
    match language() {
        Locale::en => "en",
        Locale::zh_CN => "zh-CN",
    }
}

/// A message: `tr!(nav.pods)`, `tr!(list.shown, shown = 3, total = 9)`.
macro_rules! tr {
    ($($key:ident).+ $(, $name:ident = $value:expr)* $(,)?) => {
        leptos_i18n::td_string!(crate::text::language(), $($key).+ $(, $name = $value)*)
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
