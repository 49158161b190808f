//! What the pipeline asks of authentication and authorization.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::request::Parts;
use sampan_api::kinds::Kind;
use sampan_api::status::ApiError;
use serde_json::Value;

use crate::auth::{Attributes, Decision};
use crate::registry::Target;
use crate::{Peer, UserInfo};

/// Who asks, and whether they may.
pub trait Gate: Send + Sync {
    /// What has to be waited for before it can be said who asks, if anything.
    fn prepare<'a>(&'a self, head: &Parts, peer: &Peer) -> Option<BoxFuture<'a, ()>> {
        let _ = (head, peer);
        None
    }
    /// Who asks; impersonation included.
    fn identify(&self, head: &Parts, peer: &Peer) -> Result<Arc<UserInfo>, ApiError>;
    /// Whether they may.
    fn authorize(&self, user: &UserInfo, attributes: &Attributes<'_>) -> Decision;
    /// Answers a create of a review kind (SubjectAccessReview, TokenReview …).
    fn review<'a>(
        &'a self,
        user: &'a UserInfo,
        kind: &'static Kind,
        namespace: &'a str,
        body: Value,
    ) -> BoxFuture<'a, Result<Value, ApiError>>;
    /// Answers a TokenRequest.
    fn token<'a>(
        &'a self,
        user: &'a UserInfo,
        account: &'a Target,
        body: Value,
    ) -> BoxFuture<'a, Result<Value, ApiError>>;
    /// Answers paths of its own: `/openid/v1/jwks`, `/.well-known/openid-configuration`.
    fn path(&self, path: &str) -> Option<Value>;
}

/// The gate of a server that was given none: this process alone is let in, the network sees health and version.
pub struct LoopbackOnly;

impl Gate for LoopbackOnly {
    fn identify(&self, _: &Parts, peer: &Peer) -> Result<Arc<UserInfo>, ApiError> {
        match peer {
            Peer::Loopback(user) => Ok(user.clone()),
            Peer::Tls { .. } => Ok(Arc::new(UserInfo::anonymous())),
        }
    }
    fn authorize(&self, user: &UserInfo, attributes: &Attributes<'_>) -> Decision {
        let open = ["/healthz", "/livez", "/readyz", "/version"];
        let anyone = !attributes.is_resource && open.iter().any(|p| attributes.path.starts_with(p));
        if anyone || *user != UserInfo::anonymous() {
            Decision::Allow(String::new())
        } else {
            Decision::Deny(String::new())
        }
    }
    fn review<'a>(
        &'a self,
        _: &'a UserInfo,
        _: &'static Kind,
        _: &'a str,
        _: Value,
    ) -> BoxFuture<'a, Result<Value, ApiError>> {
        async { Err(ApiError::unavailable("no authorizer is configured")) }.boxed()
    }
    fn token<'a>(
        &'a self,
        _: &'a UserInfo,
        _: &'a Target,
        _: Value,
    ) -> BoxFuture<'a, Result<Value, ApiError>> {
        async { Err(ApiError::unavailable("no token issuer is configured")) }.boxed()
    }
    fn path(&self, _: &str) -> Option<Value> {
        None
    }
}
