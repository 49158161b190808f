//! Back to an earlier revision, with what that changes shown before.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::{
    difference,
    revisions::{self, Revision},
    yaml,
};
use sampan_view::place::encode;
use serde_json::{Value, json};

use super::{act, children, edit::Difference};
use crate::{
    kinds::{Resource, list, word},
    net::api::{self, Call, Result},
    ui::{
        dialog::{self, Dialog},
        toast,
    },
};

type Chosen = ArcRwSignal<Option<Revision>>;

/// Asks which, and goes back to it.
pub fn question(resource: Resource, object: Arc<Value>) {
    let (chosen, ready): (Chosen, _) = (ArcRwSignal::new(None), ArcRwSignal::new(false));
    let title = act::title(tr!(act.undo), &resource, &object);
    let more = {
        let (resource, object, chosen, ready) =
            (resource.clone(), object.clone(), chosen.clone(), ready.clone());
        move || {
            let (chosen, ready) = (RwSignal::from(chosen.clone()), RwSignal::from(ready.clone()));
            view! { <Choice resource=resource.clone() object=object.clone() chosen ready /> }.into_any()
        }
    };
    let run = move |_| {
        let Some(revision) = chosen.get_untracked() else { return };
        let (resource, object) = (resource.clone(), object.clone());
        spawn_local(async move {
            act::told(tr!(act.undo), &object, send(&resource, &object, &revision).await);
        });
    };
    let more: Option<Arc<dyn Fn() -> AnyView + Send + Sync>> = Some(Arc::new(more));
    dialog::ask(Dialog {
        text: vec![tr!(act.undo_then).to_owned()],
        more,
        ready,
        ..Dialog::new(title, tr!(act.undo), run)
    });
}

#[component]
fn Choice(
    resource: Resource,
    object: Arc<Value>,
    chosen: RwSignal<Option<Revision>>,
    ready: RwSignal<bool>,
) -> impl IntoView {
    let all = RwSignal::new(None::<Vec<Revision>>);
    let failed = RwSignal::new(String::new());
    let same = revisions::plain(&object["spec"]["template"]);
    let now = yaml::print(&revisions::ordered(&same));
    spawn_local(async move {
        match read(&resource, &object).await {
            Ok(mut found) => {
                found.retain(|one| one.template != same);
                ready.try_set(!found.is_empty());
                chosen.try_set(found.first().cloned());
                all.try_set(Some(found));
            }
            Err(failure) => drop(failed.try_set(toast::explain(&failure))),
        }
    });
    let choose = move |event| {
        let number: u64 = event_target_value(&event).parse().unwrap_or_default();
        chosen.set(all.read_untracked().iter().flatten().find(|one| one.number == number).cloned());
    };
    let differ = move || {
        chosen.get().map(|one| {
            let lines = difference::lines(&now, &yaml::print(&revisions::ordered(&one.template)));
            view! { <Difference lines /> }
        })
    };
    view! {
        {move || match all.get() {
            None => view! { <p class="soft" role="status">{tr!(list.loading)}</p> }.into_any(),
            Some(all) if all.is_empty() => view! { <p role="status">{tr!(act.no_revision)}</p> }.into_any(),
            Some(all) => view! {
                <label class="field">{tr!(revision.which)}
                    <select on:change=choose>
                        {all.into_iter().map(|one| view! {
                            <option value=one.number.to_string()>{format!("{} · {} {}", one.number, one.created, one.cause)}</option>
                        }).collect_view()}
                    </select>
                </label>
            }.into_any(),
        }}
        <p class="error" role="alert">{failed}</p>
        {differ}
    }
}

/// The revisions that are kept.
async fn read(resource: &Resource, object: &Value) -> Result<Vec<Revision>> {
    let path = if resource.plural == "deployments" { "replicasets" } else { "controllerrevisions" };
    let namespace = word(&object["metadata"]["namespace"]);
    let labels = encode(&children::selector(object));
    let answer =
        api::get(&format!("k8s/apis/apps/v1/namespaces/{namespace}/{path}?labelSelector={labels}")).await?;
    Ok(revisions::revisions(object, list(&answer["items"])))
}

/// Puts the revision's template back, unless the object was changed since it was looked at.
async fn send(resource: &Resource, object: &Value, revision: &Revision) -> Result<()> {
    let metadata = &object["metadata"];
    let path = resource.object(&word(&metadata["namespace"]), &word(&metadata["name"]));
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": "/spec/template", "value": object["spec"]["template"]},
        {"op": "replace", "path": "/spec/template", "value": revision.template}]);
    let path = format!("{path}?fieldManager=sampan-dashboard");
    Call::new("PATCH", &path).body("application/json-patch+json", patch.to_string()).send().await.map(drop)
}
