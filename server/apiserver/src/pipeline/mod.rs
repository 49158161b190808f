//! The one way of a request: decode the head → authenticate → impersonate → wait for its turn → authorize → do → encode.
//!
//! Whatever happens inside, the caller gets an answer: an [`ApiError`] becomes its `Status`, a panic a 500.

pub mod body;
pub(crate) mod deadline;
mod gate;
pub(crate) mod held;
pub mod info;
pub(crate) mod latency;
mod lifecycle;
mod messages;
mod metrics;
pub mod negotiate;
mod node_port;
pub mod query;
mod resource;
pub use gate::{Gate, LoopbackOnly};
pub(crate) use resource::{nobody, not_allowed};
mod apply;
mod binding;
mod connect;
mod eviction;
mod proxy;
pub mod respond;
pub(crate) mod scale;
mod shape;
mod subresource;
pub(crate) mod warnings;
mod yaml;

/// What handing a request or a connection on takes, wherever it goes.
pub(crate) mod passing {
    pub(crate) use super::connect::{end_to_end, take_over, upgrades, without_impersonation};
    pub(crate) use super::proxy::{join, upgrade_head};
}

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use http_body::Body as _;
use sampan_api::status::ApiError;

use crate::auth::{self, Attributes, Decision};
use crate::fairness::Ticket;
use crate::{ApiServer, Peer, ResponseBody, UserInfo, audit};
use info::RequestInfo;
use query::Query;

const PRIVATE: HeaderValue = HeaderValue::from_static("no-cache, private");

/// One request on its way.
pub(crate) struct Context {
    pub head: Parts,
    pub body: Bytes,
    pub query: Query,
    pub info: Arc<RequestInfo>,
    pub user: Arc<UserInfo>,
}

/// A request as it came, read so far as its head says.
struct Asked {
    head: Parts,
    body: Bytes,
    query: Query,
    info: Arc<RequestInfo>,
    peer: Peer,
}

impl Context {
    pub fn accept(&self) -> &str {
        self.head.headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("")
    }
    /// What the client wants of what is on offer.
    pub fn format(&self, offer: negotiate::Offer) -> Result<negotiate::Format, ApiError> {
        negotiate::negotiate(self.accept(), offer, self.pretty())
    }
    /// What the client calls itself.
    pub fn user_agent(&self) -> &str {
        self.head.headers.get("User-Agent").and_then(|v| v.to_str().ok()).unwrap_or("")
    }
    /// Who manages the fields that this request writes.
    pub fn manager(&self) -> String {
        crate::registry::manager(&self.query, self.user_agent())
    }
    /// `pretty` of the query, or what people with a browser or curl get by default: upstream's `isPrettyPrint`.
    pub fn pretty(&self) -> bool {
        match self.query.get("pretty") {
            Some(_) => self.query.flag("pretty"),
            None => ["curl", "Wget", "Mozilla/5.0"].iter().any(|known| self.user_agent().starts_with(known)),
        }
    }
}

impl ApiServer {
    /// Answers one request.
    pub async fn handle(&self, request: Request<Bytes>, peer: Peer) -> Response<ResponseBody> {
        let began = Instant::now();
        let (mut head, body) = request.into_parts();
        let query = Query::parse(head.uri.query().unwrap_or(""));
        let info = Arc::new(info::parse(&head.method, head.uri.path(), &query));
        let seen = info.clone();
        let id = audit_id(&mut head, matches!(peer, Peer::Tls { .. }) || self.auditor().is_some());
        let manner = metrics::Manner {
            applies: seen.verb == "patch" && body::media_type(&head.headers) == crate::registry::patch::APPLY,
            dry_run: metrics::dry_run(&query),
        };
        let (form, mut ticket) = (FailureForm::wanted(&head.headers), None);
        let answer = self.in_time(Asked { head, body, query, info, peer }, form, &mut ticket);
        let answered = async {
            match self.auditor() {
                None => answer.await,
                Some(auditor) => Box::pin(auditor.begin().observe(answer)).await,
            }
        };
        let ((mut response, told), asked) = latency::collect(warnings::collect(answered)).await;
        respond::warn(&mut response, &told);
        let waited = ticket.as_ref().map(Ticket::waited).unwrap_or_default();
        if let Some(ticket) = ticket {
            ticket.mark(response.headers_mut());
        }
        if let Some(id) = id {
            response.headers_mut().entry(audit::HEADER).or_insert(id);
        }
        // upstream's `WithCacheControl`: what is told to one client is for no other
        response.headers_mut().entry(CACHE_CONTROL).or_insert(PRIVATE);
        let (code, size) = (response.status().as_u16(), response.body().size_hint().exact());
        let kind = self.kind_of(&seen);
        let outcome = metrics::Outcome { code, began, waited: waited + asked, size };
        tracing::debug!(verb = %seen.verb, path = %seen.path, code, took = ?began.elapsed(), "request");
        if audit::long_running(&seen) {
            return metrics::while_running(&seen, kind, manner, outcome, response);
        }
        metrics::record(&seen, kind, manner, &outcome);
        response
    }

