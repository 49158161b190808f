//! Certificate requests: kubelets' own are approved, approved ones are signed, old ones go.
//!
//! Whom a request is for, and the CA that signs, are not this crate's: the binary gives a [`Certificates`].

mod approve;
mod clean;
mod rules;
mod sign;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(crate) use approve::Approver;
pub(crate) use clean::Cleaner;
pub(crate) use sign::Signer;

/// Whom a request is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requested {
    /// CN.
    pub common_name: String,
    /// O.
    pub organizations: Vec<String>,
    /// How many DNS names.
    pub names: usize,
    /// How many IP addresses.
    pub addresses: usize,
    /// How many mail addresses.
    pub emails: usize,
    /// How many URIs.
    pub uris: usize,
}

/// The cluster's certificate authority.
pub trait Certificates: Send + Sync {
    /// Whom a request (PEM) is for; an error if it is none.
    fn requested(&self, request: &[u8]) -> Result<Requested, String>;
    /// A certificate (PEM) for a request, for these usages and so many seconds.
    fn sign(&self, request: &[u8], usages: &[String], seconds: i64) -> Result<String, String>;
    /// When a certificate (PEM) ends.
    fn end_of(&self, certificate: &[u8]) -> Option<Timestamp>;
}

fn condition<'a>(
    request: &'a CertificateSigningRequest,
    kind: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    conditions(request).find(|condition| condition.type_ == kind)
}

fn conditions(
    request: &CertificateSigningRequest,
) -> impl Iterator<Item = &CertificateSigningRequestCondition> {
    request.status.iter().flat_map(|status| status.conditions.iter().flatten())
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    certificate(request).is_some()
}

fn certificate(request: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    Some(certificate.0.as_slice()).filter(|bytes| !bytes.is_empty())
}

/// Adds a condition that is true.
fn add_condition(request: &mut CertificateSigningRequest, kind: &str, reason: &str, message: &str) {
    let status = request.status.get_or_insert_default();
    status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(sampan_reconcile::now())),
        ..Default::default()
    });
}
