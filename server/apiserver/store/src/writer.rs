//! The writer task: takes what has queued, decides it, commits it, publishes it, answers; then again.
//!
//! It sleeps until a request comes or the next thing is due: writing relaxed changes, compaction, tidying
//! the file. Watchers are told by a task of their own, so that many of them do not hold up the next commit.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::Config;
use crate::disk::{Disk, Marks, rows};
use crate::error::WriteError;
use crate::memory::Memory;
use crate::plan::Plan;
use crate::store::Shared;
use crate::types::{Entry, Event, EventKind, Write};

/// Revisions that the file reserves ahead, so that relaxed changes can be published before they are written.
const RESERVE: u64 = 10_000;
/// Requests that go down in one transaction.
const BATCH: usize = 1024;
/// Compacted changes whose rows one transaction deletes.
const GARBAGE: usize = 1024;
/// Relaxed changes that may wait while the disk refuses them.
const UNWRITTEN: usize = 65_536;
/// How long after the first commit the file is tidied.
const TIDY: Duration = Duration::from_secs(60);

/// The last events, whose frames are kept.
const FRAMED: usize = 1024;

/// How long the writer leaves the disk alone after a failure, unless a write comes.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of one write.
pub type Written = Result<Arc<Entry>, WriteError>;

/// What handles of the store ask of the writer.
pub enum Request {
    /// One write.
    One(Write, oneshot::Sender<Written>),
    /// Several in one commit.
    Many(Vec<Write>, oneshot::Sender<Vec<Written>>),
    /// Several of which all are done or none.
    Together(Vec<Write>, oneshot::Sender<Result<Vec<Arc<Entry>>, WriteError>>),
    /// Finish.
    Close(oneshot::Sender<()>),
}

enum Reply {
    One(oneshot::Sender<Written>),
    Many(oneshot::Sender<Vec<Written>>),
    Together(oneshot::Sender<Result<Vec<Arc<Entry>>, WriteError>>),
}

/// What is said to whom, once the batch has gone down.
type Answers = Vec<(Reply, Vec<Written>)>;

struct Ask {
    writes: Vec<Write>,
    reply: Reply,
}

/// The way of published events to the watchers.
pub struct Delivery {
    /// Takes events in revision order.
    pub events: mpsc::UnboundedSender<Vec<Arc<Event>>>,
    /// Ends when everything is delivered and `events` is dropped.
    pub task: JoinHandle<()>,
}

/// Tells the hub what is published until there is nobody left to publish. The history keeps events for minutes, their frames
/// only as long as watchers that keep up need them.
pub async fn deliver(shared: Arc<Shared>, mut events: mpsc::UnboundedReceiver<Vec<Arc<Event>>>) {
    let mut recent = VecDeque::new();
    while let Some(events) = events.recv().await {
        shared.hub.lock().publish(&events);
        // not those that have just come, however many they are
        let old = recent.len().saturating_sub(FRAMED);
        let old = recent.drain(..old).filter_map(|event: Weak<Event>| event.upgrade());
        old.for_each(|event| event.frames.forget());
        recent.extend(events.iter().map(Arc::downgrade));
    }
}

/// The task's state.
pub struct Writer {
    shared: Arc<Shared>,
    config: Config,
    disk: Disk,
    marks: Marks,
    requests: mpsc::Receiver<Request>,
    /// Taken at the end.
    delivery: Option<Delivery>,
    /// Published, not yet in the file; in revision order.
    unwritten: Vec<Arc<Event>>,
    /// Revisions whose states are to be deleted from the file.
    garbage: Vec<u64>,
    flush_at: Option<Instant>,
    tidy_at: Option<Instant>,
    compacted_at: Option<Instant>,
    /// After a failure nothing is due before this; writes try again at once.
    paused_until: Option<Instant>,
    /// Held while the store is open.
    _lock: File,
}

impl Writer {
    /// A writer to `disk`.
    pub fn new(
        shared: Arc<Shared>,
        config: Config,
        disk: Disk,
        marks: Marks,
        requests: mpsc::Receiver<Request>,
        delivery: Delivery,
        lock: File,
    ) -> Self {
        Self {
            shared,
            config,
            disk,
            marks,
            requests,
            delivery: Some(delivery),
            unwritten: Vec::new(),
            garbage: Vec::new(),
            flush_at: None,
            tidy_at: None,
            compacted_at: None,
            paused_until: None,
            _lock: lock,
        }
    }

