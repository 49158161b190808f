//! One view of a list: the snapshot in pages, then what changes, many changes at once.
//!
//! ```text
//!          ┌──────────── revision forgotten, or never known ◄─────────────┐
//!          ▼                                                               │
//!   Begin, Rows… ──► Live ──► events ──30 ms (hidden: 1 s)──► Change ──► … ┘
//!                               ▲
//!                    rights change: watch anew, where we are ──► Refused ──► rights change: begin anew
//! ```

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use sampan_view::feed::{Ask, Count, Kind, ROWS, Tell};
use sampan_view::place::encode;
use sampan_view::{Column, Filter, Health, Row};
use tokio::time::{Instant, sleep, sleep_until};

use super::desk::Desk;
use super::project::{Projection, Table};
use super::source::{Event, Failure, Page, Source, Wanted};
use super::usage;

/// Changes within this time are told at once: a person sees no difference, a thousand events cost one.
const WINDOW: Duration = Duration::from_millis(30);
/// The same where nobody looks.
const HIDDEN_WINDOW: Duration = Duration::from_secs(1);
/// Rights change in bursts: a role, then its binding.
pub const SETTLING: Duration = Duration::from_millis(200);

/// What a view's task has.
struct List {
    desk: Desk,
    view: u32,
    kind: Kind,
    namespaces: Vec<String>,
    targets: Vec<String>,
    filter: Filter,
    summary: bool,
    projection: Option<Projection>,
    /// Where each source is.
    revisions: Vec<String>,
    /// How the rows are, for a summary.
    health: HashMap<String, Health>,
    batch: Batch,
}

#[derive(Default)]
struct Batch {
    gone: HashSet<String>,
    rows: HashMap<String, Row>,
    /// A bookmark, or a change that the filter hides: only the revision is news.
    moved: bool,
    due: Option<Instant>,
}

/// Why following stopped.
enum Stop {
    /// Begin anew.
    Anew,
    /// Nobody listens.
    Gone,
    /// The API refuses.
    Refused(u16, String, String),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(code, reason, message) => Stop::Refused(code, reason, message),
            Failure::Expired | Failure::Broken => Stop::Anew,
        }
    }
}

/// Serves a view until nobody listens or it is refused for good.
pub async fn run(desk: Desk, ask: Ask) {
    let Ask::Open { view, kind, namespaces, label_selector, field_selector, filter, summary, since } = ask
    else {
        return;
    };
    let filter = match Filter::parse(&filter) {
        Ok(filter) => filter,
        Err(error) => {
            let message = error.to_string();
            let refused = Tell::Refused { view, code: 422, reason: "Invalid".into(), message };
            let _ = desk.tell.send(refused).await;
            return;
        }
    };
    let targets = targets(&kind, &namespaces, &label_selector, &field_selector);
    let known = since.map(|since| since.split(',').map(str::to_owned).collect::<Vec<_>>());
    let list = List {
        revisions: known.filter(|known| known.len() == targets.len() && !summary).unwrap_or_default(),
        desk,
        view,
        kind,
        namespaces,
        targets,
        filter,
        summary,
        projection: None,
        health: HashMap::new(),
        batch: Batch::default(),
    };
    list.serve().await;
}

/// Paths with selectors, one for each namespace.
pub fn targets(kind: &Kind, namespaces: &[String], labels: &str, fields: &str) -> Vec<String> {
    let base = base(kind);
    let resource = encode(&kind.resource);
    let selectors = [("labelSelector", labels), ("fieldSelector", fields)];
    let query: Vec<String> = selectors
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    if namespaces.is_empty() {
        return vec![format!("{base}/{resource}{query}")];
    }
    let one = |namespace: &String| format!("{base}/namespaces/{}/{resource}{query}", segment(namespace));
    namespaces.iter().map(one).collect()
}

/// `/api/v1`, `/apis/apps/v1`.
pub fn base(kind: &Kind) -> String {
    match kind.group.as_str() {
        "" => format!("/api/{}", segment(&kind.version)),
        group => format!("/apis/{}/{}", segment(group), segment(&kind.version)),
    }
}

/// One part of a path: what would end it is encoded.
pub fn segment(text: &str) -> String {
    encode(text).replace('/', "%2F")
}

type Next = BoxFuture<'static, (usize, Source, String, Result<Event, Failure>)>;

fn next(at: usize, mut source: Source, mut revision: String, after_pause: bool) -> Next {
    Box::pin(async move {
        if after_pause {
            source.pause().await;
        }
        let result = source.next(&mut revision).await;
        (at, source, revision, result)
    })
}

