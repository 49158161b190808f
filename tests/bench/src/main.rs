//! Benchmarks, each beside a peer in the same run: `sampan-bench store`. They print ratios; absolute figures
//! say more about the machine than about us.
#![allow(clippy::print_stdout)]

mod store;

const USAGE: &str = "usage: sampan-bench store";

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("store") => store::run(),
        _ => anyhow::bail!(USAGE),
    }
}
