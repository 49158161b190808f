//! Which event to write for what was observed: one again with a higher count, a combined one, or none.
//!
//! Ported from client-go `tools/record/events_cache.go`: the spam filter (25 at once, then one in 5 minutes, per
//! source, object and type), the aggregator (from the 10th different message within 10 minutes on, one combined
//! event) and the logger (the same event again raises its count). Pure of I/O: time is an argument.

use std::hash::Hash;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use crate::hashing::{HashMap, HashSet};

const CACHE: usize = 4096;
const SPAM_BURST: f64 = 25.0;
const SPAM_REFILL_SECONDS: f64 = 300.0;
const SIMILAR_MAX: usize = 10;
const SIMILAR_SECONDS: i64 = 600;
const SUBDOMAIN_MAX: usize = 253;

/// What a component observed.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub object: ObjectReference,
    pub kind: &'static str,
    pub reason: String,
    pub message: String,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    /// The event's name.
    pub name: String,
    pub message: String,
    pub first: Timestamp,
    pub count: i32,
    /// What [`Correlator::lost`] needs if the event written first is gone.
    pub slot: Slot,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ObjectSlot(Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);

/// Identity of events that count as the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    object: ObjectSlot,
    field: Option<String>,
    kind: &'static str,
    reason: String,
    /// `None`: the combined one.
    message: Option<String>,
}

struct Bucket {
    tokens: f64,
    filled: Timestamp,
}

struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

struct Logged {
    name: String,
    first: Timestamp,
    last: Timestamp,
    count: i32,
}

#[derive(Default)]
pub(crate) struct Correlator {
    /// By object and type: many warnings leave news their room.
    buckets: HashMap<(ObjectSlot, &'static str), Bucket>,
    similar: HashMap<Slot, Similar>,
    logged: HashMap<Slot, Logged>,
}

impl Correlator {
    /// The write for one observation; `None` if its source says too much.
    pub fn observe(&mut self, seen: &Observation, now: Timestamp) -> Option<Write> {
        let slot = slot(seen);
        let allowed = self.allows(&slot, now);
        let (slot, message) = self.aggregate(slot, &seen.message, now);
        // upstream counts even what it then filters
        let logged = self.logged.entry(slot.clone()).or_insert_with(|| Logged {
            name: event_name(&seen.object, now),
            first: now,
            last: now,
            count: 0,
        });
        logged.count += 1;
        logged.last = now;
        let write =
            Write { name: logged.name.clone(), message, first: logged.first, count: logged.count, slot };
        trim(&mut self.logged, |logged| logged.last);
        allowed.then_some(write)
    }

    /// The event of `slot` has expired or was deleted: the next one starts anew under another name.
    pub fn lost(&mut self, slot: &Slot, object: &ObjectReference, now: Timestamp) -> String {
        let name = event_name(object, now);
        if let Some(logged) = self.logged.get_mut(slot) {
            logged.name.clone_from(&name);
        }
        name
    }

    fn allows(&mut self, slot: &Slot, now: Timestamp) -> bool {
        let key = (slot.object.clone(), slot.kind);
        let bucket = self.buckets.entry(key).or_insert(Bucket { tokens: SPAM_BURST, filled: now });
        let passed = now.duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed / SPAM_REFILL_SECONDS).min(SPAM_BURST);
        bucket.filled = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        trim(&mut self.buckets, |bucket| bucket.filled);
        allowed
    }

    fn aggregate(&mut self, slot: Slot, message: &str, now: Timestamp) -> (Slot, String) {
        let combined = Slot { message: None, ..slot.clone() };
        let fresh = || Similar { messages: HashSet::default(), last: now };
        let similar = self.similar.entry(combined.clone()).or_insert_with(fresh);
        if now.duration_since(similar.last).as_secs() > SIMILAR_SECONDS {
            *similar = fresh();
        }
        similar.last = now;
        if similar.messages.len() < SIMILAR_MAX {
            similar.messages.insert(message.to_owned());
        }
        let few = similar.messages.len() < SIMILAR_MAX;
        trim(&mut self.similar, |similar| similar.last);
        match few {
            true => (slot, message.to_owned()),
            false => (combined, format!("(combined from similar events): {message}")),
        }
    }
}

