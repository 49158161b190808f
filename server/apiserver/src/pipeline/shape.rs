//! Objects, lists and watches as the client wants to see them: as they are, as a Table, as metadata only.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use sampan_api::kinds::Kind;
use sampan_api::parts::{self, Parts, Read};
use sampan_api::status::{ApiError, FieldError, Reason};
use sampan_api::{proto, strict};
use sampan_store::Entry;
use serde_json::{Value, json};

use super::negotiate::{As, Encoding, Format, Meta, PROTOBUF, STREAMED};
use super::{Context, respond};
use crate::ResponseBody;
use crate::registry::in_version;
use crate::registry::list::{self, Page};
use crate::registry::watch::{Plain, Shape, WatchBody, bookmark};
use crate::value::{at, meta};

type Answer = Result<Response<ResponseBody>, ApiError>;

/// One object.
pub fn object(code: u16, kind: &'static Kind, json: Bytes, format: Format, context: &Context) -> Answer {
    let headers = &context.head.headers;
    let shaped = match format.shape {
        As::MetadataList => return Err(mismatch(kind, false)),
        As::Object | As::Metadata if format.encoding == Encoding::Protobuf => {
            let body = encoded(kind, format.shape, format.meta, &json).map_err(ApiError::internal)?;
            return Ok(respond::compressed(code, PROTOBUF, body, headers));
        }
        As::Object => json,
        As::Metadata => metadata_only(&json, format.meta)?,
        As::Table => {
            let revision = Parts::of(&["metadata.resourceVersion"]).read(&json).unwrap_or_default();
            let list_meta = json!({"resourceVersion": meta(&revision, "resourceVersion")});
            table(
                kind,
                std::iter::once(json),
                &list_meta,
                Rows { include: include(context)?, meta: format.meta },
                true,
            )?
        }
    };
    Ok(respond::encoded(code, shaped, format, headers))
}

/// The Scale of an object of `kind`.
pub fn scale(kind: &'static Kind, scale: &Value, format: Format, context: &Context) -> Answer {
    let headers = &context.head.headers;
    let json = || Bytes::from(scale.to_string());
    let shaped = match format.shape {
        As::Object => json(),
        As::Metadata if format.encoding == Encoding::Protobuf => {
            let body =
                proto::encode_metadata(&json(), format.meta.api_version()).map_err(ApiError::internal)?;
            return Ok(respond::compressed(200, PROTOBUF, body.into(), headers));
        }
        As::Metadata => metadata(scale, format.meta).to_string().into(),
        As::MetadataList => {
            let package = if kind.custom.is_some() { "v1" } else { "autoscaling" };
            return Err(mismatch_of(&format!("{package}.Scale"), false));
        }
        As::Table => {
            let row = crate::strategies::columns::scale_row(kind, scale, jiff::Timestamp::now());
            let object = match include(context)? {
                Include::None => Value::Null,
                Include::Metadata => metadata(scale, format.meta),
                Include::Object => scale.clone(),
            };
            let table = json!({
                "kind": "Table", "apiVersion": format.meta.api_version(),
                "metadata": {"resourceVersion": meta(scale, "resourceVersion")},
                "columnDefinitions": crate::strategies::columns::scale_definitions(kind),
                "rows": [{"cells": row, "object": object}],
            });
            table.to_string().into()
        }
    };
    Ok(respond::encoded(200, shaped, format, headers))
}

