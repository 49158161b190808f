//! All simulated nodes with their pods: who is there, and what is to be done when. Pure; it says jobs, and is told what
//! became of them.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus, Pod, PodStatus};
use sampan_reconcile::{HashMap, HashSet, Key, Object};
use tokio::time::Instant;

use crate::behaviour::{conduct, hash};
use crate::node::{self, POD_BLOCK, PODS_PER_NODE, SLOTS};
use crate::pod::{Act, Place, step};
use crate::timers::Timers;
use crate::words::{self, State};
use crate::{NodeShape, PodBehaviour};

/// A kubelet renews so often.
const RENEW: Duration = Duration::from_secs(10);
/// Leases are renewed in slots of this length.
const SLOT: Duration = Duration::from_millis(250);
/// A kubelet reports its status so often though nothing has changed.
const REPORT: Duration = Duration::from_secs(300);
/// After a write that failed.
const RETRY: Duration = Duration::from_secs(1);

/// What is to be asked of the API.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Renew the lease of the node with that uid, or create it.
    Renew { name: Arc<str>, uid: String },
    /// Write a node's status.
    Report { name: Arc<str>, status: Box<NodeStatus> },
    /// Write a pod's status.
    Write { key: Key, uid: String, status: Box<PodStatus> },
    /// Delete a pod at once.
    Delete { key: Key, uid: String },
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done, at this resourceVersion.
    Done(u64),
    /// The object is gone or is another one: what changed will be told.
    Stale,
    /// Neither: to be tried again.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Due {
    Node(Arc<str>),
    Pod(Key),
}

struct Member {
    node: Arc<Node>,
    slot: u32,
    state: State,
    behaviour: PodBehaviour,
    pods: HashSet<Key>,
    /// Offsets of the addresses that its pods have.
    used: HashSet<u32>,
    /// The offset that was given last.
    last: u32,
    reported: Instant,
    reporting: bool,
}

struct Entry {
    pod: Arc<Pod>,
    node: Arc<str>,
    /// Of its address; 0 before a status with one was seen or written.
    offset: u32,
    /// A write is under way.
    busy: bool,
    /// What was written last, which has to be seen before anything else is done.
    written: u64,
    queued: bool,
}

/// The nodes and pods.
pub(crate) struct Fleet {
    /// This daemon's own node, which is never simulated.
    own: String,
    began: Instant,
    members: HashMap<Arc<str>, Member>,
    pods: HashMap<Key, Entry>,
    slots: HashSet<u32>,
    timers: Timers<Due>,
    jobs: VecDeque<Job>,
    look: VecDeque<Key>,
}

impl Fleet {
    /// Nobody yet.
    pub fn new(own: &str, now: Instant) -> Self {
        Self {
            own: own.to_owned(),
            began: now,
            members: HashMap::default(),
            pods: HashMap::default(),
            slots: HashSet::default(),
            timers: Timers::default(),
            jobs: VecDeque::new(),
            look: VecDeque::new(),
        }
    }

    /// Whether no node is simulated.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A node is as `new` has it. Returns the name of a node that was not there before.
    pub fn node_changed(&mut self, name: &str, new: Option<&Arc<Node>>, now: Instant) -> Option<Arc<str>> {
        let Some(node) = new.filter(|node| words::is_simulated(node) && name != self.own) else {
            self.leave(name);
            return None;
        };
        let (state, behaviour) = (words::state(node), behaviour(node));
        if let Some((name, member)) = self.members.get_key_value(name) {
            let (name, before, same) = (name.clone(), member.state, member.behaviour == behaviour);
            let other = member.node.metadata.uid != node.metadata.uid;
            if let Some(member) = self.members.get_mut(&name) {
                (member.node, member.state, member.behaviour) = (node.clone(), state, behaviour);
            }
            match state {
                State::Failed => self.timers.cancel(&Due::Node(name.clone())),
                // silent so far, or somebody says of it what it does not
                _ if before == State::Failed || other || !self.is_told(&name) => self.visit_first(&name, now),
                _ => {}
            }
            if state != State::Failed && (before == State::Failed || !same) {
                self.look_at_all(&name);
            }
            return None;
        }
        self.join(name, node, state, behaviour, now)
    }

