//! What `sampan start` is told of the audit log and webhook: upstream's flags, kept with the profile's settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use sampan_apiserver::audit::Options;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};

/// Upstream's flags. What is not given stays as it was; an empty path turns it off.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Audit")]
pub struct Flags {
    /// File with the policy (audit.k8s.io/v1); without it a built-in one holds, which keeps no Secret
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// File that requests are recorded in, as lines of JSON; empty for none
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// Megabytes of the log before it is rotated (default: 100)
    #[arg(long, value_name = "MB")]
    pub audit_log_maxsize: Option<u64>,
    /// Days that rotated logs are kept (default: for ever)
    #[arg(long, value_name = "DAYS")]
    pub audit_log_maxage: Option<u64>,
    /// Rotated logs that are kept (default: all)
    #[arg(long, value_name = "COUNT")]
    pub audit_log_maxbackup: Option<usize>,
    /// Compress rotated logs
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub audit_log_compress: Option<bool>,
    /// Kubeconfig of a server that events are sent to; empty for none
    #[arg(long, value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// Most events of a batch (default: 400)
    #[arg(long, value_name = "COUNT")]
    pub audit_webhook_batch_max_size: Option<usize>,
    /// Longest wait for a batch to fill, such as 30s
    #[arg(long, value_name = "TIME")]
    pub audit_webhook_batch_max_wait: Option<String>,
    /// Pause before the first repetition, such as 10s
    #[arg(long, value_name = "TIME")]
    pub audit_webhook_initial_backoff: Option<String>,
}

/// The flags, as a profile keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `--audit-policy-file`.
    pub policy_file: Option<PathBuf>,
    /// `--audit-log-path`.
    pub log_path: Option<PathBuf>,
    /// `--audit-log-maxsize`.
    pub log_max_size: u64,
    /// `--audit-log-maxage`.
    pub log_max_age: u64,
    /// `--audit-log-maxbackup`.
    pub log_max_backup: usize,
    /// `--audit-log-compress`.
    pub log_compress: bool,
    /// `--audit-webhook-config-file`.
    pub webhook_config_file: Option<PathBuf>,
    /// `--audit-webhook-batch-max-size`.
    pub webhook_batch_max_size: usize,
    /// `--audit-webhook-batch-max-wait`.
    pub webhook_batch_max_wait: String,
    /// `--audit-webhook-initial-backoff`.
    pub webhook_initial_backoff: String,
}

impl Settings {
    /// With what this command line says; `here` is where its relative paths begin.
    pub fn merge(&mut self, flags: &Flags, here: &Path) {
        let path = |slot: &mut Option<PathBuf>, said: &Option<PathBuf>| {
            if let Some(said) = said {
                *slot = Some(said).filter(|said| !said.as_os_str().is_empty()).map(|said| here.join(said));
            }
        };
        path(&mut self.policy_file, &flags.audit_policy_file);
        path(&mut self.log_path, &flags.audit_log_path);
        path(&mut self.webhook_config_file, &flags.audit_webhook_config_file);
        self.log_max_size = flags.audit_log_maxsize.unwrap_or(self.log_max_size);
        self.log_max_age = flags.audit_log_maxage.unwrap_or(self.log_max_age);
        self.log_max_backup = flags.audit_log_maxbackup.unwrap_or(self.log_max_backup);
        self.log_compress = flags.audit_log_compress.unwrap_or(self.log_compress);
        self.webhook_batch_max_size =
            flags.audit_webhook_batch_max_size.unwrap_or(self.webhook_batch_max_size);
        let text = |slot: &mut String, said: &Option<String>| {
            slot.clone_from(said.as_ref().unwrap_or(&slot.clone()))
        };
        text(&mut self.webhook_batch_max_wait, &flags.audit_webhook_batch_max_wait);
        text(&mut self.webhook_initial_backoff, &flags.audit_webhook_initial_backoff);
    }

    /// Refuses what the daemon could not be started with: the flag, the file and the field are named.
    pub fn check(&self) -> Result<(), Failure> {
        self.options()?.check().map_err(|error| Failure::new(Kind::Usage, error.to_string()))
    }

    /// As the API server takes them.
    pub fn options(&self) -> Result<Options, Failure> {
        Ok(Options {
            policy_file: self.policy_file.clone(),
            log_path: self.log_path.clone(),
            log_max_size: self.log_max_size,
            log_max_age: self.log_max_age,
            log_max_backup: self.log_max_backup,
            log_compress: self.log_compress,
            webhook_config_file: self.webhook_config_file.clone(),
            webhook_batch_size: self.webhook_batch_max_size,
            webhook_batch_wait: duration("--audit-webhook-batch-max-wait", &self.webhook_batch_max_wait)?,
            webhook_backoff: duration("--audit-webhook-initial-backoff", &self.webhook_initial_backoff)?,
        })
    }
}

/// `500ms`, `30s`, `2m`; nothing is zero.
fn duration(flag: &str, text: &str) -> Result<Duration, Failure> {
    if text.is_empty() {
        return Ok(Duration::ZERO);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("ms") => Some(1),
        Some("s") => Some(1000),
        Some("m") => Some(60_000),
        _ => None,
    };
    let milliseconds = unit.and_then(|unit| digits.parse::<u64>().ok()?.checked_mul(unit));
    milliseconds.map(Duration::from_millis).ok_or_else(|| {
        Failure::new(Kind::Usage, format!("{flag}={text}: not a time such as 500ms, 30s or 2m"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Flags {
        Flags {
            audit_log_path: Some("audit.log".into()),
            audit_webhook_batch_max_wait: Some("2m".into()),
            ..Flags::default()
        }
    }

    #[test]
    fn what_is_said_is_kept_until_something_else_is() {
        let mut settings = Settings::default();
        settings.merge(&flags(), Path::new("/here"));
        assert_eq!(settings.log_path.as_deref(), Some(Path::new("/here/audit.log")));
        settings.merge(&Flags::default(), Path::new("/there"));
        assert_eq!(settings.log_path.as_deref(), Some(Path::new("/here/audit.log")));
        let options = settings.options().expect("good settings");
        assert!(options.enabled() && options.webhook_batch_wait == Duration::from_secs(120));
        settings.merge(&Flags { audit_log_path: Some("".into()), ..Flags::default() }, Path::new("/"));
        assert!(!settings.options().expect("good settings").enabled());
    }

    #[test]
    fn bad_values_are_refused_by_their_flag() {
        let mut settings = Settings::default();
        settings.merge(&Flags { audit_policy_file: Some("none.yaml".into()), ..flags() }, Path::new("/here"));
        let failure = settings.check().expect_err("no such file");
        assert!(
            failure.message.starts_with("--audit-policy-file=/here/none.yaml: No such file"),
            "{}",
            failure.message
        );
        let late = Settings { webhook_batch_max_wait: "soon".into(), ..Settings::default() };
        assert!(
            late.check().expect_err("no time").message.starts_with("--audit-webhook-batch-max-wait=soon:")
        );
    }
}
