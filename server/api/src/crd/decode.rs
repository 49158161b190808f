//! Bodies of requests for custom resources: from bytes to a pruned value, with everything said that upstream says.
//!
//! Unlike built-in types, values keep what was sent: types are the validation's business, nulls the defaults'. Only
//! metadata is made to conform, here and in embedded resources.

use serde_json::Value;

use super::coerce::coerce;
use super::prune::prune;
use super::schema::{Additional, Schema, Type};
use crate::patch::{self, PatchType};
use crate::status::{ApiError, FieldError};
use crate::strict::{self, Decoded, Expected, FieldValidation, Format, Merge, Node, Shape, Spot, parse};

pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A place in a custom resource.
#[derive(Clone, Copy)]
enum At<'a> {
    /// A resource: what has a kind and metadata.
    Resource(&'a Schema),
    Inside(&'a Schema),
    Meta(Spot),
    Text,
    Anything,
}

impl Node for At<'_> {
    fn shape(self) -> Shape<Self> {
        let schema = match self {
            At::Text => return Shape::Text,
            At::Anything => return Shape::Any,
            At::Meta(spot) => return in_meta(spot.shape()),
            At::Resource(_) => return Shape::Object,
            At::Inside(schema) => schema,
        };
        if let (Type::Array, Some(items)) = (schema.ty, &schema.items) {
            return Shape::List(inside(items));
        }
        let kept = schema.keeps() && schema.properties.is_empty() && schema.additional.is_none();
        match schema.ty {
            Type::Object | Type::Any if !schema.int_or_string && !kept => Shape::Object,
            _ => Shape::Any,
        }
    }

    fn field(self, json: &str) -> Option<Self> {
        let schema = match self {
            At::Text | At::Anything => return Some(At::Anything),
            At::Meta(spot) => return spot.field(json).map(At::Meta),
            At::Resource(schema) => match json {
                "apiVersion" | "kind" => return Some(At::Text),
                "metadata" => return Spot::root(META).map(At::Meta),
                _ => schema,
            },
            At::Inside(schema) => schema,
        };
        match (schema.properties.get(json), &schema.additional) {
            (Some(field), _) => Some(inside(field)),
            (None, Some(Additional::Of(of))) => Some(inside(of)),
            (None, _) => schema.keeps().then_some(At::Anything),
        }
    }

    fn name(self) -> &'static str {
        match self {
            At::Meta(spot) => spot.name(),
            _ => "",
        }
    }

    fn merge(self) -> Merge<'static> {
        Merge::default()
    }
}

fn inside(schema: &Schema) -> At<'_> {
    if schema.embedded { At::Resource(schema) } else { At::Inside(schema) }
}

fn in_meta<'a>(shape: Shape<Spot>) -> Shape<At<'a>> {
    match shape {
        Shape::List(item) => Shape::List(At::Meta(item)),
        Shape::Map(item) => Shape::Map(At::Meta(item)),
        Shape::Object => Shape::Object,
        Shape::Text => Shape::Text,
        _ => Shape::Any,
    }
}

/// Decodes the body of a create or update.
pub fn decode(
    body: &[u8],
    format: Format,
    schema: &Schema,
    expected: Expected<'_>,
    mode: FieldValidation,
) -> Result<Decoded, ApiError> {
    let parsed = parse(body, format, Some(At::Resource(schema)))
        .map_err(|why| strict::unreadable(body, format, expected, &why))?;
    let (mut value, mut problems) = (parsed.value, parsed.problems);
    strict::interpret(&value, body, format, expected)?;
    identify(&value, body, expected)?;
    metadata(&mut value, schema, expected)?;
    if format == Format::Json && problems.iter().any(|problem| problem.starts_with(UNKNOWN)) {
        // upstream decodes into no type first: to that, nothing is unknown, and what is given twice is everywhere
        let twice = parse::<()>(body, format, None).map(|parsed| parsed.problems).unwrap_or_default();
        problems.retain(|problem| problem.starts_with(UNKNOWN));
        problems.splice(..0, twice);
    }
    problems.sort_by_cached_key(|problem| place(problem, schema));
    match mode {
        FieldValidation::Strict if !problems.is_empty() => Err(strict::strict_error(expected, &problems)),
        FieldValidation::Warn => Ok(Decoded { value, warnings: strict::warnings(problems) }),
        _ => Ok(Decoded { value, warnings: Vec::new() }),
    }
}

const UNKNOWN: &str = "unknown field \"";

