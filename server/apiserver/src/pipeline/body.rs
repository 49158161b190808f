//! Request bodies: size, media type, strictness.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use sampan_api::go::Quote as _;
use sampan_api::proto;
use sampan_api::status::{ApiError, Reason};
use sampan_api::strict::{self, Decoded, Expected, FieldValidation, Format, Spot};
use serde_json::{Map, Value};

/// Upstream's `DefaultMaxRequestSizeBytes`.
const LIMIT: usize = 3 * 1024 * 1024;

/// The media types in a 415.
const DECODED: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// 413 for bodies over the limit.
pub fn check_size(body: &Bytes) -> Result<(), ApiError> {
    if body.len() <= LIMIT {
        return Ok(());
    }
    Err(ApiError::new(Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {LIMIT}")))
}

/// The media type of a request, without parameters; JSON where there is none.
pub fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    match text.split(';').next().unwrap_or("").trim() {
        "" => "application/json",
        media => media,
    }
}

/// JSON or YAML, by the media type.
pub(crate) fn format(headers: &HeaderMap) -> Result<Format, ApiError> {
    match media_type(headers) {
        "application/json" => Ok(Format::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Format::Yaml),
        _ => Err(ApiError::unsupported_media_type(DECODED)),
    }
}

/// Whether the body is protobuf. Answers never are: clients that send it accept JSON too.
fn is_protobuf(headers: &HeaderMap) -> bool {
    media_type(headers) == "application/vnd.kubernetes.protobuf"
}

/// The field table's entry of a schema.
pub fn spot(schema: &str) -> Result<Spot, ApiError> {
    Spot::root(schema).ok_or_else(|| ApiError::internal(format!("no schema {schema}")))
}

/// Decodes an object of `schema`.
pub fn object(
    headers: &HeaderMap,
    body: &[u8],
    schema: &str,
    expected: Expected<'_>,
    mode: FieldValidation,
) -> Result<Decoded, ApiError> {
    if is_protobuf(headers) {
        let value = proto::decode(body, schema).map_err(|why| strict::unrecognized(body, expected, &why))?;
        let value = strict::settle(value, spot(schema)?, expected)?;
        return Ok(Decoded { value, warnings: Vec::new() });
    }
    strict::decode(body, format(headers)?, spot(schema)?, expected, mode)
}

/// Where upstream's decoder of options knows its kinds from.
const OPTIONS_SCHEME: &str = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
/// Other kinds that it knows in every version.
const UNVERSIONED: &[&str] = &[
    "APIGroup",
    "APIGroupList",
    "APIResourceList",
    "APIVersions",
    "CreateOptions",
    "Status",
    "UpdateOptions",
];

/// An object of another kind is not what is to be deleted: upstream's `DeleteResource`. `DeleteOptions` are known in
/// every version there is a word for, `v9` too (`AddUnversionedTypes` in `meta/internalversion/register.go`).
fn known_options(value: &Value, body: &[u8]) -> Result<(), ApiError> {
    let said = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, version) = (said("kind"), said("apiVersion"));
    if version.matches('/').count() > 1 {
        return Err(ApiError::bad_request(format!("unexpected GroupVersion string: {version}")));
    }
    if version.len() > 1 && version.ends_with('/') {
        let body = String::from_utf8_lossy(body);
        return Err(ApiError::bad_request(format!("Object 'apiVersion' is missing in '{body}'")));
    }
    match kind {
        "" | "DeleteOptions" => Ok(()),
        kind if UNVERSIONED.contains(&kind) => {
            let why = format!("converting (v1.{kind}) to (v1.DeleteOptions): unknown conversion");
            Err(ApiError::bad_request(why))
        }
        kind => {
            let version = if version.is_empty() { "meta.k8s.io/v1" } else { version };
            Err(ApiError::bad_request(format!(
                "no kind {} is registered for version {} in scheme {}",
                kind.quoted(),
                version.quoted(),
                OPTIONS_SCHEME.quoted()
            )))
        }
    }
}

/// Decodes DeleteOptions, whatever version they claim; `None` for an empty body.
pub fn delete_options(headers: &HeaderMap, body: &[u8]) -> Result<Option<Value>, ApiError> {
    if body.is_empty() {
        return Ok(None);
    }
    let schema = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
    let mut value = match is_protobuf(headers) {
        true => proto::decode(body, schema).map_err(ApiError::bad_request)?,
        false => {
            let format = format(headers)?;
            let unreadable = |why: String| {
                ApiError::bad_request(match format {
                    Format::Json => format!("couldn't get version/kind; json parse error: {why}"),
                    Format::Yaml => why,
                })
            };
            strict::parse(body, format, Some(spot(schema)?)).map_err(unreadable)?.value
        }
    };
    match value {
        Value::Object(_) => {}
        // to Go that is nothing to be set
        Value::Null => value = Value::Object(Map::new()),
        _ => {
            let why = strict::without_kind(&value);
            return Err(ApiError::bad_request(format!("couldn't get version/kind; {why}")));
        }
    }
    known_options(&value, body)?;
    let expected = Expected { group: "meta.k8s.io", version: "v1", kind: "DeleteOptions" };
    strict::conform_object(&mut value, spot(schema)?, expected)?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `metainternalversionscheme.Codecs` of 1.36 says of the same bodies.
    #[test]
    fn options_of_a_deletion_are_known_in_every_version() {
        let read = |version: &str, kind: &str| {
            let body = format!(r#"{{"kind":"{kind}","apiVersion":"{version}"}}"#);
            delete_options(&HeaderMap::new(), body.as_bytes()).map(drop).map_err(|error| error.message)
        };
        for version in ["", "/", "v1", "v9", "/v9", "apps/v1", "foo/v2", "meta.k8s.io/v1"] {
            assert_eq!(read(version, "DeleteOptions"), Ok(()), "{version}");
        }
        for (version, kind, why) in [
            ("a/b/c", "DeleteOptions", "unexpected GroupVersion string: a/b/c"),
            ("a/", "", r#"Object 'apiVersion' is missing in '{"kind":"","apiVersion":"a/"}'"#),
            ("v9", "Status", "converting (v1.Status) to (v1.DeleteOptions): unknown conversion"),
        ] {
            assert_eq!(read(version, kind), Err(why.to_owned()), "{version}");
        }
    }
}
