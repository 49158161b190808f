//! Topology counters, kept from change to change: pods of one group count alike for every selector, so that a selector
//! is asked once for a group, and a group knows how many pods it has in each domain.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::pods::PodInfo;
use crate::selectors::Labels;
use sampan_reconcile::HashMap;

/// Numbers by the value of a topology key; none is zero.
pub type Counts = HashMap<String, i64>;

/// Pods with the same namespace, labels and terms about others.
#[derive(Clone, Debug)]
pub struct Group {
    /// One of them.
    pub sample: Arc<PodInfo>,
    size: usize,
    domains: HashMap<String, Counts>,
}

impl Group {
    /// Its pods by the values of a key that is kept.
    pub fn domains(&self, key: &str) -> Option<&Counts> {
        self.domains.get(key)
    }
}

/// All groups of pods on nodes that are there.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// Topology keys that are counted by.
    keys: BTreeSet<String>,
    all: HashMap<Arc<str>, Group>,
    /// Nodes by the values of the keys.
    nodes: HashMap<String, Counts>,
}

fn count(counts: &mut Counts, value: &str, by: i64) {
    match counts.get_mut(value) {
        Some(sum) => {
            *sum += by;
            if *sum == 0 {
                counts.remove(value);
            }
        }
        None => _ = counts.insert(value.to_owned(), by),
    }
}

impl Groups {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Group> {
        self.all.values()
    }

    /// Nodes by the values of a key that is kept.
    pub fn nodes(&self, key: &str) -> Option<&Counts> {
        self.nodes.get(key)
    }

    /// A node came (1) or went (-1).
    pub fn count_node(&mut self, labels: &Labels, by: i64) {
        for key in &self.keys {
            if let Some(value) = labels.get(key) {
                count(self.nodes.entry(key.clone()).or_default(), value, by);
            }
        }
    }

    /// A pod came to a node with these labels.
    pub fn add(&mut self, pod: &Arc<PodInfo>, labels: &Labels) {
        let new = || Group { sample: pod.clone(), size: 0, domains: HashMap::default() };
        let group = self.all.entry(pod.kind().clone()).or_insert_with(new);
        group.size += 1;
        for key in &self.keys {
            if let Some(value) = labels.get(key) {
                count(group.domains.entry(key.clone()).or_default(), value, 1);
            }
        }
    }

    /// A pod left a node with these labels.
    pub fn remove(&mut self, pod: &PodInfo, labels: &Labels) {
        let Some(group) = self.all.get_mut(pod.kind()) else { return };
        group.size -= 1;
        if group.size == 0 {
            self.all.remove(pod.kind());
            return;
        }
        for key in &self.keys {
            if let (Some(value), Some(counts)) = (labels.get(key), group.domains.get_mut(key)) {
                count(counts, value, -1);
            }
        }
    }

    /// Whether a key is kept.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Counts by one more key: the pods that are there, with their nodes' labels.
    pub fn keep<'n>(&mut self, key: &str, nodes: impl Iterator<Item = (&'n Labels, Vec<&'n Arc<PodInfo>>)>) {
        self.keys.insert(key.to_owned());
        for (labels, pods) in nodes {
            let Some(value) = labels.get(key) else { continue };
            count(self.nodes.entry(key.to_owned()).or_default(), value, 1);
            for group in pods.into_iter().map(|pod| pod.kind()) {
                if let Some(group) = self.all.get_mut(group) {
                    count(group.domains.entry(key.to_owned()).or_default(), value, 1);
                }
            }
        }
    }
}

/// Weighted sums of some groups' counts for one key.
#[derive(Debug, Default)]
pub struct Tally<'a> {
    few: Vec<(&'a Counts, i64)>,
    sum: Option<HashMap<&'a str, i64>>,
}

/// As many are asked one after the other.
const FEW: usize = 4;

impl<'a> Tally<'a> {
    /// One more.
    pub fn add(&mut self, counts: Option<&'a Counts>, weight: i64) {
        let Some(counts) = counts.filter(|counts| !counts.is_empty()) else { return };
        if let Some(sum) = &mut self.sum {
            counts.iter().for_each(|(value, count)| *sum.entry(value).or_default() += weight * count);
            return;
        }
        self.few.push((counts, weight));
        if self.few.len() > FEW {
            self.sum = Some(HashMap::default());
            std::mem::take(&mut self.few)
                .into_iter()
                .for_each(|(counts, weight)| self.add(Some(counts), weight));
        }
    }

    /// The sum for a value.
    pub fn get(&self, value: &str) -> i64 {
        match &self.sum {
            Some(sum) => sum.get(value).copied().unwrap_or(0),
            None => {
                self.few.iter().map(|(counts, weight)| weight * counts.get(value).copied().unwrap_or(0)).sum()
            }
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.few.is_empty() && self.sum.is_none()
    }
}
