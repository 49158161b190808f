//! Seeds of a whole cluster. `SAMPAN_SIM_SEEDS` says how many, `SAMPAN_SIM_SEED` which one alone.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use sampan_test_sim::play::play;

/// So many are played where nothing is said.
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn clusters_hold_under_faults_and_heal_after_them() {
    let seeds = match number("SAMPAN_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SAMPAN_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let mut failed: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            loop {
                let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if seed >= seeds.end {
                    return failed;
                }
                if let Err(wrong) = play(seed) {
                    eprintln!("{wrong}");
                    failed.push(wrong.to_string());
                }
            }
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    failed.sort();
    assert!(failed.is_empty(), "{} of {} seeds:\n{}", failed.len(), seeds.end - seeds.start, failed[0]);
}
