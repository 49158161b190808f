//! Keys: pages say what they do with one, the last page first. Never while an input method composes (Chinese input!) or
//! a text is typed; single letters can be turned off (WCAG 2.1.4).

use std::{cell::RefCell, rc::Rc, time::Duration};

use leptos::{html, prelude::*};
use wasm_bindgen::JsCast;

use super::{focus, go};
use crate::{app::app, settings};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Up,
    Down,
    Enter,
    Escape,
    Letter(char),
}

type Heard = Rc<dyn Fn(Key) -> bool>;

thread_local! {
    static HEARERS: RefCell<Vec<(u32, Heard)>> = const { RefCell::new(Vec::new()) };
    static LEAD: RefCell<bool> = const { RefCell::new(false) };
}

/// Hears keys while the component lives; true means that it was done.
pub fn on(hear: impl Fn(Key) -> bool + 'static) {
    let id = HEARERS.with_borrow_mut(|all| {
        let id = all.last().map_or(0, |(id, _)| id + 1);
        all.push((id, Rc::new(hear)));
        id
    });
    on_cleanup(move || HEARERS.with_borrow_mut(|all| all.retain(|(own, _)| *own != id)));
}

/// Listens for the whole page.
pub fn listen() {
    let listener = window_event_listener(leptos::ev::keydown, move |event| {
        // 229: an input method has the key
        if event.is_composing() || event.key_code() == 229 {
            return;
        }
        let key = event.key();
        if (event.ctrl_key() || event.meta_key()) && key == "k" {
            event.prevent_default();
            // what is asked is answered first
            if !asked() {
                app().palette.set(true);
            }
            return;
        }
        if key == "Escape" && focus::leave_menu() {
            event.prevent_default();
            return;
        }
        let busy = typing() || asked() || app().palette.get_untracked();
        if event.ctrl_key() || event.meta_key() || event.alt_key() || busy {
            return;
        }
        if let Some(key) = read(&key)
            && (with_lead(key) || tell(key))
        {
            event.prevent_default();
        }
    });
    on_cleanup(move || listener.remove());
}

/// A question or the list of keys is open, above everything: keys are its own.
fn asked() -> bool {
    app().dialog.with_untracked(Option::is_some) || app().help.get_untracked()
}

fn read(key: &str) -> Option<Key> {
    let letters = settings::get("letters").as_deref() != Some("off");
    let mut all = key.chars();
    match (key, all.next(), all.next()) {
        ("ArrowUp", ..) => Some(Key::Up),
        ("ArrowDown", ..) => Some(Key::Down),
        // Enter is a button's own
        ("Enter", ..) => (!on_control()).then_some(Key::Enter),
        ("Escape", ..) => Some(Key::Escape),
        (_, Some(_), None) if !letters => None,
        (_, Some('j'), None) => Some(Key::Down),
        (_, Some('k'), None) => Some(Key::Up),
        (_, Some(letter), None) => Some(Key::Letter(letter)),
        _ => None,
    }
}

/// `g p` goes to pods, and so on.
fn with_lead(key: Key) -> bool {
    let lead = LEAD.with_borrow_mut(std::mem::take);
    match (lead, key) {
        (false, Key::Letter('g')) => {
            LEAD.set(true);
            set_timeout(|| LEAD.set(false), Duration::from_millis(1200));
            true
        }
        (true, Key::Letter(letter)) => {
            let found = LEADS.iter().find(|(own, _)| *own == letter);
            if let Some((_, path)) = found {
                go::to(path);
            }
            found.is_some()
        }
        _ => false,
    }
}

const LEADS: [(char, &str); 8] = [
    ('o', ""),
    ('p', "pods"),
    ('d', "deployments.apps"),
    ('s', "services"),
    ('n', "nodes"),
    ('e', "events"),
    ('c', "configmaps"),
    ('a', "addons"),
];

fn tell(key: Key) -> bool {
    match key {
        Key::Letter(':') => app().palette.set(true),
        Key::Letter('?') => app().help.set(true),
        Key::Letter('`') => return app().dock.toggle(),
        _ => {
            let all = HEARERS.with_borrow(Clone::clone);
            return all.iter().rev().any(|(_, hear)| hear(key));
        }
    }
    true
}

fn active() -> Option<web_sys::Element> {
    document().active_element()
}

fn typing() -> bool {
    active().is_some_and(|element| {
        let kind = element.get_attribute("type").unwrap_or_default();
        let text = element.tag_name() == "INPUT" && !matches!(kind.as_str(), "checkbox" | "radio" | "button");
        let area = matches!(element.tag_name().as_str(), "TEXTAREA" | "SELECT");
        let editable =
            element.dyn_ref::<web_sys::HtmlElement>().is_some_and(web_sys::HtmlElement::is_content_editable);
        text || area || editable
    })
}

fn on_control() -> bool {
    active()
        .is_some_and(|element| matches!(element.tag_name().as_str(), "BUTTON" | "A" | "SUMMARY" | "INPUT"))
}

/// The list of keys.
#[component]
pub fn Help() -> impl IntoView {
    let help = app().help;
    move || help.get().then(|| view! { <HelpDialog /> })
}

#[component]
fn HelpDialog() -> impl IntoView {
    let node = NodeRef::<html::Dialog>::new();
    let letters = RwSignal::new(settings::get("letters").as_deref() != Some("off"));
    Effect::new(move |_| {
        if let Some(node) = node.get() {
            let _ = node.show_modal();
        }
    });
    let filter = format!("{}: {}", tr!(keys.filter), tr!(list.filter_help));
    let rows = [
        ("Ctrl K  :", tr!(keys.palette)),
        ("/", &filter),
        ("j k  ↓ ↑", tr!(keys.walk)),
        ("Enter", tr!(keys.open)),
        ("x", tr!(keys.choose)),
        ("l  y  e  s", tr!(keys.tabs)),
        ("L  S  `", tr!(keys.dock)),
        ("Enter  ↓ ↑", tr!(keys.line)),
        ("Esc", tr!(keys.close)),
        ("g o  g p  g d  g s  g n  g e", tr!(keys.go)),
        ("?", tr!(keys.help)),
    ];
    let toggle = move |_| {
        letters.update(|on| *on = !*on);
        settings::set("letters", if letters.get_untracked() { "on" } else { "off" });
    };
    view! {
        <dialog node_ref=node on:close=|_| app().help.set(false) aria-labelledby="keys">
            <form method="dialog">
                <h2 id="keys">{tr!(keys.title)}</h2>
                <dl class="keys">
                    {rows.into_iter().map(|(key, what)| view! { <dt><kbd>{key}</kbd></dt><dd>{what.to_owned()}</dd> }).collect_view()}
                </dl>
                <label class="check"><input type="checkbox" prop:checked=letters on:change=toggle />{tr!(keys.letters)}</label>
                <div class="buttons"><button class="primary">{tr!(action.close)}</button></div>
            </form>
        </dialog>
    }
}
