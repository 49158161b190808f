//! What a namespace's labels ask for: levels and versions. `k8s.io/pod-security-admission/api/helpers.go`.

use std::fmt;

use sampan_api::status::FieldError;
use serde_json::Value;

use crate::value::at;

/// How much a pod may do, the least strict first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "privileged" => Ok(Self::Privileged),
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err("must be one of privileged, baseline, restricted"),
        }
    }
}

/// Whose rules: those of `v1.N`, or the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Minor(u32),
    Latest,
}

impl Version {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let digits = text.strip_prefix("v1.").filter(|digits| {
            digits.bytes().all(|b| b.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'))
        });
        let minor = digits.and_then(|digits| digits.parse().ok());
        minor.map(Self::Minor).ok_or("must be \"latest\" or \"v1.x\"")
    }
}

/// `restricted:latest`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub level: Level,
    pub version: Version,
}

impl Standard {
    const DEFAULT: Self = Self { level: Level::Privileged, version: Version::Latest };
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged:",
            Level::Baseline => "baseline:",
            Level::Restricted => "restricted:",
        })?;
        match self.version {
            Version::Minor(minor) => write!(f, "v1.{minor}"),
            Version::Latest => f.write_str("latest"),
        }
    }
}

/// What is refused, what is told to the auditor, and what to the author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
}

impl Policy {
    /// Of a namespace, and what is wrong with its labels: a level that nobody can read refuses as `restricted`, but
    /// warns of nothing.
    pub fn of(namespace: &Value) -> (Self, Vec<FieldError>) {
        let mut errors = Vec::new();
        let mut read = |mode: &str, unreadable: Level| Standard {
            level: label(namespace, mode, Level::parse, &mut errors, Standard::DEFAULT.level, unreadable),
            version: label(
                namespace,
                &format!("{mode}-version"),
                Version::parse,
                &mut errors,
                Standard::DEFAULT.version,
                Version::Latest,
            ),
        };
        let enforce = read("enforce", Level::Restricted);
        let audit = read("audit", Level::Privileged);
        let warn = read("warn", Level::Privileged);
        (Self { enforce, audit, warn }, errors)
    }
}

fn label<T>(
    namespace: &Value,
    name: &str,
    parse: fn(&str) -> Result<T, &'static str>,
    errors: &mut Vec<FieldError>,
    absent: T,
    unreadable: T,
) -> T {
    let key = format!("pod-security.kubernetes.io/{name}");
    let Some(text) = at(namespace, &["metadata", "labels", &key]).as_str() else { return absent };
    parse(text).unwrap_or_else(|why| {
        errors.push(FieldError::invalid(format!("metadata.labels[{key}]"), text, why));
        unreadable
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(labels: &[(&str, &str)], want: &str, wrong: &[&str]) {
        let labels: serde_json::Map<String, Value> = labels
            .iter()
            .map(|(name, value)| (format!("pod-security.kubernetes.io/{name}"), json!(value)))
            .collect();
        let (policy, errors) = Policy::of(&json!({"metadata": {"labels": labels}}));
        assert_eq!(format!("{} {} {}", policy.enforce, policy.audit, policy.warn), want);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, wrong);
    }

    #[test]
    fn labels_are_read() {
        check(&[], "privileged:latest privileged:latest privileged:latest", &[]);
        check(
            &[("enforce", "baseline"), ("enforce-version", "v1.24"), ("warn", "restricted")],
            "baseline:v1.24 privileged:latest restricted:latest",
            &[],
        );
        check(&[("audit-version", "v1.0")], "privileged:latest privileged:v1.0 privileged:latest", &[]);
    }

    #[test]
    fn what_cannot_be_read_is_strict_when_enforced() {
        check(
            &[("enforce", "Baseline"), ("warn", "no"), ("warn-version", "v1.07")],
            "restricted:latest privileged:latest privileged:latest",
            &[
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"Baseline\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"no\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v1.07\": must be \"latest\" or \"v1.x\"",
            ],
        );
        for version in ["1.20", "v1.", "v1.x", "v2.0", "V1.2", "v1.20.1", ""] {
            let (_, errors) = Policy::of(
                &json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce-version": version}}}),
            );
            assert_eq!(errors.len(), 1, "{version}");
        }
    }

    #[test]
    fn levels_are_ordered_by_strictness() {
        assert!(Level::Privileged < Level::Baseline && Level::Baseline < Level::Restricted);
    }
}
