//! One request while it is recorded. It is a task-local value, so that whatever answers the request can add to its
//! record without being handed anything, and nothing happens where nobody records.
//!
//! ```text
//!  begin ─► authenticated ─► identified: policy ─► RequestReceived ─► … annotate … ─► finish ─► ResponseComplete
//!                                    └─ None: nothing more                             │ long-running
//!                                                                                      └─► ResponseStarted ─► body ends
//! ```

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body_util::BodyExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use sampan_api::status::ApiError;
use serde_json::{Value, json};

use super::Auditor;
use super::bodies;
use super::policy::{Level, Stage};
use super::record::{Record, is_status, status_of, without_managed_fields};
use crate::auth::{Attributes, Decision};
use crate::pipeline::held::until_its_end;
use crate::pipeline::info::RequestInfo;
use crate::{Peer, ResponseBody, UserInfo};

tokio::task_local! {
    static SCOPE: Arc<Scope>;
}

/// One request.
pub(crate) struct Scope {
    auditor: Arc<Auditor>,
    received: Timestamp,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Who asked, before impersonation.
    authenticated: Option<UserInfo>,
    /// `None` until the policy was asked, and if it wants nothing.
    record: Option<Record>,
    long_running: bool,
    panicked: bool,
    done: bool,
}

/// Runs `change` on the record of the request that this task answers, if one is kept.
fn with(change: impl FnOnce(&mut Record)) {
    let _ = SCOPE.try_with(|scope| scope.state.lock().record.as_mut().map(change));
}

/// Adds to the record: admission says what it did, authorization why. The first of a key stays, as upstream.
pub(crate) fn annotate(key: &str, value: impl FnOnce() -> String) {
    with(|record| {
        record.annotations.entry(key.to_owned()).or_insert_with(value);
    });
}

/// Tells who asked, before impersonation.
pub(crate) fn authenticated(user: &UserInfo) {
    let _ = SCOPE.try_with(|scope| scope.state.lock().authenticated = Some(user.clone()));
}

/// Asks the policy, and records that the request came.
pub(crate) fn identified(
    head: &Parts,
    peer: &Peer,
    info: &RequestInfo,
    attributes: &Attributes<'_>,
    identity: Result<&UserInfo, &ApiError>,
) {
    let _ = SCOPE.try_with(|scope| {
        let mut state = scope.state.lock();
        let authenticated = state.authenticated.take();
        let user = authenticated.as_ref().or(identity.ok());
        let verdict = scope.auditor.policy.verdict(user, attributes);
        if verdict.level == Level::None {
            return;
        }
        let mut record = Record::new(verdict, head, peer, info, user.cloned(), scope.received);
        record.impersonated = identity.ok().filter(|acting| Some(*acting) != user).cloned();
        state.long_running = long_running(info);
        match user {
            // 401: upstream records its answer alone
            None => record.status = Some(json!({"metadata": {}, "message": attempted(head, peer)})),
            Some(_) => scope.auditor.send(&record, Stage::RequestReceived),
        }
        state.record = Some(record);
    });
}

/// Records what the authorizers said.
pub(crate) fn authorized(decision: &Decision) {
    let (word, why) = match decision {
        Decision::Allow(why) => ("allow", why),
        Decision::Deny(why) => ("forbid", why),
    };
    annotate("authorization.k8s.io/decision", || word.to_owned());
    annotate("authorization.k8s.io/reason", || why.clone());
}

/// Records the body of a request that may go on.
pub(crate) fn body(head: &Parts, body: &Bytes, info: &RequestInfo) {
    with(|record| {
        let Some(mut object) = bodies::request(head, body, info) else { return };
        if info.verb != "patch" {
            record.complete_reference(&object);
        }
        if record.verdict.omit_managed_fields {
            without_managed_fields(&mut object);
        }
        record.request = Some(object).filter(|_| record.verdict.level >= Level::Request);
    });
}

/// Records a refusal.
pub(crate) fn failed(error: &ApiError) {
    with(|record| {
        let status = error.to_value();
        let said = record.status.take();
        let mut bounded = status_of(&status, error.code);
        // a failed authentication says what was tried
        if let Some(said) = said.as_ref().and_then(|said| said.get("message")) {
            bounded["message"] = said.clone();
        }
        record.status = Some(bounded);
        record.response = Some(status).filter(|_| record.verdict.level >= Level::RequestResponse);
    });
}

