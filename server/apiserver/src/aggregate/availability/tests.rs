#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn what_this_process_serves_is_available() {
    let here = |group: &str| json!({"spec": {"group": group, "version": "v1beta1"}});
    let mut custom = here("x.y");
    set(&mut custom, &["metadata", "labels", "kube-aggregator.kubernetes.io/automanaged"], "true");
    let remote =
        json!({"spec": {"group": "x.y", "version": "v1beta1", "service": {"namespace": "a", "name": "b"}}});
    let cases = [
        (here("x.y"), (true, false), Some(("True", "Local"))),
        (here("x.y"), (false, true), Some(("True", "Local"))),
        (here("apps"), (false, false), Some(("True", "Local"))),
        (custom, (false, false), Some(("True", "Local"))),
        (here("x.y"), (false, false), Some(("False", "ServiceNotFound"))),
        (remote.clone(), (true, false), Some(("True", "Passed"))),
        (remote.clone(), (false, true), None),
        (remote, (false, false), None),
    ];
    for (object, (served, defined), wanted) in cases {
        let verdict = local(&object, served, defined);
        assert_eq!(verdict.map(|v| (v.0, v.1)), wanted, "{object} {served} {defined}");
    }
}

#[test]
fn a_service_that_leads_nowhere_is_told_in_upstreams_words() {
    let reference = Reference { namespace: "ns".into(), name: "api".into(), port: 443 };
    let service = json!({"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443}]}});
    let slice = |ready: bool, port: &str| json!({"endpoints": [{"conditions": {"ready": ready}}], "ports": [{"name": port, "port": 1}]});
    let other = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
    let missing = "endpointslices for service/api in \"ns\" have no addresses with port name \"https\"";
    let cases = [
        (Value::Null, vec![], "ServiceNotFound", "service/api in \"ns\" is not present"),
        (other, vec![], "ServicePortError", "service/api in \"ns\" is not listening on port 443"),
        (
            service.clone(),
            vec![],
            "EndpointsNotFound",
            "cannot find endpointslices for service/api in \"ns\"",
        ),
        (service.clone(), vec![slice(false, "https")], "MissingEndpoints", missing),
        (service.clone(), vec![slice(true, "http")], "MissingEndpoints", missing),
    ];
    for (service, slices, reason, message) in cases {
        let verdict = unreachable(&reference, &service, &slices).unwrap();
        assert_eq!(verdict, ("False", reason, message.to_owned()));
    }
    assert_eq!(unreachable(&reference, &service, &[slice(false, "https"), slice(true, "https")]), None);
    assert_eq!(unreachable(&reference, &json!({"spec": {"type": "ExternalName"}}), &[]), None);
}

#[test]
fn pauses_grow_while_it_fails() {
    let pauses = [0, 1, 2, 3, 9, 99].map(|failures| pause(failures).as_millis());
    assert_eq!(pauses, [30_000, 500, 1000, 2000, 30_000, 30_000]);
}

#[test]
fn a_condition_is_written_when_it_differs() {
    let object = json!({"status": {"conditions": [{"type": "Other"}]}});
    let told = judged(&object, &("True", "Local", "m".into())).unwrap();
    assert_eq!(told["status"]["conditions"][0]["type"], "Other");
    assert_eq!(told["status"]["conditions"][1]["status"], "True");
    assert!(judged(&told, &("True", "Local", "m".into())).is_none());
    let mut earlier = told.clone();
    earlier["status"]["conditions"][1]["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
    let reworded = judged(&earlier, &("True", "Local", "n".into())).unwrap();
    assert_eq!(reworded["status"]["conditions"][1]["lastTransitionTime"], "2020-01-01T00:00:00Z");
    let turned = judged(&earlier, &("False", "ServiceNotFound", "n".into())).unwrap();
    assert_ne!(turned["status"]["conditions"][1]["lastTransitionTime"], "2020-01-01T00:00:00Z");
}