/// A page.
pub fn list(kind: &'static Kind, page: &Page, format: Format, context: &Context) -> Answer {
    let headers: &HeaderMap = &context.head.headers;
    let objects = page.entries.iter().map(|entry| in_version(entry, kind));
    let shaped = match format.shape {
        As::Metadata => return Err(mismatch(kind, true)),
        As::Object | As::MetadataList if format.encoding == Encoding::Protobuf => {
            let body = protobuf_list(kind, format, page).map_err(ApiError::internal)?;
            return Ok(respond::compressed(200, PROTOBUF, body.into(), headers));
        }
        As::Object => list::encode(kind, page),
        As::MetadataList => {
            let version = format.meta.api_version();
            let mut out = format!("{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"{version}\",\"metadata\":{},\"items\":[", list::list_meta(page)).into_bytes();
            separated(&mut out, objects, |out, json| {
                put_metadata(out, stored(parts::metadata(&json))?, format.meta);
                Ok(())
            })?;
            out.extend_from_slice(b"]}");
            out.into()
        }
        As::Table => {
            let rows = Rows { include: include(context)?, meta: format.meta };
            table(kind, objects, &list::list_meta(page), rows, true)?
        }
    };
    Ok(respond::encoded(200, shaped, format, headers))
}

/// 406 for a list that is wanted as one object's metadata, or the other way round: upstream's `asPartialObjectMetadata`,
/// which names the Go type of what there is.
fn mismatch(kind: &Kind, list: bool) -> ApiError {
    let ty = match kind.custom {
        Some(_) if list => "unstructured.UnstructuredList".to_owned(),
        Some(_) => "unstructured.Unstructured".to_owned(),
        None => {
            let name = if list { kind.list_kind() } else { kind.kind.into() };
            format!("{}.{name}", strict::internal_package(kind.group))
        }
    };
    mismatch_of(&ty, list)
}

fn mismatch_of(ty: &str, list: bool) -> ApiError {
    let (asked, is) = if list { ("", "a list") } else { ("List", "not a list") };
    let why = format!("you requested PartialObjectMetadata{asked}, but the requested object is {is} (*{ty})");
    ApiError::new(Reason::NotAcceptable, why)
}

/// One object's protobuf.
fn encoded(kind: &Kind, shape: As, meta: Meta, json: &[u8]) -> Result<Bytes, String> {
    let body = match shape {
        As::Metadata | As::MetadataList => proto::encode_metadata(json, meta.api_version()),
        _ => proto::encode(json, kind.schema, &kind.api_version(), kind.kind),
    };
    body.map(Bytes::from)
}

/// A page's protobuf, straight from the stored bytes.
fn protobuf_list(kind: &'static Kind, format: Format, page: &Page) -> Result<Vec<u8>, String> {
    let objects: Vec<Bytes> = page.entries.iter().map(|entry| in_version(entry, kind)).collect();
    let (items, meta) = (objects.iter().map(|object| &**object), list::list_meta(page).to_string());
    match format.shape {
        As::MetadataList => {
            let version = format.meta.api_version();
            proto::list_of(items, meta.as_bytes(), None, version, "PartialObjectMetadataList")
        }
        _ => {
            let (version, list_kind) = (kind.api_version(), kind.list_kind());
            proto::list_of(items, meta.as_bytes(), Some(kind.schema), &version, &list_kind)
        }
    }
}

/// What was read of an object that the store has: never nothing.
fn stored<T>(read: Option<T>) -> Result<T, ApiError> {
    read.ok_or_else(|| ApiError::internal("a stored object is no JSON"))
}

/// Items with commas between them.
fn separated(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = Bytes>,
    mut put: impl FnMut(&mut Vec<u8>, Bytes) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put(out, item)?;
    }
    Ok(())
}

/// `PartialObjectMetadata`, from metadata as it is stored.
fn put_metadata(out: &mut Vec<u8>, metadata: &str, meta: Meta) {
    out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"");
    out.extend_from_slice(meta.api_version().as_bytes());
    out.extend_from_slice(b"\",\"metadata\":");
    out.extend_from_slice(if metadata.is_empty() { "{}" } else { metadata }.as_bytes());
    out.push(b'}');
}

fn metadata_only(json: &[u8], meta: Meta) -> Result<Bytes, ApiError> {
    let mut out = Vec::new();
    put_metadata(&mut out, stored(parts::metadata(json))?, meta);
    Ok(out.into())
}

