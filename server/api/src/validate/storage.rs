//! Volumes, claims and classes: `pkg/apis/core/validation` and `pkg/apis/storage/validation`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::access::*;
use super::{affinity, diff, iscsi, volume_sources};
use crate::defaults::same_field;
use crate::status::FieldError;
use crate::validation::{
    FIELD_IS_IMMUTABLE, is_dns1123_label, is_dns1123_subdomain, is_qualified_name, validate_label_selector,
};

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// The fields of a PersistentVolume's spec that say what it is made of; everything else is about it.
const NOT_SOURCES: &[&str] = &[
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];
const MOST_PARAMETERS: usize = 512;
const MOST_PARAMETER_BYTES: usize = 256 << 10;
const RESIZE_STATES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

pub(super) fn volume(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    if list(spec, "accessModes").is_empty() {
        errors.push(FieldError::required("spec.accessModes", ""));
    }
    access_modes(spec, "spec", errors);
    capacity(spec, errors);
    one_of(spec, "persistentVolumeReclaimPolicy", "spec", &["Delete", "Recycle", "Retain"], errors);
    let affine = get(spec, "nodeAffinity");
    if has(affine, "required") {
        affinity::node_selector(get(affine, "required"), "spec.nodeAffinity.required", errors);
    } else if !affine.is_null() {
        let why = "must specify required node constraints";
        errors.push(FieldError::required("spec.nodeAffinity.required", why));
    }
    sources(spec, text(get(object, "metadata"), "name"), errors);
    optional_text(spec, "storageClassName", "spec", is_dns1123_subdomain, errors);
    one_of(spec, "volumeMode", "spec", VOLUME_MODES, errors);
    if let Some(class) = get(spec, "volumeAttributesClassName").as_str() {
        let at = "spec.volumeAttributesClassName";
        match class {
            "" => errors.push(FieldError::required(at, "an empty string is disallowed")),
            class => invalid_each(errors, at, class, is_dns1123_subdomain(class)),
        }
        if !has(spec, "csi") {
            let why = "has to be specified when using volumeAttributesClassName";
            errors.push(FieldError::required("spec.csi", why));
        }
    }
}

fn access_modes(spec: &Value, at: &str, errors: &mut Errors) {
    let at = join(at, "accessModes");
    let modes = || list(spec, "accessModes").iter().map(|mode| mode.as_str().unwrap_or_default());
    for mode in modes().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(FieldError::not_supported(at.as_str(), mode, ACCESS_MODES));
    }
    let single = |mode: &str| mode == "ReadWriteOncePod";
    if modes().any(single) && modes().any(|mode| !single(mode) && ACCESS_MODES.contains(&mode)) {
        errors.push(FieldError::forbidden(at, "may not use ReadWriteOncePod with other access modes"));
    }
}

fn capacity(spec: &Value, errors: &mut Errors) {
    let given = get(spec, "capacity");
    if entries(spec, "capacity").next().is_none() {
        errors.push(FieldError::required("spec.capacity", ""));
    }
    if !has(given, "storage") || entries(spec, "capacity").count() > 1 {
        errors.push(FieldError::not_supported("spec.capacity", given.clone(), &["storage"]));
    }
    for (name, amount) in entries(spec, "capacity") {
        positive(amount, &format!("spec.capacity[{name}]"), errors);
    }
}

/// `validateBasicResource` and `ValidatePositiveQuantityValue`.
fn positive(amount: &Value, at: &str, errors: &mut Errors) {
    let Some(amount) = quantity(amount) else { return };
    if amount.sign() < 0 {
        errors.push(FieldError::invalid(at, amount.value(), "must be a valid resource quantity"));
    }
    if amount.sign() <= 0 {
        errors.push(FieldError::invalid(at, amount.to_string(), "must be greater than zero"));
    }
}

/// The names of what a volume is made of: one, if all is well.
fn source_kinds(spec: &Value) -> Vec<&String> {
    let all = spec.as_object().into_iter().flatten();
    all.filter(|(key, value)| !NOT_SOURCES.contains(&key.as_str()) && !value.is_null())
        .map(|(key, _)| key)
        .collect()
}

