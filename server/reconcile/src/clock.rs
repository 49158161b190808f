//! What time it is, and what is left to chance. A simulation has both of its own, for its thread: then time goes with
//! tokio's clock, and the same seed gives the same chances.

use std::cell::Cell;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

#[derive(Clone, Copy)]
struct Simulated {
    began: Instant,
    at: Timestamp,
    chance: u64,
}

thread_local! {
    static SIMULATED: Cell<Option<Simulated>> = const { Cell::new(None) };
}

/// The time.
pub fn now() -> Timestamp {
    match SIMULATED.get() {
        None => Timestamp::now(),
        Some(simulated) => simulated.at + simulated.began.elapsed(),
    }
}

/// Has this thread's time begin at `at`, now, and its chances with `seed`. For simulations.
pub fn simulate(at: Timestamp, seed: u64) {
    SIMULATED.set(Some(Simulated { began: Instant::now(), at, chance: seed }));
}

/// Whether this thread's time is simulated.
pub(crate) fn is_simulated() -> bool {
    SIMULATED.get().is_some()
}

/// `pause`, or as little as half of it: those that wait for the same do not all come at once.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let Some(mut simulated) = SIMULATED.get() else { return pause.mul_f64(rand::random_range(0.5..1.0)) };
    simulated.chance = simulated.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    SIMULATED.set(Some(simulated));
    pause.mul_f64(0.5 + (simulated.chance >> 40) as f64 / (1_u64 << 25) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_time_goes_with_tokios_clock() {
        let real = now();
        assert!(Timestamp::now().duration_since(real).as_secs() < 60);
        simulate(Timestamp::UNIX_EPOCH, 7);
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(now(), Timestamp::UNIX_EPOCH + Duration::from_secs(90));
        let second = Duration::from_secs(1);
        let first = (jittered(second), jittered(second));
        assert!(first.0 != first.1 && first.0 >= second / 2 && first.0 <= second);
        simulate(Timestamp::UNIX_EPOCH, 7);
        assert_eq!((jittered(second), jittered(second)), first);
        SIMULATED.set(None);
    }
}
