//! What may be done to an object: each with a question that names it and its consequences, with preconditions, and, where
//! the user may not, with the permission that is missing.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use serde_json::{Value, json};

use super::Object;
use crate::{
    kinds::{Resource, word},
    net::{
        api::{self, Call, Result},
        rights::Permission,
    },
    ui::{
        dialog::{self, Dialog},
        go,
        icon::{Icon, Shape},
        toast,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Scale,
    Restart,
    Undo,
    Pause,
    Resume,
    Suspend,
    Unsuspend,
    Trigger,
    Cordon,
    Uncordon,
    Delete,
}

/// The acts that make sense for an object as it is.
fn acts(resource: &Resource, object: &Value) -> Vec<Act> {
    let mut acts = Vec::new();
    let spec = &object["spec"];
    if resource.scalable || matches!(resource.plural.as_str(), "deployments" | "statefulsets" | "replicasets")
    {
        acts.push(Act::Scale);
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", "deployments") => {
            let paused = spec["paused"] == true;
            acts.extend([Act::Restart, Act::Undo, if paused { Act::Resume } else { Act::Pause }]);
        }
        ("apps", "statefulsets" | "daemonsets") => acts.extend([Act::Restart, Act::Undo]),
        ("batch", "cronjobs") => {
            acts.extend([Act::Trigger, if spec["suspend"] == true { Act::Unsuspend } else { Act::Suspend }])
        }
        ("batch", "jobs") => acts.push(if spec["suspend"] == true { Act::Unsuspend } else { Act::Suspend }),
        ("", "nodes") => acts.push(if spec["unschedulable"] == true { Act::Uncordon } else { Act::Cordon }),
        _ => {}
    }
    acts.push(Act::Delete);
    acts
}

impl Act {
    fn label(self) -> &'static str {
        match self {
            Act::Scale => tr!(act.scale),
            Act::Restart => tr!(act.restart),
            Act::Undo => tr!(act.undo),
            Act::Pause => tr!(act.pause),
            Act::Resume => tr!(act.resume),
            Act::Suspend => tr!(act.suspend),
            Act::Unsuspend => tr!(act.unsuspend),
            Act::Trigger => tr!(act.trigger),
            Act::Cordon => tr!(act.cordon),
            Act::Uncordon => tr!(act.uncordon),
            Act::Delete => tr!(action.delete),
        }
    }

    /// What comes of it.
    fn consequence(self) -> &'static str {
        match self {
            Act::Scale => tr!(act.scale_then),
            Act::Restart => tr!(act.restart_then),
            Act::Undo => tr!(revisions.title),
            Act::Pause => tr!(act.pause_then),
            Act::Resume => tr!(act.resume_then),
            Act::Suspend => tr!(act.suspend_then),
            Act::Unsuspend => tr!(act.unsuspend_then),
            Act::Trigger => tr!(act.trigger_then),
            Act::Cordon => tr!(act.cordon_then),
            Act::Uncordon => tr!(act.uncordon_then),
            Act::Delete => tr!(action.delete_owned),
        }
    }

    fn shape(self) -> Shape {
        match self {
            Act::Scale => Shape::Scale,
            Act::Restart => Shape::Restart,
            Act::Undo => Shape::Back,
            Act::Pause | Act::Suspend | Act::Cordon => Shape::Pause,
            Act::Resume | Act::Unsuspend | Act::Trigger | Act::Uncordon => Shape::Play,
            Act::Delete => Shape::Delete,
        }
    }

    /// The permission that it needs.
    fn needs(self, resource: &Resource, namespace: String) -> Permission {
        let (verb, plural, subresource) = match self {
            Act::Delete => ("delete", resource.plural.as_str(), ""),
            Act::Trigger => ("create", "jobs", ""),
            Act::Scale => ("patch", resource.plural.as_str(), "scale"),
            _ => ("patch", resource.plural.as_str(), ""),
        };
        Permission {
            verb,
            group: resource.group.clone(),
            resource: plural.to_owned(),
            subresource,
            namespace,
        }
    }
}

#[component]
pub fn Actions(resource: Resource, object: Object) -> impl IntoView {
    let kind = resource.clone();
    let all = Memo::new(move |_| object.get().map(|object| acts(&kind, &object)).unwrap_or_default());
    view! {
        <div class="actions" role="toolbar" aria-label=tr!(act.title)>
            {move || all.get().into_iter().map(|act| view! { <One act resource=resource.clone() object /> }).collect_view()}
        </div>
    }
}

