//! Which event of the newer API (events.k8s.io) to write for what was observed: the first alone, the second makes it a
//! series, and all further ones are counted here until the series ends or is to be kept from expiring.
//!
//! As client-go `tools/events/event_broadcaster.go` does it, but that what it looks for every 6 minutes has a deadline
//! here. What a note says does not tell events apart. Pure of I/O: time is an argument.

use std::collections::{BTreeSet, VecDeque};

use jiff::{Timestamp, ToSpan};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::correlator::event_name;
use crate::hashing::HashMap;

/// When a series of which nothing more was seen has ended.
const ENDS_AFTER_MINUTES: i64 = 6;
/// When a series that goes on is written again: the API keeps events for an hour.
const REFRESHED_AFTER_MINUTES: i64 = 30;
/// Bytes of a note (upstream's `NoteLengthLimit`).
const NOTE_MAX: usize = 1024;
const CUT: &str = " ...";

/// What a component observed.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub regarding: ObjectReference,
    pub related: Option<ObjectReference>,
    pub kind: &'static str,
    pub reason: String,
    pub action: String,
    pub note: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Object([Option<String>; 7]);

/// Identity of events that are one series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Slot {
    regarding: Object,
    related: Option<Object>,
    kind: &'static str,
    reason: String,
    action: String,
}

struct Seen {
    event: Event,
    /// When it was written last.
    written: Timestamp,
}

/// What one component has seen.
pub(crate) struct SeriesCache {
    controller: String,
    instance: String,
    seen: HashMap<Slot, Seen>,
    /// What was seen once, by the time until which a second time makes it a series.
    alone: VecDeque<(Timestamp, Slot)>,
    series: BTreeSet<(Timestamp, Slot)>,
}

impl SeriesCache {
    /// For the component `controller`, which runs as `instance`.
    pub fn new(controller: &str, instance: &str) -> Self {
        Self {
            controller: controller.to_owned(),
            instance: instance.to_owned(),
            seen: HashMap::default(),
            alone: VecDeque::new(),
            series: BTreeSet::new(),
        }
    }

    /// What to write for an observation: a new event, or one that has become a series. `None`: it is counted.
    pub fn observe(&mut self, sighting: Sighting, now: Timestamp) -> Option<Event> {
        self.forget_alone(now);
        let slot = slot(&sighting);
        let Some(seen) = self.seen.get_mut(&slot) else {
            let event = self.event(sighting, now);
            let due = now + ENDS_AFTER_MINUTES.minutes();
            self.alone.push_back((due, slot.clone()));
            self.seen.insert(slot, Seen { event: event.clone(), written: now });
            return Some(event);
        };
        let again = seen.event.series.is_some();
        let series =
            seen.event.series.get_or_insert(EventSeries { count: 1, last_observed_time: MicroTime(now) });
        series.count += 1;
        series.last_observed_time = MicroTime(now);
        if again {
            return None;
        }
        seen.written = now;
        self.series.insert((now + ENDS_AFTER_MINUTES.minutes(), slot));
        Some(seen.event.clone())
    }

    /// When [`SeriesCache::pass`] is wanted next, if nothing else is seen until then.
    pub fn due(&self) -> Option<Timestamp> {
        // all that was seen once is forgotten in one go
        self.series
            .first()
            .map(|(due, _)| *due)
            .into_iter()
            .chain(self.alone.back().map(|(due, _)| *due))
            .min()
    }

    /// Ends the series of which nothing was seen for a while; returns these, and those that the API would forget.
    pub fn pass(&mut self, now: Timestamp) -> Vec<Event> {
        self.forget_alone(now);
        let mut writes = Vec::new();
        while self.series.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, slot)) = self.series.pop_first() else { break };
            let Some(seen) = self.seen.get_mut(&slot) else { continue };
            let last = seen.event.series.as_ref().map_or(now, |series| series.last_observed_time.0);
            let ends = last + ENDS_AFTER_MINUTES.minutes();
            let refresh = seen.written + REFRESHED_AFTER_MINUTES.minutes();
            if ends <= now || refresh <= now {
                seen.written = now;
                writes.push(seen.event.clone());
            }
            if ends <= now {
                self.seen.remove(&slot);
                continue;
            }
            let due = ends.min(seen.written + REFRESHED_AFTER_MINUTES.minutes());
            self.series.insert((due, slot));
        }
        writes
    }

    fn forget_alone(&mut self, now: Timestamp) {
        while self.alone.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, slot)) = self.alone.pop_front() else { break };
            if self.seen.get(&slot).is_some_and(|seen| seen.event.series.is_none()) {
                self.seen.remove(&slot);
            }
        }
    }

    fn event(&self, sighting: Sighting, now: Timestamp) -> Event {
        let Sighting { regarding, related, kind, reason, action, note } = sighting;
        // events of cluster-scoped objects live in `default`
        let namespace = regarding.namespace.clone().filter(|namespace| !namespace.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(event_name(&regarding, now)),
                namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            action: Some(action),
            reason: Some(reason),
            regarding: Some(regarding),
            related,
            note: Some(cut(note)),
            type_: Some(kind.to_owned()),
            ..Event::default()
        }
    }
}

