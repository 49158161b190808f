//! How the items of a list are told apart, as a schema says: lists that are sets or maps are equal in any order, and adding
//! to them replaces what they have (`common/values.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::types::escape;
use crate::value::{Key, List, Value};

/// `x-kubernetes-list-type`. Of no meaning for a type: any two are the same.
#[derive(Clone, Debug, Default)]
pub enum Relation {
    /// By their places.
    #[default]
    Atomic,
    /// By their values.
    Set,
    /// By the values of these fields.
    Map(Arc<[String]>),
}

impl PartialEq for Relation {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Relation {
    /// As a schema of an array says.
    pub(crate) fn of(schema: &serde_json::Value) -> Self {
        let names = |keys: &serde_json::Value| {
            let names = keys.as_array().into_iter().flatten().filter_map(serde_json::Value::as_str);
            names.map(|name| escape(name).unwrap_or_else(|| name.to_owned())).collect()
        };
        match schema.get("x-kubernetes-list-type").and_then(serde_json::Value::as_str) {
            Some("set") => Self::Set,
            Some("map") => Self::Map(schema.get("x-kubernetes-list-map-keys").map(names).unwrap_or_default()),
            _ => Self::Atomic,
        }
    }
}

/// What an item is told apart by; none if it has no such thing.
fn identity(item: &Value<'_>, relation: &Relation) -> Option<Vec<Option<Key>>> {
    match (relation, item) {
        (Relation::Atomic, _) => None,
        (Relation::Set, item) => Some(vec![Some(item.key()?)]),
        (Relation::Map(keys), Value::Map(map)) => {
            Some(keys.iter().map(|key| map.field(key).and_then(|value| value.key())).collect())
        }
        (Relation::Map(_), _) => None,
    }
}

/// `==`, as the left one's relation has it.
pub(crate) fn same(left: &List<'_>, right: &List<'_>) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let relation = left.relation();
    let known: Option<BTreeMap<_, _>> =
        left.iter().map(|item| Some((identity(&item, relation)?, item))).collect();
    match (relation, known) {
        (Relation::Atomic, _) => left.iter().zip(right.iter()).all(|(a, b)| a.equals(&b)),
        (_, Some(known)) => right.iter().all(|item| {
            let own = identity(&item, relation).and_then(|identity| known.get(&identity));
            own.is_some_and(|own| own.equals(&item))
        }),
        // sets of what is no key: objects and lists
        (_, None) => right.iter().all(|item| left.iter().any(|own| own.equals(&item))),
    }
}

/// `+`, as the left one's relation has it.
pub(crate) fn sum<'a>(left: &List<'a>, right: &List<'a>) -> Vec<Value<'a>> {
    let relation = left.relation();
    let mut all: Vec<Value<'a>> = left.iter().collect();
    match relation {
        Relation::Atomic => all.extend(right.iter()),
        Relation::Set => {
            let mut seen: BTreeSet<_> = all.iter().filter_map(|item| identity(item, relation)).collect();
            for item in right.iter() {
                let new = match identity(&item, relation) {
                    Some(identity) => seen.insert(identity),
                    None => !all.iter().any(|own| own.equals(&item)),
                };
                if new {
                    all.push(item);
                }
            }
        }
        Relation::Map(_) => {
            let places = all.iter().enumerate();
            let mut places: BTreeMap<_, _> =
                places.filter_map(|(at, item)| Some((identity(item, relation)?, at))).collect();
            for item in right.iter() {
                let identity = identity(&item, relation);
                match identity.as_ref().and_then(|identity| places.get(identity)).copied() {
                    Some(at) => all[at] = item,
                    None => {
                        places.extend(identity.map(|identity| (identity, all.len())));
                        all.push(item);
                    }
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Budget, Env, Value, Vars, from_schema};

    #[test]
    fn sets_and_maps_have_no_order() {
        let schema = json!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "objects": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a-b"], "items":
                {"type": "object", "properties": {"a-b": {"type": "string"}, "v": {"type": "integer"}}}},
            "list": {"type": "array", "items": {"type": "string"}}}});
        let ty = from_schema(&schema, "Object", true).unwrap();
        let env = Env::new().with("self", ty.clone()).with("oldSelf", ty.clone());
        let new = json!({"set": ["a", "b"], "objects": [{"a": 1}, {"a": 2}], "list": ["a", "b"],
            "map": [{"a-b": "x", "v": 1}, {"a-b": "y", "v": 2}]});
        let old = json!({"set": ["b", "a"], "objects": [{"a": 2}, {"a": 1}], "list": ["b", "a"],
            "map": [{"a-b": "y", "v": 2}, {"a-b": "x", "v": 3}]});
        for (text, wanted) in [
            ("self.set == oldSelf.set", true),
            ("self.objects == oldSelf.objects", true),
            ("self.list == oldSelf.list", false),
            ("self.map == oldSelf.map", false),
            ("self.map == self.map.filter(m, m.v == 2) + self.map.filter(m, m.v == 1)", true),
            ("self.set == ['b', 'a', 'a']", false),
            ("self.set + ['b', 'c'] == ['a', 'b', 'c']", true),
            ("self.set + oldSelf.set == ['a', 'b']", true),
            ("self.objects + oldSelf.objects == self.objects", true),
            ("(self.map + oldSelf.map).map(m, m.v) == [3, 2]", true),
            ("self.list + oldSelf.list == ['a', 'b', 'b', 'a']", true),
        ] {
            let program = env.compile(text).unwrap();
            let vars =
                Vars::new().with("self", Value::json(&new, &ty)).with("oldSelf", Value::json(&old, &ty));
            let found = program.eval(&vars, &Budget::default()).unwrap().as_bool();
            assert_eq!(found, Some(wanted), "{text}");
        }
    }
}
