//! Claims and classes of devices.

use serde_json::{Value, json};

use super::super::{create, update_status};
use super::{kind, shown};

fn claim(devices: Value) -> Value {
    json!({"metadata": {"name": "c", "namespace": "d"}, "spec": {"devices": devices}})
}

fn exactly(name: &str) -> Value {
    json!({"name": name, "exactly": {"deviceClassName": "g", "allocationMode": "ExactCount", "count": 1}})
}

#[test]
fn a_claim_has_requests_that_others_name() {
    let cases = [
        (
            json!({"requests": [exactly("a")], "constraints": [{"requests": ["a"], "matchAttribute": "d.e/f"}]}),
            "",
        ),
        (
            json!({"requests": [{"name": "a"}]}),
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
        ),
        (
            json!({"requests": [exactly("a"), exactly("a")]}),
            "spec.devices.requests[1]: Duplicate value: \"a\"",
        ),
        (
            json!({"requests": [exactly("a")], "config": [{"requests": ["b"], "opaque": {"driver": "d", "parameters": {}}}]}),
            "spec.devices.config[0].requests[0]: Invalid value: \"b\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
        ),
        (
            json!({"requests": [exactly("a")], "constraints": [{"matchAttribute": "f"}]}),
            "spec.devices.constraints[0].matchAttribute: Invalid value: \"f\": a fully qualified name must be a domain and a name separated by a slash",
        ),
    ];
    for (devices, expected) in cases {
        assert_eq!(shown(create(kind("ResourceClaim"), &claim(devices.clone()))), expected, "{devices}");
    }
}

#[test]
fn a_claim_is_reserved_when_it_is_allocated() {
    let mut old = claim(json!({"requests": [exactly("a")]}));
    old["metadata"]["resourceVersion"] = json!("1");
    let mut new = old.clone();
    new["status"] = json!({"reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]});
    let why = "status.reservedFor: Forbidden: may not be specified when `allocated` is not set";
    assert_eq!(shown(update_status(kind("ResourceClaim"), &new, &old)), why);
    new["status"]["allocation"] =
        json!({"devices": {"results": [{"request": "a", "driver": "d", "pool": "n", "device": "x"}]}});
    assert_eq!(shown(update_status(kind("ResourceClaim"), &new, &old)), "");
}
