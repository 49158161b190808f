//! Cluster IPs and IP families as the author of a Service leaves them unsaid: `normalizeClusterIPs` of
//! `pkg/registry/core/service/storage` and `initIPFamilyFields` of its `alloc.go`.
//!
//! The cluster has one family. Services that ask for two are refused as upstream refuses them on such a cluster.

use std::net::Ipv4Addr;

use sampan_api::status::FieldError;
use sampan_api::validate;
use serde_json::{Value, json};

use super::{is_headless, kind};
use crate::value::{at, items, remove, set, strings, text};

const FAMILY: &str = "IPv4";
const POLICY: &[&str] = &["spec", "ipFamilyPolicy"];

fn cluster_ip(service: &Value) -> &str {
    text(service, &["spec", "clusterIP"])
}

fn cluster_ips(service: &Value) -> Vec<String> {
    strings(at(service, &["spec", "clusterIPs"]))
}

fn families(service: &Value) -> Vec<String> {
    strings(at(service, &["spec", "ipFamilies"]))
}

/// Keeps `clusterIP` and `clusterIPs` in step for authors that know the first only.
pub fn normalize(old: Option<&Value>, new: &mut Value) {
    let only = json!([cluster_ip(new)]);
    let Some(old) = old else {
        if !cluster_ip(new).is_empty() && cluster_ips(new).is_empty() {
            set(new, &["spec", "clusterIPs"], only);
        }
        return;
    };
    if cluster_ip(old) == cluster_ip(new) {
        if cluster_ips(new).is_empty() && !cluster_ips(old).is_empty() {
            set(new, &["spec", "clusterIPs"], cluster_ips(old));
        }
    } else if cluster_ips(old) == cluster_ips(new) {
        match cluster_ip(new).is_empty() {
            true => drop(remove(new, &["spec", "clusterIPs"])),
            false => set(new, &["spec", "clusterIPs"], only),
        }
    }
}

/// Says which families the Service has, or what is wrong with those that it wants.
pub fn initialize(old: Option<&Value>, new: &mut Value) -> Vec<FieldError> {
    if kind(new) == "ExternalName" || old.is_some_and(|old| same_preference(old, new)) {
        return Vec::new();
    }
    let selectorless = at(new, &["spec", "selector"]).as_object().is_none_or(serde_json::Map::is_empty);
    let anything = is_headless(new) && selectorless;
    if at(new, POLICY).is_null() {
        let policy = match old.map(|old| text(old, POLICY)) {
            Some(policy) if !policy.is_empty() => policy,
            _ if anything => "RequireDualStack",
            _ => "SingleStack",
        };
        let policy = policy.to_owned();
        set(new, POLICY, policy);
    }
    let mut errors = Vec::new();
    validate::service_cluster_ips(
        at(new, &["spec"]),
        old.map_or(&Value::Null, |old| at(old, &["spec"])),
        &mut errors,
    );
    if !errors.is_empty() {
        return errors;
    }
    errors = changes(old, new);
    errors.extend(infer(new));
    if !errors.is_empty() {
        return errors;
    }
    let single = text(new, POLICY) == "SingleStack";
    if anything {
        let mut wanted = families(new);
        if wanted.is_empty() {
            wanted.push(FAMILY.to_owned());
        }
        if wanted.len() < 2 && !single {
            wanted.push(if wanted[0] == "IPv4" { "IPv6" } else { "IPv4" }.to_owned());
        }
        set(new, &["spec", "ipFamilies"], wanted);
        return errors;
    }
    if text(new, POLICY) == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", text(new, POLICY), why));
    }
    for (index, family) in families(new).iter().enumerate().filter(|(_, family)| *family != FAMILY) {
        let why = "not configured on this cluster";
        errors.push(FieldError::invalid(format!("spec.ipFamilies[{index}]"), family.as_str(), why));
    }
    if errors.is_empty() && families(new).is_empty() {
        set(new, &["spec", "ipFamilies"], json!([FAMILY]));
    }
    errors
}

/// `isMatchingPreferDualStackClusterIPFields`: nothing was asked that could change the families.
fn same_preference(old: &Value, new: &Value) -> bool {
    let prefers = |service: &Value| matches!(text(service, POLICY), "PreferDualStack");
    kind(old) == kind(new)
        && prefers(new)
        && (prefers(old) || at(old, POLICY).is_null())
        && cluster_ips(old) == cluster_ips(new)
        && families(old) == families(new)
}

