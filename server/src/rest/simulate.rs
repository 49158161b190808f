//! Simulated nodes: what is asked of the simulator, and what it refuses.

use std::sync::Arc;

use sampan_simulate::words::State;
use sampan_simulate::{Error, Progress, Simulator};
use serde_json::{Value, json};

use super::operations::Operation;
use super::reply::Refusal;
use super::routes::Call;

/// The operation's verb and target.
pub fn named(call: &Call) -> (&'static str, String) {
    match call {
        Call::Simulate(wanted) => ("simulate", format!("{} nodes", wanted.nodes)),
        Call::TellZone { zone, state: State::Failed } => ("failZone", zone.clone()),
        Call::TellZone { zone, .. } => ("recoverZone", zone.clone()),
        _ => ("deleteSimulation", String::new()),
    }
}

/// Does it, and tells its steps.
pub async fn run(simulator: Simulator, call: Call, operation: Arc<Operation>) -> Result<Value, Refusal> {
    let progress = |step: Progress| operation.step(json!(step));
    let done = match call {
        Call::Simulate(wanted) => simulator.create(&wanted, &progress).await,
        Call::TellZone { zone, state } => simulator.tell_zone(&zone, state, &progress).await,
        _ => simulator.delete(&progress).await,
    };
    match done {
        Ok(status) => Ok(json!(status)),
        Err(Error::Invalid { field, problem }) => Err(Refusal::invalid(&field, &problem)),
        Err(error @ Error::Taken(_)) => Err(Refusal::taken(&error.to_string())),
        Err(error @ Error::NoZone { .. }) => Err(Refusal::not_found(error.to_string())),
        Err(Error::Api(kube::Error::Api(status))) if (400..500).contains(&status.code) => {
            Err(Refusal::by_api(status.code, &status.message))
        }
        Err(error @ Error::Api(_)) => Err(Refusal::internal(&error.to_string())),
    }
}
