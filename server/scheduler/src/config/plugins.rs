//! Names of the plugins, where each has something to say, and which are on (upstream's `getDefaultPlugins`).

/// A plugin of upstream's default ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "upstream's names")]
pub enum Plugin {
    SchedulingGates,
    PrioritySort,
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    VolumeRestrictions,
    NodeVolumeLimits,
    VolumeBinding,
    VolumeZone,
    PodTopologySpread,
    InterPodAffinity,
    DynamicResources,
    DefaultPreemption,
    NodeResourcesBalancedAllocation,
    ImageLocality,
    DefaultBinder,
    NodeDeclaredFeatures,
}

use Plugin as P;

/// All of them in upstream's order, each with its weight, 0 if it does not score.
pub(super) const DEFAULTS: [(Plugin, i64); 20] = [
    (P::SchedulingGates, 0),
    (P::PrioritySort, 0),
    (P::NodeUnschedulable, 0),
    (P::NodeName, 0),
    (P::TaintToleration, 3),
    (P::NodeAffinity, 2),
    (P::NodePorts, 0),
    (P::NodeResourcesFit, 1),
    (P::VolumeRestrictions, 0),
    (P::NodeVolumeLimits, 0),
    (P::VolumeBinding, 0),
    (P::VolumeZone, 0),
    (P::PodTopologySpread, 2),
    (P::InterPodAffinity, 2),
    (P::DynamicResources, 0),
    (P::DefaultPreemption, 0),
    (P::NodeResourcesBalancedAllocation, 1),
    (P::ImageLocality, 1),
    (P::DefaultBinder, 0),
    (P::NodeDeclaredFeatures, 0),
];

impl Plugin {
    /// By its name.
    pub(super) fn named(name: &str) -> Option<Self> {
        DEFAULTS.iter().map(|(plugin, _)| *plugin).find(|plugin| format!("{plugin:?}") == name)
    }

    /// Whether it has something to say at an extension point, by the point's name in the configuration.
    pub(super) fn is_at(self, point: &str) -> bool {
        let filters = matches!(
            self,
            P::NodeUnschedulable
                | P::NodeName
                | P::TaintToleration
                | P::NodeAffinity
                | P::NodePorts
                | P::NodeResourcesFit
                | P::VolumeRestrictions
                | P::NodeVolumeLimits
                | P::VolumeBinding
                | P::VolumeZone
                | P::PodTopologySpread
                | P::InterPodAffinity
                | P::DynamicResources
                | P::NodeDeclaredFeatures
        );
        match point {
            "preEnqueue" => matches!(self, P::SchedulingGates | P::DynamicResources | P::DefaultPreemption),
            "queueSort" => self == P::PrioritySort,
            "preFilter" => {
                filters && !matches!(self, P::NodeUnschedulable | P::NodeName | P::TaintToleration)
            }
            "filter" => filters,
            "postFilter" => matches!(self, P::DefaultPreemption | P::DynamicResources),
            "preScore" => self.scores() && self != P::ImageLocality,
            "score" => self.scores(),
            "reserve" | "preBind" => matches!(self, P::VolumeBinding | P::DynamicResources),
            "bind" => self == P::DefaultBinder,
            _ => false,
        }
    }

    /// Whether it scores nodes. VolumeBinding's score needs an argument that is not there.
    fn scores(self) -> bool {
        DEFAULTS.iter().any(|(plugin, weight)| *plugin == self && *weight > 0)
    }
}

/// Some plugins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set(u32);

impl Set {
    /// All that filter.
    pub fn filters() -> Self {
        DEFAULTS.iter().map(|(plugin, _)| *plugin).filter(|plugin| plugin.is_at("filter")).collect()
    }

    /// Whether it is one of them.
    pub fn has(self, plugin: Plugin) -> bool {
        self.0 & (1 << plugin as u32) != 0
    }
}

impl FromIterator<Plugin> for Set {
    fn from_iter<I: IntoIterator<Item = Plugin>>(plugins: I) -> Self {
        Self(plugins.into_iter().fold(0, |set, plugin| set | (1 << plugin as u32)))
    }
}