/// What each row carries: `includeObject`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Include {
    None,
    Metadata,
    Object,
}

/// How rows are to be written.
#[derive(Clone, Copy)]
pub struct Rows {
    /// What each carries.
    pub include: Include,
    /// The version of the Table and of the metadata in it.
    pub meta: Meta,
}

pub fn include(context: &Context) -> Result<Include, ApiError> {
    match context.query.text("includeObject") {
        "None" => Ok(Include::None),
        "Object" => Ok(Include::Object),
        "" | "Metadata" => Ok(Include::Metadata),
        other => {
            let why = "must be 'Metadata', 'Object', 'None', or empty";
            let error = FieldError::invalid("includeObject", other, why);
            Err(ApiError::bad_request(format!("Unable to convert to Table as requested: {error}")))
        }
    }
}

/// A Table of objects. Of an object only what its cells need is read; what a row carries of it is copied as it is stored.
pub fn table(
    kind: &'static Kind,
    objects: impl Iterator<Item = Bytes>,
    list_meta: &Value,
    rows: Rows,
    columns: bool,
) -> Result<Bytes, ApiError> {
    let now = jiff::Timestamp::now();
    let definitions = if columns { crate::strategies::columns::definitions(kind) } else { Value::Null };
    let version = rows.meta.api_version();
    let mut out = format!("{{\"kind\":\"Table\",\"apiVersion\":\"{version}\",\"metadata\":{list_meta},\"columnDefinitions\":{definitions},\"rows\":[").into_bytes();
    separated(&mut out, objects, |out, json| put_row(out, kind, &json, rows, now))?;
    out.extend_from_slice(b"]}");
    Ok(out.into())
}

fn put_row(
    out: &mut Vec<u8>,
    kind: &'static Kind,
    json: &[u8],
    rows: Rows,
    now: jiff::Timestamp,
) -> Result<(), ApiError> {
    let whole = Parts::default();
    let parts = crate::strategies::columns::reads(kind).unwrap_or(&whole);
    let Read { metadata, object } = stored(parts.read_with_metadata(json))?;
    let row = crate::strategies::columns::row(kind, &object, now);
    out.extend_from_slice(b"{\"cells\":");
    serde_json::to_writer(&mut *out, &row.cells).map_err(ApiError::internal)?;
    if let Some(conditions) = row.conditions {
        out.extend_from_slice(b",\"conditions\":");
        serde_json::to_writer(&mut *out, &conditions).map_err(ApiError::internal)?;
    }
    out.extend_from_slice(b",\"object\":");
    match rows.include {
        Include::None => out.extend_from_slice(b"null"),
        Include::Metadata => put_metadata(out, metadata, rows.meta),
        Include::Object => out.extend_from_slice(json),
    }
    out.push(b'}');
    Ok(())
}

/// `PartialObjectMetadata`.
fn metadata(object: &Value, meta: Meta) -> Value {
    let version = meta.api_version();
    json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": at(object, &["metadata"])})
}

/// The shape of a watch.
pub fn watch(kind: &'static Kind, format: Format, context: &Context) -> Result<Box<dyn Shape>, ApiError> {
    if format.encoding == Encoding::Yaml {
        return Err(ApiError::not_acceptable(STREAMED));
    }
    Ok(match format.shape {
        // no event has a list: upstream says so in its log and sends what there is
        As::Object | As::MetadataList if format.encoding == Encoding::Protobuf => {
            let shape = if kind.custom.is_some() { As::Metadata } else { As::Object };
            Box::new(Protobuf { kind, shape, meta: format.meta })
        }
        As::Metadata if format.encoding == Encoding::Protobuf => {
            Box::new(Protobuf { kind, shape: As::Metadata, meta: format.meta })
        }
        As::Object | As::MetadataList => Box::new(Plain(kind)),
        As::Metadata => Box::new(Metadata(kind, format.meta)),
        As::Table => {
            let rows = Rows { include: include(context)?, meta: format.meta };
            Box::new(Table { kind, rows, first: true })
        }
    })
}

