//! Three-way merge: what an addon set last, what it sets now, what there is.
//!
//! Fields that the addon sets become what it wants; fields that it set and no longer sets go; everything else is
//! somebody else's and stays. Lists are merged by the keys of the field table (upstream's `listMapKey`, else
//! `patchMergeKey`), so that a container, port or volume that a user added survives; what has no keys is replaced
//! whole. This is `kubectl apply` without server-side apply, done on values: the result is written with the
//! resourceVersion it was made from, and not at all if nothing changes.

use sampan_api::fields::ListType;
use sampan_api::strict::{Node, Shape, Spot};
use serde_json::{Map, Value};

/// The object to write. `root` is the kind's place in the field table; `None`: no schema, as a JSON merge patch.
pub(crate) fn merge(last: Option<&Value>, wanted: &Value, live: &Value, root: Option<Spot>) -> Value {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let last = last.and_then(Value::as_object);
            Value::Object(merge_map(last, wanted, live, root))
        }
        (Value::Array(wanted), Value::Array(live)) => {
            let last = last.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            Value::Array(merge_list(last, wanted, live, root))
        }
        _ => wanted.clone(),
    }
}

fn merge_map(
    last: Option<&Map<String, Value>>,
    wanted: &Map<String, Value>,
    live: &Map<String, Value>,
    place: Option<Spot>,
) -> Map<String, Value> {
    let mut merged = live.clone();
    if place.is_some_and(|place| place.merge().retain_keys) {
        // a union: a member that is not wanted would contradict the one that is
        merged.retain(|key, _| wanted.contains_key(key));
    }
    for key in last.into_iter().flat_map(Map::keys).filter(|key| !wanted.contains_key(*key)) {
        merged.shift_remove(key);
    }
    for (key, value) in wanted {
        let value = match live.get(key) {
            Some(there) => merge(last.and_then(|last| last.get(key)), value, there, child(place, key)),
            None => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    merged
}

fn child(place: Option<Spot>, key: &str) -> Option<Spot> {
    let place = place?;
    match place.shape() {
        Shape::Object => place.field(key),
        Shape::Map(item) => Some(item),
        _ => None,
    }
}

/// How the items of a list are told apart.
enum Items<'a> {
    Whole,
    Scalars,
    Keyed { keys: Vec<(&'a str, Option<Value>)>, item: Option<Spot> },
}

fn items(place: Option<Spot>) -> Items<'static> {
    let Some((place, row)) = place.and_then(|place| Some((place, place.row()?))) else { return Items::Whole };
    let keys: Vec<&'static str> = match (row.list_type, row.merge_key) {
        (Some(ListType::Map), _) if !row.map_keys.is_empty() => row.map_keys.to_vec(),
        (_, Some(key)) if row.has_strategy("merge") => vec![key],
        (Some(ListType::Set), _) => return Items::Scalars,
        _ if row.has_strategy("merge") => return Items::Scalars,
        _ => return Items::Whole,
    };
    let item = match place.shape() {
        Shape::List(item) => Some(item),
        _ => None,
    };
    let keys = keys.into_iter().map(|key| (key, default_of(item, key))).collect();
    Items::Keyed { keys, item }
}

/// What a key that is left out means: the server fills the field in.
fn default_of(item: Option<Spot>, key: &str) -> Option<Value> {
    let stated =
        item.and_then(|item| item.field(key)).and_then(|field| field.row()).and_then(|row| row.default);
    match (stated, key) {
        (Some(text), _) => serde_json::from_str(text).ok(),
        (None, "protocol") => Some("TCP".into()),
        _ => None,
    }
}

fn merge_list(last: &[Value], wanted: &[Value], live: &[Value], place: Option<Spot>) -> Vec<Value> {
    match items(place) {
        Items::Whole => wanted.to_vec(),
        Items::Scalars => ordered(last, wanted, live, |a, b| a == b, |_, wanted, _| wanted.clone()),
        Items::Keyed { keys, item } => {
            let retain = place.is_some_and(|place| place.merge().retain_keys);
            let same = |a: &Value, b: &Value| {
                keys.iter().all(|(key, default)| {
                    let of = |value: &Value| value.get(*key).cloned().or_else(|| default.clone());
                    of(a) == of(b)
                })
            };
            let one = |last: Option<&Value>, wanted: &Value, live: &Value| {
                let mut merged = merge(last, wanted, live, item);
                if let (true, Some(merged), Some(wanted)) =
                    (retain, merged.as_object_mut(), wanted.as_object())
                {
                    merged.retain(|key, _| wanted.contains_key(key));
                }
                merged
            };
            ordered(last, wanted, live, same, one)
        }
    }
}

/// Wanted items in their order; of the others, those that were not ours stay before the item they stood before.
fn ordered(
    last: &[Value],
    wanted: &[Value],
    live: &[Value],
    same: impl Fn(&Value, &Value) -> bool,
    one: impl Fn(Option<&Value>, &Value, &Value) -> Value,
) -> Vec<Value> {
    let find = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item));
    let others = |item: &&Value| find(wanted, item).is_none() && find(last, item).is_none();
    let mut merged = Vec::with_capacity(wanted.len() + live.len());
    let mut shown = 0;
    for item in wanted {
        let Some(at) = find(live, item) else {
            merged.push(item.clone());
            continue;
        };
        if at >= shown {
            merged.extend(live[shown..at].iter().filter(others).cloned());
            shown = at + 1;
        }
        merged.push(one(find(last, item).map(|at| &last[at]), item, &live[at]));
    }
    merged.extend(live.iter().skip(shown).filter(others).cloned());
    merged
}

