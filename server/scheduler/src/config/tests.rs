//! Configurations as users have them, and what becomes of pods under them.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::plan::{Decision, schedule};
use crate::pods::PodInfo;
use crate::world::World;
use serde_json::{Value, json};

fn parse(mut value: Value) -> Result<Configuration, String> {
    value["apiVersion"] = json!("kubescheduler.config.k8s.io/v1");
    value["kind"] = json!("KubeSchedulerConfiguration");
    read(value).map_err(|error| error.to_string())
}

fn profile(plugins: Value, config: Value) -> Arc<Profile> {
    let all = parse(json!({"profiles": [{"plugins": plugins, "pluginConfig": config}]})).unwrap();
    all.profiles["default-scheduler"].clone()
}

#[test]
fn nothing_said_is_upstreams_default() {
    assert_eq!(parse(json!({})).unwrap(), Configuration::default());
    assert_eq!(*profile(json!({}), json!([])), Profile::default());
    let points = json!({"placementGenerate": {}, "placementScore": {}, "score": {}});
    assert_eq!(*profile(points, json!([])), Profile::default());
    let run = json!({"leaderElection": {"leaderElect": false}, "parallelism": 4, "percentageOfNodesToScore": 50,
        "clientConnection": {"kubeconfig": "/x"}, "podInitialBackoffSeconds": 2, "podMaxBackoffSeconds": 60});
    let all = parse(run).unwrap();
    assert_eq!((all.back_off.as_secs(), all.back_off_max.as_secs()), (2, 60));
}

#[test]
fn extenders_are_asked_in_upstreams_order() {
    let all = parse(json!({"extenders": [
        {"urlPrefix": "http://a", "ignorable": true},
        {"urlPrefix": "https://b/x/", "enableHTTPS": true, "httpTimeout": "1m30s",
            "managedResources": [{"name": "a.b/c", "ignoredByScheduler": true}, {"name": "a.b/d"}]},
    ]}))
    .unwrap();
    let urls: Vec<String> = all.extenders.iter().map(|extender| extender.url("v")).collect();
    assert_eq!(urls, ["https://b/x/v", "http://a/v"], "the ignorable last");
    let seconds: Vec<u64> = all.extenders.iter().map(|extender| extender.timeout().as_secs()).collect();
    assert_eq!(seconds, [90, 5]);
    assert_eq!(
        all.profiles["default-scheduler"].ignored,
        ["a.b/c"],
        "NodeResourcesFit leaves it to the extender"
    );
    let own = parse(json!({"profiles": [{"schedulerName": "mine"}], "extenders": [
        {"urlPrefix": "http://a", "managedResources": [{"name": "a.b/c", "ignoredByScheduler": true}]}]}));
    assert_eq!(own.unwrap().profiles["mine"].ignored, ["a.b/c"]);
}

#[test]
fn plugins_are_merged_as_upstreams() {
    let weights = |plugins: Value| {
        let Weights { taints, node_affinity, spread, pod_affinity, fit, balanced, images } =
            profile(plugins, json!([])).weights.clone();
        [taints, node_affinity, spread, pod_affinity, fit, balanced, images]
    };
    let named = |names: &[(&str, i64)]| -> Value {
        names.iter().map(|(name, weight)| json!({"name": name, "weight": weight})).collect()
    };
    let all = json!([{"name": "*"}]);
    for (plugins, expected) in [
        (json!({}), [3, 2, 2, 2, 1, 1, 1]),
        (json!({"score": {"disabled": [{"name": "ImageLocality"}]}}), [3, 2, 2, 2, 1, 1, 0]),
        (
            json!({"score": {"disabled": all, "enabled": named(&[("NodeResourcesFit", 5)])}}),
            [0, 0, 0, 0, 5, 0, 0],
        ),
        // the point's own weight comes before that of multiPoint
        (
            json!({"multiPoint": {"enabled": named(&[("NodeResourcesFit", 7), ("NodeAffinity", 9)])},
                "score": {"enabled": named(&[("NodeAffinity", 4)])}}),
            [3, 4, 2, 2, 7, 1, 1],
        ),
        // no weight is one, not the default's
        (json!({"multiPoint": {"enabled": [{"name": "TaintToleration"}]}}), [1, 2, 2, 2, 1, 1, 1]),
        (json!({"multiPoint": {"disabled": [{"name": "PodTopologySpread"}]}}), [3, 2, 0, 2, 1, 1, 1]),
    ] {
        assert_eq!(weights(plugins.clone()), expected, "{plugins}");
    }
    let bare = profile(
        json!({"multiPoint": {"disabled": all, "enabled": named(&[
            ("PrioritySort", 0), ("DefaultBinder", 0), ("NodeResourcesFit", 0)])}}),
        json!([]),
    );
    assert!(
        bare.filters(Plugin::NodeResourcesFit) && !bare.filters(Plugin::TaintToleration) && !bare.preempts
    );
    let patient = profile(json!({"postFilter": {"disabled": all}}), json!([]));
    assert!(!patient.preempts && patient.filters(Plugin::NodePorts));
}

