//! The list of any kind. The URL is its state: namespaces, filter, order, columns, the object in the drawer.

use std::{collections::HashSet, sync::Arc};

use leptos::{html, prelude::*};
use sampan_dashboard_logic::columns::Kept;
use sampan_view::{Filter, FilterError, Row, place::ListState};

use super::{
    detail::Detail,
    missing::Missing,
    order::{Following, Question},
};
use crate::{
    app::app,
    kinds::Resource,
    net::{
        api::{self, May, Wish},
        feed::{self, State, View},
    },
    pages::detail::bulk,
    ui::{
        columns::{Chooser, Columns},
        focus, go,
        icon::{Icon, Shape},
        keys::{self, Key},
        table::{self, HEAD, ROW, Rows, Shown, Table},
        window::Window,
    },
};

#[component]
pub fn ListPage(kind: String) -> impl IntoView {
    let resource = Memo::new(move |_| app().kinds.read().of_path(&kind).cloned());
    move || match resource.get() {
        Some(resource) => view! { <List resource /> }.into_any(),
        None if app().kinds.read().known => view! { <Missing /> }.into_any(),
        None => view! { <Skeleton /> }.into_any(),
    }
}

#[component]
fn List(resource: Resource) -> impl IntoView {
    let query = go::query();
    let of_events = resource.plural == "events";
    let state = Memo::new(move |_| {
        let mut state = ListState::parse(&query.read());
        // the names of events say nothing: the newest first
        if of_events && state.sort.is_empty() {
            state.sort = "Last Seen".to_owned();
        }
        state
    });
    let kind = resource.clone();
    let namespaces =
        Memo::new(move |_| if kind.namespaced { state.read().namespaces.clone() } else { Vec::new() });
    let of = resource.feed();
    let view = Memo::new_with_compare(
        move |_| {
            feed::list(feed::List { kind: of.clone(), namespaces: namespaces.get(), ..Default::default() })
        },
        |_, _| true,
    );
    let filter = Memo::new(move |last: Option<&(Result<(), FilterError>, Arc<FilterBox>)>| {
        let line = state.read().filter.clone();
        match Filter::parse(&line) {
            Ok(filter) => (Ok(()), Arc::new(FilterBox(line, filter))),
            Err(error) => (Err(error), last.map(|(_, filter)| filter.clone()).unwrap_or_default()),
        }
    });
    let (table, all) = make_table(&resource, view, state, filter);
    let open = go::word("open");
    let drawer = resource.clone();
    let namespaced = resource.namespaced;
    keyboard(table);
    view! {
        <section class="list" aria-label=resource.kind.clone()>
            <Tools resource=resource.clone() table all view state error=Signal::derive(move || filter.with(|(result, _)| result.clone().err())) />
            {move || body(table, view, namespaced)}
        </section>
        {move || {
            let open = open.get();
            let (namespace, name) = open.split_once('/')?;
            let close = Callback::new(|()| {
                go::set(&[("open", ""), ("tab", "")], true);
                focus::to(".rows");
            });
            Some(view! {
                <Detail resource=drawer.clone() namespace=namespace.to_owned() name=name.to_owned() drawer=close />
            })
        }}
    }
}

/// A filter with the line it was read from, which is what tells it from another.
#[derive(Default, Debug)]
struct FilterBox(String, Filter);

