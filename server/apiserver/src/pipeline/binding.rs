//! `/binding` and `/eviction` of pods: `pkg/registry/core/pod/storage/{storage,eviction}.go`.

use sampan_api::kinds;
use sampan_api::selector::Selector;
use sampan_api::status::ApiError;
use sampan_api::strict::Expected;
use serde_json::{Value, json};

use super::Context;
use super::negotiate::Offer;
use super::resource::{Answer, decode_as};
use crate::ApiServer;
use crate::registry::delete::DeleteOptions;
use crate::registry::{Call, Target, WriteOptions, decode};
use crate::strategies::pod;
use crate::value::{at, meta, now, object, set, text};

fn created() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

fn pods() -> Result<&'static kinds::Kind, ApiError> {
    kinds::by_resource("", "v1", "pods").ok_or_else(ApiError::unknown_resource)
}

impl ApiServer {
    pub(super) async fn bind(&self, context: &Context, target: &Target) -> Answer {
        let format = context.format(Offer::OBJECT)?;
        let call = Call::new(&context.user, WriteOptions::parse(&context.query, "CreateOptions")?);
        let expected = Expected { group: "", version: "v1", kind: "Binding" };
        let mut binding = decode_as(context, "io.k8s.api.core.v1.Binding", expected, &call)?;
        let name =
            if target.name.is_empty() { meta(&binding, "name").to_owned() } else { target.name.clone() };
        if meta(&binding, "name") != name {
            return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
        }
        super::resource::check_namespace(&Target::new(pods()?, &target.namespace, &name), &binding)?;
        let (kind, node) = (text(&binding, &["target", "kind"]), text(&binding, &["target", "name"]));
        let mut errors = Vec::new();
        if !matches!(kind, "" | "Node") {
            errors.push(sampan_api::status::FieldError::not_supported(
                "target.kind",
                kind,
                &["Node", "<empty>"],
            ));
        }
        if node.is_empty() {
            errors.push(sampan_api::status::FieldError::required("target.name", ""));
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid("", "Binding", &name, errors));
        }
        let pod = Target { subresource: "binding".into(), ..Target::new(pods()?, &target.namespace, &name) };
        self.registry().admit_creation(&call, &pod, &mut binding).await?;
        let node = text(&binding, &["target", "name"]);
        self.registry().modify(&call, &pod, |old| bound(&pod, old, &binding, node)).await?;
        Ok(self.reply(201, &created(), format, context, &call))
    }

    pub(super) async fn evict(&self, context: &Context, target: &Target) -> Answer {
        let format = context.format(Offer::OBJECT)?;
        let call = Call::new(&context.user, WriteOptions::parse(&context.query, "CreateOptions")?);
        let expected = Expected { group: "policy", version: "v1", kind: "Eviction" };
        let mut eviction = decode_as(context, "io.k8s.api.policy.v1.Eviction", expected, &call)?;
        if meta(&eviction, "name") != target.name {
            return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
        }
        self.registry().admit_creation(&call, target, &mut eviction).await?;
        let mut options = DeleteOptions::parse(&context.query, Some(at(&eviction, &["deleteOptions"])))?;
        options.dry_run |= call.options.dry_run;
        let whole = Target::new(target.kind, &target.namespace, &target.name);
        let (pod, _) = self.registry().object(&whole)?;
        let finished = matches!(text(&pod, &["status", "phase"]), "Succeeded" | "Failed" | "Pending");
        if !finished && !pod::deleting(&pod) {
            self.spend_budget(&call, &pod, options.dry_run).await?;
        }
        if !options.dry_run && !finished {
            self.mark_disrupted(&call, &whole).await?;
        }
        self.registry().delete(&call, &whole, &options).await?;
        Ok(self.reply(201, &created(), format, context, &call))
    }

    /// Takes one disruption from the budget that covers the pod, if there is one.
    async fn spend_budget(&self, call: &Call<'_>, pod: &Value, dry_run: bool) -> Result<(), ApiError> {
        let kind = kinds::by_resource("policy", "v1", "poddisruptionbudgets")
            .ok_or_else(ApiError::unknown_resource)?;
        let snapshot = self.registry().store.list(kind.storage_group);
        let prefix = format!("{}/", meta(pod, "namespace"));
        let mut covering = Vec::new();
        for entry in snapshot.prefix(&prefix) {
            let budget = decode(entry, kind)?;
            let selector = Selector::from_object(Some(at(&budget, &["spec", "selector"])))
                .unwrap_or_else(|_| Selector::nothing());
            if selector.matches(at(pod, &["metadata", "labels"])) {
                covering.push(budget);
            }
        }
        let budget = match covering.as_slice() {
            [] => return Ok(()),
            [one] => one,
            _ => {
                return Err(ApiError::internal(
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        };
        let place = Target {
            subresource: "status".into(),
            ..Target::new(kind, meta(budget, "namespace"), meta(budget, "name"))
        };
        let options = WriteOptions { dry_run, ..call.options };
        // upstream's API server does this through its own loopback client
        let spend = Call::new(call.user, options).tracked(crate::registry::manage::SELF);
        let name = meta(pod, "name");
        self.registry().modify(&spend, &place, |old| spent(old, name)).await.map(drop)
    }

    async fn mark_disrupted(&self, call: &Call<'_>, pod: &Target) -> Result<(), ApiError> {
        let status = Target { subresource: "status".into(), ..pod.clone() };
        let written = self.registry().modify(call, &status, |old| {
            let mut new = old.clone();
            crate::value::remove(&mut new, &["metadata", "resourceVersion"]);
            let message = "Eviction API: evicting";
            condition(&mut new, "DisruptionTarget", "True", "EvictionByEvictionAPI", message);
            Ok(new)
        });
        written.await.map(drop)
    }
}

/// The budget after one more disruption, or 429: `checkAndDecrement`.
fn spent(budget: &Value, pod: &str) -> Result<Value, ApiError> {
    let name = meta(budget, "name");
    let number = |field: &str| at(budget, &["status", field]).as_i64().unwrap_or(0);
    let refused = |message: String, cause: String| {
        let mut error = ApiError::too_many_requests(message, 10);
        error.retry_after_seconds = None;
        error.causes = vec![("DisruptionBudget".into(), cause, String::new())];
        error
    };
    if number("observedGeneration") < sampan_api::meta::generation(budget) {
        let mut error = refused(
            "Cannot evict pod as it would violate the pod's disruption budget.".into(),
            format!("The disruption budget {name} is still being processed by the server."),
        );
        error.retry_after_seconds = Some(10);
        return Err(error);
    }
    let allowed = number("disruptionsAllowed");
    if allowed <= 0 {
        let cause = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        );
        return Err(refused(
            "Cannot evict pod as it would violate the pod's disruption budget.".into(),
            cause,
        ));
    }
    let mut new = budget.clone();
    crate::value::remove(&mut new, &["metadata", "resourceVersion"]);
    set(&mut new, &["status", "disruptionsAllowed"], allowed - 1);
    object(&mut new, &["status", "disruptedPods"]).insert(pod.to_owned(), now().into());
    Ok(new)
}

/// The pod on its node: `assignPod` and `setPodNodeAndMetadata`.
fn bound(target: &Target, old: &Value, binding: &Value, node: &str) -> Result<Value, ApiError> {
    let conflict = |why: String| Err(target.conflict(&why));
    let name = &target.name;
    let uid = meta(binding, "uid");
    if !uid.is_empty() && uid != meta(old, "uid") {
        return conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta(old, "uid")
        ));
    }
    if pod::deleting(old) {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if let Some(node) = pod::node(old) {
        return conflict(format!("pod {name} is already assigned to node {node:?}"));
    }
    if pod::gated(old) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut new = old.clone();
    crate::value::remove(&mut new, &["metadata", "resourceVersion"]);
    set(&mut new, &["spec", "nodeName"], node);
    for (key, value) in at(binding, &["metadata", "annotations"]).as_object().into_iter().flatten() {
        object(&mut new, &["metadata", "annotations"]).insert(key.clone(), value.clone());
    }
    condition(&mut new, "PodScheduled", "True", "", "");
    Ok(new)
}

/// Sets a condition; its transition time moves with its status.
fn condition(object: &mut Value, kind: &str, status: &str, reason: &str, message: &str) {
    let mut conditions = at(object, &["status", "conditions"]).as_array().cloned().unwrap_or_default();
    let old = conditions.iter().position(|c| text(c, &["type"]) == kind);
    if old.is_some_and(|i| text(&conditions[i], &["status"]) == status) {
        return;
    }
    let mut new = json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": now()});
    for (key, value) in [("reason", reason), ("message", message)] {
        if !value.is_empty() {
            set(&mut new, &[key], value);
        }
    }
    match old {
        Some(i) => conditions[i] = new,
        None => conditions.push(new),
    }
    set(object, &["status", "conditions"], conditions);
}
