//! One run: a script under faults, cut lives, and then peace.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::Api;
use crate::faults::Faults;
use crate::life::Life;
use crate::random::Random;
use crate::script::Script;
use crate::settled::unsettled;

/// Things that happen before all is mended.
const STEPS: u64 = 40;
/// How long healing may take: an eviction every ten seconds, and back-off that has grown while nothing went well.
const HEALS: Duration = Duration::from_secs(3600);

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// What the script did, and when lives ended.
    pub history: Vec<String>,
    /// The API's last revision: how much was written.
    pub revision: u64,
    /// When all was as it should be again.
    pub healed: Timestamp,
}

/// What went wrong, and after what.
#[derive(Debug)]
pub struct Wrong {
    pub seed: u64,
    pub why: Vec<String>,
    pub history: Vec<String>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} after:", self.seed)?;
        self.history.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        self.why.iter().try_for_each(|line| writeln!(f, "wrong: {line}"))?;
        write!(
            f,
            "the same seed again, in an order of tasks that may differ: SAMPAN_SIM_SEED={} make sim",
            self.seed
        )
    }
}

/// Plays a seed on a runtime of its own.
///
/// # Errors
/// What must never be was, or the cluster did not heal.
pub fn play(seed: u64) -> Result<Run, Box<Wrong>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run(seed))
}

async fn run(seed: u64) -> Result<Run, Box<Wrong>> {
    let mut random = Random(seed);
    let start = "2026-01-01T00:00:00Z".parse().unwrap();
    sampan_reconcile::simulate(start, random.next());
    let api = Api::new();
    let faults = Faults::new(random.fork());
    let mut script = Script::new(api.clone(), random.fork());
    let wrong = |script: &Script, why: Vec<String>| {
        Err(Box::new(Wrong { seed, why, history: script.history.clone() }))
    };
    let violations = || api.0.lock().judge.violations.clone();
    let mut life = Life::begin(&api, &faults);
    for _ in 0..STEPS {
        let pause = Duration::from_millis(random.below(20_000));
        tokio::select! {
            biased;
            () = life.ended() => {
                script.history.push(format!("{} the daemon is cut, and begins anew", sampan_reconcile::now()));
                tokio::time::sleep(Duration::from_millis(random.below(2000))).await;
                life = Life::begin(&api, &faults);
            }
            () = tokio::time::sleep(pause) => script.step(),
        }
        if random.one_in(6) {
            life.ends_after(1 + random.below(12));
        }
        if !violations().is_empty() {
            return wrong(&script, violations());
        }
    }
    faults.stop();
    life = Life::begin(&api, &faults);
    script.mend();
    let deadline = sampan_reconcile::now() + HEALS;
    let mut quiet = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if !violations().is_empty() {
            return wrong(&script, violations());
        }
        let left = unsettled(&api);
        quiet = if left.is_none() { quiet + 1 } else { 0 };
        match left {
            // it stays so
            None if quiet > 15 => break,
            Some(left) if sampan_reconcile::now() > deadline => {
                return wrong(&script, vec![format!("not healed: {left}")]);
            }
            _ => {}
        }
    }
    drop(life);
    let revision = api.0.lock().objects.revision;
    Ok(Run { history: script.history, revision, healed: sampan_reconcile::now() })
}
