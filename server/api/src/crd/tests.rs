//! Tables of cases for schemas.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::columns::json_path;
use super::*;

fn schema() -> Schema {
    Schema::read(&json!({"type": "object", "properties": {
    "spec": {"type": "object", "properties": {
        "a": {"type": "string", "default": "x"},
        "n": {"type": "integer", "nullable": true, "default": 1},
        "m": {"type": "object", "additionalProperties": {"type": "object", "properties": {
            "k": {"type": "string", "default": "v"}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "closed": {"type": "object", "properties": {"in": {"type": "string"}}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "boolean"}}}},
        "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
            "spec": {"type": "object"}}},
    }}}}))
}

#[test]
fn what_no_schema_names_is_pruned() {
    let cases = [
        (json!({"x": 1}), json!({}), "unknown field \"spec.x\""),
        (
            json!({"m": {"any": {"k": "1", "z": 2}}}),
            json!({"m": {"any": {"k": "1"}}}),
            "unknown field \"spec.m.any.z\"",
        ),
        (json!({"free": {"y": 1}}), json!({"free": {"y": 1}}), ""),
        (
            json!({"free": {"closed": {"in": "", "out": 1}}}),
            json!({"free": {"closed": {"in": ""}}}),
            "unknown field \"spec.free.closed.out\"",
        ),
        (
            json!({"list": [{"b": true, "c": 1}]}),
            json!({"list": [{"b": true}]}),
            "unknown field \"spec.list[0].c\"",
        ),
        (
            json!({"pod": {"kind": "Pod", "metadata": {"name": "p"}, "status": {}}}),
            json!({"pod": {"kind": "Pod", "metadata": {"name": "p"}}}),
            "unknown field \"spec.pod.status\"",
        ),
    ];
    for (given, expected, said) in cases {
        let mut object = json!({"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "n"}, "spec": given});
        let gone = prune(&mut object, &schema());
        assert_eq!((&object["spec"], gone.join(" ").as_str()), (&expected, said));
        assert_eq!(object["metadata"]["name"], "n");
    }
}

#[test]
fn defaults_fill_what_is_missing_and_replace_nulls_that_may_not_be() {
    let cases = [
        (json!({}), json!({"a": "x", "n": 1})),
        (json!({"a": null, "n": null}), json!({"a": "x", "n": null})),
        (json!({"a": "y", "n": 2, "m": {"o": {}}}), json!({"a": "y", "n": 2, "m": {"o": {"k": "v"}}})),
        (json!({"list": null}), json!({"a": "x", "n": 1})),
    ];
    for (given, expected) in cases {
        let mut object = json!({"spec": given});
        default(&mut object, &schema());
        assert_eq!(object["spec"], expected);
        let once = object.clone();
        default(&mut object, &schema());
        assert_eq!(object, once, "again changes nothing");
    }
}

#[test]
fn values_are_refused_in_upstreams_words() {
    let cases: [(Value, Value, &str); 12] = [
        (
            json!({"type": "integer", "minimum": 2}),
            json!(1),
            "v: Invalid value: 1: v in body should be greater than or equal to 2",
        ),
        (
            json!({"type": "integer", "maximum": 2, "exclusiveMaximum": true}),
            json!(2),
            "v: Invalid value: 2: v in body should be less than 2",
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            "v: Invalid value: \"number\": v in body must be of type integer: \"number\"",
        ),
        (
            json!({"type": "number", "multipleOf": 0.5}),
            json!(0.7),
            "v: Invalid value: 0.7: v in body should be a multiple of 0.5",
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("abc"),
            "v: Too long: may not be more than 2 bytes",
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            "v: Invalid value: \"a\": v in body should be at least 2 chars long",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("x"),
            "v: Invalid value: \"x\": v in body must be of type date-time: \"x\"",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
            json!(["a", "b"]),
            "v: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "string", "enum": ["b", "a"]}),
            json!("c"),
            "v: Unsupported value: \"c\": supported values: \"b\", \"a\"",
        ),
        (json!({"type": "object", "required": ["r"]}), json!({}), "v.r: Required value"),
        (
            json!({"type": "string", "anyOf": [{"enum": ["a"]}, {"enum": ["b"]}]}),
            json!("c"),
            "<nil>: Invalid value: \"\": \"v\" must validate at least one schema (anyOf)",
        ),
        (
            json!({"type": "string", "not": {"enum": ["a"]}}),
            json!("a"),
            "<nil>: Invalid value: \"\": \"v\" must not validate the schema (not)",
        ),
    ];
    for (schema, value, said) in cases {
        let schema = Schema::read(&json!({"type": "object", "properties": {"v": schema}}));
        let mut errors = Vec::new();
        validate::value(&json!({"v": value}), &schema, &path::Path::Root, true, &mut errors);
        assert!(errors.iter().any(|error| error.to_string() == said), "{said}\n{errors:?}");
    }
}

#[test]
fn what_was_wrong_before_is_let_pass() {
    let schema = Schema::read(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["r"],
        "properties": {"a": {"type": "string", "maxLength": 1}, "b": {"type": "string"}, "r": {"type": "string"}}}}}),
    );
    let object = |spec: Value| json!({"metadata": {"name": "n", "resourceVersion": "1"}, "spec": spec});
    let old = object(json!({"a": "long"}));
    let cases = [
        (json!({"a": "long"}), 0),
        (json!({"a": "long", "b": "new"}), 1),
        (json!({"a": "longer", "r": ""}), 1),
        (json!({"a": "long", "r": ""}), 0),
    ];
    for (spec, count) in cases {
        let errors = update_errors(&schema, &object(spec.clone()), &old);
        assert_eq!(errors.len(), count, "{spec} {errors:?}");
    }
}

