//! How long to wait before trying again: upstream's `client-go/util/flowcontrol/backoff.go`, one entry.

use jiff::{SignedDuration, Timestamp};

/// First delay of crash loops and image pulls.
pub const INITIAL: SignedDuration = SignedDuration::from_secs(10);
/// Longest delay.
pub const MAX: SignedDuration = SignedDuration::from_secs(300);

/// One entry of a back-off table: nothing until the first failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    entry: Option<(SignedDuration, Timestamp)>,
}

impl Backoff {
    /// The delay in force for something that happened at `at`: `None` before the first failure, and again
    /// once the entry is stale (twice the maximum without a failure).
    pub fn delay(&self, at: Timestamp) -> Option<SignedDuration> {
        self.entry.filter(|(_, updated)| !expired(at, *updated)).map(|(delay, _)| delay)
    }

    /// Moves on to the next delay because of what happened at `at`.
    pub fn next(&mut self, at: Timestamp, now: Timestamp) {
        let delay = self.delay(at).map_or(INITIAL, |delay| (delay * 2).min(MAX));
        self.entry = Some((delay, now));
    }

    /// Forgets all failures.
    pub fn reset(&mut self) {
        self.entry = None;
    }
}

fn expired(at: Timestamp, updated: Timestamp) -> bool {
    at.duration_since(updated) > MAX * 2
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`, `12ms`, `1.204s`.
pub fn go_duration(duration: SignedDuration) -> String {
    let millis = duration.as_millis().max(0);
    if millis < 1000 {
        return if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") };
    }
    let (seconds, rest) = (millis / 1000, millis % 1000);
    let fraction =
        if rest == 0 { String::new() } else { format!(".{rest:03}").trim_end_matches('0').to_owned() };
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn doubles_to_the_maximum_and_forgets() {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut backoff = Backoff::default();
        assert_eq!(backoff.delay(now), None);
        let mut seen = Vec::new();
        for _ in 0..7 {
            backoff.next(now, now);
            let delay = backoff.delay(now).unwrap();
            seen.push(delay.as_secs());
            now += delay;
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.delay(now + MAX * 3), None);
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        for (millis, text) in [
            (0, "0s"),
            (12, "12ms"),
            (10_000, "10s"),
            (80_000, "1m20s"),
            (300_000, "5m0s"),
            (1_204, "1.204s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(SignedDuration::from_millis(millis)), text);
        }
    }
}
