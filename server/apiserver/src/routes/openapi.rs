//! `/openapi/v2` and `/openapi/v3`, made once and kept.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, HeaderValue};
use parking_lot::Mutex;
use sampan_api::openapi;
use sampan_api::status::ApiError;
use serde_json::Value;

use super::with_etag;
use crate::crd::Customs;
use crate::pipeline::Context;
use crate::{ResponseBody, VERSION};

const V2_PROTO: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

static V3: LazyLock<Mutex<HashMap<String, Bytes>>> = LazyLock::new(Mutex::default);

/// Below `/openapi`.
pub(super) fn serve(
    rest: &[&str],
    customs: &Customs,
    context: &Context,
) -> Result<Response<ResponseBody>, ApiError> {
    let headers = &context.head.headers;
    match rest {
        ["v2"] if context.accept().contains("proto-openapi.spec.v2") => {
            Ok(with_etag(v2_proto(customs), V2_PROTO, headers))
        }
        ["v2"] => Ok(with_etag(v2(customs), "application/json", headers)),
        ["v3"] => Ok(with_etag(index(customs).to_string().into(), "application/json", headers)),
        ["v3", "api", version] => v3("", version, customs, context),
        ["v3", "apis", group, version] => v3(group, version, customs, context),
        _ => Err(ApiError::unknown_resource()),
    }
}

/// Where the document of each group and version is.
pub(crate) fn index(customs: &Customs) -> Value {
    let mut index = openapi::v3_index();
    for (path, place) in customs.v3_paths() {
        if index["paths"].get(&path).is_none() {
            index["paths"][path] = place;
        }
    }
    index
}

/// The v2 document of the registry and of custom resources.
pub(crate) fn v2(customs: &Customs) -> Bytes {
    customs.v2().unwrap_or_else(built_in)
}

/// The same in protobuf.
pub(crate) fn v2_proto(customs: &Customs) -> Bytes {
    customs.v2_proto().unwrap_or_else(built_in_proto)
}

fn built_in() -> Bytes {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    TEXT.get_or_init(|| openapi::v2(VERSION).into()).clone()
}

fn built_in_proto() -> Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    BYTES.get_or_init(|| openapi::v2_proto(VERSION).into()).clone()
}

fn v3(
    group: &str,
    version: &str,
    customs: &Customs,
    context: &Context,
) -> Result<Response<ResponseBody>, ApiError> {
    let key = openapi::v3_path(group, version);
    let kept = V3.lock().get(&key).cloned();
    let custom = || sampan_api::kinds::group(group).is_none().then(|| customs.v3(group, version)).flatten();
    let text = match kept.or_else(custom) {
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