fn cut(mut note: String) -> String {
    if note.len() > NOTE_MAX {
        note.truncate(note.floor_char_boundary(NOTE_MAX - CUT.len()));
        note.push_str(CUT);
    }
    note
}

fn object(object: &ObjectReference) -> Object {
    let ObjectReference { api_version, field_path, kind, name, namespace, resource_version, uid } =
        object.clone();
    Object([api_version, field_path, kind, name, namespace, resource_version, uid])
}

fn slot(sighting: &Sighting) -> Slot {
    Slot {
        regarding: object(&sighting.regarding),
        related: sighting.related.as_ref().map(object),
        kind: sighting.kind,
        reason: sighting.reason.clone(),
        action: sighting.action.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seen(name: &str, version: &str, note: &str) -> Sighting {
        Sighting {
            regarding: ObjectReference {
                kind: Some("Pod".into()),
                name: Some(name.into()),
                namespace: Some("d".into()),
                resource_version: Some(version.into()),
                ..Default::default()
            },
            related: None,
            kind: "Warning",
            reason: "FailedScheduling".into(),
            action: "Scheduling".into(),
            note: note.into(),
        }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minutes * 60).unwrap()
    }

    fn cache() -> SeriesCache {
        SeriesCache::new("default-scheduler", "default-scheduler-host")
    }

    /// The count of each event, 1 for one that is no series.
    fn counts(events: &[Event]) -> Vec<i32> {
        events.iter().map(|event| event.series.as_ref().map_or(1, |series| series.count)).collect()
    }

    #[test]
    fn an_event_has_the_newer_fields_and_none_of_the_deprecated() {
        let event = cache().observe(seen("p", "1", "no room"), at(0)).unwrap();
        let written = serde_json::to_value(&event).unwrap();
        let wanted = serde_json::json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": "p.17979cfe362a0000", "namespace": "d"},
            "eventTime": "2023-11-14T22:13:20.000000Z", "type": "Warning", "reason": "FailedScheduling",
            "action": "Scheduling", "note": "no room", "reportingController": "default-scheduler",
            "reportingInstance": "default-scheduler-host",
            "regarding": {"kind": "Pod", "name": "p", "namespace": "d", "resourceVersion": "1"},
        });
        assert_eq!(written, wanted);
        let long = cache().observe(seen("p", "1", &"é".repeat(600)), at(0)).unwrap().note.unwrap();
        assert_eq!((long.len(), long.ends_with("é ...")), (1024, true));
    }

    #[test]
    fn the_second_makes_a_series_and_further_ones_are_counted_until_it_ends() {
        let mut cache = cache();
        let first = cache.observe(seen("p", "1", "a"), at(0)).unwrap();
        let second = cache.observe(seen("p", "1", "b"), at(1)).unwrap();
        assert_eq!(counts(&[first.clone(), second.clone()]), [1, 2]);
        assert_eq!((&second.metadata.name, second.note.as_deref()), (&first.metadata.name, Some("a")));
        assert!(cache.observe(seen("p", "1", "a"), at(2)).is_none());
        assert!(cache.observe(seen("p", "1", "a"), at(5)).is_none());
        assert!(
            cache.observe(seen("p", "2", "a"), at(5)).unwrap().series.is_none(),
            "of another state of the pod"
        );
        assert_eq!(cache.due(), Some(at(7)));
        assert!(cache.pass(at(7)).is_empty(), "seen less than 6 minutes ago");
        assert_eq!(cache.due(), Some(at(11)));
        let ended = cache.pass(at(11));
        assert_eq!(counts(&ended), [4]);
        assert_eq!(ended[0].series.as_ref().unwrap().last_observed_time.0, at(5));
        assert_eq!((cache.due(), cache.seen.len()), (None, 0));
        assert!(cache.observe(seen("p", "1", "a"), at(12)).unwrap().series.is_none(), "begins anew");
    }

    #[test]
    fn a_series_that_goes_on_is_written_before_the_api_forgets_it() {
        let mut cache = cache();
        let mut written = Vec::new();
        for minute in 0..=70 {
            if cache.due().is_some_and(|due| due <= at(minute)) {
                written.extend(cache.pass(at(minute)).into_iter().map(|event| (minute, counts(&[event])[0])));
            }
            written.extend(
                cache.observe(seen("p", "1", "a"), at(minute)).map(|event| (minute, counts(&[event])[0])),
            );
        }
        assert_eq!(written, [(0, 1), (1, 2), (31, 31), (61, 61)]);
    }

    #[test]
    fn what_is_seen_once_is_forgotten_in_one_go() {
        let mut cache = cache();
        for name in 0..100 {
            assert!(cache.observe(seen(&name.to_string(), "1", "a"), at(name / 50)).is_some());
        }
        cache.forget_alone(at(6));
        assert_eq!(cache.due(), Some(at(7)));
        assert!(cache.pass(at(7)).is_empty());
        assert_eq!((cache.due(), cache.seen.len(), cache.alone.len()), (None, 0, 0));
    }
}
