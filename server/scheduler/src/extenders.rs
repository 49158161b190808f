//! What extenders are asked, and how their answers are read (upstream's `pkg/scheduler/extender.go` and
//! `k8s.io/kube-scheduler/extender/v1`). The types there have no names for JSON: fields are sent as Go names them, and read
//! whatever their case, as Go does.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Request;
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use kube::Client;
use serde_json::{Map, Value, json};

use crate::config;
use crate::config::extenders::with_causes;
use crate::pods::PodInfo;
use crate::preempt::{Candidates, Victims, importance};

/// Scores of extenders go to 10, those of plugins to 100.
const SCALE: i64 = crate::scores::MAX / 10;

/// An extender, and the way to it.
pub struct Extender {
    config: config::Extender,
    client: Result<Client, String>,
}

/// What a filter left, by names of nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// Where the pod can run.
    pub nodes: Vec<String>,
    /// Why not; preemption may help.
    pub failed: BTreeMap<String, String>,
    /// Why not; preemption cannot help.
    pub unresolvable: BTreeMap<String, String>,
}

impl Extender {
    /// Has to be called where tasks can be spawned.
    pub fn new(config: &config::Extender) -> Self {
        let connection = config.connection();
        let client = connection.and_then(|config| Client::try_from(config).map_err(|e| with_causes(&e)));
        Self { config: config.clone(), client }
    }

    /// Where it is.
    pub fn name(&self) -> &str {
        &self.config.url_prefix
    }

    /// Whether pods are placed without it when it fails.
    pub fn is_ignorable(&self) -> bool {
        self.config.ignorable
    }

    /// Whether it filters.
    pub fn filters(&self) -> bool {
        !self.config.filter_verb.is_empty()
    }

    /// Whether it scores.
    pub fn prioritizes(&self) -> bool {
        !self.config.prioritize_verb.is_empty()
    }

    /// Whether it binds.
    pub fn binds(&self) -> bool {
        !self.config.bind_verb.is_empty()
    }

    /// Whether it has a say in preemption.
    pub fn preempts(&self) -> bool {
        !self.config.preempt_verb.is_empty()
    }

    /// Whether it is shown pods that are to make room, whole.
    pub fn shows_victims(&self) -> bool {
        self.preempts() && !self.config.node_cache_capable
    }

    /// Whether the pod is its business: it manages everything, or something that a container asks for.
    pub fn is_interested(&self, pod: &PodInfo) -> bool {
        let spec = pod.spec();
        let asks = |name: &str, container: &Container| {
            let resources = container.resources.as_ref();
            let lists = resources.into_iter().flat_map(|one| [&one.requests, &one.limits]);
            lists.flatten().any(|list| list.contains_key(name))
        };
        let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        self.config.managed().next().is_none()
            || containers.any(|container| self.config.managed().any(|name| asks(name, container)))
    }

    async fn send(&self, verb: &str, arguments: &Value) -> Result<Value, String> {
        let url = self.config.url(verb);
        let client = self.client.as_ref().map_err(|why| format!("Post {url:?}: {why}"))?;
        let request = Request::post(format!("/{verb}"))
            .header("content-type", "application/json")
            .body(arguments.to_string().into_bytes().into())
            .map_err(|error| format!("Post {url:?}: {error}"))?;
        let exchange = async {
            let response = client.send(request).await?;
            let status = response.status();
            Ok::<_, kube::Error>((status, response.into_body().collect_bytes().await?))
        };
        let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        let answer = match tokio::time::timeout(self.config.timeout(), exchange).await {
            Ok(answer) => answer.map_err(|error| format!("Post {url:?}: {}", with_causes(&error))),
            Err(_) => Err(format!("Post {url:?}: {late}")),
        };
        let (status, body) = answer?;
        if status != http::StatusCode::OK {
            return Err(format!("failed {verb} with extender at URL {url}, code {}", status.as_u16()));
        }
        serde_json::from_slice(&body).map_err(|error| format!("{verb} of extender at URL {url}: {error}"))
    }

    fn arguments(&self, pod: &Pod, nodes: &[Arc<Node>]) -> Value {
        let (list, names) = match self.config.node_cache_capable {
            true => (Value::Null, nodes.iter().map(|node| name_of(node)).collect()),
            false => (
                json!({"metadata": {}, "items": nodes.iter().map(|node| &**node).collect::<Vec<_>>()}),
                Value::Null,
            ),
        };
        json!({"Pod": pod, "Nodes": list, "NodeNames": names})
    }

    /// Which of `nodes` the pod can run on.
    ///
    /// # Errors
    /// It is not to be had, says that it failed, or names a node that it was not asked about.
    pub async fn filter(&self, pod: &Pod, nodes: &[Arc<Node>]) -> Result<Filtered, String> {
        let answer = self.send(&self.config.filter_verb, &self.arguments(pod, nodes)).await?;
        self.filtered(&answer, nodes)
    }

