//! What stands where rows would, while nothing is known of them or they may not be seen: nothing there is not "none".

use leptos::prelude::*;

use crate::{
    net::feed::State,
    ui::icon::{Icon, Shape},
};

/// Why there is nothing to be shown of a kind; empty if there is. `wide`: all namespaces were asked for.
pub fn why(state: &State, kind: &str, wide: bool) -> String {
    match state {
        State::Live => String::new(),
        State::Loading => tr!(list.loading).to_owned(),
        State::Refused { code, message, .. } => refused(*code, message, kind, wide),
    }
}

/// What a refusal says: what may not be listed, and what to do next.
pub fn refused(code: u16, message: &str, kind: &str, wide: bool) -> String {
    match (code, wide) {
        (403, true) => tr!(barred.wide, kind = kind),
        (403, false) => tr!(barred.kind, kind = kind),
        _ => message.to_owned(),
    }
}

/// One of these, each as a line.
pub fn told(text: String) -> AnyView {
    if text.is_empty() {
        return ().into_any();
    }
    let lines: Vec<AnyView> = text.lines().map(line).collect();
    lines.into_any()
}

fn line(text: &str) -> AnyView {
    view! { <p class="barred soft" role="status"><Icon shape=Shape::Access /><span>{text.to_owned()}</span></p> }
        .into_any()
}
