//! What users and the world do to the cluster: workloads come, change and go, nodes die and return.

use std::sync::Arc;

use http::Method;
use sampan_simulate::words;
use serde_json::{Value, json};

use crate::api::{Answer, Api, Asked, Who, controller};
use crate::random::Random;

const ZONE: &str = "topology.kubernetes.io/zone";
const ZONES: u64 = 3;
/// Of each node, in processors and pods.
const NODE: (&str, &str) = ("4", "20");
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const DAEMONS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const CRONJOBS: &str = "/apis/batch/v1/namespaces/default/cronjobs";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
const PODS: &str = "/api/v1/namespaces/default/pods";
const NODES: &str = "/api/v1/nodes";
const MERGE: &str = "application/merge-patch+json";

/// The user, who is never refused by chance.
pub struct Script {
    api: Arc<Api>,
    random: Random,
    nodes: u64,
    jobs: u64,
    urgent: u64,
    /// What was done, in words.
    pub history: Vec<String>,
}

fn container(cpu: &str, image: u64) -> Value {
    json!({"name": "main", "image": format!("app:{image}"), "resources": {"requests": {"cpu": cpu}}})
}

/// Pods that leave a node that does not answer after five seconds.
fn template(app: &str, cpu: &str, annotations: Value, rest: Value) -> Value {
    let away = |key: &str| {
        json!({
        "key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": 5})
    };
    let mut spec = json!({
        "terminationGracePeriodSeconds": 3, "containers": [container(cpu, 1)],
        "tolerations": [away("unreachable"), away("not-ready")]});
    for (key, value) in rest.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"labels": {"app": app}, "annotations": annotations}, "spec": spec})
}

fn workload(name: &str, spec: Value, cpu: &str) -> Value {
    let mut object = json!({
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name, cpu, json!({}), json!({}))}});
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

impl Script {
    /// The cluster as it begins.
    pub fn new(api: Arc<Api>, random: Random) -> Self {
        let mut script = Self { api, random, nodes: 0, jobs: 0, urgent: 0, history: Vec::new() };
        for namespace in ["default", "kube-system", "kube-node-lease"] {
            let object = json!({"metadata": {"name": namespace}, "spec": {"finalizers": ["kubernetes"]}});
            script.make("/api/v1/namespaces", object);
        }
        let class = json!({"metadata": {"name": "urgent"}, "value": 1000});
        script.make("/apis/scheduling.k8s.io/v1/priorityclasses", class);
        for number in 0..4 + script.random.below(5) {
            script.node(number);
            script.nodes += 1;
        }
        for name in ["web", "db", "par", "agent"] {
            script.workload(name);
        }
        let budget = json!({
            "metadata": {"name": "web"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}});
        script.make(BUDGETS, budget);
        let job = json!({"spec": {"template": template("tick", "100m", json!({}), json!({"restartPolicy": "Never"}))}});
        let policy = *script.random.of(&["Allow", "Forbid", "Replace"]);
        let cron = json!({"metadata": {"name": "tick"}, "spec": {
            "schedule": "* * * * *", "concurrencyPolicy": policy, "successfulJobsHistoryLimit": 1, "jobTemplate": job}});
        script.make(CRONJOBS, cron);
        script
    }

    fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        self.api.ask(&Asked {
            who: Who::User,
            method: &method,
            path,
            query: "",
            content: MERGE,
            body: body.as_bytes(),
        })
    }

    fn make(&self, path: &str, object: Value) {
        let (code, body) = self.ask(Method::POST, path, &object);
        assert!(code == 201 || code == 409, "POST {path}: {code} {body}");
    }

    fn change(&self, path: &str, name: &str, patch: Value) {
        self.ask(Method::PATCH, &format!("{path}/{name}"), &patch);
    }

    fn node(&self, number: u64) {
        let name = format!("n{number}");
        let amounts = json!({"cpu": NODE.0, "memory": "64Gi", "pods": NODE.1});
        self.make(
            NODES,
            json!({
                "metadata": {"name": name, "annotations": {words::NODE: words::FAKE}, "labels": {
                    "kubernetes.io/hostname": name, ZONE: format!("z{}", number % ZONES)}},
                "spec": {}, "status": {"capacity": amounts, "allocatable": amounts}}),
        );
    }

    fn workload(&self, name: &str) {
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}});
        match name {
            "web" => {
                self.make(DEPLOYMENTS, workload(name, json!({"replicas": 3, "strategy": rolling}), "500m"))
            }
            "db" => self.make(SETS, workload(name, json!({"serviceName": name, "replicas": 3}), "300m")),
            "par" => {
                let spec = json!({"serviceName": name, "replicas": 2, "podManagementPolicy": "Parallel"});
                self.make(SETS, workload(name, spec, "300m"));
            }
            _ => self.make(DAEMONS, workload(name, json!({}), "100m")),
        }
    }

    fn path_of(name: &str) -> &'static str {
        match name {
            "web" => DEPLOYMENTS,
            "agent" => DAEMONS,
            _ => SETS,
        }
    }

    fn tell(&self, number: u64, state: Option<&str>) {
        self.change(
            NODES,
            &format!("n{number}"),
            json!({"metadata": {"annotations": {words::STATE: state}}}),
        );
    }

    fn a_pod(&mut self, fits: impl Fn(&Value) -> bool) -> Option<String> {
        let all: Vec<String> = self
            .api
            .all("/pods")
            .iter()
            .filter(|pod| pod["metadata"]["namespace"] == "default" && fits(pod))
            .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        (!all.is_empty()).then(|| self.random.of(&all).clone())
    }

    /// Does something.
    pub fn step(&mut self) {
        let done = self.one();
        self.history.push(format!("{} {done}", sampan_reconcile::now()));
    }

    fn one(&mut self) -> String {
        let number = self.random.below(self.nodes);
        match self.random.below(17) {
            0 | 1 => {
                let (name, most) = *self.random.of(&[("web", 8), ("db", 5), ("par", 5)]);
                let replicas = self.random.below(most);
                self.change(Self::path_of(name), name, json!({"spec": {"replicas": replicas}}));
                format!("scale {name} to {replicas}")
            }
            2 | 3 => {
                let name = *self.random.of(&["web", "db", "par", "agent"]);
                let image = self.random.below(5);
                let cpu = if name == "agent" { "100m" } else { "300m" };
                let containers = json!([container(cpu, image)]);
                self.change(
                    Self::path_of(name),
                    name,
                    json!({"spec": {"template": {"spec": {"containers": containers}}}}),
                );
                format!("roll {name} to app:{image}")
            }
            4 | 5 => self.job(),
            6 => match self.a_pod(|_| true) {
                Some(pod) => {
                    self.ask(Method::DELETE, &format!("{PODS}/{pod}"), &Value::Null);
                    format!("delete pod {pod}")
                }
                None => "nothing".to_owned(),
            },
            7 => {
                self.tell(number, Some("failed"));
                format!("n{number} fails")
            }
            8 => {
                let zone = self.random.below(ZONES);
                (0..self.nodes)
                    .filter(|node| node % ZONES == zone)
                    .for_each(|node| self.tell(node, Some("failed")));
                format!("zone z{zone} fails")
            }
            9 => {
                (0..self.nodes).for_each(|node| self.tell(node, None));
                "all nodes return".to_owned()
            }
            10 => {
                let cordoned = self.random.one_in(2);
                self.change(NODES, &format!("n{number}"), json!({"spec": {"unschedulable": cordoned}}));
                format!("n{number} unschedulable: {cordoned}")
            }
            11 | 12 => match self.a_pod(|pod| pod["metadata"]["labels"]["app"] == "web") {
                Some(pod) => {
                    let (code, _) = self.ask(Method::POST, &format!("{PODS}/{pod}/eviction"), &Value::Null);
                    format!("evict {pod}: {code}")
                }
                None => "nothing".to_owned(),
            },
            13 => {
                let name = *self.random.of(&["web", "db", "par", "agent"]);
                self.ask(Method::DELETE, &format!("{}/{name}", Self::path_of(name)), &Value::Null);
                self.workload(name);
                format!("delete {name} and make it anew")
            }
            14 => match self.a_pod(|pod| controller(pod).is_some()) {
                Some(pod) => {
                    self.change(PODS, &pod, json!({"metadata": {"labels": {"app": "free"}}}));
                    format!("relabel {pod}")
                }
                None => "nothing".to_owned(),
            },
            15 => {
                self.urgent += 1;
                let name = format!("urgent-{}", self.urgent);
                let mut spec = template("urgent", "3", json!({}), json!({"priorityClassName": "urgent"}));
                spec["metadata"]["name"] = json!(name);
                self.make(PODS, spec);
                format!("an urgent pod {name}")
            }
            _ => {
                self.ask(Method::DELETE, &format!("{NODES}/n{number}"), &Value::Null);
                self.node(number);
                format!("n{number} is removed and made anew")
            }
        }
    }

    fn job(&mut self) -> String {
        self.jobs += 1;
        let name = format!("job-{}", self.jobs);
        let (completions, parallelism) = (1 + self.random.below(8), 1 + self.random.below(4));
        let mode = *self.random.of(&["NonIndexed", "Indexed"]);
        let seconds = self.random.below(6).to_string();
        let template =
            template(&name, "200m", json!({words::RUN_SECONDS: seconds}), json!({"restartPolicy": "Never"}));
        let spec = json!({
            "completions": completions, "parallelism": parallelism, "completionMode": mode, "backoffLimit": 1000,
            "template": template});
        self.make(JOBS, json!({"metadata": {"name": name}, "spec": spec}));
        format!("{name} of {completions} {mode}, {parallelism} at once")
    }

    /// The world is good again: nothing is broken, and nobody wants what there is no room for.
    pub fn mend(&mut self) {
        for number in 0..self.nodes {
            self.tell(number, None);
            self.change(NODES, &format!("n{number}"), json!({"spec": {"unschedulable": null}}));
        }
        for pod in self.api.all("/pods") {
            let labels = &pod["metadata"]["labels"]["app"];
            // one that is let go of later than this keeps its name from a StatefulSet for good
            if labels == "urgent" || labels == "free" {
                let name = pod["metadata"]["name"].as_str().unwrap();
                self.ask(Method::DELETE, &format!("{PODS}/{name}"), &Value::Null);
            }
        }
        self.change(CRONJOBS, "tick", json!({"spec": {"suspend": true}}));
        self.history.push(format!("{} all is mended", sampan_reconcile::now()));
    }
}
