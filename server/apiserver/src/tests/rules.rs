//! Custom resources with rules in CEL, and admission configured for them.

use super::*;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const BOATS: &str = "/apis/boats.example.com/v1/namespaces/default/boats";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

fn definition() -> Value {
    let schema = json!({"type": "object",
        "x-kubernetes-validations": [{"rule": "self.metadata.name.size() < 8", "message": "the name is too long"}],
        "properties": {
            "spec": {"type": "object", "required": ["hull"],
                "x-kubernetes-validations": [
                    {"rule": "self.crew <= self.seats", "fieldPath": ".crew", "reason": "FieldValueForbidden",
                        "messageExpression": "'no more than ' + string(self.seats)"}],
                "properties": {
                    "hull": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is fixed"}]},
                    "crew": {"type": "integer", "default": 0}, "seats": {"type": "integer", "default": 2},
                    "sails": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "required": ["name"], "properties": {
                            "name": {"type": "string"}, "area": {"type": "integer"}}}}}},
            "status": {"type": "object", "properties": {"speed": {"type": "integer",
                "x-kubernetes-validations": [{"rule": "self >= 0"}]}}}}});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.crew", "statusReplicasPath": ".status.speed"}}})
    };
    json!({"metadata": {"name": "boats.boats.example.com"}, "spec": {"group": "boats.example.com",
        "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"},
        "versions": [version("v1", true), version("v2", false)]}})
}

fn boat(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "boats.example.com/v1", "kind": "Boat", "metadata": {"name": name}, "spec": spec})
}

async fn with_boats() -> World {
    let world = world().await;
    world.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    let created = world.post(CRDS, definition()).await;
    assert_eq!(created.code, 201, "{}", created.body);
    assert!(!created.headers.contains_key("warning"));
    world.until("boats.boats.example.com", "Established", "True").await;
    world
}

#[tokio::test]
async fn rules_are_asked_of_objects_their_changes_status_and_scale() {
    let w = with_boats().await;
    let refused = w.post(BOATS, boat("a", json!({"hull": "oak", "crew": 3}))).await;
    assert_eq!(refused.code, 422);
    assert_eq!(
        refused.body["message"],
        "Boat.boats.example.com \"a\" is invalid: spec.crew: Forbidden: no more than 2"
    );
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "FieldValueForbidden");
    let refused = w.post(BOATS, boat("much-too-long", json!({"hull": "oak"}))).await;
    assert_eq!(
        refused.body["message"],
        "Boat.boats.example.com \"much-too-long\" is invalid: <nil>: Invalid value: the name is too long"
    );
    let unasked = w.post(BOATS, boat("a", json!({"crew": 3}))).await;
    let message = unasked.body["message"].as_str().unwrap();
    assert!(message.contains("spec.hull: Required value"), "{message}");
    assert!(
        message.contains(
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid"
        ),
        "{message}"
    );
    assert_eq!(w.post(BOATS, boat("a", json!({"hull": "oak", "crew": 1}))).await.code, 201);
    let uri = format!("{BOATS}/a");
    let refused = w.merge(&uri, json!({"spec": {"hull": "steel"}})).await;
    assert_eq!(
        refused.body["message"],
        "Boat.boats.example.com \"a\" is invalid: spec.hull: Invalid value: \"steel\": is fixed"
    );
    let refused = w.merge(&format!("{uri}/status"), json!({"status": {"speed": -1}})).await;
    assert_eq!(
        refused.body["message"],
        "Boat.boats.example.com \"a\" is invalid: [.status.speed: Invalid value: -1: should be a non-negative integer, \
         status.speed: Invalid value: -1: failed rule: self >= 0]"
    );
    assert_eq!(w.merge(&format!("{uri}/status"), json!({"status": {"speed": 1}})).await.code, 200);
    let refused = w.merge(&format!("{uri}/scale"), json!({"spec": {"replicas": 3}})).await;
    assert_eq!(refused.code, 422, "{}", refused.body);
    assert_eq!(w.merge(&format!("{uri}/scale"), json!({"spec": {"replicas": 2}})).await.code, 200);
}

