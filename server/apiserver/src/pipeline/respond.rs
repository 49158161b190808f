//! Bodies and heads of answers.

use std::io::Write;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use sampan_api::status::ApiError;
use sampan_api::{kinds, proto};
use serde_json::Value;

use super::negotiate::{Encoding, Format, PROTOBUF};
use crate::ResponseBody;

/// Bodies longer than this are compressed for clients that can read them: upstream's `defaultGzipThresholdBytes`.
const GZIP_FROM: usize = 128 * 1024;

/// A whole body.
pub fn body(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A whole answer.
pub fn raw(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<ResponseBody> {
    let mut response = Response::new(body(bytes));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What upstream's mux says of a path that nobody serves: `http.NotFound`, no Status.
pub fn page_not_found() -> Response<ResponseBody> {
    let mut response = raw(404, "text/plain; charset=utf-8", "404 page not found\n");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// JSON bytes, in the format the client wants.
pub fn encoded(code: u16, json: Bytes, format: Format, request: &HeaderMap) -> Response<ResponseBody> {
    let (content_type, bytes) = match (format.encoding, format.pretty) {
        (Encoding::Json, false) => ("application/json", json),
        (Encoding::Json, true) => ("application/json", pretty(&json)),
        (Encoding::Yaml, _) => ("application/yaml", yaml(&json)),
        (Encoding::Protobuf, _) => match protobuf(&json) {
            Ok(body) => (PROTOBUF, body),
            Err(why) => {
                tracing::error!(why, "an answer has no protobuf");
                ("application/json", json)
            }
        },
    };
    compressed(code, content_type, bytes, request)
}

/// A value, in the format the client wants.
pub fn value(code: u16, value: &Value, format: Format, request: &HeaderMap) -> Response<ResponseBody> {
    encoded(code, value.to_string().into(), format, request)
}

/// An object of any built-in type; which one, it says itself.
fn protobuf(json: &Bytes) -> Result<Bytes, String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head<'a> {
        #[serde(borrow, default)]
        api_version: std::borrow::Cow<'a, str>,
        #[serde(borrow, default)]
        kind: std::borrow::Cow<'a, str>,
    }
    let Head { api_version, kind } = serde_json::from_slice(json).map_err(|why| why.to_string())?;
    let schema =
        kinds::schema_of(&api_version, &kind).ok_or_else(|| format!("no type {api_version} {kind}"))?;
    Ok(proto::encode(json, schema, &api_version, &kind)?.into())
}

fn pretty(json: &Bytes) -> Bytes {
    let Ok(value) = serde_json::from_slice::<Value>(json) else { return json.clone() };
    serde_json::to_vec_pretty(&value).map_or_else(|_| json.clone(), Bytes::from)
}

fn yaml(json: &Bytes) -> Bytes {
    let Ok(value) = serde_json::from_slice::<Value>(json) else { return json.clone() };
    super::yaml::write(&value).into()
}

/// Gzips long bodies for clients that accept it.
pub fn compressed(
    code: u16,
    content_type: &'static str,
    bytes: Bytes,
    request: &HeaderMap,
) -> Response<ResponseBody> {
    let accepts =
        request.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("gzip"));
    if !accepts || bytes.len() < GZIP_FROM {
        return raw(code, content_type, bytes);
    }
    // level 1, as upstream: the network is rarely the slower part
    let mut encoder =
        flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 8), flate2::Compression::fast());
    let packed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    let Ok(packed) = packed else { return raw(code, content_type, bytes) };
    let mut response = raw(code, content_type, packed);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// A failure as a Status.
pub fn error(error: &ApiError) -> Response<ResponseBody> {
    failure(error, Format::JSON, &HeaderMap::new())
}

/// A failure as a Status, in the format the client wants.
pub fn failure(error: &ApiError, format: Format, request: &HeaderMap) -> Response<ResponseBody> {
    let mut response = value(error.code, &error.to_value(), format, request);
    if let Some(seconds) = error.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds `Warning: 299 - "text"` for each text.
pub fn warn(response: &mut Response<ResponseBody>, warnings: &[String]) {
    for text in warnings {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{escaped}\"")) {
            response.headers_mut().append("Warning", value);
        }
    }
}
