//! How long a request waits for webhooks, kept beside it as a task-local value: upstream's `LatencyTrackers`.

use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;

#[derive(Default)]
struct Waited {
    /// One after the other: the sum.
    mutating: Duration,
    /// All at once: the longest.
    validating: Duration,
}

impl Waited {
    fn sum(&self) -> Duration {
        self.mutating + self.validating
    }
}

tokio::task_local! {
    static WAITED: Mutex<Waited>;
}

/// Notes that what this task answers has waited for a webhook.
pub(crate) fn waited(mutating: bool, took: Duration) {
    let _ = WAITED.try_with(|waited| {
        let mut waited = waited.lock();
        match mutating {
            true => waited.mutating += took,
            false => waited.validating = waited.validating.max(took),
        }
    });
}

/// Runs what answers a request; with the answer comes how long it has waited.
pub(super) async fn collect<T>(answer: impl Future<Output = T>) -> (T, Duration) {
    let answered = async {
        let answer = answer.await;
        (answer, WAITED.with(|waited| waited.lock().sum()))
    };
    WAITED.scope(Mutex::default(), answered).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_asked_at_once_counts_once() {
        let of = Duration::from_secs;
        let answer = async {
            for (mutating, took) in [(true, 1), (true, 2), (false, 10), (false, 30), (false, 20)] {
                waited(mutating, of(took));
            }
        };
        assert_eq!(collect(answer).await.1, of(33));
        waited(true, of(1));
        assert_eq!(collect(async {}).await.1, of(0));
    }
}
