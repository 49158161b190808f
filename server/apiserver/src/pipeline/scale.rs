//! `/scale`: the autoscaling/v1 view of what has replicas.

use sampan_api::go::Quote as _;
use sampan_api::kinds::Kind;
use sampan_api::selector::Selector;
use sampan_api::status::{ApiError, FieldError};
use sampan_api::strict::Expected;
use serde_json::{Value, json};

use super::negotiate::Offer;
use super::resource::{Answer, decode_as, not_allowed, patch_type_of};
use super::{Context, shape};
use crate::ApiServer;
use crate::registry::manage::{Applied, ToScale, rescale};
use crate::registry::patch::{Patch, check_name, patched};
use crate::registry::{Call, Target, WriteOptions};
use crate::value::{at, items, meta, remove, set};

const EXPECTED: Expected<'_> = Expected { group: "autoscaling", version: "v1", kind: "Scale" };
const SCHEMA: &str = "io.k8s.api.autoscaling.v1.Scale";

/// What the client sent.
enum Wanted<'a> {
    Whole(Value),
    Patch(Patch<'a>),
    Applied(Value),
}

impl ApiServer {
    pub(super) async fn scale(&self, context: &Context, target: &Target) -> Answer {
        let format = context.format(Offer::SHAPES)?;
        if context.info.verb == "get" {
            let entry = self.registry().entry(target)?;
            let object = self.registry().decoded(&entry, target.kind).await?;
            let scale = checked_scale(target.kind, &object)?;
            return shape::scale(target.kind, &scale, format, context);
        }
        let apply = super::apply::is_apply(context);
        let options = match context.info.verb.as_str() {
            "update" => WriteOptions::parse(&context.query, "UpdateOptions")?,
            "patch" => WriteOptions::parse_patch(&context.query, apply)?,
            _ => return Err(not_allowed()),
        };
        // who wrote is found out here, in terms of the Scale: the write to the object behind it is not followed
        let call = Call { through: "scale", ..Call::new(&context.user, options) };
        let wanted = match context.info.verb.as_str() {
            "update" => Wanted::Whole(decode_as(context, SCHEMA, EXPECTED, &call)?),
            _ if apply => Wanted::Applied(super::apply::config(context, &call)?),
            _ => Wanted::Patch(Patch {
                kind: patch_type_of(context, target.kind)?,
                body: &context.body,
                mode: options.field_validation,
            }),
        };
        let (manager, force) = (context.manager(), context.query.flag("force"));
        let whole = Target { subresource: String::new(), ..target.clone() };
        let written = self.registry().modify(&call, &whole, |old| {
            let shown = scale_of(target.kind, old);
            let write = match &wanted {
                Wanted::Whole(scale) => ToScale::Changed(scale.clone(), Some(&manager)),
                Wanted::Patch(patch) => {
                    ToScale::Changed(patched(*patch, &shown, SCHEMA, EXPECTED)?.0, Some(&manager))
                }
                Wanted::Applied(config) => ToScale::Applied(Applied { config, manager: &manager, force }),
            };
            let (scale, fields) = rescale(target.kind, old, &shown, write)?;
            check_name(target, &scale)?;
            let mut new = rescaled(target, old, &scale)?;
            set(&mut new, &["metadata", "managedFields"], fields.unwrap_or(Value::Null));
            Ok(new)
        });
        let written = written.await?;
        let object: Value = serde_json::from_slice(&written.json).map_err(ApiError::internal)?;
        shape::scale(target.kind, &scale_of(target.kind, &object), format, context)
    }
}

/// The object with the replicas that `scale` wants.
fn rescaled(target: &Target, old: &Value, scale: &Value) -> Result<Value, ApiError> {
    let replicas = at(scale, &["spec", "replicas"]).as_i64().unwrap_or(0);
    if replicas < 0 {
        let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(ApiError::invalid("autoscaling", "Scale", &target.name, vec![error]));
    }
    let mut new = old.clone();
    match custom_scale(target.kind) {
        Some(paths) => set(&mut new, &steps(&paths.spec_replicas_path), replicas),
        None => set(&mut new, &["spec", "replicas"], replicas),
    }
    match meta(scale, "resourceVersion") {
        "" => drop(remove(&mut new, &["metadata", "resourceVersion"])),
        revision => set(&mut new, &["metadata", "resourceVersion"], revision),
    }
    if !meta(scale, "uid").is_empty() {
        set(&mut new, &["metadata", "uid"], meta(scale, "uid"));
    }
    Ok(new)
}

/// Where a custom resource has its replicas.
fn custom_scale(kind: &Kind) -> Option<sampan_api::crd::Scale> {
    kind.custom?.version()?.about().scale().cloned()
}

/// `.spec.replicas` as names.
fn steps(path: &str) -> Vec<&str> {
    path.split('.').filter(|step| !step.is_empty()).collect()
}

/// [`scale_of`], of an object that has replicas.
fn checked_scale(kind: &Kind, object: &Value) -> Result<Value, ApiError> {
    if let Some(paths) = custom_scale(kind) {
        let path = &paths.spec_replicas_path;
        if at(object, &steps(path)).is_null() {
            return Err(ApiError::internal(format!(
                "the spec replicas field {} does not exist",
                path.quoted()
            )));
        }
    }
    Ok(scale_of(kind, object))
}

/// The scale of an object.
pub(crate) fn scale_of(kind: &Kind, object: &Value) -> Value {
    if let Some(paths) = custom_scale(kind) {
        let count = |path: &str| at(object, &steps(path)).as_i64().unwrap_or(0);
        let selector = paths.label_selector_path.as_deref().map(|path| at(object, &steps(path)));
        let selector = selector.and_then(Value::as_str).unwrap_or_default().to_owned();
        let replicas = (count(&paths.spec_replicas_path), count(&paths.status_replicas_path));
        return scale_json(object, replicas.0, replicas.1, selector);
    }
    let selector = match (kind.kind, at(object, &["spec", "selector"])) {
        (_, Value::Null) => String::new(),
        ("ReplicationController", Value::Object(labels)) => Selector::from_map(labels).to_string(),
        // FormatLabelSelector prints plain labels as equalities
        (_, selector) if items(at(selector, &["matchExpressions"])).is_empty() => {
            at(selector, &["matchLabels"])
                .as_object()
                .map(|labels| Selector::from_map(labels).to_string())
                .unwrap_or_default()
        }
        (_, selector) => Selector::from_object(Some(selector)).map(|s| s.to_string()).unwrap_or_default(),
    };
    let wanted = at(object, &["spec", "replicas"]).as_i64().unwrap_or(1);
    let has = at(object, &["status", "replicas"]).as_i64().unwrap_or(0);
    scale_json(object, wanted, has, selector)
}

fn scale_json(object: &Value, replicas: i64, has: i64, selector: String) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        // objects without a namespace have none
        if !meta(object, field).is_empty() {
            set(&mut metadata, &[field], meta(object, field));
        }
    }
    let mut spec = json!({});
    if replicas != 0 {
        set(&mut spec, &["replicas"], replicas);
    }
    let mut status = json!({"replicas": has});
    if !selector.is_empty() {
        set(&mut status, &["selector"], selector);
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}
