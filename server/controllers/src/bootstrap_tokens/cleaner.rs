//! `token-cleaner-controller` (upstream's `tokencleaner.go`): deletes a token at the moment at which it ends.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Preconditions};
use sampan_reconcile::{Controller, Error, Informer, Key, Sources};

use super::{End, is_token, meanwhile_is_fine};
use crate::context::Context;

/// What is to be done with a Secret.
#[derive(Debug, PartialEq)]
enum Step {
    /// Nothing before it changes.
    Nothing,
    /// Nothing for so long.
    Wait(Duration),
    /// It goes.
    Delete,
}

fn plan(secret: &Secret, now: Timestamp) -> Step {
    if !is_token(secret) || secret.metadata.deletion_timestamp.is_some() {
        return Step::Nothing;
    }
    let end = End::of(secret, now);
    match end.remaining(now) {
        Some(left) => Step::Wait(left),
        None if end == End::Past => Step::Delete,
        None => Step::Nothing,
    }
}

/// The controller.
pub(crate) struct TokenCleaner {
    context: Context,
    tokens: Informer<Secret>,
}

impl TokenCleaner {
    /// `tokens`: those of [`super::tokens`].
    pub fn new(context: &Context, tokens: Informer<Secret>) -> Self {
        Self { context: context.clone(), tokens }
    }

    async fn delete(&self, key: &Key, secret: &Secret) -> Result<(), Error> {
        tracing::info!(secret = %key, "deleting an expired bootstrap token");
        let preconditions = Preconditions { uid: secret.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let api = self.context.namespaced::<Secret>(key.namespace());
        meanwhile_is_fine(api.delete(&key.name, &params).await.map(drop))
    }
}

impl Controller for TokenCleaner {
    type Key = Key;

    fn name(&self) -> &'static str {
        "token-cleaner-controller"
    }

    fn queue(&self) -> &'static str {
        "token_cleaner"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.tokens, |delta| {
            delta.new.iter().filter(|secret| is_token(secret)).map(|_| delta.key.clone()).collect()
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(secret) = self.tokens.get(key) else { return Ok(None) };
        match plan(&secret, sampan_reconcile::now()) {
            Step::Nothing => Ok(None),
            Step::Wait(left) => Ok(Some(left)),
            Step::Delete => self.delete(key, &secret).await.map(|()| None),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::bootstrap_tokens::tests::secret;

    #[test]
    fn a_token_goes_when_it_has_ended() {
        let now = "2026-06-01T10:00:00Z".parse().unwrap();
        let cases = [
            ("", Step::Nothing),
            ("2026-06-01T09:00:00Z", Step::Delete),
            ("2026-06-01T10:00:00Z", Step::Delete),
            ("2026-06-01T11:00:00Z", Step::Wait(Duration::from_secs(3600))),
            ("soon", Step::Delete),
        ];
        for (expiration, expected) in cases {
            // any name: upstream asks for the type alone
            assert_eq!(plan(&secret("any", &[("expiration", expiration)]), now), expected, "{expiration}");
        }
    }

    #[test]
    fn other_secrets_and_those_that_go_already_are_left_alone() {
        let now = "2026-06-01T10:00:00Z".parse().unwrap();
        let ended = secret("bootstrap-token-abcdef", &[("expiration", "2026-01-01T00:00:00Z")]);
        let (mut opaque, mut elsewhere, mut going) = (ended.clone(), ended.clone(), ended);
        opaque.type_ = Some("Opaque".to_owned());
        elsewhere.metadata.namespace = Some("default".to_owned());
        going.metadata.deletion_timestamp = Some(Time(now));
        for secret in [opaque, elsewhere, going] {
            assert_eq!(plan(&secret, now), Step::Nothing, "{secret:?}");
        }
    }
}
