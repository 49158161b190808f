//! Arguments of plugins (upstream's `apis/config/validation/validation_pluginargs.go`).

use std::collections::BTreeSet;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use sampan_api::validation::is_qualified_name;
use serde::Deserialize;
use serde_json::Value;

use super::plugins::Plugin;
use super::read::{Error, PluginConfig, VERSION, invalid};
use super::{DefaultSpread, Profile, affinity};
use crate::scores::resources::Strategy;

const RATIO: &str = "RequestedToCapacityRatio";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
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

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct PreemptionArgs {
    min_candidate_nodes_percentage: Option<i32>,
    min_candidate_nodes_absolute: Option<i32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct VolumeBindingArgs {
    bind_timeout_seconds: Option<i64>,
    shape: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct DynamicResourcesArgs {
    filter_timeout: Option<String>,
    binding_timeout: Option<String>,
}

/// Takes the arguments of one plugin into the profile.
pub(super) fn arguments(profile: &mut Profile, config: &PluginConfig, path: &str) -> Result<(), Error> {
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
            for (name, names) in
                [("ignoredResources", &profile.ignored), ("ignoredResourceGroups", &profile.ignored_groups)]
            {
                names.iter().try_for_each(|one| check_name(one, &field(name)))?;
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
            let mut seen = BTreeSet::new();
            if let Some(name) = resources.iter().map(|(name, _)| name).find(|name| !seen.insert(*name)) {
                return Err(invalid(field("resources"), format!("{name} is there twice")));
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
            if let Some(added) = &args.added_affinity {
                affinity::check(added, &field("addedAffinity"))?;
            }
            profile.added_affinity = args.added_affinity;
        }
        // how many candidates to look at, and how long to wait: read, and as upstream's defaults here
        Some(Plugin::DefaultPreemption) => preemption(&parsed(args, path)?, &field(""))?,
        Some(Plugin::VolumeBinding) => volume_binding(&parsed(args, path)?, &field(""))?,
        Some(Plugin::DynamicResources) => dynamic_resources(&parsed(args, path)?, &field(""))?,
        Some(_) => return Err(invalid(format!("{path}.args"), format!("{} takes none", config.name))),
        None => {
            return Err(invalid(format!("{path}.name"), format!("plugin {:?} does not exist", config.name)));
        }
    }
    Ok(())
}

fn preemption(args: &PreemptionArgs, path: &str) -> Result<(), Error> {
    let (percentage, absolute) = ("minCandidateNodesPercentage", "minCandidateNodesAbsolute");
    let percent = args.min_candidate_nodes_percentage.unwrap_or(10);
    let least = args.min_candidate_nodes_absolute.unwrap_or(100);
    if !(0..=100).contains(&percent) {
        return Err(invalid(format!("{path}{percentage}"), "not in valid range [0, 100]"));
    }
    if least < 0 {
        return Err(invalid(format!("{path}{absolute}"), "not in valid range [0, inf)"));
    }
    match percent == 0 && least == 0 {
        true => {
            let problem = format!("cannot be zero at the same time as {absolute}");
            Err(invalid(format!("{path}{percentage}"), problem))
        }
        false => Ok(()),
    }
}

fn volume_binding(args: &VolumeBindingArgs, path: &str) -> Result<(), Error> {
    if args.bind_timeout_seconds.is_some_and(|seconds| seconds < 0) {
        return Err(invalid(format!("{path}bindTimeoutSeconds"), "should not be a negative value"));
    }
    match args.shape {
        Some(_) => {
            Err(invalid(format!("{path}shape"), "there is no scoring by storage capacity; remove the field"))
        }
        None => Ok(()),
    }
}

fn dynamic_resources(args: &DynamicResourcesArgs, path: &str) -> Result<(), Error> {
    let one_second = SignedDuration::from_secs(1);
    for (name, text, least, problem) in [
        ("filterTimeout", &args.filter_timeout, SignedDuration::ZERO, "must be zero or positive"),
        ("bindingTimeout", &args.binding_timeout, one_second, "must be at least 1 second"),
    ] {
        let Some(text) = text else { continue };
        let field = format!("{path}{name}");
        let duration = match text.as_str() {
            "0" => SignedDuration::ZERO,
            text => text
                .parse::<SignedDuration>()
                .map_err(|_| invalid(&field, format!("{text:?} is no duration such as 10s")))?,
        };
        if duration < least {
            return Err(invalid(field, problem));
        }
    }
    Ok(())
}

/// Fails if it is not a name as labels and resources have them.
fn check_name(name: &str, field: &str) -> Result<(), Error> {
    match is_qualified_name(name).first() {
        Some(problem) => Err(invalid(field, format!("{name:?}: {problem}"))),
        None => Ok(()),
    }
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
    if strategy.kind != RATIO && strategy.requested_to_capacity_ratio.is_some() {
        let problem = format!("must be nil when type is not {RATIO}");
        return Err(invalid(format!("{field}.requestedToCapacityRatio"), problem));
    }
    let kind = match strategy.kind.as_str() {
        "LeastAllocated" => Strategy::LeastAllocated,
        "MostAllocated" => Strategy::MostAllocated,
        RATIO => {
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
                check_name(&rule.topology_key, &field("topologyKey"))?;
                if !["DoNotSchedule", "ScheduleAnyway"].contains(&rule.when_unsatisfiable.as_str()) {
                    return Err(invalid(field("whenUnsatisfiable"), "is DoNotSchedule or ScheduleAnyway"));
                }
                if rule.label_selector.is_some() {
                    return Err(invalid(
                        field("labelSelector"),
                        "constraint must not define a selector, as they are deduced for each pod",
                    ));
                }
                let same = |other: &TopologySpreadConstraint| {
                    (&other.topology_key, &other.when_unsatisfiable)
                        == (&rule.topology_key, &rule.when_unsatisfiable)
                };
                if args.default_constraints[..at].iter().any(same) {
                    let problem = "a rule of this topologyKey and whenUnsatisfiable is there already";
                    return Err(invalid(field("topologyKey"), problem));
                }
            }
            Ok(DefaultSpread::List(args.default_constraints))
        }
        Some(other) => Err(invalid(field, format!("defaultingType {other:?} is neither System nor List"))),
    }
}
