//! When what failed is tried again.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A pause after a failure, twice as long after each further one.
#[derive(Debug)]
pub struct Retry {
    pause: Duration,
    at: Option<Instant>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { pause: PAUSE, at: None }
    }
}

impl Retry {
    /// It failed; the pause that begins. One that has begun already goes on.
    pub fn failed(&mut self) -> Duration {
        let pause = self.pause;
        if self.at.is_none() {
            self.at = Some(Instant::now() + pause);
            self.pause = (pause * 2).min(LONGEST_PAUSE);
        }
        pause
    }

    /// It did not fail: nothing is to be tried again.
    pub fn settled(&mut self) {
        *self = Self::default();
    }

    /// When the pause is over, while there is one.
    pub fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whether the pause is over by now; that is told once.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.at.take_if(|at| *at <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest() {
        let mut retry = Retry::default();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            pauses.push(retry.failed().as_millis());
            let at = retry.at().expect("a pause");
            retry.failed();
            assert_eq!(retry.at(), Some(at), "goes on");
            assert!(!retry.is_due(Instant::now()));
            tokio::time::sleep_until(at).await;
            assert!(retry.is_due(Instant::now()) && !retry.is_due(Instant::now()));
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000]);
        retry.settled();
        assert_eq!(retry.failed(), PAUSE);
    }
}