/// Records that the server failed over the request.
pub(crate) fn panicked(what: &(dyn std::any::Any + Send)) {
    let said = what.downcast_ref::<&str>().copied().or(what.downcast_ref::<String>().map(String::as_str));
    let message = format!("APIServer panic'd: {}", said.unwrap_or("unknown"));
    let _ = SCOPE.try_with(|scope| {
        let mut state = scope.state.lock();
        state.panicked = true;
        if let Some(record) = &mut state.record {
            let why = json!({"status": "Failure", "message": message, "reason": "InternalError"});
            record.status = Some(status_of(&why, 500));
        }
    });
}

impl Scope {
    pub(super) fn new(auditor: Arc<Auditor>) -> Arc<Self> {
        Arc::new(Self { auditor, received: Timestamp::now(), state: Mutex::default() })
    }

    /// Answers a request by `answer`, and records how it went.
    pub(crate) async fn observe(
        self: Arc<Self>,
        answer: impl Future<Output = Response<ResponseBody>>,
    ) -> Response<ResponseBody> {
        // whoever gives up waiting drops this
        let ending = Ending(self.clone());
        let response = SCOPE.scope(self.clone(), answer).await;
        self.answered(response, ending).await
    }

    async fn answered(&self, response: Response<ResponseBody>, ending: Ending) -> Response<ResponseBody> {
        let (wanted, long_running) = {
            let mut state = self.state.lock();
            let long_running = state.long_running || response.status().as_u16() == 101;
            match &mut state.record {
                None => return response,
                Some(record) => (bodies::wanted(record, &response) && !long_running, long_running),
            }
        };
        let response = if wanted { self.keep_body(response).await } else { response };
        let mut state = self.state.lock();
        let panicked = state.panicked;
        if let Some(record) = &mut state.record {
            let code = response.status().as_u16();
            let status = record.status.get_or_insert_with(|| json!({"metadata": {}}));
            status["code"] = code.into();
            if long_running && !panicked {
                self.auditor.send(record, Stage::ResponseStarted);
            }
        }
        drop(state);
        if long_running { until_its_end(response, ending) } else { response }
    }

    /// Reads a whole body, and gives it back.
    async fn keep_body(&self, response: Response<ResponseBody>) -> Response<ResponseBody> {
        let (head, body) = response.into_parts();
        // a body of known size is in memory already
        let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let mut state = self.state.lock();
        let whole =
            state.record.as_ref().is_some_and(|record| record.verdict.level >= Level::RequestResponse);
        let object = match whole || bodies::may_be_status(&bytes) {
            true => bodies::response(&head.headers, &bytes),
            false => None,
        };
        if let (Some(mut object), Some(record)) = (object, &mut state.record) {
            if is_status(&object) {
                record.status = Some(status_of(&object, head.status.as_u16()));
            }
            if record.verdict.level >= Level::RequestResponse {
                if record.verdict.omit_managed_fields {
                    without_managed_fields(&mut object);
                }
                record.response = Some(object);
            }
        }
        Response::from_parts(head, crate::pipeline::respond::body(bytes))
    }

    fn finish(&self) {
        let mut state = self.state.lock();
        let panicked = state.panicked;
        if std::mem::replace(&mut state.done, true) {
            return;
        }
        let Some(record) = &mut state.record else { return };
        record.status.get_or_insert_with(
            || json!({"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200}),
        );
        self.auditor.send(record, if panicked { Stage::Panic } else { Stage::ResponseComplete });
    }
}

/// Records the end of a request when it is dropped.
struct Ending(Arc<Scope>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// `BasicLongRunningRequestCheck` as kube-apiserver configures it.
pub(crate) fn long_running(info: &RequestInfo) -> bool {
    info.is_resource
        && (matches!(info.verb.as_str(), "watch" | "proxy")
            || matches!(info.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward"))
        || !info.is_resource && info.path.starts_with("/debug/pprof/")
}

/// Upstream's `getAuthMethods`.
fn attempted(head: &Parts, peer: &Peer) -> String {
    let header = head.headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("").trim();
    let scheme = header.split_once(' ').map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
    let mut tried = Vec::new();
    if scheme == "basic" {
        tried.push("basic");
    }
    if scheme == "bearer" {
        tried.push("bearer");
    }
    if matches!(peer, Peer::Tls { certificates, .. } if !certificates.is_empty()) {
        tried.push("x509");
    }
    match tried.is_empty() {
        true => "Authentication failed, no credentials provided".to_owned(),
        false => format!("Authentication failed, attempted: {}", tried.join(", ")),
    }
}

/// A value that says nothing is none.
pub(super) fn said(value: Value) -> Option<Value> {
    Some(value).filter(|value| value.is_object() || value.is_array())
}