fn sources(spec: &Value, name: &str, errors: &mut Errors) {
    let kinds = source_kinds(spec);
    let Some((first, rest)) = kinds.split_first() else {
        errors.push(FieldError::required("spec", "must specify a volume type"));
        return;
    };
    source(first, spec, name, errors);
    for kind in rest {
        errors.push(FieldError::forbidden(join("spec", kind), "may not specify more than 1 volume type"));
    }
    let path = text(get(spec, "hostPath"), "path");
    let root = !path.is_empty() && path.split('/').all(|part| part.is_empty() || part == ".");
    if root && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden("spec.persistentVolumeReclaimPolicy", why));
    }
}

fn source(kind: &str, spec: &Value, name: &str, errors: &mut Errors) {
    let (value, at) = (get(spec, kind), join("spec", kind));
    match kind {
        "local" => {
            let path = text(value, "path");
            match path {
                "" => errors.push(FieldError::required(join(&at, "path"), "")),
                path if path.split('/').any(|part| part == "..") => {
                    errors.push(FieldError::invalid(join(&at, "path"), path, "must not contain '..'"));
                }
                _ => {}
            }
            if !has(spec, "nodeAffinity") {
                let why = "Local volume requires node affinity";
                errors.push(FieldError::required("spec.nodeAffinity", why));
            }
        }
        "csi" => driver(value, &at, errors),
        "iscsi" => iscsi::persistent(value, name, &at, errors),
        _ => {
            volume_sources::source(kind, value, &at, errors);
            elsewhere(kind, value, &at, errors);
        }
    }
}

/// `validateCSIPersistentVolumeSource`.
fn driver(source: &Value, at: &str, errors: &mut Errors) {
    volume_sources::csi_driver(text(source, "driver"), &join(at, "driver"), errors);
    required_text(source, "volumeHandle", at, any_text, errors);
    for key in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let (reference, at) = (get(source, key), join(at, key));
        if !reference.is_null() {
            required_text(reference, "name", &at, is_dns1123_subdomain, errors);
            required_text(reference, "namespace", &at, is_dns1123_label, errors);
        }
    }
}

/// What a source beside those of pods says of namespaces, since a volume has none.
fn elsewhere(kind: &str, source: &Value, at: &str, errors: &mut Errors) {
    let secret = get(source, "secretRef");
    match kind {
        "cinder" | "storageos" if !secret.is_null() && text(secret, "namespace").is_empty() => {
            errors.push(FieldError::required(join(at, "secretRef.namespace"), ""));
        }
        "azureFile" if get(source, "secretNamespace").as_str() == Some("") => {
            errors.push(FieldError::required(join(at, "secretNamespace"), ""));
        }
        "glusterfs" => match get(source, "endpointsNamespace").as_str() {
            None => {}
            Some("") => {
                let why = "if the endpointnamespace is set, it must be a valid namespace name";
                errors.push(FieldError::invalid(join(at, "endpointsNamespace"), "", why));
            }
            Some(name) => {
                invalid_each(errors, &join(at, "endpointsNamespace"), name, is_dns1123_label(name));
            }
        },
        _ => {}
    }
}

pub(super) fn volume_update(new: &Value, old: &Value, errors: &mut Errors) {
    let (after, before) = (get(new, "spec"), get(old, "spec"));
    let of = |spec: &Value| -> Map<String, Value> {
        source_kinds(spec).into_iter().map(|kind| (kind.clone(), get(spec, kind).clone())).collect()
    };
    let (mut source, was) = (of(after), of(before));
    // a secret for growing may be named later
    let secret = "controllerExpandSecretRef";
    if let (Some(Value::Object(now)), Some(then)) = (source.get_mut("csi"), was.get("csi"))
        && !has(then, secret)
    {
        now.shift_remove(secret);
    }
    let differences = diff::lines(&source.into(), &was.into(), "spec");
    if !differences.is_empty() {
        let why = format!("spec.persistentvolumesource is immutable after creation\n{differences}");
        errors.push(FieldError::forbidden("spec.persistentvolumesource", why));
    }
    same(after, before, "volumeMode", errors);
    if has(before, "nodeAffinity")
        && !same_field("io.k8s.api.core.v1.PersistentVolumeSpec", "nodeAffinity", after, before)
        && !same_nodes(get(after, "nodeAffinity"), get(before, "nodeAffinity"), "")
    {
        let why = format!("{FIELD_IS_IMMUTABLE}, except for updating from beta label to GA");
        errors.push(FieldError::invalid("nodeAffinity", get(after, "nodeAffinity").clone(), why));
    }
    if has(before, "volumeAttributesClassName") && !has(after, "volumeAttributesClassName") {
        let why = "update from non-nil value to nil is forbidden";
        errors.push(FieldError::forbidden("spec.volumeAttributesClassName", why));
    }
}

