//! Events of an object and of what it owns (a Deployment's pods carry its name), the newest first.

use leptos::{prelude::*, task::spawn_local};
use sampan_view::Health;
use serde_json::Value;

use super::Object;
use crate::{
    kinds::{list, word},
    net::api,
    ui::{age::Since, status::Status},
};

/// Shown at most; older ones are in the list of events.
const SHOWN: usize = 60;

#[component]
pub fn Events(namespace: String, object: Object) -> impl IntoView {
    let events = RwSignal::new(Vec::<Value>::new());
    // the object changes when something happens to it: then its events are read again
    let version = Memo::new(move |_| {
        object.get().map(|object| {
            (
                word(&object["kind"]),
                word(&object["metadata"]["uid"]),
                word(&object["metadata"]["name"]),
                word(&object["metadata"]["resourceVersion"]),
            )
        })
    });
    Effect::new(move |_| {
        let Some((kind, uid, name, _)) = version.get() else { return };
        let place = if namespace.is_empty() { "default" } else { &namespace };
        let path = format!("k8s/api/v1/namespaces/{place}/events?limit=1000");
        spawn_local(async move {
            if let Ok(found) = api::get(&path).await {
                events.try_set(newest(&found, &kind, &uid, &name));
            }
        });
    });
    move || {
        let all = events.get();
        (!all.is_empty()).then(|| {
            view! {
                <section>
                    <h2 class="part">{tr!(detail.events)}</h2>
                    <Table all />
                </section>
            }
        })
    }
}

fn newest(found: &Value, kind: &str, uid: &str, name: &str) -> Vec<Value> {
    let owned = format!("{name}-");
    let of = |event: &&Value| {
        let involved = &event["involvedObject"];
        // whoever writes an event may know no uid
        let named = involved["uid"].is_null() && involved["name"] == name && involved["kind"] == kind;
        involved["uid"] == uid || named || word(&involved["name"]).starts_with(&owned)
    };
    let mut events: Vec<Value> = list(&found["items"]).iter().filter(of).cloned().collect();
    sampan_dashboard_logic::sort::by_key(&mut events, |event| std::cmp::Reverse(time(event)));
    events.truncate(SHOWN);
    events
}

/// When an event was seen last; its three ways of saying so.
pub fn time(event: &Value) -> String {
    let times = [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    times.iter().map(|time| word(time)).find(|time| !time.is_empty()).unwrap_or_default()
}

#[component]
pub fn Table(all: Vec<Value>) -> impl IntoView {
    view! {
        <table class="plain"><tbody>
            {all.into_iter().map(|event| {
                let health = if event["type"] == "Warning" { Health::Warning } else { Health::None };
                let count = event["series"]["count"].as_i64().or_else(|| event["count"].as_i64());
                let count = count.filter(|count| *count > 1).map(|count| format!(" ×{count}"));
                let involved = format!("{}/{}", word(&event["involvedObject"]["kind"]), word(&event["involvedObject"]["name"]));
                view! {
                    <tr>
                        <th scope="row"><Status health reason=word(&event["reason"]) /></th>
                        <td class="soft word">{involved}</td>
                        <td class="message">{word(&event["message"])}<span class="soft">{count}</span></td>
                        <td class="number soft"><Since time=time(&event) /></td>
                    </tr>
                }
            }).collect_view()}
        </tbody></table>
    }
}
