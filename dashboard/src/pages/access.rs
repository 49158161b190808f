//! Who can do what: what the signed-in user may, by the API server's own word, and who is bound to which role.

use leptos::{prelude::*, task::spawn_local};
use sampan_view::lower_case;
use serde_json::{Value, json};

use crate::{
    kinds::{list, word},
    net::api::{self, Call},
    ui::{go, toast},
};

#[component]
pub fn Access() -> impl IntoView {
    let namespaces = go::namespaces();
    let rules = RwSignal::new(Vec::<Value>::new());
    let bindings = RwSignal::new(Vec::<Value>::new());
    let question = RwSignal::new(String::new());
    Effect::new(move |_| {
        let places = namespaces.get();
        let namespace = places.first().cloned().unwrap_or_else(|| "default".to_owned());
        spawn_local(async move {
            let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}});
            match Call::new("POST", "k8s/apis/authorization.k8s.io/v1/selfsubjectrulesreviews")
                .json(&review)
                .repeatable()
                .value()
                .await
            {
                Ok(found) => drop(rules.try_set(list(&found["status"]["resourceRules"]).to_vec())),
                Err(failure) => toast::bad(&failure),
            }
            bindings.try_set(read_bindings(&places).await);
        });
    });
    let found = move || {
        let question = lower_case(&question.read());
        let all = bindings.get().into_iter().flat_map(|binding| subjects(&binding));
        all.filter(|row| question.is_empty() || row.iter().any(|text| lower_case(text).contains(&question)))
            .take(500)
            .collect::<Vec<_>>()
    };
    view! {
        <div class="page">
            <h1>{tr!(nav.who)}</h1>
            <section class="panel-card">
                <h2>{tr!(access.mine)}</h2>
                <table class="plain"><tbody>
                    {move || rules.get().into_iter().map(|rule| view! {
                        <tr><th scope="row">{joined(&rule["verbs"])}</th><td>{joined(&rule["resources"])}</td>
                            <td class="soft">{joined(&rule["apiGroups"])}</td><td class="soft">{joined(&rule["resourceNames"])}</td></tr>
                    }).collect_view()}
                </tbody></table>
            </section>
            <section class="panel-card">
                <div class="line"><h2>{tr!(access.bindings)}</h2><span class="grow"></span>
                    <input type="search" placeholder=tr!(list.filter) aria-label=tr!(list.filter) on:input=move |event| question.set(event_target_value(&event)) /></div>
                <table class="plain">
                    <thead><tr class="soft"><th>{tr!(access.subject)}</th><th>{tr!(access.role)}</th><th>{tr!(list.namespace)}</th><th>{tr!(access.binding)}</th></tr></thead>
                    <tbody>
                        {move || found().into_iter().map(|[subject, role, namespace, name]| view! {
                            <tr><th scope="row">{subject}</th><td>{role}</td><td class="soft">{namespace}</td><td class="soft">{name}</td></tr>
                        }).collect_view()}
                    </tbody>
                </table>
            </section>
        </div>
    }
}

/// Those of the whole cluster, and of the namespaces chosen.
async fn read_bindings(namespaces: &[String]) -> Vec<Value> {
    let version = "k8s/apis/rbac.authorization.k8s.io/v1";
    let mut all = api::list_of(version, "clusterrolebindings", &[]).await;
    all.extend(api::list_of(version, "rolebindings", namespaces).await);
    all
}

/// Subject, role, namespace, binding: one row for each subject.
fn subjects(binding: &Value) -> Vec<[String; 4]> {
    let role = format!("{}/{}", word(&binding["roleRef"]["kind"]), word(&binding["roleRef"]["name"]));
    let row = |subject: &Value| {
        let own = word(&subject["namespace"]);
        let slash = if own.is_empty() { "" } else { "/" };
        let who = format!("{} {own}{slash}{}", word(&subject["kind"]), word(&subject["name"]));
        [who, role.clone(), word(&binding["metadata"]["namespace"]), word(&binding["metadata"]["name"])]
    };
    list(&binding["subjects"]).iter().map(row).collect()
}

fn joined(value: &Value) -> String {
    list(value).iter().map(word).collect::<Vec<_>>().join(", ")
}
