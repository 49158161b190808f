//! [`Auth`] as the pipeline asks it.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use http::request::Parts;
use jiff::Timestamp;
use sampan_api::kinds::Kind;
use sampan_api::status::ApiError;
use serde_json::Value;

use super::{Attributes, Auth, Decision, UserInfo};
use crate::Peer;
use crate::admission::{node_audience, node_restriction};
use crate::pipeline::Gate;
use crate::registry::Target;
use crate::value::text;

impl Gate for Auth {
    fn prepare<'a>(&'a self, head: &Parts, peer: &Peer) -> Option<BoxFuture<'a, ()>> {
        let issuers = self.issuers();
        if issuers.is_empty() {
            return None;
        }
        let token = super::authenticate::bearer(head).filter(|_| !super::authenticate::is_certified(peer))?;
        Some(async move { issuers.prepare(&token, Timestamp::now()).await }.boxed())
    }

    fn identify(&self, head: &Parts, peer: &Peer) -> Result<Arc<UserInfo>, ApiError> {
        Auth::identify(self, head, peer)
    }

    fn authorize(&self, user: &UserInfo, attributes: &Attributes<'_>) -> Decision {
        Auth::authorize(self, user, attributes)
    }

    fn review<'a>(
        &'a self,
        user: &'a UserInfo,
        kind: &'static Kind,
        namespace: &'a str,
        body: Value,
    ) -> BoxFuture<'a, Result<Value, ApiError>> {
        async move {
            let issuers = self.issuers();
            if kind.kind == "TokenReview" && !issuers.is_empty() {
                issuers.prepare(text(&body, &["spec", "token"]), Timestamp::now()).await;
            }
            self.answer(user, kind.kind, namespace, body)
        }
        .boxed()
    }

    fn token<'a>(
        &'a self,
        user: &'a UserInfo,
        account: &'a Target,
        body: Value,
    ) -> BoxFuture<'a, Result<Value, ApiError>> {
        if let Some(node) = user.node_name() {
            let of = (&*account.namespace, &*account.name);
            let refused = |why: String| ApiError::forbidden("", "serviceaccounts", &account.name, &why);
            let verdict = node_restriction::token(node, &self.store, of, &body).and_then(|()| {
                node_audience::audience(self, &self.store, user, account, &body).map_err(refused)
            });
            if let Err(error) = verdict {
                return ready(Err(error)).boxed();
            }
        }
        ready(self.tokens.request(&account.namespace, &account.name, body, Timestamp::now())).boxed()
    }

    fn path(&self, path: &str) -> Option<Value> {
        match path.trim_end_matches('/') {
            "/openid/v1/jwks" => Some(self.tokens.jwks()),
            "/.well-known/openid-configuration" => Some(self.tokens.discovery()),
            _ => None,
        }
    }
}
