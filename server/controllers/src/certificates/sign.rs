//! Signs approved requests of upstream's four signers: `certificatesigningrequest-signing-controller`.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::PostParams;
use sampan_reconcile::{Controller, Error, Informer, Key, Sources};

use super::{Certificates, add_condition, condition, is_issued, rules};
use crate::context::Context;

/// Upstream's `--cluster-signing-duration`.
const LONGEST_SECONDS: i64 = 365 * 24 * 3600;
const SHORTEST_SECONDS: i64 = 600;

/// Whether the request waits for a signature.
fn waits(request: &CertificateSigningRequest) -> bool {
    condition(request, "Approved").is_some() && condition(request, "Failed").is_none() && !is_issued(request)
}

fn lifetime(asked: Option<i32>) -> i64 {
    asked.map_or(LONGEST_SECONDS, i64::from).clamp(SHORTEST_SECONDS, LONGEST_SECONDS)
}

/// The controller.
pub(crate) struct Signer {
    context: Context,
    requests: Informer<CertificateSigningRequest>,
    certificates: Arc<dyn Certificates>,
}

impl Signer {
    pub fn new(context: &Context, certificates: Arc<dyn Certificates>) -> Self {
        Self { context: context.clone(), requests: context.informers.of(), certificates }
    }

    /// The request with its certificate, or with why there is none; `None` if it is not ours to sign.
    fn answered(
        &self,
        request: &CertificateSigningRequest,
    ) -> Result<Option<CertificateSigningRequest>, String> {
        let spec = &request.spec;
        let usages = spec.usages.clone().unwrap_or_default();
        let requested = self.certificates.requested(&spec.request.0)?;
        let Some(verdict) = rules::verdict(&spec.signer_name, &requested, &usages) else { return Ok(None) };
        let mut answered = request.clone();
        match verdict {
            Err(why) => add_condition(&mut answered, "Failed", "SignerValidationFailure", &why),
            Ok(()) => {
                let seconds = lifetime(spec.expiration_seconds);
                let pem = self.certificates.sign(&spec.request.0, &usages, seconds)?;
                answered.status.get_or_insert_default().certificate = Some(ByteString(pem.into_bytes()));
            }
        }
        Ok(Some(answered))
    }
}

impl Controller for Signer {
    type Key = Key;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-signing-controller"
    }

    fn queue(&self) -> &'static str {
        "certificate"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.requests, |delta| match &delta.new {
            Some(request) if waits(request) => vec![delta.key.clone()],
            _ => Vec::new(),
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(request) = self.requests.get(key).filter(|request| waits(request)) else { return Ok(None) };
        let answered =
            self.answered(&request).map_err(|why| Error::Other(format!("cannot sign {key}: {why}")))?;
        if let Some(answered) = answered {
            let api = self.context.cluster::<CertificateSigningRequest>();
            api.replace_status(&key.name, &PostParams::default(), &answered).await?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn approved_requests_wait_until_they_are_answered() {
        let request = |status: Value| -> CertificateSigningRequest {
            serde_json::from_value(
                json!({"metadata": {}, "spec": {"request": "", "signerName": ""}, "status": status}),
            )
            .unwrap()
        };
        let is = |kind: &str| json!({"type": kind, "status": "True"});
        for (status, want) in [
            (json!({}), false),
            (json!({"conditions": [is("Denied")]}), false),
            (json!({"conditions": [is("Approved")]}), true),
            (json!({"conditions": [is("Approved"), is("Failed")]}), false),
            (json!({"conditions": [is("Approved")], "certificate": "eA=="}), false),
        ] {
            assert_eq!(waits(&request(status.clone())), want, "{status}");
        }
    }

    #[test]
    fn lifetimes_are_bounded() {
        for (asked, want) in
            [(None, 31_536_000), (Some(60), 600), (Some(3600), 3600), (Some(i32::MAX), 31_536_000)]
        {
            assert_eq!(lifetime(asked), want);
        }
    }
}
