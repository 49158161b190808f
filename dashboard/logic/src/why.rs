//! Why something does not run: the cause and, by it, the next step. Read from the object alone, so it is as fresh as the
//! object, and one [`Cause`] is one sentence in each of the page's languages.

use serde_json::Value;

/// A cause that has words and a next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The image is not there or may not be had.
    ImagePull,
    /// The image's name is none.
    ImageName,
    /// It ends again and again.
    CrashLoop,
    /// It was killed because it used more memory than its limit.
    OutOfMemory,
    /// It ended with an error.
    Failed,
    /// A ConfigMap, Secret or key that it wants is not there.
    ConfigMissing,
    /// Its command cannot be started.
    CannotStart,
    /// No node takes it.
    Unschedulable,
    /// Runs, but does not answer its readiness probe.
    NotReady,
    /// Has not passed its startup probe yet.
    NotStarted,
    /// An init container has not ended well.
    Init,
    /// A volume is not there yet.
    Volume,
    /// A quota forbids more.
    Quota,
    /// The node put it out.
    Evicted,
    /// Its node is not heard of.
    NodeLost,
    /// It is being deleted, and something holds it.
    Deleting,
    /// A rollout does not get on.
    RolloutStuck,
    /// A claim waits for a volume.
    ClaimPending,
    /// A claim names a StorageClass that does not exist.
    NoClass,
    /// A node says that something is wrong with it.
    NodeUnwell,
    /// A job has failed.
    JobFailed,
}

/// A cause, where, and the API's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    pub cause: Cause,
    /// The container, condition or the like; may be empty.
    pub of: String,
    pub message: String,
}

fn why(cause: Cause, of: &str, message: &str) -> Why {
    Why { cause, of: of.to_owned(), message: message.to_owned() }
}

/// The StorageClass that a claim without a volume names; none for any other object. Whether there is one, the claim does not say.
pub fn class_of(object: &Value) -> Option<String> {
    let waits = object["kind"] == "PersistentVolumeClaim" && object["status"]["phase"] == "Pending";
    let class = word(&object["spec"]["storageClassName"]);
    (waits && !class.is_empty()).then(|| class.to_owned())
}

/// What is wrong with a claim whose StorageClass does not exist.
pub fn no_class(class: &str) -> Why {
    // the pages are built without {:?}
    why(Cause::NoClass, class, &format!("storageclass.storage.k8s.io \"{class}\" not found"))
}

/// What is wrong with an object; nothing if all is well or the kind is not known.
pub fn of(object: &Value) -> Vec<Why> {
    let mut all = match word(&object["kind"]) {
        "Pod" => pod(object),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" => {
            workload(object)
        }
        "Job" => conditions(object, "Failed", "True", Cause::JobFailed),
        "Node" => node(object),
        "PersistentVolumeClaim" if object["status"]["phase"] == "Pending" => {
            vec![why(Cause::ClaimPending, "", "")]
        }
        _ => Vec::new(),
    };
    let held: Vec<&str> = list(&object["metadata"]["finalizers"]).iter().map(word).collect();
    if object["metadata"]["deletionTimestamp"].is_string() && !held.is_empty() {
        all.push(why(Cause::Deleting, &held.join(", "), ""));
    }
    all
}

fn pod(pod: &Value) -> Vec<Why> {
    let status = &pod["status"];
    if status["reason"] == "Evicted" {
        return vec![why(Cause::Evicted, word(&pod["spec"]["nodeName"]), word(&status["message"]))];
    }
    if status["reason"] == "NodeLost" {
        return vec![why(Cause::NodeLost, word(&pod["spec"]["nodeName"]), word(&status["message"]))];
    }
    let unscheduled = list(&status["conditions"])
        .iter()
        .find(|one| one["type"] == "PodScheduled" && one["status"] == "False");
    if let Some(condition) = unscheduled {
        return vec![why(Cause::Unschedulable, "", word(&condition["message"]))];
    }
    let mut all: Vec<Why> = list(&status["initContainerStatuses"]).iter().filter_map(init).collect();
    if all.is_empty() {
        all = list(&status["containerStatuses"])
            .iter()
            .filter_map(|container| running(container, pod))
            .collect();
    }
    all
}

fn init(container: &Value) -> Option<Why> {
    let found = waiting(container).or_else(|| ended(container))?;
    let cause =
        if matches!(found.cause, Cause::CrashLoop | Cause::Failed) { Cause::Init } else { found.cause };
    Some(Why { cause, ..found })
}