/// Upstream names this field without its place.
/// Whether both say the same, but for labels that have left their beta name: `validatePvNodeAffinity`.
fn same_nodes(after: &Value, before: &Value, key: &str) -> bool {
    let renamed = |name: &str| match name {
        "failure-domain.beta.kubernetes.io/zone" => Some("topology.kubernetes.io/zone"),
        "failure-domain.beta.kubernetes.io/region" => Some("topology.kubernetes.io/region"),
        "beta.kubernetes.io/os" => Some("kubernetes.io/os"),
        "beta.kubernetes.io/arch" => Some("kubernetes.io/arch"),
        "beta.kubernetes.io/instance-type" => Some("node.kubernetes.io/instance-type"),
        _ => None,
    };
    match (after, before) {
        (Value::Array(after), Value::Array(before)) => {
            after.len() == before.len() && after.iter().zip(before).all(|(a, b)| same_nodes(a, b, key))
        }
        (Value::Object(now), Value::Object(then)) => {
            now.len() == then.len() && now.iter().all(|(key, value)| same_nodes(value, get(before, key), key))
        }
        (Value::String(now), Value::String(then)) if key == "key" => {
            now == then || renamed(then) == Some(now.as_str())
        }
        _ => after == before,
    }
}

fn same(after: &Value, before: &Value, key: &str, errors: &mut Errors) {
    if get(after, key) != get(before, key) {
        errors.push(FieldError::invalid(key, get(after, key).clone(), FIELD_IS_IMMUTABLE));
    }
}

/// `ValidatePersistentVolumeClaimSpec`, of a claim or a template of one at `at`.
pub(super) fn claim(spec: &Value, errors: &mut Errors) {
    claim_at(spec, "spec", errors);
}

/// `ValidatePersistentVolumeClaimSpec` of the spec at `at`.
pub(super) fn claim_at(spec: &Value, at: &str, errors: &mut Errors) {
    if list(spec, "accessModes").is_empty() {
        errors.push(FieldError::required(join(at, "accessModes"), "at least 1 access mode is required"));
    }
    if has(spec, "selector") {
        errors.extend(validate_label_selector(get(spec, "selector"), &join(at, "selector")));
    }
    access_modes(spec, at, errors);
    let (requests, field) = (get(get(spec, "resources"), "requests"), format!("{at}.resources[storage]"));
    match get(requests, "storage") {
        Value::Null => errors.push(FieldError::required(field, "")),
        amount => match quantity(amount).filter(|amount| amount.sign() <= 0) {
            None => {}
            Some(amount) => {
                errors.push(FieldError::invalid(field, amount.to_string(), "must be greater than zero"));
            }
        },
    }
    for key in ["storageClassName", "volumeAttributesClassName"] {
        optional_text(spec, key, at, is_dns1123_subdomain, errors);
    }
    one_of(spec, "volumeMode", at, VOLUME_MODES, errors);
    for key in ["dataSource", "dataSourceRef"] {
        if has(spec, key) {
            data_source(get(spec, key), &join(at, key), errors);
        }
    }
    same_data_source(get(spec, "dataSource"), get(spec, "dataSourceRef"), at, errors);
}

fn data_source(source: &Value, at: &str, errors: &mut Errors) {
    required_text(source, "name", at, any_text, errors);
    required_text(source, "kind", at, any_text, errors);
    let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid(at, kind, why));
    }
    optional_text(source, "apiGroup", at, is_dns1123_subdomain, errors);
    optional_text(source, "namespace", at, is_dns1123_label, errors);
}

