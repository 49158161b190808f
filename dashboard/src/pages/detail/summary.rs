//! What an object is and how it is: causes first, then facts, containers, conditions, labels.

use std::sync::Arc;

use leptos::prelude::*;
use sampan_dashboard_logic::{
    cover,
    why::{self, Cause, Why},
};
use sampan_view::Health;
use serde_json::Value;

use super::{Object, children};
use crate::{
    app::app,
    kinds::{list, word},
    ui::{
        age::Since,
        icon::{Icon, Shape},
        status::Status,
    },
};

#[component]
pub fn Summary(object: Object) -> impl IntoView {
    move || {
        object.get().map(|object| {
            view! {
                <Causes all=why::of(&object) />
                <Facts object=object.clone() />
                <Containers object=object.clone() />
                <Conditions object=object.clone() />
                <Pairs title=tr!(detail.labels) map=object["metadata"]["labels"].clone() />
                <Pairs title=tr!(detail.annotations) map=object["metadata"]["annotations"].clone() />
            }
        })
    }
}

/// Why it does not run, and what to do.
#[component]
pub fn Causes(all: Vec<Why>) -> impl IntoView {
    all.into_iter()
        .map(|why| {
            let (cause, next) = words(why.cause);
            view! {
                <div class="cause" role="note">
                    <Icon shape=Shape::Failed />
                    <div>
                        <b>{cause}{(!why.of.is_empty()).then(|| format!(" · {}", why.of))}</b>
                        {(!why.message.is_empty()).then(|| view! { <p><code>{why.message.clone()}</code></p> })}
                        <p>{next}</p>
                    </div>
                </div>
            }
        })
        .collect_view()
}

/// A cause and the next step.
pub fn words(cause: Cause) -> (&'static str, &'static str) {
    match cause {
        Cause::ImagePull => (tr!(why.image_pull), tr!(why.image_pull_next)),
        Cause::ImageName => (tr!(why.image_name), tr!(why.image_name_next)),
        Cause::CrashLoop => (tr!(why.crash_loop), tr!(why.crash_loop_next)),
        Cause::OutOfMemory => (tr!(why.out_of_memory), tr!(why.out_of_memory_next)),
        Cause::Failed => (tr!(why.failed), tr!(why.failed_next)),
        Cause::ConfigMissing => (tr!(why.config_missing), tr!(why.config_missing_next)),
        Cause::CannotStart => (tr!(why.cannot_start), tr!(why.cannot_start_next)),
        Cause::Unschedulable => (tr!(why.unschedulable), tr!(why.unschedulable_next)),
        Cause::NotReady => (tr!(why.not_ready), tr!(why.not_ready_next)),
        Cause::NotStarted => (tr!(why.not_started), tr!(why.not_started_next)),
        Cause::Init => (tr!(why.init), tr!(why.init_next)),
        Cause::Volume => (tr!(why.volume), tr!(why.volume_next)),
        Cause::Quota => (tr!(why.quota), tr!(why.quota_next)),
        Cause::Evicted => (tr!(why.evicted), tr!(why.evicted_next)),
        Cause::NodeLost => (tr!(why.node_lost), tr!(why.node_lost_next)),
        Cause::Deleting => (tr!(why.deleting), tr!(why.deleting_next)),
        Cause::RolloutStuck => (tr!(why.rollout_stuck), tr!(why.rollout_stuck_next)),
        Cause::ClaimPending => (tr!(why.claim_pending), tr!(why.claim_pending_next)),
        Cause::NodeUnwell => (tr!(why.node_unwell), tr!(why.node_unwell_next)),
        Cause::JobFailed => (tr!(why.job_failed), tr!(why.job_failed_next)),
    }
}

