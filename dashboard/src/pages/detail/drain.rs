//! A node is drained: the plan first, then cordoned and its pods evicted, each seen to its end.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::drain::{self, Leaving, Plan};
use sampan_view::{feed::Kind, place::encode};
use serde_json::{Value, json};

use super::act;
use crate::{
    kinds::{Resource, list, word},
    net::{
        api::{self, Call, Result},
        feed::{self, State, View},
    },
    ui::{
        dialog::{self, Dialog},
        toast,
    },
};

/// Pods that are named; more are counted.
const NAMED: usize = 8;

/// Shows the plan, and drains.
pub fn question(resource: Resource, object: Arc<Value>) {
    let (planned, ready) = (ArcRwSignal::new(None::<Plan>), ArcRwSignal::new(false));
    let title = act::title(tr!(act.drain), &resource, &object);
    let node = word(&object["metadata"]["name"]);
    let more = {
        let (node, planned, ready) = (node.clone(), planned.clone(), ready.clone());
        move || {
            let (planned, ready) = (RwSignal::from(planned.clone()), RwSignal::from(ready.clone()));
            view! { <Planned node=node.clone() planned ready /> }.into_any()
        }
    };
    let run = {
        let title = title.clone();
        move |_| {
            if let Some(plan) = planned.get_untracked() {
                follow(title.clone(), resource.clone(), node.clone(), plan);
            }
        }
    };
    let more: Option<Arc<dyn Fn() -> AnyView + Send + Sync>> = Some(Arc::new(more));
    dialog::ask(Dialog { more, ready, danger: true, ..Dialog::new(title, tr!(act.drain), run) });
}

#[component]
fn Planned(node: String, planned: RwSignal<Option<Plan>>, ready: RwSignal<bool>) -> impl IntoView {
    let failed = RwSignal::new(String::new());
    let (blind, only) = (RwSignal::new(false), RwSignal::new(false));
    let (data, alone) = (RwSignal::new(false), RwSignal::new(false));
    spawn_local(async move {
        let pods = format!("k8s/api/v1/pods?fieldSelector={}", encode(&format!("spec.nodeName={node}")));
        let pods = match api::get(&pods).await {
            Ok(pods) => pods,
            Err(failure) => return drop(failed.try_set(toast::explain(&failure))),
        };
        let budgets = api::get("k8s/apis/policy/v1/poddisruptionbudgets").await;
        blind.try_set(budgets.is_err());
        let budgets = budgets.unwrap_or_default();
        if let Ok(nodes) = api::get("k8s/api/v1/nodes").await {
            only.try_set(!drain::elsewhere(list(&nodes["items"]), &node));
        }
        planned.try_set(Some(drain::plan(list(&pods["items"]), list(&budgets["items"]))));
    });
    Effect::new(move |_| {
        let said = |lost: &[String], known: bool| lost.is_empty() || known;
        let all = |plan: &Plan| said(&plan.with_data, data.get()) && said(&plan.alone, alone.get());
        ready.set(planned.read().as_ref().is_some_and(all));
    });
    let shown = move |plan: Plan| {
        let leaving: Vec<_> =
            plan.leaving.iter().map(|one| format!("{}/{}", one.namespace, one.name)).collect();
        let budgets = plan.budgets.into_iter().map(|one| {
            view! { <p class="soft">{tr!(drain.budget, name = one.name, here = one.here, allowed = one.allowed)}</p> }
        });
        view! {
            <p>{tr!(drain.then)}</p>
            {(only.get() && !leaving.is_empty()).then(|| view! { <p class="warning">{tr!(drain.only)}</p> })}
            {if leaving.is_empty() { Some(view! { <p>{tr!(drain.nobody)}</p> }) } else { None }}
            {named(tr!(drain.leaving), &leaving)}
            {budgets.collect_view()}
            {blind.get().then(|| view! { <p class="soft">{tr!(drain.blind)}</p> })}
            {named(tr!(drain.of_daemon_sets), &plan.of_daemon_sets)}
            {named(tr!(drain.mirrors), &plan.mirrors)}
            {named(tr!(drain.with_data), &plan.with_data)}
            {agreed(tr!(drain.with_data_too), &plan.with_data, data)}
            {named(tr!(drain.alone), &plan.alone)}
            {agreed(tr!(drain.alone_too), &plan.alone, alone)}
        }
    };
    view! {
        <div class="consequences" role="status">
            {move || match planned.get() {
                None if !failed.read().is_empty() => view! { <p class="error">{failed}</p> }.into_any(),
                None => view! { <p class="soft">{tr!(delete.looking)}</p> }.into_any(),
                Some(plan) => shown(plan).into_any(),
            }}
        </div>
    }
}

/// What holds for some pods, and which these are.
fn named(what: &'static str, pods: &[String]) -> Option<impl IntoView + use<>> {
    let more = pods.len().saturating_sub(NAMED);
    let mut names = pods.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 {
        names = format!("{names} {}", tr!(action.and_more, count = more));
    }
    (!pods.is_empty()).then(|| view! { <p><strong>{what}</strong>" "{names}</p> })
}

/// A loss is to be agreed to, where there is one.
fn agreed(what: &'static str, pods: &[String], agreed: RwSignal<bool>) -> Option<impl IntoView + use<>> {
    (!pods.is_empty()).then(|| {
        view! {
            <label class="inline">
                <input type="checkbox" prop:checked=agreed on:change=move |event| agreed.set(event_target_checked(&event)) />{what}
            </label>
        }
    })
}

/// How far a pod has come.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Asked,
    Ending,
    Gone,
    /// A budget allows no more; tried again when one has changed.
    Held(String),
    Failed(String),
}