/// Where upstream tells a problem: what the decoder finds as it comes, then unknown fields of the metadata, those that
/// pruning finds and those of embedded metadata, each by their names.
fn place(problem: &str, schema: &Schema) -> (u8, String) {
    let unknown = problem.strip_prefix(UNKNOWN).and_then(|rest| rest.strip_suffix('"'));
    let Some(path) = unknown else { return (0, String::new()) };
    let pass = match path.starts_with("metadata.") {
        true => 1,
        false if in_embedded_metadata(path, schema) => 3,
        false => 2,
    };
    (pass, path.to_owned())
}

fn in_embedded_metadata(path: &str, schema: &Schema) -> bool {
    let (mut here, mut steps) = (schema, path.split('.'));
    while let Some(step) = steps.next() {
        let (name, indices) = step.split_once('[').unwrap_or((step, ""));
        let Some(mut next) = here.field(name) else { return false };
        for _ in indices.split('[').filter(|index| !index.is_empty()) {
            match &next.items {
                Some(items) => next = items,
                None => return false,
            }
        }
        if next.embedded && steps.clone().next() == Some("metadata") {
            return true;
        }
        here = next;
    }
    false
}

/// Custom resources say what they are, nothing is filled in: without a kind nothing is decoded, another version is refused
/// by the handler, and another kind by the validation.
fn identify(value: &Value, body: &[u8], expected: Expected<'_>) -> Result<(), ApiError> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    if !value.is_object() || kind.is_empty() {
        let why = format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(body));
        return Err(strict::not_recognized(body, expected, &why));
    }
    if api_version != crate::meta::to_api_version(expected.group, expected.version) {
        return Err(strict::of_another_version(api_version, expected));
    }
    if kind == expected.kind {
        return Ok(());
    }
    let wrong = FieldError::invalid("kind", kind, format!("must be {}", expected.kind));
    let name = value.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::as_str);
    Err(ApiError::invalid(expected.group, kind, name.unwrap_or_default(), vec![wrong]))
}

/// Makes an object that no decoder made conform: its metadata, and that of embedded resources.
pub fn conform(value: &mut Value, schema: &Schema, expected: Expected<'_>) -> Result<(), ApiError> {
    metadata(value, schema, expected)
}

/// Makes the metadata of an object and of embedded resources conform.
fn metadata(value: &mut Value, schema: &Schema, expected: Expected<'_>) -> Result<(), ApiError> {
    own_metadata(value).map_err(|(_, why)| expected.unfit(why))?;
    coerce(value, schema).map_err(|wrong| expected.unfit(wrong))
}

/// That of one object: what it says, and why it cannot be.
pub(super) fn own_metadata(value: &mut Value) -> Result<(), (Value, String)> {
    if let (Some(metadata), Some(spot)) = (value.get_mut("metadata"), Spot::root(META)) {
        if metadata.is_null() {
            *metadata = Value::Object(Default::default());
        }
        strict::conform(metadata, spot).map_err(|why| (metadata.clone(), why))?;
    }
    Ok(())
}

/// Applies a JSON or merge patch to `object`. Strategic merge patches need types, and are not for custom resources.
pub fn patch(
    patch_type: PatchType,
    body: &[u8],
    object: &Value,
    schema: &Schema,
    expected: Expected<'_>,
    mode: FieldValidation,
) -> Result<Decoded, ApiError> {
    let (mut value, mut problems) = patch::raw(patch_type, body, object, mode)?;
    let refused = |why: String| {
        let shown = String::from_utf8_lossy(body).into_owned();
        ApiError::invalid("", "", "", vec![FieldError::invalid("patch", shown, why)])
    };
    if !value.is_object() {
        return Err(refused(format!("{value} is not an object")));
    }
    identify(&value, body, expected)?;
    if let (Some(metadata), Some(spot)) = (value.get_mut("metadata"), Spot::root(META)) {
        let unknown = strict::conform(metadata, spot).map_err(refused)?;
        problems.extend(unknown.into_iter().map(|text| text.replacen("field \"", "field \"metadata.", 1)));
    }
    problems.extend(prune(&mut value, schema));
    coerce(&mut value, schema).map_err(|wrong| expected.unfit(wrong))?;
    match mode {
        FieldValidation::Strict if !problems.is_empty() => {
            Err(refused(format!("strict decoding error: {}", problems.join(", "))))
        }
        FieldValidation::Warn => Ok(Decoded { value, warnings: problems }),
        _ => Ok(Decoded { value, warnings: Vec::new() }),
    }
}
