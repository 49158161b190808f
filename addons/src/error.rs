//! What can be wrong, in words for the person at the command line.

use serde::{Deserialize, Serialize};

/// What sort of error; its text is stable, for exit codes and tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// There is no addon of that name.
    NotFound,
    /// A field of the configuration is not usable.
    Configuration,
    /// Another addon has to be enabled first, or disabled first.
    Needs,
    /// An object belongs to someone else.
    Owned,
    /// A package is not usable.
    Package,
    /// Native addons cannot be removed or replaced.
    BuiltIn,
    /// It has no page to open.
    NoPage,
    /// The addon did not become healthy; what was before is restored.
    Failed,
    /// The Kubernetes API refused, or something unforeseen.
    Other,
}

/// Why a verb failed, or an addon could not be made what it should be.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing has that name.
    #[error("there is no addon {name:?}{}", nearest.as_ref().map(|near| format!("; did you mean {near:?}?")).unwrap_or_default())]
    NotFound {
        /// The name asked for.
        name: String,
        /// The name that looks most like it.
        nearest: Option<String>,
    },
    /// A field of the configuration is not usable.
    #[error("{}: {problem}", if field.is_empty() { "\"\"" } else { field.as_str() })]
    Config {
        /// Its path, such as `upstreams[1]`.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// It does nothing without another addon.
    #[error("{name} needs the addon {needs}, which is disabled; `sampan addons enable {needs}` first")]
    Needs {
        /// The addon.
        name: String,
        /// What it needs.
        needs: String,
    },
    /// Another addon does nothing without it.
    #[error("{by} needs the addon {name}; `sampan addons disable {by}` first")]
    NeededBy {
        /// The addon.
        name: String,
        /// What needs it.
        by: String,
    },
    /// An object exists and is not the addon's.
    #[error(
        "{object} exists already and belongs to {owner}{}; delete it, or give one of them another name",
        from(origin)
    )]
    Owned {
        /// Kind, namespace and name.
        object: String,
        /// Whose it is.
        owner: String,
        /// The manifest's file and line; empty for native addons.
        origin: String,
    },
    /// A package is not usable.
    #[error("{0}")]
    Package(String),
    /// Native addons cannot be removed or replaced.
    #[error("{0} is built in; `sampan addons disable {0}` turns it off")]
    BuiltIn(String),
    /// It has no page to open.
    #[error("{0} has no page to open")]
    NoPage(String),
    /// It did not become healthy.
    #[error("{name} did not become healthy: {reason}{}; {restored}", if next.is_empty() { String::new() } else { format!(" ({next})") })]
    Failed {
        /// The addon.
        name: String,
        /// Why.
        reason: String,
        /// What to do about it.
        next: String,
        /// What there is now.
        restored: String,
    },
    /// The Kubernetes API refused.
    #[error("{what}{}: {message}", from(origin))]
    Api {
        /// Kind, namespace and name, and what was done with it.
        what: String,
        /// The manifest's file and line; empty for native addons.
        origin: String,
        /// The answer.
        message: String,
        /// The HTTP status; 0 if there was no answer.
        code: u16,
    },
    /// A kind that was defined just now is not served yet.
    #[error("{0} is not served yet")]
    Unserved(String),
    /// An object of the last time is still being deleted.
    #[error("{0} is still being deleted")]
    Leaving(String),
    /// A disabled addon's objects that something keeps from going.
    #[error("{name} is disabled, but these are still being deleted: {}; see their finalizers", objects.join(", "))]
    Remaining {
        /// The addon.
        name: String,
        /// Kind, namespace and name of each.
        objects: Vec<String>,
    },
    /// An addon's own code failed or panicked.
    #[error("{0}")]
    Code(String),
}

fn from(origin: &str) -> String {
    if origin.is_empty() { String::new() } else { format!(" ({origin})") }
}

impl Error {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Config { .. } => ErrorKind::Configuration,
            Self::Needs { .. } | Self::NeededBy { .. } => ErrorKind::Needs,
            Self::Owned { .. } => ErrorKind::Owned,
            Self::Package(_) => ErrorKind::Package,
            Self::BuiltIn(_) => ErrorKind::BuiltIn,
            Self::NoPage(_) => ErrorKind::NoPage,
            Self::Failed { .. } => ErrorKind::Failed,
            Self::Api { .. }
            | Self::Leaving(_)
            | Self::Remaining { .. }
            | Self::Unserved(_)
            | Self::Code(_) => ErrorKind::Other,
        }
    }

    /// Whether the same may work a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Leaving(_) | Self::Remaining { .. } | Self::Unserved(_) => true,
            Self::Api { code, .. } => matches!(code, 0 | 409 | 429 | 500..),
            _ => false,
        }
    }

    /// What the user can do, for the health of an addon that this keeps from being applied.
    pub(crate) fn next_step(&self, name: &str) -> String {
        match self {
            Self::Config { .. } => format!("`sampan addons configure {name}` shows what is accepted"),
            Self::Owned { .. } => "delete the object, or disable the addon".to_owned(),
            Self::Leaving(_) => "wait; if it stays, look at its finalizers".to_owned(),
            Self::Package(_) => format!("mend the package and `sampan addons add` it again as {name}"),
            _ => format!("`sampan addons logs {name}` and `sampan logs sampan` say more"),
        }
    }

    pub(crate) fn api(what: impl Into<String>, origin: &str, error: &kube::Error) -> Self {
        let (code, message) = match error {
            kube::Error::Api(status) => (status.code, status.message.clone()),
            other => (0, other.to_string()),
        };
        Self::Api { what: what.into(), origin: origin.to_owned(), message, code }
    }
}

impl From<sampan_addon::Error> for Error {
    fn from(error: sampan_addon::Error) -> Self {
        match error {
            sampan_addon::Error::Config { field, problem } => Self::Config { field, problem },
            other => Self::Code(other.to_string()),
        }
    }
}

/// The name that looks most like `name`, if one does.
pub(crate) fn nearest(name: &str, names: impl IntoIterator<Item = String>) -> Option<String> {
    let distance = |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), other);
    let near = names.into_iter().map(|other| (distance(&other), other)).min()?;
    let begins = near.1.starts_with(name) && name.len() >= 3;
    (near.0 <= 1 + name.len() / 4 || begins).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let names = || ["dns", "ingress", "metrics", "registry"].map(str::to_owned);
        for (name, near) in [
            ("ingres", Some("ingress")),
            ("Ingress", Some("ingress")),
            ("metrcis", Some("metrics")),
            ("dsn", Some("dns")),
            ("reg", None),
            ("olm", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names()).as_deref(), near, "{name}");
        }
    }
}
