//! Conversations of managers over one object.

use serde_json::{Value, json};

use super::super::conflict;
use super::super::managed::{Identity, Managed, Operation};
use super::super::scale;
use super::super::set::Set;
use super::{DEPLOYMENT, MAP, NOW, Object, POD, tracker};
use crate::status::Reason;

fn data(pairs: Value) -> Value {
    json!({"data": pairs})
}

#[test]
fn an_updater_owns_what_it_changed_and_others_lose_it() {
    let mut map = Object::new(&MAP);
    map.update("a", data(json!({"x": "1", "y": "1"})));
    assert_eq!(map.managers(), [("a Update".into(), json!({"f:data": {".": {}, "f:x": {}, "f:y": {}}}))]);
    assert_eq!(map.object()["metadata"]["managedFields"][0]["time"], NOW);
    map.update("b", data(json!({"x": "2", "y": "1"})));
    assert_eq!(map.fields_of("a Update"), json!({"f:data": {".": {}, "f:y": {}}}));
    assert_eq!(map.fields_of("b Update"), json!({"f:data": {"f:x": {}}}));
    // a removed field is nobody's
    map.update("b", data(json!({"x": "2"})));
    assert_eq!(map.fields_of("a Update"), json!({"f:data": {}}));
    // and a write that changes nothing leaves everything
    let before = map.object().clone();
    map.update("c", data(json!({"x": "2"})));
    assert_eq!(*map.object(), before);
}

