#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::errors;
use sampan_api::kinds;

fn wrong(kind: &str, object: Value) -> Vec<String> {
    let kind = kinds::by_kind("admissionregistration.k8s.io", "v1", kind).unwrap();
    let mut object = object;
    object["metadata"] = json!({"name": "x"});
    crate::strategies::rules::defaults(kind, &mut object);
    errors(kind, &object, None).iter().map(ToString::to_string).collect()
}

fn hook(change: Value) -> Vec<String> {
    let mut hook = json!({"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://x/y"},
        "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]});
    for (key, value) in change.as_object().unwrap() {
        hook[key] = value.clone();
    }
    wrong("ValidatingWebhookConfiguration", json!({"webhooks": [hook]}))
}

#[test]
fn webhooks_are_checked() {
    assert_eq!(hook(json!({})), Vec::<String>::new());
    let cases = [
        (
            json!({"name": "a"}),
            "webhooks[0].name: Invalid value: \"a\": should be a domain with at least three segments separated by dots",
        ),
        (
            json!({"sideEffects": null}),
            "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
        ),
        (
            json!({"sideEffects": "Some"}),
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
        ),
        (
            json!({"admissionReviewVersions": []}),
            "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
        ),
        (
            json!({"admissionReviewVersions": ["v2"]}),
            "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
        ),
        (
            json!({"timeoutSeconds": 31}),
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        ),
        (
            json!({"clientConfig": {}}),
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
        ),
        (
            json!({"clientConfig": {"url": "http://x"}}),
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
        ),
        (
            json!({"clientConfig": {"url": "https://x?a=b"}}),
            "webhooks[0].clientConfig.url: Invalid value: \"a=b\": query parameters are not permitted in the URL; desired format: https://host[/path]",
        ),
        (
            json!({"clientConfig": {"service": {"namespace": "n", "name": ""}}}),
            "webhooks[0].clientConfig.service.name: Required value: service name is required",
        ),
        (
            json!({"matchConditions": [{"name": "a", "expression": "... [}"}]}),
            "webhooks[0].matchConditions[0].expression: Invalid value: \"... [}\": compilation failed: ERROR: <input>:1:2: Syntax error: ",
        ),
        (
            json!({"matchConditions": [{"name": "a", "expression": "1"}]}),
            "webhooks[0].matchConditions[0].expression: Invalid value: \"1\": must evaluate to bool",
        ),
    ];
    for (change, text) in cases {
        let found = hook(change.clone());
        assert!(found.len() == 1 && found[0].starts_with(text), "{change}: {found:?}");
    }
}

fn policy(change: Value) -> Vec<String> {
    let mut spec = json!({"validations": [{"expression": "true"}], "matchConstraints": {"resourceRules": [
        {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]}});
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    wrong("ValidatingAdmissionPolicy", json!({"spec": spec}))
}

#[test]
fn policies_are_checked() {
    assert_eq!(policy(json!({})), Vec::<String>::new());
    let good = json!({"variables": [{"name": "a", "expression": "object.x"}, {"name": "b", "expression": "variables.a + 1"}],
        "validations": [{"expression": "variables.b > 1 && authorizer.group('').resource('pods').check('get').allowed()"}]});
    assert_eq!(policy(good), Vec::<String>::new());
    let cases = [
        (
            json!({"validations": []}),
            "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
        ),
        (
            json!({"validations": [{"expression": "x"}]}),
            "spec.validations[0].expression: Invalid value: \"x\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')",
        ),
        (
            json!({"validations": [{"expression": "'a'"}]}),
            "spec.validations[0].expression: Invalid value: \"'a'\": must evaluate to bool",
        ),
        (
            json!({"validations": [{"expression": "params.x == 1"}]}),
            "spec.validations[0].expression: Invalid value: \"params.x == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'",
        ),
        (
            json!({"validations": [{"expression": "true", "messageExpression": "authorizer"}]}),
            "spec.validations[0].messageExpression: Invalid value: ",
        ),
        (
            json!({"variables": [{"name": "a-b", "expression": "1"}]}),
            "spec.variables[0].name: Invalid value: \"a-b\": name is not a valid CEL identifier",
        ),
        (json!({"matchConstraints": {}}), "spec.matchConstraints.resourceRules: Required value"),
    ];
    for (change, text) in cases {
        let found = policy(change.clone());
        assert!(found.first().is_some_and(|found| found.starts_with(text)), "{change}: {found:?}");
    }
}

#[test]
fn bindings_are_checked() {
    let binding = |spec: Value| wrong("ValidatingAdmissionPolicyBinding", json!({"spec": spec}));
    assert_eq!(binding(json!({"policyName": "a", "validationActions": ["Deny"]})), Vec::<String>::new());
    let found = binding(json!({"validationActions": ["Deny", "Warn"], "paramRef": {}}));
    assert_eq!(found.len(), 4, "{found:?}");
}