fn slot(seen: &Observation) -> Slot {
    let object = &seen.object;
    Slot {
        object: ObjectSlot(
            object.kind.clone(),
            object.namespace.clone(),
            object.name.clone(),
            object.uid.clone(),
            object.api_version.clone(),
        ),
        field: object.field_path.clone(),
        kind: seen.kind,
        reason: seen.reason.clone(),
        message: Some(seen.message.clone()),
    }
}

/// `<object>.<hex of the nanoseconds>`, or a UUID where an event may not be named so (upstream's `GenerateEventName`).
pub(crate) fn event_name(object: &ObjectReference, now: Timestamp) -> String {
    let name = format!("{}.{:x}", object.name.as_deref().unwrap_or_default(), now.as_nanosecond());
    if is_subdomain(&name) { name } else { uuid::Uuid::new_v4().to_string() }
}

/// Whether this is a DNS subdomain, as RFC 1123 has it.
fn is_subdomain(name: &str) -> bool {
    let inner = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-';
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= SUBDOMAIN_MAX && name.split('.').all(is_label)
}

/// Keeps a cache within its bound by dropping the older half.
fn trim<K: Clone + Eq + Hash, V>(cache: &mut HashMap<K, V>, last: impl Fn(&V) -> Timestamp) {
    if cache.len() <= CACHE {
        return;
    }
    let mut times: Vec<Timestamp> = cache.values().map(&last).collect();
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    cache.retain(|_, value| last(value) >= median);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seen(object: &str, message: &str) -> Observation {
        let object =
            ObjectReference { kind: Some("Pod".into()), name: Some(object.into()), ..Default::default() };
        Observation { object, kind: "Warning", reason: "BackOff".into(), message: message.into() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn the_same_event_counts_up_under_one_name() {
        let mut correlator = Correlator::default();
        let first = correlator.observe(&seen("a", "m"), at(0)).unwrap();
        let second = correlator.observe(&seen("a", "m"), at(5)).unwrap();
        assert_eq!((first.count, second.count), (1, 2));
        assert_eq!((&first.name, first.first), (&second.name, second.first));
        assert_eq!(first.name, "a.17979cfe362a0000");
        assert_eq!(correlator.observe(&seen("b", "m"), at(5)).unwrap().count, 1);
    }

    #[test]
    fn an_event_has_a_name_that_the_api_takes() {
        let name = |object: &str| event_name(&seen(object, "m").object, at(0));
        let longest = "p".repeat(236);
        assert_eq!(name(&longest), format!("{longest}.17979cfe362a0000"));
        for object in [&"p".repeat(237), "system:node", "Upper", "-a", "a-", "a..b", ""] {
            let name = name(object);
            assert!(uuid::Uuid::parse_str(&name).is_ok(), "{object}: {name}");
        }
    }

    #[test]
    fn the_tenth_different_message_is_combined() {
        let mut correlator = Correlator::default();
        let writes: Vec<_> =
            (0..12).map(|n| correlator.observe(&seen("a", &format!("m{n}")), at(n)).unwrap()).collect();
        assert_eq!(writes[8].message, "m8");
        assert_eq!(writes[9].message, "(combined from similar events): m9");
        assert_eq!((writes[9].count, writes[11].count), (1, 3));
        let later = correlator.observe(&seen("a", "m20"), at(700)).unwrap();
        assert_eq!((later.message.as_str(), later.count), ("m20", 1));
    }

    #[test]
    fn a_source_may_say_25_things_at_once_about_an_object() {
        let mut correlator = Correlator::default();
        let written = (0..40).filter_map(|_| correlator.observe(&seen("a", "m"), at(0))).count();
        assert_eq!(written, 25);
        assert!(correlator.observe(&seen("a", "m"), at(299)).is_none());
        assert_eq!(correlator.observe(&seen("a", "m"), at(301)).unwrap().count, 42);
        assert!(correlator.observe(&seen("b", "m"), at(0)).is_some());
    }

    #[test]
    fn warnings_leave_news_their_room() {
        let mut correlator = Correlator::default();
        let of = |kind| Observation { kind, ..seen("a", "m") };
        let mut written = |kind| (0..40).filter_map(|_| correlator.observe(&of(kind), at(0))).count();
        assert_eq!((written("Warning"), written("Normal"), written("Warning")), (25, 25, 0));
    }
}