/// Each object in an envelope of its own, within a frame that tells its length.
struct Protobuf {
    kind: &'static Kind,
    shape: As,
    meta: Meta,
}

impl Shape for Protobuf {
    fn slot(&self) -> Option<usize> {
        let one_version = !crate::strategies::convert::many_versions(self.kind);
        (one_version && self.shape == As::Object).then_some(1)
    }
    fn object(&mut self, entry: &Entry) -> Bytes {
        encoded(self.kind, self.shape, self.meta, &in_version(entry, self.kind)).unwrap_or_else(|why| {
            tracing::error!(why, key = %entry.key, "an object has no protobuf");
            Bytes::new()
        })
    }
    fn bookmark(&mut self, revision: u64, initial_end: bool) -> Bytes {
        let object = bookmark(self.kind.kind, &self.kind.api_version(), revision, initial_end);
        encoded(self.kind, self.shape, self.meta, object.as_bytes()).unwrap_or_default()
    }
    fn failure(&self, error: &ApiError) -> Bytes {
        let status = error.to_value().to_string();
        let schema = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
        proto::encode(status.as_bytes(), schema, "v1", "Status").unwrap_or_default().into()
    }
    fn frame(&self, event: &str, object: &[u8]) -> Bytes {
        match object.is_empty() {
            true => {
                let why = ApiError::internal("an object has no protobuf");
                proto::watch_event("ERROR", &self.failure(&why)).into()
            }
            false => proto::watch_event(event, object).into(),
        }
    }
    fn content_type(&self) -> &'static str {
        "application/vnd.kubernetes.protobuf;stream=watch"
    }
}

struct Metadata(&'static Kind, Meta);

impl Shape for Metadata {
    fn slot(&self) -> Option<usize> {
        (self.1 == Meta::V1 && !crate::strategies::convert::many_versions(self.0)).then_some(0)
    }
    fn object(&mut self, entry: &Entry) -> Bytes {
        metadata_only(&in_version(entry, self.0), self.1).unwrap_or_else(|_| entry.value.clone())
    }
    fn bookmark(&mut self, revision: u64, initial_end: bool) -> Bytes {
        bookmark("PartialObjectMetadata", self.1.api_version(), revision, initial_end).into()
    }
}

/// Only the first Table of a watch names its columns.
struct Table {
    kind: &'static Kind,
    rows: Rows,
    first: bool,
}

impl Shape for Table {
    fn slot(&self) -> Option<usize> {
        None
    }
    fn object(&mut self, entry: &Entry) -> Bytes {
        let columns = std::mem::take(&mut self.first);
        let list_meta = json!({"resourceVersion": entry.revision.to_string()});
        let object = std::iter::once(in_version(entry, self.kind));
        table(self.kind, object, &list_meta, self.rows, columns).unwrap_or_else(|_| entry.value.clone())
    }
    fn bookmark(&mut self, revision: u64, initial_end: bool) -> Bytes {
        // upstream's bookmark of a Table watch is a Table with one row of no cells
        let object = bookmark(self.kind.kind, &self.kind.api_version(), revision, initial_end);
        let object: Value = serde_json::from_str(&object).unwrap_or_default();
        let columns = if std::mem::take(&mut self.first) {
            crate::strategies::columns::definitions(self.kind)
        } else {
            Value::Null
        };
        let Rows { include, meta } = self.rows;
        let object = if include == Include::Object { object } else { metadata(&object, meta) };
        let rows = json!([{"cells": [], "object": object}]);
        json!({"kind": "Table", "apiVersion": meta.api_version(), "metadata": {"resourceVersion": revision.to_string()},
            "columnDefinitions": columns, "rows": rows}).to_string().into()
    }
}

/// The response of a watch.
pub fn stream(body: WatchBody) -> Response<ResponseBody> {
    let content_type = body.content_type();
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().remove(TRANSFER_ENCODING);
    response
}
