//! Shapes, sets, comparison, merge.

use serde_json::{Value, json};

use super::super::compare::compare;
use super::super::element::PathElement;
use super::super::set::Set;
use super::super::shape::{Atom, Keys, List, Map, Relation, Scalar, Schema, Shape};
use super::super::{extract, merge, remove, to_set, validate};

fn pod() -> Shape<'static> {
    Shape::root("io.k8s.api.core.v1.Pod").expect("Pod is in the table")
}

fn shown(set: &Set) -> Vec<String> {
    let mut out = Vec::new();
    set.each(&mut |path| out.push(path.iter().map(ToString::to_string).collect()));
    out
}

#[test]
fn elements_are_written_as_upstream_writes_them() {
    let cases = [
        ("f:spec", ".spec"),
        (r#"k:{"containerPort":80,"protocol":"TCP"}"#, r#"[containerPort=80,protocol="TCP"]"#),
        (r#"v:"a""#, r#"[="a"]"#),
        ("v:1", "[=1]"),
        ("i:7", "[7]"),
    ];
    for (text, shown) in cases {
        let element = PathElement::parse(text).expect("well formed").expect("known");
        assert_eq!((element.write(), element.to_string()), (text.to_owned(), shown.to_owned()));
    }
    assert!(PathElement::parse("x:later").expect("well formed").is_none());
    for wrong in ["f", "spec", "k:[]", "i:a", "v:"] {
        assert!(PathElement::parse(wrong).is_err(), "{wrong}");
    }
    // keys are sorted, whatever order they came in
    let key = PathElement::parse(r#"k:{"protocol":"TCP","containerPort":80}"#).expect("ok").expect("known");
    assert_eq!(key.write(), r#"k:{"containerPort":80,"protocol":"TCP"}"#);
}

#[test]
fn fields_v1_goes_through_a_set_unchanged() {
    let fields = json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {"f:containers": {
            "k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:ports": {
                ".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}},
            }},
        }, "f:tolerations": {}},
    });
    let set = Set::from_value(&fields).expect("well formed");
    assert_eq!(set.to_value().to_string(), fields.to_string());
    assert_eq!(shown(&set).len(), 8);
    // what a later version knows is dropped
    let newer = json!({"f:a": {}, "z:b": {}});
    assert_eq!(Set::from_value(&newer).expect("well formed").to_value(), json!({"f:a": {}}));
    assert!(Set::from_value(&json!({"oops": {}})).is_err());
}

#[test]
fn sets_are_added_and_taken_apart() {
    fn set(fields: &Value) -> Set<'_> {
        Set::from_value(fields).expect("well formed")
    }
    let values = [
        json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}),
        json!({"f:a": {"f:b": {}}, "f:e": {}}),
        json!({"f:a": {}}),
        json!({"f:a": {"f:c": {}}}),
    ];
    let [left, right, parent, below] = values.each_ref().map(set);
    assert_eq!(
        left.union(&right).to_value(),
        json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}, "f:e": {}})
    );
    assert_eq!(left.intersection(&right).to_value(), json!({"f:a": {"f:b": {}}}));
    assert_eq!(left.difference(&right).to_value(), json!({"f:a": {".": {}, "f:c": {}}, "f:d": {}}));
    assert_eq!(left.difference(&parent).to_value(), json!({"f:a": {"f:b": {}, "f:c": {}}, "f:d": {}}));
    assert_eq!(left.recursive_difference(&parent).to_value(), json!({"f:d": {}}));
    let raw = left.to_value();
    assert!(right.meets(&raw) && !right.within(&raw) && below.within(&raw));
    assert!(
        left.is(&raw)
            && !right.is(&raw)
            && !left.is(&values[1])
            && !parent.is(&raw)
            && !left.is(&json!(null))
    );
    assert!(!set(&json!({"f:x": {}, "f:a": {"f:z": {}}})).meets(&raw));
}

#[test]
fn a_created_pod_is_managed_as_upstream_says() {
    let old = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {}});
    let new = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "a", "labels": {"run": "a"}},
        "spec": {
            "containers": [{"name": "a", "image": "i", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
            "dnsPolicy": "ClusterFirst", "securityContext": {}, "tolerations": [{"key": "x"}],
        },
    });
    let difference = compare(pod(), &old, &new);
    assert_eq!(
        difference.added.to_value(),
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:run": {}}, "f:name": {}},
            "f:spec": {
                "f:containers": {"k:{\"name\":\"a\"}": {
                    ".": {}, "f:image": {}, "f:name": {},
                    "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                        ".": {}, "f:containerPort": {}, "f:protocol": {},
                    }},
                    "f:resources": {},
                }},
                "f:dnsPolicy": {}, "f:securityContext": {}, "f:tolerations": {},
            },
        })
    );
    assert!(difference.modified.is_empty() && difference.removed.is_empty());
}

