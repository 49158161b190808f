//! Bodies of requests: from bytes to a checked [`Value`], with everything said that upstream says.
//!
//! Upstream decodes into Go structs, which drops unknown fields, refuses wrong types and settles how a value
//! is written. We keep objects as values, so that work is done here, driven by the field table through the
//! small trait [`Node`]:
//!
//! - [`parse()`] reads JSON or YAML and, in one pass, prunes unknown fields and lists them together with
//!   duplicate ones, in the order of the document;
//! - [`conform()`] checks types, removes nulls and writes quantities and times canonically; it is also what a
//!   patched object goes through;
//! - [`decode`] is both, with upstream's words for the answer.
//!
//! Required fields and the meaning of values are [`crate::validate`]'s business.
//!
//! Ported from `sigs.k8s.io/json`, `apimachinery/pkg/runtime/serializer/json` and
//! `apiserver/pkg/endpoints/handlers/rest.go`.

mod alias;
mod conform;
mod depth;
mod node;
mod parse;
mod restore;
mod syntax;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod yaml;

pub use conform::{conform, conform_object, json_type};
pub use node::{Merge, Node, Shape};
pub use parse::{Format, Parsed, parse};
pub use restore::misfit;
pub use syntax::fault;
pub use table::Spot;

use serde_json::{Map, Value};

use crate::go::Quote as _;
use crate::status::ApiError;

/// The `fieldValidation` parameter: what becomes of unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Dropped silently.
    Ignore,
    /// Dropped with a `Warning` header each.
    #[default]
    Warn,
    /// The request fails.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter; empty is the default.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        match text {
            "" | "Warn" => Ok(Self::Warn),
            "Ignore" => Ok(Self::Ignore),
            "Strict" => Ok(Self::Strict),
            other => Err(ApiError::bad_request(format!(
                "fieldValidation: Unsupported value: {}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
                other.quoted()
            ))),
        }
    }
}

/// The kind that an endpoint expects.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the names are upstream's
pub struct Expected<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
}

impl From<&'static crate::kinds::Kind> for Expected<'static> {
    fn from(kind: &'static crate::kinds::Kind) -> Self {
        Self { group: kind.group, version: kind.version, kind: kind.kind }
    }
}

impl Expected<'_> {
    /// `Pod in version "v1" cannot be handled as a Pod: why`.
    pub fn unfit(&self, why: impl std::fmt::Display) -> ApiError {
        let Self { version, kind, .. } = self;
        ApiError::bad_request(format!(
            "{kind} in version {} cannot be handled as a {kind}: {why}",
            version.quoted()
        ))
    }

    fn api_version(&self) -> String {
        crate::meta::to_api_version(self.group, self.version)
    }
}

/// A decoded body, and what to say in `Warning` headers.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The object: pruned, conforming, with kind and apiVersion.
    pub value: Value,
    /// `unknown field "spec.x"`, in order.
    pub warnings: Vec<String>,
}

/// Decodes the body of a create or update.
pub fn decode<N: Node>(
    body: &[u8],
    format: Format,
    node: N,
    expected: Expected<'_>,
    mode: FieldValidation,
) -> Result<Decoded, ApiError> {
    let parsed = parse(body, format, Some(node)).map_err(|why| unreadable(body, format, expected, &why))?;
    let mut value = parsed.value;
    interpret(&value, body, format, expected)?;
    if value.is_null() {
        // to Go that is an object of which nothing is said
        value = Value::Object(Map::new());
    }
    identify(&mut value, expected)?;
    let patched = conform(&mut value, node).map_err(|why| expected.unfit(why))?;
    debug_assert!(patched.is_empty(), "parse has pruned already");
    match mode {
        FieldValidation::Strict if !parsed.problems.is_empty() => {
            Err(strict_error(expected, &parsed.problems))
        }
        FieldValidation::Warn => Ok(Decoded { value, warnings: warnings(parsed.problems) }),
        _ => Ok(Decoded { value, warnings: Vec::new() }),
    }
}

/// As [`decode`], for a value that another decoder has made: kind, version, types.
pub fn settle<N: Node>(mut value: Value, node: N, expected: Expected<'_>) -> Result<Value, ApiError> {
    identify(&mut value, expected)?;
    conform(&mut value, node).map_err(|why| expected.unfit(why))?;
    Ok(value)
}

/// `… strict decoding error: unknown field "a", duplicate field "b"`.
pub fn strict_error(expected: Expected<'_>, problems: &[String]) -> ApiError {
    expected.unfit(format_args!("strict decoding error: {}", problems.join(", ")))
}

/// What is warned of: a line for each of the problems that YAML's decoder tells in one.
pub fn warnings(problems: Vec<String>) -> Vec<String> {
    let lines = |problem: String| match problem.strip_prefix("yaml: unmarshal errors:\n") {
        Some(lines) => lines.lines().map(|line| line.trim().to_owned()).collect(),
        None => vec![problem],
    };
    problems.into_iter().flat_map(lines).collect()
}

/// Upstream's `transformDecodeError` for a body that cannot be read.
pub fn unrecognized(body: &[u8], expected: Expected<'_>, why: &str) -> ApiError {
    not_recognized(body, expected, &format!("couldn't get version/kind; {why}"))
}

