//! Server-side apply: some managers write one object, in turn.

use sampan_api::apply::managed::Managed;
use sampan_api::apply::manager::{Tracker, Versions};
use sampan_api::apply::reset::of_kind;
use sampan_api::apply::shape::Relation;
use sampan_api::apply::{PathElement, Set, Shape, merge};
use sampan_api::kinds::Kind;
use sampan_api::strict::{Spot, conform};
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
fn owned(object: &Value) -> Vec<(String, Vec<PathElement<'_>>)> {
    let mut out = Vec::new();
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let who = format!("{} {}", entry["manager"], entry["operation"]);
        let set = Set::from_value(&entry["fieldsV1"]).expect("fields are well formed");
        assert_eq!(set.to_value(), entry["fieldsV1"], "fields are written as they are read");
        set.each(&mut |path| out.push((who.clone(), path.to_vec())));
    }
    out
}

/// Whether the path leads to something, or to a map or list: an empty one is not written, but those who have had it go on
/// having it. So it is upstream: `prune` leaves null what others have and out of which all is taken (structured-merge-diff,
/// `typed/remove.go`), which is nothing once it is decoded into Go; and `Compare` finds only that removed which is not there
/// at all.
fn leads(shape: Option<Shape<'_>>, value: &Value, path: &[PathElement<'_>]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match first {
        PathElement::Field(name) => {
            let below = shape.and_then(|shape| shape.field(name).or(shape.atom().map?.others));
            match value.get(*name) {
                Some(value) => leads(below, value, rest),
                None => below.is_some_and(|below| may_be_empty(below, rest)),
            }
        }
        PathElement::Index(at) => value.get(*at as usize).is_some_and(|below| leads(None, below, rest)),
        PathElement::Value(item) => value.as_array().is_some_and(|list| list.contains(&**item)),
        PathElement::Key(keys) => {
            value.as_array().is_some_and(|list| {
                // a key that the item leaves out has its default
                let is = |item: &&Value| {
                    keys.iter().all(|(name, key)| item.get(&**name).is_none_or(|have| *have == **key))
                };
                list.iter().filter(is).any(|item| leads(shape.and_then(Shape::item), item, rest))
            }) || shape.and_then(Shape::item).is_some_and(|item| !rest.is_empty() && may_be_empty(item, rest))
        }
    }
}

/// Whether what `path` leads to below a place is a map or list whose parts are owned one by one, or is there by itself.
fn may_be_empty(place: Shape<'_>, path: &[PathElement<'_>]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        let atom = place.atom();
        let map = atom.map.is_some_and(|map| !map.atomic);
        let list = atom.list.is_some_and(|list| !matches!(list.relation, Relation::Atomic));
        return place.zero().is_some() || atom.scalar.is_none() && (map || list);
    };
    match first {
        PathElement::Field(name) => place.field(name).is_some_and(|below| may_be_empty(below, rest)),
        _ => !rest.is_empty() && place.item().is_some_and(|item| may_be_empty(item, rest)),
    }
}

/// Whether a manager has the items and free keys on the way to what it has. An item goes with whoever applied it last, and
/// takes along what others have in it: upstream's `EnsureNamedFieldsAreMembers`, by which `prune` keeps what leads to
/// others' fields, keeps declared fields only.
fn holds(
    shape: Shape<'_>,
    all: &[(String, Vec<PathElement<'_>>)],
    who: &str,
    path: &[PathElement<'_>],
) -> bool {
    let mut place = Some(shape);
    (0..path.len()).all(|at| {
        let declared = match &path[at] {
            PathElement::Field(name) => place.and_then(|place| place.field(name)),
            _ => None,
        };
        let free = declared.is_none();
        place = declared.or_else(|| match &path[at] {
            PathElement::Field(_) => place?.atom().map?.others,
            _ => place?.item(),
        });
        !free || all.iter().any(|(other, theirs)| other == who && *theirs == path[..=at])
    })
}

/// What an object says, but for maps and lists with nothing in them.
fn full(value: &Value) -> Value {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    };
    match value {
        Value::Object(map) => {
            let fields = map.iter().map(|(name, value)| (name.clone(), full(value)));
            fields.filter(|(_, value)| says(value)).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Array(list) => list.iter().map(full).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

/// Nobody owns a value that is not there; an apply without force takes nothing from anyone but what is in an item of the
/// applier's, and maps and lists with nothing in them; twice is once; and managed fields are read as they are written.
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
    let Some(shape) = versions.shape(&api_version) else { return };
    let mut builder = Builder::new(rest);
    let mut live: Option<Value> = None;
    for _ in 0..WRITES {
        if builder.is_done() {
            break;
        }
        let who = MANAGERS[builder.below(MANAGERS.len())];
        let how = builder.below(3);
        // zeros that Go leaves out would be owned, and not be there
        let config = builder.conforming(kind, spot);
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
            let mut new = stored(new);
            if conform(&mut new, spot).is_err() {
                continue;
            }
            if let (Some(before), 2) = (&live, how) {
                let me = format!("{:?} \"Apply\"", who);
                let has = owned(&new);
                let had = owned(before);
                let parts = had.iter().filter(|(who, path)| *who != me && !may_be_empty(shape, path));
                for one in parts.filter(|(who, path)| holds(shape, &had, who, path)) {
                    assert!(has.contains(one), "{one:?} was lost by {who}'s {config}: {before} → {new}");
                }
            }
            // what the configuration says is there, but for empty objects: others may have had something in them before
            let same = stored(merge(shape, &new, &config).expect("fits"));
            assert_eq!(full(&same), full(&new), "{who}'s {config}");
            // an object that nobody manages has a manager the next time it is applied: `before-first-apply`
            if same == new && !owned(&new).is_empty() {
                let again = tracker.apply(Some(&new), &config, who, false);
                let again = again.unwrap_or_else(|why| panic!("{who}'s {config} again: {why}: {new}"));
                assert_eq!(stored(again), new, "{who}'s {config} twice");
            }
            live = Some(new);
        }
        let Some(object) = &live else { continue };
        for (who, path) in owned(object) {
            assert!(leads(Some(shape), object, &path), "{who} owns {path:?}, which is not there: {object}");
        }
        let list = &object["metadata"]["managedFields"];
        if list.is_array() {
            let read = Managed::read(list).expect("managed fields are well formed");
            assert_eq!(read.into_value().as_ref(), Some(list));
        }
    }
}
