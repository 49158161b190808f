//! The revisions of a workload, and the way back to one: what would change is shown before it is done.

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::{
    difference,
    revisions::{self, Revision},
    yaml,
};

use super::{Object, edit::Difference};
use crate::{
    kinds::{Resource, list},
    net::{
        api::{self, Call, Failure},
        rights::{Permission, Right},
    },
    ui::{
        age::Since,
        icon::{Icon, Shape},
        toast,
    },
};

/// Kinds that keep revisions.
pub fn has_revisions(resource: &Resource) -> bool {
    resource.group == "apps"
        && matches!(resource.plural.as_str(), "deployments" | "statefulsets" | "daemonsets")
}

#[component]
pub fn Revisions(resource: Resource, namespace: String, name: String, object: Object) -> impl IntoView {
    let kept = if resource.plural == "deployments" { "replicasets" } else { "controllerrevisions" };
    let from = StoredValue::new(format!("k8s/apis/apps/v1/namespaces/{namespace}/{kept}"));
    let path = StoredValue::new(resource.object(&namespace, &name));
    let group = resource.group.clone();
    let right =
        Permission { verb: "patch", group, resource: resource.plural.clone(), subresource: "", namespace }
            .ask();
    let all = RwSignal::new(None::<Result<Vec<Revision>, Failure>>);
    let chosen = RwSignal::new(None::<u64>);
    // another template is another revision, of which the controller tells in one of these places
    let told = Memo::new(move |_| {
        object.get().map(|object| {
            let (metadata, status) = (&object["metadata"], &object["status"]);
            let places = [&metadata["generation"], &metadata["annotations"], &status["observedGeneration"]];
            let revisions =
                [&status["currentRevision"], &status["updateRevision"], &status["updatedReplicas"]];
            places.into_iter().chain(revisions).cloned().collect::<Vec<_>>()
        })
    });
    Effect::new(move |_| {
        told.track();
        spawn_local(async move {
            let answer = api::get(&from.read_value()).await;
            let Some(object) = object.try_get_untracked().flatten() else { return };
            all.try_set(Some(answer.map(|answer| revisions::of(&object, list(&answer["items"])))));
        });
    });
    let back = move |revision: Revision| {
        let Some(object) = object.get_untracked() else { return };
        let patch = revisions::patch(&object, &revision);
        spawn_local(async move {
            let path = format!("{}?fieldManager=sampan-dashboard", path.read_value());
            let call = Call::new("PATCH", &path).body("application/json-patch+json", patch.to_string());
            match call.send().await {
                Ok(_) => {
                    toast::good(tr!(revisions.done, number = revision.number));
                    chosen.set(None);
                }
                Err(failure) => toast::bad(&failure),
            }
        });
    };
    view! {
        <section class="revisions">
            {move || all.get().map(|all| match all {
                Err(failure) => view! { <p class="error" role="alert">{toast::explain(&failure)}</p> }.into_any(),
                Ok(all) if all.is_empty() => view! { <p class="soft">{tr!(revisions.none)}</p> }.into_any(),
                Ok(all) => all.into_iter().map(|revision| view! { <One revision object chosen right back /> }).collect_view().into_any(),
            })}
        </section>
    }
}

#[component]
fn One(
    revision: Revision,
    object: Object,
    chosen: RwSignal<Option<u64>>,
    right: RwSignal<Right>,
    back: impl Fn(Revision) + Copy + Send + Sync + 'static,
) -> impl IntoView {
    let number = revision.number;
    let open = Memo::new(move |_| chosen.get() == Some(number));
    let images: Vec<String> = list(&revision.template["spec"]["containers"])
        .iter()
        .map(|one| crate::kinds::word(&one["image"]))
        .collect();
    let (current, created, cause) = (revision.current, revision.created.clone(), revision.cause.clone());
    let shown = move || {
        let now = object.get().map(|object| object["spec"]["template"].clone()).unwrap_or_default();
        let lines = difference::lines(&yaml::print(&now), &yaml::print(&revision.template));
        let revision = revision.clone();
        view! {
            <Difference lines />
            <div class="line">
                <button class="primary" disabled=move || !right.read().is_yes() title=move || right.read().why()
                    on:click=move |_| back(revision.clone())><Icon shape=Shape::Back />{tr!(revisions.back, number = number)}</button>
            </div>
        }
    };
    view! {
        <div class="card">
            <div class="line">
                <b>{tr!(revisions.revision, number = number)}</b>
                {current.then(|| view! { <span class="tag">{tr!(revisions.current)}</span> })}
                <code>{images.join(", ")}</code>
                <span class="soft">{cause}</span>
                <span class="grow"></span>
                <span class="soft"><Since time=created /></span>
                {(!current).then(|| view! {
                    <button aria-expanded=move || open.get().to_string() on:click=move |_| chosen.set((!open.get_untracked()).then_some(number))>{tr!(revisions.compare)}</button>
                })}
            </div>
            {move || (open.get() && !current).then(&shown)}
        </div>
    }
}
