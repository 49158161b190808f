//! Answers that go on: a JSON value in each line, or server-sent events.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use sampan_apiserver::ResponseBody;
use sampan_process::{Component, ComponentHealth};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::operations::{OperationStatus, Phase, Told};
use super::shapes::ComponentStatus;
use super::{Rest, reply};

const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";

/// In which form an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One value, at the end.
    Value,
    /// A JSON value in each line: `{"progress": …}`, then `{"done": …}` or `{"failed": Status}`.
    Lines,
    /// Server-sent events of those names.
    Events,
}

impl Form {
    /// What a client accepts.
    pub fn of(headers: &HeaderMap) -> Self {
        let accepts = |name: &str| {
            let has = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(name));
            headers.get_all(ACCEPT).iter().any(has)
        };
        match (accepts(EVENTS), accepts(LINES)) {
            (true, _) => Form::Events,
            (_, true) => Form::Lines,
            _ => Form::Value,
        }
    }
}

/// Whether a client would rather ask for the operation later (RFC 7240).
pub fn wants_no_answer(headers: &HeaderMap) -> bool {
    let preferred = headers.get_all("prefer");
    preferred.iter().any(|value| value.to_str().is_ok_and(|text| text.contains("respond-async")))
}

/// A stream of what is told.
pub fn answer(form: Form, told: impl Stream<Item = Told> + Send + 'static) -> Response<ResponseBody> {
    let frame = move |told: Told| {
        let (name, value) = match told {
            Told::Step(step) => ("progress", step),
            Told::End(Ok(value)) => ("done", value),
            Told::End(Err(refusal)) => ("failed", refusal.status()),
        };
        let text = match form {
            Form::Events => format!("event: {name}\ndata: {value}\n\n"),
            Form::Lines | Form::Value => format!("{}\n", json!({name: value})),
        };
        Ok::<_, Infallible>(Frame::data(Bytes::from(text)))
    };
    let body = StreamBody::new(told.map(frame)).map_err(|never| match never {}).boxed_unsync();
    reply::of(200, if form == Form::Events { EVENTS } else { LINES }, body)
}

/// What happens to components and operations, the present state first.
pub fn events(
    health: watch::Receiver<BTreeMap<Component, ComponentHealth>>,
    rest: Arc<Rest>,
) -> impl Stream<Item = Told> + Send {
    let operations = rest.operations.watch();
    let state = State {
        health,
        operations,
        rest,
        known: BTreeMap::new(),
        seen: BTreeSet::new(),
        waiting: Vec::new(),
    };
    futures::stream::unfold(state, |mut state| async move {
        loop {
            if let Some(event) = state.waiting.pop() {
                return Some((Told::Step(event), state));
            }
            state.look();
            if state.waiting.is_empty() {
                let drain = state.rest.tasks.drain();
                tokio::select! {
                    changed = state.health.changed() => changed.ok()?,
                    changed = state.operations.changed() => changed.ok()?,
                    () = drain.wait() => return None,
                }
            }
        }
    })
}

/// An operation that was told of, and whether its end was.
type Seen = (String, bool);

struct State {
    health: watch::Receiver<BTreeMap<Component, ComponentHealth>>,
    operations: watch::Receiver<u64>,
    rest: Arc<Rest>,
    known: BTreeMap<String, Value>,
    seen: BTreeSet<Seen>,
    /// The next one last.
    waiting: Vec<Value>,
}

impl State {
    /// Collects what is different from what was told.
    fn look(&mut self) {
        self.operations.borrow_and_update();
        let components: Vec<(Component, ComponentHealth)> = self
            .health
            .borrow_and_update()
            .iter()
            .map(|(component, health)| (*component, health.clone()))
            .collect();
        for (component, health) in components {
            let value = json!(ComponentStatus::of(component, &health));
            let name = component.name().to_owned();
            if self.known.get(&name) != Some(&value) {
                self.known.insert(name, value.clone());
                self.waiting.push(json!({"component": value}));
            }
        }
        let operations = unseen(&mut self.seen, self.rest.operations.list());
        self.waiting.extend(operations.into_iter().map(|one| json!({"operation": short(one)})));
        self.waiting.reverse();
    }
}

/// Those of the operations that were not told of as they are; what is not among them any more need not be known.
fn unseen(seen: &mut BTreeSet<Seen>, operations: Vec<OperationStatus>) -> Vec<OperationStatus> {
    let as_is = |one: &OperationStatus| (one.id.clone(), one.phase != Phase::Running);
    let now: BTreeSet<Seen> = operations.iter().map(as_is).collect();
    let before = std::mem::replace(seen, now);
    operations.into_iter().filter(|one| !before.contains(&as_is(one))).collect()
}

/// Without what `/operations/{id}` is asked for.
fn short(operation: OperationStatus) -> Value {
    let OperationStatus { id, verb, target, user, phase, started, ended, .. } = operation;
    json!({"id": id, "verb": verb, "target": target, "user": user, "phase": phase, "started": started, "ended": ended})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_say_what_they_want() {
        let form = |accept: &'static str| {
            Form::of(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]))
        };
        assert_eq!(form("application/json"), Form::Value);
        assert_eq!(form("application/x-ndjson"), Form::Lines);
        assert_eq!(form("text/event-stream, */*"), Form::Events);
        assert_eq!(Form::of(&HeaderMap::new()), Form::Value);
    }

    #[test]
    fn an_operation_is_told_of_twice_and_then_forgotten() {
        let operations = super::super::operations::Operations::default();
        let mut seen = BTreeSet::new();
        let mut told = 0;
        for _ in 0..300 {
            let operation = operations.begin("pullImage", "x", "me");
            told += unseen(&mut seen, operations.list()).len();
            operation.end(Ok(Value::Null));
            told += unseen(&mut seen, operations.list()).len();
            assert!(unseen(&mut seen, operations.list()).is_empty());
        }
        assert_eq!(told, 600);
        assert_eq!(seen.len(), operations.list().len());
    }
}