impl List {
    async fn serve(mut self) {
        let mut pause = Duration::ZERO;
        loop {
            let began = Instant::now();
            let stop = match self.once().await {
                Err(stop) => stop,
                Ok(never) => match never {},
            };
            self.batch = Batch::default();
            self.revisions.clear();
            match stop {
                Stop::Gone => return,
                Stop::Anew => {
                    // what fails at once is not asked again at once
                    pause = if began.elapsed() > Duration::from_secs(10) {
                        Duration::ZERO
                    } else {
                        (pause * 2).clamp(WINDOW, Duration::from_secs(10))
                    };
                    sleep(pause).await;
                }
                Stop::Refused(code, reason, message) => {
                    let refused = Tell::Refused { view: self.view, code, reason, message };
                    if self.desk.tell.send(refused).await.is_err() || code != 403 {
                        return;
                    }
                    if self.desk.rights.changed().await.is_err() {
                        return;
                    }
                    sleep(SETTLING).await;
                }
            }
        }
    }

    async fn once(&mut self) -> Result<std::convert::Infallible, Stop> {
        self.desk.rights.mark_unchanged();
        if self.revisions.is_empty() {
            self.begin().await?;
        } else {
            self.learn_columns().await?;
        }
        let revision = self.revision();
        if self.summary {
            self.tell_summary().await?;
        }
        self.tell(Tell::Live { view: self.view, revision }).await?;
        loop {
            self.follow().await?;
        }
    }

    fn source(&self, at: usize) -> Source {
        let wanted = match Projection::wants_object(&self.kind.group, &self.kind.resource) {
            true => Wanted::RowWithObject,
            false => Wanted::Row,
        };
        Source::new(self.desk.api.clone(), self.desk.user.clone(), self.targets[at].clone(), wanted)
    }

    fn revision(&self) -> String {
        self.revisions.join(",")
    }

    async fn tell(&self, tell: Tell) -> Result<(), Stop> {
        self.desk.tell.send(tell).await.map_err(|_| Stop::Gone)
    }

    /// The snapshot, page by page, each exact at its source's revision.
    async fn begin(&mut self) -> Result<(), Stop> {
        self.health.clear();
        let mut begun = false;
        for at in 0..self.targets.len() {
            let mut source = self.source(at);
            let mut next: Option<String> = None;
            loop {
                let Page { list: table, revision, next: later, remaining } =
                    source.list_page::<Table>(ROWS, next.as_deref()).await?;
                self.columns(&table);
                if !begun && !self.summary {
                    begun = true;
                    let rows = u32::try_from(table.rows.as_ref().map_or(0, Vec::len)).unwrap_or(u32::MAX);
                    let total = rows.saturating_add(remaining);
                    self.tell(Tell::Begin { view: self.view, columns: self.shown_columns(), total }).await?;
                }
                self.tell_rows(table).await?;
                next = later;
                if next.is_none() {
                    self.revisions.push(revision);
                    break;
                }
            }
        }
        Ok(())
    }

    async fn tell_rows(&mut self, table: Table) -> Result<(), Stop> {
        let rows: Vec<Row> = table.rows.into_iter().flatten().filter_map(|row| self.project(row)).collect();
        let rows: Vec<Row> = rows.into_iter().filter(|row| self.filter.holds(row)).collect();
        if self.summary {
            self.health.extend(rows.into_iter().map(|row| (row.uid, row.health)));
            return Ok(());
        }
        match rows.is_empty() {
            true => Ok(()),
            false => self.tell(Tell::Rows { view: self.view, rows }).await,
        }
    }

    /// The browser has rows of these revisions; what is missing is how rows are made.
    async fn learn_columns(&mut self) -> Result<(), Stop> {
        let page = self.source(0).list_page::<Table>(1, None).await?;
        self.columns(&page.list);
        Ok(())
    }

    fn columns(&mut self, table: &Table) {
        if let Some(columns) = table.column_definitions.clone().filter(|columns| !columns.is_empty()) {
            self.projection = Some(Projection::new(&self.kind.group, &self.kind.resource, columns));
        }
    }

    fn shown_columns(&self) -> Vec<Column> {
        self.projection.as_ref().map(Projection::columns).unwrap_or_default()
    }

    fn project(&self, row: super::project::TableRow) -> Option<Row> {
        Some(self.projection.as_ref()?.row(row))
    }

