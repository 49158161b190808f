//! Expressions over one device.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

fn device() -> Device {
    serde_json::from_value(json!({"name": "d", "attributes": {
        "model": {"string": "big"}, "cores": {"int": 8}, "fast": {"bool": true},
        "other.io/firmware": {"version": "1.10.0"}, "lanes": {"ints": [1, 2]}},
        "capacity": {"memory": {"value": "16Gi"}}}))
    .unwrap()
}

#[test]
fn devices_are_selected_by_what_they_are() {
    for (expression, expected) in [
        ("device.driver == 'gpu.io'", Ok(true)),
        ("device.attributes['gpu.io'].model == 'big'", Ok(true)),
        ("device.attributes['gpu.io'].cores > 8", Ok(false)),
        ("device.attributes['gpu.io'].fast", Ok(true)),
        ("2 in device.attributes['gpu.io'].lanes", Ok(true)),
        ("device.attributes['other.io'].firmware.isGreaterThan(semver('1.9.0'))", Ok(true)),
        ("device.capacity['gpu.io'].memory.compareTo(quantity('20Gi')) >= 0", Ok(false)),
        ("device.capacity['gpu.io'].memory.isGreaterThan(quantity('8Gi'))", Ok(true)),
        // a domain is always there, and may be empty
        ("has(device.attributes['none.io'].model)", Ok(false)),
        ("'model' in device.attributes['gpu.io'] && !('model' in device.attributes['none.io'])", Ok(true)),
        ("device.attributes['none.io'].model == 'big'", Err("no such key: model")),
        ("device.attributes['gpu.io'].model", Err("could not be converted to bool")),
        ("device.allowMultipleAllocations", Ok(false)),
    ] {
        let said = compile(expression).unwrap().matches("gpu.io", &device());
        match expected {
            Ok(wanted) => assert_eq!(said, Ok(wanted), "{expression}"),
            Err(words) => assert!(said.clone().unwrap_err().contains(words), "{expression}: {said:?}"),
        }
    }
}

#[test]
fn what_is_no_selector_is_refused() {
    for (expression, words) in [
        ("device.model == 'big'", "compilation failed: ERROR: <input>:1:7: undefined field 'model'"),
        ("device.driver", "must evaluate to bool or the unknown type, not string"),
        ("device.", "compilation failed: ERROR: "),
    ] {
        let said = compile(expression).unwrap_err();
        assert!(said.starts_with(words), "{expression}: {said}");
    }
}
