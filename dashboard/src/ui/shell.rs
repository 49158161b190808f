//! What stands around every page: navigation, top bar, the page itself.

use leptos::prelude::*;

use super::{nav::Nav, topbar::TopBar};

#[component]
pub fn Shell(children: Children) -> impl IntoView {
    view! {
        <a class="skip" href="#page">{tr!(nav.skip)}</a>
        <div class="shell">
            <Nav />
            <div class="side">
                <TopBar />
                <main id="page" tabindex="-1">{children()}</main>
            </div>
        </div>
    }
}