#[test]
fn the_second_applier_meets_the_first() {
    let mut deployment = Object::new(&DEPLOYMENT);
    deployment.apply("one", json!({"spec": {"replicas": 1, "minReadySeconds": 3}})).expect("first");
    let refused = deployment.apply("two", json!({"spec": {"replicas": 2}})).expect_err("conflict");
    assert_eq!((refused.reason, refused.code), (Reason::Conflict, 409));
    assert_eq!(refused.message, r#"Apply failed with 1 conflict: conflict with "one": .spec.replicas"#);
    assert_eq!(
        refused.causes,
        [("FieldManagerConflict".into(), r#"conflict with "one""#.into(), ".spec.replicas".into())]
    );
    // the same value is shared, not fought for
    deployment.apply("two", json!({"spec": {"replicas": 1}})).expect("agreed");
    assert_eq!(
        deployment.fields_of("one Apply"),
        json!({"f:spec": {"f:minReadySeconds": {}, "f:replicas": {}}})
    );
    assert_eq!(deployment.fields_of("two Apply"), json!({"f:spec": {"f:replicas": {}}}));
    deployment.force("two", json!({"spec": {"replicas": 2}}));
    assert_eq!(deployment.fields_of("one Apply"), json!({"f:spec": {"f:minReadySeconds": {}}}));
    assert_eq!(deployment.object()["spec"]["replicas"], 2);
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let mut deployment = Object::new(&DEPLOYMENT);
    deployment.update("edit", json!({"spec": {"replicas": 1, "paused": false}}));
    deployment.apply("one", json!({"spec": {"minReadySeconds": 3}})).expect("first");
    let refused = deployment
        .apply("two", json!({"spec": {"replicas": 2, "paused": true, "minReadySeconds": 4}}))
        .expect_err("conflict");
    assert_eq!(
        refused.message,
        "Apply failed with 3 conflicts: conflicts with \"edit\" using apps/v1:\n- .spec.paused\n- .spec.replicas\nconflicts with \"one\":\n- .spec.minReadySeconds"
    );
    assert_eq!(refused.causes[0].1, r#"conflict with "edit" using apps/v1"#);
}

#[test]
fn what_an_applier_leaves_out_goes_unless_another_has_it() {
    let mut map = Object::new(&MAP);
    map.apply("one", data(json!({"a": "1", "b": "1", "c": "1"}))).expect("first");
    map.apply("two", data(json!({"b": "1"}))).expect("agreed");
    map.update("edit", data(json!({"a": "1", "b": "1", "c": "9"})));
    map.apply("one", data(json!({"a": "1"}))).expect("less");
    assert_eq!(map.object()["data"], json!({"a": "1", "b": "1", "c": "9"}));
    map.apply("one", json!({})).expect("nothing");
    assert_eq!(map.object()["data"], json!({"b": "1", "c": "9"}));
    assert_eq!(map.fields_of("one Apply"), json!(null));
    map.apply("two", json!({})).expect("nothing");
    assert_eq!(map.object()["data"], json!({"c": "9"}));
}

#[test]
fn items_and_whole_structures_go_by_omission_too() {
    let mut pod = Object::new(&POD);
    let container = |rest: Value| {
        let mut c = json!({"name": "a", "image": "i"});
        c.as_object_mut().expect("an object").extend(rest.as_object().cloned().unwrap_or_default());
        json!({"spec": {"containers": [c]}})
    };
    let full = json!({"env": [{"name": "x", "value": "1"}], "securityContext": {"privileged": true},
        "ports": [{"containerPort": 80}]});
    pod.apply("one", container(full)).expect("first");
    let fields = pod.fields_of("one Apply");
    let port = "k:{\"containerPort\":80,\"protocol\":\"TCP\"}";
    let c = &fields["f:spec"]["f:containers"]["k:{\"name\":\"a\"}"];
    assert_eq!(c["f:ports"][port], json!({".": {}, "f:containerPort": {}}));
    assert_eq!(c["f:securityContext"], json!({"f:privileged": {}}));
    pod.apply("one", container(json!({}))).expect("less");
    assert_eq!(pod.object()["spec"]["containers"], json!([{"name": "a", "image": "i"}]));
    // an item whose field someone else has set stays with that field
    pod.apply("one", container(json!({"env": [{"name": "x", "value": "1"}]}))).expect("again");
    pod.apply("two", json!({"spec": {"containers": [{"name": "a", "env": [{"name": "y", "value": "2"}]}]}}))
        .expect("another item");
    pod.apply("one", json!({"spec": {}})).expect("all gone");
    assert_eq!(
        pod.object()["spec"]["containers"],
        json!([{"name": "a", "env": [{"name": "y", "value": "2"}]}])
    );
}

#[test]
fn items_that_others_have_a_part_of_stay() {
    let mut pod = Object::new(&POD);
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
    pod.live = Some(json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x", "uid": "u",
        "managedFields": [{"manager": "old", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:hostname": {}}}}]},
        "status": {"conditions": [condition("Ready", "False")]}}));
    let ready = json!({"status": {"conditions": [condition("Ready", "True")]}});
    pod.update_through("status", "kubelet", ready);
    let reset = pod.reset("status");
    let apply = |live: &Value, config: Value| {
        let config = Object::new(&POD).dressed(config);
        tracker(&POD, "status", &reset).apply(Some(live), &config, "np", false).expect("no conflict")
    };
    let with = apply(pod.object(), json!({"status": {"conditions": [condition("Mine", "True")]}}));
    let both = json!([condition("Ready", "True"), condition("Mine", "True")]);
    assert_eq!(with["status"]["conditions"], both);
    let without = apply(&with, json!({}));
    assert_eq!(without["status"]["conditions"], json!([condition("Ready", "True")]));
}

#[test]
fn defaults_of_what_was_applied_go_with_it() {
    let mut pod = Object::new(&POD);
    let probe = |probe: Value| json!({"spec": {"containers": [{"name": "a", "livenessProbe": probe}]}});
    pod.apply("one", probe(json!({"tcpSocket": {"port": 80}}))).expect("first");
    // the server's defaults are nobody's
    let live = pod.live.as_mut().expect("there is one");
    live["spec"]["containers"][0]["livenessProbe"]["periodSeconds"] = 10.into();
    pod.apply("one", json!({"spec": {"containers": [{"name": "a"}]}})).expect("less");
    assert_eq!(pod.object()["spec"]["containers"], json!([{"name": "a"}]));
}

#[test]
fn applying_again_changes_nothing_not_even_the_time() {
    let mut map = Object::new(&MAP);
    map.apply("one", data(json!({"a": "1"}))).expect("first");
    let before = map.object().clone();
    let config = map.dressed(data(json!({"a": "1"})));
    let reset = map.reset("");
    let mut later = tracker(&MAP, "", &reset);
    later.now = "2030-01-01T00:00:00Z";
    assert_eq!(later.apply(Some(&before), &config, "one", false).expect("again"), before);
}

#[test]
fn an_object_that_nobody_tracked_is_the_before_first_applys() {
    let mut map = Object::new(&MAP);
    map.live = Some(json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "uid": "u"},
        "data": {"a": "1", "b": "1"}}));
    // updates alone do not begin it
    map.update("edit", data(json!({"a": "1", "b": "2"})));
    assert_eq!(map.managers(), []);
    let refused = map.apply("one", data(json!({"a": "2"}))).expect_err("conflict");
    assert_eq!(
        refused.message,
        r#"Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.a"#
    );
    map.apply("one", data(json!({"a": "1", "c": "3"}))).expect("agreed");
    assert_eq!(
        map.managers(),
        [
            ("one Apply".into(), json!({"f:data": {"f:a": {}, "f:c": {}}})),
            ("before-first-apply Update".into(), json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}})),
        ]
    );
}

