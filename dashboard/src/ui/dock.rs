//! The dock below every page: logs and terminals that stay open while other pages are looked at. It stands beside what is
//! drawn anew when the language changes, so that a shell outlives that too.

use leptos::prelude::*;

use super::icon::{Icon, Shape};
use crate::{
    app::app,
    kinds::Resource,
    pages::detail::{self, Object},
};

/// Something that is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Docked {
    id: u32,
    resource: Resource,
    namespace: String,
    name: String,
    /// `logs` or `terminal`.
    tab: &'static str,
}

/// How much of the page it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// Its tabs alone.
    Low,
    #[default]
    Usual,
    High,
}

/// All that is open, and what of it is seen.
#[derive(Clone, Copy)]
pub struct Dock {
    open: RwSignal<Vec<Docked>>,
    seen: RwSignal<u32>,
    size: RwSignal<Size>,
}

/// What stands in the dock has no place in the page's address.
#[derive(Clone, Copy)]
pub struct InDock;

pub fn in_dock() -> bool {
    use_context::<InDock>().is_some()
}

impl Dock {
    pub fn new() -> Self {
        Self { open: RwSignal::new(Vec::new()), seen: RwSignal::new(0), size: RwSignal::default() }
    }

    /// Opens the logs or a terminal of an object.
    pub fn add(self, resource: Resource, namespace: String, name: String, tab: &'static str) {
        let id = self.open.read_untracked().last().map_or(1, |last| last.id + 1);
        self.open.update(|all| all.push(Docked { id, resource, namespace, name, tab }));
        self.show(id);
    }

    pub fn has_terminal(self) -> bool {
        self.open.read_untracked().iter().any(|one| one.tab == "terminal")
    }

    pub fn clear(self) {
        self.open.set(Vec::new());
    }

    /// Low, or as it was; false if nothing is open.
    pub fn toggle(self) -> bool {
        let low = self.size.get_untracked() == Size::Low;
        self.size.set(if low { Size::Usual } else { Size::Low });
        !self.open.read_untracked().is_empty()
    }

    fn show(self, id: u32) {
        self.seen.set(id);
        if self.size.get_untracked() == Size::Low {
            self.size.set(Size::Usual);
        }
    }

    fn close(self, id: u32) {
        let all = self.open.read_untracked();
        let at = all.iter().position(|one| one.id == id).unwrap_or_default();
        let next = all.get(at + 1).or_else(|| at.checked_sub(1).and_then(|before| all.get(before)));
        let next = next.map(|one| one.id);
        drop(all);
        self.open.update(|all| all.retain(|one| one.id != id));
        if self.seen.get_untracked() == id {
            self.seen.set(next.unwrap_or_default());
        }
    }
}

#[component]
pub fn DockBar() -> impl IntoView {
    let dock = app().dock;
    let some = move || !dock.open.read().is_empty();
    let class = move || match (some(), dock.size.get()) {
        (false, _) => "dock none",
        (true, Size::Low) => "dock low",
        (true, Size::Usual) => "dock",
        (true, Size::High) => "dock high",
    };
    view! {
        <section class=class aria-label=move || { app().language.track(); tr!(dock.title) }>
            {move || { app().language.track(); some().then(|| view! { <Tabs dock /> }) }}
            <For each=move || dock.open.get() key=|one| one.id let:one><Pane dock one /></For>
        </section>
    }
}

#[component]
fn Tabs(dock: Dock) -> impl IntoView {
    let one = move |docked: Docked| {
        let id = docked.id;
        let (shape, what) = match docked.tab {
            "logs" => (Shape::Config, tr!(detail.logs)),
            _ => (Shape::Terminal, tr!(detail.terminal)),
        };
        let name = docked.name.clone();
        view! {
            <li>
                <button aria-current=move || (dock.seen.get() == id).then_some("true") on:click=move |_| dock.show(id)>
                    <Icon shape />{what}<span class="soft">{docked.name}</span>
                </button>
                <button class="quiet" aria-label=tr!(dock.close, name = name) on:click=move |_| dock.close(id)><Icon shape=Shape::Close /></button>
            </li>
        }
    };
    let grow = move |shape: Shape, title: &'static str, size: Size| {
        let other = move || if dock.size.get() == size { Size::Usual } else { size };
        view! {
            <button class="quiet" aria-label=title title=title aria-pressed=move || (dock.size.get() == size).to_string()
                on:click=move |_| dock.size.set(other())><Icon shape /></button>
        }
    };
    view! {
        <div class="bar-of-tabs">
            <ul>{move || dock.open.get().into_iter().map(one).collect_view()}</ul>
            <span class="grow"></span>
            {grow(Shape::Down, tr!(dock.low), Size::Low)}
            {grow(Shape::Up, tr!(dock.high), Size::High)}
        </div>
    }
}

/// What is open: hidden while another is looked at, but there.
#[component]
fn Pane(dock: Dock, one: Docked) -> impl IntoView {
    provide_context(InDock);
    let Docked { id, resource, namespace, name, tab } = one;
    let object: Object = detail::watched(&resource, &namespace, &name);
    let known = Memo::new(move |_| object.with(Option::is_some));
    // a log is read again in another language; a shell would be lost, and changes its words by itself
    let language = move || {
        if tab == "logs" {
            app().language.track()
        }
    };
    view! {
        <div class="pane detail" hidden=move || dock.seen.get() != id || dock.size.get() == Size::Low>
            {move || { language(); known.get().then(|| detail::page_of(tab, &resource, &namespace, &name, object)) }}
        </div>
    }
}
