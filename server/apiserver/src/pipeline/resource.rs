//! Requests for resources: which verb of the registry answers, and in which shape.

use std::borrow::Cow;

use http::{Method, Response};
use sampan_api::kinds::{self, Kind};
use sampan_api::patch::PatchType;
use sampan_api::selector::FieldSelector;
use sampan_api::status::{ApiError, Reason};
use sampan_api::strict::Expected;
use serde_json::Value;

use super::info::RequestInfo;
use super::negotiate::{Format, Offer};
use super::query::Query;
use super::{Context, body, lifecycle, respond, shape, warnings};
use crate::registry::delete::{DeleteOptions, Deleted, success};
use crate::registry::list::{self, ListOptions};
use crate::registry::patch::{Patch, SUPPORTED, check_name};
use crate::registry::watch::{self, InProcess, WatchOptions};
use crate::registry::{Call, Target, WriteOptions, said};
use crate::value::meta;
use crate::{ApiServer, ResponseBody};

pub(crate) type Answer = Result<Response<ResponseBody>, ApiError>;

/// Whether the kind has what a request asks for, and lets it be asked.
fn serves(kind: &'static Kind, info: &RequestInfo) -> bool {
    match info.subresource.as_str() {
        "" => kind.allows(&info.verb),
        name => kind.subresource(name).is_some_and(|sub| sub.allows(&info.verb)),
    }
}

impl ApiServer {
    pub(super) async fn resource(&self, context: Context) -> Answer {
        let Some(kind) = self.kind_of(&context.info) else {
            return nobody(kinds::group(&context.info.group).is_some());
        };
        self.of_kind(context, kind).await
    }