#[test]
fn client_side_applied_fields_are_the_users_own() {
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let applied =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"1","b":"1"}}"#;
    let with = |data: Value| json!({"metadata": {"annotations": {annotation: applied}}, "data": data});
    let mut map = Object::new(&MAP);
    map.update("kubectl-client-side-apply", with(json!({"a": "1", "b": "1"})));
    map.update("edit", with(json!({"a": "1", "b": "2"})));
    // b is not as it was applied: someone else's by now
    let refused = map.apply("kubectl", data(json!({"a": "3", "b": "3"}))).expect_err("conflict");
    assert_eq!(refused.message, r#"Apply failed with 1 conflict: conflict with "edit" using v1: .data.b"#);
    assert!(map.apply("another", data(json!({"a": "3"}))).is_err());
    map.apply("kubectl", data(json!({"a": "3"}))).expect("its own");
    assert_eq!(map.object()["data"], json!({"a": "3", "b": "2"}));
    let kept = map.object()["metadata"]["annotations"][annotation].as_str().map(str::to_owned);
    let expected = r#"{"apiVersion":"v1","data":{"a":"3"},"kind":"ConfigMap","metadata":{"name":"x"}}"#;
    assert_eq!(kept, Some(format!("{expected}\n")));
}

#[test]
fn the_status_belongs_to_whom_writes_the_status() {
    let mut pod = Object::new(&POD);
    pod.update("kubectl", json!({"spec": {"hostname": "h"}, "status": {"phase": "Running"}}));
    assert_eq!(pod.managers(), [("kubectl Update".into(), json!({"f:spec": {"f:hostname": {}}}))]);
    let status = json!({"phase": "Failed", "conditions": [{"type": "Ready", "status": "True"}]});
    pod.update_through("status", "kubelet", json!({"spec": {"hostname": "z"}, "status": status}));
    assert_eq!(
        pod.fields_of("kubelet Update status"),
        json!({"f:status": {
            "f:conditions": {".": {}, "k:{\"type\":\"Ready\"}": {".": {}, "f:status": {}, "f:type": {}}},
            "f:phase": {},
        }})
    );
    assert_eq!(pod.fields_of("kubectl Update"), json!({"f:spec": {"f:hostname": {}}}));
}