/// Where in an object a fact is, and what it is called there.
const FACTS: [(&str, &str); 28] = [
    ("/status/phase", "phase"),
    ("/spec/nodeName", "node"),
    ("/status/podIP", "podIP"),
    ("/status/hostIP", "hostIP"),
    ("/status/qosClass", "qosClass"),
    ("/spec/serviceAccountName", "serviceAccountName"),
    ("/spec/replicas", "replicas"),
    ("/status/readyReplicas", "readyReplicas"),
    ("/status/updatedReplicas", "updatedReplicas"),
    ("/spec/type", "type"),
    ("/spec/clusterIP", "clusterIP"),
    ("/status/loadBalancer/ingress/0/ip", "loadBalancer"),
    ("/spec/externalName", "externalName"),
    ("/spec/selector", "selector"),
    ("/spec/schedule", "schedule"),
    ("/spec/suspend", "suspend"),
    ("/spec/storageClassName", "storageClassName"),
    ("/spec/volumeName", "volumeName"),
    ("/status/capacity/storage", "capacity"),
    ("/status/allocatable/cpu", "allocatable cpu"),
    ("/status/allocatable/memory", "allocatable memory"),
    ("/status/allocatable/pods", "allocatable pods"),
    ("/status/nodeInfo/kubeletVersion", "kubeletVersion"),
    ("/status/nodeInfo/osImage", "osImage"),
    ("/status/nodeInfo/containerRuntimeVersion", "containerRuntimeVersion"),
    ("/spec/unschedulable", "unschedulable"),
    ("/spec/strategy/type", "strategy"),
    ("/spec/ingressClassName", "ingressClassName"),
];

#[component]
fn Facts(object: Arc<Value>) -> impl IntoView {
    let created = word(&object["metadata"]["creationTimestamp"]);
    let facts = FACTS.iter().filter_map(|(at, title)| {
        let value = match object.pointer(at)? {
            Value::String(text) => text.clone(),
            Value::Null => return None,
            Value::Object(_) => children::selector(&object),
            other => other.to_string(),
        };
        if value.is_empty() {
            return None;
        }
        Some(view! { <dt>{*title}</dt><dd>{value}</dd> })
    });
    view! {
        <dl class="facts">
            <dt>{tr!(detail.age)}</dt><dd><Since time=created /></dd>
            {facts.collect_view()}
            {owners(&object)}
        </dl>
    }
}

/// The objects that own this one, as links.
fn owners(object: &Value) -> impl IntoView + use<> {
    let namespace = word(&object["metadata"]["namespace"]);
    let one = |owner: &Value| {
        let (kind, name) = (word(&owner["kind"]), word(&owner["name"]));
        let resource = app().kinds.read_untracked().of_kind(&word(&owner["apiVersion"]), &kind).cloned();
        let href =
            resource.map(|resource| resource.page(if resource.namespaced { &namespace } else { "" }, &name));
        view! { <dt>{tr!(detail.owner)}</dt><dd><a href=href>{format!("{kind}/{name}")}</a></dd> }
    };
    list(&object["metadata"]["ownerReferences"]).iter().map(one).collect_view()
}

#[component]
fn Containers(object: Arc<Value>) -> impl IntoView {
    let groups = [
        ("initContainers", "initContainerStatuses", "init"),
        ("containers", "containerStatuses", ""),
        ("ephemeralContainers", "ephemeralContainerStatuses", "debug"),
    ];
    let spec = if object["kind"] == "Pod" { &object["spec"] } else { &object["spec"]["template"]["spec"] };
    let all: Vec<_> = groups
        .iter()
        .flat_map(|&(own, statuses, tag)| {
            let statuses = list(&object["status"][statuses]);
            list(&spec[own]).iter().map(move |container| {
                let status = statuses.iter().find(|status| status["name"] == container["name"]).cloned();
                one_container(container, status.unwrap_or_default(), tag)
            })
        })
        .collect();
    (!all.is_empty()).then(|| view! { <section><h2 class="part">{tr!(detail.containers)}</h2><div class="cards">{all}</div></section> })
}

