//! `admission.k8s.io` `AdmissionRequest`: what webhooks and expressions are told of a write.

use sampan_api::kinds::Kind;
use sampan_api::patch::{PatchType, apply};
use sampan_api::strict::{Expected, FieldValidation};
use serde_json::{Map, Value, json};

use super::matching::{name, operation};
use crate::registry::{Operation, Review};

/// The request, without the objects, as seen by a configuration for `kind`'s version.
pub(super) fn describe(review: &Review<'_>, kind: &Kind, object: &Value) -> Value {
    let mut request = Map::new();
    let asked = review.kind;
    request.insert("kind".into(), kind_of(kind, review));
    request.insert("resource".into(), resource_of(kind));
    request.insert("requestKind".into(), kind_of(asked, review));
    request.insert("requestResource".into(), resource_of(asked));
    if !review.subresource.is_empty() {
        request.insert("subResource".into(), review.subresource.into());
        request.insert("requestSubResource".into(), review.subresource.into());
    }
    let name = name(review, object);
    if !name.is_empty() {
        request.insert("name".into(), name.into());
    }
    let namespace = namespace_of(review, name);
    if !namespace.is_empty() {
        request.insert("namespace".into(), namespace.into());
    }
    request.insert("operation".into(), operation(review.operation).into());
    request.insert("userInfo".into(), user(review));
    request.insert("dryRun".into(), review.dry_run.into());
    request.insert("options".into(), options(review));
    Value::Object(request)
}

/// A namespace is in itself.
fn namespace_of<'a>(review: &'a Review<'_>, name: &'a str) -> &'a str {
    if review.kind.plural == "namespaces" && review.kind.group.is_empty() { name } else { review.namespace }
}

fn kind_of(kind: &Kind, review: &Review<'_>) -> Value {
    let connect =
        connect_options(kind.kind, review.subresource).filter(|_| review.operation == Operation::Connect);
    let shown = match (connect, kind.subresource(review.subresource)) {
        (Some(options), _) => (kind.group, kind.version, options),
        (None, Some(sub)) => (sub.group, sub.version, sub.kind),
        (None, None) => (kind.group, kind.version, kind.kind),
    };
    json!({"group": shown.0, "version": shown.1, "kind": shown.2})
}

fn resource_of(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "resource": kind.plural})
}

/// The kind of the object of CONNECT.
pub(crate) fn connect_options(kind: &str, subresource: &str) -> Option<&'static str> {
    Some(match (kind, subresource) {
        ("Pod", "exec") => "PodExecOptions",
        ("Pod", "attach") => "PodAttachOptions",
        ("Pod", "portforward") => "PodPortForwardOptions",
        ("Pod", "proxy") => "PodProxyOptions",
        ("Node", "proxy") => "NodeProxyOptions",
        ("Service", "proxy") => "ServiceProxyOptions",
        _ => return None,
    })
}

fn user(review: &Review<'_>) -> Value {
    let user = review.user;
    let mut info = Map::new();
    info.insert("username".into(), user.name.as_str().into());
    if !user.uid.is_empty() {
        info.insert("uid".into(), user.uid.as_str().into());
    }
    if !user.groups.is_empty() {
        info.insert("groups".into(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        info.insert("extra".into(), json!(user.extra));
    }
    Value::Object(info)
}

fn options(review: &Review<'_>) -> Value {
    let kind = match review.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if review.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    options
}

/// An object in the version of `kind`; null stays null.
pub(super) fn shown(object: &Value, kind: &'static Kind) -> Value {
    let mut object = object.clone();
    if object.is_object() && crate::strategies::convert::many_versions(kind) {
        crate::strategies::convert::to_version(&mut object, kind);
    }
    object
}

/// An object of `kind` with a JSON patch applied, as decoding it would leave it, and its defaults.
pub(super) fn patched(patch: &[u8], object: &Value, kind: &'static Kind) -> Result<Value, String> {
    let expected = Expected { group: kind.group, version: kind.version, kind: kind.kind };
    let decoded = match crate::pipeline::body::spot(kind.schema) {
        Ok(spot) => apply(PatchType::Json, patch, object, spot, expected, FieldValidation::Ignore),
        Err(_) => apply(PatchType::Json, patch, object, (), expected, FieldValidation::Ignore),
    };
    let prefix = "the server rejected our request due to an error in our request: ";
    let decoded = decoded.map_err(|why| why.message.trim_start_matches(prefix).to_owned())?;
    let mut object = decoded.value;
    crate::strategies::rules::defaults(kind, &mut object);
    Ok(object)
}
