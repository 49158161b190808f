//! Rules by tables.

use sampan_api::crd::Schema;
use serde_json::{Value, json};

use super::compile::Node;
use super::{definition, judge};

fn rule(text: &str) -> Value {
    json!({"rule": text})
}

/// A schema whose `spec` is this.
fn schema(spec: Value) -> Value {
    json!({"type": "object", "properties": {"spec": spec}})
}

fn judged(schema: &Value, new: Value, old: Option<Value>) -> judge::Found {
    let read = Schema::read(schema);
    let node = Node::root(schema, &read);
    judge::object(&node, &read, &new, old.as_ref())
}

fn errors(schema: &Value, new: Value, old: Option<Value>) -> Vec<String> {
    judged(schema, new, old).errors.iter().map(ToString::to_string).collect()
}

fn spec(spec: Value) -> Value {
    json!({"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "one"}, "spec": spec})
}

#[test]
fn what_is_said_of_a_rule_that_does_not_hold() {
    let of = |more: Value| {
        let mut rule = rule("self.min <= self.max");
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        schema(json!({"type": "object", "x-kubernetes-validations": [rule], "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer"},
            "m": {"type": "object", "additionalProperties": {"type": "string"}}}}))
    };
    for (more, wanted) in [
        (json!({}), "spec: Invalid value: failed rule: self.min <= self.max"),
        (json!({"message": " too small "}), "spec: Invalid value: too small"),
        (
            json!({"messageExpression": "'min ' + string(self.min) + ' > ' + string(self.max)"}),
            "spec: Invalid value: min 2 > 1",
        ),
        (json!({"message": "plain", "messageExpression": "'a\\nb'"}), "spec: Invalid value: plain"),
        (json!({"message": "plain", "messageExpression": "self.m['gone']"}), "spec: Invalid value: plain"),
        (json!({"messageExpression": "' '"}), "spec: Invalid value: failed rule: self.min <= self.max"),
        (
            json!({"fieldPath": ".min", "message": "no", "reason": "FieldValueForbidden"}),
            "spec.min: Forbidden: no",
        ),
        (
            json!({"fieldPath": "['max']", "message": "no", "reason": "FieldValueRequired"}),
            "spec.max: Required value: no",
        ),
        (json!({"fieldPath": ".m['k.l']", "message": "no"}), "spec.m[k.l]: Invalid value: no"),
        (json!({"message": "no", "reason": "FieldValueDuplicate"}), "spec: Duplicate value"),
    ] {
        let found = errors(&of(more.clone()), spec(json!({"min": 2, "max": 1})), None);
        assert_eq!(found, [wanted], "{more}");
        assert_eq!(errors(&of(more), spec(json!({"min": 1, "max": 1})), None), Vec::<String>::new());
    }
}

#[test]
fn where_rules_are_asked() {
    let at_root = json!({"type": "object",
        "x-kubernetes-validations": [rule("self.metadata.name.startsWith('o') && self.kind == 'A'")]});
    assert_eq!(errors(&at_root, spec(json!({})), None), Vec::<String>::new());
    let mut other = spec(json!({}));
    other["metadata"]["name"] = json!("two");
    let wanted = "<nil>: Invalid value: failed rule: self.metadata.name.startsWith('o') && self.kind == 'A'";
    assert_eq!(errors(&at_root, other, None), [wanted]);

    let deep = schema(json!({"type": "object", "properties": {
        "a-b": {"type": "object", "properties": {"c.d": {"type": "string", "x-kubernetes-validations": [rule("self != 'x'")]}},
            "x-kubernetes-validations": [rule("self.c__dot__d.size() < 3")]},
        "map": {"type": "object", "additionalProperties": {"type": "integer", "x-kubernetes-validations": [rule("self > 0")]}},
        "list": {"type": "array", "items": {"type": "string", "nullable": true,
            "x-kubernetes-validations": [rule("self.size() > 0")]}},
        "port": {"x-kubernetes-int-or-string": true,
            "x-kubernetes-validations": [rule("type(self) == string ? self == 'http' : self > 0")]},
        "odd name": {"type": "object", "properties": {"x": {"type": "integer"}},
            "x-kubernetes-validations": [rule("self.x == 1")]},
    }}));
    for (object, wanted) in [
        (json!({"a-b": {"c.d": "x"}}), "spec.a-b.c.d: Invalid value: \"x\": failed rule: self != 'x'"),
        (json!({"a-b": {"c.d": "long"}}), "spec.a-b: Invalid value: failed rule: self.c__dot__d.size() < 3"),
        (json!({"map": {"k": 0}}), "spec.map[k]: Invalid value: 0: failed rule: self > 0"),
        (json!({"list": [null, ""]}), "spec.list[1]: Invalid value: \"\": failed rule: self.size() > 0"),
        (
            json!({"port": "ftp"}),
            "spec.port: Invalid value: \"ftp\": failed rule: type(self) == string ? self == 'http' : self > 0",
        ),
        (json!({"odd name": {"x": 2}}), "spec.odd name: Invalid value: failed rule: self.x == 1"),
        (
            json!({"a-b": {}}),
            "spec.a-b: Invalid value: \"object\": no such key: c__dot__d evaluating rule: self.c__dot__d.size() < 3",
        ),
    ] {
        assert_eq!(errors(&deep, spec(object), None), [wanted]);
    }
}