#[test]
fn clients_may_send_managed_fields_or_clear_them() {
    let mut map = Object::new(&MAP);
    map.update("a", data(json!({"x": "1"})));
    let send = |map: &mut Object, list: Value| {
        map.update("b", json!({"metadata": {"managedFields": list}, "data": {"x": "1"}}));
    };
    let entry = |manager: &str| {
        json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": NOW,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:x": {}}}})
    };
    send(&mut map, json!([entry("c")]));
    assert_eq!(map.managers(), [("c Update".into(), json!({"f:data": {"f:x": {}}}))]);
    // what cannot be read is not taken
    send(&mut map, json!([{"manager": "z", "operation": "Guess", "apiVersion": "v1"}]));
    send(&mut map, json!([{"manager": "z", "operation": "Update", "apiVersion": "v1"}]));
    send(&mut map, Value::Null);
    assert_eq!(map.managers().len(), 1);
    // through a subresource nothing is taken
    map.update_through("status", "b", json!({"metadata": {"managedFields": [{}]}, "data": {"x": "1"}}));
    assert_eq!(map.managers().len(), 1);
    send(&mut map, json!([{}]));
    assert_eq!(map.managers(), []);
    map.update("d", data(json!({"x": "4"})));
    assert_eq!(map.managers(), []);
    assert!(map.object()["metadata"].get("managedFields").is_none());
}

#[test]
fn more_than_ten_updaters_become_ancient() {
    let mut map = Object::new(&MAP);
    let mut all = json!({});
    for number in 0..12 {
        all[format!("k{number:02}")] = "1".into();
        map.update(&format!("m{number:02}"), data(all.clone()));
    }
    let names: Vec<String> = map.managers().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 10, "{names:?}");
    assert_eq!(names[0], "ancient-changes Update");
    assert_eq!(
        map.fields_of("ancient-changes Update"),
        json!({"f:data": {".": {}, "f:k00": {}, "f:k01": {}, "f:k02": {}}})
    );
}

#[test]
fn a_configuration_has_to_be_of_the_kind_and_without_managed_fields() {
    let reset = Object::new(&MAP).reset("");
    let tracker = tracker(&MAP, "", &reset);
    let cases = [
        (
            json!({"apiVersion": "apps/v1", "kind": "Deployment"}),
            400,
            "invalid object type: apps/v1, Kind=Deployment",
        ),
        (json!({"apiVersion": "v1", "kind": "Secret"}), 400, "invalid object type: /v1, Kind=Secret"),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": []}}),
            400,
            "metadata.managedFields must be nil",
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n", "namespace": "ns"}, "dat": 1}),
            500,
            "failed to create typed patch object (ns/n; /v1, Kind=ConfigMap): .dat: field not declared in schema",
        ),
    ];
    for (config, code, message) in cases {
        let refused = tracker.apply(None, &config, "m", true).expect_err("refused");
        assert_eq!((refused.code, refused.message.as_str()), (code, message));
    }
}

