//! What the browser remembers: theme, language, columns. Never anything secret.

use web_sys::Storage;

use crate::text::Locale;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Theme {
    System,
    Light,
    Dark,
}

impl Theme {
    pub const ALL: [Theme; 3] = [Theme::System, Theme::Light, Theme::Dark];

    pub fn word(self) -> &'static str {
        match self {
            Theme::System => "system",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Theme::System => tr!(theme.system),
            Theme::Light => tr!(theme.light),
            Theme::Dark => tr!(theme.dark),
        }
    }
}

fn storage() -> Option<Storage> {
    web_sys::window()?.local_storage().ok()?
}

pub fn get(name: &str) -> Option<String> {
    storage()?.get_item(&format!("sampan.{name}")).ok()?
}

/// A browser that refuses to remember is none the worse.
pub fn set(name: &str, value: &str) {
    if let Some(storage) = storage() {
        let _ = storage.set_item(&format!("sampan.{name}"), value);
    }
}

pub fn theme() -> Theme {
    let kept = get("theme").unwrap_or_default();
    Theme::ALL.into_iter().find(|theme| theme.word() == kept).unwrap_or(Theme::System)
}

pub fn set_theme(theme: Theme) {
    set("theme", theme.word());
    apply_theme(theme);
}

/// The language that the page was begun in: the one chosen, else the browser's.
pub fn language() -> Locale {
    let tag = root().and_then(|root| root.get_attribute("lang"));
    Locale::ALL.into_iter().find(|locale| tag.as_deref() == Some(locale.tag())).unwrap_or(Locale::English)
}

pub fn set_language(locale: Locale) {
    set("language", locale.tag());
    if let Some(root) = root() {
        let _ = root.set_attribute("lang", locale.tag());
    }
}

fn root() -> Option<web_sys::Element> {
    web_sys::window()?.document()?.document_element()
}

fn apply_theme(theme: Theme) {
    let Some(root) = root() else { return };
    let _ = match theme {
        Theme::System => root.remove_attribute("data-theme"),
        Theme::Light | Theme::Dark => root.set_attribute("data-theme", theme.word()),
    };
}
