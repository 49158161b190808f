//! The targets. None may do anything but compute.

mod build;
mod managed;

use sampan_api::fields;
use sampan_api::kinds::{self, Kind};
use sampan_api::patch::{self, PatchType};
use sampan_api::proto;
use sampan_api::quantity::Quantity;
use sampan_api::selector::{FieldSelector, Selector};
use sampan_api::strict::{self, Expected, FieldValidation, Format, Spot};
use serde_json::{Map, Value};

use build::Builder;
pub use managed::apply;

/// The kind that the first byte picks, and the rest.
fn kind(data: &[u8]) -> Option<(&'static Kind, &[u8])> {
    let (first, rest) = data.split_first()?;
    let known: Vec<&Kind> =
        kinds::all().iter().filter(|kind| fields::type_of(kind.schema).is_some()).collect();
    known.get(usize::from(*first) % known.len().max(1)).map(|kind| (*kind, rest))
}

fn expected(kind: &'static Kind) -> Expected<'static> {
    Expected::from(kind)
}

/// A body of a kind: what is decoded is decoded again as it is, without anything to say.
fn body(data: &[u8], format: Format) {
    let Some((kind, text)) = kind(data) else { return };
    // without a type nothing is dropped
    if let Ok(parsed) = strict::parse::<()>(text, format, None) {
        let again = strict::parse::<()>(parsed.value.to_string().as_bytes(), Format::Json, None);
        let again = again.expect("what was parsed is JSON");
        assert_eq!(again.value, parsed.value);
        assert_eq!(again.problems, Vec::<String>::new(), "{}", parsed.value);
    }
    let Some(spot) = Spot::root(kind.schema) else { return };
    let Ok(decoded) = strict::decode(text, format, spot, expected(kind), FieldValidation::Warn) else {
        return;
    };
    let strictly = strict::decode(text, format, spot, expected(kind), FieldValidation::Strict);
    assert_eq!(strictly.is_ok(), decoded.warnings.is_empty(), "{:?}", decoded.warnings);
    let written = decoded.value.to_string();
    let again =
        strict::decode(written.as_bytes(), Format::Json, spot, expected(kind), FieldValidation::Strict);
    assert_eq!(again.expect("what was decoded conforms").value, decoded.value);
}

/// The JSON decoder.
pub fn json(data: &[u8]) {
    body(data, Format::Json);
}

/// The YAML decoder.
pub fn yaml(data: &[u8]) {
    body(data, Format::Yaml);
}

/// The protobuf decoder: what it makes of a message, the encoder makes a message of, and that is the same object.
pub fn protobuf(data: &[u8]) {
    let Some((kind, message)) = kind(data) else { return };
    let Ok(value) = proto::decode(message, kind.schema) else { return };
    let encode = |value: &Value| {
        let text = value.to_string();
        proto::encode(text.as_bytes(), kind.schema, &kind.api_version(), kind.kind)
    };
    // a message may say what the type does not allow, such as a quantity that is none
    let Ok(encoded) = encode(&value) else { return };
    let again = proto::decode(&encoded, kind.schema).expect("what was encoded is a message");
    let twice = encode(&again).expect("what was decoded can be encoded");
    assert_eq!(twice, encoded, "{value} {again}");
}

/// Selectors by label and by field: what they print is what they are.
pub fn selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(selector) = Selector::parse(text) {
        let printed = selector.to_string();
        let again = Selector::parse(&printed).unwrap_or_else(|why| panic!("{text:?} → {printed:?}: {why}"));
        assert_eq!(again.to_string(), printed, "{text:?}");
        let labels = Map::from_iter([("a".to_owned(), "1".into()), ("b".to_owned(), "x".into())]);
        assert_eq!(again.matches(&labels), selector.matches(&labels), "{text:?} → {printed:?}");
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        let printed = selector.to_string();
        let again =
            FieldSelector::parse(&printed).unwrap_or_else(|why| panic!("{text:?} → {printed:?}: {why}"));
        assert_eq!(again.to_string(), printed, "{text:?}");
    }
}

/// Quantities: the canonical form is one, of the same amount.
pub fn quantity(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(quantity) = Quantity::parse(text) else { return };
    let printed = quantity.to_string();
    let again = Quantity::parse(&printed).unwrap_or_else(|why| panic!("{text:?} → {printed:?}: {why}"));
    assert_eq!(again.nanos(), quantity.nanos(), "{text:?} → {printed:?}");
    assert_eq!(again.to_string(), printed, "{text:?}");
    let _ = (quantity.value(), quantity.milli_value(), quantity.as_f64());
}

/// The strategic merge patch: nothing changes nothing, and what conforms conforms afterwards.
pub fn strategic(data: &[u8]) {
    let Some((kind, rest)) = kind(data) else { return };
    let Some(spot) = Spot::root(kind.schema) else { return };
    let mut builder = Builder::new(rest);
    let object = builder.conforming(kind, spot);
    let patch = builder.patch(spot);
    let apply = |object: &Value, patch: &Value| {
        let text = patch.to_string();
        let mode = FieldValidation::Ignore;
        patch::apply(PatchType::Strategic, text.as_bytes(), object, spot, expected(kind), mode)
            .map(|done| done.value)
    };
    let nothing = apply(&object, &Value::Object(Map::new()));
    assert_eq!(nothing.expect("an empty patch applies"), object);
    let Ok(patched) = apply(&object, &patch) else { return };
    let written = patched.to_string();
    let again =
        strict::decode(written.as_bytes(), Format::Json, spot, expected(kind), FieldValidation::Strict);
    assert_eq!(again.expect("what was patched conforms").value, patched, "{object} {patch}");
    // a patch without directives says what there is to be; what it says twice is once when it meets what is there
    if !patch.to_string().contains("\"$") {
        // a list with a null in it is set where there is none, and refused where it would be merged
        let Ok(twice) = apply(&patched, &patch) else { return };
        assert_eq!(apply(&twice, &patch).ok(), Some(twice), "{object} {patch}");
    }
}
