//! `/binding` of pods: `pkg/registry/core/pod/storage/storage.go`.

use sampan_api::go::Quote as _;
use sampan_api::kinds;
use sampan_api::status::ApiError;
use sampan_api::strict::Expected;
use serde_json::{Value, json};

use super::negotiate::Offer;
use super::resource::{Answer, decode_as};
use super::{Context, respond};
use crate::ApiServer;
use crate::registry::{Call, Target, WriteOptions};
use crate::strategies::pod;
use crate::value::{at, meta, now, object, set, text};

pub(super) fn created() -> Value {
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
        // a Binding that is posted by itself is below no pod
        let alone = target.subresource.is_empty().then(|| Target::new(target.kind, &target.namespace, &name));
        self.registry().admit_creation(&call, alone.as_ref().unwrap_or(&pod), &mut binding).await?;
        let node = text(&binding, &["target", "name"]);
        self.registry().modify(&call, &pod, |old| bound(&pod, old, &binding, node)).await?;
        Ok(respond::value(201, &created(), format, &context.head.headers))
    }
}

/// The pod on its node: `assignPod` and `setPodNodeAndMetadata`.
fn bound(target: &Target, old: &Value, binding: &Value, node: &str) -> Result<Value, ApiError> {
    let name = &target.name;
    let conflict = |why: String| Err(ApiError::conflict("", "pods/binding", name, &why));
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
        return conflict(format!("pod {name} is already assigned to node {}", node.quoted()));
    }
    if pod::gated(old) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut new = old.clone();
    crate::value::remove(&mut new, &["metadata", "resourceVersion"]);
    set(&mut new, &["spec", "nodeName"], node);
    // ClearingNominatedNodeNameAfterBinding
    crate::value::remove(&mut new, &["status", "nominatedNodeName"]);
    for words in ["annotations", "labels"] {
        for (key, value) in at(binding, &["metadata", words]).as_object().into_iter().flatten() {
            object(&mut new, &["metadata", words]).insert(key.clone(), value.clone());
        }
    }
    condition(&mut new, "PodScheduled", "True", "", "");
    Ok(new)
}

/// Sets a condition; its transition time moves with its status.
pub(super) fn condition(object: &mut Value, kind: &str, status: &str, reason: &str, message: &str) {
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
