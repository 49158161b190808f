//! The page's terminal on its way into the dock: what it stands in, its connection and what was chosen go there together, so
//! that the shell is the same one.

use std::cell::RefCell;

use js_sys::Function;
use leptos::prelude::*;

use super::{Way, end};
use crate::ui::dock;

/// Why a terminal has ended, once it has; outlives the view that it was opened in.
pub type Ended = ArcRwSignal<Option<String>>;

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Chosen {
    pub way: RwSignal<Way>,
    /// Empty for the first.
    pub container: RwSignal<String>,
    pub shell: RwSignal<String>,
}

/// A terminal that is taken from its view.
pub struct Running {
    address: String,
    pub element: web_sys::Element,
    pub close: Function,
    pub ended: Ended,
    chosen: (Way, String, String),
}

/// A terminal in its view, which ends it when it goes.
struct Shown {
    address: String,
    element: web_sys::Element,
    close: StoredValue<Option<Function>, LocalStorage>,
    ended: Ended,
}

thread_local! {
    static CHOSEN: RefCell<Option<Chosen>> = const { RefCell::new(None) };
    static SHOWN: RefCell<Option<Shown>> = const { RefCell::new(None) };
    static MOVING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// What a new terminal page begins with: in the dock what was chosen for the one that moves there.
pub fn chosen() -> Chosen {
    let began = MOVING
        .with_borrow(|moving| moving.as_ref().filter(|_| dock::in_dock()).map(|one| one.chosen.clone()));
    let (way, container, shell) = began.unwrap_or((Way::Shell, String::new(), "/bin/sh".to_owned()));
    let chosen =
        Chosen { way: RwSignal::new(way), container: RwSignal::new(container), shell: RwSignal::new(shell) };
    if !dock::in_dock() {
        CHOSEN.set(Some(chosen));
    }
    chosen
}

/// The page's terminal is open.
pub fn began(
    address: String,
    element: web_sys::Element,
    close: StoredValue<Option<Function>, LocalStorage>,
    ended: Ended,
) {
    SHOWN.set(Some(Shown { address, element, close, ended }));
}

/// Whether the page has a terminal that goes on: to leave the page is to end it.
pub fn goes_on() -> bool {
    SHOWN.with_borrow(|shown| {
        shown.as_ref().is_some_and(|shown| {
            let open = shown.close.try_with_value(Option::is_some).unwrap_or_default();
            open && shown.ended.with_untracked(Option::is_none)
        })
    })
}

/// The page's terminal may end.
pub fn let_go() {
    SHOWN.take();
}

/// Takes the page's terminal, if there is one, from the page: the next that is opened in the dock is it.
pub fn keep() {
    let Some(shown) = SHOWN.take() else { return };
    // what is gone, or has ended, is opened anew
    let Some(close) = shown.close.try_update_value(Option::take).flatten() else { return };
    if shown.ended.with_untracked(Option::is_some) {
        return end(Some(close));
    }
    let chosen = CHOSEN.with_borrow(|chosen| {
        let Chosen { way, container, shell } = (*chosen)?;
        Some((way.try_get_untracked()?, container.try_get_untracked()?, shell.try_get_untracked()?))
    });
    let Some(chosen) = chosen else { return end(Some(close)) };
    let Shown { address, element, ended, .. } = shown;
    let before = MOVING.replace(Some(Running { address, element, close, ended, chosen }));
    end(before.map(|running| running.close));
}

/// The terminal that moves to where `address` is opened.
pub fn moved(address: &str) -> Option<Running> {
    let running = MOVING.take()?;
    if running.address == address {
        return Some(running);
    }
    end(Some(running.close));
    None
}
