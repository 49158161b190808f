//! Tables of slices and claims, and the devices that come of them.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::{Value, json};

/// Slices of a node `n` unless they say otherwise, by pool; all of the driver `gpu.io`.
fn devices(slices: &[Value]) -> Devices {
    let mut devices = Devices::default();
    for (at, slice) in slices.iter().enumerate() {
        let mut spec = json!({"driver": "gpu.io", "nodeName": "n",
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}});
        spec.as_object_mut().unwrap().extend(slice.as_object().unwrap().clone());
        if slice.get("nodeSelector").is_some()
            || slice.get("allNodes").is_some()
            || slice.get("perDeviceNodeSelection").is_some()
        {
            spec.as_object_mut().unwrap().remove("nodeName");
        }
        let name = format!("s{at}");
        let object = json!({"metadata": {"name": name}, "spec": spec});
        devices.set_slice(&name, Some(Arc::new(serde_json::from_value(object).unwrap())));
    }
    let class = json!({"metadata": {"name": "gpu"}, "spec": {
        "selectors": [{"cel": {"expression": "device.driver == 'gpu.io'"}}],
        "config": [{"opaque": {"driver": "gpu.io", "parameters": {"of": "class"}}}]}});
    devices.set_class("gpu", Some(Arc::new(serde_json::from_value(class).unwrap())));
    devices
}

/// Devices by name, with an attribute `kind`, on a NUMA node.
fn some(all: &[(&str, &str, i64)]) -> Value {
    let one = |(name, kind, numa): &(&str, &str, i64)| json!({"name": name, "attributes": {"kind": {"string": kind}, "numa": {"int": numa}}});
    json!({"devices": all.iter().map(one).collect::<Vec<_>>()})
}

fn with(mut value: Value, more: Value) -> Value {
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

fn exactly(name: &str, more: Value) -> Value {
    json!({"name": name, "exactly": with(json!({"deviceClassName": "gpu"}), more)})
}

fn kind(kind: &str) -> Value {
    let expression = format!("device.attributes['gpu.io'].kind == '{kind}'");
    json!({"selectors": [{"cel": {"expression": expression}}]})
}

fn claim(name: &str, devices: Value) -> Arc<ResourceClaim> {
    let object = json!({"metadata": {"name": name, "namespace": "d"}, "spec": {"devices": devices}});
    Arc::new(serde_json::from_value(object).unwrap())
}

fn node() -> Node {
    serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"rack": "1"}}})).unwrap()
}

