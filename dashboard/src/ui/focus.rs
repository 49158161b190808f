//! Where the keyboard is: nobody who uses it alone is left nowhere when what had the focus goes.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

/// Focuses the first that a selector finds, once what happens now is drawn.
pub fn to(selector: &'static str) {
    request_animation_frame(move || {
        let found = document().query_selector(selector).ok().flatten();
        if let Some(found) = found.and_then(|found| found.dyn_into::<HtmlElement>().ok()) {
            let _ = found.focus();
        }
    });
}

/// The same, unless something has the focus by then.
pub fn rest(selector: &'static str) {
    request_animation_frame(move || {
        if document().active_element().is_none_or(|element| element.tag_name() == "BODY") {
            to(selector);
        }
    });
}

/// Closes the menu that has the focus, and gives that back to what opened it.
pub fn leave_menu() -> bool {
    let menu =
        document().active_element().and_then(|active| active.closest("details.menu[open]").ok().flatten());
    let Some(menu) = menu else { return false };
    let _ = menu.remove_attribute("open");
    let summary = menu.query_selector("summary").ok().flatten();
    if let Some(summary) = summary.and_then(|summary| summary.dyn_into::<HtmlElement>().ok()) {
        let _ = summary.focus();
    }
    true
}
