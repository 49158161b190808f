//! The feed's client: one websocket for all views of the page.
//!
//! ```text
//!        open                 socket closes              timer
//! idle ───────► connecting ──────────────► waiting(n s) ───────► connecting
//!                   │ Hello                      ▲
//!                   └────────► live ─────────────┘   signed out ──► the sign-in page
//! ```
//!
//! What the daemon tells is applied once in an animation frame, however much came; rows are plain values in a map, and
//! a view has a single signal. A view that was whole before the connection was lost resumes from its revision: its rows
//! stay readable meanwhile.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use leptos::prelude::*;
use sampan_view::{
    Cell, Column, Row,
    feed::{Ask, Count, Kind, POSTCARD, Tell, Usage},
};
use serde_json::Value;

use super::{
    api::Failure,
    socket::{Event, Socket},
};
use crate::{
    app::{Link, app},
    ui::toast,
};

/// How a view is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum State {
    #[default]
    Loading,
    Live,
    Refused {
        code: u16,
        reason: String,
        message: String,
    },
}

/// What is known of a view.
#[derive(Default)]
pub struct Rows {
    pub state: State,
    pub columns: Arc<Vec<Column>>,
    pub rows: HashMap<String, Arc<Row>>,
    pub total: u32,
    /// Counts the snapshots: another one means that nothing of before holds.
    pub epoch: u32,
    /// Counts what was drawn; [`Self::touched`] is what the last of them changed: uids, and the rows before.
    pub generation: u64,
    pub touched: HashMap<String, Option<Arc<Row>>>,
    pub counts: Vec<Count>,
    pub object: Option<Arc<Value>>,
    /// The watched object is no more, since when (milliseconds).
    pub gone: Option<f64>,
    revision: Option<String>,
    usage: HashMap<(String, String), (u64, u64)>,
    measured: bool,
}

/// An open view; the last clone that is dropped closes it.
#[derive(Clone)]
pub struct View {
    live: ArcRwSignal<Rows>,
    _open: Arc<Open>,
}

impl View {
    /// What is known by now. A closure that asks holds the whole view, and so keeps it open; a clone of the signal does not.
    pub fn live(&self) -> &ArcRwSignal<Rows> {
        &self.live
    }
}

struct Open(u32);

impl Drop for Open {
    fn drop(&mut self) {
        let id = self.0;
        let _ = FEED.try_with(|feed| {
            if let Ok(mut feed) = feed.try_borrow_mut() {
                feed.views.remove(&id);
                feed.say(&Ask::Close { view: id });
            }
        });
    }
}

#[derive(Default)]
struct Feed {
    socket: Option<Socket>,
    connected: bool,
    views: HashMap<u32, (Ask, ArcRwSignal<Rows>)>,
    last: u32,
    pending: Vec<Tell>,
    framed: bool,
    attempts: u32,
    boot: String,
}

thread_local! {
    static FEED: RefCell<Feed> = RefCell::new(Feed::default());
}

/// What to list.
#[derive(Clone, Default)]
pub struct List {
    pub kind: Kind,
    pub namespaces: Vec<String>,
    pub labels: String,
    pub fields: String,
    pub filter: String,
    pub summary: bool,
}

pub fn list(list: List) -> View {
    let List { kind, namespaces, labels, fields, filter, summary } = list;
    open(|view| Ask::Open {
        view,
        kind,
        namespaces,
        label_selector: labels,
        field_selector: fields,
        filter,
        summary,
        since: None,
    })
}

pub fn watch(kind: Kind, namespace: &str, name: &str) -> View {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    open(|view| Ask::Watch { view, kind, namespace, name })
}

fn open(ask: impl FnOnce(u32) -> Ask) -> View {
    FEED.with_borrow_mut(|feed| {
        feed.last += 1;
        let ask = ask(feed.last);
        let live = ArcRwSignal::new(Rows::default());
        feed.say(&ask);
        feed.views.insert(feed.last, (ask, live.clone()));
        View { live, _open: Arc::new(Open(feed.last)) }
    })
}

/// Connects, and goes on connecting until signed out.
pub fn connect() {
    let socket = Socket::open("sampan/v1/feed", POSTCARD, heard);
    FEED.with_borrow_mut(|feed| {
        feed.connected = false;
        feed.socket = socket.ok();
    });
}