/// What a change to one family drops, and what may not be dropped without it.
fn changes(old: Option<&Value>, new: &mut Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let single = text(new, POLICY) == "SingleStack";
    let mut refuse = |new: &Value, why: &str| {
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", text(new, POLICY), why));
    };
    for (field, of, what, many) in [
        ("clusterIPs", cluster_ips as fn(&Value) -> Vec<String>, "cluster IP", "cluster IPs"),
        ("ipFamilies", families, "IP family", "IP families"),
    ] {
        let now = of(new);
        if let Some(before) = old.map(of) {
            if single && before == now && now.len() > 1 {
                set(new, &["spec", field], json!([now[0]]));
            } else if !single && !now.is_empty() && now.len() < before.len() {
                refuse(new, &format!("must be 'SingleStack' to release the secondary {what}"));
            }
        }
        if single && of(new).len() == 2 {
            refuse(
                new,
                &format!(
                    "must be 'RequireDualStack' or 'PreferDualStack' when multiple {many} are specified"
                ),
            );
        }
    }
    errors
}

/// Families from addresses.
fn infer(new: &mut Value) -> Vec<FieldError> {
    let (ips, mut known) = (cluster_ips(new), families(new));
    let mut errors = Vec::new();
    for (index, ip) in ips.iter().enumerate().skip(known.len()).take_while(|(_, ip)| *ip != "None") {
        if ip.parse::<Ipv4Addr>().is_ok() {
            known.push(FAMILY.to_owned());
        } else {
            let why = "IPv6 is not configured on this cluster";
            errors.push(FieldError::invalid(format!("spec.clusterIPs[{index}]"), json!(ips), why));
        }
    }
    if known.len() > items(at(new, &["spec", "ipFamilies"])).len() {
        set(new, &["spec", "ipFamilies"], known);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(old: Option<Value>, mut new: Value) -> Result<Value, String> {
        normalize(old.as_ref(), &mut new);
        let errors = initialize(old.as_ref(), &mut new);
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        if text.is_empty() { Ok(new["spec"].take()) } else { Err(text.join("; ")) }
    }

    #[test]
    fn what_is_unsaid_is_filled_in() {
        let new = |spec: Value| json!({"spec": spec});
        let plain = told(None, new(json!({"type": "ClusterIP"})));
        assert_eq!(
            plain,
            Ok(json!({"type": "ClusterIP", "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]}))
        );
        let named = told(None, new(json!({"type": "ClusterIP", "clusterIP": "10.0.0.1"})));
        assert_eq!(named.map(|spec| spec["clusterIPs"].clone()), Ok(json!(["10.0.0.1"])));
        let headless = told(None, new(json!({"type": "ClusterIP", "clusterIP": "None"})));
        let headless = headless.map(|spec| (spec["ipFamilies"].clone(), spec["ipFamilyPolicy"].clone()));
        assert_eq!(headless, Ok((json!(["IPv4", "IPv6"]), json!("RequireDualStack"))));
        let selecting =
            told(None, new(json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}})));
        assert_eq!(selecting.map(|spec| spec["ipFamilies"].clone()), Ok(json!(["IPv4"])));
        let name = told(None, new(json!({"type": "ExternalName", "externalName": "a.b"})));
        assert_eq!(name, Ok(json!({"type": "ExternalName", "externalName": "a.b"})));
        let prefers = told(None, new(json!({"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"})));
        assert_eq!(prefers.map(|spec| spec["ipFamilies"].clone()), Ok(json!(["IPv4"])));
    }

    #[test]
    fn what_this_cluster_has_not_is_refused() {
        let refused = |spec: Value| told(None, json!({"spec": spec})).err().unwrap_or_default();
        for (spec, expected) in [
            (
                json!({"ipFamilyPolicy": "RequireDualStack"}),
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
            ),
            (
                json!({"ipFamilies": ["IPv6"]}),
                "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
            ),
            (
                json!({"clusterIP": "fd00::1"}),
                "spec.clusterIPs[0]: Invalid value: [\"fd00::1\"]: IPv6 is not configured on this cluster",
            ),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]}),
                "spec.clusterIPs: Invalid value: [\"10.0.0.2\"]: first value must match `clusterIP`",
            ),
            (
                json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]}),
                "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
            ),
        ] {
            assert_eq!(refused(spec), expected);
        }
    }

    #[test]
    fn an_author_who_knows_one_address_field_keeps_both_in_step() {
        let old = json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}});
        let after = |spec: Value| {
            let mut new = json!({"spec": spec});
            normalize(Some(&old), &mut new);
            new["spec"]["clusterIPs"].clone()
        };
        assert_eq!(after(json!({"clusterIP": "10.0.0.1"})), json!(["10.0.0.1"]));
        assert_eq!(after(json!({"clusterIPs": ["10.0.0.1"]})), Value::Null);
        assert_eq!(after(json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1"]})), json!(["10.0.0.2"]));
        assert_eq!(after(json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.3"]})), json!(["10.0.0.3"]));
    }
}
