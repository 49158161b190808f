//! Admission policies through the front door.

use super::*;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

impl World {
    async fn policy(&self, sort: &str, spec: Value, binding: Value) {
        let mut spec = spec;
        spec["matchConstraints"] = json!({"resourceRules": [
            {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]});
        let made = self
            .post(
                &format!("{GROUP}/{sort}admissionpolicies"),
                json!({"metadata": {"name": "p"}, "spec": spec}),
            )
            .await;
        assert_eq!(made.code, 201, "{}", made.body);
        let mut binding = binding;
        binding["policyName"] = "p".into();
        let body = json!({"metadata": {"name": "b"}, "spec": binding});
        let made = self.post(&format!("{GROUP}/{sort}admissionpolicybindings"), body).await;
        assert_eq!(made.code, 201, "{}", made.body);
    }

    async fn config(&self, name: &str, data: Value) -> Got {
        self.post(MAPS, json!({"metadata": {"name": name}, "data": data})).await
    }
}

async fn secured() -> World {
    let world = world().await;
    world.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    world
}

#[tokio::test]
async fn a_policy_refuses_what_its_validations_do_not_hold_for() {
    let w = secured().await;
    let spec = json!({
        "variables": [{"name": "size", "expression": "int(object.data.size)"}, {"name": "twice", "expression": "variables.size * 2"}],
        "matchConditions": [{"name": "sized", "expression": "has(object.data.size)"}],
        "validations": [
            {"expression": "variables.twice <= 10", "messageExpression": "'twice ' + string(variables.size) + ' is too much'"},
            {"expression": "object.metadata.name != 'secret'", "message": "not this name", "reason": "Forbidden"},
            {"expression": "request.userInfo.username == 'test' && request.namespace == 'default' && namespaceObject.metadata.name == request.namespace"},
            {"expression": "authorizer.group('').resource('configmaps').namespace('default').check('create').allowed()"},
        ],
    });
    w.policy("validating", spec, json!({"validationActions": ["Deny"]})).await;
    assert_eq!(w.config("any", json!({"a": "b"})).await.code, 201);
    let good = w.config("good", json!({"size": "5"})).await;
    assert_eq!(good.code, 201, "{}", good.body);
    let bad = w.config("bad", json!({"size": "6"})).await;
    let text = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: twice 6 is too much";
    assert_eq!(bad.body["message"], format!("configmaps \"bad\" is forbidden: {text}"));
    assert_eq!((bad.code, &bad.body["reason"]), (422, &json!("Invalid")));
    assert_eq!(bad.body["details"]["causes"][0]["message"], text);
    let named = w.config("secret", json!({"size": "1"})).await;
    assert_eq!((named.code, &named.body["reason"]), (403, &json!("Forbidden")));
    let failing = w.config("failing", json!({"size": "x"})).await;
    let message = failing.body["message"].as_str().unwrap();
    assert!(message.contains("expression 'variables.twice <= 10' resulted in error: composited variable \"twice\" fails to evaluate"), "{message}");
    let changed = w.merge(&format!("{MAPS}/good"), json!({"data": {"size": "9"}})).await;
    assert_eq!(changed.code, 422, "{}", changed.body);
}

#[tokio::test]
async fn a_binding_warns_where_it_is_not_to_deny() {
    let w = secured().await;
    let spec = json!({"validations": [{"expression": "false", "message": "no"}]});
    w.policy("validating", spec, json!({"validationActions": ["Warn", "Audit"]})).await;
    let made = w.config("a", json!({})).await;
    assert_eq!(made.code, 201);
    let warning = made.headers["warning"].to_str().unwrap();
    assert!(
        warning.contains("Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no"),
        "{warning}"
    );
}

#[tokio::test]
async fn parameters_come_from_the_objects_that_the_binding_names() {
    let w = secured().await;
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "others", "expression": "!object.metadata.name.startsWith('param')"}],
        "validations": [{"expression": "object.data.size == params.data.size", "message": "another size"}]});
    let binding = json!({"validationActions": ["Deny"],
        "paramRef": {"selector": {"matchLabels": {"role": "param"}}, "parameterNotFoundAction": "Deny"}});
    w.policy("validating", spec, binding).await;
    let without = w.config("a", json!({"size": "1"})).await;
    let text = "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!(without.body["message"], text);
    let gone = w.delete(&format!("{GROUP}/validatingadmissionpolicybindings/b")).await;
    assert_eq!(gone.code, 200);
    let param = json!({"metadata": {"name": "param", "labels": {"role": "param"}}, "data": {"size": "1"}});
    assert_eq!(w.post(MAPS, param).await.code, 201);
    let binding = json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "param", "parameterNotFoundAction": "Deny"}});
    let made = w
        .post(
            &format!("{GROUP}/validatingadmissionpolicybindings"),
            json!({"metadata": {"name": "c"}, "spec": binding}),
        )
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(w.config("a", json!({"size": "1"})).await.code, 201);
    assert_eq!(w.config("b", json!({"size": "2"})).await.code, 422);
}

