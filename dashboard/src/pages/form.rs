//! Creating a Deployment with its Service by a form. It shows the YAML it sends, asks the API server first what it would
//! say, and puts what the server refuses at the field that it is about.

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::{
    form::{self, Field, Form},
    yaml,
};
use serde_json::Value;

use crate::{
    app::app,
    kinds::word,
    net::api::{Call, Failure},
    ui::{
        go,
        icon::{Icon, Shape},
        toast,
    },
};

type Errors = RwSignal<Vec<(Option<Field>, String)>>;

#[component]
pub fn ByForm() -> impl IntoView {
    let namespace =
        go::namespaces().get_untracked().into_iter().next().unwrap_or_else(|| "default".to_owned());
    let filled = RwSignal::new(Form {
        namespace,
        replicas: "1".to_owned(),
        service: "ClusterIP".to_owned(),
        ..Form::default()
    });
    let errors: Errors = RwSignal::new(Vec::new());
    // what the server agreed to
    let checked = RwSignal::new(None::<Form>);
    let busy = RwSignal::new(false);
    let send = move |dry: bool| {
        let wanted = filled.get_untracked();
        errors.set(Vec::new());
        busy.set(true);
        spawn_local(async move {
            let mut refused = Vec::new();
            for object in wanted.objects() {
                if let Err(failure) = post(&object, dry).await {
                    refused.extend(explain(&word(&object["kind"]), &failure));
                    // without its Deployment a Service is not created
                    if !dry {
                        break;
                    }
                }
            }
            busy.set(false);
            let good = refused.is_empty();
            errors.set(refused);
            if dry {
                checked.set(good.then_some(wanted));
            } else if good {
                toast::good(tr!(by_form.created, name = wanted.name.trim()));
                go::to(&format!("deployments.apps/{}/{}", wanted.namespace.trim(), wanted.name.trim()));
            }
        });
    };
    let agreed = Memo::new(move |_| checked.read().as_ref() == Some(&*filled.read()));
    let text = move || filled.read().objects().iter().map(yaml::print).collect::<Vec<_>>().join("---\n");
    let rest = move || {
        let all = errors
            .get()
            .into_iter()
            .filter(|(field, _)| field.is_none())
            .map(|(_, text)| view! { <p>{text}</p> });
        all.collect_view()
    };
    view! {
        <form class="by-form" on:submit=move |event| { event.prevent_default(); send(!agreed.get_untracked()); }>
            <div class="asked">
                <Text field=Field::Name label=tr!(list.name) filled errors get=|form| &form.name set=|form, text| form.name = text />
                <Text field=Field::Namespace label=tr!(list.namespace) filled errors get=|form| &form.namespace set=|form, text| form.namespace = text />
                <Text field=Field::Image label=tr!(by_form.image) filled errors get=|form| &form.image set=|form, text| form.image = text />
                <Text field=Field::Replicas label=tr!(action.replicas) filled errors get=|form| &form.replicas set=|form, text| form.replicas = text />
                <Text field=Field::Port label=tr!(by_form.port) filled errors get=|form| &form.port set=|form, text| form.port = text />
                <Service filled errors />
                <Environment filled errors />
                <div class="error" role="alert">{rest}</div>
                <div class="line">
                    <button type="button" disabled=busy on:click=move |_| send(true)>{tr!(edit.check)}</button>
                    <button type="button" class="primary" disabled=move || busy.get() || !agreed.get() on:click=move |_| send(false)>{tr!(action.create)}</button>
                    <span class="soft" role="status">{move || if agreed.get() { tr!(by_form.agreed) } else { tr!(by_form.how) }}</span>
                </div>
            </div>
            <pre class="code" tabindex="0" aria-label=tr!(by_form.sent)>{text}</pre>
        </form>
    }
}

#[component]
fn Text(
    field: Field,
    label: &'static str,
    filled: RwSignal<Form>,
    errors: Errors,
    get: fn(&Form) -> &String,
    set: fn(&mut Form, String),
) -> impl IntoView {
    let id = field.id();
    let wrong = format!("{id}-wrong");
    let invalid = move || errors.read().iter().any(|(own, _)| *own == Some(field)).to_string();
    view! {
        <label class="field" for=id>{label}
            <input id=id type="text" autocomplete="off" spellcheck="false" aria-invalid=invalid aria-describedby=wrong.clone()
                prop:value=get(&filled.read_untracked()).clone() on:input=move |event| filled.update(|form| set(form, event_target_value(&event))) />
        </label>
        <Wrong id=wrong field errors />
    }
}

