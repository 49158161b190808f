//! The dashboard: a Leptos app in the browser, an ordinary client of the Kubernetes API with the rights of whoever
//! signed in. Rows come over the feed ([`net::feed`]), objects and writes over the API's proxy ([`net::api`]); what can
//! be decided without a browser is in `sampan-dashboard-logic` and `sampan-view`.

#[macro_use]
mod text;
mod app;
mod kinds;
mod net;
mod pages;
mod session;
mod settings;
mod ui;

fn main() {
    console_hook();
    text::begin(settings::language());
    leptos::mount::mount_to_body(app::Dashboard);
}

/// A panic is a bug: its words go to the console, where a report can be copied from.
fn console_hook() {
    std::panic::set_hook(Box::new(|panic| {
        web_sys::console::error_1(&panic.to_string().into());
    }));
}