fn one_container(container: &Value, status: Value, special: &'static str) -> impl IntoView + use<> {
    let (health, reason, since) = state(&status);
    let restarts = status["restartCount"].as_i64().unwrap_or_default();
    let ports: Vec<String> =
        list(&container["ports"]).iter().map(|port| port["containerPort"].to_string()).collect();
    let resources = |kind: &str| {
        let named = container["resources"][kind].as_object()?;
        Some(
            named
                .iter()
                .map(|(name, value)| format!("{name} {}", word(value)))
                .collect::<Vec<_>>()
                .join(", "),
        )
    };
    let row = |title: &'static str, value: String| {
        (!value.is_empty()).then(|| view! { <dt>{title}</dt><dd>{value}</dd> })
    };
    view! {
        <div class="card">
            <div class="line">
                <b>{word(&container["name"])}</b>
                {(!special.is_empty()).then(|| view! { <span class="tag">{special}</span> })}
                <span class="grow"></span>
                {status.is_object().then(|| view! { <Status health reason /> })}
                <span class="soft"><Since time=since /></span>
            </div>
            <code class="soft">{word(&container["image"])}</code>
            <dl class="facts">
                {row(tr!(detail.restarts), if restarts > 0 { restarts.to_string() } else { String::new() })}
                {row(tr!(detail.ports), ports.join(", "))}
                {row(tr!(detail.requests), resources("requests").unwrap_or_default())}
                {row(tr!(detail.limits), resources("limits").unwrap_or_default())}
            </dl>
        </div>
    }
}

/// How a container is, the API's word for it, and since when.
fn state(status: &Value) -> (Health, String, String) {
    let state = &status["state"];
    if state["running"].is_object() {
        let health = if status["ready"] == false { Health::Progressing } else { Health::Healthy };
        return (health, "Running".to_owned(), word(&state["running"]["startedAt"]));
    }
    if state["terminated"].is_object() {
        let ended = &state["terminated"];
        let health = if ended["exitCode"] == 0 { Health::Done } else { Health::Failed };
        return (health, word(&ended["reason"]), word(&ended["finishedAt"]));
    }
    let reason = word(&state["waiting"]["reason"]);
    let coming = matches!(reason.as_str(), "ContainerCreating" | "PodInitializing" | "");
    (if coming { Health::Progressing } else { Health::Failed }, reason, String::new())
}

#[component]
fn Conditions(object: Arc<Value>) -> impl IntoView {
    let all = list(&object["status"]["conditions"]).to_vec();
    let node = object["kind"] == "Node";
    (!all.is_empty()).then(|| view! {
        <section>
            <h2 class="part">{tr!(detail.conditions)}</h2>
            <table class="plain"><tbody>
                {all.into_iter().map(|condition| {
                    let kind = word(&condition["type"]);
                    let pressing = node && kind != "Ready" || matches!(kind.as_str(), "ReplicaFailure" | "Failed");
                    let good = (condition["status"] == "True") != pressing;
                    let health = if good { Health::Healthy } else { Health::Warning };
                    view! {
                        <tr>
                            <th scope="row"><Status health reason=kind /></th>
                            <td class="word">{word(&condition["reason"])}</td>
                            <td class="soft message">{word(&condition["message"])}</td>
                            <td class="number soft"><Since time=word(&condition["lastTransitionTime"]) /></td>
                        </tr>
                    }
                }).collect_view()}
            </tbody></table>
        </section>
    })
}

#[component]
fn Pairs(title: &'static str, map: Value) -> impl IntoView {
    let pairs = map.as_object().into_iter().flatten().filter(|(name, _)| *name != cover::LAST_APPLIED);
    let pairs: Vec<_> = pairs.map(|(name, value)| (name.clone(), word(value))).collect();
    (!pairs.is_empty()).then(|| view! {
        <section>
            <h2 class="part">{title}</h2>
            <ul class="pairs">
                {pairs.into_iter().map(|(name, value)| view! { <li><span class="soft">{name}</span>" "<code>{value}</code></li> }).collect_view()}
            </ul>
        </section>
    })
}
