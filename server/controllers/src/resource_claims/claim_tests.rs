//! Tables of claims whose users went.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::{Value, json};

fn claim(users: &[&str], allocated: bool, protected: bool, ending: bool) -> ResourceClaim {
    let users: Vec<Value> =
        users.iter().map(|uid| json!({"resource": "pods", "name": uid, "uid": uid})).collect();
    let finalizers = if protected { json!([FINALIZER, "other"]) } else { json!(["other"]) };
    let mut object = json!({"metadata": {"name": "c", "namespace": "d", "finalizers": finalizers}, "spec": {},
        "status": {"reservedFor": users}});
    if allocated {
        object["status"]["allocation"] = json!({});
    }
    if ending {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    serde_json::from_value(object).unwrap()
}

#[test]
fn devices_go_back_with_the_last_user() {
    // what: the claim, who went; who is left and whether it has devices if that is written, whether it is released
    for (what, before, gone, status, release) in [
        ("in use", claim(&["a"], true, true, false), vec![], None, false),
        ("one of two went", claim(&["a", "b"], true, true, false), vec!["a"], Some((1, true)), false),
        ("the last went", claim(&["a"], true, true, false), vec!["a"], Some((0, false)), true),
        ("never used", claim(&[], true, true, false), vec![], None, false),
        ("by whom nobody knows", claim(&["a"], true, false, false), vec!["a"], Some((0, true)), false),
        ("never used, and being deleted", claim(&[], true, true, true), vec![], Some((0, false)), true),
        ("without devices, and being deleted", claim(&[], false, true, true), vec![], None, true),
        ("used, and being deleted", claim(&["a"], true, true, true), vec![], None, false),
        ("not protected", claim(&[], false, false, true), vec![], None, false),
    ] {
        let gone: Vec<String> = gone.into_iter().map(str::to_owned).collect();
        let plan = plan(&before, &gone);
        let written = plan
            .status
            .map(|claim| (consumers(&claim).len(), claim.status.as_ref().unwrap().allocation.is_some()));
        assert_eq!((written, plan.release), (status, release), "{what}");
    }
    let released = without_finalizer(claim(&[], false, true, true)).unwrap();
    assert_eq!(released.metadata.finalizers, Some(vec!["other".to_owned()]));
    assert_eq!(without_finalizer(released), None);
}

#[test]
fn a_pod_is_done_when_it_cannot_run_any_more() {
    let pod = |spec: Value, meta: Value, phase: &str| -> Pod {
        serde_json::from_value(json!({"metadata": meta, "spec": spec, "status": {"phase": phase}})).unwrap()
    };
    let placed = || json!({"containers": [], "nodeName": "n"});
    let open = || json!({"containers": []});
    let going = || json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    for (pod, done) in [
        (pod(placed(), json!({}), "Running"), false),
        (pod(placed(), json!({}), "Succeeded"), true),
        (pod(placed(), going(), "Running"), false),
        (pod(open(), going(), "Pending"), true),
        (pod(open(), json!({}), "Pending"), false),
    ] {
        assert_eq!(is_done(&pod), done, "{pod:?}");
    }
}