#[test]
fn differences_are_found_where_they_are() {
    let spec = |spec: Value| json!({"spec": spec});
    let cases = [
        // a leaf, an atomic list, an item, a key of a map
        (json!({"hostname": "a"}), json!({"hostname": "b"}), ["", ".spec.hostname", ""]),
        (
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            ["", ".spec.tolerations", ""],
        ),
        (
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"a": "2"}}),
            ["", ".spec.nodeSelector", ""],
        ),
        (
            json!({"containers": [{"name": "a", "image": "1"}]}),
            json!({"containers": [{"name": "a", "image": "2"}]}),
            ["", r#".spec.containers[name="a"].image"#, ""],
        ),
        // order alone is no difference
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "b"}, {"name": "a"}]}),
            ["", "", ""],
        ),
        // the default of a key stands in
        (
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1, "protocol": "TCP"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1}]}]}),
            ["", "", r#".spec.containers[name="a"].ports[containerPort=1,protocol="TCP"].protocol"#],
        ),
        // one becomes two of the same key: compared as one
        (
            json!({"containers": [{"name": "a", "env": [{"name": "x", "value": "1"}]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "x", "value": "1"}, {"name": "x", "value": "2"}]}]}),
            [
                r#".spec.containers[name="a"].env[name="x"]"#,
                "",
                r#".spec.containers[name="a"].env[name="x"] .spec.containers[name="a"].env[name="x"].name .spec.containers[name="a"].env[name="x"].value"#,
            ],
        ),
    ];
    for (old, new, expected) in cases {
        let (before, after) = (spec(old.clone()), spec(new.clone()));
        let found = compare(pod(), &before, &after);
        let found = [shown(&found.added), shown(&found.modified), shown(&found.removed)].map(|l| l.join(" "));
        assert_eq!(found, expected.map(str::to_owned), "{old} -> {new}");
    }
}

#[test]
fn a_configuration_mentions_leaves_items_and_free_keys() {
    let config = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"labels": {"a": "1"}, "finalizers": ["x/y"], "annotations": {}},
        "spec": {"containers": [{"name": "a", "securityContext": {}}], "volumes": []},
    });
    assert_eq!(
        to_set(pod(), &config).to_value(),
        json!({
            "f:apiVersion": {}, "f:kind": {},
            "f:metadata": {"f:annotations": {}, "f:finalizers": {"v:\"x/y\"": {}}, "f:labels": {"f:a": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:securityContext": {}}}},
        })
    );
}

#[test]
fn a_configuration_is_merged_into_the_live_object() {
    let live = json!({"spec": {
        "containers": [{"name": "a", "image": "1"}, {"name": "side", "image": "s"}, {"name": "b", "image": "1"}],
        "tolerations": [{"key": "old"}], "hostname": "h",
    }, "metadata": {"finalizers": ["one"]}});
    let config = json!({"spec": {
        "containers": [{"name": "b", "image": "2"}, {"name": "a", "args": ["x"]}, {"name": "c"}],
        "tolerations": [{"key": "new"}],
    }, "metadata": {"finalizers": ["two"]}});
    let merged = merge(pod(), &live, &config).expect("fits");
    assert_eq!(
        merged["spec"],
        json!({
            "containers": [{"name": "side", "image": "s"}, {"name": "b", "image": "2"},
                {"name": "a", "image": "1", "args": ["x"]}, {"name": "c"}],
            "tolerations": [{"key": "new"}], "hostname": "h",
        })
    );
    assert_eq!(merged["metadata"]["finalizers"], json!(["one", "two"]));
}

#[test]
fn fields_are_taken_out_or_taken_alone() {
    let value = json!({
        "metadata": {"labels": {"a": "1", "b": "2"}},
        "spec": {"hostname": "h", "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]},
    });
    let fields = json!({
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {}, "k:{\"name\":\"b\"}": {"f:image": {}}}},
    });
    let set = Set::from_value(&fields).expect("well formed");
    assert_eq!(
        remove(pod(), &value, &set),
        json!({"metadata": {"labels": {"b": "2"}}, "spec": {"hostname": "h", "containers": [{"name": "b"}]}})
    );
    assert_eq!(
        extract(pod(), &value, &set),
        json!({"metadata": {"labels": {"a": "1"}},
            "spec": {"containers": [{"name": "a", "image": "i"}, {"image": "i"}]}})
    );
}

