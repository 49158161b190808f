//! What takes time: each verb that does is an operation, which goes on when whoever asked goes away, and whose steps
//! can be asked for again by its id.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::{FutureExt, Stream};
use jiff::Timestamp;
use parking_lot::Mutex;
use sampan_process::Drain;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::reply::Refusal;

/// How many are remembered.
const KEPT: usize = 100;

/// What an operation tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// It goes on.
    Step(Value),
    /// It has ended.
    End(Result<Value, Refusal>),
}

/// How an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Phase {
    /// It goes on.
    Running,
    /// It has ended as wanted.
    Succeeded,
    /// It has ended otherwise.
    Failed,
}

/// An operation, as it is shown.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    /// Names it in `/operations/{id}`.
    pub id: String,
    /// The verb, such as `enableAddon`.
    pub verb: String,
    /// What it is done to; empty for the cluster itself.
    pub target: String,
    /// Who asked.
    pub user: String,
    /// How it is.
    pub phase: Phase,
    /// When it began, RFC 3339.
    pub started: String,
    /// When it ended.
    pub ended: Option<String>,
    /// Its steps so far.
    pub steps: Vec<Value>,
    /// What came of it.
    pub result: Option<Value>,
    /// Why it failed: a `Status`.
    pub error: Option<Value>,
}

/// One operation.
pub struct Operation {
    id: String,
    verb: &'static str,
    target: String,
    user: String,
    started: Timestamp,
    log: Mutex<Log>,
    told: watch::Sender<usize>,
    /// Of all operations.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Log {
    steps: Vec<Value>,
    end: Option<(Timestamp, Result<Value, Refusal>)>,
}

impl Operation {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// It goes on.
    pub fn step(&self, step: Value) {
        self.log.lock().steps.push(step);
        self.told.send_modify(|count| *count += 1);
    }

    /// It has ended; how, is said once. Who looks at all operations is told, too.
    pub fn end(&self, result: Result<Value, Refusal>) {
        self.log.lock().end.get_or_insert_with(|| (Timestamp::now(), result));
        self.told.send_modify(|count| *count += 1);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Does its work to the end. Work that panics has failed, and so has what the drain cuts off.
    pub async fn carry_out(&self, work: impl Future<Output = Result<Value, Refusal>>, drain: Drain) {
        let result = tokio::select! {
            result = AssertUnwindSafe(work).catch_unwind() => result,
            () = drain.wait() => Ok(Err(Refusal::ending())),
        };
        self.end(result.unwrap_or_else(|_| {
            tracing::error!(
                operation = self.id,
                verb = self.verb,
                target = self.target,
                "an operation panicked"
            );
            Err(Refusal::internal("it panicked, which is a bug: `sampan logs sampan` says where"))
        }));
    }

    /// As it is now.
    pub fn status(&self) -> OperationStatus {
        let log = self.log.lock();
        let (phase, ended, result, error) = match &log.end {
            None => (Phase::Running, None, None, None),
            Some((at, Ok(value))) => (Phase::Succeeded, Some(at.to_string()), Some(value.clone()), None),
            Some((at, Err(refusal))) => (Phase::Failed, Some(at.to_string()), None, Some(refusal.status())),
        };
        OperationStatus {
            id: self.id.clone(),
            verb: self.verb.to_owned(),
            target: self.target.clone(),
            user: self.user.clone(),
            phase,
            started: self.started.to_string(),
            ended,
            steps: log.steps.clone(),
            result,
            error,
        }
    }

    /// What it told and will tell, from its first step on.
    pub fn follow(self: Arc<Self>) -> impl Stream<Item = Told> + Send {
        let told = self.told.subscribe();
        futures::stream::unfold(Some((self, told, 0)), |state| async move {
            let (operation, mut told, at) = state?;
            loop {
                told.borrow_and_update();
                let next = {
                    let log = operation.log.lock();
                    let step = log.steps.get(at).cloned().map(Told::Step);
                    step.or_else(|| log.end.as_ref().map(|(_, result)| Told::End(result.clone())))
                };
                match next {
                    Some(end @ Told::End(_)) => return Some((end, None)),
                    Some(step) => return Some((step, Some((operation, told, at + 1)))),
                    // the operation holds the sender
                    None => told.changed().await.ok()?,
                }
            }
        })
    }
}

/// The operations of this daemon.
pub struct Operations {
    all: Mutex<VecDeque<Arc<Operation>>>,
    changed: watch::Sender<u64>,
}

impl Default for Operations {
    fn default() -> Self {
        Self { all: Mutex::default(), changed: watch::channel(0).0 }
    }
}

impl Operations {
    /// Begins one.
    pub fn begin(&self, verb: &'static str, target: &str, user: &str) -> Arc<Operation> {
        let operation = Arc::new(Operation {
            id: format!("{:016x}", rand::random::<u64>()),
            verb,
            target: target.to_owned(),
            user: user.to_owned(),
            started: Timestamp::now(),
            log: Mutex::default(),
            told: watch::channel(0).0,
            changed: self.changed.clone(),
        });
        let mut all = self.all.lock();
        if all.len() >= KEPT {
            // one that goes on is not forgotten for one that ended
            let ended = all.iter().position(|one| one.log.lock().end.is_some()).unwrap_or(0);
            all.remove(ended);
        }
        all.push_back(operation.clone());
        drop(all);
        self.changed.send_modify(|count| *count += 1);
        operation
    }

