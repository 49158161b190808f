//! Versions of one kind: what is stored once and shown in several groups or versions.

use std::collections::HashMap;
use std::sync::LazyLock;

use sampan_api::kinds::{self, Kind, api_version};
use sampan_api::status::ApiError;
use sampan_api::strict::{Spot, conform};
use sampan_api::{defaults, meta};
use serde_json::{Value, json};

use crate::value::{at, object, remove, set, text};

static VERSIONS: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    kinds::all().iter().fold(HashMap::new(), |mut count, kind| {
        *count.entry(kind.storage_group).or_default() += 1;
        count
    })
});

/// Whether stored bytes may be of another version than `kind`'s.
pub fn many_versions(kind: &Kind) -> bool {
    kind.custom.is_some() || VERSIONS.get(kind.storage_group).is_some_and(|count| *count > 1)
}

/// Turns a stored object into `kind`'s version. Fails only for custom resources.
pub fn to_version(object: &mut Value, kind: &'static Kind) -> Result<(), ApiError> {
    if let Some(custom) = kind.custom {
        return crate::crd::to_version(object, kind, custom);
    }
    let wanted = kind.api_version();
    let found = text(object, &["apiVersion"]).to_owned();
    if found == wanted {
        return Ok(());
    }
    convert(object, &found, &wanted);
    set(object, &["apiVersion"], wanted);
    Ok(())
}

/// Turns an object of a built-in `kind`'s version into the stored one, without what storing it forgets.
pub fn to_storage(object: &mut Value, kind: &Kind) {
    let group = if kind.storage_group == "events" { "" } else { kind.group };
    let found = text(object, &["apiVersion"]).to_owned();
    let wanted = api_version(group, kind.storage_version);
    if !kind.storage_version.is_empty() && found != wanted && many_versions(kind) {
        convert(object, &found, &wanted);
        set(object, &["apiVersion"], wanted);
    }
    defaults::forget_empty(object, stored(kind).unwrap_or(kind).schema);
}

/// The stored version of a built-in kind.
fn stored(kind: &Kind) -> Option<&'static Kind> {
    let group = if kind.storage_group == "events" { "" } else { kind.group };
    kinds::by_kind(group, kind.storage_version, kind.kind)
}

/// As [`settle_stored`], of an object in the stored version of `kind`.
pub fn settle_as_stored(object: &mut Value, kind: &'static Kind) {
    settle_stored(object, stored(kind).unwrap_or(kind).schema);
}

/// Makes of an object that an earlier version may have stored what this one would: with what Go always says, without what
/// storing forgets. No change is to be seen in either.
pub fn settle_stored(object: &mut Value, schema: &str) {
    defaults::fill_object(object, schema);
    defaults::forget_empty(object, schema);
}

fn convert(object: &mut Value, from: &str, to: &str) {
    match (from, to) {
        ("v1", "events.k8s.io/v1") => rename(object, EVENT, false),
        ("events.k8s.io/v1", "v1") => rename(object, EVENT, true),
        ("autoscaling/v1", "autoscaling/v2") => scaler_up(object),
        ("autoscaling/v2", "autoscaling/v1") => scaler_down(object),
        // other versions differ in name only, for the fields that sampan knows
        _ => return,
    }
    settle(object, to);
}

/// What one version writes of a field that is not set another may leave out, and the other way round.
fn settle(object: &mut Value, api_version: &str) {
    let (group, version) = meta::group_version(api_version);
    let Some(kind) = kinds::by_kind(group, version, meta::kind(object)) else { return };
    if let Some(spot) = Spot::root(kind.schema) {
        // of the fields that are left each was one of the other version, which has been decoded
        let _ = conform(object, spot);
    }
    defaults::fill_object(object, kind.schema);
}

/// core/v1 Event's fields, and events.k8s.io/v1's names for them.
const EVENT: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(object: &mut Value, names: &[(&str, &str)], back: bool) {
    for (core, other) in names {
        let (from, to) = if back { (other, core) } else { (core, other) };
        if let Some(value) = remove(object, &[from]) {
            set(object, &[to], value);
        }
    }
}

fn scaler_up(scaler: &mut Value) {
    if let Some(percent) = remove(scaler, &["spec", "targetCPUUtilizationPercentage"]) {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        set(
            scaler,
            &["spec", "metrics"],
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
        );
    }
    if let Some(percent) = remove(scaler, &["status", "currentCPUUtilizationPercentage"]) {
        let current = json!({"averageUtilization": percent});
        set(
            scaler,
            &["status", "currentMetrics"],
            json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}]),
        );
    }
}

fn scaler_down(scaler: &mut Value) {
    let cpu = |list: &Value, path: &[&str]| {
        let found = crate::value::items(list).iter().find(|m| text(m, &["resource", "name"]) == "cpu");
        found.map(|m| at(m, path).clone()).filter(|v| !v.is_null())
    };
    if let Some(percent) =
        cpu(at(scaler, &["spec", "metrics"]), &["resource", "target", "averageUtilization"])
    {
        set(scaler, &["spec", "targetCPUUtilizationPercentage"], percent);
    }
    if let Some(percent) =
        cpu(at(scaler, &["status", "currentMetrics"]), &["resource", "current", "averageUtilization"])
    {
        set(scaler, &["status", "currentCPUUtilizationPercentage"], percent);
    }
    for field in ["metrics", "behavior"] {
        object(scaler, &["spec"]).shift_remove(field);
    }
    for field in ["currentMetrics", "conditions"] {
        object(scaler, &["status"]).shift_remove(field);
    }
}