#[tokio::test]
async fn the_status_of_a_policy_tells_of_its_types() {
    let w = secured().await;
    let rules = json!({"resourceRules": [{"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]});
    let spec =
        json!({"matchConstraints": rules, "validations": [{"expression": "object.spec.replicas > '1'"}]});
    let uri = format!("{GROUP}/validatingadmissionpolicies");
    let watch = w.raw("GET", &format!("{uri}?watch=true"), "", "application/json", "").await;
    assert_eq!(w.post(&uri, json!({"metadata": {"name": "p"}, "spec": spec})).await.code, 201);
    let mut body = watch.into_body();
    let policy = loop {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let event: Value = serde_json::from_slice(&frame).unwrap();
        if !event["object"]["status"]["observedGeneration"].is_null() {
            break event["object"].clone();
        }
    };
    assert_eq!(policy["status"]["observedGeneration"], 1);
    let warning = &policy["status"]["typeChecking"]["expressionWarnings"][0];
    assert_eq!(warning["fieldRef"], "spec.validations[0].expression");
    assert!(
        warning["warning"]
            .as_str()
            .unwrap()
            .starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload"),
        "{warning}"
    );
}

#[tokio::test]
async fn a_mutating_policy_applies_and_patches() {
    let w = secured().await;
    let spec = json!({"failurePolicy": "Fail", "reinvocationPolicy": "Never",
    "variables": [{"name": "who", "expression": "request.userInfo.username"}],
    "mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{metadata: Object.metadata{labels: {'by': variables.who}}}"}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'a/b': object.metadata.labels.by}}, JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y'), value: 'z'}]"}},
    ]});
    w.policy("mutating", spec, json!({})).await;
    let made = w.post(MAPS, json!({"metadata": {"name": "a", "labels": {"own": "1"}}})).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["metadata"]["labels"], json!({"own": "1", "by": "test", "x/y": "z"}));
    assert_eq!(made.body["metadata"]["annotations"], json!({"a/b": "test"}));
}

