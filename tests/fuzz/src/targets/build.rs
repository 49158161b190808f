//! Objects out of bytes, along the field table: a byte is a choice, and no bytes are an empty object.

use sampan_api::fields::{Field, FieldType};
use sampan_api::kinds::Kind;
use sampan_api::strict::{Node, Shape, Spot, conform};
use serde_json::{Map, Value, json};

/// How deep an object goes, and how many values it has.
const DEPTH: usize = 7;
const VALUES: usize = 80;

const WORDS: [&str; 6] = ["a", "b", "c", "x", "example.com/y", ""];
const KEYS: [&str; 3] = ["a", "b", "c"];

/// Reads choices.
pub struct Builder<'a> {
    bytes: &'a [u8],
    left: usize,
    patch: bool,
}

impl<'a> Builder<'a> {
    /// Choices of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, left: VALUES, patch: false }
    }

    /// Whether there is nothing more to choose by.
    pub fn is_done(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A number below `limit`; 0 when there are no more bytes.
    pub fn below(&mut self, limit: usize) -> usize {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        usize::from(*first) % limit.max(1)
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// An object of the kind that the decoder would let through as it is.
    pub fn conforming(&mut self, kind: &Kind, spot: Spot) -> Value {
        let mut object = self.config(kind, spot);
        match conform(&mut object, spot) {
            Ok(_) => object,
            Err(_) => named(json!({}), kind),
        }
    }

    /// What somebody may want of an object of the kind.
    pub fn config(&mut self, kind: &Kind, spot: Spot) -> Value {
        (self.left, self.patch) = (VALUES, false);
        let mut object = self.value(spot, DEPTH);
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove("managedFields");
        }
        object = named(object, kind);
        object
    }

    /// A strategic merge patch, with directives here and there.
    pub fn patch(&mut self, spot: Spot) -> Value {
        (self.left, self.patch) = (VALUES, true);
        let mut patch = self.value(spot, DEPTH);
        // what an object is, no patch changes: who writes it looks at that
        for key in ["apiVersion", "kind"] {
            patch.as_object_mut().map(|patch| patch.shift_remove(key));
        }
        if patch.is_object() { patch } else { json!({}) }
    }

    fn value(&mut self, node: Spot, depth: usize) -> Value {
        self.left = self.left.saturating_sub(1);
        if self.patch && self.below(8) == 1 {
            return Value::Null;
        }
        match node.shape() {
            Shape::Any => self.pick(&[0, 1, 2, 3]).into(),
            Shape::Text => self.pick(&WORDS).into(),
            Shape::Bool => (self.below(2) == 1).into(),
            Shape::Int32 | Shape::Int64 => self.pick(&[0, 1, 80, -1]).into(),
            Shape::Float => self.pick(&[0.5, 1.5]).into(),
            Shape::Quantity => self.pick(&["0", "1", "500m", "1Gi"]).into(),
            Shape::IntOrString => [json!(1), json!("50%"), json!("http")][self.below(3)].clone(),
            Shape::Time => self.pick(&["2026-01-01T00:00:00Z", "2026-01-02T03:04:05Z"]).into(),
            Shape::MicroTime => "2026-01-01T00:00:00.000001Z".into(),
            Shape::Bytes => self.pick(&["", "YQ==", "YWI="]).into(),
            Shape::Object => self.object(node, depth).into(),
            Shape::List(item) => {
                let count = if depth == 0 || self.left == 0 { 0 } else { self.below(4) };
                let mut list: Vec<Value> = (0..count).map(|_| self.value(item, depth - 1)).collect();
                if let Some(row) = node.row() {
                    list.iter_mut().for_each(|item| self.keyed(item, row));
                }
                list.into()
            }
            Shape::Map(item) => {
                let count = if depth == 0 || self.left == 0 { 0 } else { self.below(3) };
                let pairs = (0..count).map(|_| (self.pick(&KEYS).to_owned(), self.value(item, depth - 1)));
                pairs.collect::<Map<_, _>>().into()
            }
        }
    }

    fn object(&mut self, node: Spot, depth: usize) -> Map<String, Value> {
        let mut map = Map::new();
        let FieldType::Object(reference) = node.ty() else { return map };
        let fields = &reference.get().fields;
        if depth == 0 || fields.is_empty() {
            return map;
        }
        for _ in 0..self.below(5) {
            if self.left == 0 {
                break;
            }
            let field = &fields[self.below(fields.len())];
            if let Some(below) = node.field(field.json) {
                let value = self.value(below, depth - 1);
                map.insert(field.json.to_owned(), value);
            }
            // what an object is, no directive drops
            if self.patch && depth < DEPTH {
                self.directive(field, &mut map);
            }
        }
        map
    }

    /// Gives an item the keys that it is told apart by.
    fn keyed(&mut self, item: &mut Value, row: &Field) {
        let Some(map) = item.as_object_mut() else { return };
        for key in row.map_keys.iter().copied().chain(row.merge_key) {
            let number = key.to_ascii_lowercase().ends_with("port");
            let choice = self.below(3);
            let value = if number { json!([80, 443, 8080][choice]) } else { json!(KEYS[choice]) };
            if key == "protocol" {
                map.insert(key.to_owned(), ["TCP", "UDP", "SCTP"][choice].into());
            } else {
                map.insert(key.to_owned(), value);
            }
        }
    }

    fn directive(&mut self, field: &Field, map: &mut Map<String, Value>) {
        let name = field.json;
        let (key, value) = match self.below(24) {
            1 => ("$patch".to_owned(), json!("delete")),
            2 => ("$patch".to_owned(), json!("replace")),
            3 => ("$patch".to_owned(), json!("merge")),
            4 => ("$retainKeys".to_owned(), json!([name])),
            5 => (format!("$setElementOrder/{name}"), json!([{"name": "a"}, {"name": "b"}])),
            6 => (format!("$setElementOrder/{name}"), json!(["a", "b"])),
            7 => (format!("$deleteFromPrimitiveList/{name}"), json!(["a"])),
            _ => return,
        };
        map.insert(key, value);
    }
}

/// With what the decoder and the store give every object.
fn named(mut object: Value, kind: &Kind) -> Value {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    object["metadata"]["name"] = "x".into();
    object
}