#[component]
fn Wrong(id: String, field: Field, errors: Errors) -> impl IntoView {
    let texts = move || {
        let all = errors.get().into_iter().filter(|(own, _)| *own == Some(field)).map(|(_, text)| text);
        all.collect::<Vec<_>>().join("; ")
    };
    view! { <p class="error" id=id>{texts}</p> }
}

#[component]
fn Service(filled: RwSignal<Form>, errors: Errors) -> impl IntoView {
    let kinds = [
        ("ClusterIP", tr!(by_form.cluster_ip)),
        ("NodePort", tr!(by_form.node_port)),
        ("LoadBalancer", tr!(by_form.load_balancer)),
        ("", tr!(by_form.no_service)),
    ];
    view! {
        <label class="field">"Service"
            <select aria-describedby="form-service-wrong" on:change=move |event| filled.update(|form| form.service = event_target_value(&event))>
                {kinds.into_iter().map(|(kind, text)| {
                    let text = if kind.is_empty() { text.to_owned() } else { format!("{kind} · {text}") };
                    view! { <option value=kind>{text}</option> }
                }).collect_view()}
            </select>
        </label>
        <Wrong id="form-service-wrong".to_owned() field=Field::Service errors />
        {move || (filled.with(|form| !form.service.is_empty() && !form.has_service())).then(|| view! { <p class="soft">{tr!(by_form.no_port)}</p> })}
    }
}

#[component]
fn Environment(filled: RwSignal<Form>, errors: Errors) -> impl IntoView {
    let count = Memo::new(move |_| filled.read().environment.len());
    let input = move |at: usize, value: bool| {
        let now = filled.read_untracked().environment.get(at).cloned().unwrap_or_default();
        let label = if value { tr!(by_form.variable_value) } else { tr!(by_form.variable) };
        let write = move |text: String| {
            filled.update(|form| {
                if let Some((name, own)) = form.environment.get_mut(at) {
                    *(if value { own } else { name }) = text;
                }
            })
        };
        view! {
            <input type="text" autocomplete="off" spellcheck="false" aria-label=format!("{label} {}", at + 1) placeholder=label
                prop:value=if value { now.1 } else { now.0 } on:input=move |event| write(event_target_value(&event)) />
        }
    };
    view! {
        <fieldset class="environment">
            <legend>{tr!(by_form.environment)}</legend>
            {move || (0..count.get()).map(|at| view! {
                <div class="line">
                    {input(at, false)}
                    {input(at, true)}
                    <button type="button" class="quiet" aria-label=tr!(by_form.take_away, number = at + 1)
                        on:click=move |_| filled.update(|form| drop(form.environment.remove(at)))><Icon shape=Shape::Close /></button>
                </div>
            }).collect_view()}
            <button type="button" on:click=move |_| filled.update(|form| form.environment.push(Default::default()))>{tr!(by_form.add)}</button>
            <Wrong id="form-environment-wrong".to_owned() field=Field::Environment errors />
        </fieldset>
    }
}

/// What a refusal says, at its fields; a known hint goes with what is about no field.
fn explain(kind: &str, failure: &Failure) -> Vec<(Option<Field>, String)> {
    let about = |(field, text)| match field {
        None => (None, format!("{kind}: {}", toast::explain(&Failure { message: text, ..failure.clone() }))),
        field => (field, text),
    };
    form::errors(&failure.message).into_iter().map(about).collect()
}

async fn post(object: &Value, dry: bool) -> Result<(), Failure> {
    let (version, kind) = (word(&object["apiVersion"]), word(&object["kind"]));
    let Some(resource) = app().kinds.read_untracked().of_kind(&version, &kind).cloned() else {
        let message = tr!(create.no_kind, kind = kind, version = version);
        return Err(Failure { code: 404, reason: "NotFound".to_owned(), message });
    };
    let dry = if dry { "&dryRun=All" } else { "" };
    let place = resource.collection(&word(&object["metadata"]["namespace"]));
    let path = format!("{place}?fieldManager=sampan-dashboard&fieldValidation=Strict{dry}");
    Call::new("POST", &path).json(object).send().await.map(drop)
}
