//! The pause after failures in a row: 10 s, doubling, ten minutes at most (upstream's `backoff_utils.go`). Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::api::core::v1::Pod;

use super::pod::{absolute_failures, failed, finished_at};
use crate::words::phase;

const FIRST: Duration = Duration::from_secs(10);
const MAX: Duration = Duration::from_secs(600);

/// What is left of the pause after `failures` of which the last was at `last`; `None` if it is over.
fn left(failures: usize, last: Timestamp, now: Timestamp) -> Option<Duration> {
    let exponent = u32::try_from(failures.checked_sub(1)?).unwrap_or(u32::MAX);
    let pause = FIRST.saturating_mul(2u32.saturating_pow(exponent)).min(MAX);
    let passed = now.duration_since(last);
    let passed = if passed.is_negative() { Duration::ZERO } else { passed.unsigned_abs() };
    pause.checked_sub(passed).filter(|left| !left.is_zero())
}

/// The pause of the whole Job: failures since the last success.
pub(super) fn of_job(pods: &[Arc<Pod>], spec: &JobSpec, now: Timestamp) -> Option<Duration> {
    let success = pods.iter().filter(|pod| phase(pod) == "Succeeded").map(|pod| finished_at(pod)).max();
    let failures = pods.iter().filter(|pod| failed(pod, spec)).map(|pod| finished_at(pod));
    let failures: Vec<_> = failures.filter(|end| Some(*end) > success).collect();
    left(failures.len(), *failures.iter().max()?, now)
}

/// The pause of one index, by the pod of it that failed last.
pub(super) fn of_index(failed: Option<&Pod>, now: Timestamp) -> Option<Duration> {
    let pod = failed?;
    left(usize::try_from(absolute_failures(pod) + 1).unwrap_or(1), finished_at(pod), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double() {
        let last = Timestamp::UNIX_EPOCH;
        let cases = [
            (0, 0, None),
            (1, 0, Some(10)),
            (1, 4, Some(6)),
            (1, 10, None),
            (3, 0, Some(40)),
            (40, 0, Some(600)),
        ];
        for (failures, passed, expected) in cases {
            let now = last + Duration::from_secs(passed);
            assert_eq!(left(failures, last, now), expected.map(Duration::from_secs), "{failures} {passed}");
        }
    }
}
