//! The table of a list: table elements with `aria-rowcount`, of which only the rows around the seen ones are in the DOM.
//! They are laid out as grids, each row for itself: a browser lays a whole table out anew for one changed cell. That takes
//! their meaning from them, so it is said in roles.

use std::{collections::HashSet, sync::Arc};

use leptos::prelude::*;
use sampan_view::{Cell, Column, Row};

use super::{
    age::Age,
    columns::{Columns, Edge},
    go,
    icon::{Icon, Shape},
    status::Status,
    window::Window,
};
use crate::pages::order::Following;

/// Pixels, as the style sheet has it.
pub const ROW: f64 = 30.0;
pub const HEAD: f64 = 32.0;

/// A column as shown: where its cell is.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub title: String,
    /// As in the URL.
    pub key: String,
    pub place: Place,
    pub number: bool,
    pub width: usize,
    pub help: String,
    /// Shown unless the user chose others.
    pub usual: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Namespace,
    Name,
    Status,
    Cell(usize),
}

/// What happens in a table.
#[derive(Clone, Copy)]
pub struct Table {
    pub rows: RwSignal<Following>,
    pub columns: Memo<Arc<Vec<Shown>>>,
    /// Titles of those that find no room.
    pub left: Memo<Vec<String>>,
    pub kept: Columns,
    /// The column it is sorted by, and whether the other way around.
    pub sort: Memo<(String, bool)>,
    pub chosen: RwSignal<HashSet<String>>,
    pub cursor: RwSignal<Option<usize>>,
    /// The kind's path, which an object's page is below.
    pub kind: StoredValue<String>,
    pub open: Callback<Arc<Row>>,
    pub sort_by: Callback<String>,
    pub window: Window,
}

/// The columns that find room in so many pixels, and the titles of those that do not: long texts are shortened, then the last
/// columns go first, a message last of all, never name and status. Nothing goes before the room is known.
pub fn fitting(mut all: Vec<Shown>, room: f64) -> (Vec<Shown>, Vec<String>) {
    // a letter is 8.3 pixels wide at most, the box in front 38
    let over = |all: &[Shown]| {
        let letters: usize = all.iter().map(|column| column.width + 3).sum();
        room > 0.0 && letters as f64 * 8.3 + 38.0 > room
    };
    let shorten = |all: &mut Vec<Shown>, name: usize, status: usize| {
        let wide = over(all);
        for column in all.iter_mut().filter(|_| wide) {
            match column.place {
                Place::Name => column.width = column.width.min(name),
                Place::Status => column.width = column.width.min(status),
                Place::Cell(_) => column.width = column.width.min(30),
                Place::Namespace => {}
            }
        }
    };
    shorten(&mut all, 24, 24);
    let mut left = Vec::new();
    let may_go = |column: &Shown| !matches!(column.place, Place::Name | Place::Status);
    while over(&all)
        && let Some(last) = all
            .iter()
            .rposition(|column| may_go(column) && column.key != "Message")
            .or_else(|| all.iter().rposition(may_go))
    {
        left.insert(0, all.remove(last).title);
    }
    shorten(&mut all, 12, 14);
    (all, left)
}

/// A column's head in the page's language: the API's own are English.
fn head(name: &str) -> &str {
    let told = tr!(list.heads).split(';').filter_map(|pair| pair.split_once('='));
    told.into_iter().find(|(own, _)| *own == name).map_or(name, |(_, said)| said)
}

/// All columns of what the feed's view has.
pub fn columns(all: &[Column], sample: &[Arc<Row>], namespaced: bool) -> Vec<Shown> {
    let mut columns =
        vec![plain(tr!(list.name), "Name", Place::Name, width(sample, |row| row.name.chars().count()))];
    if namespaced {
        let wide = width(sample, |row| row.namespace.chars().count());
        columns.push(plain(tr!(list.namespace), "Namespace", Place::Namespace, wide));
    }
    columns.push(plain(
        tr!(list.status),
        "Health",
        Place::Status,
        width(sample, |row| row.reason.chars().count() + 3).max(13),
    ));
    for (at, column) in all.iter().enumerate() {
        if matches!(column.name.as_str(), "Name" | "Namespace" | "Status" | "Phase") {
            continue;
        }
        let wide = width(sample, |row| row.cells.get(at).map_or(0, |cell| cell.text().chars().count()));
        columns.push(Shown {
            title: head(&column.name).to_owned(),
            key: column.name.clone(),
            place: Place::Cell(at),
            number: matches!(column.sort.as_str(), "integer" | "number" | "date"),
            width: wide.max(column.name.chars().count() + 2),
            help: column.description.clone(),
            usual: column.priority == 0,
        });
    }
    columns
}

