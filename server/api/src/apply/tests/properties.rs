//! What holds for any conversation.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::element::PathElement;
use super::super::set::Set;
use super::{Object, POD};

/// Some configuration of a pod: maps, lists with keys, sets and atomic lists.
fn config() -> impl Strategy<Value = Value> {
    let text = || prop::sample::select(vec!["1", "2", "3"]);
    let labels = prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), text(), 0..3);
    let env = prop::collection::btree_map(prop::sample::select(vec!["x", "y"]), text(), 0..3);
    let containers = prop::collection::btree_map(
        prop::sample::select(vec!["one", "two"]),
        (prop::option::of(text()), env),
        0..3,
    );
    let finalizers = prop::collection::btree_set(prop::sample::select(vec!["f/1", "f/2"]), 0..3);
    let tolerations = prop::option::of(text());
    (labels, containers, finalizers, tolerations).prop_map(|(labels, containers, finalizers, toleration)| {
        let containers: Vec<Value> = containers
            .into_iter()
            .map(|(name, (image, env))| {
                let mut container = json!({"name": name});
                if let Some(image) = image {
                    container["image"] = image.into();
                }
                if !env.is_empty() {
                    let env: Vec<Value> =
                        env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                    container["env"] = env.into();
                }
                container
            })
            .collect();
        let mut out = json!({"metadata": {}, "spec": {}});
        if !labels.is_empty() {
            let labels: Map<String, Value> = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            out["metadata"]["labels"] = labels.into();
        }
        if !finalizers.is_empty() {
            out["metadata"]["finalizers"] = finalizers.into_iter().collect::<Vec<_>>().into();
        }
        if !containers.is_empty() {
            out["spec"]["containers"] = containers.into();
        }
        if let Some(value) = toleration {
            out["spec"]["tolerations"] = json!([{"key": "k", "value": value}]);
        }
        if let Value::Object(parts) = &mut out {
            parts.retain(|_, part| part.as_object().is_none_or(|part| !part.is_empty()));
        }
        out
    })
}

#[derive(Clone, Debug)]
enum Act {
    Apply(&'static str, Value, bool),
    Update(&'static str, Value),
}

fn act() -> impl Strategy<Value = Act> {
    let who = || prop::sample::select(vec!["ann", "bob", "eve"]);
    prop_oneof![
        3 => (who(), config(), any::<bool>()).prop_map(|(who, config, force)| Act::Apply(who, config, force)),
        1 => (who(), config()).prop_map(|(who, config)| Act::Update(who, config)),
    ]
}

fn run(pod: &mut Object, act: &Act) -> bool {
    match act {
        Act::Apply(who, config, force) => pod.apply_with(who, config.clone(), *force).is_ok(),
        Act::Update(who, config) => {
            pod.update(who, config.clone());
            true
        }
    }
}

/// Every path of every manager's set.
fn owned(managers: &[(String, Value)]) -> Vec<(&str, Vec<PathElement<'_>>)> {
    let mut out = Vec::new();
    for (name, fields) in managers {
        let set = Set::from_value(fields).expect("well formed");
        set.each(&mut |path| out.push((name.as_str(), path.to_vec())));
    }
    out
}

/// Whether the path leads to something.
fn leads(value: &Value, path: &[PathElement<'_>]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match first {
        PathElement::Field(name) => value.get(name).is_some_and(|below| leads(below, rest)),
        PathElement::Index(at) => value.get(*at as usize).is_some_and(|below| leads(below, rest)),
        PathElement::Value(item) => value.as_array().is_some_and(|list| list.contains(&**item)),
        PathElement::Key(keys) => value.as_array().is_some_and(|list| {
            let is = |item: &&Value| keys.iter().all(|(name, key)| item.get(&**name) == Some(&**key));
            list.iter().find(is).is_some_and(|item| leads(item, rest))
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_owns_what_is_not_there(acts in prop::collection::vec(act(), 1..8)) {
        let mut pod = Object::new(&POD);
        for act in &acts {
            run(&mut pod, act);
            if pod.live.is_some() {
                for (who, path) in owned(&pod.managers()) {
                    prop_assert!(leads(pod.object(), &path), "{who} {path:?} after {act:?}: {}", pod.object());
                }
            }
        }
    }

    #[test]
    fn an_apply_without_force_takes_nothing_from_anyone(acts in prop::collection::vec(act(), 1..6), last in config()) {
        let mut pod = Object::new(&POD);
        for act in &acts {
            run(&mut pod, act);
        }
        let Some(before) = pod.live.clone() else { return Ok(()) };
        let managers = pod.managers();
        let had: Vec<_> = owned(&managers).into_iter().filter(|(who, _)| *who != "zoe Apply").collect();
        if pod.apply("zoe", last).is_ok() {
            let managers = pod.managers();
            let has = owned(&managers);
            // who had nothing tracked had everything before the first apply
            for one in had {
                prop_assert!(has.contains(&one), "{one:?} was lost: {before} -> {}", pod.object());
            }
        } else {
            prop_assert_eq!(&before, pod.object());
        }
    }

    #[test]
    fn applying_twice_is_applying_once(acts in prop::collection::vec(act(), 0..6), last in config()) {
        let mut pod = Object::new(&POD);
        for act in &acts {
            run(&mut pod, act);
        }
        pod.force("zoe", last.clone());
        let once = pod.object().clone();
        pod.apply("zoe", last).expect("its own fields");
        prop_assert_eq!(once, pod.object().clone());
    }

    #[test]
    fn what_was_applied_is_there(acts in prop::collection::vec(act(), 0..6), last in config()) {
        let mut pod = Object::new(&POD);
        for act in &acts {
            run(&mut pod, act);
        }
        pod.force("zoe", last);
        let fields = pod.fields_of("zoe Apply");
        let set = Set::from_value(&fields).expect("well formed");
        let mut all = true;
        set.each(&mut |path| all &= leads(pod.object(), path));
        prop_assert!(all);
    }

    #[test]
    fn fields_v1_round_trips(value in fields_v1(3)) {
        let set = Set::from_value(&value).expect("well formed");
        let text = set.to_value();
        let again = Set::from_value(&text).expect("well formed");
        prop_assert_eq!(&again, &set);
        prop_assert_eq!(again.to_value().to_string(), text.to_string());
        prop_assert!(set.is(&text) && (set.is_empty() || !Set::default().is(&text)));
    }

    #[test]
    fn sets_obey_algebra(a in fields_v1(3), b in fields_v1(3)) {
        let (a, b) = (Set::from_value(&a).expect("ok"), Set::from_value(&b).expect("ok"));
        prop_assert_eq!(a == b, a.is(&b.to_value()));
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert!(a.within(&a.union(&b).to_value()));
        prop_assert_eq!(a.meets(&b.to_value()), !a.intersection(&b).is_empty());
    }
}

fn fields_v1(depth: u32) -> impl Strategy<Value = Value> {
    let key = || {
        prop::sample::select(vec![
            "f:a",
            "f:b",
            "f:c.d/e",
            "k:{\"name\":\"x\"}",
            "k:{\"port\":80,\"protocol\":\"TCP\"}",
            "v:\"s\"",
            "v:3",
            "v:true",
            "i:0",
        ])
    };
    let leaf = Just(json!({}));
    leaf.prop_recursive(depth, 24, 4, move |inner| {
        (prop::collection::btree_map(key(), inner, 1..4), any::<bool>()).prop_map(|(below, member)| {
            let mut map = Map::new();
            if member {
                map.insert(".".into(), json!({}));
            }
            map.extend(below.into_iter().map(|(key, value)| (key.to_owned(), value)));
            map.into()
        })
    })
}
