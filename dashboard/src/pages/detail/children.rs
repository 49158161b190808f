//! The pods of a workload, by its selector, and of a node.

use std::sync::Arc;

use leptos::prelude::*;
use sampan_dashboard_logic::why;
use sampan_view::{Health, Row, feed::Kind};
use serde_json::Value;

use super::{Object, summary::Causes, watched};
use crate::{
    app::app,
    kinds::word,
    net::feed::{self, State, View},
    pages::logs::{Logs, Source},
    ui::{age::Age, status::Status},
};

/// Pods shown; more are in the list, by the same selector.
const SHOWN: usize = 50;

/// The labels that a workload or Service selects by, as a selector.
pub fn selector(object: &Value) -> String {
    let spec = &object["spec"]["selector"];
    let labels = if spec["matchLabels"].is_object() { &spec["matchLabels"] } else { spec };
    let pairs = labels
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)));
    pairs.collect::<Vec<_>>().join(",")
}

fn all_pods() -> Kind {
    Kind { group: String::new(), version: "v1".into(), resource: "pods".into() }
}

/// A view of the pods, anew when the selector is another.
fn pods(namespace: String, object: Object) -> Memo<Option<View>> {
    let selector = Memo::new(move |_| object.get().map(|object| selector(&object)).unwrap_or_default());
    Memo::new_with_compare(
        move |_| {
            let labels = selector.get();
            (!labels.is_empty()).then(|| {
                let namespaces = vec![namespace.clone()];
                feed::list(feed::List { kind: all_pods(), namespaces, labels, ..Default::default() })
            })
        },
        |_, _| true,
    )
}

fn sorted(view: Option<View>) -> Vec<Arc<Row>> {
    let Some(view) = view else { return Vec::new() };
    let mut rows: Vec<_> = view.live().read().rows.values().cloned().collect();
    sampan_dashboard_logic::sort::by(&mut rows, |a, b| (a.health, &a.name).cmp(&(b.health, &b.name)));
    rows
}

/// The pods that a workload or Service selects.
#[component]
pub fn Pods(namespace: String, object: Object) -> impl IntoView {
    let view = pods(namespace, object);
    move || {
        let view = view.get()?;
        let known = !matches!(view.live().read().state, State::Loading);
        let rows = sorted(Some(view));
        (known || !rows.is_empty()).then(|| table(rows, false))
    }
}

/// The pods of a node, of all namespaces.
#[component]
pub fn OnNode(name: String) -> impl IntoView {
    let filter = format!("node:{name}");
    let view = feed::list(feed::List { kind: all_pods(), filter, ..Default::default() });
    move || {
        let mut rows = sorted(Some(view.clone()));
        // the filter takes the start of a name
        rows.retain(|row| row.node == name);
        (!rows.is_empty()).then(|| table(rows, true))
    }
}

fn table(rows: Vec<Arc<Row>>, of_node: bool) -> impl IntoView {
    let none = rows.is_empty();
    let more = rows.len().saturating_sub(SHOWN);
    view! {
        <section>
            <h2 class="part">"Pods"</h2>
            <table class="plain"><tbody>
                {rows.into_iter().take(SHOWN).map(|row| view! {
                    <tr>
                        <th scope="row"><a href=format!("pods/{}/{}", row.namespace, row.name)>{row.name.clone()}</a></th>
                        <td><Status health=row.health reason=row.reason.clone() /></td>
                        <td class="soft">{if of_node { row.namespace.clone() } else { row.node.clone() }}</td>
                        <td class="number soft"><Age at=row.created /></td>
                    </tr>
                }).collect_view()}
            </tbody></table>
            {none.then(|| view! { <p class="soft">{tr!(detail.no_pods)}</p> })}
            {(more > 0).then(|| view! { <p class="soft">{tr!(action.and_more, count = more)}</p> })}
        </section>
    }
}

/// Why the pods of a workload do not run: the causes of the one that is worst.
#[component]
pub fn Worst(namespace: String, object: Object) -> impl IntoView {
    let view = pods(namespace, object);
    let worst = Memo::new(move |_| {
        let rows = sorted(view.get());
        let row = rows.first().filter(|row| row.health < Health::Healthy)?;
        Some((row.namespace.clone(), row.name.clone()))
    });
    move || {
        let (namespace, name) = worst.get()?;
        let pods = app().kinds.read_untracked().of_path("pods")?.clone();
        let (href, pod) = (pods.page(&namespace, &name), watched(&pods, &namespace, &name));
        let causes = move || {
            let all = why::of(&*pod.get()?);
            let (href, title) = (href.clone(), format!("Pod/{name}"));
            (!all.is_empty()).then(|| {
                view! {
                    <Causes all />
                    <p class="of-pod"><a href=href>{title}</a></p>
                }
            })
        };
        Some(causes)
    }
}

/// The logs of all of them together.
#[component]
pub fn PodLogs(namespace: String, object: Object) -> impl IntoView {
    let view = pods(namespace.clone(), object);
    let containers = move || {
        let object = object.get()?;
        let containers =
            object["spec"]["template"]["spec"]["containers"].as_array()?.iter().map(|one| word(&one["name"]));
        Some(containers.collect::<Vec<_>>())
    };
    let sources = Memo::new(move |_| {
        let containers = containers().unwrap_or_else(|| vec![String::new()]);
        let rows = sorted(view.get());
        let mut names: Vec<_> = rows.iter().map(|row| row.name.clone()).collect();
        sampan_dashboard_logic::sort::by(&mut names, Ord::cmp);
        let of = |pod: &String| {
            containers
                .iter()
                .map(|container| Source { pod: pod.clone(), container: container.clone() })
                .collect::<Vec<_>>()
        };
        names.iter().flat_map(of).take(40).collect::<Vec<_>>()
    });
    view! { <Logs namespace object sources /> }
}