/// Those that are shown: the usual ones, or `wanted` in that order. A link that names none of the first three has them
/// in front.
pub fn chosen(all: &[Shown], wanted: &[String]) -> Vec<Shown> {
    if wanted.is_empty() {
        return all.iter().filter(|column| column.usual).cloned().collect();
    }
    let is_wanted = |column: &Shown| wanted.contains(&column.key);
    let first = |column: &Shown| !matches!(column.place, Place::Cell(_));
    let whole = all.iter().any(|column| first(column) && is_wanted(column));
    let front = all
        .iter()
        .filter(|column| first(column) && !is_wanted(column))
        .filter(|column| !whole || column.key == "Name");
    let named = wanted.iter().filter_map(|key| all.iter().find(|column| column.key == *key));
    front.chain(named).cloned().collect()
}

fn plain(title: &str, key: &str, place: Place, width: usize) -> Shown {
    let width = width.max(title.chars().count() + 3);
    Shown {
        title: title.to_owned(),
        key: key.to_owned(),
        place,
        number: false,
        width,
        help: String::new(),
        usual: true,
    }
}

/// The widest of a sample, within reason.
fn width(sample: &[Arc<Row>], measure: impl Fn(&Row) -> usize) -> usize {
    sample.iter().take(300).map(|row| measure(row)).max().unwrap_or(8).clamp(6, 44)
}

#[component]
pub fn Rows(table: Table) -> impl IntoView {
    let count = move || table.rows.read().len();
    let range = Memo::new(move |_| table.window.range(count()));
    let drawn = move || {
        let (first, last) = range.get();
        first..last
    };
    let above = move || table.window.room(range.get().0);
    let below = move || table.window.room(count().saturating_sub(range.get().1));
    // columns share what is over by their widths; what was given a width has it
    let lanes = move || {
        let kept = table.kept.kept.read();
        let lane = |column: &Shown| match kept.width(&column.key) {
            Some(width) => format!("{width}px"),
            None => format!("minmax({0}ch,{0}fr)", column.width + 3),
        };
        let lanes: Vec<String> = table.columns.read().iter().map(lane).collect();
        format!("38px {}", lanes.join(" "))
    };
    let wide = move || {
        let kept = table.kept.kept.read();
        let (mut letters, mut pixels) = (0, 38);
        for column in table.columns.read().iter() {
            match kept.width(&column.key) {
                Some(width) => pixels += width,
                None => letters += column.width + 3,
            }
        }
        format!("max(100%, calc({pixels}px + {letters}ch))")
    };
    view! {
        <div class="rows" node_ref=table.window.node on:scroll=move |_| table.window.measure() tabindex="0"
            role="region" aria-label=move || tr!(list.rows)>
            <table role="table" aria-rowcount=move || (count() + 1).to_string() style:min-width=wide style=("--lanes", lanes)>
                <thead role="rowgroup"><tr role="row" aria-rowindex="1">
                    <th role="columnheader" class="pick"><All table /></th>
                    {move || table.columns.read().iter().map(|column| view! { <Head table column=column.clone() /> }).collect_view()}
                </tr></thead>
                <tbody role="rowgroup">
                    <tr class="room" aria-hidden="true" style:height=above><td></td></tr>
                    <For each=drawn key=|at| *at let:at><OneRow table at /></For>
                    <tr class="room" aria-hidden="true" style:height=below><td></td></tr>
                </tbody>
            </table>
        </div>
    }
}

#[component]
fn All(table: Table) -> impl IntoView {
    let every = move || {
        let rows = table.rows.read();
        !rows.is_empty() && table.chosen.read().len() == rows.len()
    };
    let toggle = move |_| {
        let all = if every() {
            HashSet::new()
        } else {
            table.rows.read().iter().map(|row| row.uid.clone()).collect()
        };
        table.chosen.set(all);
    };
    view! { <input type="checkbox" aria-label=tr!(list.select_all) prop:checked=every on:change=toggle /> }
}

