use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn names_are_right_or_wrong() {
    let long = "a".repeat(64);
    type Rule = fn(&str) -> Vec<String>;
    let cases: &[(Rule, &str, bool)] = &[
        (is_dns1123_label, "a-1", true),
        (is_dns1123_label, "1", true),
        (is_dns1123_label, "A", false),
        (is_dns1123_label, "-a", false),
        (is_dns1123_label, "", false),
        (is_dns1123_label, &long, false),
        (is_dns1123_subdomain, "a.b-c.1", true),
        (is_dns1123_subdomain, "a..b", false),
        (is_dns1123_subdomain, "a.-b", false),
        (is_dns1035_label, "a1", true),
        (is_dns1035_label, "1a", false),
        (is_dns1035_label, "", false),
        (is_qualified_name, "a.b/C_d", true),
        (is_qualified_name, "A/b", false),
        (is_qualified_name, "/b", false),
        (is_qualified_name, "a/b/c", false),
        (is_qualified_name, "a/", false),
        (is_label_value, "", true),
        (is_label_value, "a_b.C-1", true),
        (is_label_value, "a_", false),
        (is_label_value, &long, false),
        (is_config_map_key, ".dot", true),
        (is_config_map_key, "..data", false),
        (is_config_map_key, "a/b", false),
        (is_port_name, "http-alt", true),
        (is_port_name, "80", false),
        (is_port_name, "a--b", false),
        (is_percent, "25%", true),
        (is_percent, "%", false),
        (is_cidr, "10.0.0.0/8", true),
        (is_cidr, "10.0.0.0/33", false),
        (is_env_var_name, "a.b-c 1", true),
        (is_env_var_name, "a=b", false),
        (is_wildcard_dns1123_subdomain, "*.a.b", true),
        (is_wildcard_dns1123_subdomain, "*.*.b", false),
    ];
    for (rule, value, right) in cases {
        assert_eq!(rule(value).is_empty(), *right, "{value}: {:?}", rule(value));
    }
}

#[test]
fn texts_are_upstreams() {
    assert_eq!(
        is_dns1123_label("A"),
        [
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        ]
    );
    assert_eq!(is_dns1123_label("a.b"), ["must not contain dots"]);
    assert_eq!(is_path_segment("a/b%", false), ["may not contain '/'", "may not contain '%'"]);
    assert_eq!(is_qualified_name("")[0], "name part must be non-empty");
}

#[test]
fn each_kind_has_its_name_rule() {
    for (group, kind, name, right) in [
        ("", "Pod", "a.b", true),
        ("", "Pod", "a:b", false),
        ("", "Namespace", "a.b", false),
        ("rbac.authorization.k8s.io", "ClusterRole", "system:node", true),
        ("rbac.authorization.k8s.io", "ClusterRole", "a/b", false),
        ("networking.k8s.io", "IPAddress", "10.0.0.1", true),
    ] {
        assert_eq!(name_errors(rule_for(group, kind), name, false).is_empty(), right, "{kind} {name}");
    }
    assert!(name_errors(NameRule::Subdomain, "web-", true).is_empty());
    assert!(!name_errors(NameRule::Subdomain, "-", true).is_empty());
}

#[test]
fn names_are_generated_within_63() {
    assert_eq!(generate_name("web-", [0, 1, 2, 3, 26]), "web-bcdf9");
    assert_eq!(generate_name(&"é".repeat(60), [0; 5]).len(), 63);
}

#[test]
fn metadata_of_a_new_object() {
    let cases = [
        (json!({"name": "a", "namespace": "d"}), ""),
        (json!({"namespace": "d"}), "metadata.name: Required value: name or generateName is required"),
        (json!({"name": "a"}), "metadata.namespace: Required value"),
        (
            json!({"name": "a", "namespace": "d", "finalizers": ["orphan", "foregroundDeletion"]}),
            "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
        ),
        (
            json!({"name": "a", "namespace": "d", "annotations": {"k": "x".repeat(300_000)}}),
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            json!({"name": "a", "namespace": "d", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}),
            "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
        ),
    ];
    for (metadata, expected) in cases {
        let errors: Vec<String> =
            object_meta(&metadata, true, NameRule::Subdomain).iter().map(ToString::to_string).collect();
        assert_eq!(errors.join("; "), expected);
    }
    let errors = object_meta(&json!({"name": "a", "namespace": "d"}), false, NameRule::Subdomain);
    assert_eq!(errors[0].to_string(), "metadata.namespace: Forbidden: not allowed on this type");
}

#[test]
fn finalizers_of_own_kinds_have_a_domain_or_are_standard() {
    let of = |names: serde_json::Value| {
        let errors = own_finalizers(&json!({"finalizers": names}));
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(of(json!(["kubernetes", "orphan", "foregroundDeletion", "a.io/b"])), "");
    assert_eq!(
        of(json!(["a.io/b", "keeper"])),
        "metadata.finalizers[1]: Invalid value: \"keeper\": name is neither a standard finalizer name nor is it fully qualified"
    );
}

#[test]
fn metadata_of_a_changed_object() {
    let old = json!({"name": "a", "uid": "u", "resourceVersion": "1", "deletionTimestamp": "t", "finalizers": ["a/b"]});
    let change = |key: &str, value: serde_json::Value| {
        let mut new = old.clone();
        new[key] = value;
        object_meta_update(&new, &old).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(change("uid", json!("u")), "");
    assert_eq!(change("uid", json!("v")), "metadata.uid: Invalid value: \"v\": field is immutable");
    assert_eq!(
        change("resourceVersion", json!("")),
        "metadata.resourceVersion: Invalid value: \"\": must be specified for an update"
    );
    assert_eq!(
        change("finalizers", json!(["a/b", "c/d"])),
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"c/d\"}"
    );
}

proptest! {
    #[test]
    fn rules_never_panic(text in ".{0,80}") {
        for prefix in [true, false] {
            for rule in [NameRule::Subdomain, NameRule::Label, NameRule::Label1035, NameRule::PathSegment, NameRule::Address] {
                name_errors(rule, &text, prefix);
            }
        }
        is_qualified_name(&text);
        is_config_map_key(&text);
        is_percent(&text);
        is_port_name(&text);
        generate_name(&text, [9; 5]);
    }
}