/// `request=device` of each claim, or what went wrong.
fn allocate(devices: &Devices, claims: &[Arc<ResourceClaim>]) -> String {
    let allocator = match Allocator::new(claims.iter().collect(), devices) {
        Ok(allocator) => allocator,
        Err(why) => return why,
    };
    match allocator.allocate(&node()) {
        Ok(Some(results)) => {
            let one = |result: &AllocationResult| {
                let all = result.devices.as_ref().unwrap().results.as_ref().unwrap();
                let all = all.iter().map(|result| format!("{}={}", result.request, result.device));
                all.collect::<Vec<_>>().join(" ")
            };
            results.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Ok(None) => "none".to_owned(),
        Err(Problem::Node(why)) => format!("node: {why}"),
        Err(Problem::Fatal(why)) => format!("fatal: {why}"),
    }
}

fn single(slices: &[Value], requests: Value) -> String {
    allocate(&devices(slices), &[claim("c", json!({"requests": requests}))])
}

#[test]
fn requests_get_devices() {
    let three = || [some(&[("a", "big", 0), ("b", "small", 0), ("c", "big", 1)])];
    for (requests, expected) in [
        (json!([exactly("r", json!({}))]), "r=a"),
        (json!([exactly("r", kind("small"))]), "r=b"),
        (json!([exactly("r", kind("none"))]), "none"),
        (json!([exactly("r", json!({"count": 2}))]), "r=a r=b"),
        (json!([exactly("r", json!({"count": 4}))]), "none"),
        (json!([exactly("r", json!({"allocationMode": "All"}))]), "r=a r=b r=c"),
        (json!([exactly("r", with(kind("big"), json!({"allocationMode": "All"})))]), "r=a r=c"),
        (json!([exactly("r", with(kind("none"), json!({"allocationMode": "All"})))]), "none"),
        // the first takes what the second needs, and gives it back
        (
            json!([exactly("any", json!({})), exactly("big", with(kind("big"), json!({"count": 2})))]),
            "any=b big=a big=c",
        ),
        (
            json!([{"name": "r", "firstAvailable": [
                {"name": "four", "deviceClassName": "gpu", "count": 4},
                {"name": "two", "deviceClassName": "gpu", "count": 2}]}]),
            "r/two=a r/two=b",
        ),
        (
            json!([exactly("r", json!({"allocationMode": "Some"}))]),
            "claim d/c, request r: unsupported count mode Some",
        ),
        (
            json!([exactly("r", json!({"count": 33}))]),
            "fatal: claim d/c: number of requested devices 33 exceeds the claim limit of 32",
        ),
    ] {
        assert_eq!(single(&three(), requests.clone()), expected, "{requests}");
    }
}

#[test]
fn claims_of_a_pod_share_what_there_is() {
    let devices = devices(&[some(&[("a", "big", 0), ("b", "small", 0)])]);
    let any = || claim("any", json!({"requests": [exactly("r", json!({}))]}));
    let big = || claim("big", json!({"requests": [exactly("r", kind("big"))]}));
    assert_eq!(allocate(&devices, &[any(), big()]), "r=b; r=a");
    assert_eq!(allocate(&devices, &[big(), big()]), "none");
}

#[test]
fn devices_have_things_in_common_or_to_themselves() {
    let slices = [some(&[("a", "big", 0), ("b", "small", 1), ("c", "big", 1), ("d", "big", 2)])];
    let two = json!([exactly("r", json!({"count": 2}))]);
    let constrained = |constraints: Value| {
        allocate(&devices(&slices), &[claim("c", json!({"requests": two, "constraints": constraints}))])
    };
    for (constraints, expected) in [
        (json!([{"matchAttribute": "gpu.io/numa"}]), "r=b r=c"),
        (json!([{"matchAttribute": "gpu.io/kind"}]), "r=a r=c"),
        (json!([{"matchAttribute": "gpu.io/kind"}, {"distinctAttribute": "gpu.io/numa"}]), "r=a r=c"),
        (json!([{"distinctAttribute": "gpu.io/kind"}]), "r=a r=b"),
        (json!([{"matchAttribute": "gpu.io/none"}]), "none"),
        (json!([{"matchAttribute": "gpu.io/none", "requests": ["other"]}]), "r=a r=b"),
        (json!([{}]), "fatal: claim d/c, constraint #0: empty constraint (unsupported constraint type?)"),
    ] {
        assert_eq!(constrained(constraints.clone()), expected, "{constraints}");
    }
    let all = json!({"requests": [exactly("r", json!({"allocationMode": "All"}))],
        "constraints": [{"matchAttribute": "gpu.io/kind"}]});
    assert_eq!(
        allocate(&devices(&slices), &[claim("c", all)]),
        "fatal: claim d/c, request r: cannot add device gpu.io/p/b because a claim constraint would not be satisfied"
    );
}

#[test]
fn pools_count_when_they_are_whole() {
    let of = |generation: i64, count: i64| json!({"pool": {"name": "p", "generation": generation, "resourceSliceCount": count}});
    let one = || json!([exactly("r", json!({}))]);
    let every = || json!([exactly("r", json!({"allocationMode": "All"}))]);
    let a = || some(&[("a", "big", 0)]);
    let b = || some(&[("b", "big", 0)]);
    for (slices, requests, expected) in [
        (vec![with(a(), of(1, 2))], one(), "none"),
        (vec![with(a(), of(1, 2)), with(b(), of(1, 2))], one(), "r=a"),
        // what is older counts no more, wherever the newer one is
        (vec![with(a(), of(1, 1)), with(b(), of(2, 1))], one(), "r=b"),
        (vec![with(a(), of(1, 1)), with(b(), with(of(2, 1), json!({"nodeName": "other"})))], one(), "none"),
        (
            vec![with(a(), of(1, 2))],
            every(),
            "fatal: claim d/c, request r: asks for all devices, but resource pool gpu.io/p is currently being updated",
        ),
        (
            vec![with(a(), of(1, 2)), with(a(), of(1, 2))],
            one(),
            "node: invalid resource pools were encountered",
        ),
    ] {
        assert_eq!(single(&slices, requests), expected, "{slices:?}");
    }
}

#[test]
fn devices_are_where_their_slices_say() {
    let a = || some(&[("a", "big", 0)]);
    let rack = |rack: &str| json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "rack", "operator": "In", "values": [rack]}]}]});
    let one = || json!([exactly("r", json!({}))]);
    let per_device =
        |more: Value| json!({"perDeviceNodeSelection": true, "devices": [with(json!({"name": "a"}), more)]});
    for (slice, expected, selector) in [
        (
            a(),
            "r=a",
            json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]}),
        ),
        (with(a(), json!({"nodeName": "other"})), "none", Value::Null),
        (with(a(), json!({"allNodes": true})), "r=a", Value::Null),
        (with(a(), json!({"nodeSelector": rack("1")})), "r=a", rack("1")),
        (with(a(), json!({"nodeSelector": rack("2")})), "none", Value::Null),
        (per_device(json!({"nodeSelector": rack("1")})), "r=a", rack("1")),
        (per_device(json!({"nodeName": "other"})), "none", Value::Null),
        (per_device(json!({"allNodes": true})), "r=a", Value::Null),
    ] {
        let (devices, claim) =
            (devices(std::slice::from_ref(&slice)), claim("c", json!({"requests": one()})));
        assert_eq!(allocate(&devices, std::slice::from_ref(&claim)), expected, "{slice}");
        let made = Allocator::new(vec![&claim], &devices).unwrap().allocate(&node()).unwrap();
        let made = made.map_or(Value::Null, |made| serde_json::to_value(&made[0].node_selector).unwrap());
        assert_eq!(made, selector, "{slice}");
    }
}