    /// Runs until the store is closed or its last handle is dropped.
    pub async fn run(mut self) {
        let mut batch = Vec::new();
        let mut closing = Vec::new();
        while closing.is_empty() {
            let due = self.due();
            let received = tokio::select! {
                biased;
                received = self.requests.recv_many(&mut batch, BATCH) => received,
                () = sleep_until(due) => {
                    self.on_time().await;
                    continue;
                }
            };
            if received == 0 {
                break;
            }
            self.gather(&mut batch).await;
            let (relaxed, durable) = self.sort(&mut batch, &mut closing);
            self.write(relaxed, true).await;
            self.write(durable, false).await;
        }
        self.finish().await;
        for closed in closing {
            let _ = closed.send(());
        }
    }

    /// Lets those come along who were answered a moment ago and ask again at once: takes more as long as each
    /// turn of the other tasks brings some. Otherwise they would fall into two halves, each waiting for the
    /// other's commit.
    async fn gather(&mut self, batch: &mut Vec<Request>) {
        let mut before = 0;
        while batch.len() > before && batch.len() < BATCH {
            before = batch.len();
            tokio::task::yield_now().await;
            while batch.len() < BATCH
                && let Ok(request) = self.requests.try_recv()
            {
                batch.push(request);
            }
        }
    }

    /// Splits a batch into requests that need not wait for the disk and those that must.
    fn sort(&self, batch: &mut Vec<Request>, closing: &mut Vec<oneshot::Sender<()>>) -> (Vec<Ask>, Vec<Ask>) {
        let asks = batch.drain(..).filter_map(|request| match request {
            Request::One(write, reply) => Some(Ask { writes: vec![write], reply: Reply::One(reply) }),
            Request::Many(writes, reply) => Some(Ask { writes, reply: Reply::Many(reply) }),
            Request::Together(writes, reply) => Some(Ask { writes, reply: Reply::Together(reply) }),
            Request::Close(reply) => {
                closing.push(reply);
                None
            }
        });
        asks.partition(|ask| ask.writes.iter().all(|write| (self.config.relaxed)(&write.key)))
    }

    /// Decides, commits unless `relaxed`, publishes and answers `asks`.
    async fn write(&mut self, asks: Vec<Ask>, relaxed: bool) {
        if asks.is_empty() {
            return;
        }
        let (events, mut answers) = self.plan(asks);
        let last = events.last().map_or(0, |event| event.revision);
        let waits = relaxed && last <= self.marks.reserved && self.unwritten.len() < UNWRITTEN;
        let refused = match (events.is_empty(), waits) {
            (true, _) => None,
            (false, true) => {
                self.unwritten.extend_from_slice(&events);
                self.flush_at.get_or_insert(Instant::now() + self.config.relaxed_delay);
                None
            }
            (false, false) => self.commit(&events).await.err(),
        };
        match &refused {
            None => {
                self.shared.publish(&events);
                if let Some(delivery) = &self.delivery {
                    // the receiver ends after the writer only
                    let _ = delivery.events.send(events);
                }
            }
            Some(error) => answers.iter_mut().for_each(|(_, answer)| self.refuse(answer, error)),
        }
        for (reply, answer) in answers {
            send(reply, answer);
        }
    }

    fn plan(&self, asks: Vec<Ask>) -> (Vec<Arc<Event>>, Answers) {
        let memory = self.shared.memory.read();
        let mut plan = Plan::new(&memory, &self.config, self.shared.clock.now());
        let mut answers = Vec::with_capacity(asks.len());
        for ask in asks {
            let written = match &ask.reply {
                Reply::Together(_) => plan.add_together(ask.writes),
                Reply::One(_) | Reply::Many(_) => {
                    ask.writes.into_iter().map(|write| plan.add(write)).collect()
                }
            };
            answers.push((ask.reply, written));
        }
        (plan.events, answers)
    }

    /// Nothing of the batch was committed: what was granted, and what was refused because of something
    /// granted, is answered with the disk's error.
    fn refuse(&self, answer: &mut [Written], error: &WriteError) {
        let published = self.shared.memory.read().revision();
        for written in answer {
            let stands = match written {
                Err(WriteError::Exists(entry) | WriteError::Changed(entry)) => entry.revision <= published,
                Err(WriteError::Missing) | Ok(_) => false,
                Err(_) => true,
            };
            if !stands {
                *written = Err(error.clone());
            }
        }
    }

    /// Writes what is unwritten, then `events`, and deletes what was compacted.
    async fn commit(&mut self, events: &[Arc<Event>]) -> Result<(), WriteError> {
        self.collect_garbage();
        let rows = rows(self.unwritten.iter().chain(events), &*self.config.seal);
        let last = events.last().or(self.unwritten.last()).map_or(self.marks.written, |event| event.revision);
        let reserved = match last + RESERVE / 2 > self.marks.reserved {
            true => last + RESERVE,
            false => self.marks.reserved,
        };
        let compacted = self.shared.memory.read().oldest();
        self.save(rows, Marks { written: last, reserved, compacted }).await
    }

