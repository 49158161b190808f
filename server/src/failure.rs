//! Expected failures: what the user or the world did, in words that help.
//!
//! Each has a stable identifier, an exit code in minikube's tens (10 program, 20 resources, 30 host, 70 local
//! network, 80 guest, 90 runtime, 100 control plane, 110 addons) and a suggestion. Bugs are not here: they panic or
//! surface as `INTERNAL`.

use crate::messages::{Advice, Locale};

/// Why a command ends with a code other than zero.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What sort; fixes identifier, exit code and suggestion.
    pub kind: Kind,
    /// What happened, to which object or file.
    pub message: String,
}

/// The stable identifiers, in the order of their exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bug, or something nobody thought of.
    Internal,
    /// The command line does not make sense.
    Usage,
    /// The thing asked for does not exist.
    NotFound,
    /// Another command works on the same profile.
    Locked,
    /// Too little disk.
    StorageFull,
    /// A right that sampan needs is missing.
    PermissionDenied,
    /// The kubeconfig cannot be read or written.
    Kubeconfig,
    /// A tool or kernel feature is missing.
    HostMissing,
    /// The address is taken by something else.
    PortTaken,
    /// Another cluster answers at the address.
    ForeignCluster,
    /// The network of pods cannot be set up.
    PodNetwork,
    /// The database is damaged or from a newer sampan.
    Store,
    /// The container runtime does not work.
    Runtime,
    /// An image cannot be pulled or removed.
    Image,
    /// A file is no archive of images.
    Archive,
    /// The daemon did not start.
    DaemonStart,
    /// The daemon does not run.
    NotRunning,
    /// The node did not become Ready in time.
    NodeNotReady,
    /// An addon did not become healthy; what was before is restored.
    AddonFailed,
    /// There is no addon of that name.
    AddonNotFound,
    /// A field of an addon's configuration is not usable.
    AddonConfiguration,
    /// Another addon has to be enabled, or disabled, first.
    AddonNeeds,
    /// An object that an addon wants belongs to someone else.
    AddonOwned,
    /// A package of an addon is not usable.
    AddonPackage,
    /// An addon has no page to open.
    AddonNoPage,
    /// An addon is part of sampan: it can be turned off, not removed.
    AddonBuiltIn,
}

impl Kind {
    /// The identifier that scripts match on.
    pub fn id(self) -> &'static str {
        match self {
            Kind::Internal => "INTERNAL",
            Kind::Usage => "SP_USAGE",
            Kind::NotFound => "SP_NOT_FOUND",
            Kind::Locked => "SP_PROFILE_LOCKED",
            Kind::StorageFull => "RSRC_INSUFFICIENT_STORAGE",
            Kind::PermissionDenied => "HOST_PERMISSION",
            Kind::Kubeconfig => "HOST_KUBECONFIG",
            Kind::HostMissing => "HOST_MISSING_DEPENDENCY",
            Kind::PortTaken => "LOCAL_PORT_TAKEN",
            Kind::ForeignCluster => "LOCAL_FOREIGN_CLUSTER",
            Kind::PodNetwork => "LOCAL_POD_NETWORK",
            Kind::Store => "GUEST_STORE",
            Kind::Runtime => "RUNTIME_ENABLE",
            Kind::Image => "RUNTIME_IMAGE",
            Kind::Archive => "RUNTIME_ARCHIVE",
            Kind::DaemonStart => "K8S_DAEMON_START",
            Kind::NotRunning => "K8S_NOT_RUNNING",
            Kind::NodeNotReady => "K8S_NODE_NOT_READY",
            Kind::AddonFailed => "ADDON_FAILED",
            Kind::AddonNotFound => "ADDON_NOT_FOUND",
            Kind::AddonConfiguration => "ADDON_CONFIGURATION",
            Kind::AddonNeeds => "ADDON_NEEDS",
            Kind::AddonOwned => "ADDON_OWNED",
            Kind::AddonPackage => "ADDON_PACKAGE",
            Kind::AddonNoPage => "ADDON_NO_PAGE",
            Kind::AddonBuiltIn => "ADDON_BUILT_IN",
        }
    }

    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Internal => 10,
            Kind::Usage => 14,
            Kind::NotFound => 15,
            Kind::Locked => 16,
            Kind::StorageFull => 26,
            Kind::PermissionDenied => 37,
            Kind::Kubeconfig => 38,
            Kind::HostMissing => 39,
            Kind::PortTaken => 70,
            Kind::ForeignCluster => 71,
            Kind::PodNetwork => 72,
            Kind::Store => 80,
            Kind::Runtime => 90,
            Kind::Image => 91,
            Kind::Archive => 92,
            Kind::DaemonStart => 100,
            Kind::NotRunning => 103,
            Kind::NodeNotReady => 105,
            Kind::AddonFailed => 110,
            Kind::AddonNotFound => 111,
            Kind::AddonConfiguration => 112,
            Kind::AddonNeeds => 113,
            Kind::AddonOwned => 114,
            Kind::AddonPackage => 115,
            Kind::AddonNoPage => 116,
            Kind::AddonBuiltIn => 117,
        }
    }

    /// What to do about it.
    pub fn advice(self, locale: Locale) -> &'static str {
        Advice::of(self).text(locale)
    }

    /// The kind with this identifier, as the daemon reports it.
    pub fn by_id(id: &str) -> Option<Kind> {
        ALL.iter().copied().find(|kind| kind.id() == id)
    }
}

/// Every kind; the test below holds identifiers and codes unique.
pub const ALL: [Kind; 26] = [
    Kind::Internal,
    Kind::Usage,
    Kind::NotFound,
    Kind::Locked,
    Kind::StorageFull,
    Kind::PermissionDenied,
    Kind::Kubeconfig,
    Kind::HostMissing,
    Kind::PortTaken,
    Kind::ForeignCluster,
    Kind::PodNetwork,
    Kind::Store,
    Kind::Runtime,
    Kind::Image,
    Kind::Archive,
    Kind::DaemonStart,
    Kind::NotRunning,
    Kind::NodeNotReady,
    Kind::AddonFailed,
    Kind::AddonNotFound,
    Kind::AddonConfiguration,
    Kind::AddonNeeds,
    Kind::AddonOwned,
    Kind::AddonPackage,
    Kind::AddonNoPage,
    Kind::AddonBuiltIn,
];

impl Failure {
    /// A failure of `kind`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The failure that the daemon tells with an identifier.
    pub fn of(id: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::by_id(id).unwrap_or(Kind::Internal), message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) => Failure::new(Kind::Internal, format!("{error:#}")),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Kind::PermissionDenied,
            std::io::ErrorKind::StorageFull => Kind::StorageFull,
            _ => Kind::Internal,
        };
        Failure::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn identifiers_and_codes_are_unique_and_advised() {
        let ids: BTreeSet<_> = ALL.iter().map(|kind| kind.id()).collect();
        let codes: BTreeSet<_> = ALL.iter().map(|kind| kind.exit_code()).collect();
        assert_eq!((ids.len(), codes.len()), (ALL.len(), ALL.len()));
        for kind in ALL {
            assert_eq!(Kind::by_id(kind.id()), Some(kind));
            assert!(!kind.advice(Locale::English).is_empty() && !kind.advice(Locale::Chinese).is_empty());
        }
    }
}
