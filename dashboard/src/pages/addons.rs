//! To come.
use leptos::prelude::*;

#[component]
pub fn Addons() -> impl IntoView {}