    /// The registry's kind that a request is for, if there is one.
    pub(super) fn kind_of(&self, info: &RequestInfo) -> Option<&'static Kind> {
        let built_in = kinds::by_resource(&info.group, &info.version, &info.resource);
        let custom = || self.customs().by_resource(&info.group, &info.version, &info.resource);
        built_in.or_else(|| if info.is_resource { custom() } else { None })
    }

    async fn of_kind(&self, context: Context, kind: &'static Kind) -> Answer {
        let info = &context.info;
        // the handler of custom resources lets go what is not where its definition says
        if kind.custom.is_some() && is_misplaced(&context, kind) {
            return nobody(false);
        }
        if kind.custom.is_none() {
            check_route(&context, kind)?;
        }
        check_place(&context, kind)?;
        // only what is below an object is created by its path: the name there has been authorized, the body's not
        if info.verb == "create" && !info.name.is_empty() && info.subresource.is_empty() {
            return Err(not_allowed());
        }
        if let Some(deprecated) = lifecycle::deprecated(kind) {
            // what nobody serves is not counted: its name is whatever the client sent
            let served = serves(kind, info);
            if served {
                lifecycle::requested(info, &deprecated);
            }
            if served || kind.custom.is_some() {
                warnings::tell(deprecated.warning);
            }
        }
        let target = Target {
            kind,
            namespace: if kind.namespaced { info.namespace.clone() } else { String::new() },
            name: info.name.clone(),
            subresource: info.subresource.clone(),
        };
        if !info.subresource.is_empty() {
            return Box::pin(self.subresource(context, target)).await;
        }
        if !kind.allows(&info.verb) {
            // while a definition goes, discovery hides all writes, but only creating is refused
            match kind.custom {
                Some(_) if info.verb == "create" => return Err(terminating(&info.verb)),
                Some(_) => {}
                None => return Err(not_allowed()),
            }
        }
        if kind.virtual_ {
            return Box::pin(self.virtual_resource(context, target)).await;
        }
        // boxed each: a request would carry the largest of them through every layer above
        match context.info.verb.as_str() {
            "get" => Box::pin(self.get(&context, &target)).await,
            "list" => Box::pin(self.list(&context, &target)).await,
            "watch" => Box::pin(self.watch(&context, &target)).await,
            "create" => Box::pin(self.create(&context, &target)).await,
            "update" => Box::pin(self.update(&context, &target)).await,
            "patch" => Box::pin(self.patch(&context, &target)).await,
            "delete" => Box::pin(self.delete(&context, &target)).await,
            "deletecollection" => Box::pin(self.delete_collection(&context, &target)).await,
            _ => Err(not_allowed()),
        }
    }

    /// GET, of the object or its status.
    pub(super) async fn get(&self, context: &Context, target: &Target) -> Answer {
        let format = context.format(Offer::of(target.kind))?;
        if context.query.flag("export") {
            let why = "the export parameter, deprecated since v1.14, is no longer supported";
            return Err(ApiError::bad_request(why));
        }
        let asked = context.query.text("resourceVersion");
        if !matches!(asked, "" | "0") {
            list::not_older(&self.registry().store, list::parse_revision(asked)?).await?;
        }
        // without a revision, upstream's reads are of etcd and not of a cache
        let json = self.registry().read(target, !asked.is_empty()).await?;
        shape::object(200, target.kind, json, format, context)
    }

    async fn list(&self, context: &Context, target: &Target) -> Answer {
        let format = context.format(Offer::of(target.kind))?;
        let query = named(context, target)?;
        let options = ListOptions::parse(target.kind, &query)?;
        let page = list::page(self.registry(), target.kind, &target.namespace, &options).await?;
        shape::list(target.kind, &page, format, context)
    }

    async fn watch(&self, context: &Context, target: &Target) -> Answer {
        let format = Format { pretty: false, ..context.format(Offer::of(target.kind))? };
        let query = named(context, target)?;
        let options = WatchOptions::parse(target.kind, &query)?;
        let shape = shape::watch(target.kind, format, context)?;
        let over = target.kind.custom.map(|_| self.customs().over(target.kind));
        let stream = watch::open(self.registry(), target.kind, &target.namespace, options, shape).await?;
        let stream = stream.by_parts(context.head.extensions.get::<InProcess>().is_some());
        Ok(shape::stream(match over {
            Some(over) => stream.until(over.cancelled_owned()),
            None => stream,
        }))
    }

    async fn create(&self, context: &Context, target: &Target) -> Answer {
        let format = context.format(Offer::of(target.kind))?;
        let options = WriteOptions::parse(&context.query, "CreateOptions")?;
        let call = Call::new(&context.user, options).tracked(context.manager()).saying(said(&context.query));
        let body = decode(context, target, &call)?;
        check_namespace(target, &body)?;
        let written = self.registry().create(&call, target, body).await?;
        shape::object(201, target.kind, written.json, format, context)
    }

    /// PUT, of the object or a subresource that takes the whole object.
    pub(super) async fn update(&self, context: &Context, target: &Target) -> Answer {
        let format = context.format(Offer::of(target.kind))?;
        let options = WriteOptions::parse(&context.query, "UpdateOptions")?;
        let call = Call::new(&context.user, options).tracked(context.manager()).saying(said(&context.query));
        let body = decode(context, target, &call)?;
        if meta(&body, "name").is_empty() {
            return Err(ApiError::bad_request("name must be provided"));
        }
        check_name(target, &body)?;
        let may_create = || self.may_create(context);
        let written = self.registry().update(&call, target, body, may_create).await?;
        shape::object(if written.created { 201 } else { 200 }, target.kind, written.json, format, context)
    }

    /// PATCH, of the object or a subresource that takes the whole object.
    pub(super) async fn patch(&self, context: &Context, target: &Target) -> Answer {
        let format = context.format(Offer::of(target.kind))?;
        if super::apply::is_apply(context) {
            return self.apply(context, target, format).await;
        }
        let options = WriteOptions::parse_patch(&context.query, false)?;
        let call = Call::new(&context.user, options).tracked(context.manager()).saying(said(&context.query));
        let patch = Patch { kind: patch_type(context)?, body: &context.body, mode: options.field_validation };
        let written = self.registry().patch(&call, target, patch).await?;
        shape::object(200, target.kind, written.json, format, context)
    }

    async fn delete(&self, context: &Context, target: &Target) -> Answer {
        let format = context.format(Offer::of(target.kind))?;
        let body = body::delete_options(&context.head.headers, &context.body)?;
        let options = DeleteOptions::parse(&context.query, body.as_ref())?;
        let call = Call::new(&context.user, WriteOptions { dry_run: options.dry_run, ..Default::default() })
            .saying(options.said());
        match self.registry().delete(&call, target, &options).await? {
            Deleted::Waiting(json) => {
                let code = if options.orphans == Some(false) { 202 } else { 200 };
                shape::object(code, target.kind, json, format, context)
            }
            Deleted::Gone(json, _) if returns_deleted(target.kind) => {
                shape::object(200, target.kind, json, format, context)
            }
            Deleted::Gone(_, last) => {
                Ok(respond::value(200, &success(target, &last), format, &context.head.headers))
            }
        }
    }

    async fn delete_collection(&self, context: &Context, target: &Target) -> Answer {
        let format = context.format(Offer::of(target.kind))?;
        let body = body::delete_options(&context.head.headers, &context.body)?;
        let options = DeleteOptions::parse(&context.query, body.as_ref())?;
        let call = Call::new(&context.user, WriteOptions { dry_run: options.dry_run, ..Default::default() })
            .saying(options.said());
        let call = Call { of_many: true, ..call };
        let list_options = ListOptions::parse(target.kind, &context.query)?;
        let page = list::page(self.registry(), target.kind, &target.namespace, &list_options).await?;
        for entry in &page.entries {
            let (namespace, name) = entry.key.name.split_once('/').unwrap_or(("", &entry.key.name));
            let one = Target::new(target.kind, namespace, name);
            match self.registry().delete(&call, &one, &options).await {
                Err(error) if error.reason == Reason::NotFound => {}
                other => drop(other?),
            }
        }
        shape::list(target.kind, &page, format, context)
    }
}

