//! The page of one object, and the drawer over a list, which is the same.

pub mod bulk;

use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use crate::kinds::Resource;

#[component]
pub fn DetailPage() -> impl IntoView {
    let _ = use_params_map();
}

#[component]
pub fn Detail(resource: Resource, namespace: String, name: String, #[prop(optional)] drawer: Option<Callback<()>>) -> impl IntoView {
    let _ = (resource, namespace, name, drawer);
}