    /// By its id.
    pub fn find(&self, id: &str) -> Option<Arc<Operation>> {
        self.all.lock().iter().find(|operation| operation.id == id).cloned()
    }

    /// All that are remembered, the oldest first.
    pub fn list(&self) -> Vec<OperationStatus> {
        self.all.lock().iter().map(|operation| operation.status()).collect()
    }

    /// Changes when one begins or ends.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// Tells whoever asked for an operation what others do about it. One that nobody does any more has failed.
pub struct Telling(Arc<Operation>);

impl Telling {
    /// Of an operation.
    pub fn new(operation: Arc<Operation>) -> Self {
        Self(operation)
    }

    /// It goes on.
    pub fn step(&self, step: Value) {
        self.0.step(step);
    }

    /// It is done.
    pub fn done(&self, value: Value) {
        self.0.end(Ok(value));
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.end(Err(Refusal::ending()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use serde_json::json;

    #[tokio::test]
    async fn steps_can_be_heard_again() {
        let operations = Operations::default();
        let operation = operations.begin("pullImage", "nginx", "me");
        operation.step(json!(1));
        let early = operation.clone().follow();
        let listening = tokio::spawn(early.collect::<Vec<_>>());
        operation.step(json!(2));
        operation.end(Ok(json!("done")));
        let all = [Told::Step(json!(1)), Told::Step(json!(2)), Told::End(Ok(json!("done")))];
        assert_eq!(listening.await.expect("no panic"), all);
        let again = operations.find(operation.id()).expect("is remembered");
        assert_eq!(again.clone().follow().collect::<Vec<_>>().await, all);
        assert_eq!(again.status().phase, Phase::Succeeded);
    }

    #[test]
    fn those_that_ended_are_forgotten_first() {
        let operations = Operations::default();
        let running = operations.begin("backup", "", "me");
        for _ in 0..KEPT + 5 {
            let operation = operations.begin("pullImage", "x", "me");
            operation.end(Ok(Value::Null));
        }
        assert_eq!(operations.list().len(), KEPT);
        assert!(operations.find(running.id()).is_some());
    }

    #[tokio::test]
    async fn an_operation_ends_whatever_becomes_of_its_work() {
        let operations = Operations::default();
        let mut changed = operations.watch();
        let ended = |operation: Arc<Operation>| async move {
            match operation.follow().collect::<Vec<_>>().await.pop() {
                Some(Told::End(Err(refusal))) => refusal.status()["message"].to_string(),
                other => panic!("{other:?}"),
            }
        };
        let panicking = operations.begin("backup", "", "me");
        let broken: Option<Value> = serde_json::from_str("").ok();
        panicking.carry_out(async { Ok(broken.expect("a value")) }, Drain::new()).await;
        assert!(ended(panicking).await.contains("panicked"));
        let cut_off = operations.begin("backup", "", "me");
        let drain = Drain::new();
        drain.start();
        cut_off.carry_out(std::future::pending(), drain).await;
        assert!(ended(cut_off).await.contains("ending"));
        let stopping = operations.begin("stop", "", "me");
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        drop(receiver);
        assert!(sender.send(Telling::new(stopping.clone())).await.is_err());
        changed.mark_unchanged();
        assert!(ended(stopping).await.contains("ending"));
        let done = operations.begin("stop", "", "me");
        Telling::new(done.clone()).done(json!("stopped"));
        assert_eq!(done.status().phase, Phase::Succeeded);
        assert!(changed.has_changed().expect("not closed"), "who looks at all is told");
    }
}
