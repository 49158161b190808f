//! What an object is and how it is: causes first, then facts, containers, conditions, labels.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::{
    cover,
    facts::{self, Fact},
    why::{self, Cause, Why},
};
use sampan_view::Health;
use serde_json::Value;

use super::{Object, children};
use crate::{
    app::app,
    kinds::{list, word},
    net::api,
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
                {lacking_class(&object).unwrap_or_else(|| view! { <Causes all=why::of(&object) /> }.into_any())}
                <Facts object=object.clone() />
                <Containers object=object.clone() />
                <Conditions object=object.clone() />
                <Pairs title=tr!(detail.labels) map=object["metadata"]["labels"].clone() />
                <Pairs title=tr!(detail.annotations) map=object["metadata"]["annotations"].clone() />
            }
        })
    }
}

/// A claim tells its StorageClass, not whether there is one: that is asked for.
fn lacking_class(object: &Arc<Value>) -> Option<AnyView> {
    let class = why::class_of(object)?;
    let kinds = app().kinds.read_untracked();
    let path = kinds.of_path("storageclasses.storage.k8s.io")?.object("", &class);
    let missing = RwSignal::new(false);
    spawn_local(async move {
        let found = api::get(&path).await;
        missing.try_set(found.is_err_and(|failure| failure.code == 404));
    });
    let object = object.clone();
    let all = move || {
        let all = if missing.get() { vec![why::no_class(&class)] } else { why::of(&object) };
        view! { <Causes all /> }
    };
    Some(all.into_any())
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
        Cause::NoClass => (tr!(why.no_class), tr!(why.no_class_next)),
        Cause::NodeUnwell => (tr!(why.node_unwell), tr!(why.node_unwell_next)),
        Cause::JobFailed => (tr!(why.job_failed), tr!(why.job_failed_next)),
    }
}

#[component]
fn Facts(object: Arc<Value>) -> impl IntoView {
    let created = word(&object["metadata"]["creationTimestamp"]);
    let namespace = word(&object["metadata"]["namespace"]);
    let line = |fact: Fact| {
        let Fact { title, value, to } = fact;
        let href = to.and_then(|(version, kind, name)| page_of(&version, &kind, &namespace, &name));
        view! { <dt>{title}</dt><dd>{match href {
            Some(href) => view! { <a href=href>{value}</a> }.into_any(),
            None => value.into_any(),
        }}</dd> }
        .into_any()
    };
    let facts: Vec<AnyView> = facts::of(&object, children::selector).into_iter().map(line).collect();
    view! {
        <dl class="facts">
            <dt>{tr!(detail.age)}</dt><dd><Since time=created /></dd>
            {facts}
            {owners(&object)}
        </dl>
    }
}

/// The page of an object that another names, if the cluster serves its kind.
fn page_of(version: &str, kind: &str, namespace: &str, name: &str) -> Option<String> {
    let kinds = app().kinds.read_untracked();
    let resource = kinds.of_kind(version, kind)?;
    Some(resource.page(if resource.namespaced { namespace } else { "" }, name))
}

/// The objects that own this one, as links.
fn owners(object: &Value) -> impl IntoView + use<> {
    let namespace = word(&object["metadata"]["namespace"]);
    let one = |owner: &Value| {
        let (kind, name) = (word(&owner["kind"]), word(&owner["name"]));
        let href = page_of(&word(&owner["apiVersion"]), &kind, &namespace, &name);
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
                            <td>{word(&condition["status"])}</td>
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