/// As [`unrecognized`], but YAML is turned into JSON before anyone looks for a version and kind.
pub(crate) fn unreadable(body: &[u8], format: Format, expected: Expected<'_>, why: &str) -> ApiError {
    match format {
        Format::Json => unrecognized(body, expected, &format!("json parse error: {why}")),
        Format::Yaml => not_recognized(body, expected, why),
    }
}

/// Upstream's `transformDecodeError` for a body that says not even its kind.
pub(crate) fn not_recognized(body: &[u8], expected: Expected<'_>, why: &str) -> ApiError {
    let (kind, shown) = (expected.kind, summary(body));
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({shown})"
    ))
}

/// `summarizeData`: the beginning of a JSON object as it is, of anything else in hexadecimal digits.
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let begin = &body[..body.len().min(SHOWN)];
    let shown = match body.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(begin).into_owned(),
        Some(_) => begin.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if body.len() > SHOWN { shown + " ..." } else { shown }
}

/// What Go says when it looks for a version and kind in what is no object.
pub fn without_kind(value: &Value) -> String {
    format!(
        "json parse error: json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
        json_type(value)
    )
}

/// What upstream looks at ahead of everything else (`DefaultMetaFactory`): that version and kind are texts, if they are
/// there at all.
pub(crate) fn interpret(
    value: &Value,
    body: &[u8],
    format: Format,
    expected: Expected<'_>,
) -> Result<(), ApiError> {
    let map = match value {
        Value::Object(map) => map,
        Value::Null => return Ok(()),
        other => return Err(unrecognized(body, expected, &without_kind(other))),
    };
    let typed = |key: &str| {
        let found = map.get(key).filter(|value| !value.is_string() && !value.is_null())?;
        Some(format!(
            "json parse error: json: cannot unmarshal {} into Go struct field .{key} of type string",
            json_type(found)
        ))
    };
    let mut keys = ["apiVersion", "kind"];
    // the first one counts; YAML's are sorted
    if format == Format::Json
        && map.keys().find(|key| keys.contains(&key.as_str())).is_some_and(|key| key == "kind")
    {
        keys.reverse();
    }
    if let Some(why) = keys.into_iter().find_map(typed) {
        return Err(unrecognized(body, expected, &why));
    }
    let version = map.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if version.matches('/').count() > 1 {
        return Err(not_recognized(body, expected, &format!("unexpected GroupVersion string: {version}")));
    }
    Ok(())
}

/// Fills in absent kind and apiVersion, refuses others than the endpoint's: the kind first, which upstream decodes by.
fn identify(value: &mut Value, expected: Expected<'_>) -> Result<(), ApiError> {
    let Value::Object(map) = value else {
        let why = without_kind(value);
        return Err(unrecognized(value.to_string().as_bytes(), expected, &why));
    };
    let (api_version, kind) = (named(map, "apiVersion"), named(map, "kind"));
    if let Some(other) = kind.as_deref().filter(|kind| *kind != expected.kind) {
        return Err(of_another_kind(api_version.as_deref(), other, expected));
    }
    let right = expected.api_version();
    // Go parses it: `/v1` is `v1`
    let wanted = (expected.group, expected.version);
    match api_version.filter(|found| crate::meta::group_version(found) != wanted) {
        Some(found) if expected.group.is_empty() => {
            let (_, version) = crate::meta::group_version(&found);
            let why = not_registered(&found, expected.kind);
            return Err(cannot_be(expected.kind, version, expected, &why));
        }
        Some(found) => return Err(of_another_version(&found, expected)),
        None => {}
    }
    for (key, right) in [("apiVersion", right), ("kind", expected.kind.to_owned())] {
        map.insert(key.to_owned(), right.into());
    }
    Ok(())
}

/// What a body says of itself under `key`; nothing and the empty text are the same.
fn named(map: &Map<String, Value>, key: &str) -> Option<String> {
    map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The group and version are served, or at least known, but not here.
pub(crate) fn of_another_version(found: &str, expected: Expected<'_>) -> ApiError {
    let right = expected.api_version();
    ApiError::bad_request(format!(
        "the API version in the data ({found}) does not match the expected API version ({right})"
    ))
}

/// A kind that is known is decoded and then not converted; others are not decoded.
fn of_another_kind(api_version: Option<&str>, found: &str, expected: Expected<'_>) -> ApiError {
    let right = expected.api_version();
    let api_version = api_version.unwrap_or(&right);
    let (group, version) = crate::meta::group_version(api_version);
    let why = match crate::kinds::by_kind(group, version, found) {
        Some(_) => format!(
            "converting ({version}.{found}) to ({}.{}): unknown conversion",
            internal_package(expected.group),
            expected.kind
        ),
        None => not_registered(api_version, found),
    };
    cannot_be(found, version, expected, &why)
}

fn cannot_be(found: &str, version: &str, expected: Expected<'_>, why: &str) -> ApiError {
    let kind = expected.kind;
    ApiError::bad_request(format!(
        "{found} in version {} cannot be handled as a {kind}: {why}",
        version.quoted()
    ))
}

fn not_registered(api_version: &str, kind: &str) -> String {
    // the place where upstream's scheme is made is part of the words
    const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";
    let (kind, version) = (kind.quoted(), api_version.quoted());
    format!("no kind {kind} is registered for version {version} in scheme \"{SCHEME}\"")
}

/// The Go package of a group's internal types: `core`, `rbac`.
pub fn internal_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        "internal.apiserver.k8s.io" => "apiserverinternal",
        group => group.split('.').next().unwrap_or(group),
    }
}