#[tokio::test]
async fn rules_of_a_changed_definition_count_at_once_for_what_changes() {
    let w = with_boats().await;
    assert_eq!(w.post(BOATS, boat("a", json!({"hull": "oak", "crew": 1}))).await.code, 201);
    let at =
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/crew/x-kubernetes-validations";
    let patch =
        json!([{"op": "add", "path": at, "value": [{"rule": "self != 1", "message": "never alone"}]}]);
    let uri = format!("{CRDS}/boats.boats.example.com");
    let changed = w.call("PATCH", &uri, "application/json-patch+json", &patch.to_string()).await;
    assert_eq!(changed.code, 200, "{}", changed.body);
    let same = w.merge(&format!("{BOATS}/a"), json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(same.code, 200, "{}", same.body);
    assert_eq!(same.headers["warning"], "299 - \"spec.crew: Invalid value: 1: never alone\"");
    let other = w.post(BOATS, boat("b", json!({"hull": "oak", "crew": 1}))).await;
    assert_eq!(other.code, 422);
    // and a rule that does not compile is refused
    let patch = json!([{"op": "replace", "path": at, "value": [{"rule": "self.x > 1"}]}]);
    let refused = w.call("PATCH", &uri, "application/json-patch+json", &patch.to_string()).await;
    assert_eq!(refused.code, 422);
    let message = refused.body["message"].as_str().unwrap();
    for part in [
        "properties[crew].x-kubernetes-validations[0].rule: Invalid value: {\"Rule\":\"self.x > 1\"",
        "compilation failed: ERROR: <input>:1:5: ",
    ] {
        assert!(message.contains(part), "{part}\n{message}");
    }
}

#[tokio::test]
async fn policies_know_custom_kinds() {
    let w = with_boats().await;
    // parameters of a custom kind, which may come after the policy
    let rules = |versions: &str| {
        json!({"matchPolicy": "Equivalent", "resourceRules": [{"operations": ["CREATE"],
            "apiGroups": ["boats.example.com"], "apiVersions": [versions], "resources": ["boats"]}]})
    };
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "paramKind": {"apiVersion": "boats.example.com/v1", "kind": "Boat"},
        "matchConstraints": rules("v2"),
        "matchConditions": [{"name": "others", "expression": "object.metadata.name != 'model'"}],
        "validations": [
            {"expression": "object.apiVersion == 'boats.example.com/v2'"},
            {"expression": "object.spec.seats <= params.spec.seats", "message": "too big"}]}});
    assert_eq!(w.post(&format!("{GROUP}/validatingadmissionpolicies"), policy).await.code, 201);
    assert_eq!(w.post(BOATS, boat("model", json!({"hull": "oak", "seats": 4}))).await.code, 201);
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"],
        "paramRef": {"name": "model", "namespace": "default", "parameterNotFoundAction": "Deny"}}});
    let made = w.post(&format!("{GROUP}/validatingadmissionpolicybindings"), binding).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let big = w.post(BOATS, boat("big", json!({"hull": "oak", "seats": 5}))).await;
    assert_eq!(
        big.body["message"],
        "boats.boats.example.com \"big\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: too big"
    );
    let small = w.post(BOATS, boat("small", json!({"hull": "oak", "seats": 4}))).await;
    assert_eq!(small.code, 201, "{}", small.body);
}

#[tokio::test]
async fn what_a_policy_applies_is_merged_as_the_custom_schema_says() {
    let w = with_boats().await;
    let policy = json!({"metadata": {"name": "m"}, "spec": {
        "matchConstraints": {"resourceRules": [{"operations": ["CREATE"],
            "apiGroups": ["boats.example.com"], "apiVersions": ["*"], "resources": ["boats"]}]},
        "failurePolicy": "Fail", "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{spec: Object.spec{sails: [Object.spec.sails{name: 'main', area: 9}]}}"}}]}});
    let made = w.post(&format!("{GROUP}/mutatingadmissionpolicies"), policy).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let binding = json!({"metadata": {"name": "m"}, "spec": {"policyName": "m"}});
    assert_eq!(w.post(&format!("{GROUP}/mutatingadmissionpolicybindings"), binding).await.code, 201);
    let sails = json!([{"name": "main", "area": 1}, {"name": "fore", "area": 2}]);
    let made = w.post(BOATS, boat("a", json!({"hull": "oak", "sails": sails}))).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["spec"]["sails"], json!([{"name": "main", "area": 9}, {"name": "fore", "area": 2}]));
}

#[tokio::test]
async fn a_rule_that_does_not_compile_is_found_where_upstream_finds_it() {
    let w = world().await;
    let mut wrong = definition();
    for version in wrong["spec"]["versions"].as_array_mut().unwrap() {
        version["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = json!([{"rule": "self.nothing"}]);
    }
    let refused = w.post(CRDS, wrong).await;
    let start = "CustomResourceDefinition.apiextensions.k8s.io \"boats.boats.example.com\" is invalid: spec.validation.openAPIV3Schema.x-kubernetes-validations[0].rule: Invalid value: {";
    let message = refused.body["message"].as_str().unwrap();
    assert!(message.starts_with(start), "{message}");
}
