//! Who may do what.
//!
//! ```text
//!  request ─► authenticate ─► impersonate ─► authorize: system:masters ─► Node ─► RBAC
//!             certificate      each part       anything     a kubelet's    roles and
//!             SA token         authorised                   own pods'      bindings
//!             bootstrap token                               objects
//!             other issuers' token
//! ```
//!
//! Everything reads the store's memory; nothing is listed, cached with a delay, or asked of the network, but for the keys of
//! other issuers. The reviews (`kubectl auth can-i`) call the same functions as enforcement, so they cannot disagree.
//!
//! - [`rules`]: what a rule covers. [`index`]: roles and bindings by subject. [`bootstrap`]: upstream's own roles.
//! - [`tokens`]: ServiceAccount tokens. [`legacy`]: those that Secrets hold. [`issuers`]: tokens of others. [`authenticate`]: credentials to users. [`impersonate`]: acting as others.
//! - [`node`]: the Node authorizer. [`escalate`]: nobody grants what they do not have. [`reviews`]: questions.
//!
//! What is not here: records of what was decided (`audit`), and which request means which verb (that is the pipeline's).

mod asked;
pub mod authenticate;
pub mod bootstrap;
mod escalate;
mod gate;
pub mod impersonate;
pub mod index;
pub mod issuers;
pub mod jwt;
mod known;
pub(crate) mod legacy;
mod metrics;
pub mod node;
pub mod reviews;
pub mod rules;
pub mod tokens;
mod user;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::request::Parts;
use sampan_api::go::Quote as _;
use sampan_api::status::ApiError;
use sampan_store::Store;
use tokio::sync::watch;

pub(crate) use authenticate::Certified;
pub use user::{AUTHENTICATED, Attributes, Decision, MASTERS, UNAUTHENTICATED, UserInfo};

use crate::Peer;
use crate::pki::TokenKey;
use index::Index;
use issuers::Issuers;
use issuers::reload::Reloads;
use node::NodeAuthorizer;
use rules::Rule;
use tokens::Tokens;

/// Authentication and authorization.
pub struct Auth {
    store: Store,
    index: Index,
    node: NodeAuthorizer,
    tokens: Tokens,
    issuers: ArcSwap<Issuers>,
    /// How reading the issuers' file again went.
    pub(crate) reloads: watch::Sender<Reloads>,
}

impl Auth {
    /// Over `store`, with tokens of `issuer` (`https://kubernetes.default.svc.<domain>`) signed by `key`.
    pub fn new(store: Store, key: Arc<TokenKey>, issuer: impl Into<String>) -> Self {
        Self {
            index: Index::new(store.clone()),
            node: NodeAuthorizer::new(store.clone(), bootstrap::node_rules()),
            tokens: Tokens::new(store.clone(), key, issuer),
            issuers: ArcSwap::default(),
            reloads: watch::Sender::default(),
            store,
        }
    }

    /// With users of others.
    #[must_use]
    pub fn with_issuers(self, issuers: Issuers) -> Self {
        Self { issuers: ArcSwap::from_pointee(issuers), ..self }
    }

    /// Those that hold now.
    pub(crate) fn issuers(&self) -> Arc<Issuers> {
        self.issuers.load_full()
    }

    /// From the next request on.
    pub(crate) fn set_issuers(&self, issuers: Issuers) {
        self.issuers.store(Arc::new(issuers));
    }

    /// ServiceAccount tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Who asks, impersonation included. Without credentials that is `system:anonymous`, who may what RBAC says.
    pub fn identify(&self, head: &Parts, peer: &Peer) -> Result<Arc<UserInfo>, ApiError> {
        let user = match self.authenticate(head, peer)? {
            Some(user) => user,
            None if self.open_to_all(head.uri.path()) => Arc::new(UserInfo::anonymous()),
            None => return Err(ApiError::unauthorized()),
        };
        crate::audit::authenticated(&user);
        let acting = impersonate::impersonate(&user, &head.headers, |user, attributes| {
            self.authorize(user, attributes)
        })?;
        Ok(acting.map_or(user, Arc::new))
    }

    /// Whether anonymous requests are taken at the path: everywhere, unless the configuration says otherwise.
    fn open_to_all(&self, path: &str) -> bool {
        self.issuers().anonymous(path).unwrap_or(true)
    }

    /// Whether they may.
    pub fn authorize(&self, user: &UserInfo, attributes: &Attributes<'_>) -> Decision {
        if user.in_group(MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons = String::new();
        if let Some(node) = user.node_name() {
            match self.node.authorize(node, attributes) {
                Decision::Allow(why) => return Decision::Allow(why),
                Decision::Deny(why) => reasons = why,
            }
        }
        match self.index.allows(user, attributes) {
            Some(why) => Decision::Allow(why),
            None => Decision::Deny(reasons),
        }
    }

    /// Every rule that holds for `user` in `namespace`.
    pub fn rules(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        self.index.rules(user, namespace)
    }
}

/// 403 in upstream's words: `handlers/responsewriters/errors.go` `forbiddenMessage`.
pub fn forbidden(user: &UserInfo, attributes: &Attributes<'_>, why: &str) -> ApiError {
    let Attributes { verb, group, resource, subresource, namespace, name, .. } = *attributes;
    let tail = if why.is_empty() { String::new() } else { format!(": {why}") };
    if !attributes.is_resource {
        let why =
            format!("User {} cannot {verb} path {}{tail}", user.name.quoted(), attributes.path.quoted());
        return ApiError::forbidden("", "", "", &why);
    }
    let what = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
    let place = match namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {}", namespace.quoted()),
    };
    let why = format!(
        "User {} cannot {verb} resource {} in API group {} {place}{tail}",
        user.name.quoted(),
        what.quoted(),
        group.quoted()
    );
    ApiError::forbidden(group, resource, name, &why)
}

#[cfg(test)]
pub(crate) mod tests;