    async fn save(&mut self, rows: crate::disk::Rows, marks: Marks) -> Result<(), WriteError> {
        self.disk.commit(rows, &self.garbage, marks).await?;
        self.marks = marks;
        self.unwritten.clear();
        self.garbage.clear();
        self.flush_at = None;
        self.paused_until = None;
        self.tidy_at.get_or_insert(Instant::now() + TIDY);
        Ok(())
    }

    /// Forgets what is too old or too much; its rows go with the next commit.
    fn collect_garbage(&mut self) {
        if self.compaction_due().is_none_or(|due| due > Instant::now()) || self.garbage.len() >= GARBAGE {
            return;
        }
        let cutoff = self.shared.clock.now() - millis(self.config.history);
        let mut memory = self.shared.memory.write();
        let most = self.history_bytes(&memory);
        let gone = memory.compact(cutoff, most, self.marks.written, GARBAGE);
        drop(memory);
        if gone.len() < GARBAGE {
            self.compacted_at = Some(Instant::now());
        }
        for event in gone {
            self.garbage.extend(event.prev.as_ref().map(|prev| prev.revision));
            if event.kind == EventKind::Deleted {
                self.garbage.push(event.revision);
            }
        }
    }

    /// How much history is to stay. What is over makes room for a while: rows go by whole pages then, which is far
    /// less work than a few of them with each commit.
    fn history_bytes(&self, memory: &Memory) -> u64 {
        let most = self.config.history_max_bytes;
        match memory.over(most) {
            true => most - most / 16,
            false => most,
        }
    }

    /// When compaction is next due: when the oldest change is too old, but twenty times per window at most.
    fn compaction_due(&self) -> Option<Instant> {
        let memory = self.shared.memory.read();
        let oldest = memory.oldest_event_at()?;
        if memory.over(self.config.history_max_bytes) {
            return Some(Instant::now());
        }
        let age = self.shared.clock.now().saturating_sub(oldest).max(0).unsigned_abs();
        let left = self.config.history.saturating_sub(Duration::from_millis(age));
        let pause = self.compacted_at.map(|at| at + self.config.history / 20);
        Some((Instant::now() + left).max(pause.unwrap_or_else(Instant::now)))
    }

    fn due(&self) -> Option<Instant> {
        let due = [self.flush_at, self.tidy_at, self.compaction_due()].into_iter().flatten().min();
        due.map(|due| self.paused_until.map_or(due, |pause| due.max(pause)))
    }

    async fn on_time(&mut self) {
        let compaction = self.compaction_due();
        // after the above: what is due at once must not seem to lie ahead
        let now = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if (due(compaction) || due(self.flush_at))
            && let Err(error) = self.commit(&[]).await
        {
            tracing::warn!(%error, unwritten = self.unwritten.len(), "cannot write to the database");
            self.paused_until = Some(now + PAUSE);
        }
        if due(self.tidy_at) {
            self.tidy_at = None;
            if let Err(error) = self.disk.tidy().await {
                tracing::warn!(%error, "cannot tidy the database");
                self.tidy_at = Some(now + TIDY);
            }
        }
    }

    /// Writes what is unwritten, gives back the reserved revisions and closes the file.
    async fn finish(mut self) {
        self.requests.close();
        if let Some(Delivery { events, task }) = self.delivery.take() {
            drop(events);
            if let Err(error) = task.await {
                tracing::error!(%error, "watchers have missed the last changes");
            }
        }
        self.shared.hub.lock().close();
        let rows = rows(&self.unwritten, &*self.config.seal);
        let (revision, compacted) = {
            let memory = self.shared.memory.read();
            (memory.revision(), memory.oldest())
        };
        let marks = Marks { written: revision, reserved: revision, compacted };
        if let Err(error) = self.save(rows, marks).await {
            tracing::error!(%error, unwritten = self.unwritten.len(), "relaxed writes are lost");
        }
        let _ = self.disk.tidy().await;
        if let Err(error) = self.disk.close().await {
            tracing::error!(%error, "cannot close the database");
        }
    }
}

fn send(reply: Reply, mut answer: Vec<Written>) {
    match reply {
        Reply::One(reply) => drop(reply.send(answer.pop().unwrap_or(Err(WriteError::Closed)))),
        Reply::Many(reply) => drop(reply.send(answer)),
        Reply::Together(reply) => drop(reply.send(answer.into_iter().collect())),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
