//! Server-side apply: some managers write one object, in turn.

use sampan_api::apply::managed::Managed;
use sampan_api::apply::manager::{Tracker, Versions};
use sampan_api::apply::reset::of_kind;
use sampan_api::apply::{PathElement, Set, Shape};
use sampan_api::kinds::Kind;
use sampan_api::strict::Spot;
use serde_json::{Value, json};

use super::build::Builder;

const MANAGERS: [&str; 3] = ["ann", "bob", "eve"];
/// How many writes there are at most.
const WRITES: usize = 8;

/// The kind's only version.
struct One(&'static Kind);

impl Versions for One {
    fn shape(&self, api_version: &str) -> Option<Shape<'_>> {
        (api_version == self.0.api_version()).then(|| Shape::root(self.0.schema)).flatten()
    }
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        (api_version == self.0.api_version()).then(|| object.clone())
    }
}

/// Who owns what: the manager with the operation, and each path.
fn owned(object: &Value) -> Vec<(String, Vec<PathElement>)> {
    let mut out = Vec::new();
    let empty = Vec::new();
    for entry in object["metadata"]["managedFields"].as_array().unwrap_or(&empty) {
        let who = format!("{} {}", entry["manager"], entry["operation"]);
        let set = Set::from_value(&entry["fieldsV1"]).expect("fields are well formed");
        assert_eq!(set.to_value(), entry["fieldsV1"], "fields are written as they are read");
        set.each(&mut |path| out.push((who.clone(), path.to_vec())));
    }
    out
}

/// Whether the path leads to something. What Go keeps by value is there in any object, and managers are told of it as if it
/// were written: an object that says nothing of its `spec` has an empty one.
fn leads(shape: Option<Shape<'_>>, value: &Value, path: &[PathElement]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match first {
        PathElement::Field(name) => {
            let field = shape.and_then(|shape| shape.field(name));
            match value.get(&**name) {
                Some(below) => leads(field, below, rest),
                None => field.is_some_and(Shape::always_there) && leads(field, &Value::Null, rest),
            }
        }
        PathElement::Index(at) => value.get(*at as usize).is_some_and(|below| leads(None, below, rest)),
        PathElement::Value(item) => value.as_array().is_some_and(|list| list.contains(item)),
        PathElement::Key(keys) => value.as_array().is_some_and(|list| {
            // a key that the item leaves out has its default
            let is = |item: &&Value| {
                keys.iter().all(|(name, key)| item.get(&**name).is_none_or(|have| have == key))
            };
            list.iter().filter(is).any(|item| leads(shape.and_then(Shape::item), item, rest))
        }),
    }
}

/// Nobody owns what is not there; an apply without force takes nothing from anyone; twice is once; and managed fields are
/// read as they are written.
pub fn apply(data: &[u8]) {
    let Some((kind, rest)) = super::kind(data) else { return };
    let Some(spot) = Spot::root(kind.schema) else { return };
    let (versions, api_version) = (One(kind), kind.api_version());
    let reset = of_kind(kind.group, kind.kind, "");
    let tracker = Tracker {
        versions: &versions,
        api_version: &api_version,
        kind: kind.kind,
        subresource: "",
        reset: &reset,
        now: "2026-01-02T03:04:05Z",
    };
    let shape = versions.shape(&api_version);
    let mut builder = Builder::new(rest);
    let mut live: Option<Value> = None;
    for _ in 0..WRITES {
        if builder.is_done() {
            break;
        }
        let who = MANAGERS[builder.below(MANAGERS.len())];
        let how = builder.below(3);
        let config = builder.config(kind, spot);
        let stored = |mut object: Value| {
            object["metadata"]["uid"] = json!("u");
            object
        };
        if how == 0 {
            let mut new = config;
            tracker.update(live.as_ref(), &mut new, who);
            live = Some(stored(new));
        } else {
            let Ok(new) = tracker.apply(live.as_ref(), &config, who, how == 1) else { continue };
            let new = stored(new);
            if let (Some(before), 2) = (&live, how) {
                let me = format!("{:?} \"Apply\"", who);
                let has = owned(&new);
                for one in owned(before).into_iter().filter(|(who, _)| *who != me) {
                    assert!(has.contains(&one), "{one:?} was lost by {who}'s {config}: {before} → {new}");
                }
            }
            // an object that nobody manages has a manager the next time it is applied: `before-first-apply`
            if !owned(&new).is_empty() {
                let again = tracker.apply(Some(&new), &config, who, false);
                let again =
                    stored(again.unwrap_or_else(|why| panic!("{who}'s {config} again: {why}: {new}")));
                assert_eq!(again, new, "{who}'s {config} twice");
            }
            live = Some(new);
        }
        let Some(object) = &live else { continue };
        for (who, path) in owned(object) {
            assert!(leads(shape, object, &path), "{who} owns {path:?}, which is not there: {object}");
        }
        let list = &object["metadata"]["managedFields"];
        if list.is_array() {
            let read = Managed::read(list).expect("managed fields are well formed");
            assert_eq!(read.into_value().as_ref(), Some(list));
        }
    }
}
