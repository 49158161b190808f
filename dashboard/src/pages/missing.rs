//! A page that is not there: an old link, or a kind the cluster does not serve.

use leptos::prelude::*;

use crate::ui::icon::{Icon, Shape};

#[component]
pub fn Missing() -> impl IntoView {
    view! {
        <div class="told">
            <Icon shape=Shape::Search />
            <h1>{tr!(missing.title)}</h1>
            <p>{tr!(missing.next)}</p>
            <a class="button" href=".">{tr!(nav.overview)}</a>
        </div>
    }
}
