//! Tells definitions' conditions: which names they get, that they are served, whether the community approves
//! (`naming_controller.go`, `establishing_controller.go`, `apiapproval_controller.go`), and starts to empty those that are deleted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sampan_api::crd::{CLEANUP, Condition, Head, approval_condition, name_conditions};
use sampan_api::kinds;
use sampan_api::status::{ApiError, Reason};
use sampan_store::Watch;
use serde_json::{Value, json};

use super::definition::set_condition;
use super::{Customs, DEFINITIONS, cleanup};
use crate::UserInfo;
use crate::dynamic::validate::ca_error;
use crate::registry::{Call, Registry, Target, WriteOptions};
use crate::value::{meta, remove, set};

/// Who the controller is.
pub(super) fn user() -> UserInfo {
    UserInfo::new("system:apiserver", &["system:masters"])
}

/// Where a definition is.
pub(super) fn target(name: &str, subresource: &str) -> Result<Target, ApiError> {
    let kind = kinds::by_resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        .ok_or_else(ApiError::unknown_resource)?;
    Ok(Target { subresource: subresource.to_owned(), ..Target::new(kind, "", name) })
}

/// Keeps the conditions true until the store closes.
pub(crate) async fn follow(registry: Registry, customs: Customs) {
    let mut emptying = FuturesUnordered::new();
    let mut begun: HashSet<String> = HashSet::new();
    loop {
        let from = registry.store.revision();
        let Ok(mut watch) = registry.store.watch(DEFINITIONS, "", from) else { continue };
        loop {
            for head in customs.heads() {
                let due = head.deleting() && head.metadata.finalizers.iter().any(|f| f == CLEANUP);
                if due && begun.insert(head.metadata.uid.clone()) {
                    emptying.push(cleanup::empty(registry.clone(), head));
                }
            }
            settle(&registry, &customs).await;
            tokio::select! {
                event = watch.next() => match event {
                    None => return,
                    // a change may have been missed
                    Some(Err(_lagged)) => break,
                    // what came meanwhile is seen at once
                    Some(Ok(_)) => if lags(&mut watch) { break },
                },
                Some(done) = emptying.next(), if !emptying.is_empty() => {
                    let uid: String = done;
                    begun.remove(&uid);
                }
            }
        }
    }
}

/// Takes what is there; whether a change may have been missed.
fn lags(watch: &mut Watch) -> bool {
    std::iter::from_fn(|| watch.try_next()).any(|next| next.is_err())
}

/// Gives names to definitions that have not the names they ask for.
async fn settle(registry: &Registry, customs: &Customs) {
    let heads = customs.heads();
    let mut open: Vec<&Arc<Head>> = heads.iter().filter(|head| !is_settled(head)).collect();
    open.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut names: HashMap<&str, Names> = HashMap::new();
    for head in open {
        let group = head.spec.group.as_str();
        let taken = names.entry(group).or_insert_with(|| Names::of(&heads, group));
        if let Err(error) = tell(registry, head, taken).await {
            tracing::warn!(%error, definition = head.metadata.name, "cannot tell its conditions");
        }
    }
}

fn is_settled(head: &Head) -> bool {
    let approval = approval_condition(head);
    head.is("NamesAccepted")
        && head.is("Established")
        && head.status.accepted_names == head.spec.names
        && approval.is_none_or(|approval| head.status.conditions.contains(&approval))
}

/// Names in use in a group, by the definition that has them.
struct Names(HashMap<String, sampan_api::crd::Names>);

impl Names {
    fn of(heads: &[Arc<Head>], group: &str) -> Self {
        let own = heads.iter().filter(|head| head.spec.group == group);
        Self(own.map(|h| (h.metadata.name.clone(), h.status.accepted_names.clone())).collect())
    }

    /// The resources and kinds of all but `name`.
    fn others(&self, name: &str) -> (HashSet<String>, HashSet<String>) {
        let others: Vec<_> = self.0.iter().filter(|(of, _)| *of != name).map(|(_, names)| names).collect();
        let resources = others
            .iter()
            .flat_map(|names| [&names.plural, &names.singular].into_iter().chain(&names.short_names))
            .filter(|name| !name.is_empty());
        let kinds = others.iter().flat_map(|names| [&names.kind, &names.list_kind]);
        (resources.cloned().collect(), kinds.filter(|name| !name.is_empty()).cloned().collect())
    }
}

/// Whether whoever is to convert its objects could be believed. What is established stays so.
fn is_trustful(head: &Head) -> bool {
    let config = head.converter().map(|webhook| &webhook.client_config);
    head.is("Established") || config.and_then(ca_error).is_none()
}

async fn tell(registry: &Registry, head: &Head, taken: &mut Names) -> Result<(), ApiError> {
    let name = &head.metadata.name;
    let (resources, kinds) = taken.others(name);
    let (names, about_names) = name_conditions(head, &resources, &kinds);
    let mut conditions: Vec<Condition> = approval_condition(head).into_iter().chain(about_names).collect();
    for condition in conditions.iter_mut().filter(|one| one.ty == "Established" && !is_trustful(head)) {
        *condition = Condition {
            ty: "Established".into(),
            status: "False".into(),
            reason: "InvalidCABundle".into(),
            message: "The conversion webhook CABundle is invalid".into(),
        };
    }
    let told = |wanted: &Condition| head.status.conditions.contains(wanted);
    if names == head.status.accepted_names && conditions.iter().all(told) {
        return Ok(());
    }
    let user = user();
    let call = Call::new(&user, WriteOptions::default());
    let target = target(name, "status")?;
    let written = registry.modify(&call, &target, |old| {
        let mut new = old.clone();
        if meta(old, "uid") != head.metadata.uid {
            return Err(ApiError::new(Reason::NotFound, "it is another one now"));
        }
        set(&mut new, &["status", "acceptedNames"], names_json(&names));
        for condition in &conditions {
            set_condition(&mut new, &condition.ty, &condition.status, &condition.reason, &condition.message);
        }
        remove(&mut new, &["metadata", "resourceVersion"]);
        Ok(new)
    });
    match written.await {
        Err(error) if error.reason == Reason::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            taken.0.insert(name.clone(), names);
            Ok(())
        }
    }
}

fn names_json(names: &sampan_api::crd::Names) -> Value {
    let mut json = json!({"plural": names.plural});
    for (key, value) in [("singular", &names.singular), ("kind", &names.kind), ("listKind", &names.list_kind)]
    {
        if !value.is_empty() {
            json[key] = value.as_str().into();
        }
    }
    for (key, list) in [("shortNames", &names.short_names), ("categories", &names.categories)] {
        if !list.is_empty() {
            json[key] = list.clone().into();
        }
    }
    json
}
