//! Asking one webhook.

use std::time::Instant;

use bytes::Bytes;
use sampan_api::go::Quote as _;
use sampan_api::kinds::Kind;
use sampan_api::status::ApiError;
use serde_json::{Value, json};

use super::answer::{self, Refusal};
use super::hook::Hook;
use crate::dynamic::client::{Caller, LONGEST, Nothing};
use crate::dynamic::request::{describe, restored, shown};
use crate::pipeline::{deadline, latency};
use crate::registry::Review;

impl Caller {
    /// Asks; the object as the webhook would have it, if it changes it.
    pub(super) async fn ask(
        &self,
        hook: &Hook,
        review: &Review<'_>,
        kind: &'static Kind,
        object: &Value,
        mutating: bool,
    ) -> Result<Option<Value>, Refusal> {
        if review.dry_run && !hook.dry_run {
            let why = format!("admission webhook {} does not support dry run", hook.name.quoted());
            return Err(Refusal::unable(ApiError::bad_request(why)));
        }
        let version = hook.version.ok_or_else(|| {
            Refusal::failed(400, "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)")
        })?;
        let place = hook
            .place
            .as_ref()
            .map_err(|why| Refusal::failed(500, format!("could not get REST client: {why}")))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let unreadable = |why: String| Refusal::unable(ApiError::internal(why));
        let seen = shown(review, object, kind).await.map_err(unreadable)?;
        let old = shown(review, review.old.unwrap_or(&Value::Null), kind).await.map_err(unreadable)?;
        let body = self::review(version, &uid, review, kind, &seen, old);
        let began = Instant::now();
        let timeout = deadline::left().map_or(hook.timeout, |left| left.min(hook.timeout));
        let told = self.ask_for(review.store, place, body, timeout, LONGEST).await;
        latency::waited(mutating, began.elapsed());
        let told = told.map_err(|Nothing { why, code }| {
            Refusal::failed(code, format!("failed to call webhook: {why}"))
        })?;
        let answer = answer::verify(&told, version, &uid, mutating)
            .map_err(|why| Refusal::failed(503, format!("received invalid webhook response: {why}")))?;
        for (key, value) in &answer.annotations {
            review.notes.annotate(format!("{}/{key}", hook.name), value.as_str());
        }
        for warning in &answer.warnings {
            review.warn(warning.as_str());
        }
        if let Some(status) = &answer.denied {
            return Err(Refusal::denied(answer::denial(status, &hook.name)));
        }
        match &answer.patch {
            Some(patch) => {
                let changed = answer::patched(patch, &hook.name, &seen, kind)?;
                match changed {
                    Some(changed) => {
                        let restored = restored(review, changed, object).await;
                        restored.map(Some).map_err(unreadable)
                    }
                    None => Ok(None),
                }
            }
            None => Ok(None),
        }
    }
}

/// The body of an `AdmissionReview`.
fn review(
    version: &str,
    uid: &str,
    review: &Review<'_>,
    kind: &'static Kind,
    object: &Value,
    old: Value,
) -> Bytes {
    let mut request = json!({"uid": uid});
    if let (Some(all), Value::Object(described)) = (request.as_object_mut(), describe(review, kind, object)) {
        all.extend(described);
        all.insert("object".into(), object.clone());
        all.insert("oldObject".into(), old);
    }
    let all = json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": request});
    all.to_string().into()
}
