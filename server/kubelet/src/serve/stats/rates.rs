//! CPU in use right now, from how much had been used when somebody asked before.

use std::collections::HashMap;

use jiff::Timestamp;
use parking_lot::Mutex;

/// Shortest time over which a rate means something, in nanoseconds.
const SHORTEST: i128 = 1_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Point {
    at: Timestamp,
    nanos: u64,
    rate: Option<u64>,
}

/// The last reading of each container, and of the node under an empty id.
#[derive(Debug, Default)]
pub struct Rates(Mutex<HashMap<String, Point>>);

impl Rates {
    /// Takes a reading; the rate in thousand-millionths of a core since an earlier one, once there is one.
    pub fn observe(&self, id: &str, at: Timestamp, nanos: u64) -> Option<u64> {
        let mut points = self.0.lock();
        let fresh = Point { at, nanos, rate: None };
        let point = points.entry(id.to_owned()).or_insert(fresh);
        if nanos < point.nanos {
            *point = fresh;
        }
        let elapsed = at.as_nanosecond() - point.at.as_nanosecond();
        if elapsed >= SHORTEST {
            let rate = i128::from(nanos - point.nanos) * 1_000_000_000 / elapsed;
            *point = Point { at, nanos, rate: u64::try_from(rate).ok() };
        }
        point.rate
    }

    /// Forgets all that `known` does not hold for.
    pub fn retain(&self, known: impl Fn(&str) -> bool) {
        self.0.lock().retain(|id, _| known(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_between() {
        let rates = Rates::default();
        let at = |millis: i64| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_millis(millis);
        for (millis, nanos, rate) in [
            (0, 0, None),
            (500, 400_000_000, None),
            (2000, 1_000_000_000, Some(500_000_000)),
            // asked again too soon: the rate known
            (2100, 1_100_000_000, Some(500_000_000)),
            (4000, 1_000_000_000, Some(0)),
            // a counter that begins again, and a clock that goes back
            (5000, 10, None),
            (1000, 20, None),
        ] {
            assert_eq!(rates.observe("a", at(millis), nanos), rate, "{millis}");
        }
        rates.retain(|id| id != "a");
        assert_eq!(rates.observe("a", at(9000), 1), None);
    }
}
