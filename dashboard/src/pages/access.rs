//! Who can do what: what the signed-in user may, by the API server's own word, and who is bound to which role.

use std::collections::HashSet;

use leptos::{prelude::*, task::spawn_local};
use sampan_dashboard_logic::who::Question;
use sampan_view::lower_case;
use serde_json::{Value, json};

use super::barred;
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
    let roles = RwSignal::new(Vec::<Value>::new());
    let question = RwSignal::new(String::new());
    let unseen = RwSignal::new(String::new());
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
            let mut barred = String::new();
            bindings.try_set(
                read(["ClusterRoleBinding", "RoleBinding"], "rolebindings", &places, &mut barred).await,
            );
            roles.try_set(read(["ClusterRole", "Role"], "roles", &places, &mut barred).await);
            unseen.try_set(barred);
        });
    });
    let found = move || {
        let text = question.read();
        if let Some(question) = Question::parse(&text) {
            let roles = roles.read();
            let roles: HashSet<_> =
                roles.iter().filter(|role| question.allowed_by(role)).map(place).collect();
            let allowing = |binding: &Value| roles.contains(&role_of(binding));
            let bindings = bindings.read();
            return bindings
                .iter()
                .filter(|one| allowing(one))
                .flat_map(subjects)
                .take(500)
                .collect::<Vec<_>>();
        }
        let wanted = lower_case(&text);
        let bindings = bindings.read();
        let all = bindings.iter().flat_map(subjects);
        all.filter(|row| wanted.is_empty() || row.iter().any(|text| lower_case(text).contains(&wanted)))
            .take(500)
            .collect()
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
                    <input type="search" class="asks" placeholder=tr!(access.ask) aria-label=tr!(access.ask) on:input=move |event| question.set(event_target_value(&event)) /></div>
                {move || barred::told(unseen.get())}
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

/// `roles` or `rolebindings`: those of the whole cluster, and of the namespaces chosen; kinds that may not be read are
/// added to `barred`.
async fn read(
    kinds: [&'static str; 2],
    what: &str,
    namespaces: &[String],
    barred: &mut String,
) -> Vec<Value> {
    let version = "k8s/apis/rbac.authorization.k8s.io/v1";
    let mut all = Vec::new();
    for (kind, cluster, places) in [(kinds[0], "cluster", &[][..]), (kinds[1], "", namespaces)] {
        let (own, refused) = api::list_of(version, &format!("{cluster}{what}"), places).await;
        if let Some(failure) = refused {
            let wide = cluster.is_empty() && places.is_empty();
            barred.push_str(&barred::refused(failure.code, &failure.message, kind, wide));
            barred.push('\n');
        }
        all.extend(own);
    }
    all
}

/// Namespace and name; the former is empty for a ClusterRole.
fn place(role: &Value) -> (String, String) {
    (word(&role["metadata"]["namespace"]), word(&role["metadata"]["name"]))
}

/// The [`place`] of the role that is bound.
fn role_of(binding: &Value) -> (String, String) {
    let role = &binding["roleRef"];
    let namespace =
        if role["kind"] == "Role" { word(&binding["metadata"]["namespace"]) } else { String::new() };
    (namespace, word(&role["name"]))
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
