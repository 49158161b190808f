//! What stands where rows would, while nothing is known of them or they may not be seen: nothing there is not "none".

use leptos::prelude::*;

use crate::{
    net::feed::State,
    ui::icon::{Icon, Shape},
};

/// Why there is nothing to be shown of a kind; none if there is. `wide`: all namespaces were asked for.
pub fn barred(state: &State, kind: &str, wide: bool) -> Option<AnyView> {
    match state {
        State::Live => None,
        State::Loading => Some(view! { <p class="soft" role="status">{tr!(list.loading)}</p> }.into_any()),
        State::Refused { code, message, .. } => Some(refused(*code, message, kind, wide)),
    }
}

/// What a refusal says: what may not be listed, and what to do next.
pub fn refused(code: u16, message: &str, kind: &str, wide: bool) -> AnyView {
    let text = match (code, wide) {
        (403, true) => tr!(barred.wide, kind = kind),
        (403, false) => tr!(barred.kind, kind = kind),
        _ => message.to_owned(),
    };
    view! { <p class="barred soft" title=message.to_owned()><Icon shape=Shape::Access /><span>{text}</span></p> }.into_any()
}
