//! Reads `kubescheduler.config.k8s.io/v1`. Fields that say how upstream's process runs (leader election, client
//! connection, parallelism …) are taken and mean nothing here; what would change where pods go and is not there is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use serde::Deserialize;
use serde_json::Value;

use super::plugins::{DEFAULTS, Plugin, Set};
use super::{Configuration, DefaultSpread, Profile, Weights};
use crate::pods::DEFAULT_SCHEDULER;
use crate::scores::resources::Strategy;

const VERSION: &str = "kubescheduler.config.k8s.io/v1";
const POINTS: [&str; 12] = [
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
];

/// Why a configuration is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not of the form.
    #[error("{0}")]
    Form(String),
    /// A field has a value that cannot be.
    #[error("{field}: {problem}")]
    Invalid {
        /// Path of the field.
        field: String,
        /// What is wrong.
        problem: String,
    },
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Invalid { field: field.into(), problem: problem.into() }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    profiles: Vec<FileProfile>,
    #[serde(default)]
    extenders: Vec<Value>,
    pod_initial_backoff_seconds: Option<i64>,
    pod_max_backoff_seconds: Option<i64>,
    #[serde(default, rename = "parallelism")]
    _parallelism: Value,
    #[serde(default, rename = "leaderElection")]
    _leader_election: Value,
    #[serde(default, rename = "clientConnection")]
    _client_connection: Value,
    #[serde(default, rename = "enableProfiling")]
    _enable_profiling: Value,
    #[serde(default, rename = "enableContentionProfiling")]
    _enable_contention_profiling: Value,
    #[serde(default, rename = "percentageOfNodesToScore")]
    _percentage: Value,
    #[serde(default, rename = "delayCacheUntilActive")]
    _delay: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileProfile {
    scheduler_name: Option<String>,
    #[serde(default)]
    plugins: BTreeMap<String, PluginSet>,
    #[serde(default)]
    plugin_config: Vec<PluginConfig>,
    #[serde(default, rename = "percentageOfNodesToScore")]
    _percentage: Value,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PluginSet {
    enabled: Vec<PluginName>,
    disabled: Vec<PluginName>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginName {
    name: String,
    #[serde(default)]
    weight: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginConfig {
    name: String,
    #[serde(default)]
    args: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[derive(Default)]
struct FitArgs {
    ignored_resources: Vec<String>,
    ignored_resource_groups: Vec<String>,
    scoring_strategy: Option<ScoringStrategy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ScoringStrategy {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    resources: Vec<Resource>,
    requested_to_capacity_ratio: Option<Ratio>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    name: String,
    weight: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratio {
    #[serde(default)]
    shape: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    utilization: i64,
    score: i64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BalancedArgs {
    resources: Vec<Resource>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct SpreadArgs {
    default_constraints: Vec<TopologySpreadConstraint>,
    defaulting_type: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct PodAffinityArgs {
    hard_pod_affinity_weight: Option<i64>,
    ignore_preferred_terms_of_existing_pods: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct NodeAffinityArgs {
    added_affinity: Option<NodeAffinity>,
}

/// Reads a configuration.
///
/// # Errors
/// It is not of the form, or has values that cannot be; the field is named.
pub fn read(value: Value) -> Result<Configuration, Error> {
    let file: File = serde_json::from_value(value).map_err(|error| Error::Form(error.to_string()))?;
    if file.api_version != VERSION {
        return Err(invalid("apiVersion", format!("{:?} is not {VERSION}", file.api_version)));
    }
    if file.kind != "KubeSchedulerConfiguration" {
        return Err(invalid("kind", format!("{:?} is not KubeSchedulerConfiguration", file.kind)));
    }
    if !file.extenders.is_empty() {
        return Err(invalid("extenders", "sampan's scheduler asks no extenders"));
    }
    let mut result = Configuration::default();
    if let Some(seconds) = file.pod_initial_backoff_seconds {
        result.back_off = seconds_of("podInitialBackoffSeconds", seconds)?;
    }
    if let Some(seconds) = file.pod_max_backoff_seconds {
        result.back_off_max = seconds_of("podMaxBackoffSeconds", seconds)?;
    }
    if result.back_off_max < result.back_off {
        return Err(invalid(
            "podMaxBackoffSeconds",
            "must be greater than or equal to podInitialBackoffSeconds",
        ));
    }
    if file.profiles.is_empty() {
        return Ok(result);
    }
    result.profiles.clear();
    let many = file.profiles.len() > 1;
    for (at, one) in file.profiles.into_iter().enumerate() {
        let path = format!("profiles[{at}]");
        // upstream gives the default name to a profile that is alone
        let name = one.scheduler_name.clone().or_else(|| (!many).then(|| DEFAULT_SCHEDULER.to_owned()));
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(invalid(
                format!("{path}.schedulerName"),
                "a name is required where there are several",
            ));
        };
        let profile = profile(name.clone(), one, &path)?;
        if result.profiles.insert(name.clone(), Arc::new(profile)).is_some() {
            return Err(invalid(format!("{path}.schedulerName"), format!("{name:?} is there twice")));
        }
    }
    Ok(result)
}

fn seconds_of(field: &str, seconds: i64) -> Result<Duration, Error> {
    match u64::try_from(seconds) {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err(invalid(field, "must be greater than 0")),
    }
}

fn profile(name: String, file: FileProfile, path: &str) -> Result<Profile, Error> {
    check_sets(&file.plugins, path)?;
    let at = |point: &str| enabled(point, &file.plugins);
    let filters: Set = at("filter").into_iter().map(|(plugin, _)| plugin).collect();
    for needed in [("queueSort", Plugin::PrioritySort), ("bind", Plugin::DefaultBinder)] {
        if !at(needed.0).iter().any(|(plugin, _)| *plugin == needed.1) {
            let problem = format!("{:?} is the only plugin there is, and one is needed", needed.1);
            return Err(invalid(format!("{path}.plugins.{}", needed.0), problem));
        }
    }
    let scores: BTreeMap<Plugin, i64> = at("score").into_iter().collect();
    let weight = |plugin: Plugin| scores.get(&plugin).copied().unwrap_or(0);
    let weights = Weights {
        taints: weight(Plugin::TaintToleration),
        node_affinity: weight(Plugin::NodeAffinity),
        spread: weight(Plugin::PodTopologySpread),
        pod_affinity: weight(Plugin::InterPodAffinity),
        fit: weight(Plugin::NodeResourcesFit),
        balanced: weight(Plugin::NodeResourcesBalancedAllocation),
        images: weight(Plugin::ImageLocality),
    };
    let preempts = at("postFilter").iter().any(|(plugin, _)| *plugin == Plugin::DefaultPreemption);
    let mut profile = Profile { name, filters, preempts, weights, ..Profile::default() };
    let mut seen = BTreeSet::new();
    for (at, config) in file.plugin_config.into_iter().enumerate() {
        let path = format!("{path}.pluginConfig[{at}]");
        if !seen.insert(config.name.clone()) {
            return Err(invalid(path, format!("{} is there twice", config.name)));
        }
        arguments(&mut profile, &config, &path)?;
    }
    Ok(profile)
}

/// Fails if a name means nothing, at its point or at all.
fn check_sets(plugins: &BTreeMap<String, PluginSet>, path: &str) -> Result<(), Error> {
    for (point, set) in plugins {
        let path = format!("{path}.plugins.{point}");
        if point != "multiPoint" && !POINTS.contains(&point.as_str()) {
            return Err(invalid(path, "there is no such extension point"));
        }
        for (at, one) in set.enabled.iter().enumerate() {
            let path = format!("{path}.enabled[{at}]");
            let Some(plugin) = Plugin::named(&one.name) else {
                return Err(invalid(path, format!("plugin {:?} does not exist", one.name)));
            };
            if point != "multiPoint" && !plugin.is_at(point) {
                return Err(invalid(path, format!("plugin {:?} does not extend {point} plugin", one.name)));
            }
            if one.weight < 0 {
                return Err(invalid(path, "a weight is not negative"));
            }
            if set.enabled[..at].iter().any(|other| other.name == one.name) {
                return Err(invalid(path, format!("plugin {:?} already registered", one.name)));
            }
        }
        for (at, one) in set.disabled.iter().enumerate() {
            if one.name != "*" && Plugin::named(&one.name).is_none() {
                return Err(invalid(
                    format!("{path}.disabled[{at}]"),
                    format!("plugin {:?} does not exist", one.name),
                ));
            }
        }
    }
    Ok(())
}

fn is_disabled(set: Option<&PluginSet>, plugin: Plugin) -> bool {
    let names = set.into_iter().flat_map(|set| &set.disabled);
    names.into_iter().any(|one| one.name == "*" || Plugin::named(&one.name) == Some(plugin))
}

fn enabled_in(set: Option<&PluginSet>) -> Vec<(Plugin, i64)> {
    let names = set.into_iter().flat_map(|set| &set.enabled);
    names.filter_map(|one| Some((Plugin::named(&one.name)?, one.weight))).collect()
}

/// What is on at a point, with weights: those of the point itself, before those of `multiPoint`, which are laid over the
/// defaults (upstream's `mergePlugins` and `expandMultiPointPlugins`).
fn enabled(point: &str, plugins: &BTreeMap<String, PluginSet>) -> Vec<(Plugin, i64)> {
    let (everywhere, here) = (plugins.get("multiPoint"), plugins.get(point));
    let chosen = enabled_in(everywhere);
    let of = |plugin: Plugin| chosen.iter().find(|(other, _)| *other == plugin).map(|(_, weight)| *weight);
    let kept =
        DEFAULTS.iter().filter(|(plugin, _)| of(*plugin).is_none() && !is_disabled(everywhere, *plugin));
    let default = |plugin: Plugin| DEFAULTS.iter().find(|(other, _)| *other == plugin).map_or(0, |(_, w)| *w);
    let specific = enabled_in(here);
    let everywhere = kept.copied().chain(chosen.iter().copied());
    let wide = everywhere.filter(|(plugin, _)| {
        plugin.is_at(point)
            && !is_disabled(here, *plugin)
            && !specific.iter().any(|(other, _)| other == plugin)
    });
    // a weight of zero is none: plugins are turned off by `disabled`
    let weighed = |(plugin, weight): (Plugin, i64)| {
        (plugin, if weight == 0 && default(plugin) > 0 { 1 } else { weight })
    };
    specific.iter().copied().chain(wide).map(weighed).collect()
}

fn arguments(profile: &mut Profile, config: &PluginConfig, path: &str) -> Result<(), Error> {
    let field = |name: &str| format!("{path}.args.{name}");
    let mut args = config.args.clone();
    for (name, wanted) in [("apiVersion", VERSION.to_owned()), ("kind", format!("{}Args", config.name))] {
        let given = args.remove(name);
        if given.is_some_and(|given| given != wanted.as_str()) {
            return Err(invalid(field(name), format!("has to be {wanted}")));
        }
    }
    let args = Value::from(args);
    match Plugin::named(&config.name) {
        Some(Plugin::NodeResourcesFit) => {
            let args: FitArgs = parsed(args, path)?;
            (profile.ignored, profile.ignored_groups) =
                (args.ignored_resources, args.ignored_resource_groups);
            if let Some(group) = profile.ignored_groups.iter().find(|group| group.contains('/')) {
                return Err(invalid(
                    field("ignoredResourceGroups"),
                    format!("{group}: resource group name can't contain '/'"),
                ));
            }
            if let Some(strategy) = args.scoring_strategy {
                (profile.strategy, profile.resources) = scoring(strategy, &field("scoringStrategy"))?;
            }
        }
        Some(Plugin::NodeResourcesBalancedAllocation) => {
            let args: BalancedArgs = parsed(args, path)?;
            let resources = weighed(args.resources, &field("resources"))?;
            if let Some((name, _)) = resources.iter().find(|(_, weight)| *weight != 1) {
                return Err(invalid(field("resources"), format!("{name}: resource weight must be 1")));
            }
            if !resources.is_empty() {
                profile.balanced = resources.into_iter().map(|(name, _)| name).collect();
            }
        }
        Some(Plugin::PodTopologySpread) => {
            let args: SpreadArgs = parsed(args, path)?;
            profile.spread = spread(args, &field("defaultConstraints"))?;
        }
        Some(Plugin::InterPodAffinity) => {
            let args: PodAffinityArgs = parsed(args, path)?;
            profile.hard_pod_affinity = args.hard_pod_affinity_weight.unwrap_or(1);
            if !(0..=100).contains(&profile.hard_pod_affinity) {
                return Err(invalid(field("hardPodAffinityWeight"), "not in valid range [0, 100]"));
            }
            profile.ignore_preferred_of_existing = args.ignore_preferred_terms_of_existing_pods;
        }
        Some(Plugin::NodeAffinity) => {
            let args: NodeAffinityArgs = parsed(args, path)?;
            profile.added_affinity = args.added_affinity;
        }
        // how long to wait, and how many candidates to look at: both are as upstream's defaults here
        Some(Plugin::VolumeBinding | Plugin::DefaultPreemption | Plugin::DynamicResources) => {}
        Some(_) => return Err(invalid(format!("{path}.args"), format!("{} takes none", config.name))),
        None => {
            return Err(invalid(format!("{path}.name"), format!("plugin {:?} does not exist", config.name)));
        }
    }
    Ok(())
}

fn parsed<T: serde::de::DeserializeOwned>(args: Value, path: &str) -> Result<T, Error> {
    serde_json::from_value(args).map_err(|error| invalid(format!("{path}.args"), error.to_string()))
}

fn weighed(resources: Vec<Resource>, field: &str) -> Result<Vec<(String, i64)>, Error> {
    let one = |resource: Resource| {
        let weight = resource.weight.filter(|weight| *weight != 0).unwrap_or(1);
        match (1..=100).contains(&weight) {
            true => Ok((resource.name, weight)),
            false => {
                Err(invalid(field, format!("{}: resource weight not in valid range (0, 100]", resource.name)))
            }
        }
    };
    resources.into_iter().map(one).collect()
}

fn scoring(strategy: ScoringStrategy, field: &str) -> Result<(Strategy, Vec<(String, i64)>), Error> {
    let mut resources = weighed(strategy.resources, &format!("{field}.resources"))?;
    if resources.is_empty() {
        resources = Profile::default().resources;
    }
    let kind = match strategy.kind.as_str() {
        "LeastAllocated" => Strategy::LeastAllocated,
        "MostAllocated" => Strategy::MostAllocated,
        "RequestedToCapacityRatio" => {
            let field = format!("{field}.requestedToCapacityRatio.shape");
            let shape = strategy.requested_to_capacity_ratio.map(|ratio| ratio.shape).unwrap_or_default();
            let shape: Vec<(i64, i64)> = shape.iter().map(|point| (point.utilization, point.score)).collect();
            if shape.is_empty() {
                return Err(invalid(field, "at least one point must be specified"));
            }
            if shape.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
                return Err(invalid(field, "utilization values must be sorted in increasing order"));
            }
            if shape.iter().any(|(use_, score)| !(0..=100).contains(use_) || !(0..=10).contains(score)) {
                return Err(invalid(field, "utilization is 0 to 100, and score 0 to 10"));
            }
            Strategy::RequestedToCapacityRatio(shape)
        }
        other => {
            let known = "[\"LeastAllocated\" \"MostAllocated\" \"RequestedToCapacityRatio\"]";
            return Err(invalid(format!("{field}.type"), format!("{other:?} is not one of {known}")));
        }
    };
    Ok((kind, resources))
}

fn spread(args: SpreadArgs, field: &str) -> Result<DefaultSpread, Error> {
    match args.defaulting_type.as_deref() {
        None | Some("System" | "") if args.default_constraints.is_empty() => Ok(DefaultSpread::System),
        None | Some("System" | "") => {
            Err(invalid(field, "when .defaultingType is System, no constraints may be given"))
        }
        Some("List") => {
            for (at, rule) in args.default_constraints.iter().enumerate() {
                let field = |name: &str| format!("{field}[{at}].{name}");
                if rule.max_skew < 1 {
                    return Err(invalid(field("maxSkew"), "must be greater than zero"));
                }
                if rule.topology_key.is_empty() {
                    return Err(invalid(field("topologyKey"), "can not be empty"));
                }
                if !["DoNotSchedule", "ScheduleAnyway"].contains(&rule.when_unsatisfiable.as_str()) {
                    return Err(invalid(field("whenUnsatisfiable"), "is DoNotSchedule or ScheduleAnyway"));
                }
                if rule.label_selector.is_some() {
                    return Err(invalid(
                        field("labelSelector"),
                        "constraint must not define a selector, as they are deduced for each pod",
                    ));
                }
            }
            Ok(DefaultSpread::List(args.default_constraints))
        }
        Some(other) => Err(invalid(field, format!("defaultingType {other:?} is neither System nor List"))),
    }
}