#[test]
fn what_does_not_fit_is_told_in_structured_merges_words() {
    let cases = [
        (json!({"spec": {"foo": 1}}), ".spec.foo: field not declared in schema"),
        (json!({"metadata": {"unknownMeta": "x"}}), ".metadata.unknownMeta: field not declared in schema"),
        (
            json!({"spec": {"containers": [{"name": "a", "image": 1}]}}),
            r#".spec.containers[name="a"].image: expected string, got &value.valueUnstructured{Value:1}"#,
        ),
        (
            json!({"spec": {"containers": [{"image": "a"}]}}),
            r#".spec.containers: element 0: associative list with keys has an element that omits key field "name" (and doesn't have default value)"#,
        ),
        (
            json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}),
            r#".spec.containers: duplicate entries for key [name="a"]"#,
        ),
        (json!({"spec": {"containers": {"a": 1}}}), ".spec.containers: expected list, got &{map[a:1]}"),
        (json!({"spec": "x"}), ".spec: expected map, got &{x}"),
        (
            json!({"spec": {"activeDeadlineSeconds": "x"}}),
            ".spec.activeDeadlineSeconds: expected numeric (int or float), got string",
        ),
        (json!({"spec": {"hostNetwork": "yes"}}), ".spec.hostNetwork: expected boolean, got &{yes}"),
        (
            json!({"spec": {"hostNetwork": "yes", "hostname": 1}}),
            "errors:\n  .spec.hostNetwork: expected boolean, got &{yes}\n  .spec.hostname: expected string, got &value.valueUnstructured{Value:1}",
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(validate(pod(), &value).expect_err("does not fit"), expected);
    }
    let fine = json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}], "hostname": null}});
    assert_eq!(validate(pod(), &fine), Ok(()));
}

/// A structural schema, as a custom resource has one.
#[derive(Debug)]
enum Toy {
    Text,
    Object(Vec<(&'static str, Toy)>),
    List(Vec<String>, Box<Toy>),
    Open,
}

impl Schema for Toy {
    fn atom(&self) -> Atom<'_> {
        match self {
            Toy::Text => Atom { scalar: Some(Scalar::Text), ..Atom::default() },
            Toy::Object(_) => Atom { map: Some(Map { atomic: false, others: None }), ..Atom::default() },
            Toy::Open => {
                Atom { map: Some(Map { atomic: false, others: Some(Shape::Deduced) }), ..Atom::default() }
            }
            Toy::List(keys, item) => {
                let relation = Relation::Map(Keys::Owned(keys));
                Atom { list: Some(List { relation, item: Shape::Other(&**item) }), ..Atom::default() }
            }
        }
    }
    fn field(&self, name: &str) -> Option<Shape<'_>> {
        match self {
            Toy::Object(fields) if name == "metadata" && fields.iter().any(|(n, _)| *n == "spec") => {
                Some(Shape::object_meta())
            }
            Toy::Object(fields) => fields.iter().find(|(n, _)| *n == name).map(|(_, toy)| Shape::Other(toy)),
            _ => None,
        }
    }
}

#[test]
fn a_foreign_schema_takes_part() {
    let parts = Toy::Object(vec![("id", Toy::Text), ("note", Toy::Text)]);
    let list = Toy::List(vec!["id".to_owned()], Box::new(parts));
    let toy = Toy::Object(vec![("spec", Toy::Object(vec![("parts", list), ("any", Toy::Open)]))]);
    let shape = Shape::Other(&toy);
    let old = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"parts": [{"id": "x", "note": "1"}], "any": {"q": [1]}}});
    let new = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"parts": [{"id": "x", "note": "2"}, {"id": "y"}], "any": {"q": [2]}}});
    let found = compare(shape, &old, &new);
    assert_eq!(shown(&found.modified), [".spec.any.q", r#".spec.parts[id="x"].note"#]);
    assert_eq!(shown(&found.added), [r#".spec.parts[id="y"]"#, r#".spec.parts[id="y"].id"#]);
    assert_eq!(
        validate(shape, &json!({"spec": {"oops": 1}})).expect_err("unknown"),
        ".spec.oops: field not declared in schema"
    );
    assert_eq!(
        validate(shape, &json!({"metadata": {"oops": 1}})).expect_err("unknown"),
        ".metadata.oops: field not declared in schema"
    );
}
