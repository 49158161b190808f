//! The API server: authenticate → authorize → admit → registry, one path for every request.
//!
//! [`ApiServer::handle`] is a plain function of a request and its [`Peer`]; actix-web over TLS (`rim`) and
//! the loopback client are two thin callers of it. There is one implementation of get, list, watch, create,
//! update, patch, delete and deletecollection for every kind ([`registry`]); a kind that behaves differently
//! has a strategy ([`strategies`]). Only this crate touches the store.
//!
//! What is not here: objects' words (schemas, defaults, validation are in `sampan-api`), revisions and
//! durability (`sampan-store`), and any knowledge of how a node is reached ([`NodeConnector`]).

pub mod admission;
mod aggregate;
pub mod audit;
pub mod auth;
mod bootstrap;
mod cluster_info;
mod crd;
mod dynamic;
mod fairness;
mod identity;
mod outbound;
pub mod pipeline;
pub mod pki;
pub mod registry;
pub mod rim;
pub mod routes;
pub mod secrets;
mod server;
pub mod strategies;
#[cfg(test)]
mod tests;
mod value;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use rustls::pki_types::CertificateDer;
use sampan_process::BoxedIo;

pub use aggregate::{GroupHandler, ServedGroup};
pub use auth::UserInfo;
pub use server::{ApiServer, Config, Error, LoopbackHandler, issuers as check_authentication};
pub use strategies::services::ServiceBlock;

/// Errors of a response body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A response body: whole, or streamed as a watch or a log is.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// The version that `/version` and every node report.
pub const VERSION: &str = "v1.36.0+sampan";

/// Who is at the other end of a request.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A TLS connection, with the certificates that the client showed (verified by the handshake or not at all).
    Tls {
        /// The client's chain, leaf first; empty without one.
        certificates: Certificates,
        /// The other end.
        remote: SocketAddr,
    },
    /// A component in this process, as a fixed user.
    Loopback(Arc<UserInfo>),
}

/// The certificates that a client showed, leaf first. Cheap to clone: a connection's requests share them, and what was read
/// of them.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Arc<Shown>);

#[derive(Debug, Default)]
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    user: OnceLock<Option<auth::Certified>>,
}

impl From<Vec<CertificateDer<'static>>> for Certificates {
    fn from(chain: Vec<CertificateDer<'static>>) -> Self {
        Self(Arc::new(Shown { chain, user: OnceLock::new() }))
    }
}

impl Deref for Certificates {
    type Target = [CertificateDer<'static>];

    fn deref(&self) -> &Self::Target {
        &self.0.chain
    }
}

impl Certificates {
    /// Whom the leaf names; `None` if it names nobody.
    pub(crate) fn user(&self) -> Option<&auth::Certified> {
        self.0.user.get_or_init(|| self.0.chain.first().and_then(auth::Certified::read)).as_ref()
    }
}

/// Response extension of an authorised exec, attach, port-forward or proxy upgrade: the status is 101, and the
/// rim hands over the raw connection without writing a head of its own.
pub struct Takeover(pub Box<dyn FnOnce(BoxedIo) -> BoxFuture<'static, ()> + Send>);

/// [`Takeover`] as a response extension, which has to be `Clone`: the rim takes it out once.
#[derive(Clone)]
pub struct TakeoverSlot(pub Arc<parking_lot::Mutex<Option<Takeover>>>);

impl TakeoverSlot {
    /// A slot holding `takeover`.
    pub fn new(takeover: Takeover) -> Self {
        Self(Arc::new(parking_lot::Mutex::new(Some(takeover))))
    }
    /// Takes it; `None` if it was taken before.
    pub fn take(&self) -> Option<Takeover> {
        self.0.lock().take()
    }
}

/// How the API server reaches a node's kubelet: in process, or HTTPS to a remote node. Given by the binary.
pub trait NodeConnector: Send + Sync {
    /// One request to the kubelet of `node`.
    fn request(
        &self,
        node: &str,
        request: Request<Bytes>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, String>>;
    /// Hands an upgraded client connection to the kubelet of `node`, which writes the response head itself.
    fn upgrade(&self, node: &str, request: Request<Bytes>, io: BoxedIo) -> BoxFuture<'static, ()>;
}
