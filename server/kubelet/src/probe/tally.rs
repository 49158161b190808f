//! How often each probe has passed and failed, for `/metrics/probes`.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// One probe of one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probed {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// The container's name.
    pub container: String,
    /// `Startup`, `Liveness` or `Readiness`.
    pub kind: &'static str,
}

/// Results of a probe since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Passed.
    pub successful: u64,
    /// Did not.
    pub failed: u64,
}

/// Of all probes that go on.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<Probed, Outcomes>>);

impl Tally {
    /// Counts a result.
    pub fn add(&self, probed: &Probed, passed: bool) {
        let mut all = self.0.lock();
        let outcomes = match all.get_mut(probed) {
            Some(outcomes) => outcomes,
            None => all.entry(probed.clone()).or_default(),
        };
        match passed {
            true => outcomes.successful += 1,
            false => outcomes.failed += 1,
        }
    }

    /// Forgets a probe that has ended.
    pub fn forget(&self, probed: &Probed) {
        self.0.lock().remove(probed);
    }

    /// All results.
    pub fn all(&self) -> BTreeMap<Probed, Outcomes> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_until_the_probe_ends() {
        let probed = |kind| Probed {
            namespace: "n".into(),
            pod: "p".into(),
            uid: "u".into(),
            container: "c".into(),
            kind,
        };
        let tally = Tally::default();
        for passed in [true, false, true] {
            tally.add(&probed("Liveness"), passed);
        }
        tally.add(&probed("Startup"), false);
        tally.forget(&probed("Startup"));
        let expect = BTreeMap::from([(probed("Liveness"), Outcomes { successful: 2, failed: 1 })]);
        assert_eq!(tally.all(), expect);
    }
}