#[test]
fn transitions_are_judged_where_an_old_value_corresponds() {
    let fixed = json!([rule("self == oldSelf")]);
    let of = schema(json!({"type": "object", "properties": {
        "field": {"type": "string", "x-kubernetes-validations": fixed},
        "map": {"type": "object", "additionalProperties": {"type": "string", "x-kubernetes-validations": fixed}},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"},
                "v": {"type": "string", "x-kubernetes-validations": fixed}}}},
        "once": {"type": "string", "x-kubernetes-validations": [
            {"rule": "oldSelf.hasValue() || self == 'first'", "optionalOldSelf": true}]},
    }}));
    let said = |path: &str| format!("{path}: Invalid value: \"2\": failed rule: self == oldSelf");
    for (old, new, wanted) in [
        (json!({"field": "1"}), json!({"field": "2"}), vec![said("spec.field")]),
        (json!({}), json!({"field": "2"}), vec![]),
        (json!({"field": null}), json!({"field": "2"}), vec![]),
        (json!({"map": {"a": "1"}}), json!({"map": {"a": "2", "b": "2"}}), vec![said("spec.map[a]")]),
        (
            json!({"list": [{"k": "a", "v": "1"}, {"k": "b", "v": "2"}]}),
            json!({"list": [{"k": "c", "v": "9"}, {"k": "b", "v": "2"}, {"k": "a", "v": "2"}]}),
            vec![said("spec.list[2].v")],
        ),
        (json!({"once": "first"}), json!({"once": "other"}), vec![]),
        (
            json!({}),
            json!({"once": "other"}),
            vec![
                "spec.once: Invalid value: \"other\": failed rule: oldSelf.hasValue() || self == 'first'"
                    .into(),
            ],
        ),
    ] {
        assert_eq!(errors(&of, spec(new.clone()), Some(spec(old))), wanted, "{new}");
    }
    assert_eq!(errors(&of, spec(json!({"field": "2"})), None), Vec::<String>::new(), "nothing was before");
}

#[test]
fn what_was_wrong_before_is_let_pass_with_a_warning() {
    let small = json!([rule("self < 5")]);
    let of = schema(json!({"type": "object", "properties": {
        "a": {"type": "integer", "x-kubernetes-validations": small}, "other": {"type": "string"},
        "atomic": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": small}},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"},
                "v": {"type": "integer", "x-kubernetes-validations": small}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-validations": [{"rule": "false"}]},
    }}));
    for (old, new, wrong, warned) in [
        (json!({"a": 9}), json!({"a": 9, "other": "x"}), 0, 1),
        (json!({"a": 9}), json!({"a": 8}), 1, 0),
        (json!({"atomic": [9, 1]}), json!({"atomic": [9, 1], "other": "x"}), 0, 1),
        (json!({"atomic": [9, 1]}), json!({"atomic": [9, 2]}), 1, 0),
        (
            json!({"keyed": [{"k": "x", "v": 9}]}),
            json!({"keyed": [{"k": "y", "v": 1}, {"k": "x", "v": 9}]}),
            0,
            1,
        ),
        (json!({"keyed": [{"k": "x", "v": 9}]}), json!({"keyed": [{"k": "y", "v": 9}]}), 1, 0),
        (json!({"free": {}}), json!({"free": {}}), 0, 1),
        (json!({"free": {"x": 1}}), json!({"free": {"x": 1}}), 1, 0),
    ] {
        let found = judged(&of, spec(new.clone()), Some(spec(old)));
        assert_eq!((found.errors.len(), found.warnings.len()), (wrong, warned), "{new} {found:?}");
    }
    let found = judged(&of, spec(json!({"a": 9, "other": "x"})), Some(spec(json!({"a": 9}))));
    assert_eq!(found.warnings, ["spec.a: Invalid value: 9: failed rule: self < 5"]);
}

