//! The API server, as this crate sees it: a function of a user and a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use sampan_process::BoxedIo;
use serde::{Deserialize, Serialize};

/// Errors of a response's body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Takes a raw connection, on which it speaks first: the head of its answer.
pub type Takeover = Box<dyn FnOnce(BoxedIo) -> BoxFuture<'static, ()> + Send>;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// `kubernetes-admin`, `system:serviceaccount:default:default`.
    #[serde(rename = "username")]
    pub name: String,
    /// Where the authenticator knows one.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Further facts.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What the API server answers.
pub struct Answer {
    /// Head and body; a watch's body goes on.
    pub response: Response<UnsyncBoxBody<Bytes, BoxError>>,
    /// For an authorised upgrade: what takes the connection. The response is then 101 and empty.
    pub takeover: Option<Takeover>,
}

/// Answers one request as a user; authentication is done, authorization and admission are not.
pub type Api = Arc<dyn Fn(User, Request<Bytes>) -> BoxFuture<'static, Answer> + Send + Sync>;