    fn join(
        &mut self,
        name: &str,
        node: &Arc<Node>,
        state: State,
        behaviour: PodBehaviour,
        now: Instant,
    ) -> Option<Arc<str>> {
        let name: Arc<str> = name.into();
        let own = node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref()).and_then(node::slot_of);
        let slot = own.filter(|slot| !self.slots.contains(slot)).or_else(|| self.free_slot(&name))?;
        self.slots.insert(slot);
        let member = Member {
            node: node.clone(),
            slot,
            state,
            behaviour,
            pods: HashSet::default(),
            used: HashSet::default(),
            last: 0,
            reported: now,
            reporting: false,
        };
        self.members.insert(name.clone(), member);
        if state != State::Failed {
            // a lease may be as old as the last daemon
            self.visit_first(&name, now);
        }
        Some(name)
    }

    /// A slot of a node that has none of ours: by its name, so that it is likely the same the next time.
    fn free_slot(&self, name: &str) -> Option<u32> {
        let half = SLOTS / 2;
        (0..half).map(|step| half + (hash(name) + step) % half).find(|slot| !self.slots.contains(slot))
    }

    fn leave(&mut self, name: &str) {
        let Some((name, member)) = self.members.remove_entry(name) else { return };
        self.slots.remove(&member.slot);
        self.timers.cancel(&Due::Node(name));
        for key in member.pods {
            self.pods.remove(&key);
            self.timers.cancel(&Due::Pod(key));
        }
    }

    /// Whether a node's object says of it what it does.
    fn is_told(&self, name: &str) -> bool {
        self.members.get(name).is_none_or(|member| {
            let wanted = if member.state == State::NotReady { "False" } else { "True" };
            let conditions = member.node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == wanted)
        })
    }

    /// A visit out of turn. The next ones are every ten seconds, at each node's own place: nodes that came at once do
    /// not renew at once for ever.
    fn visit_first(&mut self, name: &Arc<str>, now: Instant) {
        if self.members.get(name).is_some_and(|member| member.reporting) {
            return;
        }
        self.visit(name, now);
        let phase = RENEW.mul_f64(f64::from(hash(name) % 1000 + 1) / 1000.0);
        self.timers.set(Due::Node(name.clone()), self.rounded(now + phase));
    }

    /// What a kubelet does every ten seconds.
    fn visit(&mut self, name: &Arc<str>, now: Instant) {
        let told = self.is_told(name);
        let Some(member) = self.members.get_mut(name).filter(|member| member.state != State::Failed) else {
            return;
        };
        let uid = member.node.metadata.uid.clone().unwrap_or_default();
        self.jobs.push_back(Job::Renew { name: name.clone(), uid });
        if (told && now.duration_since(member.reported) < REPORT) || member.reporting {
            return;
        }
        (member.reported, member.reporting) = (now, true);
        let before = member.node.status.as_ref();
        let capacity = before.and_then(|before| before.capacity.clone());
        let capacity = capacity.unwrap_or_else(|| node::capacity(&NodeShape::default(), PODS_PER_NODE));
        let ready = member.state != State::NotReady;
        let status = node::status(name, member.slot, &capacity, before, ready, sampan_reconcile::now());
        self.jobs.push_back(Job::Report { name: name.clone(), status: Box::new(status) });
    }

    fn rounded(&self, at: Instant) -> Instant {
        let since = at.duration_since(self.began).as_millis();
        let slots = since.div_ceil(SLOT.as_millis());
        self.began + SLOT * u32::try_from(slots).unwrap_or(u32::MAX)
    }

    /// A pod is as `new` has it.
    pub fn pod_changed(&mut self, key: &Key, new: Option<&Arc<Pod>>) {
        let node = new.and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
        let node = node.and_then(|node| self.members.get_key_value(node)).map(|(name, _)| name.clone());
        let same = |entry: &Entry| {
            Some(&entry.node) == node.as_ref() && Some(uid(&entry.pod)) == new.map(|pod| uid(pod))
        };
        if self.pods.get(key).is_some_and(|entry| !same(entry)) {
            self.forget(key);
        }
        let (Some(pod), Some(node)) = (new, node) else { return };
        let entry = self.pods.entry(key.clone()).or_insert_with(|| Entry {
            pod: pod.clone(),
            node: node.clone(),
            offset: 0,
            busy: false,
            written: 0,
            queued: false,
        });
        entry.pod = pod.clone();
        if let Some(member) = self.members.get_mut(&node) {
            member.pods.insert(key.clone());
            if entry.offset == 0
                && let Some(offset) = given(pod, member.slot)
            {
                entry.offset = offset;
                member.used.insert(offset);
            }
        }
        self.look_at(key);
    }

    fn forget(&mut self, key: &Key) {
        let Some(entry) = self.pods.remove(key) else { return };
        self.timers.cancel(&Due::Pod(key.clone()));
        if let Some(member) = self.members.get_mut(&entry.node) {
            member.pods.remove(key);
            member.used.remove(&entry.offset);
        }
    }

    fn look_at(&mut self, key: &Key) {
        if let Some(entry) = self.pods.get_mut(key).filter(|entry| !entry.queued) {
            entry.queued = true;
            self.look.push_back(key.clone());
        }
    }

    fn look_at_all(&mut self, node: &str) {
        let keys: Vec<Key> =
            self.members.get(node).map(|member| member.pods.iter().cloned().collect()).unwrap_or_default();
        keys.iter().for_each(|key| self.look_at(key));
    }

    /// When something is due next.
    pub fn next_due(&mut self) -> Option<Instant> {
        self.timers.next()
    }

    /// Notes what has become due.
    pub fn wake(&mut self, now: Instant) {
        while let Some(due) = self.timers.pop(now) {
            match due {
                Due::Node(name) => {
                    self.visit(&name, now);
                    self.timers.set(Due::Node(name), self.rounded(now + RENEW));
                }
                Due::Pod(key) => self.look_at(&key),
            }
        }
    }

    /// The next thing to do.
    pub fn job(&mut self, now: Instant, time: Timestamp) -> Option<Job> {
        if let Some(job) = self.jobs.pop_front() {
            return Some(job);
        }
        while let Some(key) = self.look.pop_front() {
            if let Some(job) = self.decide(&key, now, time) {
                return Some(job);
            }
        }
        None
    }

    fn decide(&mut self, key: &Key, now: Instant, time: Timestamp) -> Option<Job> {
        let entry = self.pods.get_mut(key)?;
        entry.queued = false;
        if entry.busy || entry.pod.version() < entry.written {
            return None;
        }
        let member = self.members.get_mut(&entry.node).filter(|member| member.state != State::Failed)?;
        let offset = if entry.offset == 0 { member.free_offset() } else { entry.offset };
        let pod_ip = Ipv4Addr::from_bits(node::pod_base(member.slot) + offset);
        let place = Place { host_ip: node::host_ip(member.slot), pod_ip };
        let uid = uid(&entry.pod).to_owned();
        match step(&entry.pod, conduct(&entry.pod, &member.behaviour), place, time) {
            Act::Rest => {
                self.timers.cancel(&Due::Pod(key.clone()));
                None
            }
            Act::Wait(until) => {
                let pause = until.duration_since(time).unsigned_abs();
                self.timers.set(Due::Pod(key.clone()), now + pause);
                None
            }
            Act::Write(status) => {
                entry.busy = true;
                if entry.offset == 0 && status.pod_ip == Some(pod_ip.to_string()) {
                    (entry.offset, member.last) = (offset, offset);
                    member.used.insert(offset);
                }
                Some(Job::Write { key: key.clone(), uid, status })
            }
            Act::Delete => {
                entry.busy = true;
                Some(Job::Delete { key: key.clone(), uid })
            }
        }
    }

    /// A job has ended.
    pub fn done(&mut self, job: &Job, outcome: Outcome, now: Instant) {
        match job {
            Job::Renew { name, .. } | Job::Report { name, .. } => {
                let Some(member) = self.members.get_mut(name) else { return };
                member.reporting &= !matches!(job, Job::Report { .. });
                if outcome == Outcome::Failed && member.state != State::Failed {
                    self.timers.set(Due::Node(name.clone()), now + RETRY);
                }
            }
            Job::Write { key, uid: wrote, .. } | Job::Delete { key, uid: wrote } => {
                let Some(entry) = self.pods.get_mut(key).filter(|entry| uid(&entry.pod) == wrote) else {
                    return;
                };
                entry.busy = false;
                match outcome {
                    Outcome::Done(version) => {
                        entry.written = version;
                        self.look_at(key);
                    }
                    Outcome::Stale | Outcome::Failed => self.timers.set(Due::Pod(key.clone()), now + RETRY),
                }
            }
        }
    }
}

impl Member {
    /// An address that no pod of the node has: the next one, so that those of pods that went are not had again soon.
    fn free_offset(&self) -> u32 {
        let usable = POD_BLOCK - 2;
        let free =
            (0..usable).map(|step| (self.last + step) % usable + 1).find(|one| !self.used.contains(one));
        // more pods than addresses: they share the last one
        free.unwrap_or(POD_BLOCK - 1)
    }
}

/// The offset of the address that a pod has already.
fn given(pod: &Pod, slot: u32) -> Option<u32> {
    let address: Ipv4Addr = pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()?;
    let offset = address.to_bits().checked_sub(node::pod_base(slot))?;
    (1..POD_BLOCK).contains(&offset).then_some(offset)
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// What a node's annotation says of its pods; nothing special if it cannot be read.
fn behaviour(node: &Node) -> PodBehaviour {
    let text = words::annotation(node, words::PODS);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
