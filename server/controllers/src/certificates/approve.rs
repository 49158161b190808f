//! Approves kubelets' client certificates: `certificatesigningrequest-approving-controller`.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::PostParams;
use sampan_reconcile::{Controller, Error, Informer, Key, Sources};

use super::{Certificates, Requested, add_condition, conditions, is_issued, rules};
use crate::context::Context;

/// Whether nobody has decided yet on a request of this signer.
fn waits(request: &CertificateSigningRequest) -> bool {
    let decided =
        conditions(request).any(|condition| matches!(condition.type_.as_str(), "Approved" | "Denied"));
    request.spec.signer_name == rules::KUBELET_CLIENT && !decided && !is_issued(request)
}

/// The rights either of which is enough, and what is said then: a node that asks for itself needs less.
fn recognized(
    request: &CertificateSigningRequest,
    requested: &Requested,
) -> Vec<(&'static str, &'static str)> {
    let usages = request.spec.usages.clone().unwrap_or_default();
    if rules::kubelet_client(requested, &usages).is_err() {
        return Vec::new();
    }
    let own = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");
    let any = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");
    let of_itself = request.spec.username.as_deref() == Some(requested.common_name.as_str());
    if of_itself { vec![own, any] } else { vec![any] }
}

/// The controller.
pub(crate) struct Approver {
    context: Context,
    requests: Informer<CertificateSigningRequest>,
    certificates: Arc<dyn Certificates>,
}

impl Approver {
    pub fn new(context: &Context, certificates: Arc<dyn Certificates>) -> Self {
        Self { context: context.clone(), requests: context.informers.of(), certificates }
    }

    async fn may(&self, request: &CertificateSigningRequest, right: &str) -> Result<bool, Error> {
        let spec = &request.spec;
        let attributes = ResourceAttributes {
            group: Some("certificates.k8s.io".into()),
            version: Some("*".into()),
            resource: Some("certificatesigningrequests".into()),
            subresource: Some(right.to_owned()),
            verb: Some("create".into()),
            ..Default::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(attributes),
                ..Default::default()
            },
            ..Default::default()
        };
        let api = self.context.cluster::<SubjectAccessReview>();
        let answer = api.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn approve(&self, request: &CertificateSigningRequest, message: &str) -> Result<(), Error> {
        let mut approved = request.clone();
        add_condition(&mut approved, "Approved", "AutoApproved", message);
        let name = approved.metadata.name.clone().unwrap_or_default();
        let api = self.context.cluster::<CertificateSigningRequest>();
        api.replace_subresource("approval", &name, &PostParams::default(), &approved).await?;
        Ok(())
    }
}

impl Controller for Approver {
    type Key = Key;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-approving-controller"
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
        let Ok(requested) = self.certificates.requested(&request.spec.request.0) else { return Ok(None) };
        for (right, message) in recognized(&request, &requested) {
            if self.may(&request, right).await? {
                return self.approve(&request, message).await.map(|()| None);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_that_asks_for_itself_needs_less() {
        let request = |username: &str, usages: &[&str]| -> CertificateSigningRequest {
            serde_json::from_value(json!({"metadata": {}, "spec": {
                "request": "", "signerName": rules::KUBELET_CLIENT, "username": username, "usages": usages}}))
            .unwrap()
        };
        let requested = Requested {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            ..Requested::default()
        };
        let usages = ["digital signature", "client auth"];
        let rights = |username: &str, usages: &[&str]| -> Vec<&str> {
            recognized(&request(username, usages), &requested).into_iter().map(|(right, _)| right).collect()
        };
        assert_eq!(rights("system:node:a", &usages), ["selfnodeclient", "nodeclient"]);
        assert_eq!(rights("system:bootstrap:x", &usages), ["nodeclient"]);
        assert!(rights("system:node:a", &["server auth"]).is_empty());
        assert!(waits(&request("x", &usages)));
    }
}