#[tokio::test]
async fn a_patch_whose_test_fails_is_left_out() {
    let w = secured().await;
    let patches = ["{op: 'test', path: '/data/a', value: 'x'}", "{op: 'add', path: '/data/b', value: 'y'}"];
    let [test, add] = patches.map(|patch| format!("JSONPatch{patch}"));
    let spec = json!({"failurePolicy": "Fail", "reinvocationPolicy": "Never", "mutations": [
        {"patchType": "JSONPatch", "jsonPatch": {"expression": format!("[{test}, {add}]")}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression": format!("[{}]", add.replace("/b", "/c"))}},
    ]});
    w.policy("mutating", spec, json!({})).await;
    let made = w.config("a", json!({"a": "z"})).await;
    assert_eq!(made.body["data"], json!({"a": "z", "c": "y"}), "{}", made.body);
    let made = w.config("b", json!({"a": "x"})).await;
    assert_eq!(made.body["data"], json!({"a": "x", "b": "y", "c": "y"}), "{}", made.body);
}

#[tokio::test]
async fn what_policies_are_for_is_wider_than_what_webhooks_are_for() {
    let w = secured().await;
    w.policy(
        "validating",
        json!({"validations": [{"expression": "false"}]}),
        json!({"validationActions": ["Deny"]}),
    )
    .await;
    let rules = json!({"spec": {"matchConstraints": {"resourceRules": [
        {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]}}});
    assert_eq!(w.merge(&format!("{GROUP}/validatingadmissionpolicies/p"), rules).await.code, 200);
    for (of, code) in [
        (format!("{GROUP}/validatingwebhookconfigurations"), 422),
        (format!("{GROUP}/validatingadmissionpolicybindings"), 201),
    ] {
        let spec = json!({"policyName": "other", "validationActions": ["Deny"]});
        let made = w.post(&of, json!({"metadata": {"name": "a"}, "spec": spec})).await;
        assert_eq!(made.code, code, "{of}: {}", made.body);
    }
}

#[tokio::test]
async fn what_is_deleted_with_many_has_no_name() {
    let w = secured().await;
    assert_eq!(w.config("a", json!({})).await.code, 201);
    w.policy(
        "validating",
        json!({"validations": [{"expression": "has(request.name)"}]}),
        json!({"validationActions": ["Deny"]}),
    )
    .await;
    let rules = json!({"spec": {"matchConstraints": {"resourceRules": [
        {"operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]}}});
    assert_eq!(w.merge(&format!("{GROUP}/validatingadmissionpolicies/p"), rules).await.code, 200);
    let refused = w.delete(MAPS).await;
    let message = refused.body["message"].as_str().unwrap();
    assert!(message.starts_with("configmaps is forbidden: ValidatingAdmissionPolicy 'p'"), "{message}");
    assert_eq!(w.delete(&format!("{MAPS}/a")).await.code, 200);
}

#[tokio::test]
async fn a_mutation_that_cannot_be_made_refuses() {
    let w = secured().await;
    let spec = json!({"failurePolicy": "Fail", "reinvocationPolicy": "Never", "mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{metadata: Object.wrong{}}"}}]});
    w.policy("mutating", spec, json!({})).await;
    let refused = w.config("a", json!({})).await;
    let text = "policy 'p' with binding 'b' denied request: type mismatch: unexpected type name \"Object.wrong\", expected \"Object.metadata\", which matches field name path from root Object type";
    assert_eq!((refused.code, &refused.body["message"]), (403, &json!(text)));
}

#[tokio::test]
async fn a_scale_is_asked_about_as_a_scale() {
    let w = secured().await;
    let of = |resource: &str, expression: &str| {
        let rules = json!({"resourceRules": [{"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": [resource]}]});
        json!({"matchConstraints": rules, "validations": [{"expression": expression, "message": resource}]})
    };
    for (name, resource, expression) in [
        ("whole", "deployments", "object.spec.replicas < 3"),
        (
            "scale",
            "deployments/scale",
            "object.kind == 'Scale' && request.subResource == 'scale' && request.kind.group == 'autoscaling' && oldObject.spec.replicas == 1 && object.spec.replicas < 5",
        ),
    ] {
        let policy = json!({"metadata": {"name": name}, "spec": of(resource, expression)});
        assert_eq!(w.post(&format!("{GROUP}/validatingadmissionpolicies"), policy).await.code, 201);
        let binding =
            json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
        assert_eq!(w.post(&format!("{GROUP}/validatingadmissionpolicybindings"), binding).await.code, 201);
    }
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let uri = "/apis/apps/v1/namespaces/default/deployments";
    assert_eq!(w.post(uri, deployment).await.code, 201);
    let whole = w.merge(&format!("{uri}/d"), json!({"spec": {"replicas": 4}})).await;
    assert!(
        whole.body["message"].as_str().unwrap().ends_with("denied request: deployments"),
        "{}",
        whole.body
    );
    let much = w.merge(&format!("{uri}/d/scale"), json!({"spec": {"replicas": 5}})).await;
    assert!(
        much.body["message"].as_str().unwrap().ends_with("denied request: deployments/scale"),
        "{}",
        much.body
    );
    let scaled = w.merge(&format!("{uri}/d/scale"), json!({"spec": {"replicas": 4}})).await;
    assert_eq!((scaled.code, &scaled.body["spec"]["replicas"]), (200, &json!(4)), "{}", scaled.body);
}
