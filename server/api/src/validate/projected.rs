//! Projected volumes: files from several sources in one directory, none in the place of another.

use serde_json::Value;

use super::access::*;
use super::volume_sources::{downward_file, key_paths, own_path};
use crate::go::Quote as _;
use crate::status::FieldError;
use crate::validation::{is_dns1123_label, is_dns1123_subdomain, is_qualified_name, validate_label_selector};

const KINDS: &[&str] =
    &["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
const KEY_TYPES: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
const MOST_CERTIFICATE_SECONDS: i64 = 91 * 86400;
const MOST_KUBERNETES_SECONDS: i64 = 86400;
const MOST_DOMAIN_BYTES: usize = 253;
/// A label, a subdomain and the dot between them.
const MOST_PATH_BYTES: usize = 253 + 63 + 1;

/// The paths that are taken, and where to say so.
struct Paths<'a> {
    taken: Vec<&'a str>,
    at: &'a str,
}

impl<'a> Paths<'a> {
    /// Takes `path`; if another has it, `shown` is wrong.
    fn take(&mut self, path: &'a str, shown: &str, errors: &mut Errors) {
        if self.taken.contains(&path) {
            errors.push(FieldError::invalid(self.at, shown, "conflicting duplicate paths"));
        } else {
            self.taken.push(path);
        }
    }
}

/// `validateProjectionSources`.
pub(super) fn projected(source: &Value, at: &str, errors: &mut Errors) {
    let mut paths = Paths { taken: Vec::new(), at };
    for (here, projection) in each(source, "sources", at) {
        for kind in KINDS.iter().copied().filter(|kind| has(projection, kind)) {
            let (value, here) = (get(projection, kind), join(&here, kind));
            match kind {
                "secret" | "configMap" => {
                    required_text(value, "name", &here, any_text, errors);
                    key_paths(value, &here, errors);
                    for item in list(value, "items").iter().filter(|item| !text(item, "path").is_empty()) {
                        paths.take(text(item, "path"), text(value, "name"), errors);
                    }
                }
                "downwardAPI" => {
                    for file in list(value, "items") {
                        downward_file(file, &here, errors);
                        let path = text(file, "path");
                        if !path.is_empty() {
                            paths.take(path, path, errors);
                        }
                    }
                }
                "serviceAccountToken" => token(value, &here, at, errors),
                "clusterTrustBundle" => trust_bundle(value, &here, &mut paths, errors),
                _ => certificate(value, &here, &mut paths, errors),
            }
        }
        if KINDS.iter().filter(|kind| has(projection, kind)).count() > 1 {
            let why = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(here, why));
        }
    }
}

/// The path of a token is said to be the volume's, as upstream has it.
fn token(token: &Value, at: &str, volume_at: &str, errors: &mut Errors) {
    let seconds = int(token, "expirationSeconds").unwrap_or(0);
    let why = match seconds {
        ..600 => Some("may not specify a duration less than 10 minutes"),
        600..=0x1_0000_0000 => None,
        _ => Some("may not specify a duration larger than 2^32 seconds"),
    };
    let at = join(at, "expirationSeconds");
    errors.extend(why.map(|why| FieldError::invalid(at, seconds, why)));
    match text(token, "path") {
        "" => errors.push(FieldError::required(join(volume_at, "path"), "")),
        path => own_path(path, &join(volume_at, "path"), errors),
    }
}

fn trust_bundle<'a>(bundle: &'a Value, at: &str, paths: &mut Paths<'a>, errors: &mut Errors) {
    match (get(bundle, "name").as_str(), get(bundle, "signerName").as_str()) {
        (Some(_), Some(_)) => {
            let why = "only one of name and signerName may be used";
            errors.push(FieldError::invalid(at, bundle.clone(), why));
        }
        (Some(name), None) => {
            if name.is_empty() {
                errors.push(FieldError::required(join(at, "name"), "must be a valid object name"));
            }
            let why = bundle_name(name).into_iter();
            let why = why.map(|why| format!("not a valid clustertrustbundlename: {why}")).collect();
            invalid_each(errors, &join(at, "name"), name, why);
            if has(bundle, "labelSelector") {
                let shown = get(bundle, "labelSelector").clone();
                let why = "labelSelector must be unset if name is specified";
                errors.push(FieldError::invalid(join(at, "labelSelector"), shown, why));
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                errors.push(FieldError::required(join(at, "signerName"), "must be a valid signer name"));
            }
            signer_name(signer, &join(at, "signerName"), errors);
            if has(bundle, "labelSelector") {
                let selector = get(bundle, "labelSelector");
                errors.extend(validate_label_selector(selector, &join(at, "labelSelector")));
            }
        }
        (None, None) => {
            errors.push(FieldError::required(at, "either name or signerName must be specified"));
        }
    }
    let path = text(bundle, "path");
    if path.is_empty() {
        errors.push(FieldError::required(join(at, "path"), ""));
    }
    own_path(path, &join(at, "path"), errors);
    paths.take(path, path, errors);
}

