//! Random nodes and pods, from few values, so that they often meet.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

pub fn namespaces() -> BTreeMap<String, BTreeMap<String, String>> {
    let team = |name: &str| BTreeMap::from([("team".to_owned(), name.to_owned())]);
    BTreeMap::from([("d".to_owned(), team("red")), ("e".to_owned(), team("blue"))])
}

pub fn replica_sets() -> Vec<(String, String, LabelSelector)> {
    let all = [("d", "web"), ("d", "db"), ("e", "web")];
    let selector = |app: &str| serde_json::from_value(json!({"matchLabels": {"app": app}})).unwrap();
    all.iter().map(|(namespace, app)| ((*namespace).to_owned(), (*app).to_owned(), selector(app))).collect()
}

pub fn node(random: &mut Random, at: u64) -> Node {
    let name = format!("n{at}");
    let mut labels = json!({"kubernetes.io/hostname": name, "disk": random.of(&["ssd", "hdd"])});
    if !random.one_in(6) {
        labels["topology.kubernetes.io/zone"] = json!(random.of(&["a", "b", "c"]));
    }
    if random.one_in(3) {
        labels["cores"] = json!(random.of(&["2", "4", "8"]));
    }
    let mut taints = Vec::new();
    for effect in ["NoSchedule", "PreferNoSchedule", "NoExecute"] {
        if random.one_in(6) {
            taints.push(
                json!({"key": random.of(&["k", "l"]), "value": random.of(&["v", "w"]), "effect": effect}),
            );
        }
    }
    let images: Vec<Value> = ["i:1", "j:latest"]
        .iter()
        .filter(|_| random.one_in(3))
        .map(|name| json!({"names": [name], "sizeBytes": 400_000_000}))
        .collect();
    let mut declared = vec!["ExtendWebSocketsToKubelet"];
    if !random.one_in(3) {
        declared.push("RestartAllContainersOnContainerExits");
    }
    let node = json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"unschedulable": random.one_in(12), "taints": taints},
        "status": {"images": images, "declaredFeatures": declared, "allocatable": {
            "cpu": format!("{}m", 500 * (1 + random.below(6))), "memory": format!("{}Mi", 512 * (1 + random.below(6))),
            "pods": (2 + random.below(6)).to_string(), "x.io/gpu": random.below(3).to_string()}},
    });
    serde_json::from_value(node).unwrap()
}

fn container(random: &mut Random, name: &str) -> Value {
    let mut requests = json!({});
    if !random.one_in(3) {
        requests["cpu"] = json!(format!("{}m", 50 * random.below(12)));
    }
    if !random.one_in(3) {
        requests["memory"] = json!(format!("{}Mi", 64 * random.below(8)));
    }
    if random.one_in(8) {
        requests["x.io/gpu"] = json!("1");
    }
    let mut ports = json!([]);
    if random.one_in(8) {
        ports = json!([{"containerPort": 1, "hostPort": random.of(&[80, 81]), "protocol": "TCP",
            "hostIP": random.of(&["", "10.0.0.1"])}]);
    }
    let mut rules = json!([]);
    if random.one_in(12) {
        rules = json!([{"action": random.of(&["Restart", "RestartAllContainers"])}]);
    }
    json!({"name": name, "image": random.of(&["i:1", "j", "k"]), "ports": ports, "resources": {"requests": requests},
        "restartPolicyRules": rules})
}

fn expressions(random: &mut Random) -> Value {
    let expression = match random.below(5) {
        0 => json!({"key": "disk", "operator": "In", "values": [random.of(&["ssd", "hdd"])]}),
        1 => {
            json!({"key": "topology.kubernetes.io/zone", "operator": "NotIn", "values": [random.of(&["a", "b"])]})
        }
        2 => json!({"key": "cores", "operator": "Exists"}),
        3 => json!({"key": "cores", "operator": "DoesNotExist"}),
        _ => json!({"key": "cores", "operator": "Gt", "values": ["3"]}),
    };
    json!({"matchExpressions": [expression]})
}

fn key(random: &mut Random) -> &'static str {
    random.of::<&str>(&["kubernetes.io/hostname", "topology.kubernetes.io/zone", "disk"])
}

fn selector(random: &mut Random) -> Value {
    match random.below(3) {
        0 => json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
        _ => json!({"matchLabels": {"app": random.of(&["web", "db"])}}),
    }
}

