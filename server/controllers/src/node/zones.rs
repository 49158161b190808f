//! How fast nodes that are lost may be emptied, by zone (`handleDisruption` and `ComputeZoneState` of upstream's
//! `node_lifecycle_controller.go`, and its `rate_limited_queue.go`). Pure.
//!
//! ```text
//!  all are fine ── some are lost ──► Normal: one node in ten seconds
//!     three or more and 55 % of them ──► Partial: one in a hundred seconds, in zones of more than 50; else none
//!     all ──► Full: as Normal; but if that is so in every zone, it is the control plane that is cut off: none, and
//!             nodes that were being emptied are not any more
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use sampan_reconcile::HashMap;
use tokio::time::Instant;

/// Upstream's `--node-eviction-rate`, nodes a second.
const RATE: f64 = 0.1;
/// Upstream's `--secondary-node-eviction-rate`.
const SECONDARY_RATE: f64 = 0.01;
/// Upstream's `--large-cluster-size-threshold`.
const LARGE: usize = 50;
/// Upstream's `--unhealthy-zone-threshold`.
const UNHEALTHY: f32 = 0.55;
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

/// How a zone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZoneState {
    /// Nothing is known yet.
    Initial,
    Normal,
    /// Too many of its nodes are lost.
    Partial,
    /// All of its nodes are lost.
    Full,
}

/// What changed for the cluster as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    None,
    /// Every node of every zone is lost: nodes are not to be emptied any more, whether or not it has begun.
    Cut,
    /// Some node is back: silence counts from now.
    Back,
}

/// `ComputeZoneState`.
fn state(ready: usize, lost: usize) -> ZoneState {
    // numbers of nodes are small
    let share = lost as f32 / (lost + ready).max(1) as f32;
    match (ready, lost) {
        (0, 1..) => ZoneState::Full,
        (_, 3..) if share >= UNHEALTHY => ZoneState::Partial,
        _ => ZoneState::Normal,
    }
}

fn rate(state: ZoneState, nodes: usize) -> f64 {
    match state {
        ZoneState::Partial if nodes > LARGE => SECONDARY_RATE,
        ZoneState::Partial => 0.0,
        ZoneState::Initial | ZoneState::Normal | ZoneState::Full => RATE,
    }
}

/// Region and zone, as upstream's `GetZoneKey`; empty for neither.
pub(crate) fn zone_of(node: &Node) -> String {
    let label = |old: &str, new: &str| {
        let labels = node.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(old).or_else(|| labels.get(new))).cloned().unwrap_or_default()
    };
    let region = label("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region");
    let zone = label("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
    if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
}

/// Whether a node does not count for how its zone is.
pub(crate) fn is_excluded(node: &Node) -> bool {
    node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED))
}

/// A token bucket that holds one.
#[derive(Clone, Copy, Debug)]
struct Limiter {
    /// A second; 0 for never.
    rate: f64,
    next: Instant,
}

impl Limiter {
    fn accepts(&self, now: Instant) -> bool {
        self.rate > 0.0 && self.next <= now
    }

    fn take(&mut self, now: Instant) {
        self.next = now + Duration::from_secs_f64(1.0 / self.rate);
    }

    /// Another rate; whoever had to wait has to do so from now on.
    fn swap(&mut self, rate: f64, now: Instant) {
        if self.rate == rate {
            return;
        }
        let waits = !self.accepts(now);
        *self = Limiter { rate, next: now };
        if waits && rate > 0.0 {
            self.take(now);
        }
    }
}

struct Zone {
    state: ZoneState,
    limiter: Limiter,
    queue: VecDeque<String>,
    /// All of them, with those that do not count.
    nodes: usize,
    ready: usize,
    lost: usize,
}

struct Member {
    zone: String,
    ready: bool,
    excluded: bool,
}

/// All zones.
#[derive(Default)]
pub(crate) struct Zones {
    zones: BTreeMap<String, Zone>,
    members: HashMap<String, Member>,
}