#[test]
fn names_of_managers_are_shown_as_upstream_shows_them() {
    let who = |manager, operation, subresource| Identity {
        manager,
        operation,
        api_version: "apps/v1",
        subresource,
    };
    assert_eq!(who("a", Operation::Apply, "").shown(), r#""a""#);
    assert_eq!(who("a", Operation::Update, "").shown(), r#""a" using apps/v1"#);
    assert_eq!(who("a", Operation::Update, "scale").shown(), r#""a" with subresource "scale" using apps/v1"#);
    assert_eq!(
        who("a", Operation::Update, "scale").text(),
        r#"{"manager":"a","operation":"Update","apiVersion":"apps/v1","subresource":"scale"}"#
    );
    assert_eq!(conflict::error(Vec::new()).code, 409);
}

#[test]
fn a_scale_takes_the_replicas_and_nothing_else() {
    let mut deployment = Object::new(&DEPLOYMENT);
    deployment.apply("one", json!({"spec": {"replicas": 1, "paused": true}})).expect("first");
    let live = deployment.object();
    let replicas =
        |version: &str| (version == "apps/v1").then(|| vec!["spec".to_owned(), "replicas".to_owned()]);
    let mut shown = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"uid": "u"}, "spec": {"replicas": 1}});
    shown["metadata"]["managedFields"] = scale::of_object(live, &replicas).expect("one has them");
    assert_eq!(shown["metadata"]["managedFields"][0]["apiVersion"], "autoscaling/v1");
    let versions = super::One("autoscaling/v1", "io.k8s.api.autoscaling.v1.Scale");
    let reset = Default::default();
    let through = tracker(&versions, "scale", &reset);
    let mut new = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"uid": "u"}, "spec": {"replicas": 5}});
    through.update(Some(&shown), &mut new, "kubectl");
    let list = scale::to_object(live, &new, "apps/v1", &replicas).expect("some");
    let managed = Managed::read(&list).expect("well formed");
    let fields: Vec<(String, Value)> =
        managed.entries.iter().map(|e| (e.identity().text(), e.set().to_value())).collect();
    assert_eq!(
        fields,
        [
            (r#"{"manager":"one","operation":"Apply"}"#.to_owned(), json!({"f:spec": {"f:paused": {}}})),
            (
                r#"{"manager":"kubectl","operation":"Update","apiVersion":"apps/v1","subresource":"scale"}"#
                    .to_owned(),
                json!({"f:spec": {"f:replicas": {}}}),
            ),
        ]
    );
    // and an applier of the Scale meets the object's
    let config = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "x"}, "spec": {"replicas": 7}});
    let refused = through.apply(Some(&shown), &config, "hpa", false).expect_err("conflict");
    assert_eq!(refused.message, r#"Apply failed with 1 conflict: conflict with "one": .spec.replicas"#);
    assert!(Set::from_value(&list[0]["fieldsV1"]).is_ok());
}

#[test]
fn what_others_have_and_all_is_taken_out_of_is_as_go_leaves_it() {
    // a struct by value is there with nothing in it
    let mut deployment = Object::new(&DEPLOYMENT);
    deployment.apply("one", json!({"spec": {"strategy": {"type": "Recreate"}}})).expect("first");
    deployment.apply("two", json!({"spec": {"strategy": {}}})).expect("shared");
    deployment.apply("one", json!({})).expect("nothing");
    assert_eq!(deployment.object()["spec"], json!({"strategy": {}}));
    assert_eq!(deployment.fields_of("two Apply"), json!({"f:spec": {"f:strategy": {}}}));
    // a map is null, which no decoder keeps; who had it goes on having it
    let mut map = Object::new(&MAP);
    map.update("edit", data(json!({})));
    map.apply("one", data(json!({"a": "1"}))).expect("first");
    map.apply("one", json!({})).expect("nothing");
    assert_eq!(map.object().get("data"), Some(&Value::Null));
    assert_eq!(map.managers(), [("edit Update".into(), json!({"f:data": {}}))]);
    // so is an optional struct
    let mut pod = Object::new(&POD);
    let config = |fs_group: Value| json!({"spec": {"securityContext": fs_group}});
    pod.apply("one", config(json!({"fsGroup": 1}))).expect("first");
    pod.apply("two", config(json!({}))).expect("shared");
    pod.apply("one", json!({})).expect("nothing");
    assert_eq!(pod.object()["spec"].get("securityContext"), Some(&Value::Null));
}

#[test]
fn an_item_goes_with_who_applied_it_whoever_has_a_part_of_it() {
    let mut pod = Object::new(&POD);
    let container = |rest: Value| {
        let mut container = json!({"name": "a", "image": "i"});
        container.as_object_mut().expect("an object").extend(rest.as_object().cloned().unwrap_or_default());
        json!({"spec": {"hostname": "h", "containers": [container]}})
    };
    pod.apply("one", container(json!({}))).expect("first");
    pod.update("edit", container(json!({"workingDir": "/w"})));
    let part = json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:workingDir": {}}}}});
    assert_eq!(pod.fields_of("edit Update"), part);
    pod.apply("one", json!({"spec": {"hostname": "h"}})).expect("without");
    assert_eq!(pod.object()["spec"], json!({"hostname": "h", "containers": null}));
    assert_eq!(pod.fields_of("edit Update"), Value::Null);
}