#[test]
fn what_nothing_is_said_of_is_never_as_it_was_before() {
    let schema = Schema::read(&json!({"type": "object", "properties": {
        "apiVersion": {"type": "string", "pattern": "^a/v1$"},
        "free": {"type": "object", "maxProperties": 1, "x-kubernetes-preserve-unknown-fields": true},
        "spec": {"type": "object", "properties": {"apiVersion": {"type": "string", "maxLength": 1}}}}}));
    let object = |api_version: &str, free: Value| {
        json!({"apiVersion": api_version, "free": free, "spec": {"apiVersion": "long"},
            "metadata": {"name": "n", "resourceVersion": "1"}})
    };
    for (object, count) in [
        (object("a/v1", json!({})), 0),
        (object("a/v2", json!({})), 1),
        (object("a/v1", json!({"x": 1, "y": 2})), 1),
    ] {
        let errors = update_errors(&schema, &object, &object);
        assert_eq!(errors.len(), count, "{errors:?}");
    }
}

#[test]
fn items_are_what_they_were_before_only_in_maps_or_with_the_whole_list() {
    let short = json!({"type": "string", "maxLength": 1});
    let list = |kind: &str| json!({"type": "array", "x-kubernetes-list-type": kind, "items": short});
    let schema = Schema::read(&json!({"type": "object", "properties": {
        "atomic": list("atomic"), "set": list("set"),
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": short}}}}}));
    let object = |mut value: Value| {
        value["metadata"] = json!({"name": "n", "resourceVersion": "1"});
        value
    };
    for (old, new, count) in [
        (json!({"atomic": ["long"]}), json!({"atomic": ["long"], "set": []}), 0),
        (json!({"atomic": ["long"]}), json!({"atomic": ["long", "s"]}), 1),
        (json!({"set": ["long"]}), json!({"set": ["long", "s"]}), 1),
        (json!({"map": [{"k": "a", "v": "long"}]}), json!({"map": [{"k": "b"}, {"k": "a", "v": "long"}]}), 0),
        (json!({"map": [{"k": "a", "v": "long"}]}), json!({"map": [{"k": "b", "v": "long"}]}), 1),
        (json!({"set": ["s", "s"]}), json!({"set": ["s", "s", "t", "t"]}), 0),
        (json!({"set": ["s", "t"]}), json!({"set": ["s", "s"]}), 1),
    ] {
        let errors = update_errors(&schema, &object(new.clone()), &object(old));
        assert_eq!(errors.len(), count, "{new} {errors:?}");
    }
}

#[test]
fn paths_lead_to_values() {
    let object = json!({"a": {"b.c": 1}, "l": [{"t": "x", "v": 1}, {"t": "y", "v": 2}], "n": 3});
    let cases = [
        (".n", "3"),
        (".a.b\\.c", "1"),
        (".a['b.c']", "1"),
        (".l[?(@.t==\"y\")].v", "2"),
        (".l[0].t", "\"x\""),
        (".l[-1].v", "2"),
        (".l[*].v", "1 2"),
        (".l[1:].v", "2"),
        (".missing.x", ""),
    ];
    for (path, expected) in cases {
        let found: Vec<String> = json_path(path, &object).iter().map(ToString::to_string).collect();
        assert_eq!(found.join(" "), expected, "{path}");
    }
}

#[test]
fn versions_are_ordered_by_stability() {
    let mut versions = ["v1beta1", "foo1", "v10", "v2", "v1alpha1", "v11beta2", "v1"];
    versions.sort_by(|a, b| compare_versions(a, b));
    assert_eq!(versions, ["v10", "v2", "v1", "v11beta2", "v1beta1", "v1alpha1", "foo1"]);
}

#[test]
fn what_is_not_structural() {
    let cases = [
        (json!({"type": "string"}), "s.type: Invalid value: \"string\": must be object at the root"),
        (json!({}), "s.type: Required value: must not be empty at the root"),
        (
            json!({"type": "object", "additionalProperties": true}),
            "s.additionalProperties: Forbidden: must not be used at the root",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "anyOf": [{"type": "string"}]}}}),
            "s.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]}),
            "s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
    ];
    for (schema, said) in cases {
        let errors = structural::errors(&schema, "s");
        assert!(errors.iter().any(|error| error.to_string() == said), "{said}\n{errors:?}");
    }
    let fine = json!({"type": "object", "properties": {"p": {"x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}]}}});
    assert_eq!(structural::errors(&fine, "s"), []);
}

#[test]
fn a_scale_has_columns_for_the_paths_that_there_are() {
    let now: jiff::Timestamp = "2026-01-01T00:05:00Z".parse().unwrap();
    let scale = |spec| json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec, "status": {"replicas": 1}});
    let path = ".spec.replicas".to_owned();
    let both =
        Scale { spec_replicas_path: path.clone(), status_replicas_path: path.clone(), ..Scale::default() };
    let wanted = Scale { spec_replicas_path: path, ..Scale::default() };
    for (paths, spec, columns, cells) in [
        (&both, json!({"replicas": 3}), "Name Desired Available Age", json!(["a", 3, 1, "5m"])),
        (&both, json!({}), "Name Desired Available Age", json!(["a", null, 1, "5m"])),
        (&wanted, json!({"replicas": 3}), "Name Desired Age", json!(["a", 3, "5m"])),
    ] {
        let definitions = scale_column_definitions(paths);
        let names = definitions.as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap());
        assert_eq!(names.collect::<Vec<_>>().join(" "), columns);
        assert_eq!(definitions[1]["description"], "Number of desired replicas");
        assert_eq!(Value::from(scale_cells(paths, &scale(spec), now)), cells);
    }
}
