//! What drivers offer: ResourceSlices, of `pkg/apis/resource/validation`, in the shape of `v1`. How capacities are shared
//! out is not asked.

use serde_json::Value;

use super::access::*;
use super::affinity;
use super::devices::{by_name, few, pool_name, qualified, unique};
use super::volume_sources::csi_driver;
use crate::status::FieldError;
use crate::validation::{is_dns1123_label, is_dns1123_subdomain};

const MOST_DEVICES: usize = 128;
/// Where devices have taints, counters or lists of values.
const MOST_ADVANCED: usize = 64;
const MOST_SETS: usize = 8;
const MOST_COUNTERS: usize = 32;
const MOST_CONSUMPTIONS: usize = 2;
const MOST_ATTRIBUTES: usize = 32;
const MOST_TAINTS: usize = 16;
const MOST_KEY: usize = 63 + 1 + 32;
const MOST_TEXT: usize = 64;
const KINDS: [&str; 8] = ["bool", "int", "string", "version", "bools", "ints", "strings", "versions"];

/// `validateResourceSliceSpec`.
pub(super) fn slice(object: &Value, errors: &mut Errors) {
    let (spec, at) = (get(object, "spec"), "spec");
    csi_driver(text(spec, "driver"), "spec.driver", errors);
    let pool = get(spec, "pool");
    pool_name(text(pool, "name"), "spec.pool.name", errors);
    let slices = int(pool, "resourceSliceCount").unwrap_or(0);
    if slices <= 0 {
        errors.push(FieldError::invalid("spec.pool.resourceSliceCount", slices, "must be greater than zero"));
    }
    if let Some(generation) = int(pool, "generation").filter(|generation| *generation < 0) {
        let why = "must be greater than or equal to zero";
        errors.push(FieldError::invalid("spec.pool.generation", generation, why));
    }
    nodes(spec, at, errors);
    if has(spec, "sharedCounters") && has(spec, "devices") {
        let why = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid(at, "", why));
    }
    let advanced = list(spec, "devices").iter().any(|device| {
        let lists = |(_, value): (&String, &Value)| KINDS[4..].iter().any(|kind| has(value, kind));
        ["taints", "consumesCounters"].iter().any(|key| !list(device, key).is_empty())
            || entries(device, "attributes").any(lists)
    });
    let most = if advanced { MOST_ADVANCED } else { MOST_DEVICES };
    let devices = few(spec, "devices", most, at, errors);
    let each_its_own = is_true(spec, "perDeviceNodeSelection");
    for (at, device) in &devices {
        self::device(device, each_its_own, at, errors);
    }
    unique(&devices, by_name, errors);
    let sets = few(spec, "sharedCounters", MOST_SETS, at, errors);
    for (at, set) in &sets {
        required_text(set, "name", at, is_dns1123_label, errors);
        counters(set, at, errors);
    }
    unique(&sets, by_name, errors);
}

/// Exactly one way to say whose the devices are.
fn nodes(spec: &Value, at: &str, errors: &mut Errors) {
    const WHY: &str =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut set = Vec::new();
    match get(spec, "nodeName").as_str() {
        None => {}
        Some("") => {
            let why = "must be either unset or set to a non-empty string";
            errors.push(FieldError::invalid("spec.nodeName", "", why));
        }
        Some(name) => {
            set.push("`nodeName`");
            invalid_each(errors, "spec.nodeName", name, is_dns1123_subdomain(name));
        }
    }
    if has(spec, "nodeSelector") {
        set.push("`nodeSelector`");
        let (selector, at) = (get(spec, "nodeSelector"), "spec.nodeSelector");
        affinity::node_selector(selector, at, errors);
        if list(selector, "nodeSelectorTerms").len() != 1 {
            let shown = get(selector, "nodeSelectorTerms").clone();
            let why = "must have exactly one node selector term";
            errors.push(FieldError::invalid(join(at, "nodeSelectorTerms"), shown, why));
        }
    }
    for (key, name) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match get(spec, key).as_bool() {
            None => {}
            Some(true) => set.push(name),
            Some(false) => {
                let why = "must be either unset or set to true";
                errors.push(FieldError::invalid(join(at, key), false, why));
            }
        }
    }
    match set.len() {
        0 => errors.push(FieldError::required(at, WHY)),
        1 => {}
        _ => {
            let why = format!("{WHY}, but multiple fields are set");
            errors.push(FieldError::invalid(at, format!("{{{}}}", set.join(", ")), why));
        }
    }
}

fn counters(holder: &Value, at: &str, errors: &mut Errors) {
    let (count, at) = (entries(holder, "counters").count(), join(at, "counters"));
    match count {
        0 => errors.push(FieldError::required(at, "")),
        1..=MOST_COUNTERS => {
            for (name, _) in entries(holder, "counters") {
                invalid_each(errors, &at, name, is_dns1123_label(name));
            }
        }
        _ => errors.push(FieldError::too_many(at, count, MOST_COUNTERS)),
    }
}

fn device(device: &Value, each_its_own: bool, at: &str, errors: &mut Errors) {
    let name = text(device, "name");
    invalid_each(errors, &join(at, "name"), name, is_dns1123_label(name));
    let count = entries(device, "attributes").chain(entries(device, "capacity")).count();
    if count > MOST_ATTRIBUTES {
        let why = format!("the total number of attributes and capacities must not exceed {MOST_ATTRIBUTES}");
        errors.push(FieldError::invalid(at, count, why));
    }
    for (key, value) in entries(device, "attributes") {
        let all = join(at, "attributes");
        qualified(key, &all, errors);
        if key.len() <= MOST_KEY {
            attribute(value, &format!("{all}[{key}]"), errors);
        }
    }
    for (key, _) in entries(device, "capacity") {
        qualified(key, &join(at, "capacity"), errors);
    }
    for (at, taint) in few(device, "taints", MOST_TAINTS, at, errors) {
        super::devices::taint(taint, &at, errors);
    }
    let consumed = few(device, "consumesCounters", MOST_CONSUMPTIONS, at, errors);
    for (at, consumption) in &consumed {
        required_text(consumption, "counterSet", at, is_dns1123_label, errors);
        counters(consumption, at, errors);
    }
    unique(&consumed, |one| text(one, "counterSet").into(), errors);
    let of_nodes = ["nodeName", "nodeSelector", "allNodes"];
    if !each_its_own && of_nodes.iter().any(|key| has(device, key)) {
        let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        errors.push(FieldError::invalid(at, Value::Null, why));
    }
}

/// `validateDeviceAttribute`: one value, or a list of one kind.
fn attribute(attribute: &Value, at: &str, errors: &mut Errors) {
    for key in ["string", "version"] {
        if text(attribute, key).len() > MOST_TEXT {
            errors.push(FieldError::too_long(join(at, key), MOST_TEXT));
        }
    }
    if KINDS.iter().filter(|kind| has(attribute, kind)).count() != 1 {
        let none = KINDS.iter().all(|kind| !has(attribute, kind));
        let shown = if none { Value::from("") } else { attribute.clone() };
        errors.push(FieldError::invalid(at, shown, "exactly one value must be specified"));
    }
}
