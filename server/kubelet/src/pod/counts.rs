//! What upstream's kubelet counts of pods and containers that it starts (`pkg/kubelet/metrics`).

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::machine::StartFailure;
use super::state::{End, Kind};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Started {
    container_type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NotStarted {
    container_type: &'static str,
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    container_type: &'static str,
    exit_code: i32,
    reason: String,
}

#[derive(Default)]
struct Counts {
    pods: Counter,
    pod_errors: Counter,
    started: Family<Started, Counter>,
    errors: Family<NotStarted, Counter>,
    ended: Family<Ended, Counter>,
}

static COUNTS: LazyLock<Counts> = LazyLock::new(|| {
    let counts = Counts::default();
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    // the encoder appends _total to counters
    let registry = registry.sub_registry_with_prefix("kubelet");
    registry.register("started_pods", "Cumulative number of pods started", counts.pods.clone());
    let help = "Cumulative number of errors when starting pods";
    registry.register("started_pods_errors", help, counts.pod_errors.clone());
    registry.register(
        "started_containers",
        "Cumulative number of containers started",
        counts.started.clone(),
    );
    let help = "Cumulative number of errors when starting containers";
    registry.register("started_containers_errors", help, counts.errors.clone());
    let help = "Cumulative number of container terminations.";
    registry.register("terminated_containers", help, counts.ended.clone());
    counts
});

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Init | Kind::Sidecar => "init_container",
        Kind::Main => "container",
        Kind::Ephemeral => "ephemeral_container",
    }
}

/// A pod's sandbox was made, or could not be.
pub fn pod_started(well: bool) {
    let _ = if well { COUNTS.pods.inc() } else { COUNTS.pod_errors.inc() };
}

/// A container was started.
pub fn started(kind: Kind) {
    COUNTS.started.get_or_create(&Started { container_type: type_of(kind) }).inc();
}

/// A container could not be started.
pub fn not_started(kind: Kind, failure: &StartFailure) {
    let code = match failure {
        StartFailure::Image(reason, _) | StartFailure::Create(reason, _) => (*reason).to_owned(),
        StartFailure::Run(end) => {
            ended(kind, end);
            end.reason.clone()
        }
        StartFailure::Aborted => return,
    };
    COUNTS.errors.get_or_create(&NotStarted { container_type: type_of(kind), code }).inc();
}

/// A container has ended.
pub fn ended(kind: Kind, end: &End) {
    let (container_type, exit_code, reason) = (type_of(kind), end.exit_code, end.reason.clone());
    COUNTS.ended.get_or_create(&Ended { container_type, exit_code, reason }).inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_counted_by_its_kind_and_exit() {
        let end = End {
            id: "c".to_owned(),
            image: String::new(),
            image_id: String::new(),
            user: None,
            exit_code: 139,
            reason: "Error".to_owned(),
            message: String::new(),
            started_at: None,
            finished_at: jiff::Timestamp::now(),
        };
        ended(Kind::Sidecar, &end);
        let text = sampan_process::metrics::encode();
        let line = "kubelet_terminated_containers_total{container_type=\"init_container\",exit_code=\"139\",reason=\"Error\"} 1";
        assert!(text.lines().any(|one| one == line), "{text}");
    }
}
