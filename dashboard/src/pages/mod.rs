//! The pages. One list and one detail page serve every kind.

pub mod access;
pub mod addons;
pub mod barred;
pub mod buffer;
pub mod create;
pub mod detail;
pub mod form;
pub mod list;
pub mod logs;
pub mod missing;
pub mod order;
pub mod overview;
pub mod sign_in;
pub mod terminal;
pub mod topology;

use leptos::prelude::*;
use sampan_view::place::decode;

use crate::ui::go;

/// Which page the address names.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Overview,
    Addons,
    Access,
    Topology,
    Create,
    /// Of the kind with that path.
    List(String),
    /// Kind, namespace, name.
    Detail(String, String, String),
    Missing,
}

fn place(path: &str) -> Place {
    let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
    match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Place::Overview,
        ["addons"] => Place::Addons,
        ["access"] => Place::Access,
        ["topology"] => Place::Topology,
        ["create"] => Place::Create,
        [kind] => Place::List((*kind).to_owned()),
        [kind, namespace, name] => {
            Place::Detail((*kind).to_owned(), (*namespace).to_owned(), (*name).to_owned())
        }
        _ => Place::Missing,
    }
}

#[component]
pub fn Page() -> impl IntoView {
    let path = go::path();
    let place = Memo::new(move |_| place(&path.read()));
    move || match place.get() {
        Place::Overview => view! { <overview::Overview /> }.into_any(),
        Place::Addons => view! { <addons::Addons /> }.into_any(),
        Place::Access => view! { <access::Access /> }.into_any(),
        Place::Topology => view! { <topology::Topology /> }.into_any(),
        Place::Create => view! { <create::Create /> }.into_any(),
        Place::List(kind) => view! { <list::ListPage kind /> }.into_any(),
        Place::Detail(kind, namespace, name) => {
            view! { <detail::DetailPage kind namespace name /> }.into_any()
        }
        Place::Missing => view! { <missing::Missing /> }.into_any(),
    }
}