fn running(container: &Value, pod: &Value) -> Option<Why> {
    if let Some(found) = waiting(container).or_else(|| ended(container)) {
        return Some(found);
    }
    let name = word(&container["name"]);
    let runs = container["state"]["running"].is_object();
    let spec = list(&pod["spec"]["containers"]).iter().find(|one| one["name"] == container["name"])?;
    match () {
        () if runs && container["started"] == false && spec["startupProbe"].is_object() => {
            Some(why(Cause::NotStarted, name, ""))
        }
        () if runs && container["ready"] == false && spec["readinessProbe"].is_object() => {
            Some(why(Cause::NotReady, name, ""))
        }
        () => None,
    }
}

fn waiting(container: &Value) -> Option<Why> {
    let state = &container["state"]["waiting"];
    let last = &container["lastState"]["terminated"];
    let message = word(&state["message"]);
    let (cause, message) = match word(&state["reason"]) {
        "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "RegistryUnavailable" => {
            (Cause::ImagePull, cause_of_pull(message).to_owned())
        }
        "InvalidImageName" => (Cause::ImageName, message.to_owned()),
        "CreateContainerConfigError" => (Cause::ConfigMissing, message.to_owned()),
        "RunContainerError" | "CreateContainerError" | "StartError" => {
            (Cause::CannotStart, message.to_owned())
        }
        "CrashLoopBackOff" if last["reason"] == "OOMKilled" => (Cause::OutOfMemory, exit(last)),
        "CrashLoopBackOff" if matches!(word(&last["reason"]), "StartError" | "ContainerCannotRun") => {
            (Cause::CannotStart, exit(last))
        }
        "CrashLoopBackOff" => (Cause::CrashLoop, exit(last)),
        _ if message.contains("volume") || message.contains("mount") => (Cause::Volume, message.to_owned()),
        _ => return None,
    };
    Some(why(cause, word(&container["name"]), &message))
}

/// The last of the causes of a pull that failed: those before it say again which image, and what was tried with it.
fn cause_of_pull(message: &str) -> &str {
    let marks = ["failed to resolve reference \"", "failed to pull and unpack image \""];
    let cause = marks.iter().find_map(|mark| message.split_once(mark)?.1.split_once("\": "));
    cause.map_or(message, |(_, cause)| cause)
}

fn ended(container: &Value) -> Option<Why> {
    let state = &container["state"]["terminated"];
    let code = state["exitCode"].as_i64().filter(|code| *code != 0)?;
    let cause = match word(&state["reason"]) {
        "OOMKilled" => Cause::OutOfMemory,
        "ContainerCannotRun" | "StartError" => Cause::CannotStart,
        _ if code == 126 || code == 127 => Cause::CannotStart,
        _ => Cause::Failed,
    };
    Some(why(cause, word(&container["name"]), &exit(state)))
}

/// `exit code 137 (OOMKilled): message`.
fn exit(state: &Value) -> String {
    let Some(code) = state["exitCode"].as_i64() else { return String::new() };
    let reason = word(&state["reason"]);
    let message = word(&state["message"]).trim();
    let colon = if message.is_empty() { "" } else { ": " };
    if reason.is_empty() {
        format!("exit code {code}{colon}{message}")
    } else {
        format!("exit code {code} ({reason}){colon}{message}")
    }
}

fn workload(object: &Value) -> Vec<Why> {
    let mut all = conditions(object, "Progressing", "False", Cause::RolloutStuck);
    all.extend(conditions(object, "ReplicaFailure", "True", Cause::RolloutStuck));
    for found in &mut all {
        if found.message.contains("quota") {
            found.cause = Cause::Quota;
        }
    }
    all
}

fn node(node: &Value) -> Vec<Why> {
    let bad = |condition: &&Value| (condition["type"] == "Ready") != (condition["status"] == "True");
    let told =
        |condition: &Value| why(Cause::NodeUnwell, word(&condition["type"]), word(&condition["message"]));
    list(&node["status"]["conditions"]).iter().filter(bad).map(told).collect()
}

fn conditions(object: &Value, kind: &str, status: &str, cause: Cause) -> Vec<Why> {
    let all = list(&object["status"]["conditions"]).iter();
    let found = all.filter(|one| one["type"] == kind && one["status"] == status);
    found.map(|one| why(cause, word(&one["reason"]), word(&one["message"]))).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
#[path = "why_cases.rs"]
mod cases;