impl PartialEq for FilterBox {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

fn make_table(
    resource: &Resource,
    view: Memo<View>,
    state: Memo<ListState>,
    filter: Memo<(Result<(), FilterError>, Arc<FilterBox>)>,
) -> (Table, Memo<Vec<Shown>>) {
    let rows = RwSignal::new(Following::default());
    Effect::new(move |_| {
        let live = view.get().live().clone();
        let live = live.read();
        let (_, filter) = filter.get();
        let state = state.read();
        let question = Question { filter: &filter.1, sort: &state.sort, down: state.down };
        rows.update(|rows| rows.follow(&live, &question));
    });
    let namespaced = resource.namespaced;
    let shape = Memo::new(move |_| {
        let live = view.get().live().clone();
        let live = live.read();
        (live.epoch, live.state.clone(), live.columns.clone())
    });
    let several = Memo::new(move |_| namespaced && state.read().namespaces.len() != 1);
    let all = Memo::new(move |_| {
        let (_, _, all) = shape.get();
        let sample = view.get().live().read_untracked().rows.values().take(300).cloned().collect::<Vec<_>>();
        table::columns(&all, &sample, several.get())
    });
    let kept = Columns::of(&resource.path());
    // a link's columns win over those left
    let linked = Memo::new(move |_| state.read().columns.clone());
    let window = Window::new(ROW);
    let fitted = Memo::new(move |_| {
        let linked = linked.get();
        let wanted = if linked.is_empty() { kept.kept.read().shown.clone() } else { linked };
        let shown = table::chosen(&all.read(), &wanted);
        if wanted.is_empty() { table::fitting(shown, window.wide.get()) } else { (shown, Vec::new()) }
    });
    let columns = Memo::new(move |_| Arc::new(fitted.read().0.clone()));
    let left = Memo::new(move |_| fitted.read().1.clone());
    let sort = Memo::new(move |_| (state.read().sort.clone(), state.read().down));
    let table = Table {
        rows,
        columns,
        left,
        kept,
        kind: StoredValue::new(resource.path()),
        sort,
        chosen: RwSignal::new(HashSet::new()),
        cursor: RwSignal::new(None),
        open: Callback::new(|row: Arc<Row>| {
            go::set(&[("open", &format!("{}/{}", row.namespace, row.name))], true)
        }),
        sort_by: Callback::new(move |key: String| {
            let (own, down) = sort.get_untracked();
            let down = own == key && !down;
            go::set(&[("sort", &format!("{}{key}", if down { "-" } else { "" }))], false);
        }),
        window,
    };
    (table, all)
}

/// j and k move, Enter opens, x chooses, Escape closes what is open.
fn keyboard(table: Table) {
    let step = move |by: isize| {
        let count = table.rows.read_untracked().len();
        if count > 0 {
            let last = count as isize - 1;
            let at = table
                .cursor
                .get_untracked()
                .map_or(if by > 0 { 0 } else { last }, |at| at as isize + by)
                .clamp(0, last);
            table.cursor.set(Some(at as usize));
            table.window.reveal(at as usize, HEAD);
        }
    };
    let at_cursor = move || {
        let at = table.cursor.get_untracked()?;
        table.rows.read_untracked().get(at).cloned()
    };
    keys::on(move |key| {
        match key {
            Key::Down => step(1),
            Key::Up => step(-1),
            Key::Enter => {
                let Some(row) = at_cursor() else { return false };
                table.open.run(row);
            }
            Key::Letter('x') => {
                let Some(row) = at_cursor() else { return false };
                table.chosen.update(|all| {
                    if !all.remove(&row.uid) {
                        all.insert(row.uid.clone());
                    }
                });
            }
            _ => return false,
        }
        true
    });
}

fn body(table: Table, view: Memo<View>, namespaced: bool) -> AnyView {
    let live = view.get().live().clone();
    let state = Memo::new(move |_| live.read().state.clone());
    let some = Memo::new(move |_| !table.rows.read().is_empty());
    let any = {
        let live = view.get().live().clone();
        Memo::new(move |_| !live.read().rows.is_empty())
    };
    let wide = go::namespaces();
    (move || match (state.get(), some.get(), any.get()) {
        (State::Refused { code: 403, message, .. }, ..) => {
            let next = if namespaced && wide.read().is_empty() { tr!(barred.choose) } else { "" };
            told(Shape::Access, tr!(list.forbidden), &format!("{message} {next}"))
        }
        (State::Refused { reason, message, .. }, ..) => told(Shape::Failed, &reason, &message),
        (State::Loading, false, _) => view! { <Skeleton /> }.into_any(),
        (State::Live, false, true) => told(Shape::Search, tr!(list.no_match), tr!(list.no_match_next)),
        (State::Live, false, false) => told(Shape::Dot, tr!(list.empty), tr!(list.empty_next)),
        (_, true, _) => view! { <Rows table /> }.into_any(),
    })
    .into_any()
}

/// A state without rows: what it is and what to do next.
pub fn told(shape: Shape, title: &str, next: &str) -> AnyView {
    let (title, next) = (title.to_owned(), next.to_owned());
    view! { <div class="told"><Icon shape /><h2>{title}</h2><p>{next}</p></div> }.into_any()
}

#[component]
pub fn Skeleton() -> impl IntoView {
    view! {
        <div class="skeleton" role="status" aria-label=tr!(list.loading)>
            {(0..12).map(|_| view! { <div></div> }).collect_view()}
        </div>
    }
}

#[component]
fn Tools(
    resource: Resource,
    table: Table,
    all: Memo<Vec<Shown>>,
    view: Memo<View>,
    state: Memo<ListState>,
    error: Signal<Option<FilterError>>,
) -> impl IntoView {
    let shown = Memo::new(move |_| table.rows.read().len());
    let total = Memo::new(move |_| view.get().live().read().rows.len());
    let count = move || match (shown.get(), total.get()) {
        (shown, total) if shown == total => total.to_string(),
        (shown, total) => tr!(list.shown, shown = shown, total = total),
    };
    let input = NodeRef::<html::Input>::new();
    keys::on(move |key| {
        let (Key::Letter('/'), Some(input)) = (key, input.get_untracked()) else { return false };
        let _ = input.focus();
        true
    });
    let line = Memo::new(move |_| state.read().filter.clone());
    let chosen = move || table.chosen.read().len();
    let creatable = resource.can("create").then(|| creator(resource.clone(), state));
    let may_delete = deleter(resource.clone(), table);
    let deleting = resource.clone();
    let keys =
        Memo::new(move |_| table.columns.read().iter().map(|column| column.key.clone()).collect::<Vec<_>>());
    // in the address too, so that a link gives the same view
    let arrange = Callback::new(move |keys: Vec<String>| {
        if keys.is_empty() {
            table.kept.update(|kept| *kept = Kept::default());
        } else {
            table.kept.update(|kept| kept.shown = keys.clone());
        }
        let state = ListState { columns: keys, ..ListState::default() };
        go::set(&[("cols", &go::find(&state.query(), "cols"))], false);
    });
    view! {
        <header class="tools">
            <h1>{resource.kind.clone()} <span class="count">{count}</span></h1>
            <div class="filter" class:wrong=move || error.get().is_some()>
                <Icon shape=Shape::Search />
                <input node_ref=input type="search" spellcheck="false" autocomplete="off" placeholder=tr!(list.filter_help)
                    aria-label=tr!(list.filter) prop:value=line title=tr!(list.filter_help)
                    on:input=|event| go::set(&[("q", &event_target_value(&event))], false) />
                <kbd>"/"</kbd>
            </div>
            <span class="error" role="alert">{move || error.get().map(|error| error.to_string())}</span>
            <span class="grow"></span>
            {move || (chosen() > 0).then(|| {
                let resource = deleting.clone();
                view! {
                    <button class="danger" disabled=move || *may_delete.read() != May::Yes title=move || may_delete.read().why_not()
                        on:click=move |_| bulk::delete(&resource, table)>
                        <Icon shape=Shape::Delete />{tr!(list.delete_chosen, count = chosen())}
                    </button>
                }
            })}
            {move || {
                let left = table.left.read();
                (!left.is_empty()).then(|| view! { <span class="soft left-out" title=left.join(", ")>{tr!(list.left_out, count = left.len())}</span> })
            }}
            <Chooser all shown=keys set=arrange />
            {creatable}
        </header>
    }
}

/// The way to the page that creates; who may not is told what is missing.
fn creator(resource: Resource, state: Memo<ListState>) -> impl IntoView {
    let namespaces = Memo::new(move |_| state.read().namespaces.clone());
    let kind = resource.path();
    let wishes = Memo::new(move |_| {
        let first = namespaces.read().first().cloned().unwrap_or_else(|| "default".to_owned());
        vec![Wish {
            verb: "create",
            group: resource.group.clone(),
            resource: resource.plural.clone(),
            namespace: if resource.namespaced { first } else { String::new() },
            ..Wish::default()
        }]
    });
    let may = api::all_allowed(wishes);
    let begin = |kind: &str, namespaces: &[String]| {
        let place = go::within("create", namespaces);
        let mark = if place.contains('?') { '&' } else { '?' };
        format!("{place}{mark}kind={kind}")
    };
    view! {
        <button disabled=move || *may.read() != May::Yes title=move || may.read().why_not()
            on:click=move |_| go::to(&begin(&kind, &namespaces.read_untracked()))>
            <Icon shape=Shape::Plus />{tr!(action.create)}
        </button>
    }
}

/// Whether the chosen rows may be deleted, in all namespaces that they are in.
fn deleter(resource: Resource, table: Table) -> RwSignal<May> {
    let wishes = Memo::new(move |_| {
        let chosen = table.chosen.read();
        if chosen.is_empty() {
            return Vec::new();
        }
        let rows = table.rows.read_untracked();
        let mut namespaces: Vec<String> = Vec::new();
        for row in rows.iter().filter(|row| chosen.contains(&row.uid)) {
            if !namespaces.contains(&row.namespace) {
                namespaces.push(row.namespace.clone());
            }
        }
        let wish = |namespace: String| Wish {
            verb: "delete",
            group: resource.group.clone(),
            resource: resource.plural.clone(),
            namespace,
            ..Wish::default()
        };
        namespaces.into_iter().map(wish).collect::<Vec<_>>()
    });
    api::all_allowed(wishes)
}
