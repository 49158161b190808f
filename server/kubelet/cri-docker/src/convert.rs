//! Docker's values as ours.

use bollard::errors::Error;
use jiff::Timestamp;
use sampan_cri::{Exit, RuntimeError};

/// An error of the engine, in its own words.
pub fn error(error: Error) -> RuntimeError {
    match error {
        Error::DockerResponseServerError { message, .. } => RuntimeError::Internal(message),
        Error::IOError { err } => RuntimeError::Unavailable(err.to_string()),
        other => RuntimeError::Internal(other.to_string()),
    }
}

/// Whether the thing is not there (any more).
pub fn is_gone(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 404, .. })
}

/// Whether the thing is already as asked for (304), or being removed by someone else (409).
pub fn is_done(error: &Error) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code: 304 | 404 | 409, .. })
}

/// The engine's `0001-01-01T00:00:00Z` means never.
pub fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok().filter(|time: &Timestamp| time.as_second() > 0)
}

/// How a start failed, as the exit code shows it: 127 not found, 126 not executable, else 128.
pub fn start_error(message: String) -> RuntimeError {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let exit_code = match () {
        () if has(&["executable file not found", "no such file or directory"]) => 127,
        () if has(&["permission denied", "is a directory"]) => 126,
        () => 128,
    };
    RuntimeError::Start { message, exit_code }
}

/// How a container ended.
pub fn exit(state: &bollard::models::ContainerState) -> Exit {
    Exit {
        exit_code: state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1),
        oom_killed: state.oom_killed.unwrap_or(false),
        finished_at: time(state.finished_at.as_deref()).unwrap_or_else(Timestamp::now),
        message: state.error.clone().unwrap_or_default(),
    }
}

/// A score below 0 needs CAP_SYS_RESOURCE; where this node's root lacks it, a container that asks for one would
/// not start at all.
pub fn oom_score(wanted: i32) -> i64 {
    static MAY_LOWER: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        std::fs::read_to_string("/proc/self/status").is_ok_and(|status| may_lower_score(&status))
    });
    if *MAY_LOWER { wanted.into() } else { wanted.max(0).into() }
}

fn may_lower_score(status: &str) -> bool {
    const SYS_RESOURCE: u32 = 24;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> SYS_RESOURCE & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_errors_have_the_shells_codes() {
        for (message, code) in [
            ("OCI runtime create failed: exec: \"foo\": executable file not found in $PATH: unknown", 127),
            ("exec: \"/etc\": is a directory", 126),
            ("exec: \"/x\": permission denied", 126),
            ("something else", 128),
        ] {
            let RuntimeError::Start { exit_code, .. } = start_error(message.to_owned()) else {
                panic!("{message}")
            };
            assert_eq!(exit_code, code, "{message}");
        }
    }

    #[test]
    fn the_year_one_is_never() {
        assert_eq!(time(Some("0001-01-01T00:00:00Z")), None);
        assert!(time(Some("2026-11-22T20:43:01.5Z")).is_some());
    }

    #[test]
    fn the_right_to_lower_a_score_is_a_capability() {
        assert!(may_lower_score("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(!may_lower_score("CapEff:\t000001fffeffffff\n"));
        assert!(!may_lower_score(""));
    }
}
