//! `/openapi/v2` and `/openapi/v3`, made once and kept.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, HeaderValue};
use parking_lot::Mutex;
use sampan_api::openapi;
use sampan_api::status::ApiError;

use super::with_etag;
use crate::pipeline::Context;
use crate::{ResponseBody, VERSION};

const V2_PROTO: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

static V3: LazyLock<Mutex<HashMap<String, Bytes>>> = LazyLock::new(Mutex::default);

/// Below `/openapi`.
pub(super) fn serve(rest: &[&str], context: &Context) -> Result<Response<ResponseBody>, ApiError> {
    let headers = &context.head.headers;
    match rest {
        ["v2"] if context.accept().contains("proto-openapi.spec.v2") => {
            Ok(with_etag(v2_proto(), V2_PROTO, headers))
        }
        ["v2"] => Ok(with_etag(v2(), "application/json", headers)),
        ["v3"] => Ok(with_etag(openapi::v3_index().to_string().into(), "application/json", headers)),
        ["v3", "api", version] => v3("", version, context),
        ["v3", "apis", group, version] => v3(group, version, context),
        _ => Err(ApiError::unknown_resource()),
    }
}

/// The registry's v2 document.
pub(crate) fn v2() -> Bytes {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    TEXT.get_or_init(|| openapi::v2(VERSION).into()).clone()
}

/// The same in protobuf.
pub(crate) fn v2_proto() -> Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    BYTES.get_or_init(|| openapi::v2_proto(VERSION).into()).clone()
}

fn v3(group: &str, version: &str, context: &Context) -> Result<Response<ResponseBody>, ApiError> {
    let key = openapi::v3_path(group, version);
    let kept = V3.lock().get(&key).cloned();
    let text = match kept {
        Some(text) => text,
        None => {
            let text: Bytes =
                openapi::v3(group, version, VERSION).ok_or_else(ApiError::unknown_resource)?.into();
            V3.lock().insert(key, text.clone());
            text
        }
    };
    let mut response = with_etag(text, "application/json", &context.head.headers);
    if context.query.get("hash").is_some() {
        // hashed URLs name their content: it never changes
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Ok(response)
}