#[test]
fn taints_keep_devices_from_those_who_do_not_tolerate_them() {
    let slices = [json!({"devices": [{"name": "a", "taints": [{"key": "broken", "effect": "NoSchedule"}]},
        {"name": "b", "taints": [{"key": "old", "value": "yes", "effect": "NoExecute"}]}, {"name": "c"},
        {"name": "d", "taints": [{"key": "odd", "effect": "None"}]}]})];
    let tolerating = |tolerations: Value| {
        single(&slices, json!([exactly("r", json!({"count": 3, "tolerations": tolerations}))]))
    };
    for (tolerations, expected) in [
        (json!([]), "none"),
        (json!([{"operator": "Exists"}]), "r=a r=b r=c"),
        (json!([{"key": "broken", "operator": "Exists", "effect": "NoExecute"}]), "none"),
        (json!([{"key": "old", "operator": "Equal", "value": "yes"}]), "r=b r=c r=d"),
        (json!([{"key": "old", "value": "no"}]), "none"),
    ] {
        assert_eq!(tolerating(tolerations.clone()), expected, "{tolerations}");
    }
}

#[test]
fn parts_of_a_device_share_its_counters() {
    let part = |name: &str, memory: &str| json!({"name": name, "consumesCounters": [{"counterSet": "card", "counters": {"memory": {"value": memory}}}]});
    let slices = [json!({"sharedCounters": [{"name": "card", "counters": {"memory": {"value": "40Gi"}}}],
        "devices": [part("whole", "40Gi"), part("half", "20Gi"), part("quarter", "10Gi"), part("rest", "10Gi")]})];
    for (count, expected) in
        [(1, "r=whole"), (2, "r=half r=quarter"), (3, "r=half r=quarter r=rest"), (4, "none")]
    {
        assert_eq!(single(&slices, json!([exactly("r", json!({"count": count}))])), expected);
    }
    // what others have counts, too
    let mut held = devices(&slices);
    let status = json!({"allocation": {"devices": {"results": [
        {"request": "r", "driver": "gpu.io", "pool": "p", "device": "half"}]}}});
    let other = json!({"metadata": {"name": "o", "namespace": "d"}, "spec": {}, "status": status});
    held.set_claim("d/o", Some(Arc::new(serde_json::from_value(other).unwrap())));
    let mine = claim("c", json!({"requests": [exactly("r", json!({}))]}));
    assert_eq!(allocate(&held, &[mine]), "r=quarter");
}

