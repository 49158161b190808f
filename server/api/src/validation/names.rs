//! Which name a kind's objects may have, and how `generateName` becomes a name.

use super::text::{is_dns1035_label, is_dns1123_label, is_dns1123_subdomain, is_path_segment};

/// The rule for a kind's names: upstream's `ValidateNameFunc` of each strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// `NameIsDNSSubdomain`: most kinds.
    Subdomain,
    /// `NameIsDNSLabel`: namespaces.
    Label,
    /// `NameIsDNS1035Label`: services.
    Label1035,
    /// `path.ValidatePathSegmentName`: RBAC, and whatever may hold colons.
    PathSegment,
    /// An IP address: `networking.k8s.io` IPAddress.
    Address,
}

/// The rule for objects of `group` and `kind`.
pub fn rule_for(group: &str, kind: &str) -> NameRule {
    match (group, kind) {
        ("", "Namespace") => NameRule::Label,
        // upstream relaxed it behind RelaxedServiceNameValidation, which is on from v1.35
        ("", "Service") => NameRule::Label,
        ("apps", "StatefulSet") => NameRule::Label,
        ("rbac.authorization.k8s.io", _) => NameRule::PathSegment,
        ("certificates.k8s.io", "CertificateSigningRequest") => NameRule::PathSegment,
        ("", "ComponentStatus") | ("", "Event") => NameRule::PathSegment,
        ("autoscaling", "HorizontalPodAutoscaler") => NameRule::Subdomain,
        ("flowcontrol.apiserver.k8s.io", _) => NameRule::Subdomain,
        ("certificates.k8s.io", "ClusterTrustBundle") => NameRule::PathSegment,
        ("networking.k8s.io", "IPAddress") => NameRule::Address,
        _ => NameRule::Subdomain,
    }
}

/// What is wrong with `name`; a `prefix` (generateName) may end in a dash.
pub fn name_errors(rule: NameRule, name: &str, prefix: bool) -> Vec<String> {
    let masked;
    let mut checked = name;
    if prefix && name.ends_with('-') && name.len() > 1 {
        // upstream's maskTrailingDash: what follows is alphanumeric
        masked = format!("{}a", &name[..name.len() - 1]);
        checked = &masked;
    }
    match rule {
        NameRule::Subdomain => is_dns1123_subdomain(checked),
        NameRule::Label => is_dns1123_label(checked),
        NameRule::Label1035 => is_dns1035_label(checked),
        NameRule::PathSegment => is_path_segment(name, prefix),
        NameRule::Address => super::address::is_canonical_ip(name),
    }
}

/// Upstream's `SimpleNameGenerator`: `base`, cut to 58 characters, and five letters chosen by `random`.
pub fn generate_name(base: &str, random: [u8; 5]) -> String {
    // `utilrand.String`: no vowels, no 0, 1 and 3, so that no words appear
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut end = base.len().min(58);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    name.extend(random.iter().map(|&r| ALPHABET[usize::from(r) % ALPHABET.len()] as char));
    name
}