fn term(random: &mut Random) -> Value {
    let mut term = json!({"topologyKey": key(random), "labelSelector": selector(random)});
    match random.below(5) {
        0 => term["namespaces"] = json!([random.of(&["d", "e"])]),
        1 => term["namespaceSelector"] = json!({"matchLabels": {"team": random.of(&["red", "blue"])}}),
        2 => term["namespaceSelector"] = json!({}),
        _ => {}
    }
    term
}

fn terms(random: &mut Random) -> Value {
    let mut affinity = json!({});
    if random.one_in(2) {
        let count = 1 + random.below(2);
        let terms: Vec<Value> = (0..count).map(|_| term(random)).collect();
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = json!(terms);
    }
    if random.one_in(2) {
        let weighted = json!([{"weight": 1 + random.below(100), "podAffinityTerm": term(random)}]);
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = weighted;
    }
    affinity
}

fn spread(random: &mut Random) -> Value {
    let hard = random.one_in(2);
    let mut rule = json!({"maxSkew": 1 + random.below(2), "topologyKey": key(random), "labelSelector": selector(random),
        "whenUnsatisfiable": if hard { "DoNotSchedule" } else { "ScheduleAnyway" }});
    if hard && random.one_in(3) {
        rule["minDomains"] = json!(1 + random.below(3));
    }
    if random.one_in(3) {
        rule["nodeTaintsPolicy"] = json!("Honor");
    }
    if random.one_in(3) {
        rule["nodeAffinityPolicy"] = json!("Ignore");
    }
    rule
}

pub fn pod(random: &mut Random) -> Pod {
    let (app, namespace) = (*random.of(&["web", "db"]), *random.of(&["d", "e"]));
    let mut spec = json!({"containers": [container(random, "a")]});
    if random.one_in(4) {
        spec["containers"] = json!([container(random, "a"), container(random, "b")]);
    }
    if random.one_in(4) {
        let mut init = container(random, "i");
        if random.one_in(2) {
            init["restartPolicy"] = json!("Always");
        }
        spec["initContainers"] = json!([init, container(random, "j")]);
    }
    if random.one_in(8) {
        spec["overhead"] = json!({"cpu": "50m", "memory": "64Mi"});
    }
    if random.one_in(8) {
        spec["resources"] = json!({"requests": {"cpu": "700m"}});
    }
    if random.one_in(6) {
        spec["nodeSelector"] = json!({"disk": random.of(&["ssd", "hdd"])});
    }
    if random.one_in(2) {
        let effect = *random.of(&["", "NoSchedule", "PreferNoSchedule"]);
        spec["tolerations"] = match random.below(3) {
            0 => json!([{"operator": "Exists", "effect": effect}]),
            1 => json!([{"key": "k", "operator": "Exists", "effect": effect}]),
            _ => json!([{"key": random.of(&["k", "l"]), "value": random.of(&["v", "w"]), "effect": effect}]),
        };
    }
    let mut affinity = json!({});
    if random.one_in(4) {
        let mut nodes = json!({});
        if random.one_in(2) {
            let terms = json!([expressions(random), expressions(random)]);
            nodes["requiredDuringSchedulingIgnoredDuringExecution"] = json!({"nodeSelectorTerms": terms});
        }
        let preferred =
            |random: &mut Random| json!({"weight": 1 + random.below(100), "preference": expressions(random)});
        nodes["preferredDuringSchedulingIgnoredDuringExecution"] =
            json!([preferred(random), preferred(random)]);
        affinity["nodeAffinity"] = nodes;
    }
    if random.one_in(4) {
        affinity["podAffinity"] = terms(random);
    }
    if random.one_in(4) {
        affinity["podAntiAffinity"] = terms(random);
    }
    spec["affinity"] = affinity;
    if random.one_in(3) {
        let count = 1 + random.below(2);
        let rules: Vec<Value> = (0..count).map(|_| spread(random)).collect();
        spec["topologySpreadConstraints"] = json!(rules);
    }
    let mut pod = json!({"metadata": {"namespace": namespace, "labels": {"app": app}}, "spec": spec});
    if random.one_in(2) {
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app,
            "uid": "u", "controller": true}]);
    }
    serde_json::from_value(pod).unwrap()
}