#[test]
fn devices_in_use_are_for_those_who_look_only() {
    let mut devices = devices(&[some(&[("a", "big", 0)])]);
    let status = json!({"allocation": {"devices": {"results": [
        {"request": "r", "driver": "gpu.io", "pool": "p", "device": "a"}]}}});
    let other = json!({"metadata": {"name": "o", "namespace": "d"}, "spec": {}, "status": status});
    devices.set_claim("d/o", Some(Arc::new(serde_json::from_value(other).unwrap())));
    let plain = claim("c", json!({"requests": [exactly("r", json!({}))]}));
    assert_eq!(allocate(&devices, &[plain]), "none");
    let admin = claim("c", json!({"requests": [exactly("r", json!({"adminAccess": true}))]}));
    assert_eq!(allocate(&devices, std::slice::from_ref(&admin)), "r=a");
    let made = Allocator::new(vec![&admin], &devices).unwrap().allocate(&node()).unwrap().unwrap();
    let results = made[0].devices.as_ref().unwrap().results.as_ref().unwrap();
    assert_eq!(results[0].admin_access, Some(true));
}

#[test]
fn configuration_comes_from_classes_and_the_claim() {
    let devices = devices(&[some(&[("a", "big", 0), ("b", "big", 0), ("c", "big", 0)])]);
    let opaque = |of: &str| json!({"driver": "gpu.io", "parameters": {"of": of}});
    let claim = claim(
        "c",
        json!({
        "requests": [exactly("one", json!({})), {"name": "two", "firstAvailable": [
            {"name": "many", "deviceClassName": "gpu", "count": 9}, {"name": "few", "deviceClassName": "gpu"}]}],
        "config": [{"opaque": opaque("all")}, {"requests": ["one"], "opaque": opaque("one")},
            {"requests": ["two/many"], "opaque": opaque("many")}, {"requests": ["two/few"], "opaque": opaque("few")}]}),
    );
    let made = Allocator::new(vec![&claim], &devices).unwrap().allocate(&node()).unwrap().unwrap();
    let config = serde_json::to_value(&made[0].devices.as_ref().unwrap().config).unwrap();
    let expected = json!([
        {"source": "FromClass", "opaque": opaque("class")},
        {"source": "FromClaim", "opaque": opaque("all")},
        {"source": "FromClaim", "requests": ["one"], "opaque": opaque("one")},
        {"source": "FromClaim", "requests": ["two/few"], "opaque": opaque("few")}]);
    assert_eq!(config, expected);
}

#[test]
fn an_expression_that_fails_is_told() {
    let wrong = |expression: &str| {
        let selectors = json!({"selectors": [{"cel": {"expression": expression}}]});
        single(&[some(&[("a", "big", 0)])], json!([exactly("r", selectors)]))
    };
    let said = wrong("device.attributes['none.io'].kind == 'big'");
    let expected = "fatal: claim d/c: selector #0 on device gpu.io/p/a: CEL runtime error: no such key: kind";
    assert_eq!(said, expected);
    let said = wrong("device.kind");
    assert!(
        said.starts_with("fatal: claim d/c: selector #0: CEL compile error: compilation failed: "),
        "{said}"
    );
}
