//! To come.
use leptos::prelude::*;

#[component]
pub fn Access() -> impl IntoView {}
