use super::*;
use crate::strict::tests::{Toy, any_json};
use proptest::prelude::*;
use serde_json::{Map, json};

fn smp(ty: &'static str, object: Value, patch: Value) -> Result<Value, StrategicError> {
    let mut object = object;
    let Value::Object(patch) = patch else { panic!("a patch is an object") };
    strategic(&mut object, patch, Toy::of(ty))?;
    Ok(object)
}

fn containers(list: Value) -> Value {
    json!({"spec": {"containers": list}})
}

#[test]
fn keyed_lists_merge_by_key() {
    let before = containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]));
    for (patch, after) in [
        (
            json!([{"name": "b", "image": "3"}]),
            json!([{"name": "a", "image": "1"}, {"name": "b", "image": "3"}]),
        ),
        (
            json!([{"name": "c"}]),
            json!([{"name": "c"}, {"name": "a", "image": "1"}, {"name": "b", "image": "2"}]),
        ),
        (json!([{"name": "a", "$patch": "delete"}]), json!([{"name": "b", "image": "2"}])),
        (json!([{"$patch": "replace"}, {"name": "z"}]), json!([{"name": "z"}])),
        (json!([{"name": "a", "image": null}]), json!([{"name": "a"}, {"name": "b", "image": "2"}])),
        (
            json!([{"name": "a", "$patch": "replace", "args": []}]),
            json!([{"name": "a", "args": []}, {"name": "b", "image": "2"}]),
        ),
        (
            json!([{"name": "a", "$patch": "merge", "args": ["x"]}]),
            json!([{"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "2"}]),
        ),
    ] {
        assert_eq!(smp("Pod", before.clone(), containers(patch.clone())), Ok(containers(after)), "{patch}");
    }
}

#[test]
fn order_is_set_by_directive() {
    let before = containers(json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]));
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}, {"name": "d"}],
        "containers": [{"name": "d", "image": "4"}]
    }});
    let after = smp("Pod", before.clone(), patch).unwrap();
    let names: Vec<&str> =
        after["spec"]["containers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["b", "c", "a", "d"]);
    let wrong =
        json!({"spec": {"$setElementOrder/containers": [{"name": "c"}], "containers": [{"name": "d"}]}});
    assert!(matches!(smp("Pod", before, wrong), Err(StrategicError::Order(..))));
}

#[test]
fn primitive_lists_merge_or_are_replaced() {
    let meta = |list: Value| json!({"metadata": {"finalizers": list}});
    assert_eq!(
        smp("Pod", meta(json!(["a", "b"])), meta(json!(["b", "c"]))),
        Ok(meta(json!(["a", "b", "c"])))
    );
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}});
    assert_eq!(smp("Pod", meta(json!(["a", "b"])), patch), Ok(meta(json!(["b"]))));
    let patch = json!({"metadata": {"$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"]}});
    assert_eq!(smp("Pod", meta(json!(["a", "b"])), patch), Ok(meta(json!(["c", "a", "b"]))));
    let args = |list: Value| containers(json!([{"name": "a", "args": list}]));
    assert_eq!(smp("Pod", args(json!(["x", "y"])), args(json!(["z"]))), Ok(args(json!(["z"]))));
}

#[test]
fn a_directive_for_a_list_that_is_not_there_leaves_nothing() {
    let patch = json!({"status": {"podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.1"}]}});
    let after = json!({"status": {"podIPs": [{"ip": "10.0.0.1"}]}});
    assert_eq!(smp("Pod", json!({"status": {}}), patch), Ok(after));
}