    /// Follows until rights change.
    async fn follow(&mut self) -> Result<(), Stop> {
        let mut pending: FuturesUnordered<Next> = FuturesUnordered::new();
        for at in 0..self.targets.len() {
            pending.push(next(at, self.source(at), self.revisions[at].clone(), false));
        }
        let measured = usage::is_measured(&self.kind) && !self.summary;
        let mut measure = Instant::now();
        let far = Duration::from_secs(86_400);
        loop {
            let hidden = *self.desk.hidden.borrow_and_update();
            let due = self.batch.due.unwrap_or_else(|| Instant::now() + far);
            tokio::select! {
                Some((at, source, revision, result)) = pending.next() => match result {
                    Ok(event) => {
                        self.revisions[at].clone_from(&revision);
                        self.take(&event, hidden);
                        pending.push(next(at, source, revision, false));
                    }
                    Err(Failure::Broken) => pending.push(next(at, source, revision, true)),
                    Err(failure) => return Err(failure.into()),
                },
                () = sleep_until(due), if self.batch.due.is_some() => self.flush().await?,
                changed = self.desk.hidden.changed() => {
                    if changed.is_err() {
                        return Err(Stop::Gone);
                    }
                    if self.batch.due.is_some() {
                        self.batch.due = Some(Instant::now());
                    }
                }
                changed = self.desk.rights.changed() => {
                    if changed.is_err() {
                        return Err(Stop::Gone);
                    }
                    sleep(SETTLING).await;
                    self.desk.rights.mark_unchanged();
                    return Ok(());
                }
                () = sleep_until(measure), if measured && !hidden => {
                    measure = Instant::now() + self.tell_usage().await?;
                }
            }
        }
    }

    /// Tells what is used, and when to look again.
    async fn tell_usage(&self) -> Result<Duration, Stop> {
        match usage::read(&self.desk, &self.kind, &self.namespaces).await {
            Some(usage) => {
                self.tell(Tell::Usage { view: self.view, usage }).await?;
                Ok(usage::EVERY)
            }
            None => Ok(usage::UNKNOWN_FOR),
        }
    }

    fn take(&mut self, event: &Event, hidden: bool) {
        self.batch.moved = true;
        if event.is_change() {
            let table = match serde_json::from_str::<Table>(event.object.get()) {
                Ok(table) => table,
                Err(error) => {
                    tracing::error!(%error, kind = self.kind.resource, "an event is no Table; the view misses it");
                    return;
                }
            };
            self.columns(&table);
            let deleted = event.kind == "DELETED";
            for row in table.rows.into_iter().flatten() {
                if let Some(row) = self.project(row) {
                    self.put(row, deleted);
                }
            }
        }
        let window = if hidden { HIDDEN_WINDOW } else { WINDOW };
        self.batch.due.get_or_insert_with(|| Instant::now() + window);
    }

    fn put(&mut self, row: Row, deleted: bool) {
        if deleted || !self.filter.holds(&row) {
            self.batch.rows.remove(&row.uid);
            self.health.remove(&row.uid);
            self.batch.gone.insert(row.uid);
        } else if self.summary {
            self.health.insert(row.uid, row.health);
        } else {
            self.batch.rows.insert(row.uid.clone(), row);
        }
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        let Batch { gone, rows, .. } = std::mem::take(&mut self.batch);
        if self.summary {
            return self.tell_summary().await;
        }
        let mut gone: Vec<String> = gone.into_iter().collect();
        let mut rows: Vec<Row> = rows.into_values().collect();
        loop {
            let later = rows.split_off(rows.len().min(ROWS));
            let revision = self.revision();
            let change = Tell::Change { view: self.view, gone: std::mem::take(&mut gone), rows, revision };
            self.tell(change).await?;
            if later.is_empty() {
                return Ok(());
            }
            rows = later;
        }
    }

    async fn tell_summary(&self) -> Result<(), Stop> {
        let count = |health: Health| Count {
            health,
            count: u32::try_from(self.health.values().filter(|own| **own == health).count())
                .unwrap_or(u32::MAX),
        };
        let counts = Health::ALL.into_iter().map(count).filter(|count| count.count > 0).collect();
        self.tell(Tell::Summary { view: self.view, counts }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(group: &str, resource: &str) -> Kind {
        Kind { group: group.into(), version: "v1".into(), resource: resource.into() }
    }

    #[test]
    fn each_namespace_is_a_source() {
        let namespaces = ["a".to_owned(), "b/../c".to_owned()];
        assert_eq!(targets(&kind("", "pods"), &[], "", ""), ["/api/v1/pods"]);
        assert_eq!(
            targets(&kind("apps", "deployments"), &namespaces, "app=web", "metadata.name=x"),
            [
                "/apis/apps/v1/namespaces/a/deployments?labelSelector=app%3Dweb&fieldSelector=metadata.name%3Dx",
                "/apis/apps/v1/namespaces/b%2F..%2Fc/deployments?labelSelector=app%3Dweb&fieldSelector=metadata.name%3Dx",
            ]
        );
    }
}
