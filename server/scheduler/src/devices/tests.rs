#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

fn claim(version: u64, device: Option<&str>) -> Arc<ResourceClaim> {
    let allocation = device.map(|device| {
        json!({"devices": {"results": [{"request": "r", "driver": "d.io", "pool": "p", "device": device}]}})
    });
    let object = json!({"metadata": {"name": "c", "namespace": "d", "uid": "u",
        "resourceVersion": version.to_string()}, "spec": {}, "status": {"allocation": allocation}});
    Arc::new(serde_json::from_value(object).unwrap())
}

fn device(name: &str) -> DeviceId {
    DeviceId { driver: "d.io".into(), pool: "p".into(), device: name.into() }
}

#[test]
fn devices_are_held_from_the_choice_to_the_release() {
    let mut devices = Devices::default();
    devices.set_claim("d/c", Some(claim(1, None)));
    let grant = Grant { claim: claim(1, None), allocation: allocation(&claim(0, Some("a"))).cloned() };
    devices.assume(std::slice::from_ref(&grant));
    assert!(devices.is_held(&device("a")) && devices.is_assumed("d/c") && !devices.is_held(&device("b")));
    // written, and told by the answer before the watch tells of what was before
    devices.set_claim("d/c", Some(claim(3, Some("a"))));
    devices.give_up(&[grant]);
    assert!(devices.is_held(&device("a")) && !devices.is_assumed("d/c"));
    devices.set_claim("d/c", Some(claim(2, None)));
    assert!(devices.is_held(&device("a")), "an older state says nothing");
    devices.set_claim("d/c", Some(claim(4, Some("b"))));
    assert!(!devices.is_held(&device("a")) && devices.is_held(&device("b")));
    devices.set_claim("d/c", None);
    assert!(!devices.is_held(&device("b")));
}

#[test]
fn who_looks_only_holds_nothing() {
    let mut devices = Devices::default();
    let mut admin = (*claim(1, Some("a"))).clone();
    let results =
        &mut admin.status.as_mut().unwrap().allocation.as_mut().unwrap().devices.as_mut().unwrap().results;
    results.as_mut().unwrap()[0].admin_access = Some(true);
    devices.set_claim("d/c", Some(Arc::new(admin)));
    assert!(!devices.is_held(&device("a")));
}