#[test]
fn maps_merge_and_keep_what_is_retained() {
    let strategy = |s: Value| json!({"spec": {"strategy": s}});
    let before = strategy(json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}));
    let patch = strategy(json!({"$retainKeys": ["type"], "type": "Recreate"}));
    assert_eq!(smp("Deployment", before.clone(), patch), Ok(strategy(json!({"type": "Recreate"}))));
    let patch = strategy(json!({"$patch": "replace", "type": "Recreate"}));
    assert_eq!(smp("Deployment", before.clone(), patch), Ok(strategy(json!({"type": "Recreate"}))));
    let patch = strategy(json!({"$patch": "delete"}));
    assert_eq!(smp("Deployment", before.clone(), patch), Ok(strategy(json!({}))));
    let patch = strategy(json!({"$retainKeys": ["rollingUpdate"], "type": "Recreate"}));
    assert_eq!(smp("Deployment", before, patch), Err(StrategicError::RetainKeysContent));
    let labels = |l: Value| json!({"metadata": {"labels": l}});
    assert_eq!(
        smp("Pod", labels(json!({"a": "1", "b": "2"})), labels(json!({"a": null, "c": "3"}))),
        Ok(labels(json!({"b": "2", "c": "3"})))
    );
}

#[test]
fn directives_without_counterpart_leave_no_trace() {
    let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a", "x": null}, {"name": "b", "$patch": "delete"}], "$retainKeys": ["containers"]}});
    assert_eq!(smp("Pod", json!({}), patch), Ok(containers(json!([{"name": "a"}]))));
}

#[test]
fn wrong_directives_are_refused() {
    let before = containers(json!([{"name": "a"}]));
    for (patch, error) in [
        (
            containers(json!([{"image": "x"}])),
            "map: {\"image\":\"x\"} does not contain declared merge key: name",
        ),
        (json!({"spec": {"$patch": "nonsense"}}), "unknown patch type: \"nonsense\" in map: {}"),
        (json!({"spec": {"$retainKeys": 1}}), "invalid patch format of retainKeys"),
        (json!({"spec": {"$setElementOrder/containers": 1}}), "invalid patch format of setElementOrder list"),
        (json!({"spec": {"$deleteFromPrimitiveList/x": 1}}), "invalid patch format of primitive list"),
    ] {
        assert_eq!(smp("Pod", before.clone(), patch).unwrap_err().to_string(), error);
    }
}

const POD: Expected<'static> = Expected { group: "", version: "v1", kind: "Pod" };

fn full(patch_type: PatchType, patch: &str, mode: FieldValidation) -> Result<Decoded, ApiError> {
    let object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a"}]}});
    apply(patch_type, patch.as_bytes(), &object, Toy::of("Pod"), POD, mode)
}

