//! ClusterTrustBundles: their names, and that they hold certificate authorities. `ValidateClusterTrustBundle` of
//! `pkg/apis/certificates/validation`.

use std::collections::BTreeMap;

use sampan_api::status::{ApiError, FieldError};
use sampan_api::validation::{FIELD_IS_IMMUTABLE, is_dns1123_subdomain};
use serde_json::Value;
use x509_parser::pem::Pem;

use super::{GROUP, requests::signer_errors};
use crate::admission::of;
use crate::registry::{Operation, Plugin, Review};
use crate::value::{meta, text};

const OMITTED: &str = "<value omitted>";
/// Upstream's `MaxTrustBundleSize`.
const LARGEST: usize = 1 << 20;

/// Upstream has this in the registry.
pub(in crate::admission) struct ClusterTrustBundles;

impl Plugin for ClusterTrustBundles {
    fn validate(&self, review: &Review<'_>, bundle: &Value) -> Result<(), ApiError> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !writes || !of(review, GROUP, "clustertrustbundles") {
            return Ok(());
        }
        let errors = errors(bundle, review.old);
        if errors.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid(GROUP, "ClusterTrustBundle", meta(bundle, "name"), errors))
    }
}

fn errors(bundle: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let (name, signer) = (meta(bundle, "name"), text(bundle, &["spec", "signerName"]));
    let pem = text(bundle, &["spec", "trustBundle"]);
    let mut errors: Vec<FieldError> = name_errors(name, signer)
        .into_iter()
        .map(|why| FieldError::invalid("metadata.name", name, why))
        .collect();
    if !signer.is_empty() {
        errors.extend(signer_errors(signer));
    }
    let said = old.is_some_and(|old| text(old, &["spec", "trustBundle"]) == pem);
    if !said {
        errors.extend(bundle_errors(pem));
    }
    if old.is_some_and(|old| text(old, &["spec", "signerName"]) != signer) {
        errors.push(FieldError::invalid("spec.signerName", signer, FIELD_IS_IMMUTABLE));
    }
    errors
}

fn name_errors(name: &str, signer: &str) -> Vec<String> {
    if signer.is_empty() {
        return match name.contains(':') {
            true => vec!["ClusterTrustBundle without signer name must not have \":\" in its name".into()],
            false => is_dns1123_subdomain(name),
        };
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => is_dns1123_subdomain(rest),
        None => {
            vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}")]
        }
    }
}

fn bundle_errors(pem: &str) -> Vec<FieldError> {
    let field = "spec.trustBundle";
    if pem.len() > LARGEST {
        return vec![FieldError::too_long(field, LARGEST)];
    }
    let mut places: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (index, block) in Pem::iter_from_buffer(pem.as_bytes()).filter_map(Result::ok).enumerate() {
        match block_error(&block) {
            Some(why) => wrong.push(format!("entry {index} {why}")),
            None => places.entry(block.contents).or_default().push(index),
        }
    }
    if wrong.is_empty() && places.is_empty() {
        wrong.push("at least one trust anchor must be provided".into());
    } else if wrong.is_empty() {
        let twice = places.into_values().filter(|indices| indices.len() > 1);
        wrong.extend(twice.map(|indices| {
            let indices: Vec<String> = indices.iter().map(usize::to_string).collect();
            format!("duplicate trust anchor (indices [{}])", indices.join(" "))
        }));
    }
    wrong.into_iter().map(|why| FieldError::invalid(field, OMITTED, why)).collect()
}

fn block_error(block: &Pem) -> Option<String> {
    if block.label != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.label));
    }
    match block.parse_x509() {
        Err(_) => Some("does not parse as X.509".into()),
        Ok(certificate) if !certificate.is_ca() => Some("does not have the CA bit set".into()),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use serde_json::json;

    use super::*;

    fn certificate(ca: bool) -> String {
        let mut params = CertificateParams::default();
        params.is_ca = if ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[track_caller]
    fn check(name: &str, signer: &str, pem: &str, want: &[&str]) {
        let bundle = json!({"metadata": {"name": name}, "spec": {"signerName": signer, "trustBundle": pem}});
        let got: Vec<String> = errors(&bundle, None).iter().map(ToString::to_string).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn names_follow_the_signer() {
        let ca = certificate(true);
        check("mine", "", &ca, &[]);
        check("a.b:c:mine", "a.b/c", &ca, &[]);
        check(
            "a.b:c:mine",
            "",
            &ca,
            &[
                "metadata.name: Invalid value: \"a.b:c:mine\": ClusterTrustBundle without signer name must not have \":\" in its name",
            ],
        );
        check(
            "mine",
            "a.b/c",
            &ca,
            &[
                "metadata.name: Invalid value: \"mine\": ClusterTrustBundle for signerName a.b/c must be named with prefix a.b:c:",
            ],
        );
    }

    #[test]
    fn bundles_hold_authorities() {
        let wrong = |why: &str| format!("spec.trustBundle: Invalid value: \"<value omitted>\": {why}");
        let (ca, leaf) = (certificate(true), certificate(false));
        check("mine", "", "", &[&wrong("at least one trust anchor must be provided")]);
        check("mine", "", &leaf, &[&wrong("entry 0 does not have the CA bit set")]);
        check("mine", "", &format!("{ca}{ca}"), &[&wrong("duplicate trust anchor (indices [0 1])")]);
        let key = "-----BEGIN PRIVATE KEY-----\neA==\n-----END PRIVATE KEY-----\n";
        check("mine", "", &format!("{ca}{key}"), &[&wrong("entry 1 has bad block type: PRIVATE KEY")]);
    }
}
