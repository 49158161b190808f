//! What runs pods: deployments, replica sets, daemon sets, stateful sets, jobs, autoscalers, budgets.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::access::{condition, has, list, map, name, number, text, text_or};
use super::age::{age, human_duration, seconds_between, since};
use super::words;
use super::{
    AGE, CONTAINERS, Column, IMAGES, NAME, Printer, SELECTOR, boolean, integer, printer, text as column,
};

static REPLICAS: &[Column] = &[
    NAME,
    integer("Desired", "Replicas is the number of desired pods."),
    integer("Current", "Replicas is the most recently observed number of replicas."),
    integer("Ready", "The number of ready replicas."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

static DEPLOYMENT: &[Column] = &[
    NAME,
    column("Ready", "Number of the pod with ready state"),
    column(
        "Up-to-date",
        "Total number of non-terminating pods targeted by this deployment that have the desired template spec.",
    ),
    column(
        "Available",
        "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment.",
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

static DAEMON_SET: &[Column] = &[
    NAME,
    integer(
        "Desired",
        "The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod).",
    ),
    integer(
        "Current",
        "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod.",
    ),
    integer(
        "Ready",
        "numberReady is the number of nodes that should be running the daemon pod and have one or more of the daemon pod running with a Ready Condition.",
    ),
    integer("Up-to-date", "The total number of nodes that are running updated daemon pod"),
    integer(
        "Available",
        "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available (ready for at least spec.minReadySeconds)",
    ),
    column("Node Selector", "NodeSelector is a selector which must be true for the pod to fit on a node."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

static STATEFUL_SET: &[Column] =
    &[NAME, column("Ready", "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES];

static JOB: &[Column] = &[
    NAME,
    column("Status", "Status of the job."),
    column("Completions", "The number of pods which reached phase Succeeded."),
    column("Duration", "Time required to complete the job."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

static CRON_JOB: &[Column] = &[
    NAME,
    column("Schedule", "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
    column(
        "Timezone",
        "The time zone name for the given schedule, see https://en.wikipedia.org/wiki/List_of_tz_database_time_zones.",
    ),
    boolean(
        "Suspend",
        "This flag tells the controller to suspend subsequent executions, it does not apply to already started executions. Defaults to false.",
    ),
    integer("Active", "A list of pointers to currently running jobs."),
    column("Last Schedule", "Information when was the last time the job was successfully scheduled."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

static AUTOSCALER: &[Column] = &[
    NAME,
    column("Reference", "scaleTargetRef points to the target resource to scale."),
    column(
        "Targets",
        "metrics contains the specifications for which to use to calculate the desired replica count.",
    ),
    column(
        "MinPods",
        "minReplicas is the lower limit for the number of replicas to which the autoscaler can scale down.",
    ),
    column(
        "MaxPods",
        "maxReplicas is the upper limit for the number of replicas to which the autoscaler can scale up.",
    ),
    column("Replicas", "currentReplicas is current number of replicas of pods managed by this autoscaler."),
    AGE,
];

static BUDGET: &[Column] = &[
    NAME,
    column("Min Available", "The minimum number of pods that must be available."),
    column("Max Unavailable", "The maximum number of pods that may be unavailable."),
    integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
    AGE,
];

static REVISION: &[Column] = &[
    NAME,
    column("Controller", "Controller of the object"),
    column("Revision", "Revision indicates the revision of the state represented by Data."),
    AGE,
];

pub(super) static SCALE_COLUMNS: &[Column] = &[
    // upstream does not say that it is one
    Column { format: "", ..NAME },
    integer("Desired", "replicas is the desired number of instances for the scaled object."),
    integer("Available", "replicas is the actual number of observed instances of the scaled object."),
    AGE,
];

pub(super) const PRINTERS: &[Printer] = &[
    printer("replicationcontrollers", REPLICAS, replication_controller),
    printer("replicasets.apps", REPLICAS, replica_set),
    printer("deployments.apps", DEPLOYMENT, deployment),
    printer("daemonsets.apps", DAEMON_SET, daemon_set),
    printer("statefulsets.apps", STATEFUL_SET, stateful_set),
    printer("jobs.batch", JOB, job),
    printer("cronjobs.batch", CRON_JOB, cron_job),
    printer("horizontalpodautoscalers.autoscaling", AUTOSCALER, autoscaler),
    printer("poddisruptionbudgets.policy", BUDGET, budget),
    printer("controllerrevisions.apps", REVISION, revision),
];

/// The wide cells of a kind with a pod template.
fn template(object: &Value, selector: String) -> [Value; 3] {
    let [names, images] = words::containers(object, "/spec/template/spec");
    [names, images, selector.into()]
}

fn replicas(object: &Value, now: Timestamp, selector: String) -> Vec<Value> {
    let mut cells = vec![
        name(object),
        number(object, "/spec/replicas").into(),
        number(object, "/status/replicas").into(),
        number(object, "/status/readyReplicas").into(),
        age(object, now),
    ];
    cells.extend(template(object, selector));
    cells
}

fn replication_controller(object: &Value, now: Timestamp) -> Vec<Value> {
    replicas(object, now, words::labels(map(object, "/spec/selector")))
}

fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    replicas(object, now, words::selector(object.pointer("/spec/selector")))
}

fn ready_of_desired(object: &Value) -> Value {
    format!("{}/{}", number(object, "/status/readyReplicas"), number(object, "/spec/replicas")).into()
}

fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![
        name(object),
        ready_of_desired(object),
        number(object, "/status/updatedReplicas").into(),
        number(object, "/status/availableReplicas").into(),
        age(object, now),
    ];
    cells.extend(template(object, words::selector(object.pointer("/spec/selector"))));
    cells
}

fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let counts = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let mut cells = vec![name(object)];
    cells.extend(counts.map(|count| Value::from(number(object, &format!("/status/{count}")))));
    cells.push(words::labels(map(object, "/spec/template/spec/nodeSelector")).into());
    cells.push(age(object, now));
    cells.extend(template(object, words::selector(object.pointer("/spec/selector"))));
    cells
}

fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = words::containers(object, "/spec/template/spec");
    vec![name(object), ready_of_desired(object), age(object, now), names, images]
}

fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![
        name(object),
        job_status(object).into(),
        completions(object).into(),
        job_duration(object, now).into(),
        age(object, now),
    ];
    cells.extend(template(object, words::selector(object.pointer("/spec/selector"))));
    cells
}

fn job_status(object: &Value) -> &'static str {
    let is = |ty: &str| condition(object, ty, "True");
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if has(object, "/metadata/deletionTimestamp") => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(object: &Value) -> String {
    let succeeded = number(object, "/status/succeeded");
    if has(object, "/spec/completions") {
        return format!("{succeeded}/{}", number(object, "/spec/completions"));
    }
    match number(object, "/spec/parallelism") {
        parallelism if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        _ => format!("{succeeded}/1"),
    }
}

fn job_duration(object: &Value, now: Timestamp) -> String {
    let time = |pointer: &str| text(object, pointer).parse::<Timestamp>().ok();
    let Some(start) = time("/status/startTime") else { return String::new() };
    human_duration(seconds_between(start, time("/status/completionTime").unwrap_or(now)))
}

fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let suspend = match object.pointer("/spec/suspend").and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let last = match text(object, "/status/lastScheduleTime") {
        "" => "<none>".to_owned(),
        time => since(time, now),
    };
    let [names, images] = words::containers(object, "/spec/jobTemplate/spec/template/spec");
    vec![
        name(object),
        text(object, "/spec/schedule").into(),
        text_or(object, "/spec/timeZone", "<none>").into(),
        suspend.into(),
        list(object, "/status/active").len().into(),
        last.into(),
        age(object, now),
        names,
        images,
        words::selector(object.pointer("/spec/jobTemplate/spec/selector")).into(),
    ]
}

fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let target = format!(
        "{}/{}",
        text(object, "/spec/scaleTargetRef/kind"),
        text(object, "/spec/scaleTargetRef/name")
    );
    let min = match object.pointer("/spec/minReplicas").and_then(Value::as_i64) {
        Some(min) => min.to_string(),
        None => "<unset>".to_owned(),
    };
    vec![
        name(object),
        target.into(),
        metrics(object).into(),
        min.into(),
        number(object, "/spec/maxReplicas").into(),
        number(object, "/status/currentReplicas").into(),
        age(object, now),
    ]
}

/// Upstream's `formatHPAMetrics`: current over target, two at most.
fn metrics(object: &Value) -> String {
    let specs = list(object, "/spec/metrics");
    if specs.is_empty() {
        return version_one_target(object);
    }
    let statuses = list(object, "/status/currentMetrics");
    let items: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(at, spec)| metric(spec, statuses.get(at).unwrap_or(&Value::Null)))
        .collect();
    words::shortened(&items, 2, ", ")
}

/// autoscaling/v1 knows one metric: CPU in percent.
fn version_one_target(object: &Value) -> String {
    if !has(object, "/spec/targetCPUUtilizationPercentage") {
        return "<none>".to_owned();
    }
    let target = number(object, "/spec/targetCPUUtilizationPercentage");
    match object.pointer("/status/currentCPUUtilizationPercentage").and_then(Value::as_i64) {
        Some(current) => format!("cpu: {current}%/{target}%"),
        None => format!("cpu: <unknown>/{target}%"),
    }
}

fn metric(spec: &Value, status: &Value) -> String {
    let member = match text(spec, "/type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let target = spec.get(member).unwrap_or(&Value::Null);
    let current = status.get(member).unwrap_or(&Value::Null);
    let pair = |value: &str| {
        let now = text_or(current, &format!("/current/{value}"), "<unknown>").to_owned();
        format!("{now}/{}", text(target, &format!("/target/{value}")))
    };
    let by_average = has(target, "/target/averageValue");
    match member {
        "pods" => pair("averageValue"),
        "external" | "object" if by_average => format!("{} (avg)", pair("averageValue")),
        "external" | "object" => pair("value"),
        _ if by_average => format!("{}: {}", text(target, "/name"), pair("averageValue")),
        _ => format!("{}: {}", text(target, "/name"), utilization(target, current)),
    }
}

fn utilization(target: &Value, current: &Value) -> String {
    let percent = |value: Option<&Value>, none: &str| match value.and_then(Value::as_i64) {
        Some(percent) => format!("{percent}%"),
        None => none.to_owned(),
    };
    let now = percent(current.pointer("/current/averageUtilization"), "<unknown>");
    format!("{now}/{}", percent(target.pointer("/target/averageUtilization"), "<auto>"))
}

fn budget(object: &Value, now: Timestamp) -> Vec<Value> {
    let amount = |pointer: &str| match object.pointer(pointer) {
        Some(Value::String(percent)) => percent.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "N/A".to_owned(),
    };
    vec![
        name(object),
        amount("/spec/minAvailable").into(),
        amount("/spec/maxUnavailable").into(),
        number(object, "/status/disruptionsAllowed").into(),
        age(object, now),
    ]
}

fn revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let owners = list(object, "/metadata/ownerReferences");
    let owner = owners.iter().find(|owner| owner.get("controller") == Some(&json!(true)));
    let controller = owner.map_or("<none>".to_owned(), |owner| {
        let kind = text(owner, "/kind").to_lowercase();
        match text(owner, "/apiVersion").split_once('/') {
            Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "/name")),
            None => format!("{kind}/{}", text(owner, "/name")),
        }
    });
    vec![name(object), controller.into(), number(object, "/revision").into(), age(object, now)]
}

pub(super) fn scale(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = |pointer: &str| Value::from(number(object, pointer));
    vec![name(object), count("/spec/replicas"), count("/status/replicas"), age(object, now)]
}
