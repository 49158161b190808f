//! Certificate requests: what their authors and their approvers and signers may write.
//!
//! `CertificateApproval`, `CertificateSigning`, `ClusterTrustBundleAttest` and `CertificateSubjectRestriction` of
//! `plugin/pkg/admission/certificates`; what upstream's registry does with requests is in [`requests`].

mod bundles;
mod requests;

use std::sync::Arc;

use base64::Engine;
use sampan_api::go::Quote as _;
use sampan_api::status::ApiError;
use serde_json::Value;

use super::of;
use crate::UserInfo;
use crate::auth::{Attributes, Auth};
use crate::pki::request;
use crate::registry::{Operation, Plugin, Review};
use crate::value::{at, meta, strings, text};

pub(super) use bundles::ClusterTrustBundles;
pub(super) use requests::CertificateRequests;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";

fn of_request(review: &Review<'_>, subresource: &str) -> bool {
    review.kind.group == GROUP && review.kind.plural == REQUESTS && review.subresource == subresource
}

fn refused(review: &Review<'_>, object: &Value, why: &str) -> ApiError {
    let name = if review.name.is_empty() { meta(object, "name") } else { review.name };
    ApiError::forbidden(GROUP, review.kind.plural, name, why)
}

/// The bytes of `spec.request`.
pub(super) fn request_of(object: &Value) -> Vec<u8> {
    let text = text(object, &["spec", "request"]);
    base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
}

/// Whether the user may do `verb` for the signer, or for all of its domain (`IsAuthorizedForSignerName`).
fn may(auth: &Auth, user: &UserInfo, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    let every = format!("{domain}/*");
    [signer, &every].into_iter().any(|name| {
        let attributes = Attributes {
            verb,
            group: GROUP,
            version: "*",
            resource: "signers",
            name,
            is_resource: true,
            ..Attributes::default()
        };
        auth.authorize(user, &attributes).allowed()
    })
}

/// Approving needs the verb `approve` for the signer.
pub(super) struct CertificateApproval(pub(super) Arc<Auth>);

impl Plugin for CertificateApproval {
    fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        if review.operation != Operation::Update || !of_request(review, "approval") {
            return Ok(());
        }
        // the signer of the stored request, whatever this one says
        let signer = text(review.old.unwrap_or(object), &["spec", "signerName"]);
        if may(&self.0, review.user, "approve", signer) {
            return Ok(());
        }
        Err(refused(
            review,
            object,
            &format!("user not permitted to approve requests with signerName {}", signer.quoted()),
        ))
    }
}

/// Setting a certificate, or saying that there will be none, needs the verb `sign` for the signer.
pub(super) struct CertificateSigning(pub(super) Arc<Auth>);

impl Plugin for CertificateSigning {
    fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        if review.operation != Operation::Update || !of_request(review, "status") {
            return Ok(());
        }
        let old = review.old.unwrap_or(&Value::Null);
        let failed = |object: &Value| requests::condition(object, "Failed").cloned();
        if at(old, &["status", "certificate"]) == at(object, &["status", "certificate"])
            && failed(old) == failed(object)
        {
            return Ok(());
        }
        let signer = text(old, &["spec", "signerName"]);
        if may(&self.0, review.user, "sign", signer) {
            return Ok(());
        }
        Err(refused(
            review,
            object,
            &format!("user not permitted to sign requests with signerName {}", signer.quoted()),
        ))
    }
}

/// Trust bundles of a signer need the verb `attest` for it.
pub(super) struct ClusterTrustBundleAttest(pub(super) Arc<Auth>);

impl Plugin for ClusterTrustBundleAttest {
    fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !writes || !of(review, GROUP, "clustertrustbundles") {
            return Ok(());
        }
        let signer = text(object, &["spec", "signerName"]);
        let same = review.old.is_some_and(|old| at(old, &["spec"]) == at(object, &["spec"]));
        if signer.is_empty() || same || may(&self.0, review.user, "attest", signer) {
            return Ok(());
        }
        Err(refused(
            review,
            object,
            &format!("user not permitted to attest for signerName {}", signer.quoted()),
        ))
    }
}

/// Nobody gets into system:masters by a signed request.
pub(super) struct CertificateSubjectRestriction;

impl Plugin for CertificateSubjectRestriction {
    fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
        if review.operation != Operation::Create
            || !of_request(review, "")
            || text(object, &["spec", "signerName"]) != SIGNER
        {
            return Ok(());
        }
        let named = request::named(&request_of(object))
            .map_err(|why| refused(review, object, &format!("failed to parse CSR: {why}")))?;
        if named.organizations.iter().any(|group| group == "system:masters") {
            let why = format!("use of {SIGNER} signer with system:masters group is not allowed");
            return Err(refused(review, object, &why));
        }
        Ok(())
    }
}

/// The usages of a request.
fn usages(object: &Value) -> Vec<String> {
    strings(at(object, &["spec", "usages"]))
}

#[cfg(test)]
mod tests;
