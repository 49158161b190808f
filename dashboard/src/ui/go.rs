//! Going from page to page: the URL is the page's state, so going is all there is to changing it. A router would be a tenth
//! of the download; what there is to route is one path ([`crate::pages`]).

use leptos::prelude::*;
use sampan_view::place::{self, ListState};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Element, Event, HtmlElement, MouseEvent, Url};

use super::{focus, leave};
use crate::app::{app, base};

/// Where the page is, below `<base>`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Address {
    /// Without the slash it begins with.
    path: String,
    /// Without the question mark.
    query: String,
}

impl Address {
    /// As the browser has it.
    pub fn now() -> Self {
        let location = window().location();
        let (path, query) = (location.pathname().unwrap_or_default(), location.search().unwrap_or_default());
        let path = path.strip_prefix(&base()).unwrap_or(&path).trim_start_matches('/').to_owned();
        Self { path, query: query.trim_start_matches('?').to_owned() }
    }
}

/// Listens for the whole page: steps back and forth, and links of the page itself.
pub fn listen() {
    let step = window_event_listener_untyped("popstate", |_| app().address.set(Address::now()));
    let click = window_event_listener_untyped("click", |event| {
        let _ = follow(&event);
    });
    on_cleanup(move || {
        step.remove();
        click.remove();
    });
}

/// The link that was clicked, if it is one; in a drawing as well.
pub fn link(event: &Event) -> Option<Element> {
    event.target()?.dyn_into::<Element>().ok()?.closest("a[href]").ok()?
}

/// Whether a click asks for the place itself: not for a tab, a window or a file of its own.
pub fn is_plain(event: &Event) -> bool {
    event.dyn_ref::<MouseEvent>().is_some_and(|event| {
        let held = event.ctrl_key() || event.meta_key() || event.shift_key() || event.alt_key();
        event.button() == 0 && !held
    })
}

/// Follows a link within the page; any other is the browser's.
fn follow(event: &Event) -> Option<()> {
    let link = link(event)?;
    let whole = document().base_uri().ok()??;
    let href = Url::new_with_base(&link.get_attribute("href")?, &whole).ok()?.href();
    let place = href.strip_prefix(&whole)?;
    if event.default_prevented()
        || !is_plain(event)
        || link.has_attribute("target")
        || link.has_attribute("download")
    {
        return None;
    }
    event.prevent_default();
    match place.strip_prefix('#') {
        Some(id) => document().get_element_by_id(id)?.dyn_into::<HtmlElement>().ok()?.focus().ok()?,
        None => navigate(place, true),
    }
    Some(())
}

/// `push` makes a step to go back to, unless it is where the page is.
fn navigate(place: &str, push: bool) {
    let Ok(history) = window().history() else { return };
    let url = format!("{}/{place}", base());
    let whole = Url::new_with_base(&url, &document().base_uri().ok().flatten().unwrap_or_default());
    let here = window().location().href();
    let push = push && here.ok() != whole.ok().map(|whole| whole.href());
    let state = JsValue::NULL;
    let _ = match push {
        true => history.push_state_with_url(&state, "", Some(&url)),
        false => history.replace_state_with_url(&state, "", Some(&url)),
    };
    app().address.set(Address::now());
}

/// What the page's query says, as it changes.
pub fn query() -> Memo<String> {
    Memo::new(move |_| app().address.read().query.clone())
}

/// The path behind `<base>`.
pub fn path() -> Memo<String> {
    Memo::new(move |_| app().address.read().path.clone())
}

/// One word of the query.
pub fn word(name: &'static str) -> Memo<String> {
    let query = query();
    Memo::new(move |_| find(&query.read(), name))
}

pub fn find(query: &str, name: &str) -> String {
    place::pairs(query).into_iter().find(|(own, _)| own == name).map(|(_, value)| value).unwrap_or_default()
}

/// The namespaces chosen in the top bar.
pub fn namespaces() -> Memo<Vec<String>> {
    let query = query();
    Memo::new(move |_| ListState::parse(&query.read()).namespaces)
}

/// `path` with the namespaces chosen, below `<base>`.
pub fn within(path: &str, namespaces: &[String]) -> String {
    let state = ListState { namespaces: namespaces.to_vec(), ..ListState::default() };
    let query = state.query();
    let path = if path.is_empty() { "." } else { path };
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Goes to a path below `<base>`, unless what is written there is not to be lost.
pub fn to(path: &str) {
    if leave::may() {
        navigate(path.trim_start_matches(['.', '/']), true);
        focus::rest("#page");
    }
}

/// Sets words of the query of the page that is shown; an empty value takes a word away. `push` makes a step to go back to.
pub fn set(words: &[(&str, &str)], push: bool) {
    // these take away what is open; another tab leaves a terminal where it is
    let leaving = |name: &str| words.iter().any(|(own, _)| *own == name);
    let may = match () {
        () if leaving("open") => leave::may(),
        () if leaving("tab") || leaving("by") => leave::may_lose_text(),
        () => true,
    };
    if !may {
        return;
    }
    let Address { path, query } = app().address.get_untracked();
    let mut pairs = place::pairs(&query);
    for (name, value) in words {
        pairs.retain(|(own, _)| own != name);
        if !value.is_empty() {
            pairs.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    let query: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}={}", place::encode(value))).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    navigate(&format!("{path}{mark}{}", query.join("&")), push);
}