#[component]
fn One(act: Act, resource: Resource, object: Object) -> impl IntoView {
    let namespace =
        object.get_untracked().map(|object| word(&object["metadata"]["namespace"])).unwrap_or_default();
    let right = act.needs(&resource, namespace).ask();
    let set = go::setter();
    view! {
        <button class:danger=act == Act::Delete disabled=move || !right.read().is_yes() title=move || right.read().why()
            on:click=move |_| match (act, object.get_untracked()) {
                (Act::Undo, _) => set(&[("tab", "revisions")], false),
                (_, Some(object)) => question(act, resource.clone(), object),
                _ => {}
            }>
            <Icon shape=act.shape() />{act.label()}
        </button>
    }
}

fn question(act: Act, resource: Resource, object: Arc<Value>) {
    let (namespace, name) = (word(&object["metadata"]["namespace"]), word(&object["metadata"]["name"]));
    let grave = act == Act::Delete
        && matches!(resource.plural.as_str(), "namespaces" | "nodes" | "customresourcedefinitions");
    let place = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
    let number = (act == Act::Scale).then(|| object["spec"]["replicas"].as_i64().unwrap_or(1));
    dialog::ask(Dialog {
        title: format!("{} {} {place}", act.label(), resource.kind),
        text: vec![act.consequence().to_owned()],
        verb: act.label().to_owned(),
        danger: act == Act::Delete,
        type_name: if grave { name } else { String::new() },
        number,
        act: Arc::new(move |number| {
            let (resource, object) = (resource.clone(), object.clone());
            spawn_local(async move {
                match run(act, &resource, &object, number).await {
                    Ok(()) => toast::good(tr!(
                        act.done,
                        what = act.label(),
                        name = word(&object["metadata"]["name"])
                    )),
                    Err(failure) => toast::bad(&failure),
                }
            });
        }),
    });
}

async fn run(act: Act, resource: &Resource, object: &Value, number: i64) -> Result<()> {
    let (namespace, name) = (word(&object["metadata"]["namespace"]), word(&object["metadata"]["name"]));
    let path = resource.object(&namespace, &name);
    let patch = match act {
        Act::Scale => {
            return api::merge(&format!("{path}/scale"), &json!({"spec": {"replicas": number}}))
                .await
                .map(drop);
        }
        Act::Delete => return delete(&path, object).await,
        Act::Trigger => return trigger(&namespace, object).await,
        // its own part of the page asks and does it
        Act::Undo => return Ok(()),
        Act::Restart => {
            let now = String::from(js_sys::Date::new_0().to_iso_string());
            json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}})
        }
        Act::Pause => json!({"spec": {"paused": true}}),
        Act::Resume => json!({"spec": {"paused": null}}),
        Act::Suspend => json!({"spec": {"suspend": true}}),
        Act::Unsuspend => json!({"spec": {"suspend": false}}),
        Act::Cordon => json!({"spec": {"unschedulable": true}}),
        Act::Uncordon => json!({"spec": {"unschedulable": null}}),
    };
    api::merge(&path, &patch).await.map(drop)
}

/// Only this very object, as it was seen.
async fn delete(path: &str, object: &Value) -> Result<()> {
    let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background",
        "preconditions": {"uid": object["metadata"]["uid"], "resourceVersion": object["metadata"]["resourceVersion"]}});
    Call::new("DELETE", path).json(&body).send().await.map(drop)
}

/// A job of a CronJob's template, as `kubectl create job --from` makes it.
async fn trigger(namespace: &str, cron: &Value) -> Result<()> {
    let (template, name) = (&cron["spec"]["jobTemplate"], word(&cron["metadata"]["name"]));
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": template["spec"], "metadata": {
        "generateName": format!("{}-manual-", name.chars().take(40).collect::<String>()),
        "labels": template["metadata"]["labels"],
        "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": cron["metadata"]["uid"]}]}});
    Call::new("POST", &format!("k8s/apis/batch/v1/namespaces/{namespace}/jobs"))
        .json(&job)
        .send()
        .await
        .map(drop)
}
