//! Bodies as they are recorded: JSON, whatever they came or go in.

use std::io::Read;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Response};
use http_body::Body;
use sampan_api::{kinds, proto};
use serde_json::Value;

use super::policy::Level;
use super::record::Record;
use super::scope::said;
use crate::ResponseBody;
use crate::pipeline::body::media_type;
use crate::pipeline::info::RequestInfo;

/// The object in a request's body, if it is one.
pub(super) fn request(head: &Parts, body: &Bytes, info: &RequestInfo) -> Option<Value> {
    let writes = matches!(info.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection");
    if body.is_empty() || !info.is_resource || !writes {
        return None;
    }
    let kind = || kinds::by_resource(&info.group, &info.version, &info.resource);
    match media_type(&head.headers) {
        "application/vnd.kubernetes.protobuf" => {
            let schema = match info.verb.as_str() {
                "delete" | "deletecollection" => "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
                _ => kind()?.schema,
            };
            proto::decode(body, schema).ok()
        }
        media if media.contains("yaml") => serde_yaml_ng::from_slice(body).ok().and_then(said),
        _ => serde_json::from_slice(body).ok().and_then(said),
    }
}

/// Whether an answer's body is looked at: for what it says, or because a `Status` in it is the record's.
pub(super) fn wanted(record: &Record, response: &Response<ResponseBody>) -> bool {
    /// A longer body is no `Status`.
    const STATUS: u64 = 64 * 1024;
    let Some(size) = response.body().size_hint().exact() else { return false };
    // a refusal has told already
    record.status.is_none() && size > 0 && (record.verdict.level >= Level::RequestResponse || size < STATUS)
}

/// Whether it is worth reading whether a body is a `Status`.
pub(super) fn may_be_status(body: &[u8]) -> bool {
    const KIND: &[u8] = b"\"Status\"";
    body.windows(KIND.len()).take(256).any(|window| window == KIND)
}

/// The object in an answer's body, if it is one.
pub(super) fn response(headers: &HeaderMap, body: &Bytes) -> Option<Value> {
    let header = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    let plain = match header(CONTENT_ENCODING) {
        "gzip" => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).ok()?;
            Bytes::from(plain)
        }
        _ => body.clone(),
    };
    match header(CONTENT_TYPE).split(';').next().unwrap_or("") {
        "application/json" => serde_json::from_slice(&plain).ok().and_then(said),
        "application/yaml" => serde_yaml_ng::from_slice(&plain).ok().and_then(said),
        _ => None,
    }
}