    /// The answer, or that it takes too long.
    async fn in_time(
        &self,
        asked: Asked,
        form: FailureForm,
        ticket: &mut Option<Ticket>,
    ) -> Response<ResponseBody> {
        let (info, within) = (asked.info.clone(), deadline::within(&asked.info, &asked.query));
        match deadline::keep(within, self.caught(asked, form, ticket)).await {
            Some(response) => response,
            None => {
                metrics::terminated(&info, self.kind_of(&info), 504);
                deadline::late()
            }
        }
    }

    /// The answer, whatever happens.
    async fn caught(
        &self,
        asked: Asked,
        form: FailureForm,
        ticket: &mut Option<Ticket>,
    ) -> Response<ResponseBody> {
        match AssertUnwindSafe(self.answer(asked, ticket)).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                audit::failed(&error);
                form.say(&error)
            }
            Err(panic) => {
                audit::panicked(&*panic);
                respond::error(&ApiError::internal(
                    "this request caused apiserver to panic. Look in log for details",
                ))
            }
        }
    }

    /// `ticket` is the request's leave to be answered, for as long as whoever asks holds it.
    async fn answer(
        &self,
        asked: Asked,
        ticket: &mut Option<Ticket>,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let Asked { head, body, query, info, peer } = asked;
        body::check_size(&body)?;
        deadline::check(&info, &query)?;
        if let Some(preparing) = self.gate().prepare(&head, &peer) {
            preparing.await;
        }
        let user = self.gate().identify(&head, &peer);
        audit::identified(&head, &peer, &info, &attributes(&info, &query), user.as_deref());
        let context = Context { head, body, query, info, user: user? };
        if let Some(fairness) = self.fairness() {
            match fairness.admit(&context).await {
                Ok(admitted) => *ticket = admitted,
                Err(refused) => {
                    let kind = self.kind_of(&context.info);
                    metrics::terminated(&context.info, kind, refused.status().as_u16());
                    return Ok(refused);
                }
            }
        }
        self.admitted(context).await
    }

    /// The answer to a request whose turn it is.
    async fn admitted(&self, context: Context) -> Result<Response<ResponseBody>, ApiError> {
        self.authorize(&context)?;
        audit::body(&context.head, &context.body, &context.info);
        if let Some(response) = self.aggregated(&context).await {
            return Ok(response);
        }
        if context.info.is_resource {
            let socket = messages::Socket::wanted(&context.head.headers, &context.info)?;
            let writes = matches!(context.info.verb.as_str(), "create" | "update" | "patch" | "delete");
            let answer = Box::pin(self.resource(context));
            let response = if writes { deadline::write(answer).await? } else { answer.await? };
            return Ok(match socket {
                Some(socket) => socket.carry(response),
                None => response,
            });
        }
        Box::pin(self.path(context)).await
    }

    fn authorize(&self, context: &Context) -> Result<(), ApiError> {
        let attributes = attributes(&context.info, &context.query);
        self.authorize_as(context, &attributes)?;
        match streams_into_pod(&attributes) {
            true => self.authorize_as(context, &Attributes { verb: "create", ..attributes }),
            false => Ok(()),
        }
    }

    fn authorize_as(&self, context: &Context, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        let decision = self.gate().authorize(&context.user, attributes);
        audit::authorized(&decision);
        match decision {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(why) => Err(auth::forbidden(&context.user, attributes, &why)),
        }
    }
}

/// The name of a request in records of it: the client's, or a new one where one is `needed`. This process's own requests
/// need one only while they are recorded.
fn audit_id(head: &mut Parts, needed: bool) -> Option<HeaderValue> {
    if let Some(id) = head.headers.get(audit::HEADER) {
        return Some(id.clone());
    }
    if !needed {
        return None;
    }
    let id = HeaderValue::from_str(&crate::value::uid()).ok()?;
    head.headers.insert(audit::HEADER, id.clone());
    Some(id)
}

/// How a client is told of a failure, should there be one: as it wants objects, or in JSON.
struct FailureForm {
    accept: Option<HeaderValue>,
    encoding: Option<HeaderValue>,
}

impl FailureForm {
    fn wanted(headers: &http::HeaderMap) -> Self {
        Self { accept: headers.get(ACCEPT).cloned(), encoding: headers.get(ACCEPT_ENCODING).cloned() }
    }

    fn say(self, error: &ApiError) -> Response<ResponseBody> {
        let accept = self.accept.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("");
        let format = negotiate::negotiate(accept, negotiate::Offer::OBJECT, false);
        let encoding = self.encoding.map(|value| (ACCEPT_ENCODING, value));
        let headers = http::HeaderMap::from_iter(encoding);
        respond::failure(error, format.unwrap_or(negotiate::Format::JSON), &headers)
    }
}

/// Whether a GET opens a session in a pod. Websockets begin with GET, and who may only look may not do that: like
/// POST it needs `create` (upstream's `AuthorizePodWebsocketUpgradeCreatePermission`).
fn streams_into_pod(asked: &Attributes<'_>) -> bool {
    asked.verb == "get"
        && asked.group.is_empty()
        && asked.resource == "pods"
        && matches!(asked.subresource, "exec" | "attach" | "portforward")
}

/// What authorizers see of a request.
fn attributes<'a>(info: &'a RequestInfo, query: &'a Query) -> Attributes<'a> {
    Attributes {
        verb: &info.verb,
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        path: &info.path,
        is_resource: info.is_resource,
        field_selector: query.text("fieldSelector"),
        label_selector: query.text("labelSelector"),
    }
}