/// Signed out: nothing is kept.
pub fn disconnect() {
    FEED.with_borrow_mut(|feed| {
        feed.socket = None;
        feed.connected = false;
    });
}

/// A hidden tab is content with a change a second.
pub fn pace(hidden: bool) {
    FEED.with_borrow(|feed| feed.say(&Ask::Pace { hidden }));
}

fn heard(event: Event) {
    match event {
        Event::Open => FEED.with_borrow_mut(Feed::greet),
        Event::Binary(bytes) => match postcard::from_bytes::<Tell>(&bytes) {
            Ok(tell) => queue(tell),
            Err(error) => leptos::logging::error!("feed: {error}"),
        },
        Event::Closed => set_timeout(retry, std::time::Duration::ZERO),
    }
}

fn queue(tell: Tell) {
    let frame = FEED.with_borrow_mut(|feed| {
        feed.pending.push(tell);
        !std::mem::replace(&mut feed.framed, true)
    });
    if frame {
        let hidden = document().hidden();
        if hidden {
            set_timeout(draw, std::time::Duration::from_secs(1))
        } else {
            request_animation_frame(draw)
        }
    }
}

/// Full jitter: somewhere between a quarter of a second and the double of the last bound, at most ten seconds.
fn retry() {
    let wait = FEED.with_borrow_mut(|feed| {
        feed.connected = false;
        feed.socket = None;
        let bound = (0.25 * f64::from(1u32 << feed.attempts.min(6))).min(10.0);
        feed.attempts += 1;
        0.25 + js_sys::Math::random() * (bound - 0.25).max(0.0)
    });
    let now = js_sys::Date::now();
    let since = match app().link.get_untracked() {
        Link::Waiting { since, .. } => since,
        _ => now,
    };
    app().link.set(Link::Waiting { since, until: now + wait * 1000.0 });
    set_timeout(
        || {
            if app().session.with_untracked(Option::is_some) {
                connect();
            }
        },
        std::time::Duration::from_secs_f64(wait),
    );
}

impl Feed {
    fn say(&self, ask: &Ask) {
        if let (true, Some(socket), Ok(text)) = (self.connected, &self.socket, serde_json::to_string(ask)) {
            socket.text(&text);
        }
    }

    /// Opens all views anew, those that were whole from where they are.
    fn greet(&mut self) {
        self.connected = true;
        for (ask, live) in self.views.values_mut() {
            if let Ask::Open { since, .. } = ask {
                *since = live.read_untracked().revision.clone();
            }
        }
        for (ask, _) in self.views.values() {
            self.say(ask);
        }
        if document().hidden() {
            self.say(&Ask::Pace { hidden: true });
        }
    }
}

/// Applies all that came since the last frame, then draws each view once.
fn draw() {
    let (pending, views) = FEED.with_borrow_mut(|feed| {
        feed.framed = false;
        let views: HashMap<u32, ArcRwSignal<Rows>> =
            feed.views.iter().map(|(id, (_, live))| (*id, live.clone())).collect();
        (std::mem::take(&mut feed.pending), views)
    });
    let mut dirty: HashMap<u32, ArcRwSignal<Rows>> = HashMap::new();
    for tell in pending {
        let Some(view) = of(&tell) else {
            about_feed(tell);
            continue;
        };
        let Some(live) = views.get(&view) else { continue };
        let mut rows = live.write_untracked();
        if dirty.insert(view, live.clone()).is_none() {
            rows.touched.clear();
            rows.generation += 1;
        }
        rows.apply(tell);
    }
    for live in dirty.into_values() {
        live.notify();
    }
}

fn of(tell: &Tell) -> Option<u32> {
    match tell {
        Tell::Begin { view, .. }
        | Tell::Rows { view, .. }
        | Tell::Live { view, .. }
        | Tell::Change { view, .. }
        | Tell::Summary { view, .. }
        | Tell::Usage { view, .. }
        | Tell::Object { view, .. }
        | Tell::Gone { view }
        | Tell::Refused { view, .. } => Some(*view),
        Tell::Hello { .. } | Tell::Confused { .. } | Tell::SignedOut => None,
    }
}

