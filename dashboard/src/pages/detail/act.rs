//! What may be done to an object: each with a question that names it and its consequences, with preconditions, and, where
//! the user may not, with the permission that is missing.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use serde_json::{Value, json};

use super::{Object, delete, drain, undo};
use crate::{
    kinds::{Resource, word},
    net::api::{self, Call, May, Result, Wish},
    ui::{
        dialog::{self, Dialog},
        icon::{Icon, Shape},
        toast,
    },
};

/// Something that may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
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
    Drain,
    Delete,
}

/// The acts that make sense for an object as it is; without one, for any of the kind.
pub fn acts(resource: &Resource, object: Option<&Value>) -> Vec<Act> {
    let mut acts = Vec::new();
    // of two that are each other's reverse the one that changes something
    let one_of = |field: &str, undo: Act, change: Act| match object {
        None => vec![undo, change],
        Some(object) if object["spec"][field] == true => vec![undo],
        Some(_) => vec![change],
    };
    if resource.scalable || matches!(resource.plural.as_str(), "deployments" | "statefulsets" | "replicasets")
    {
        acts.push(Act::Scale);
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", "deployments") => {
            acts.extend([Act::Restart, Act::Undo]);
            acts.extend(one_of("paused", Act::Resume, Act::Pause));
        }
        ("apps", "statefulsets" | "daemonsets") => acts.extend([Act::Restart, Act::Undo]),
        ("batch", "cronjobs") => {
            acts.push(Act::Trigger);
            acts.extend(one_of("suspend", Act::Unsuspend, Act::Suspend));
        }
        ("batch", "jobs") => acts.extend(one_of("suspend", Act::Unsuspend, Act::Suspend)),
        ("", "nodes") => {
            acts.extend(one_of("unschedulable", Act::Uncordon, Act::Cordon));
            acts.push(Act::Drain);
        }
        _ => {}
    }
    acts.push(Act::Delete);
    acts
}

impl Act {
    /// What its button says.
    pub fn label(self) -> &'static str {
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
            Act::Drain => tr!(act.drain),
            Act::Delete => tr!(action.delete),
        }
    }

    /// kubectl's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Act::Scale => "scale",
            Act::Restart => "restart",
            Act::Undo => "undo",
            Act::Pause => "pause",
            Act::Resume | Act::Unsuspend => "resume",
            Act::Suspend => "suspend",
            Act::Trigger => "trigger",
            Act::Cordon => "cordon",
            Act::Uncordon => "uncordon",
            Act::Drain => "drain",
            Act::Delete => "delete",
        }
    }

    /// What comes of it, in a sentence.
    fn consequence(self) -> Option<&'static str> {
        Some(match self {
            Act::Scale => tr!(act.scale_then),
            Act::Restart => tr!(act.restart_then),
            Act::Undo => tr!(act.undo_then),
            Act::Pause => tr!(act.pause_then),
            Act::Resume => tr!(act.resume_then),
            Act::Suspend => tr!(act.suspend_then),
            Act::Unsuspend => tr!(act.unsuspend_then),
            Act::Trigger => tr!(act.trigger_then),
            Act::Cordon => tr!(act.cordon_then),
            Act::Uncordon => tr!(act.uncordon_then),
            // their questions look
            Act::Drain | Act::Delete => return None,
        })
    }

    fn shape(self) -> Shape {
        match self {
            Act::Scale => Shape::Scale,
            Act::Restart => Shape::Restart,
            Act::Undo => Shape::Back,
            Act::Pause | Act::Suspend | Act::Cordon => Shape::Pause,
            Act::Resume | Act::Unsuspend | Act::Trigger | Act::Uncordon => Shape::Play,
            Act::Drain => Shape::Download,
            Act::Delete => Shape::Delete,
        }
    }

    /// The permission that it needs, for an object with that metadata.
    pub fn wish(self, resource: &Resource, metadata: &Value) -> Wish {
        let (verb, plural, subresource) = match self {
            Act::Delete => ("delete", resource.plural.clone(), ""),
            Act::Trigger => ("create", "jobs".to_owned(), ""),
            Act::Drain => ("create", "pods".to_owned(), "eviction"),
            Act::Scale => ("patch", resource.plural.clone(), "scale"),
            _ => ("patch", resource.plural.clone(), ""),
        };
        // these are done to other objects
        let others = matches!(self, Act::Trigger | Act::Drain);
        let name = if others { String::new() } else { word(&metadata["name"]) };
        let (group, namespace) = (resource.group.clone(), word(&metadata["namespace"]));
        Wish { verb, group, resource: plural, subresource, namespace, name }
    }
}

#[component]
pub fn Actions(resource: Resource, object: Object) -> impl IntoView {
    let kind = resource.clone();
    let all = Memo::new(move |_| object.get().map(|object| acts(&kind, Some(&object))).unwrap_or_default());
    view! {
        <div class="actions" role="toolbar" aria-label=tr!(act.title)>
            <For each=move || all.get() key=|act| *act let:act><One act resource=resource.clone() object /></For>
        </div>
    }
}

#[component]
fn One(act: Act, resource: Resource, object: Object) -> impl IntoView {
    let metadata = object.get_untracked().map(|object| object["metadata"].clone()).unwrap_or_default();
    let may = api::allowed(act.wish(&resource, &metadata));
    view! {
        <button class:danger=act == Act::Delete disabled=move || *may.read() != May::Yes title=move || may.read().why_not()
            on:click=move |_| if let Some(object) = object.get_untracked() { question(act, resource.clone(), object) }>
            <Icon shape=act.shape() />{act.label()}
        </button>
    }
}

/// Asks before it is done.
pub fn question(act: Act, resource: Resource, object: Arc<Value>) {
    match act {
        Act::Delete => return delete::question(resource, object, false),
        Act::Undo => return undo::question(resource, object),
        Act::Drain => return drain::question(resource, object),
        _ => {}
    }
    let number = (act == Act::Scale).then(|| object["spec"]["replicas"].as_i64().unwrap_or(1));
    let title = title(act.label(), &resource, &object);
    let run = move |number| {
        let (resource, object) = (resource.clone(), object.clone());
        spawn_local(async move { told(act.label(), &object, run(act, &resource, &object, number).await) });
    };
    let text = act.consequence().map(str::to_owned).into_iter().collect();
    dialog::ask(Dialog { text, number, ..Dialog::new(title, act.label(), run) });
}

/// `Delete Pod default/web`.
pub fn title(verb: &str, resource: &Resource, object: &Value) -> String {
    let (namespace, name) = (word(&object["metadata"]["namespace"]), word(&object["metadata"]["name"]));
    let place = if namespace.is_empty() { name } else { format!("{namespace}/{name}") };
    format!("{verb} {} {place}", resource.kind)
}

/// Says how it went.
pub fn told(what: &str, object: &Value, result: Result<()>) {
    match result {
        Ok(()) => {
            toast::good(tr!(act.done, what = what.to_owned(), name = word(&object["metadata"]["name"])))
        }
        Err(failure) => toast::bad(&failure),
    }
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
        Act::Trigger => return trigger(&namespace, object).await,
        // these have questions of their own
        Act::Delete | Act::Undo | Act::Drain => return Ok(()),
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
