//! The dashboard's entry.
use leptos::prelude::*;

include!(concat!(env!("OUT_DIR"), "/i18n/mod.rs"));

fn main() {
    leptos::mount::mount_to_body(|| view! { <main><h1>{leptos_i18n::td_string!(i18n::Locale::en, title)}</h1></main> });
}