/// What is kept of a manifest to know later which fields were ours: of a Secret the names, not the values.
pub(crate) fn remembered(wanted: &Value) -> Value {
    let mut kept = wanted.clone();
    if wanted["kind"] == "Secret"
        && let Some(data) = kept.get_mut("data").and_then(Value::as_object_mut)
    {
        data.values_mut().for_each(|value| *value = Value::String(String::new()));
    }
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn place(schema: &str) -> Option<Spot> {
        Some(Spot::root(schema).unwrap())
    }

    #[test]
    fn what_is_ours_follows_and_what_is_not_stays() {
        let cases = [
            (
                "a field changes",
                json!({"a": 1}),
                json!({"a": 2}),
                json!({"a": 1, "b": 1}),
                json!({"a": 2, "b": 1}),
            ),
            (
                "a user's edit of our field is undone",
                json!({"a": 1}),
                json!({"a": 1}),
                json!({"a": 9}),
                json!({"a": 1}),
            ),
            (
                "a field no longer set goes",
                json!({"a": 1, "b": 1}),
                json!({"a": 1}),
                json!({"a": 1, "b": 1, "c": 1}),
                json!({"a": 1, "c": 1}),
            ),
            (
                "what was never ours stays",
                json!({}),
                json!({}),
                json!({"a": {"b": 1}}),
                json!({"a": {"b": 1}}),
            ),
            (
                "deep",
                json!({"m": {"x": 1, "y": 1}}),
                json!({"m": {"y": 2}}),
                json!({"m": {"x": 1, "y": 1, "z": 1}}),
                json!({"m": {"y": 2, "z": 1}}),
            ),
            (
                "a list without keys",
                json!({"l": [1]}),
                json!({"l": [1, 2]}),
                json!({"l": [1, 3]}),
                json!({"l": [1, 2]}),
            ),
            (
                "another type",
                json!({"a": 1}),
                json!({"a": {"b": 1}}),
                json!({"a": 1}),
                json!({"a": {"b": 1}}),
            ),
        ];
        for (what, last, wanted, live, expected) in cases {
            assert_eq!(merge(Some(&last), &wanted, &live, None), expected, "{what}");
            assert_eq!(merge(Some(&wanted), &wanted, &expected, None), expected, "{what}: not stable");
        }
    }

    fn names(list: &Value) -> Vec<&str> {
        list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn containers_and_env_are_merged_by_name() {
        let root = place("io.k8s.api.core.v1.PodSpec");
        let last = json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "OLD", "value": "1"}]}, {"name": "gone"}]});
        let wanted = json!({"containers": [{"name": "a", "image": "i:2", "env": [{"name": "X", "value": "2"}, {"name": "NEW", "value": "$(X)"}]}]});
        let live = json!({"containers": [{"name": "sidecar", "image": "s"}, {"name": "a", "image": "i:1", "terminationMessagePath": "/dev/x",
            "env": [{"name": "X", "value": "1"}, {"name": "MINE", "value": "u"}, {"name": "OLD", "value": "1"}]}, {"name": "gone", "image": "g"}]});
        let merged = merge(Some(&last), &wanted, &live, root);
        assert_eq!(names(&merged["containers"]), ["sidecar", "a"]);
        let a = &merged["containers"][1];
        assert_eq!((&a["image"], &a["terminationMessagePath"]), (&json!("i:2"), &json!("/dev/x")));
        assert_eq!(names(&a["env"]), ["X", "NEW", "MINE"]);
        assert_eq!(a["env"][0]["value"], "2");
    }

    #[test]
    fn one_port_on_two_protocols_is_two_ports() {
        let root = place("io.k8s.api.core.v1.ServiceSpec");
        let wanted = json!({"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]});
        let live = json!({"ports": [
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53, "nodePort": 31000},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53, "nodePort": 31001},
            {"name": "mine", "port": 54, "protocol": "TCP", "targetPort": 54}]});
        assert_eq!(merge(Some(&wanted), &wanted, &live, root), live);
    }

    #[test]
    fn a_union_holds_only_the_wanted_member() {
        let root = place("io.k8s.api.apps.v1.DeploymentSpec");
        let last = json!({"strategy": {"type": "RollingUpdate"}});
        let wanted = json!({"strategy": {"type": "Recreate"}});
        let live =
            json!({"replicas": 3, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}});
        let expected = json!({"replicas": 3, "strategy": {"type": "Recreate"}});
        assert_eq!(merge(Some(&last), &wanted, &live, root), expected);
        let pod = place("io.k8s.api.core.v1.PodSpec");
        let volumes = |source: Value| json!({"volumes": [source]});
        let was = volumes(json!({"name": "v", "emptyDir": {}}));
        let becomes = volumes(json!({"name": "v", "configMap": {"name": "c"}}));
        assert_eq!(merge(Some(&was), &becomes, &was, pod), becomes);
    }

    #[test]
    fn sets_are_joined() {
        let root = place("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        let merged = merge(
            Some(&json!({"finalizers": ["a", "b"]})),
            &json!({"finalizers": ["a"]}),
            &json!({"finalizers": ["users", "a", "b"]}),
            root,
        );
        assert_eq!(merged, json!({"finalizers": ["users", "a"]}));
    }

    #[test]
    fn secrets_are_remembered_by_name_alone() {
        let secret = json!({"kind": "Secret", "data": {"password": "aHVudGVyMg=="}});
        let kept = remembered(&secret);
        assert_eq!(kept, json!({"kind": "Secret", "data": {"password": ""}}));
        let live = json!({"kind": "Secret", "data": {"password": "aHVudGVyMg==", "mine": "eA=="}});
        let merged = merge(Some(&kept), &json!({"kind": "Secret", "data": {}}), &live, None);
        assert_eq!(merged, json!({"kind": "Secret", "data": {"mine": "eA=="}}));
    }
}