/// Kinds whose deletion answers with the object: `ReturnDeletedObject` of their stores.
fn returns_deleted(kind: &Kind) -> bool {
    kind.group.is_empty()
        && matches!(
            kind.kind,
            "Pod"
                | "Service"
                | "PersistentVolume"
                | "PersistentVolumeClaim"
                | "PodTemplate"
                | "ResourceQuota"
                | "ServiceAccount"
        )
}

/// 405 for a custom resource whose definition is being deleted.
pub(super) fn terminating(verb: &str) -> ApiError {
    let why = format!("{verb} not allowed while custom resource definition is terminating");
    ApiError::new(Reason::MethodNotAllowed, why)
}

/// 405 as upstream's routes give it.
pub(crate) fn not_allowed() -> ApiError {
    ApiError::not_allowed()
}

/// 404 for what no kind is served at: a Status below what the routes know, text elsewhere.
pub(crate) fn nobody(routed: bool) -> Answer {
    if routed { Err(ApiError::unknown_resource()) } else { Ok(respond::page_not_found()) }
}

/// The query of a list or watch, with the path's name as its field selector: upstream's `ListResource`. The name may be
/// the selector's own, which then says what it said.
fn named<'a>(context: &'a Context, target: &Target) -> Result<Cow<'a, Query>, ApiError> {
    let query = &context.query;
    if target.name.is_empty() {
        return Ok(Cow::Borrowed(query));
    }
    let asked = query.text("fieldSelector");
    if asked.is_empty() {
        let selector = FieldSelector::equal("metadata.name", &target.name);
        return Ok(Cow::Owned(query.with("fieldSelector", &selector.to_string())));
    }
    let selector = FieldSelector::parse(asked).map_err(ApiError::bad_request)?;
    if selector.exact("metadata.name") == Some(target.name.as_str()) {
        return Ok(Cow::Borrowed(query));
    }
    Err(ApiError::bad_request("fieldSelector metadata.name doesn't match requested name"))
}