/// `ValidateClusterTrustBundleName` of the signer that the name itself names: `example.com:signer:name`, or no colons.
fn bundle_name(name: &str) -> Vec<String> {
    match name.rsplit_once(':') {
        Some(("", _)) => {
            vec!["ClusterTrustBundle without signer name must not have \":\" in its name".to_owned()]
        }
        Some((_, rest)) => is_dns1123_subdomain(rest),
        None => is_dns1123_subdomain(name),
    }
}

fn certificate<'a>(source: &'a Value, at: &str, paths: &mut Paths<'a>, errors: &mut Errors) {
    let signer = text(source, "signerName");
    signer_name(signer, &join(at, "signerName"), errors);
    for (key, _) in entries(source, "userAnnotations") {
        let at = join(at, "userAnnotations");
        invalid_each(errors, &at, key, is_qualified_name(&key.to_lowercase()));
    }
    let key_type = text(source, "keyType");
    if !KEY_TYPES.contains(&key_type) {
        errors.push(FieldError::not_supported_as_listed(join(at, "keyType"), key_type, KEY_TYPES));
    }
    if let Some(seconds) = int(source, "maxExpirationSeconds") {
        let ours = signer
            .split('/')
            .next()
            .is_some_and(|domain| domain == "kubernetes.io" || domain.ends_with(".kubernetes.io"));
        let most = if ours { MOST_KUBERNETES_SECONDS } else { MOST_CERTIFICATE_SECONDS };
        let bound = match seconds {
            ..3600 => Some(">= 3600".to_owned()),
            _ if seconds > most => Some(format!("<= {most}")),
            _ => None,
        };
        let at = join(at, "maxExpirationSeconds");
        let why = bound.map(|bound| format!("if provided, maxExpirationSeconds must be {bound}"));
        errors.extend(why.map(|why| FieldError::invalid(at, seconds, why)));
    }
    let files = ["credentialBundlePath", "keyPath", "certificateChainPath"];
    let mut some = false;
    for (key, path) in files.map(|key| (key, text(source, key))) {
        if !path.is_empty() {
            some = true;
            own_path(path, &join(at, key), errors);
            paths.take(path, path, errors);
        }
    }
    if !some {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(at, why));
    }
}

/// `ValidateSignerName`: a domain and a path.
fn signer_name(name: &str, at: &str, errors: &mut Errors) {
    if name.is_empty() {
        return errors.push(FieldError::required(at, ""));
    }
    let mut wrong = |value: &str, why: String| errors.push(FieldError::invalid(at, value, why));
    let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return wrong(name, why.to_owned());
    };
    for (all, rule) in [(domain, is_dns1123_label as fn(&str) -> Vec<String>), (path, is_dns1123_subdomain)] {
        // one of them is enough to say
        let first = all.split('.').map(|label| (label, rule(label))).find(|(_, why)| !why.is_empty());
        for (label, why) in
            first.into_iter().flat_map(|(label, all)| all.into_iter().map(move |why| (label, why)))
        {
            wrong(all, format!("validating label {}: {why}", label.quoted()));
        }
    }
    if !domain.contains('.') {
        wrong(domain, "should be a domain with at least two segments separated by dots".to_owned());
    }
    for (part, most) in [(domain, MOST_DOMAIN_BYTES), (path, MOST_PATH_BYTES)] {
        if part.len() > most {
            errors.push(FieldError::too_long(at, most));
        }
    }
}