#[test]
fn what_costs_too_much_ends_the_rules() {
    let list = json!({"type": "array", "items": {"type": "integer"}});
    let of = |rules: Value| {
        schema(json!({"type": "object", "properties": {"list": list, "z": {"type": "integer",
            "x-kubernetes-validations": [rule("self > 0")]}}, "x-kubernetes-validations": rules}))
    };
    let many: Vec<i32> = (0..2_000).collect();
    let dear = "self.list.all(a, self.list.all(b, a + b >= 0))";
    let found = errors(&of(json!([rule(dear)])), spec(json!({"list": many, "z": 0})), None);
    let wanted = format!(
        "spec: Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {dear}"
    );
    assert_eq!(found, [wanted]);
    // each is cheap enough, all together are not
    let some: Vec<i32> = (0..300).collect();
    let all: Vec<Value> = (0..100).map(|_| rule(dear)).collect();
    let found = errors(&of(json!(all)), spec(json!({"list": some, "z": 0})), None);
    let wanted = "spec: Invalid value: \"object\": validation failed due to running out of cost budget, no further validation rules will be run";
    assert_eq!(found, [wanted]);
}

#[test]
fn rules_that_a_definition_may_not_have() {
    let said = |spec: Value| -> Vec<String> {
        let version = json!({"name": "v1", "schema": {"openAPIV3Schema": schema(spec)}});
        let found = definition::errors(&json!({"spec": {"versions": [version]}}), None, &[]);
        found.iter().map(ToString::to_string).collect()
    };
    const AT: &str = "spec.versions[0].schema.openAPIV3Schema.properties[spec]";
    let of = |rule: Value| {
        said(
            json!({"type": "object", "properties": {"a": {"type": "integer"}}, "x-kubernetes-validations": [rule]}),
        )
    };
    assert_eq!(of(rule("self.a > 0 && oldSelf.a > 0")), Vec::<String>::new());
    let undefined = of(rule("self.b > 0"));
    let start = format!(
        "{AT}.x-kubernetes-validations[0].rule: Invalid value: {{\"Rule\":\"self.b > 0\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}}: compilation failed: ERROR: <input>:1:5: undefined field 'b'"
    );
    assert!(undefined.len() == 1 && undefined[0].starts_with(&start), "{undefined:?}");
    for (rule, end) in [
        (rule("self.a"), "cel expression must evaluate to a bool"),
        (
            json!({"rule": "true", "messageExpression": "self.a"}),
            "messageExpression must evaluate to a string",
        ),
        (
            json!({"rule": "true", "optionalOldSelf": true}),
            "x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
        ),
    ] {
        let found = of(rule);
        assert!(found.len() == 1 && found[0].ends_with(end), "{found:?}");
    }
    let in_list = said(json!({"type": "array", "items": {"type": "object", "properties": {
        "a": {"type": "integer", "x-kubernetes-validations": [rule("self == oldSelf")]}}}}));
    let wanted = format!(
        "{AT}.items.properties[a].x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within {AT}"
    );
    assert_eq!(in_list, [wanted]);
    let default = said(json!({"type": "object", "properties": {
        "a": {"type": "integer", "default": 0, "x-kubernetes-validations": [rule("self > 0")]}}}));
    assert_eq!(default, [format!("{AT}.properties[a].default: Invalid value: 0: failed rule: self > 0")]);
}

#[test]
fn rules_that_may_cost_far_too_much() {
    const AT: &str = "spec.versions[0].schema.openAPIV3Schema";
    const FAR: &str = "exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)";
    let definition = |inner: Value, outer: Value| {
        let mut list = json!({"type": "array", "items": {"type": "string"},
            "x-kubernetes-validations": [rule("self.all(s, s == 'string constant')")]});
        list.as_object_mut().unwrap().extend(inner.as_object().unwrap().clone());
        let mut lists = json!({"type": "array", "items": list});
        lists.as_object_mut().unwrap().extend(outer.as_object().unwrap().clone());
        json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema(lists)}}]}})
    };
    let said = |definition: &Value, old: Option<&Value>| -> Vec<String> {
        definition::errors(definition, old, &[]).iter().map(ToString::to_string).collect()
    };
    let dear = definition(json!({}), json!({}));
    let place = format!("{AT}.properties[spec].items.x-kubernetes-validations[0].rule");
    let wanted = [
        format!("{place}: Forbidden: estimated rule cost {FAR}"),
        format!(
            "{place}: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        ),
        format!(
            "{AT}: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema {FAR}"
        ),
    ];
    assert_eq!(said(&dear, None), wanted);
    assert_eq!(said(&dear, Some(&dear)), Vec::<String>::new(), "it was so before");
    let other = definition(json!({}), json!({"maxItems": 5}));
    assert_eq!(said(&dear, Some(&other)).len(), 3);
    for (inner, outer) in
        [(json!({"maxItems": 100}), json!({"maxItems": 100})), (json!({"maxItems": 9}), json!({}))]
    {
        assert_eq!(said(&definition(inner, outer), None), Vec::<String>::new());
    }
}
