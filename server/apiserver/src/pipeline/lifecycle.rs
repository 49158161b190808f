//! Versions of kinds that will go: whoever asks for one is warned, and it is counted.
//!
//! What upstream's `zz_generated.prerelease-lifecycle.go` says of the kinds that v1.36 serves, in the words of
//! `k8s.io/apiserver/pkg/endpoints/deprecation`. A custom kind's is in its definition.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use sampan_api::kinds::Kind;

use super::info::RequestInfo;

/// What becomes of a version of a kind; releases are minors of 1.
struct Lifecycle {
    version: &'static str,
    kinds: &'static [&'static str],
    deprecated: u32,
    removed: Option<u32>,
    replacement: &'static str,
}

const fn life(
    version: &'static str,
    kinds: &'static [&'static str],
    deprecated: u32,
    removed: Option<u32>,
    replacement: &'static str,
) -> Lifecycle {
    Lifecycle { version, kinds, deprecated, removed, replacement }
}

const DEVICES: &[&str] = &["DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"];

/// Those that are deprecated in this release.
const TABLE: [Lifecycle; 11] = [
    life("v1", &["ComponentStatus"], 19, None, ""),
    life("v1", &["Endpoints"], 33, None, "discovery.k8s.io/v1 EndpointSlice"),
    life("certificates.k8s.io/v1alpha1", &["ClusterTrustBundle"], 34, Some(37), ""),
    life("certificates.k8s.io/v1beta1", &["ClusterTrustBundle"], 36, Some(39), ""),
    life("coordination.k8s.io/v1alpha2", &["LeaseCandidate"], 35, None, ""),
    life("coordination.k8s.io/v1beta1", &["LeaseCandidate"], 36, Some(39), ""),
    life("networking.k8s.io/v1beta1", &["IPAddress", "ServiceCIDR"], 34, Some(37), ""),
    life("resource.k8s.io/v1alpha3", &["DeviceTaintRule"], 36, None, ""),
    life("resource.k8s.io/v1beta1", DEVICES, 35, Some(38), ""),
    life("resource.k8s.io/v1beta2", DEVICES, 36, Some(39), ""),
    life(
        "storage.k8s.io/v1beta1",
        &["VolumeAttributesClass"],
        34,
        Some(37),
        "storage.k8s.io/v1 VolumeAttributesClass",
    ),
];

/// A deprecated version, as those who ask for it are told.
#[derive(Debug, PartialEq)]
pub struct Deprecated {
    /// The text of a `Warning` header.
    pub warning: String,
    /// `1.37`; empty if none is named.
    pub removed: String,
}

/// Whether a kind's version is deprecated.
pub fn deprecated(kind: &Kind) -> Option<Deprecated> {
    if let Some(custom) = kind.custom {
        let warning = custom.version()?.deprecation(kind)?;
        return Some(Deprecated { warning, removed: String::new() });
    }
    let version = kind.api_version();
    let found = TABLE.iter().find(|life| life.version == version && life.kinds.contains(&kind.kind))?;
    let mut warning = format!("{version} {} is deprecated in v1.{}+", kind.kind, found.deprecated);
    if let Some(removed) = found.removed {
        warning.push_str(&format!(", unavailable in v1.{removed}+"));
    }
    if !found.replacement.is_empty() {
        warning.push_str(&format!("; use {}", found.replacement));
    }
    let removed = found.removed.map(|minor| format!("1.{minor}")).unwrap_or_default();
    Some(Deprecated { warning, removed })
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Requested {
    group: String,
    version: String,
    resource: String,
    subresource: String,
    removed_release: String,
}

static REQUESTED: LazyLock<Family<Requested, Gauge>> = LazyLock::new(|| {
    let family = Family::default();
    sampan_process::metrics::registry().lock().register(
        "apiserver_requested_deprecated_apis",
        "Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release",
        Family::clone(&family),
    );
    family
});

/// Notes in the metrics and in the audit log that a deprecated version was asked for, by a request that is served.
pub(super) fn requested(info: &RequestInfo, deprecated: &Deprecated) {
    let labels = Requested {
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
        removed_release: deprecated.removed.clone(),
    };
    REQUESTED.get_or_create(&labels).set(1);
    crate::audit::annotate("k8s.io/deprecated", || "true".to_owned());
    if !deprecated.removed.is_empty() {
        crate::audit::annotate("k8s.io/removed-release", || deprecated.removed.clone());
    }
}

#[cfg(test)]
mod tests {
    use sampan_api::kinds;

    use super::*;

    #[test]
    fn warnings_are_upstreams() {
        let cases = [
            ("", "v1", "Pod", None),
            ("", "v1", "ComponentStatus", Some("v1 ComponentStatus is deprecated in v1.19+")),
            (
                "",
                "v1",
                "Endpoints",
                Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
            ),
            (
                "storage.k8s.io",
                "v1beta1",
                "VolumeAttributesClass",
                Some(
                    "storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+, unavailable in v1.37+; use storage.k8s.io/v1 VolumeAttributesClass",
                ),
            ),
            ("storage.k8s.io", "v1", "VolumeAttributesClass", None),
            (
                "resource.k8s.io",
                "v1beta1",
                "ResourceClaim",
                Some("resource.k8s.io/v1beta1 ResourceClaim is deprecated in v1.35+, unavailable in v1.38+"),
            ),
        ];
        for (group, version, kind, expected) in cases {
            let kind = kinds::by_kind(group, version, kind).expect("a kind");
            assert_eq!(deprecated(kind).map(|found| found.warning).as_deref(), expected, "{}", kind.kind);
        }
    }

    #[test]
    fn every_row_is_of_a_kind_that_is_served() {
        for life in &TABLE {
            let (group, version) = life.version.split_once('/').unwrap_or(("", life.version));
            for kind in life.kinds {
                assert!(kinds::by_kind(group, version, kind).is_some(), "{} {kind}", life.version);
                assert!(life.deprecated <= 36, "{} {kind}", life.version);
            }
        }
    }
}
