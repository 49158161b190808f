//! To come.
use leptos::prelude::*;

#[component]
pub fn Create() -> impl IntoView {}
