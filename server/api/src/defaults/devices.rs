//! Dynamic resource allocation: how many devices a request is for, what a taint is tolerated by, since when it is there.

use serde_json::json;

use super::{Object, child, items, set, set_pointer, text};

pub(super) fn apply(kind: &str, object: &mut Object) {
    let Some(spec) = child(object, "spec") else { return };
    match kind {
        "ResourceClaim" => claim(spec),
        "ResourceClaimTemplate" => {
            if let Some(spec) = child(spec, "spec") {
                claim(spec);
            }
        }
        "ResourceSlice" => items(spec, "devices").for_each(|device| {
            items(device, "taints").for_each(taint);
            // v1beta1 has all of it one level down
            if let Some(basic) = child(device, "basic") {
                items(basic, "taints").for_each(taint);
            }
        }),
        "DeviceTaintRule" => {
            if let Some(own) = child(spec, "taint") {
                taint(own);
            }
        }
        _ => {}
    }
}

fn claim(spec: &mut Object) {
    let Some(devices) = child(spec, "devices") else { return };
    for one in items(devices, "requests") {
        items(one, "firstAvailable").for_each(request);
        // in v1beta1 a request is its own, or has subrequests
        if !text(one, "deviceClassName").is_empty() {
            request(one);
        }
        if let Some(exactly) = child(one, "exactly") {
            request(exactly);
        }
    }
}

fn request(request: &mut Object) {
    set(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount"
        && request.get("count").is_none_or(|count| *count == json!(0) || count.is_null())
    {
        request.insert("count".to_owned(), json!(1));
    }
    items(request, "tolerations").for_each(|toleration| set(toleration, "operator", "Equal"));
}

fn taint(taint: &mut Object) {
    set_pointer(taint, "timeAdded", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
}
