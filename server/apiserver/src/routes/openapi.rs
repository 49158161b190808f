//! `/openapi/v2` and `/openapi/v3`, made once and kept.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, VARY};
use parking_lot::Mutex;
use sampan_api::kinds;
use sampan_api::openapi;
use sampan_api::status::ApiError;
use serde_json::Value;

use super::with_etag;
use crate::crd::Customs;
use crate::pipeline::negotiate::clauses;
use crate::pipeline::{Context, respond};
use crate::{ResponseBody, VERSION};

const JSON: &str = "application/json";
const V2_PROTO: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The same, as old clients ask for it.
const V2_PROTO_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const V3_PROTO: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
/// The same, as old clients ask for it.
const V3_PROTO_OLD: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";

static V3: LazyLock<Mutex<HashMap<String, Bytes>>> = LazyLock::new(Mutex::default);

/// Below `/openapi`.
pub(super) fn serve(
    rest: &[&str],
    customs: &Customs,
    context: &Context,
) -> Result<Response<ResponseBody>, ApiError> {
    let headers = &context.head.headers;
    match rest {
        ["v2"] => Ok(match form(context.accept(), &[V2_PROTO_OLD, V2_PROTO]) {
            Some(V2_PROTO | V2_PROTO_OLD) => with_etag(v2_proto(customs), V2_PROTO, headers),
            Some(_) => with_etag(v2(customs), JSON, headers),
            None => not_acceptable(),
        }),
        ["v3"] => Ok(with_etag(index(customs).to_string().into(), JSON, headers)),
        ["v3", "api", version] => v3("", version, customs, context),
        ["v3", "apis", group, version] => v3(group, version, customs, context),
        ["v3", rest @ ..] => v3_other(&rest.join("/"), context),
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

/// In which form a document is wanted, of JSON and these: what the first clause is content with.
fn form(accept: &str, others: &[&'static str]) -> Option<&'static str> {
    let accept = if accept.is_empty() { "*/*" } else { accept };
    let fits = |clause: &str, form: &str| {
        let (ty, subtype) = clause.split_once('/').unwrap_or((clause, if clause == "*" { "*" } else { "" }));
        let (own, sub) = form.split_once('/').unwrap_or((form, ""));
        [(ty.trim(), own), (subtype.trim(), sub)].iter().all(|(asked, given)| asked == given || *asked == "*")
    };
    let first = |clause: &str| std::iter::once(&JSON).chain(others).copied().find(|form| fits(clause, form));
    clauses(accept).iter().find_map(|clause| first(clause.media))
}

/// 406, and nothing else to say.
fn not_acceptable() -> Response<ResponseBody> {
    let mut response = respond::raw(406, JSON, "");
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// Whether the registry has kinds of that group and version: definitions may add versions to its groups.
fn is_own(group: &str, version: &str) -> bool {
    kinds::of_version(group, version).next().is_some()
}

/// A document in protobuf.
fn v3_proto(group: &str, version: &str, document: &Bytes, customs: &Customs) -> Bytes {
    if !is_own(group, version) {
        return customs.v3_proto(group, version, document).unwrap_or_default();
    }
    let key = format!("{} protobuf", openapi::v3_path(group, version));
    let kept = V3.lock().get(&key).cloned();
    kept.unwrap_or_else(|| {
        let made = Bytes::from(openapi::v3_proto(document).unwrap_or_default());
        V3.lock().insert(key, made.clone());
        made
    })
}

/// To whom has an old document's address, where the new one is.
fn moved(place: &str) -> Response<ResponseBody> {
    let mut response = respond::raw(301, JSON, "");
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(LOCATION, place);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// The document of a path that is of no group and version.
fn v3_other(path: &str, context: &Context) -> Result<Response<ResponseBody>, ApiError> {
    let Some(media) = form(context.accept(), &[V3_PROTO, V3_PROTO_OLD]) else { return Ok(not_acceptable()) };
    let text = openapi::v3_other(path, VERSION).ok_or_else(ApiError::unknown_resource)?;
    let (body, media) = match media {
        JSON => (text.into(), JSON),
        _ => (Bytes::from(openapi::v3_proto(text.as_bytes()).unwrap_or_default()), V3_PROTO),
    };
    Ok(with_etag(body, media, &context.head.headers))
}

fn v3(
    group: &str,
    version: &str,
    customs: &Customs,
    context: &Context,
) -> Result<Response<ResponseBody>, ApiError> {
    let key = openapi::v3_path(group, version);
    let Some(media) = form(context.accept(), &[V3_PROTO, V3_PROTO_OLD]) else { return Ok(not_acceptable()) };
    let media = if media == V3_PROTO_OLD { V3_PROTO } else { media };
    let asked = context.query.text("hash");
    if !asked.is_empty()
        && let Some(place) =
            openapi::v3_own_place(group, version).or_else(|| customs.v3_place(group, version))
        && !place.ends_with(&format!("?hash={asked}"))
    {
        return Ok(moved(&place));
    }
    let kept = V3.lock().get(&key).cloned();
    let custom = || (!is_own(group, version)).then(|| customs.v3(group, version)).flatten();
    let text = match kept.or_else(custom) {
        Some(text) => text,
        None => {
            let text: Bytes =
                openapi::v3(group, version, VERSION).ok_or_else(ApiError::unknown_resource)?.into();
            V3.lock().insert(key, text.clone());
            text
        }
    };
    let body = match media {
        V3_PROTO => v3_proto(group, version, &text, customs),
        _ => text,
    };
    let mut response = with_etag(body, media, &context.head.headers);
    if !asked.is_empty() {
        // hashed URLs name their content: it never changes
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_clause_that_can_be_served_says_the_form() {
        let cases = [
            ("", Some(JSON)),
            ("*", Some(JSON)),
            ("*/*", Some(JSON)),
            ("application/*", Some(JSON)),
            ("*/json;q=0.5", Some(JSON)),
            ("text/html", None),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some(JSON)),
            ("application/yaml", None),
            ("application", None),
            (V2_PROTO, Some(V2_PROTO)),
            (V2_PROTO_OLD, Some(V2_PROTO_OLD)),
            (
                "application/json;q=0.5, application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
                Some(V2_PROTO_OLD),
            ),
            ("application/com.github.proto-openapi.spec.v3.v1.0+protobuf", None),
        ];
        for (accept, want) in cases {
            assert_eq!(form(accept, &[V2_PROTO_OLD, V2_PROTO]), want, "{accept}");
        }
        assert!(not_acceptable().headers().get(CONTENT_TYPE).is_none());
    }
}
