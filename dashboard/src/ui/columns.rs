//! Choosing, ordering and sizing the columns of a list, by pointer and by keyboard.

use leptos::{ev, html, prelude::*};
use sampan_dashboard_logic::columns::{self, Kept, WIDTHS};
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use super::{
    icon::{Icon, Shape},
    table::Shown,
};
use crate::settings;

/// Pixels that an arrow key widens by.
const STEP: u32 = 16;

/// How the columns of a kind are.
#[derive(Clone, Copy)]
pub struct Columns {
    /// What the browser keeps of the kind.
    pub kept: RwSignal<Kept>,
    name: StoredValue<String>,
}

impl Columns {
    /// Of the kind with that path.
    pub fn of(path: &str) -> Self {
        let name = format!("columns.{path}");
        let kept = Kept::parse(&settings::get(&name).unwrap_or_default());
        Self { kept: RwSignal::new(kept), name: StoredValue::new(name) }
    }

    /// Changes it, and keeps it.
    pub fn update(self, change: impl FnOnce(&mut Kept)) {
        self.kept.update(change);
        settings::set(&self.name.read_value(), &self.kept.read_untracked().text());
    }
}

/// The edge of a column's head: dragged, or moved by arrow keys; a double click gives the usual width back.
#[component]
pub fn Edge(columns: Columns, column: Shown) -> impl IntoView {
    let node = NodeRef::<html::Span>::new();
    let key = StoredValue::new(column.key.clone());
    // where the pointer went down, and how wide the column was
    let from = StoredValue::new(None::<(i32, u32)>);
    let now = move || {
        let head = node.get_untracked()?.parent_element()?.dyn_into::<HtmlElement>().ok()?;
        u32::try_from(head.offset_width()).ok()
    };
    let size = move |width: Option<u32>| columns.update(|kept| kept.set_width(&key.read_value(), width));
    let down = move |event: ev::PointerEvent| {
        event.prevent_default();
        if let (Some(node), Some(width)) = (node.get_untracked(), now()) {
            let _ = node.set_pointer_capture(event.pointer_id());
            from.set_value(Some((event.client_x(), width)));
        }
    };
    let drag = move |event: ev::PointerEvent| {
        if let Some((x, width)) = from.get_value() {
            size(Some(width.saturating_add_signed(event.client_x() - x)));
        }
    };
    let press = move |event: ev::KeyboardEvent| {
        let Some(width) = now() else { return };
        match event.key().as_str() {
            "ArrowLeft" => size(Some(width.saturating_sub(STEP))),
            "ArrowRight" => size(Some(width + STEP)),
            "Home" | "Escape" => size(None),
            _ => return,
        }
        event.prevent_default();
        event.stop_propagation();
    };
    let width =
        move || columns.kept.read().width(&key.read_value()).unwrap_or(column.width as u32 * 8).to_string();
    view! {
        <span class="edge" node_ref=node role="separator" aria-orientation="vertical" tabindex="0"
            aria-label=tr!(columns.width, name = column.title.clone()) aria-valuenow=width
            aria-valuemin=WIDTHS.0.to_string() aria-valuemax=WIDTHS.1.to_string()
            on:pointerdown=down on:pointermove=drag on:pointerup=move |_| from.set_value(None)
            on:dblclick=move |_| size(None) on:keydown=press></span>
    }
}

/// The menu: which columns, and their order. `set` is told the keys; none of them for the usual ones.
#[component]
pub fn Chooser(all: Memo<Vec<Shown>>, shown: Memo<Vec<String>>, set: Callback<Vec<String>>) -> impl IntoView {
    let rows = move || {
        let shown = shown.get();
        let place = |column: &Shown| shown.iter().position(|key| *key == column.key).unwrap_or(usize::MAX);
        let mut all = all.get();
        sampan_dashboard_logic::sort::by_key(&mut all, place);
        all
    };
    let one = move |column: Shown| {
        let key = StoredValue::new(column.key.clone());
        let checked = move || shown.read().contains(&key.read_value());
        let toggle = move |_| set.run(columns::toggled(&shown.read_untracked(), &key.read_value()));
        let shift = move |by: isize| set.run(columns::moved(&shown.read_untracked(), &key.read_value(), by));
        let fixed = column.key == "Name";
        view! {
            <li>
                <label><input type="checkbox" prop:checked=checked prop:disabled=fixed on:change=toggle />{column.title.clone()}</label>
                <button class="quiet" aria-label=tr!(columns.earlier, name = column.title.clone()) disabled=move || !checked()
                    on:click=move |_| shift(-1)><Icon shape=Shape::Up /></button>
                <button class="quiet" aria-label=tr!(columns.later, name = column.title.clone()) disabled=move || !checked()
                    on:click=move |_| shift(1)><Icon shape=Shape::Down /></button>
            </li>
        }
    };
    view! {
        <details class="menu">
            <summary class="button" aria-label=tr!(list.columns) title=tr!(list.columns)><Icon shape=Shape::Columns /></summary>
            <div class="panel chooser">
                <ul><For each=rows key=|column| column.key.clone() children=one /></ul>
                <button on:click=move |_| set.run(Vec::new())>{tr!(columns.usual)}</button>
            </div>
        </details>
    }
}