/// Whether the request names a namespace where the kind has none, or none where it has one.
fn is_misplaced(context: &Context, kind: &Kind) -> bool {
    let info = &context.info;
    let across = matches!(info.verb.as_str(), "list" | "watch");
    match (kind.namespaced, info.namespace.is_empty()) {
        (true, true) => !across,
        (false, false) => true,
        _ => false,
    }
}

/// Paths and methods that upstream's routes of built-in kinds do not have, whatever a request info makes of them: HEAD goes
/// to proxies only, and what is watched by path is one object in its place or all.
fn check_route(context: &Context, kind: &Kind) -> Result<(), ApiError> {
    let (info, method) = (&context.info, &context.head.method);
    if *method == Method::HEAD && info.subresource != "proxy" {
        return Err(not_allowed());
    }
    match info.special() {
        None => Ok(()),
        Some("watch") => {
            let nowhere = kind.namespaced && info.namespace.is_empty() && !info.name.is_empty();
            match nowhere || !info.subresource.is_empty() {
                true => Err(ApiError::unknown_resource()),
                false if *method != Method::GET => Err(not_allowed()),
                false => Ok(()),
            }
        }
        Some(_) => Err(ApiError::unknown_resource()),
    }
}

/// Namespaced kinds are created and read in a namespace, others are not.
fn check_place(context: &Context, kind: &Kind) -> Result<(), ApiError> {
    let info = &context.info;
    let single =
        matches!(info.verb.as_str(), "get" | "update" | "patch" | "delete") || !info.subresource.is_empty();
    if kind.namespaced
        && info.namespace.is_empty()
        && (single || info.verb == "create" || info.verb == "deletecollection")
    {
        return Err(not_allowed());
    }
    // a namespace is in none, as nothing is that is the whole cluster's: authorization would have looked there
    if !kind.namespaced && info.in_namespace {
        return Err(ApiError::unknown_resource());
    }
    if single && info.name.is_empty() {
        return Err(not_allowed());
    }
    Ok(())
}

/// Decodes the body as an object of the target's kind.
pub(crate) fn decode(context: &Context, target: &Target, call: &Call<'_>) -> Result<Value, ApiError> {
    let kind = target.kind;
    if let Some(version) = kind.custom.and_then(|custom| custom.version()) {
        let format = body::format(&context.head.headers)?;
        let mode = call.options.field_validation;
        let decoded = crate::crd::decode(&context.body, format, kind, &version, mode)?;
        *call.warnings.lock() = decoded.warnings;
        return Ok(decoded.value);
    }
    let expected = Expected { group: kind.group, version: kind.version, kind: kind.kind };
    decode_as(context, kind.schema, expected, call)
}

/// Decodes the body as an object of `schema`.
pub(crate) fn decode_as(
    context: &Context,
    schema: &str,
    expected: Expected<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let decoded =
        body::object(&context.head.headers, &context.body, schema, expected, call.options.field_validation)?;
    *call.warnings.lock() = decoded.warnings;
    Ok(decoded.value)
}

/// `EnsureObjectNamespaceMatchesRequestNamespace`.
pub(crate) fn check_namespace(target: &Target, body: &Value) -> Result<(), ApiError> {
    let namespace = meta(body, "namespace");
    let right =
        if target.kind.namespaced { namespace.is_empty() || namespace == target.namespace } else { true };
    if right {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

/// As [`patch_type`], of a kind that may have no strategies to merge by.
pub(crate) fn patch_type_of(context: &Context, kind: &Kind) -> Result<PatchType, ApiError> {
    match patch_type(context)? {
        PatchType::Strategic if kind.custom.is_some() => {
            Err(ApiError::unsupported_media_type(&[SUPPORTED[0], SUPPORTED[1], SUPPORTED[3]]))
        }
        patch_type => Ok(patch_type),
    }
}

pub(crate) fn patch_type(context: &Context) -> Result<PatchType, ApiError> {
    let media = body::media_type(&context.head.headers);
    PatchType::parse(media).ok_or_else(|| ApiError::unsupported_media_type(SUPPORTED))
}
