//! `admission.k8s.io` `AdmissionRequest`: what webhooks and expressions are told of a write.

use sampan_api::go::Quote as _;
use sampan_api::kinds::Kind;
use sampan_api::patch::{PatchType, apply};
use sampan_api::strict::{Expected, FieldValidation};
use serde_json::{Map, Value, json};

use super::matching::{name, operation, subresource};
use crate::pipeline::scale::scale_of;
use crate::registry::{Operation, Review};
use crate::strategies::convert::{many_versions, to_version};
use crate::value::{at, keep, meta, set, text};

/// The request, without the objects, as seen by a configuration for `kind`'s version.
pub(super) fn describe(review: &Review<'_>, kind: &Kind, object: &Value) -> Value {
    let mut request = Map::new();
    let asked = review.kind;
    request.insert("kind".into(), kind_of(kind, review));
    request.insert("resource".into(), resource_of(kind));
    request.insert("requestKind".into(), kind_of(asked, review));
    request.insert("requestResource".into(), resource_of(asked));
    let subresource = subresource(review);
    if !subresource.is_empty() {
        request.insert("subResource".into(), subresource.into());
        request.insert("requestSubResource".into(), subresource.into());
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
    let shown = match (connect, kind.subresource(subresource(review))) {
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
    for (field, value) in review.said {
        options[field] = value.clone();
    }
    options
}

/// The object as the request is for it: in the version of `kind`, or what its scale is; null stays null. Errors are of the
/// conversion.
pub(super) async fn shown(review: &Review<'_>, object: &Value, kind: &'static Kind) -> Result<Value, String> {
    match review.notes.view() == "scale" && object.is_object() {
        true => Ok(scale_of(kind, object)),
        false => in_version(review, object.clone(), kind).await,
    }
}

/// `object` with what has changed of what was [`shown`] of it. Errors are of the conversion.
pub(super) async fn restored(review: &Review<'_>, changed: Value, object: &Value) -> Result<Value, String> {
    if review.notes.view() == "scale" {
        let mut whole = object.clone();
        set(&mut whole, &["spec", "replicas"], at(&changed, &["spec", "replicas"]).as_i64().unwrap_or(0));
        return Ok(whole);
    }
    in_version(review, changed, review.kind).await
}

async fn in_version(review: &Review<'_>, mut object: Value, kind: &'static Kind) -> Result<Value, String> {
    let wanted = kind.api_version();
    if !object.is_object() || !many_versions(kind) || at(&object, &["apiVersion"]) == wanted.as_str() {
        return Ok(object);
    }
    let Some(version) = kind.custom.and_then(|custom| custom.version()) else {
        to_version(&mut object, kind).map_err(|error| error.message)?;
        return Ok(object);
    };
    let memo = &review.notes.conversions;
    let converted = memo.convert(review.converter, review.store, &version, object, &wanted).await;
    converted.map_err(|error| error.message)
}

/// An object of `kind` with a JSON patch applied, as decoding it would leave it, and its defaults.
pub(super) fn patched(patch: &[u8], object: &Value, kind: &'static Kind) -> Result<Value, String> {
    // what is created below an object, and the options of CONNECT, are of another kind
    let own = text(object, &["kind"]);
    let expected = Expected { group: kind.group, version: kind.version, kind: own };
    let decoded = match crate::pipeline::body::spot(kind.schema) {
        Ok(spot) if own == kind.kind => {
            apply(PatchType::Json, patch, object, spot, expected, FieldValidation::Ignore)
        }
        _ => apply(PatchType::Json, patch, object, (), expected, FieldValidation::Ignore),
    };
    let prefix = "the server rejected our request due to an error in our request: ";
    let decoded = decoded.map_err(|why| why.message.trim_start_matches(prefix).to_owned())?;
    settled(decoded.value, object, kind)
}

/// What only the system writes, and what the object is known by.
const SYSTEM: [&str; 7] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
    "selfLink",
];

/// A changed object with its defaults, still known by what it was.
pub(super) fn settled(mut new: Value, old: &Value, kind: &'static Kind) -> Result<Value, String> {
    if old.get("metadata").is_some() {
        for field in SYSTEM {
            keep(&mut new, old, &["metadata", field]);
        }
        let other = ["name", "namespace"].into_iter().find(|field| meta(&new, field) != meta(old, field));
        if let Some(field) = other {
            let value = meta(&new, field);
            return Err(format!("metadata.{field}: Invalid value: {}: field is immutable", value.quoted()));
        }
    }
    if text(&new, &["kind"]) == kind.kind {
        crate::strategies::rules::defaults(kind, &mut new);
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use sampan_api::kinds;

    use super::*;

    #[test]
    fn a_patch_changes_what_is_not_the_systems() {
        let kind = kinds::by_kind("", "v1", "ConfigMap").expect("a kind");
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "n", "uid": "u"}});
        let of = |patch: Value| patched(patch.to_string().as_bytes(), &object, kind);
        let changed = of(
            json!([{"op": "replace", "path": "/metadata/uid", "value": "v"}, {"op": "add", "path": "/data", "value": {"a": "b"}}]),
        );
        let mut expected = object.clone();
        expected["data"] = json!({"a": "b"});
        assert_eq!(changed, Ok(expected));
        let renamed = of(json!([{"op": "replace", "path": "/metadata/name", "value": "b"}]));
        assert_eq!(renamed, Err("metadata.name: Invalid value: \"b\": field is immutable".into()));
        assert!(of(json!([{"op": "remove", "path": "/nope"}])).is_err());
    }
}