    fn filtered(&self, answer: &Value, nodes: &[Arc<Node>]) -> Result<Filtered, String> {
        if let Some(error) = text(answer, "Error") {
            return Err(error.to_owned());
        }
        let names: Vec<&str> = match (self.config.node_cache_capable, field(answer, "NodeNames")) {
            (true, Some(Value::Array(names))) => names.iter().filter_map(Value::as_str).collect(),
            _ => {
                let items = field(answer, "Nodes").and_then(|list| field(list, "items"));
                let items = items.and_then(Value::as_array).into_iter().flatten();
                items.filter_map(|node| node.pointer("/metadata/name")?.as_str()).collect()
            }
        };
        if let Some(stranger) = names.iter().find(|name| !nodes.iter().any(|node| name_of(node) == **name)) {
            return Err(format!(
                "extender {:?} claims a filtered node {stranger:?} which is not found in the input node list",
                self.config.url_prefix
            ));
        }
        Ok(Filtered {
            nodes: names.into_iter().map(str::to_owned).collect(),
            failed: texts(answer, "FailedNodes"),
            unresolvable: texts(answer, "FailedAndUnresolvableNodes"),
        })
    }

    /// What it adds to the scores of `nodes`, weighed.
    ///
    /// # Errors
    /// It is not to be had, or says something else.
    pub async fn prioritize(&self, pod: &Pod, nodes: &[Arc<Node>]) -> Result<Vec<(String, i64)>, String> {
        let answer = self.send(&self.config.prioritize_verb, &self.arguments(pod, nodes)).await?;
        let list = answer.as_array().ok_or("no list of hosts and scores was answered")?;
        let weighed = |one: &Value| {
            let score = field(one, "Score").and_then(Value::as_i64).unwrap_or(0);
            let total = score.saturating_mul(self.config.weight).saturating_mul(SCALE);
            Some((text(one, "Host")?.to_owned(), total))
        };
        Ok(list.iter().filter_map(weighed).collect())
    }

    /// Binds the pod to `node`.
    ///
    /// # Errors
    /// It did not.
    pub async fn bind(&self, pod: &Pod, node: &str) -> Result<(), String> {
        let arguments = json!({"PodName": pod.metadata.name, "PodNamespace": pod.metadata.namespace,
            "PodUID": pod.metadata.uid, "Node": node});
        let answer = self.send(&self.config.bind_verb, &arguments).await?;
        match text(&answer, "Error") {
            Some(error) => Err(error.to_owned()),
            None => Ok(()),
        }
    }

    /// Which of the nodes with victims remain, and who goes there.
    ///
    /// # Errors
    /// It is not to be had, or names pods that are not on the node.
    pub async fn preempt(
        &self,
        pod: &Pod,
        candidates: &Candidates,
        on_node: impl Fn(&str) -> Vec<Arc<PodInfo>>,
    ) -> Result<Candidates, String> {
        let meta = self.config.node_cache_capable;
        let each = |(node, victims): &(String, Victims)| {
            let one = |pod: &Arc<PodInfo>| match meta {
                true => json!({"UID": pod.pod.metadata.uid}),
                false => json!(*pod.pod),
            };
            let pods: Vec<Value> = victims.pods.iter().map(one).collect();
            (node.clone(), json!({"Pods": pods, "NumPDBViolations": victims.violating}))
        };
        let map: Map<String, Value> = candidates.iter().map(each).collect();
        let key = if meta { "NodeNameToMetaVictims" } else { "NodeNameToVictims" };
        let mut arguments = json!({"Pod": pod, "NodeNameToVictims": null, "NodeNameToMetaVictims": null});
        arguments[key] = Value::Object(map);
        let answer = self.send(&self.config.preempt_verb, &arguments).await?;
        let left = field(&answer, "NodeNameToMetaVictims").and_then(Value::as_object);
        left.into_iter()
            .flatten()
            .map(|(node, victims)| Ok((node.clone(), self.victims(node, victims, &on_node(node))?)))
            .collect()
    }

    fn victims(&self, node: &str, answer: &Value, there: &[Arc<PodInfo>]) -> Result<Victims, String> {
        let uids = field(answer, "Pods").and_then(Value::as_array).into_iter().flatten();
        let uids = uids.filter_map(|pod| text(pod, "UID"));
        let found =
            |uid: &str| there.iter().find(|pod| pod.pod.metadata.uid.as_deref() == Some(uid)).cloned();
        let pods = uids.map(|uid| {
            found(uid).ok_or_else(|| {
                format!(
                    "extender: {} claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not found on that node",
                    self.config.url_prefix
                )
            })
        });
        let mut pods: Vec<Arc<PodInfo>> = pods.collect::<Result<_, _>>()?;
        pods.sort_by_key(importance);
        let violating = field(answer, "NumPDBViolations").and_then(Value::as_u64).unwrap_or(0);
        Ok(Victims { pods, violating: violating as usize })
    }
}

fn name_of(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// A field that is there, by its name in any case.
fn field<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    let mut fields = object.as_object()?.iter();
    fields.find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null()).map(|(_, value)| value)
}

fn text<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    field(object, name)?.as_str().filter(|text| !text.is_empty())
}

fn texts(object: &Value, name: &str) -> BTreeMap<String, String> {
    let all = field(object, name).and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
