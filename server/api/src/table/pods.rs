//! Pods: upstream's `printPod`.

use jiff::Timestamp;
use serde_json::Value;

use super::access::{boolean, condition, has, list, map, name, number, text, text_or};
use super::age::{age, since};
use super::words;
use super::{AGE, Column, NAME, Printer, printer, text as column, wide};

static POD_COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    column("Status", "The aggregate status of the containers in this pod."),
    column(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    AGE,
    wide(
        "IP",
        "IP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.",
    ),
    wide("Node", "NodeName is a request to schedule this pod onto a specific node."),
    wide(
        "Nominated Node",
        "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as preemption victims receive their graceful termination periods.",
    ),
    wide("Readiness Gates", "If specified, all readiness gates will be evaluated for pod readiness."),
];

static TEMPLATE_COLUMNS: &[Column] = &[
    NAME,
    column("Containers", "Names of each container in the template."),
    column("Images", "Images referenced by each container in the template."),
    column("Pod Labels", "The labels for the pod template."),
];

/// What the cells of a pod are made of.
const POD_READS: &[&str] = &[
    "metadata.name",
    "metadata.creationTimestamp",
    "metadata.deletionTimestamp",
    "spec.nodeName",
    "spec.containers.name",
    "spec.initContainers.name",
    "spec.initContainers.restartPolicy",
    "spec.readinessGates",
    "status.phase",
    "status.reason",
    "status.podIPs",
    "status.nominatedNodeName",
    "status.conditions.type",
    "status.conditions.status",
    "status.conditions.reason",
    "status.initContainerStatuses.name",
    "status.initContainerStatuses.ready",
    "status.initContainerStatuses.started",
    "status.initContainerStatuses.restartCount",
    "status.initContainerStatuses.state",
    "status.initContainerStatuses.lastState.terminated.finishedAt",
    "status.containerStatuses.ready",
    "status.containerStatuses.restartCount",
    "status.containerStatuses.state",
    "status.containerStatuses.lastState.terminated.finishedAt",
];

pub(super) const PRINTERS: &[Printer] = &[
    printer("pods", POD_COLUMNS, pod).reading(POD_READS),
    printer("podtemplates", TEMPLATE_COLUMNS, template),
];

fn template(object: &Value, _now: Timestamp) -> Vec<Value> {
    let [names, images] = words::containers(object, "/template/spec");
    vec![name(object), names, images, words::labels(map(object, "/template/metadata/labels")).into()]
}

fn pod(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarize(pod);
    let ip = text(pod, "/status/podIPs/0/ip");
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        summary.restarts.words(now).into(),
        age(pod, now),
        if ip.is_empty() { "<none>" } else { ip }.into(),
        text_or(pod, "/spec/nodeName", "<none>").into(),
        text_or(pod, "/status/nominatedNodeName", "<none>").into(),
        readiness_gates(pod).into(),
    ]
}

/// Restarts, and when the last container ended that was started again.
#[derive(Default, Clone)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += number(status, "/restartCount");
        let finished = text(status, "/lastState/terminated/finishedAt").parse::<Timestamp>().ok();
        self.last = self.last.max(finished);
    }

    fn words(&self, now: Timestamp) -> String {
        match self.last.filter(|_| self.count != 0) {
            Some(last) => format!("{} ({} ago)", self.count, since(&last.to_string(), now)),
            None => self.count.to_string(),
        }
    }
}

struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: Restarts,
}

fn summarize(pod: &Value) -> Summary {
    let sidecars = list(pod, "/spec/initContainers").iter().filter(|container| is_sidecar(container)).count();
    let mut summary = Summary {
        reason: text_or(pod, "/status/reason", text(pod, "/status/phase")).to_owned(),
        ready: 0,
        total: list(pod, "/spec/containers").len() + sidecars,
        restarts: Restarts::default(),
    };
    let gated = |condition: &Value| {
        text(condition, "/type") == "PodScheduled" && text(condition, "/reason") == "SchedulingGated"
    };
    if list(pod, "/status/conditions").iter().any(gated) {
        summary.reason = "SchedulingGated".to_owned();
    }
    let mut of_sidecars = Restarts::default();
    let initializing = init_containers(pod, &mut summary, &mut of_sidecars);
    if !initializing || condition(pod, "Initialized", "True") {
        summary.restarts = of_sidecars;
        containers(pod, &mut summary);
    }
    deletion(pod, &mut summary);
    summary
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "/restartPolicy") == "Always"
}

/// Whether an init container still holds the pod back; the first that does gives the reason.
fn init_containers(pod: &Value, summary: &mut Summary, of_sidecars: &mut Restarts) -> bool {
    let specs = list(pod, "/spec/initContainers");
    for (at, status) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
        let spec = specs.iter().find(|spec| text(spec, "/name") == text(status, "/name"));
        let sidecar = spec.is_some_and(is_sidecar);
        summary.restarts.add(status);
        if sidecar {
            of_sidecars.add(status);
        }
        if has(status, "/state/terminated") && number(status, "/state/terminated/exitCode") == 0 {
            continue;
        }
        if sidecar && boolean(status, "/started") {
            summary.ready += usize::from(boolean(status, "/ready"));
            continue;
        }
        let waiting = text(status, "/state/waiting/reason");
        summary.reason = match () {
            () if has(status, "/state/terminated") => format!("Init:{}", ended(status)),
            () if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            () => format!("Init:{at}/{}", specs.len()),
        };
        return true;
    }
    false
}

/// Why a container ended.
fn ended(status: &Value) -> String {
    let signal = number(status, "/state/terminated/signal");
    match text(status, "/state/terminated/reason") {
        "" if signal != 0 => format!("Signal:{signal}"),
        "" => format!("ExitCode:{}", number(status, "/state/terminated/exitCode")),
        reason => reason.to_owned(),
    }
}

fn containers(pod: &Value, summary: &mut Summary) {
    let mut has_running = false;
    for status in list(pod, "/status/containerStatuses").iter().rev() {
        summary.restarts.add(status);
        let waiting = text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if has(status, "/state/terminated") {
            summary.reason = ended(status);
        } else if boolean(status, "/ready") && has(status, "/state/running") {
            has_running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && has_running {
        let ready = condition(pod, "Ready", "True");
        summary.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn deletion(pod: &Value, summary: &mut Summary) {
    if !has(pod, "/metadata/deletionTimestamp") {
        return;
    }
    if text(pod, "/status/reason") == "NodeLost" {
        summary.reason = "Unknown".to_owned();
    } else if !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
        summary.reason = "Terminating".to_owned();
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| condition(pod, text(gate, "/conditionType"), "True")).count();
    format!("{open}/{}", gates.len())
}