impl Zones {
    /// Notes how a node is; whether that is news.
    pub fn set(&mut self, name: &str, zone: String, ready: bool, excluded: bool, now: Instant) -> bool {
        let old = self.members.get(name);
        if old.is_some_and(|old| old.zone == zone && old.ready == ready && old.excluded == excluded) {
            return false;
        }
        let was_queued = self.forget(name) && !ready;
        let entry = self.zones.entry(zone.clone()).or_insert_with(|| Zone {
            state: ZoneState::Initial,
            limiter: Limiter { rate: RATE, next: now },
            queue: VecDeque::new(),
            nodes: 0,
            ready: 0,
            lost: 0,
        });
        entry.nodes += 1;
        match (excluded, ready) {
            (true, _) => {}
            (false, true) => entry.ready += 1,
            (false, false) => entry.lost += 1,
        }
        if was_queued {
            entry.queue.push_back(name.to_owned());
        }
        self.members.insert(name.to_owned(), Member { zone, ready, excluded });
        true
    }

    /// A node is gone. Whether it was to be emptied.
    pub fn forget(&mut self, name: &str) -> bool {
        let queued = self.spare(name);
        let Some(member) = self.members.remove(name) else { return queued };
        let Some(zone) = self.zones.get_mut(&member.zone) else { return queued };
        zone.nodes -= 1;
        match (member.excluded, member.ready) {
            (true, _) => {}
            (false, true) => zone.ready -= 1,
            (false, false) => zone.lost -= 1,
        }
        queued
    }

    /// A node is lost: it is emptied when its turn comes. A node is in the queue once.
    pub fn enqueue(&mut self, name: &str) {
        let Some(member) = self.members.get(name) else { return };
        let Some(zone) = self.zones.get_mut(&member.zone) else { return };
        if !zone.queue.iter().any(|queued| queued == name) {
            zone.queue.push_back(name.to_owned());
        }
    }

    /// A node need not be emptied. Whether it was to be.
    pub fn spare(&mut self, name: &str) -> bool {
        let Some(member) = self.members.get(name) else { return false };
        let Some(zone) = self.zones.get_mut(&member.zone) else { return false };
        let before = zone.queue.len();
        zone.queue.retain(|queued| queued != name);
        zone.queue.len() < before
    }

    /// Looks at how the zones are, and sets their rates.
    pub fn judge(&mut self, now: Instant) -> Shift {
        self.zones.retain(|_, zone| zone.nodes > 0);
        let counted = |zone: &&Zone| zone.ready + zone.lost > 0;
        let fresh = |zone: &Zone| state(zone.ready, zone.lost);
        let all_are = self.zones.values().filter(counted).all(|zone| fresh(zone) == ZoneState::Full);
        let all_were = self.zones.values().filter(counted).all(|zone| zone.state == ZoneState::Full);
        let shift = match (all_are, all_were) {
            (true, true) => return Shift::None,
            (true, false) => Shift::Cut,
            (false, true) => Shift::Back,
            (false, false) => Shift::None,
        };
        for zone in self.zones.values_mut() {
            if shift == Shift::Cut {
                zone.state = ZoneState::Full;
                zone.limiter.swap(0.0, now);
                continue;
            }
            let fresh = fresh(zone);
            if zone.state != fresh || shift == Shift::Back {
                zone.limiter.swap(rate(fresh, zone.ready + zone.lost), now);
                zone.state = fresh;
            }
        }
        shift
    }

    /// The nodes whose turn it is.
    pub fn take(&mut self, now: Instant) -> Vec<String> {
        let mut turns = Vec::new();
        for zone in self.zones.values_mut() {
            while !zone.queue.is_empty() && zone.limiter.accepts(now) {
                zone.limiter.take(now);
                turns.extend(zone.queue.pop_front());
            }
        }
        turns
    }

    /// When it is somebody's turn.
    pub fn next(&self) -> Option<Instant> {
        let waiting = self.zones.values().filter(|zone| !zone.queue.is_empty() && zone.limiter.rate > 0.0);
        waiting.map(|zone| zone.limiter.next).min()
    }

    #[cfg(test)]
    pub fn state_of(&self, zone: &str) -> Option<ZoneState> {
        self.zones.get(zone).map(|zone| zone.state)
    }
}

#[cfg(test)]
#[path = "zones_tests.rs"]
mod tests;
