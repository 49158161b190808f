//! Mutating and validating webhooks. Ported from upstream's `plugin/webhook`.
//!
//! - [`hook`]: a configuration, parsed. [`answer`]: what a webhook may answer. [`call`]: asking one.
//!
//! The plugins here decide the order: mutating ones after each other, validating ones all at once.

mod answer;
mod call;
mod hook;
mod metrics;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join_all};
use sampan_api::go::Quote as _;
use sampan_api::kinds::Kind;
use sampan_api::status::ApiError;
use serde_json::Value;

use super::client::Caller;
use super::expressions::{Judge, Scene};
use super::matching::{is_exempt, name};
use super::request;
use super::shelf::Shelf;
use crate::auth::Auth;
use crate::pipeline::deadline;
use crate::registry::{Review, WaitingPlugin};
use answer::Refusal;
use hook::Hook;

/// The name under which a review keeps what was asked.
const MUTATING: &str = "MutatingAdmissionWebhook";

/// Webhooks of one sort.
struct Hooks {
    auth: Arc<Auth>,
    caller: Arc<Caller>,
    shelf: Shelf<Vec<Hook>>,
}

/// The plugin MutatingAdmissionWebhook.
pub(super) struct Mutating(Hooks);

/// The plugin ValidatingAdmissionWebhook.
pub(super) struct Validating(Hooks);

impl Mutating {
    pub(super) fn new(auth: Arc<Auth>, caller: Arc<Caller>) -> Self {
        let shelf = Shelf::new("mutatingwebhookconfigurations.admissionregistration.k8s.io", hook::parse);
        Self(Hooks { auth, caller, shelf })
    }
}

impl Validating {
    pub(super) fn new(auth: Arc<Auth>, caller: Arc<Caller>) -> Self {
        let shelf = Shelf::new("validatingwebhookconfigurations.admissionregistration.k8s.io", hook::parse);
        Self(Hooks { auth, caller, shelf })
    }
}

impl Hooks {
    /// The kind in whose version `hook` is to be asked, if it is.
    async fn wants(
        &self,
        hook: &Hook,
        review: &Review<'_>,
        object: &Value,
    ) -> Result<Option<&'static Kind>, ApiError> {
        let matched = hook.matcher.matches(review, object).map_err(ApiError::internal)?;
        let Some(kind) = matched else { return Ok(None) };
        if hook.conditions.is_empty() {
            return Ok(Some(kind));
        }
        let described = request::describe(review, kind, object);
        let (shown, old) = (
            request::shown(review, object, kind).await.map_err(ApiError::internal)?,
            request::shown(review, review.old.unwrap_or(&Value::Null), kind)
                .await
                .map_err(ApiError::internal)?,
        );
        let name = name(review, object);
        let judge = Judge { auth: &self.auth, review, kind, name };
        let scene = Scene {
            object: &shown,
            old: &old,
            request: &described,
            namespace: &Value::Null,
            params: None,
            authorizer: Some(&judge),
            variables: None,
        };
        let hold = hook.conditions.hold(&scene, hook.fail);
        let hold =
            hold.map_err(|why| ApiError::forbidden(review.kind.group, review.kind.plural, name, &why))?;
        Ok(hold.then_some(kind))
    }

    /// Asks, and counts what becomes of it.
    async fn ask(
        &self,
        hook: &Hook,
        review: &Review<'_>,
        kind: &'static Kind,
        object: &Value,
        mutating: bool,
    ) -> Result<Option<Value>, Refusal> {
        let began = Instant::now();
        let outcome = self.caller.ask(hook, review, kind, object, mutating).await;
        metrics::asked(hook, review, mutating, began.elapsed(), outcome.as_ref().err());
        outcome
    }

    async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), ApiError> {
        let all = self.shelf.now(review.store);
        if all.is_empty() || is_exempt(review.kind) {
            return Ok(());
        }
        review.notes.resume(MUTATING, object);
        let round = usize::from(review.notes.is_second_round());
        for (index, hook) in all.iter().flat_map(|hooks| hooks.iter()).enumerate() {
            let Some(kind) = self.wants(hook, review, object).await? else { continue };
            if !review.notes.is_due(MUTATING, &hook.uid) {
                continue;
            }
            let outcome = self.ask(hook, review, kind, object, true).await;
            let changed = matches!(&outcome, Ok(Some(_)));
            review.notes.asked(MUTATING, &hook.uid, hook.repeatable, changed);
            hook.note_mutation(review, round, index, changed);
            match outcome {
                Ok(Some(patched)) => {
                    review.notes.changed(object, &patched);
                    *object = patched;
                }
                Ok(None) => {}
                Err(refusal) => self.failed(hook, review, refusal, Some((round, index)))?,
            }
        }
        review.notes.leave(MUTATING, object);
        Ok(())
    }

    async fn check(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        let all = self.shelf.now(review.store);
        if all.is_empty() || is_exempt(review.kind) {
            return Ok(());
        }
        let mut wanted = Vec::new();
        for hook in all.iter().flat_map(|hooks| hooks.iter()) {
            if let Some(kind) = self.wants(hook, review, object).await? {
                wanted.push((hook, kind));
            }
        }
        let asking = wanted.iter().map(|(hook, kind)| self.ask(hook, review, kind, object, false));
        for (outcome, (hook, _)) in join_all(asking).await.into_iter().zip(&wanted) {
            if let Err(refusal) = outcome {
                self.failed(hook, review, refusal, None)?;
            }
        }
        Ok(())
    }

    /// A refusal holds; a failure holds unless the webhook is to be ignored when it fails.
    fn failed(
        &self,
        hook: &Hook,
        review: &Review<'_>,
        refusal: Refusal,
        place: Option<(usize, usize)>,
    ) -> Result<(), ApiError> {
        match refusal {
            Refusal::Denied(error) | Refusal::Unable(error) => Err(*error),
            Refusal::Failed { why, .. } if hook.fail => {
                Err(ApiError::internal(format!("failed calling webhook {}: {why}", hook.name.quoted())))
            }
            Refusal::Failed { why, .. } => {
                tracing::warn!(webhook = hook.name, %why, "failed calling webhook, failing open");
                hook.note_failure(review, place);
                // with the request's time everybody else's is over, too
                match deadline::left() {
                    Some(Duration::ZERO) => Err(deadline::timed_out("")),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl WaitingPlugin for Mutating {
    fn admit<'a>(
        &'a self,
        review: &'a Review<'a>,
        object: &'a mut Value,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(self.0.mutate(review, object))
    }
}

impl WaitingPlugin for Validating {
    fn validate<'a>(
        &'a self,
        review: &'a Review<'a>,
        object: &'a Value,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(self.0.check(review, object))
    }
}
