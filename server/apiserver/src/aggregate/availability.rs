//! Whether an APIService is available, said in its status: `kube-aggregator`'s `pkg/controllers/status`.

use std::sync::Arc;

use sampan_api::kinds;
use sampan_store::{Key, Store, Watch};
use serde_json::{Value, json};

use super::{API_SERVICES, Groups};
use crate::UserInfo;
use crate::registry::{Call, Registry, Target, WriteOptions, store_name};
use crate::value::{at, items, meta, now, set, text};

/// Status, reason and message of condition `Available`.
type Verdict = (&'static str, &'static str, String);

/// `served` tells who answers for the group in this process; `exists` whether the named Service is there.
fn verdict(object: &Value, served: bool, exists: bool) -> Verdict {
    let (group, version) = (text(object, &["spec", "group"]), text(object, &["spec", "version"]));
    let service = at(object, &["spec", "service"]);
    let (namespace, name) = (text(service, &["namespace"]), text(service, &["name"]));
    match service.is_null() {
        true if served || kinds::group(group).is_some() => {
            ("True", "Local", "Local APIServices are always available".to_owned())
        }
        _ if served => ("True", "Passed", "all checks passed".to_owned()),
        true => ("False", "ServiceNotFound", format!("nobody in this process serves {group}/{version}")),
        false if !exists => {
            ("False", "ServiceNotFound", format!("service/{name} in {namespace:?} is not present"))
        }
        false => {
            let why = "sampan does not pass requests on to API servers behind a Service yet";
            (
                "False",
                "FailedDiscoveryCheck",
                format!("no response from service/{name} in {namespace:?}: {why}"),
            )
        }
    }
}

/// The object with its condition, if that is another than it has.
fn judged(object: &Value, (status, reason, message): Verdict) -> Option<Value> {
    let conditions = items(at(object, &["status", "conditions"]));
    let old = conditions.iter().find(|one| text(one, &["type"]) == "Available");
    let same = |key: &str, value: &str| old.is_some_and(|old| text(old, &[key]) == value);
    if same("status", status) && same("reason", reason) && same("message", &message) {
        return None;
    }
    let since = match old {
        Some(old) if same("status", status) => text(old, &["lastTransitionTime"]).to_owned(),
        _ => now(),
    };
    let condition = json!({
        "type": "Available", "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
    });
    let others = conditions.iter().filter(|one| text(one, &["type"]) != "Available").cloned();
    let mut new = object.clone();
    set(&mut new, &["status", "conditions"], others.chain([condition]).collect::<Vec<Value>>());
    Some(new)
}

/// Keeps the conditions true until the store closes.
pub(crate) async fn follow(registry: Registry, groups: Arc<Groups>) {
    let mut changes = groups.changes.subscribe();
    loop {
        let from = registry.store.revision();
        judge_all(&registry, &groups).await;
        let store = &registry.store;
        let (Ok(mut own), Ok(mut services)) =
            (store.watch(API_SERVICES, "", from), store.watch("services", "", from))
        else {
            continue;
        };
        loop {
            let more = tokio::select! {
                changed = changes.changed() => changed.is_ok().then_some(true),
                relevant = relevant(&mut own, |_| true) => relevant,
                relevant = relevant(&mut services, |name| names_service(store, name)) => relevant,
            };
            match more {
                None => return,
                Some(true) => judge_all(&registry, &groups).await,
                // a change may have been missed
                Some(false) => break,
            }
        }
    }
}

/// The next change that `matters`; false when some were missed, `None` when the store has closed.
async fn relevant(watch: &mut Watch, matters: impl Fn(&str) -> bool) -> Option<bool> {
    loop {
        match watch.next().await? {
            Ok(event) if matters(&event.entry.key.name) => return Some(true),
            Ok(_) => {}
            Err(_lagged) => return Some(false),
        }
    }
}

fn objects(store: &Store) -> Vec<Value> {
    let all = store.list(API_SERVICES);
    all.map.values().filter_map(|entry| serde_json::from_slice(&entry.value).ok()).collect()
}

fn service_of(object: &Value) -> String {
    let part = |key| text(object, &["spec", "service", key]);
    store_name(part("namespace"), part("name"))
}

fn names_service(store: &Store, name: &str) -> bool {
    objects(store).iter().any(|object| service_of(object) == name)
}

async fn judge_all(registry: &Registry, groups: &Groups) {
    let user = UserInfo::new("system:apiserver", &["system:masters"]);
    let call = Call::new(&user, WriteOptions::default()).tracked(crate::registry::manage::SELF);
    let Some(kind) = kinds::by_resource("apiregistration.k8s.io", "v1", "apiservices") else { return };
    for object in objects(&registry.store) {
        let verdict = |object: &Value| {
            let served = groups.handler(text(object, &["spec", "group"]), text(object, &["spec", "version"]));
            let exists = registry.store.get(&Key::new("services", service_of(object))).is_some();
            verdict(object, served.is_some(), exists)
        };
        if judged(&object, verdict(&object)).is_none() {
            continue;
        }
        let target =
            Target { subresource: "status".to_owned(), ..Target::new(kind, "", meta(&object, "name")) };
        let written = registry.modify(&call, &target, |old| {
            let mut new = judged(old, verdict(old)).unwrap_or_else(|| old.clone());
            crate::value::remove(&mut new, &["metadata", "resourceVersion"]);
            Ok(new)
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, api_service = target.name, "cannot tell whether it is available");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_api_service_is_available_if_someone_serves_it() {
        let local = |group: &str| json!({"spec": {"group": group, "version": "v1beta1"}});
        let remote = json!({"spec": {"group": "x.y", "version": "v1beta1",
            "service": {"namespace": "kube-system", "name": "metrics-server"}}});
        let cases = [
            (local("x.y"), true, false, "True", "Local"),
            (local("apps"), false, false, "True", "Local"),
            (local("x.y"), false, false, "False", "ServiceNotFound"),
            (remote.clone(), true, false, "True", "Passed"),
            (remote.clone(), false, true, "False", "FailedDiscoveryCheck"),
            (remote.clone(), false, false, "False", "ServiceNotFound"),
        ];
        for (object, served, exists, status, reason) in cases {
            let (found, why, _) = verdict(&object, served, exists);
            assert_eq!((found, why), (status, reason), "{object} {served} {exists}");
        }
        let (.., message) = verdict(&remote, false, false);
        assert_eq!(message, "service/metrics-server in \"kube-system\" is not present");
    }

    #[test]
    fn a_condition_is_written_when_it_differs() {
        let object = json!({"status": {"conditions": [{"type": "Other"}]}});
        let told = judged(&object, ("True", "Local", "m".into())).unwrap();
        assert_eq!(told["status"]["conditions"][0]["type"], "Other");
        assert_eq!(told["status"]["conditions"][1]["status"], "True");
        assert!(judged(&told, ("True", "Local", "m".into())).is_none());
        let mut earlier = told.clone();
        earlier["status"]["conditions"][1]["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
        let reworded = judged(&earlier, ("True", "Local", "n".into())).unwrap();
        assert_eq!(reworded["status"]["conditions"][1]["lastTransitionTime"], "2020-01-01T00:00:00Z");
        let turned = judged(&earlier, ("False", "ServiceNotFound", "n".into())).unwrap();
        assert_ne!(turned["status"]["conditions"][1]["lastTransitionTime"], "2020-01-01T00:00:00Z");
    }
}