#[component]
fn Head(table: Table, column: Shown) -> impl IntoView {
    let key = column.key.clone();
    let way = Memo::new(move |_| {
        let (own, down) = table.sort.get();
        (own == key || (own.is_empty() && key == "Name")).then_some(down)
    });
    let aria = move || match way.get() {
        None => "none",
        Some(false) => "ascending",
        Some(true) => "descending",
    };
    let by = column.key.clone();
    let edge = column.clone();
    view! {
        <th role="columnheader" scope="col" class:number=column.number aria-sort=aria title=column.help>
            <button class="sort" on:click=move |_| table.sort_by.run(by.clone())>
                {column.title}
                {move || way.get().map(|down| view! { <Icon shape=if down { Shape::Down } else { Shape::Up } /> })}
            </button>
            <Edge columns=table.kept column=edge />
        </th>
    }
}

/// A place in the list; the row in it changes without the place being drawn anew.
#[component]
fn OneRow(table: Table, at: usize) -> impl IntoView {
    let row = Memo::new_with_compare(
        move |_| table.rows.read().get(at).cloned(),
        |old, new| match (old, new) {
            (Some(Some(old)), Some(Some(new))) => !Arc::ptr_eq(old, new),
            _ => true,
        },
    );
    let of = move |what: fn(&Row) -> bool| row.read().as_deref().is_some_and(what);
    let chosen = move || row.read().as_ref().is_some_and(|row| table.chosen.read().contains(&row.uid));
    let toggle = move |_| {
        if let Some(row) = row.get_untracked() {
            table.chosen.update(|all| {
                if !all.remove(&row.uid) {
                    all.insert(row.uid.clone());
                }
            });
        }
    };
    let open = move |event: leptos::ev::MouseEvent| {
        // the name is a link: a tab or a window of its own is the browser's to open
        if go::link(&event).is_some() {
            if !go::is_plain(&event) {
                return;
            }
            event.prevent_default();
        }
        if let Some(row) = row.get_untracked() {
            table.cursor.set(Some(at));
            table.open.run(row);
        }
    };
    let label = move || row.read().as_ref().map(|row| row.name.clone()).unwrap_or_default();
    let cells = move || {
        let row = row.get().unwrap_or_default();
        table.columns.read().iter().map(|column| one_cell(table, &row, column)).collect_view()
    };
    view! {
        <tr role="row" aria-rowindex=(at + 2).to_string() class:chosen=chosen class:cursor=move || table.cursor.get() == Some(at)
            class:deleting=move || of(|row| row.deleting.is_some()) on:click=open>
            <td role="cell" class="pick" on:click=|event| event.stop_propagation()>
                <input type="checkbox" aria-label=label prop:checked=chosen on:change=toggle />
            </td>
            {cells}
        </tr>
    }
}

fn one_cell(table: Table, row: &Arc<Row>, column: &Shown) -> AnyView {
    match column.place {
        Place::Name => {
            let (name, title) = (row.name.clone(), row.name.clone());
            let href = table.kind.with_value(|kind| crate::kinds::page(kind, &row.namespace, &name));
            view! { <th role="rowheader" scope="row" class="name" title=title><a class="open" href=href>{name}</a></th> }
                .into_any()
        }
        Place::Namespace => view! { <td role="cell" class="soft">{row.namespace.clone()}</td> }.into_any(),
        Place::Status => {
            let reason =
                if row.deleting.is_some() { tr!(health.deleting).to_owned() } else { row.reason.clone() };
            view! { <td role="cell"><Status health=row.health reason /></td> }.into_any()
        }
        Place::Cell(at) => value(row.cells.get(at), column.number),
    }
}

fn value(cell: Option<&Cell>, number: bool) -> AnyView {
    match cell {
        None | Some(Cell::Empty) => {
            view! { <td role="cell" class="soft" class:number=number>"–"</td> }.into_any()
        }
        Some(Cell::Time(at)) => view! { <td role="cell" class="number"><Age at=*at /></td> }.into_any(),
        Some(Cell::Number(..)) => {
            view! { <td role="cell" class="number">{cell.map(Cell::text)}</td> }.into_any()
        }
        Some(Cell::Text(text)) => {
            let title = text.clone();
            view! { <td role="cell" class:number=number title=title>{text.clone()}</td> }.into_any()
        }
    }
}
