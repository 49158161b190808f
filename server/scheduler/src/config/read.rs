//! Reads `kubescheduler.config.k8s.io/v1`. Fields that say how upstream's process runs (leader election, client
//! connection, parallelism …) are taken and mean nothing here; what would change where pods go and is not there is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::args::arguments;
use super::extenders::{self, Extender};
use super::plugins::{DEFAULTS, Plugin, Set};
use super::{Configuration, Profile, Weights};
use crate::pods::DEFAULT_SCHEDULER;

pub(super) const VERSION: &str = "kubescheduler.config.k8s.io/v1";
const POINTS: [&str; 14] = [
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
    "placementGenerate",
    "placementScore",
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

pub(super) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Error {
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
    extenders: Vec<Extender>,
    pod_initial_backoff_seconds: Option<i64>,
    pod_max_backoff_seconds: Option<i64>,
    parallelism: Option<i32>,
    #[serde(default, rename = "leaderElection")]
    _leader_election: Value,
    #[serde(default, rename = "clientConnection")]
    _client_connection: Value,
    #[serde(default, rename = "enableProfiling")]
    _enable_profiling: Value,
    #[serde(default, rename = "enableContentionProfiling")]
    _enable_contention_profiling: Value,
    percentage_of_nodes_to_score: Option<i32>,
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
    percentage_of_nodes_to_score: Option<i32>,
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
pub(super) struct PluginConfig {
    pub(super) name: String,
    #[serde(default)]
    pub(super) args: serde_json::Map<String, Value>,
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
    if file.parallelism.is_some_and(|parallelism| parallelism <= 0) {
        return Err(invalid("parallelism", "should be an integer value greater than zero"));
    }
    check_percentage(file.percentage_of_nodes_to_score, "percentageOfNodesToScore")?;
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
    result.extenders = extenders::check(file.extenders)?;
    let left: Vec<String> = result.extenders.iter().flat_map(Extender::ignored).map(str::to_owned).collect();
    if file.profiles.is_empty() {
        if !left.is_empty() {
            let profile = Profile { ignored: left, ..Profile::default() };
            result.profiles.insert(profile.name.clone(), Arc::new(profile));
        }
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
        let mut profile = profile(name.clone(), one, &path)?;
        profile.ignored.extend(left.iter().cloned());
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

/// Fails if it is none. All nodes are scored here, whatever it says.
fn check_percentage(percentage: Option<i32>, field: &str) -> Result<(), Error> {
    match percentage.is_none_or(|percentage| (0..=100).contains(&percentage)) {
        true => Ok(()),
        false => Err(invalid(field, "not in valid range [0-100]")),
    }
}

fn profile(name: String, file: FileProfile, path: &str) -> Result<Profile, Error> {
    check_percentage(file.percentage_of_nodes_to_score, &format!("{path}.percentageOfNodesToScore"))?;
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

/// Fails if a name that is to be on means nothing, at its point or at all.
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
            // upstream's is an int32, which also keeps totals from overflowing
            if !(0..=i64::from(i32::MAX)).contains(&one.weight) {
                let problem = format!("{} is no weight: those are 0 to {}", one.weight, i32::MAX);
                return Err(invalid(format!("{path}.weight"), problem));
            }
            if set.enabled[..at].iter().any(|other| other.name == one.name) {
                return Err(invalid(path, format!("plugin {:?} already registered", one.name)));
            }
        }
        // as upstream's, so that one file serves several versions
        for one in set.disabled.iter().filter(|one| one.name != "*" && Plugin::named(&one.name).is_none()) {
            tracing::warn!(plugin = one.name, at = path, "a plugin that does not exist is disabled");
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