/// `NormalizeDataSources`: the older field and the newer one of a claim's spec say the same, unless both are there or the older
/// one cannot say it.
pub fn fill_data_sources(spec: &mut Value) {
    let (source, reference) = (get(spec, "dataSource"), get(spec, "dataSourceRef"));
    let (field, from) = match (source.is_null(), reference.is_null()) {
        (false, true) => ("dataSourceRef", source),
        (true, false) if text(reference, "namespace").is_empty() => ("dataSource", reference),
        _ => return,
    };
    let said = ["apiGroup", "kind", "name"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), from.get(key)?.clone())));
    spec[field] = Value::Object(said.collect());
}

fn same_data_source(source: &Value, reference: &Value, at: &str, errors: &mut Errors) {
    if source.is_null() || reference.is_null() {
        return;
    }
    let differs = ["apiGroup", "kind", "name"].iter().any(|key| get(source, key) != get(reference, key));
    let why = match () {
        () if !text(reference, "namespace").is_empty() => {
            "may not be specified when dataSourceRef.namespace is specified"
        }
        () if differs => "must match dataSourceRef",
        () => return,
    };
    errors.push(FieldError::invalid(at, join(at, "dataSource"), why));
}

pub(super) fn claim_update(new: &Value, old: &Value, errors: &mut Errors) {
    // as a server has left it that did not fill in the other field
    let mut before = get(old, "spec").clone();
    fill_data_sources(&mut before);
    let (after, before) = (get(new, "spec"), &before);
    let mut allowed = after.clone();
    let bound = text(get(new, "status"), "phase") == "Bound";
    allow_once(&mut allowed, new, old, errors);
    if bound {
        let path = "/resources/requests/storage";
        if let (Some(now), Some(then)) = (allowed.pointer_mut(path), before.pointer(path)) {
            *now = then.clone();
        }
        match before.get("volumeAttributesClassName") {
            Some(class) => allowed["volumeAttributesClassName"] = class.clone(),
            None => remove(&mut allowed, "volumeAttributesClassName"),
        }
    }
    let differences = diff::lines(&allowed, before, "spec");
    if !differences.is_empty() {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden("spec", format!("{why}\n{differences}")));
    }
    shrinking(new, old, errors);
    same(after, before, "volumeMode", errors);
    let class = "volumeAttributesClassName";
    let applied = has(get(old, "status"), "currentVolumeAttributesClassName");
    if applied && get(before, class) != get(after, class) {
        let to = match get(after, class).as_str() {
            None => "nil",
            Some("") => "empty string",
            Some(_) => return,
        };
        let why =
            format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil");
        errors.push(FieldError::forbidden(join("spec", class), why));
    }
}

fn remove(spec: &mut Value, key: &str) {
    if let Some(spec) = spec.as_object_mut() {
        spec.shift_remove(key);
    }
}

/// A volume and a class may come where there was none; the annotation that came before the field stays.
fn allow_once(allowed: &mut Value, new: &Value, old: &Value, errors: &mut Errors) {
    let (after, before) = (get(new, "spec"), get(old, "spec"));
    if text(before, "volumeName").is_empty() {
        match before.get("volumeName") {
            Some(was) => allowed["volumeName"] = was.clone(),
            None => remove(allowed, "volumeName"),
        }
    }
    let annotation = |claim| get(get(get(claim, "metadata"), "annotations"), BETA_CLASS).as_str();
    let (now, then) = (annotation(new), annotation(old));
    let comes = get(before, "storageClassName").is_null() && has(after, "storageClassName");
    let fits = then.is_none_or(|class| class == text(after, "storageClassName"));
    if comes && fits {
        remove(allowed, "storageClassName");
    }
    let upgraded = comes && fits && then.is_some() && now.is_none_or(|now| Some(now) == then);
    if !upgraded && now.unwrap_or_default() != then.unwrap_or_default() {
        let at = join("metadata.annotations", BETA_CLASS);
        errors.push(FieldError::invalid(at, now.unwrap_or_default(), FIELD_IS_IMMUTABLE));
    }
}

