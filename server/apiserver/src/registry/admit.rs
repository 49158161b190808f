//! What admission plugins see of a write.

use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use sampan_api::kinds::Kind;
use sampan_api::status::ApiError;
use sampan_store::Store;
use serde_json::{Map, Value};

use super::Notes;
use crate::UserInfo;
use crate::crd::convert::Converter;

/// Upstream's `admission.Operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object (or a create-only subresource such as binding and eviction).
    Create,
    /// A changed object.
    Update,
    /// A deletion.
    Delete,
    /// exec, attach, portforward, proxy.
    Connect,
}

impl Operation {
    /// As `AdmissionRequest.operation` says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// One write on its way: upstream's `admission.Attributes`.
pub struct Review<'a> {
    /// What is done.
    pub operation: Operation,
    /// To which kind.
    pub kind: &'static Kind,
    /// Subresource, empty for the object itself.
    pub subresource: &'a str,
    /// Namespace, empty for cluster scope.
    pub namespace: &'a str,
    /// Name; empty while generateName has not been resolved.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a UserInfo,
    /// The object before; of update and delete.
    pub old: Option<&'a Value>,
    /// Whether nothing will be written.
    pub dry_run: bool,
    /// The fields of the request's options that its author gave: `fieldManager`, `propagationPolicy` …
    pub said: &'a Map<String, Value>,
    /// To look other objects up.
    pub store: &'a Store,
    /// To see custom resources in another version.
    pub(crate) converter: &'a Arc<Converter>,
    /// Texts for `Warning` headers.
    pub warnings: &'a Mutex<Vec<String>>,
    /// What plugins keep of it.
    pub notes: Notes,
}

impl Review<'_> {
    /// Adds a text for a `Warning` header.
    pub fn warn(&self, text: impl Into<String>) {
        self.warnings.lock().push(text.into());
    }
}

/// Upstream's `admission.MutationInterface` and `ValidationInterface`.
pub trait Plugin: Send + Sync {
    /// May change `object` (null on delete, its options on connect), or refuse.
    fn admit(&self, review: &Review<'_>, object: &mut Value) -> Result<(), ApiError> {
        let _ = (review, object);
        Ok(())
    }
    /// May refuse.
    fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        let _ = (review, object);
        Ok(())
    }
}

/// A plugin that waits: for an answer from elsewhere, or for a write of its own.
pub trait WaitingPlugin: Send + Sync {
    /// May change `object` (null on delete, its options on connect), or refuse.
    fn admit<'a>(
        &'a self,
        review: &'a Review<'a>,
        object: &'a mut Value,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        let _ = (review, object);
        Box::pin(std::future::ready(Ok(())))
    }
    /// May refuse.
    fn validate<'a>(
        &'a self,
        review: &'a Review<'a>,
        object: &'a Value,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        let _ = (review, object);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// One of the chain.
#[derive(Clone)]
pub enum Admission {
    /// Decides from what is in memory.
    AtOnce(Arc<dyn Plugin>),
    /// Waits.
    Waiting(Arc<dyn WaitingPlugin>),
}

impl<P: Plugin + 'static> From<P> for Admission {
    fn from(plugin: P) -> Self {
        Self::AtOnce(Arc::new(plugin))
    }
}

impl Admission {
    /// See [`Plugin::admit`].
    pub async fn admit(&self, review: &Review<'_>, object: &mut Value) -> Result<(), ApiError> {
        match self {
            Self::AtOnce(plugin) => plugin.admit(review, object),
            Self::Waiting(plugin) => plugin.admit(review, object).await,
        }
    }

    /// See [`Plugin::validate`].
    pub async fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        match self {
            Self::AtOnce(plugin) => plugin.validate(review, object),
            Self::Waiting(plugin) => plugin.validate(review, object).await,
        }
    }
}