type Steps = RwSignal<Vec<(Leaving, Step)>>;

/// The eviction itself, in a dialog of its own: to leave it is to stop it.
fn follow(title: String, resource: Resource, node: String, plan: Plan) {
    let ready = ArcRwSignal::new(false);
    let shown = ready.clone();
    let more = move || {
        let ready = RwSignal::from(shown.clone());
        view! { <Following resource=resource.clone() node=node.clone() leaving=plan.leaving.clone() ready /> }
            .into_any()
    };
    let more: Option<Arc<dyn Fn() -> AnyView + Send + Sync>> = Some(Arc::new(more));
    dialog::ask(Dialog { more, ready, over: true, ..Dialog::new(title, tr!(action.close), |_| ()) });
}

#[component]
fn Following(
    resource: Resource,
    node: String,
    leaving: Vec<Leaving>,
    ready: RwSignal<bool>,
) -> impl IntoView {
    let first = |one: Leaving| {
        let step = if one.terminating { Step::Ending } else { Step::Asked };
        (one, step)
    };
    let steps: Steps = RwSignal::new(leaving.into_iter().map(first).collect());
    let failed = RwSignal::new(String::new());
    let of = |group: &str, resource: &str| Kind {
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
    };
    let pods = feed::list(feed::List {
        kind: of("", "pods"),
        fields: format!("spec.nodeName={node}"),
        ..Default::default()
    });
    let budgets = feed::list(feed::List { kind: of("policy", "poddisruptionbudgets"), ..Default::default() });
    Effect::new(move |_| {
        let live = pods.live().read();
        let gone = |(pod, step): &(Leaving, Step)| *step == Step::Ending && !live.rows.contains_key(&pod.uid);
        if live.state == State::Live && steps.read().iter().any(gone) {
            steps.update(|all| all.iter_mut().filter(|one| gone(one)).for_each(|one| one.1 = Step::Gone));
        }
    });
    let changed = budgets.clone();
    Effect::new(move |_| {
        changed.live().track();
        let held = steps.get_untracked().into_iter().filter(|one| matches!(one.1, Step::Held(_)));
        held.for_each(|(pod, _)| evict(pod, steps, changed.clone()));
    });
    let over =
        Memo::new(move |_| steps.read().iter().all(|one| matches!(one.1, Step::Gone | Step::Failed(_))));
    let path = resource.object("", &node);
    let cordoned = RwSignal::new(false);
    Effect::new(move |_| ready.set(over.get() && cordoned.get()));
    spawn_local(async move {
        if let Err(failure) = api::merge(&path, &json!({"spec": {"unschedulable": true}})).await {
            return drop(failed.try_set(toast::explain(&failure)));
        }
        if cordoned.try_set(true).is_none() {
            let asked = steps.get_untracked();
            asked
                .into_iter()
                .filter(|one| one.1 == Step::Asked)
                .for_each(|(pod, _)| evict(pod, steps, budgets.clone()));
        }
    });
    let done = move || steps.read().iter().filter(|one| one.1 == Step::Gone).count();
    view! {
        <p role="status">{move || if ready.get() { tr!(drain.over).to_owned() } else { tr!(drain.so_far, done = done(), all = steps.read().len()) }}</p>
        <p class="error" role="alert">{failed}</p>
        <ul class="steps" tabindex="0" aria-label=tr!(act.drain)>
            {move || steps.get().into_iter().map(|(pod, step)| view! { <li><span>{format!("{}/{}", pod.namespace, pod.name)}</span>{said(step)}</li> }).collect_view()}
        </ul>
    }
}

fn said(step: Step) -> AnyView {
    match step {
        Step::Asked => view! { <span class="soft">"…"</span> }.into_any(),
        Step::Ending => view! { <span class="soft">{tr!(drain.ending)}</span> }.into_any(),
        Step::Gone => view! { <span>{tr!(drain.gone)}</span> }.into_any(),
        Step::Held(why) => view! { <span class="soft">{tr!(drain.held, why = why)}</span> }.into_any(),
        Step::Failed(why) => view! { <span class="error">{why}</span> }.into_any(),
    }
}

/// Asks for one eviction, of just this pod; nothing follows once nobody looks any more.
fn evict(pod: Leaving, steps: Steps, budgets: View) {
    set(steps, &pod.uid, Step::Asked);
    spawn_local(async move {
        let before = budgets.live().read_untracked().generation;
        let step = match ask(&pod).await {
            Ok(()) => Step::Ending,
            Err(failure) if failure.code == 404 => Step::Gone,
            Err(failure) if failure.code == 429 => Step::Held(failure.message),
            Err(failure) => Step::Failed(toast::explain(&failure)),
        };
        let held = matches!(step, Step::Held(_));
        // a budget that changed meanwhile does not change again for this one
        if set(steps, &pod.uid, step) && held && budgets.live().read_untracked().generation != before {
            evict(pod, steps, budgets);
        }
    });
}

async fn ask(pod: &Leaving) -> Result<()> {
    let path =
        format!("k8s/api/v1/namespaces/{}/pods/{}/eviction", encode(&pod.namespace), encode(&pod.name));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": {"preconditions": {"uid": pod.uid}}});
    Call::new("POST", &path).json(&eviction).repeatable().send().await.map(drop)
}

/// False if nobody looks any more.
fn set(steps: Steps, uid: &str, step: Step) -> bool {
    let put = |all: &mut Vec<(Leaving, Step)>| {
        all.iter_mut().filter(|one| one.0.uid == uid).for_each(|one| one.1 = step.clone());
    };
    steps.try_update(put).is_some()
}