/// A request may be taken back as far as the volume has not grown to it.
fn shrinking(new: &Value, old: &Value, errors: &mut Errors) {
    let size = |claim| quantity(get(get(get(get(claim, "spec"), "resources"), "requests"), "storage"));
    let (Some(after), Some(before)) = (size(new), size(old)) else { return };
    if after.nanos().cmp(&before.nanos()) != Ordering::Less {
        return;
    }
    let has = quantity(get(get(get(old, "status"), "capacity"), "storage"));
    if after.nanos() <= has.map_or(0, |has| has.nanos()) {
        let why = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden("spec.resources.requests.storage", why));
    }
}

/// `ValidatePersistentVolumeClaimStatusUpdate`.
pub(super) fn claim_status(new: &Value, errors: &mut Errors) {
    if list(get(new, "spec"), "accessModes").is_empty() {
        errors.push(FieldError::required("Spec.accessModes", ""));
    }
    let status = get(new, "status");
    for key in ["capacity", "allocatedResources"] {
        for (name, amount) in entries(status, key) {
            if let Some(amount) = quantity(amount).filter(|amount| amount.sign() < 0) {
                let at = format!("status.{key}[{name}]");
                errors.push(FieldError::invalid(at, amount.value(), "must be a valid resource quantity"));
            }
        }
    }
    let at = "status.allocatedResourceStatus";
    for (name, state) in entries(status, "allocatedResourceStatuses") {
        invalid_each(errors, at, name, is_qualified_name(name));
        if !state.as_str().is_some_and(|state| RESIZE_STATES.contains(&state)) {
            errors.push(FieldError::not_supported(at, name.as_str(), RESIZE_STATES));
        }
    }
}

pub(super) fn class(object: &Value, errors: &mut Errors) {
    driver_name(text(object, "provisioner"), "provisioner", errors);
    parameters(object, errors);
    required_one_of(object, "reclaimPolicy", "", &["Delete", "Retain"], errors);
    required_one_of(object, "volumeBindingMode", "", &["Immediate", "WaitForFirstConsumer"], errors);
    topologies(object, errors);
}

/// `validateProvisioner`.
pub(super) fn driver_name(name: &str, at: &str, errors: &mut Errors) {
    match name {
        "" => errors.push(FieldError::required(at, "")),
        name => invalid_each(errors, at, name, is_qualified_name(&name.to_lowercase())),
    }
}

pub(super) fn parameters(object: &Value, errors: &mut Errors) {
    let count = entries(object, "parameters").count();
    if count > MOST_PARAMETERS {
        errors.push(FieldError::too_long("parameters", MOST_PARAMETERS));
        return;
    }
    if entries(object, "parameters").any(|(key, _)| key.is_empty()) {
        errors.push(FieldError::invalid("parameters", "", "field can not be empty."));
    }
    let bytes = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if entries(object, "parameters").map(bytes).sum::<usize>() > MOST_PARAMETER_BYTES {
        errors.push(FieldError::too_long("parameters", MOST_PARAMETER_BYTES));
    }
}

fn topologies(object: &Value, errors: &mut Errors) {
    let mut terms: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (at, term) in each(object, "allowedTopologies", "") {
        let mut own = BTreeMap::new();
        for (at, expression) in each(term, "matchLabelExpressions", &at) {
            let key = text(expression, "key");
            invalid_each(errors, &join(&at, "key"), key, is_qualified_name(key));
            let values = list(expression, "values").iter().filter_map(Value::as_str).collect();
            if own.insert(key, values).is_some() {
                errors.push(FieldError::duplicate(join(&at, "key"), key));
            }
            if list(expression, "values").is_empty() {
                errors.push(FieldError::required(join(&at, "values"), ""));
            }
            let mut seen = Vec::new();
            for (at, value) in each(expression, "values", &at) {
                if seen.contains(&value) {
                    errors.push(FieldError::duplicate(at, value.clone()));
                }
                seen.push(value);
            }
        }
        // a term that says nothing is one too many
        if own.is_empty() || terms.contains(&own) {
            errors.push(FieldError::duplicate(join(&at, "matchLabelExpressions"), ""));
        }
        terms.push(own);
    }
}

pub(super) fn class_update(new: &Value, old: &Value, errors: &mut Errors) {
    for key in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        immutable_in("api.storage.v1.StorageClass", new, old, key, "", errors);
    }
}
