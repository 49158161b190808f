//! Going from page to page: the URL is the page's state, so going is all there is to changing it.

use leptos::prelude::*;
use leptos_router::{
    NavigateOptions,
    hooks::{use_location, use_navigate},
};
use sampan_view::place::{self, ListState};

use super::{focus, leave};

/// Words of the query with which what is open changes.
const LEAVING: [&str; 3] = ["open", "tab", "by"];

/// What the page's query says, as it changes.
pub fn query() -> Memo<String> {
    let search = use_location().search;
    Memo::new(move |_| search.get())
}

/// The path behind `<base>`.
pub fn path() -> Memo<String> {
    let path = use_location().pathname;
    let base = crate::app::base();
    Memo::new(move |_| {
        let path = path.read();
        path.strip_prefix(base.as_str()).unwrap_or(&path).trim_start_matches('/').to_owned()
    })
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

/// Goes to a path below `<base>`.
pub fn goer() -> impl Fn(&str) + Clone + Send + Sync + 'static {
    let navigate = use_navigate();
    move |path: &str| {
        if !leave::may() {
            return;
        }
        navigate(&format!("/{}", path.trim_start_matches(['.', '/'])), NavigateOptions::default());
        focus::rest("#page");
    }
}

/// Sets words of the query of the page that is shown; an empty value takes a word away. `push` makes a step to go back to.
pub fn setter() -> impl Fn(&[(&str, &str)], bool) + Clone + Send + Sync + 'static {
    let navigate = use_navigate();
    let location = use_location();
    let (path, search) = (location.pathname, location.search);
    let base = crate::app::base();
    move |words: &[(&str, &str)], push: bool| {
        // these take away what is open
        if words.iter().any(|(name, _)| LEAVING.contains(name)) && !leave::may() {
            return;
        }
        let mut pairs = place::pairs(&search.get_untracked());
        for (name, value) in words {
            pairs.retain(|(own, _)| own != name);
            if !value.is_empty() {
                pairs.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        let query: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={}", place::encode(value))).collect();
        let path = path.get_untracked();
        let path = path.strip_prefix(&base).unwrap_or(&path).to_owned();
        let mark = if query.is_empty() { "" } else { "?" };
        let options = NavigateOptions { replace: !push, scroll: false, ..NavigateOptions::default() };
        navigate(&format!("{path}{mark}{}", query.join("&")), options);
    }
}
