//! To come.
use leptos::prelude::*;

#[component]
pub fn Topology() -> impl IntoView {}
