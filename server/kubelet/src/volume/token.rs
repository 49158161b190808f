//! Service account tokens for projected volumes: upstream's `pkg/kubelet/token/token_manager.go`.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;

use crate::context::Context;

struct Held {
    token: String,
    refresh_at: Timestamp,
    expires_at: Timestamp,
}

/// The tokens a pod holds, by audience and lifetime.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<(String, i64), Held>>);

impl Tokens {
    /// When the first of them has to be replaced.
    pub fn refresh_at(&self) -> Option<Timestamp> {
        self.0.lock().values().map(|held| held.refresh_at).min()
    }

    /// The token for a projection: the one held, or a new one if that is old. An old one that cannot be
    /// replaced is still good until it expires.
    pub async fn get(
        &self,
        context: &Context,
        pod: &Pod,
        projection: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let audience = projection.audience.clone().unwrap_or_default();
        let key = (audience, projection.expiration_seconds.unwrap_or(3600));
        let now = Timestamp::now();
        if let Some(held) = self.0.lock().get(&key).filter(|held| now < held.refresh_at) {
            return Ok(held.token.clone());
        }
        match request(context, pod, &key).await {
            Ok(held) => {
                let token = held.token.clone();
                self.0.lock().insert(key, held);
                Ok(token)
            }
            Err(error) => {
                let mut tokens = self.0.lock();
                let held = tokens.get_mut(&key).filter(|held| now < held.expires_at).ok_or(error)?;
                held.refresh_at = now + SignedDuration::from_secs(30);
                Ok(held.token.clone())
            }
        }
    }
}

async fn request(context: &Context, pod: &Pod, (audience, seconds): &(String, i64)) -> Result<Held, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).unwrap_or("default");
    let bound = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    };
    let spec = TokenRequestSpec {
        audiences: Some(audience.clone()).filter(|a| !a.is_empty()).map(|a| vec![a]),
        expiration_seconds: Some(*seconds),
        bound_object_ref: Some(bound),
    };
    let wish = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let api: Api<ServiceAccount> = Api::namespaced(context.client.clone(), namespace);
    let answer: TokenRequest = api
        .create_subresource("token", account, &PostParams::default(), &wish)
        .await
        .map_err(|e| format!("failed to fetch token: {e}"))?;
    let status = answer.status.ok_or("failed to fetch token: empty answer")?;
    let now = Timestamp::now();
    let expires_at = status.expiration_timestamp.ok_or("failed to fetch token: no expiry")?.0;
    let token = status.token.ok_or("failed to fetch token: no token")?;
    // at 80 % of its life, as upstream's requiresRefresh
    let life = expires_at.duration_since(now);
    let refresh_at = now + life * 4 / 5;
    Ok(Held { token, refresh_at, expires_at })
}