#[test]
fn what_cannot_be_is_named() {
    let one = |profile: Value| json!({"profiles": [profile]});
    let args = |name: &str, args: Value| one(json!({"pluginConfig": [{"name": name, "args": args}]}));
    let fit = |strategy: Value| args("NodeResourcesFit", json!({"scoringStrategy": strategy}));
    let extender = |more: Value| {
        let mut one = json!({"urlPrefix": "http://x"});
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"extenders": [one]})
    };
    for (value, words) in [
        (json!({"profile": []}), "unknown field `profile`"),
        (json!({"podInitialBackoffSeconds": 0}), "podInitialBackoffSeconds: must be greater than 0"),
        (json!({"podInitialBackoffSeconds": 20}), "podMaxBackoffSeconds: must be greater than or equal to"),
        (extender(json!({"urlPrefix": "x"})), "extenders[0]: \"x\" is no URL of http or https"),
        (extender(json!({"filter": "x"})), "unknown field `filter`"),
        (extender(json!({"httpTimeout": "5"})), "time: invalid duration \"5\""),
        (extender(json!({"httpTimeout": "-5s"})), "time: invalid duration \"-5s\""),
        (
            extender(json!({"prioritizeVerb": "p"})),
            "extenders[0].weight: 0: must have a positive weight applied to it",
        ),
        (
            extender(json!({"managedResources": [{"name": "cpu"}]})),
            "extenders[0].managedResources[0].name: \"cpu\": is an invalid extended resource name",
        ),
        (
            extender(json!({"managedResources": [{"name": "a.b/c"}, {"name": "a.b/c"}]})),
            "extenders[0].managedResources[1].name: \"a.b/c\": duplicate extender managed resource name",
        ),
        (
            json!({"extenders": [{"urlPrefix": "http://x", "bindVerb": "b"}, {"urlPrefix": "http://y", "bindVerb": "b"}]}),
            "extenders: found 2 extenders implementing bind: only one extender can implement bind",
        ),
        (extender(json!({"urlPrefix": "https://x", "tlsConfig": {"caFile": "/nowhere/ca"}})), "/nowhere/ca"),
        (json!({"profiles": [{"schedulerName": "a"}, {"schedulerName": "a"}]}), "\"a\" is there twice"),
        (json!({"profiles": [{"schedulerName": "a"}, {}]}), "profiles[1].schedulerName"),
        (one(json!({"plugins": {"sort": {}}})), "no such extension point"),
        (
            one(json!({"plugins": {"score": {"enabled": [{"name": "Mine"}]}}})),
            "plugin \"Mine\" does not exist",
        ),
        (
            one(json!({"plugins": {"score": {"enabled": [{"name": "NodePorts"}]}}})),
            "plugin \"NodePorts\" does not extend score plugin",
        ),
        (one(json!({"plugins": {"bind": {"disabled": [{"name": "*"}]}}})), "plugins.bind: DefaultBinder"),
        (fit(json!({"type": "Best"})), "scoringStrategy.type: \"Best\" is not one of"),
        (fit(json!({"type": "RequestedToCapacityRatio"})), "at least one point must be specified"),
        (
            fit(json!({"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 101}]})),
            "cpu: resource weight not in valid range (0, 100]",
        ),
        (args("InterPodAffinity", json!({"hardPodAffinityWeight": 101})), "not in valid range [0, 100]"),
        (args("InterPodAffinity", json!({"kind": "NodeAffinityArgs"})), "has to be InterPodAffinityArgs"),
        (args("NodeName", json!({})), "NodeName takes none"),
        (json!({"parallelism": 0}), "parallelism: should be an integer value greater than zero"),
        (json!({"percentageOfNodesToScore": 101}), "percentageOfNodesToScore: not in valid range [0-100]"),
        (one(json!({"percentageOfNodesToScore": -1})), "profiles[0].percentageOfNodesToScore: not in valid"),
        (
            one(
                json!({"plugins": {"score": {"enabled": [{"name": "ImageLocality", "weight": 2_147_483_648_i64}]}}}),
            ),
            "plugins.score.enabled[0].weight: 2147483648 is no weight",
        ),
        (
            fit(json!({"type": "LeastAllocated", "requestedToCapacityRatio": {"shape": []}})),
            "requestedToCapacityRatio: must be nil when type is not RequestedToCapacityRatio",
        ),
        (args("NodeResourcesFit", json!({"ignoredResources": ["a/b/c"]})), "ignoredResources: \"a/b/c\": "),
        (
            args("NodeResourcesBalancedAllocation", json!({"resources": [{"name": "cpu"}, {"name": "cpu"}]})),
            "cpu is there twice",
        ),
        (args("DefaultPreemption", json!({"minCandidateNodes": 1})), "unknown field `minCandidateNodes`"),
        (
            args("DefaultPreemption", json!({"minCandidateNodesPercentage": 101})),
            "args.minCandidateNodesPercentage: not in valid range [0, 100]",
        ),
        (
            args("DefaultPreemption", json!({"minCandidateNodesAbsolute": -1})),
            "args.minCandidateNodesAbsolute: not in valid range [0, inf)",
        ),
        (
            args(
                "DefaultPreemption",
                json!({"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0}),
            ),
            "cannot be zero at the same time",
        ),
        (args("VolumeBinding", json!({"bindTimeoutSeconds": -1})), "should not be a negative value"),
        (
            args("VolumeBinding", json!({"shape": [{"utilization": 0, "score": 0}]})),
            "args.shape: there is no scoring by storage capacity",
        ),
        (args("DynamicResources", json!({"bindingTimeout": "500ms"})), "must be at least 1 second"),
        (args("DynamicResources", json!({"filterTimeout": "soon"})), "\"soon\" is no duration"),
        (
            args(
                "PodTopologySpread",
                json!({"defaultConstraints": [
                {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"}]}),
            ),
            "when .defaultingType is System",
        ),
    ] {
        let said = parse(value.clone()).expect_err(words);
        assert!(said.contains(words), "{value}: {said}");
    }
    for (key, value) in [
        ("minCandidateNodesPercentage", json!(0)),
        ("minCandidateNodesAbsolute", json!(0)),
        ("minCandidateNodesAbsolute", json!(null)),
    ] {
        assert!(parse(args("DefaultPreemption", json!({key: value}))).is_ok(), "{key}");
    }
    assert!(parse(args("VolumeBinding", json!({"bindTimeoutSeconds": 0}))).is_ok());
    assert!(
        parse(args("DynamicResources", json!({"filterTimeout": "0", "bindingTimeout": "1m30s"}))).is_ok()
    );
    let error = read(json!({"apiVersion": "v1", "kind": "Pod"})).unwrap_err().to_string();
    assert!(error.starts_with("apiVersion:"), "{error}");
}

#[test]
fn what_an_older_scheduler_had_can_still_be_disabled() {
    for point in ["score", "multiPoint"] {
        let set = json!({point: {"disabled": [{"name": "SelectorSpread"}]}});
        assert_eq!(*profile(set, json!([])), Profile::default());
    }
}

#[test]
fn default_spreading_and_added_affinity_are_checked() {
    let said = |name: &str, args: Value| {
        let config = json!([{"name": name, "args": args}]);
        parse(json!({"profiles": [{"pluginConfig": config}]})).err().unwrap_or_default()
    };
    let spread = |rules: &[(&str, &str)]| {
        let rules = rules
            .iter()
            .map(|(key, when)| json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when}));
        let rules: Value = rules.collect();
        said("PodTopologySpread", json!({"defaultingType": "List", "defaultConstraints": rules}))
    };
    assert_eq!(spread(&[("zone", "DoNotSchedule"), ("zone", "ScheduleAnyway")]), "");
    let twice = spread(&[("zone", "DoNotSchedule"), ("zone", "DoNotSchedule")]);
    assert!(twice.contains("defaultConstraints[1].topologyKey: a rule of this"), "{twice}");
    let odd = spread(&[("my zone", "DoNotSchedule")]);
    assert!(odd.contains("defaultConstraints[0].topologyKey: \"my zone\": "), "{odd}");

    let term = |term: Value| {
        let required = json!({"nodeSelectorTerms": [term]});
        let added = json!({"requiredDuringSchedulingIgnoredDuringExecution": required});
        said("NodeAffinity", json!({"addedAffinity": added}))
    };
    let label = |key: &str, operator: &str, values: &[&str]| {
        term(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
    };
    for (said, words) in [
        (label("zone", "In", &["a"]), ""),
        (label("cores", "Gt", &["4"]), ""),
        (label("zone", "Exists", &[]), ""),
        (term(json!({})), ""),
        (
            label("zone", "Is", &["a"]),
            "nodeSelectorTerms[0].matchExpressions[0].operator: \"Is\" is not one of",
        ),
        (label("zone", "In", &[]), "matchExpressions[0].values: for 'in'"),
        (label("zone", "Exists", &["a"]), "must be empty"),
        (label("cores", "Gt", &["many"]), "must be an integer"),
        (label("cores", "Lt", &["1", "2"]), "exactly one value"),
        (label("a zone", "Exists", &[]), "matchExpressions[0].key: \"a zone\": "),
        (label("zone", "In", &["a b"]), "matchExpressions[0].values: \"a b\": "),
        (
            term(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a", "b"]}]})),
            "matchFields[0].values: must have one element",
        ),
        (
            term(json!({"matchFields": [{"key": "metadata.name", "operator": "Exists"}]})),
            "matchFields[0].operator: \"Exists\" is not one of",
        ),
    ] {
        assert!(said.contains(words) && said.is_empty() == words.is_empty(), "{words}: {said}");
    }
    let preferred = |weight: i32| {
        let term = json!({"matchExpressions": [{"key": "zone", "operator": "Is"}]});
        let added = json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight, "preference": term}]});
        said("NodeAffinity", json!({"addedAffinity": added}))
    };
    assert!(preferred(0).is_empty(), "not looked at");
    assert!(preferred(1).contains("preferredDuringSchedulingIgnoredDuringExecution[0].matchExpressions"));
}

/// Nodes `a` (4 CPUs, half in use, a GPU, zone 1) and `b` (4 CPUs, empty, tainted softly, zone 2).
fn world() -> World {
    let mut world = World::default();
    for (name, taints, gpus) in
        [("a", json!([]), "4"), ("b", json!([{"key": "k", "effect": "PreferNoSchedule"}]), "0")]
    {
        let amounts = json!({"cpu": "4", "memory": "8Gi", "pods": "10", "gpu.example/x": gpus});
        let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": name}},
            "spec": {"taints": taints}, "status": {"allocatable": amounts}});
        world.apply_node(Arc::new(serde_json::from_value(node).unwrap()));
    }
    world.apply_pod(Arc::new(pod("there", "2", json!({}), Profile::standard())), "a");
    world
}

fn pod(name: &str, cpu: &str, spec: Value, profile: Arc<Profile>) -> PodInfo {
    let mut object = json!({"metadata": {"name": name, "namespace": "d", "labels": {"app": "x"}}, "spec": {
        "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]}});
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    PodInfo::with(Arc::new(serde_json::from_value(object).unwrap()), profile)
}

fn place(world: &World, cpu: &str, spec: Value, profile: &Arc<Profile>) -> String {
    match schedule(&pod("new", cpu, spec, profile.clone()), world, 0) {
        Decision::Bind { node, .. } => node,
        Decision::Unschedulable { message, .. } | Decision::Failed { message } => message,
    }
}

#[test]
fn profiles_decide_where_pods_go() {
    let world = world();
    let fit = |strategy: Value| {
        // nothing else counts
        let only = json!({"score": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeResourcesFit"}]}});
        profile(only, json!([{"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}]))
    };
    let least = fit(json!({"type": "LeastAllocated"}));
    let most = fit(json!({"type": "MostAllocated"}));
    assert_eq!(
        (place(&world, "1", json!({}), &least), place(&world, "1", json!({}), &most)),
        ("b".into(), "a".into())
    );
    let half = fit(json!({"type": "RequestedToCapacityRatio", "resources": [{"name": "cpu", "weight": 3}],
        "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0}, {"utilization": 75, "score": 10}]}}));
    assert_eq!(place(&world, "1", json!({}), &half), "a");
    // the soft taint counts for more than all else, unless its plugin is off
    assert_eq!(place(&world, "1", json!({}), &Profile::standard()), "a");
    let blind = profile(json!({"score": {"disabled": [{"name": "TaintToleration"}]}}), json!([]));
    assert_eq!(place(&world, "1", json!({}), &blind), "b");
}

#[test]
fn filters_are_off_or_more() {
    let mut world = world();
    let standard = Profile::standard();
    let said = place(&world, "9", json!({}), &standard);
    assert!(
        said.starts_with(
            "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption:"
        ),
        "{said}"
    );
    let patient = profile(json!({"postFilter": {"disabled": [{"name": "*"}]}}), json!([]));
    assert_eq!(
        place(&world, "9", json!({}), &patient),
        "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate"
    );
    let bold = profile(json!({"filter": {"disabled": [{"name": "NodeResourcesFit"}]}}), json!([]));
    assert!(["a", "b"].contains(&place(&world, "9", json!({}), &bold).as_str()));
    let added = json!([{"name": "NodeAffinity", "args": {"addedAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}]}}}}]);
    assert_eq!(place(&world, "1", json!({}), &profile(json!({}), added.clone())), "b");
    let patient = profile(json!({"postFilter": {"disabled": [{"name": "*"}]}}), added);
    let said = place(&world, "1", json!({"nodeSelector": {"zone": "a"}}), &patient);
    assert!(said.contains("1 node(s) didn't match scheduler-enforced node affinity"), "{said}");
    let gpu = json!({"containers": [{"name": "c", "resources": {"requests": {"gpu.example/x": "9"}}}]});
    let blind = json!([{"name": "NodeResourcesFit", "args": {"ignoredResourceGroups": ["gpu.example"]}}]);
    assert!(["a", "b"].contains(&place(&world, "0", gpu, &profile(json!({}), blind)).as_str()));
    // constraints that a list gives to pods with none, by the Service that selects them
    let labels = [("app".to_owned(), "x".to_owned())].into();
    world.owners.set_service("d", "s", Some(labels));
    let listed = json!([{"name": "PodTopologySpread", "args": {"defaultingType": "List", "defaultConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}}]);
    assert_eq!(place(&world, "1", json!({}), &profile(json!({}), listed)), "b");
}
