//! How the API fails those who live: by chance, from a seed, as long as faults are on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::random::Random;

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// An answer of this code, and nothing is done.
    Refused(u16),
    /// It is done, and the answer is lost.
    Lost,
}

/// The faults of one run.
pub struct Faults {
    on: AtomicBool,
    random: Mutex<Random>,
}

impl Faults {
    pub fn new(random: Random) -> Arc<Self> {
        Arc::new(Self { on: AtomicBool::new(true), random: Mutex::new(random) })
    }

    pub fn stop(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    pub fn on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// What becomes of a request.
    pub fn of(&self, write: bool) -> Fault {
        let mut random = self.random.lock();
        if !self.on() {
            return Fault::None;
        }
        match random.below(100) {
            0 => Fault::Refused(500),
            1 => Fault::Refused(429),
            2 | 3 if write => Fault::Refused(409),
            4 if write => Fault::Lost,
            _ => Fault::None,
        }
    }

    /// How long a request takes on its way.
    pub fn way(&self) -> Duration {
        Duration::from_micros(200 + self.random.lock().below(4000))
    }

    /// How late a watch tells of one event.
    pub fn lag(&self) -> Duration {
        let mut random = self.random.lock();
        match self.on() && random.one_in(8) {
            true => Duration::from_millis(random.below(2500)),
            false => Duration::from_micros(500),
        }
    }

    /// Whether a watch ends before its next event.
    pub fn ends(&self) -> bool {
        let mut random = self.random.lock();
        self.on() && random.one_in(150)
    }

    /// Whether a watch that begins is told that its version is too old.
    pub fn expired(&self) -> bool {
        let mut random = self.random.lock();
        self.on() && random.one_in(8)
    }
}