#[test]
fn each_patch_type_applies() {
    for (patch_type, patch) in [
        (PatchType::Json, r#"[{"op": "add", "path": "/metadata/labels/c", "value": "d"}]"#),
        (PatchType::Merge, r#"{"metadata": {"labels": {"c": "d"}}}"#),
        (PatchType::Strategic, r#"{"metadata": {"labels": {"c": "d"}}}"#),
    ] {
        let value = full(patch_type, patch, FieldValidation::Strict).unwrap().value;
        assert_eq!(value["metadata"]["labels"], json!({"a": "b", "c": "d"}));
    }
}

#[test]
fn answers_to_wrong_patches() {
    for (patch_type, patch, code) in [
        (PatchType::Json, r#"[{"op": "test", "path": "/metadata/labels/a", "value": "x"}]"#, 422),
        (PatchType::Json, r#"[{"op": "remove", "path": "/metadata/labels/x"}]"#, 422),
        (PatchType::Json, r#"[{"op": "sing", "path": "/x"}]"#, 422),
        (PatchType::Json, r#"{"metadata": {}}"#, 400),
        (PatchType::Json, r#"[{"op": "replace", "path": "", "value": 1}]"#, 422),
        (PatchType::Json, r#"[{"op": "replace", "path": "/spec", "value": 1}]"#, 422),
        (PatchType::Json, "{", 400),
        (PatchType::Merge, "[]", 400),
        (PatchType::Merge, r#"{"spec": {"containers": 1}}"#, 422),
        (PatchType::Merge, r#"{"kind": "Service"}"#, 400),
        (PatchType::Strategic, r#"{"spec": {"containers": [{}]}}"#, 422),
        (PatchType::Strategic, "[]", 400),
    ] {
        assert_eq!(full(patch_type, patch, FieldValidation::Ignore).unwrap_err().code, code, "{patch}");
    }
    let object = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"a"}],"x":1}}"#;
    let unknown = "strict decoding error: unknown field \"spec.x\"";
    for (patch_type, patch, shown, why) in [
        (PatchType::Merge, r#"{"spec": {"x": 1}}"#, object, unknown),
        (PatchType::Strategic, r#"{"spec": {"x": 1}}"#, "map[spec:map[x:1]]", unknown),
        (
            PatchType::Strategic,
            r#"{"metadata": {"labels": "x"}}"#,
            "map[metadata:map[labels:x]]",
            "cannot restore map from string",
        ),
    ] {
        let error = full(patch_type, patch, FieldValidation::Strict).unwrap_err();
        assert_eq!(error.message, format!(" \"\" is invalid: patch: Invalid value: {shown:?}: {why}"));
    }
}

#[test]
fn what_kubectl_sends_applies_by_the_field_table() {
    let node = crate::strict::Spot::root("io.k8s.api.apps.v1.Deployment").unwrap();
    let before = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "w", "finalizers": ["a/a"]}, "spec": {
    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
    "template": {"spec": {
        "containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}], "ports": [{"containerPort": 80}]}, {"name": "b", "image": "1"}],
        "volumes": [{"name": "v", "emptyDir": {}}]
    }}}});
    let patch = json!({"metadata": {"finalizers": ["b/b"]}, "spec": {
    "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
    "template": {"spec": {
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
        "containers": [{"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}], "ports": [{"containerPort": 80, "$patch": "delete"}]}],
        "volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/"}}]
    }}}});
    let expected = Expected { group: "apps", version: "v1", kind: "Deployment" };
    let patched = apply(
        PatchType::Strategic,
        patch.to_string().as_bytes(),
        &before,
        node,
        expected,
        FieldValidation::Strict,
    );
    let value = patched.unwrap().value;
    assert_eq!(value["metadata"]["finalizers"], json!(["b/b", "a/a"]));
    assert_eq!(value["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(
        value["spec"]["template"]["spec"],
        json!({
            "containers": [{"name": "b", "image": "1"}, {"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]}],
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}]
        })
    );
}

#[test]
fn copies_cannot_blow_up_the_object() {
    let copy = r#"{"op": "copy", "from": "/spec", "path": "/spec/a"}"#;
    let patch = format!("[{}]", vec![copy; 5000].join(","));
    assert_eq!(full(PatchType::Json, &patch, FieldValidation::Ignore).unwrap_err().code, 422);
}

proptest! {
    #[test]
    fn patches_never_panic(object in any_json(), patch in any_json()) {
        let body = patch.to_string();
        for patch_type in [PatchType::Json, PatchType::Merge, PatchType::Strategic] {
            let _ = apply(patch_type, body.as_bytes(), &object, Toy::of("Pod"), POD, FieldValidation::Ignore);
        }
    }

    #[test]
    fn an_empty_patch_changes_nothing(object in any_json()) {
        if object.is_object() {
            let mut patched = object.clone();
            strategic(&mut patched, Map::new(), Toy::of("Pod")).unwrap();
            prop_assert_eq!(patched, object);
        }
    }
}

#[test]
fn a_json_patch_is_a_list_of_operations() {
    let of = |body: &str, mode| {
        let raw = raw(PatchType::Json, body.as_bytes(), &json!({}), mode);
        raw.map_err(|error| error.message).map(|(value, _)| value)
    };
    let begin = "error decoding patch: json: cannot unmarshal";
    let cases = [
        ("{}", format!("{begin} object into Go value of type []handlers.jsonPatchOp")),
        ("[1]", format!("{begin} number into Go value of type handlers.jsonPatchOp")),
        (r#"[{"op": 1}]"#, format!("{begin} number into Go struct field jsonPatchOp.op of type string")),
    ];
    for (body, expected) in cases {
        assert_eq!(of(body, FieldValidation::Warn), Err(expected));
    }
    let lax = "json: cannot unmarshal object into Go value of type jsonpatch.Patch".to_owned();
    assert_eq!(of("{}", FieldValidation::Ignore), Err(lax));
    assert_eq!(of("null", FieldValidation::Warn), Ok(json!({})));
    let refused =
        |why: &str| Err(format!("the server rejected our request due to an error in our request: {why}"));
    for (body, expected) in [
        (r#"[{"op": "frob", "path": "/a"}]"#, refused("Unexpected kind: frob")),
        (r#"[{"path": "/a"}]"#, refused("Unexpected kind: unknown")),
        (r#"[{"op": "add", "path": "/a"}]"#, Ok(json!({"a": null}))),
        (r#"[{"op": "add"}]"#, refused("add operation failed to decode path: missing value")),
        (r#"[{"op": "add", "path": "x/a", "value": 1}]"#, Ok(json!({"a": 1}))),
        (
            r#"[{"op": "remove", "path": "/a"}]"#,
            refused("error in remove for path: '/a': Unable to remove nonexistent key: a: missing value"),
        ),
        (
            r#"[{"op": "remove", "path": "/a/b"}]"#,
            refused("remove operation does not apply: doc is missing path: \"/a/b\": missing value"),
        ),
        (
            r#"[{"op": "move", "path": "/a"}]"#,
            refused("move operation failed to decode from: operation, missing from field: missing value"),
        ),
    ] {
        assert_eq!(of(body, FieldValidation::Warn), expected, "{body}");
    }
    let body = br#"[{"op": "add", "path": "/a", "value": 1, "foo": 2}]"#;
    let problems = raw(PatchType::Json, body, &json!({}), FieldValidation::Strict).unwrap().1;
    assert_eq!(problems, ["json patch unknown field \"[0].foo\""]);
}

#[test]
fn a_json_patch_is_done_as_evanphx_does_it() {
    let object = json!({"m": {"a": 1, "n": null}, "l": ["x", "y"], "b/c": {"~": 1}});
    #[rustfmt::skip]
    let cases = [
        // what is not there is null
        (r#"{"op": "replace", "path": "/m/new", "value": 2}"#, Ok(("/m/new", json!(2)))),
        (r#"{"op": "copy", "from": "/nope", "path": "/m/a"}"#, Ok(("/m/a", Value::Null))),
        (r#"{"op": "test", "path": "/nope", "value": null}"#, Ok(("/m/a", json!(1)))),
        (r#"{"op": "test", "path": "/m/n"}"#, Ok(("/m/a", json!(1)))),
        (r#"{"op": "test", "path": "/m/a"}"#, Err("testing value /m/a failed: test failed")),
        (r#"{"op": "test", "path": "/nope/a", "value": 1}"#, Err("test operation does not apply: is missing path: /nope/a: missing value")),
        (r#"{"op": "test", "path": "", "value": {}}"#, Err("testing value  failed: test failed")),
        // lists
        (r#"{"op": "add", "path": "/l/-1", "value": "z"}"#, Ok(("/l", json!(["x", "y", "z"])))),
        (r#"{"op": "add", "path": "/l/-3", "value": "z"}"#, Ok(("/l", json!(["z", "x", "y"])))),
        (r#"{"op": "add", "path": "/l/-", "value": "z"}"#, Ok(("/l", json!(["x", "y", "z"])))),
        (r#"{"op": "add", "path": "/l/1", "value": "z"}"#, Ok(("/l", json!(["x", "z", "y"])))),
        (r#"{"op": "test", "path": "/l/-1", "value": "y"}"#, Ok(("/l", json!(["x", "y"])))),
        (r#"{"op": "replace", "path": "/l/-2", "value": "z"}"#, Ok(("/l", json!(["z", "y"])))),
        (r#"{"op": "remove", "path": "/l/-1"}"#, Ok(("/l", json!(["x"])))),
        (r#"{"op": "move", "from": "/l/0", "path": "/l/1"}"#, Ok(("/l", json!(["y", "x"])))),
        (r#"{"op": "add", "path": "/l/9", "value": 1}"#, Err("error in add for path: '/l/9': Unable to access invalid index: 9: invalid index referenced")),
        (r#"{"op": "add", "path": "/l/q", "value": 1}"#, Err("error in add for path: '/l/q': value was not a proper array index: 'q': strconv.Atoi: parsing \"q\": invalid syntax")),
        (r#"{"op": "replace", "path": "/l/2", "value": 1}"#, Err("replace operation does not apply: doc is missing key: /l/2: missing value")),
        (r#"{"op": "remove", "path": "/l/2"}"#, Err("error in remove for path: '/l/2': Unable to access invalid index: 2: invalid index referenced")),
        (r#"{"op": "test", "path": "/l/q", "value": 1}"#, Err("error in test for path: '/l/q': strconv.Atoi: parsing \"q\": invalid syntax")),
        // places
        (r#"{"op": "add", "path": "/b~1c/~0", "value": 2}"#, Ok(("/b~1c/~0", json!(2)))),
        (r#"{"op": "move", "from": "/m/nope", "path": "/x"}"#, Err("error in move for path: 'nope': Unable to remove nonexistent key: nope: missing value")),
        (r#"{"op": "move", "from": "/nope/a", "path": "/x"}"#, Err("move operation does not apply: doc is missing from path: /nope/a: missing value")),
        (r#"{"op": "copy", "from": "/m", "path": "/x/y"}"#, Err("copy operation does not apply: doc is missing destination path: /x/y: missing value")),
        (r#"{"op": "add", "path": "", "value": {}}"#, Err("add operation does not apply: doc is missing path: \"\": missing value")),
        (r#"{"op": "add", "path": "/m/a/b", "value": 1}"#, Err("add operation does not apply: doc is missing path: \"/m/a/b\": missing value")),
        (r#"{"op": "replace", "path": "", "value": {"k": 1}}"#, Ok(("/k", json!(1)))),
    ];
    for (operation, expected) in cases {
        let mut object = object.clone();
        let patch: Value = serde_json::from_str(&format!("[{operation}]")).unwrap();
        match (super::json::apply(&mut object, &patch, FieldValidation::Warn), expected) {
            (Ok(()), Ok((path, value))) => assert_eq!(object.pointer(path), Some(&value), "{operation}"),
            (Err(error), Err(why)) => assert!(error.message.ends_with(why), "{operation}: {}", error.message),
            (done, _) => panic!("{operation}: {done:?}"),
        }
    }
}

#[test]
fn what_is_no_patch_is_told_in_gos_words() {
    use FieldValidation::{Ignore, Warn};
    let map = "json: cannot unmarshal array into Go value of type map[string]interface {}";
    let syntax = "invalid character '}' looking for beginning of value";
    #[rustfmt::skip]
    let cases = [
        (PatchType::Json, "[}", Warn, format!("error decoding patch: {syntax}")),
        (PatchType::Json, "[}", Ignore, syntax.to_owned()),
        (PatchType::Merge, "[}", Warn, format!("error decoding patch: {syntax}")),
        (PatchType::Merge, "[}", Ignore, "invalid JSON Patch".to_owned()),
        (PatchType::Merge, "[]", Warn, format!("error decoding patch: {map}")),
        (PatchType::Merge, "null", Warn, "invalid JSON Patch".to_owned()),
        (PatchType::Strategic, "[}", Warn, syntax.to_owned()),
        (PatchType::Strategic, "[]", Warn, map.to_owned()),
    ];
    let expected = Expected { group: "", version: "v1", kind: "Pod" };
    for (of, body, mode, why) in cases {
        let refused = apply(of, body.as_bytes(), &json!({"kind": "Pod"}), Toy::of("Pod"), expected, mode);
        assert_eq!(refused.unwrap_err().message, why, "{of:?} {body}");
    }
}