fn about_feed(tell: Tell) {
    match tell {
        Tell::Hello { boot, now, .. } => {
            FEED.with_borrow_mut(|feed| {
                feed.attempts = 0;
                feed.boot = boot;
            });
            app().skew.set(now as f64 - js_sys::Date::now());
            app().link.set(Link::Live);
        }
        Tell::Confused { message } => leptos::logging::warn!("feed: {message}"),
        _ => {
            disconnect();
            // the page stays while it has a text that is nowhere else
            if app().unsaved.get_untracked() {
                let message = tr!(sign_in.unsaved).to_owned();
                return toast::bad(&Failure { code: 401, reason: "Unauthorized".to_owned(), message });
            }
            app().session.set(None);
        }
    }
}

impl Rows {
    fn apply(&mut self, tell: Tell) {
        match tell {
            Tell::Begin { columns, total, .. } => {
                self.rows.clear();
                self.columns = Arc::new(columns);
                self.measured = false;
                // a connection lost before all of it came is no place to go on from
                self.revision = None;
                self.total = total;
                self.epoch += 1;
            }
            Tell::Rows { rows, .. } => self.put(rows),
            Tell::Live { revision, .. } => {
                self.revision = Some(revision);
                self.state = State::Live;
            }
            Tell::Change { gone, rows, revision, .. } => {
                for uid in gone {
                    let before = self.rows.remove(&uid);
                    self.touched.entry(uid).or_insert(before);
                }
                self.put(rows);
                self.revision = Some(revision);
            }
            Tell::Summary { counts, .. } => {
                self.counts = counts;
                self.state = State::Live;
            }
            Tell::Usage { usage, .. } => self.measure(usage),
            Tell::Object { json, .. } => {
                self.object = serde_json::from_str(&json).ok().map(Arc::new);
                self.gone = None;
                self.state = State::Live;
            }
            Tell::Gone { .. } => {
                self.gone = self.gone.or(Some(js_sys::Date::now()));
                self.state = State::Live;
            }
            Tell::Refused { code, reason, message, .. } => {
                self.state = State::Refused { code, reason, message }
            }
            Tell::Hello { .. } | Tell::Confused { .. } | Tell::SignedOut => {}
        }
    }

    fn put(&mut self, rows: Vec<Row>) {
        for mut row in rows {
            if self.measured {
                self.add_usage(&mut row);
            }
            let uid = row.uid.clone();
            let before = self.rows.insert(uid.clone(), Arc::new(row));
            self.touched.entry(uid).or_insert(before);
        }
    }

    /// Use is shown as two more columns, so that it is sorted and chosen like any other.
    fn measure(&mut self, usage: Vec<Usage>) {
        self.usage = usage
            .into_iter()
            .map(|usage| ((usage.namespace, usage.name), (usage.cpu_millis, usage.memory_bytes)))
            .collect();
        if !self.measured {
            let number =
                |name: &str| Column { name: name.into(), sort: "number".into(), ..Column::default() };
            let columns = Arc::make_mut(&mut self.columns);
            columns.extend([number("CPU"), number("Memory")]);
            self.measured = true;
            self.epoch += 1;
        }
        let mut rows = std::mem::take(&mut self.rows);
        for (uid, row) in &mut rows {
            let [cpu, memory] = self.used(row);
            let at = self.columns.len() - 2;
            // most rows of a long list use nothing, and are as they were
            let same = |at: usize, cell: &Cell| row.cells.get(at).unwrap_or(&Cell::Empty) == cell;
            if !same(at, &cpu) || !same(at + 1, &memory) {
                self.touched.entry(uid.clone()).or_insert_with(|| Some(row.clone()));
                self.add_usage(Arc::make_mut(row));
            }
        }
        self.rows = rows;
    }

    fn add_usage(&self, row: &mut Row) {
        row.cells.resize(self.columns.len() - 2, Cell::Empty);
        row.cells.extend(self.used(row));
    }

    fn used(&self, row: &Row) -> [Cell; 2] {
        match self.usage.get(&(row.namespace.clone(), row.name.clone())) {
            Some((cpu, memory)) => [
                Cell::Number(*cpu as f64, Some(format!("{cpu}m"))),
                Cell::Number(*memory as f64, Some(sampan_dashboard_logic::quantity::bytes(*memory as f64))),
            ],
            None => [Cell::Empty, Cell::Empty],
        }
    }
}
