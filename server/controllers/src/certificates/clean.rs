//! Deletes requests that nobody looks at any more: `certificatesigningrequest-cleaner-controller`.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use sampan_reconcile::{Controller, Error, Informer, Key, Sources};

use super::{Certificates, certificate, condition, conditions, is_issued};
use crate::context::Context;
use crate::pod_control::delete_params;

const PENDING: SignedDuration = SignedDuration::from_hours(24);
const DECIDED: SignedDuration = SignedDuration::from_hours(1);

/// When a request goes: a day after it came if nobody decided, an hour after it was answered, or with its certificate.
fn deadline(request: &CertificateSigningRequest, certificate_ends: Option<Timestamp>) -> Option<Timestamp> {
    if conditions(request).next().is_none() {
        let created = request.metadata.creation_timestamp.as_ref()?.0;
        return created.checked_add(PENDING).ok();
    }
    let after = |kind: &str| {
        let updated = condition(request, kind)?.last_update_time.as_ref()?.0;
        updated.checked_add(DECIDED).ok()
    };
    let issued = is_issued(request).then(|| after("Approved")).flatten();
    let expired = certificate_ends.filter(|_| condition(request, "Approved").is_some());
    [after("Denied"), after("Failed"), issued, expired].into_iter().flatten().min()
}

/// The controller.
pub(crate) struct Cleaner {
    context: Context,
    requests: Informer<CertificateSigningRequest>,
    certificates: Arc<dyn Certificates>,
}

impl Cleaner {
    pub fn new(context: &Context, certificates: Arc<dyn Certificates>) -> Self {
        Self { context: context.clone(), requests: context.informers.of(), certificates }
    }
}

impl Controller for Cleaner {
    type Key = Key;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-cleaner-controller"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.requests, |delta| delta.new.iter().map(|_| delta.key.clone()).collect());
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(request) = self.requests.get(key) else { return Ok(None) };
        let ends = certificate(&request).and_then(|pem| self.certificates.end_of(pem));
        let Some(deadline) = deadline(&request, ends) else { return Ok(None) };
        let left = deadline.duration_since(sampan_reconcile::now());
        if left.is_positive() {
            return Ok(Some(left.unsigned_abs()));
        }
        let api = self.context.cluster::<CertificateSigningRequest>();
        match api.delete(&key.name, &delete_params(&request.metadata)).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
            result => result.map(|_| None).map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn deadlines() {
        let request = |status: Value| -> CertificateSigningRequest {
            serde_json::from_value(json!({
                "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"request": "", "signerName": ""},
                "status": status})).unwrap()
        };
        let is =
            |kind: &str| json!({"type": kind, "status": "True", "lastUpdateTime": "2026-01-01T05:00:00Z"});
        for (status, want) in [
            (json!({}), Some("2026-01-02T00:00:00Z")),
            (json!({"conditions": [is("Denied")]}), Some("2026-01-01T06:00:00Z")),
            (json!({"conditions": [is("Approved")]}), None),
            (json!({"conditions": [is("Approved"), is("Failed")]}), Some("2026-01-01T06:00:00Z")),
            (json!({"conditions": [is("Approved")], "certificate": "eA=="}), Some("2026-01-01T06:00:00Z")),
        ] {
            let got = deadline(&request(status.clone()), None);
            assert_eq!(got.map(|at| at.to_string()).as_deref(), want, "{status}");
        }
        let issued = request(json!({"conditions": [is("Approved")], "certificate": "eA=="}));
        let ends: Timestamp = "2026-01-01T05:10:00Z".parse().unwrap();
        assert_eq!(deadline(&issued, Some(ends)), Some(ends));
    }
}
