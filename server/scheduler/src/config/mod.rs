//! KubeSchedulerConfiguration: which plugins a profile runs, with which weights and arguments.
//!
//! [`read`] turns `kubescheduler.config.k8s.io/v1` into [`Profile`]s, as upstream's `apis/config/v1` defaults, merges and
//! validates it. A pod carries the profile of the scheduler that it names ([`crate::pods::PodInfo::profile`]), so that
//! filters and scores ask the pod.

mod affinity;
mod args;
pub(crate) mod extenders;
mod plugins;
mod read;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};

use crate::pods::DEFAULT_SCHEDULER;
use crate::scores::resources::Strategy;

pub use extenders::Extender;
pub use plugins::Plugin;
pub(crate) use plugins::Set;
pub use read::{Error, read};

/// Weights of the plugins that score; 0 for those that do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    pub(crate) taints: i64,
    pub(crate) node_affinity: i64,
    pub(crate) spread: i64,
    pub(crate) pod_affinity: i64,
    pub(crate) fit: i64,
    pub(crate) balanced: i64,
    pub(crate) images: i64,
}

/// What PodTopologySpread does with pods that have no constraints.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum DefaultSpread {
    /// Upstream's: by host and zone, softly, for pods of Services and controllers.
    #[default]
    System,
    /// These.
    List(Vec<TopologySpreadConstraint>),
}

/// One scheduler: a name with plugins, weights and arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// `spec.schedulerName` of its pods.
    pub name: String,
    pub(crate) filters: Set,
    pub(crate) preempts: bool,
    pub(crate) weights: Weights,
    pub(crate) strategy: Strategy,
    /// Resources that NodeResourcesFit scores, with weights.
    pub(crate) resources: Vec<(String, i64)>,
    /// Resources that NodeResourcesBalancedAllocation looks at.
    pub(crate) balanced: Vec<String>,
    /// Extended resources that NodeResourcesFit does not look at, and prefixes of such.
    pub(crate) ignored: Vec<String>,
    pub(crate) ignored_groups: Vec<String>,
    pub(crate) spread: DefaultSpread,
    pub(crate) hard_pod_affinity: i64,
    pub(crate) ignore_preferred_of_existing: bool,
    /// Affinity to nodes that all its pods have.
    pub(crate) added_affinity: Option<NodeAffinity>,
}

impl Default for Profile {
    fn default() -> Self {
        let both = [("cpu".to_owned(), 1), ("memory".to_owned(), 1)];
        Self {
            name: DEFAULT_SCHEDULER.to_owned(),
            filters: Set::filters(),
            preempts: true,
            weights: Weights {
                taints: 3,
                node_affinity: 2,
                spread: 2,
                pod_affinity: 2,
                fit: 1,
                balanced: 1,
                images: 1,
            },
            strategy: Strategy::default(),
            balanced: both.iter().map(|(name, _)| name.clone()).collect(),
            resources: both.to_vec(),
            ignored: Vec::new(),
            ignored_groups: Vec::new(),
            spread: DefaultSpread::default(),
            hard_pod_affinity: 1,
            ignore_preferred_of_existing: false,
            added_affinity: None,
        }
    }
}

impl Profile {
    /// Upstream's defaults, under its default name.
    pub fn standard() -> Arc<Self> {
        static STANDARD: LazyLock<Arc<Profile>> = LazyLock::new(Arc::default);
        STANDARD.clone()
    }

    /// Whether a plugin filters.
    pub(crate) fn filters(&self, plugin: Plugin) -> bool {
        self.filters.has(plugin)
    }
}

/// All that is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// By the name of the scheduler.
    pub profiles: BTreeMap<String, Arc<Profile>>,
    /// First pause before a pod that fitted nowhere is tried again.
    pub back_off: Duration,
    /// The longest.
    pub back_off_max: Duration,
    /// Who else is asked, in this order.
    pub extenders: Vec<Extender>,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            profiles: [(DEFAULT_SCHEDULER.to_owned(), Profile::standard())].into(),
            back_off: Duration::from_secs(1),
            back_off_max: Duration::from_secs(10),
            extenders: Vec::new(),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
