//! Containers made to look into a pod or a node, as `kubectl debug` makes them, and how far they have come.

use serde_json::{Value, json};

/// What is known of a container that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Not there yet, and what is said of it.
    Waiting(String),
    Running,
    /// It cannot start, or has ended; why.
    Over(String),
}

/// The strategic merge patch of `pods/ephemeralcontainers` that adds one; it sees the processes of `target`.
pub fn ephemeral(name: &str, image: &str, target: &str) -> Value {
    let mut container = json!({"name": name, "image": image, "imagePullPolicy": "IfNotPresent",
        "stdin": true, "tty": true, "terminationMessagePolicy": "File"});
    if !target.is_empty() {
        container["targetContainerName"] = target.into();
    }
    json!({"spec": {"ephemeralContainers": [container]}})
}

/// A pod in the namespaces of a node, with the node's files at `/host`; it is a shell of the node where that has one. It
/// ends with the terminal.
pub fn node_pod(name: &str, node: &str, image: &str) -> Value {
    const SHELL: &str = "[ -x /host/bin/sh ] && exec chroot /host /bin/sh -l; exec sh";
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "sampan-dashboard"}},
        "spec": {"nodeName": node, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "hostIPC": true, "hostNetwork": true, "hostPID": true,
            "tolerations": [{"operator": "Exists"}],
            "volumes": [{"name": "host-root", "hostPath": {"path": "/"}}],
            "containers": [{"name": "debugger", "image": image, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", SHELL], "stdin": true, "stdinOnce": true, "tty": true,
                "volumeMounts": [{"name": "host-root", "mountPath": "/host"}]}]}})
}

/// How far a container of a pod has come.
pub fn progress(pod: &Value, container: &str) -> Progress {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let said = |state: &Value| match (text(&state["reason"]), text(&state["message"])) {
        (reason, message) if message.is_empty() => reason,
        (reason, message) => format!("{reason}: {message}"),
    };
    let status = &pod["status"];
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let mut all = lists.iter().filter_map(|list| status[list].as_array()).flatten();
    let Some(state) = all.find(|one| one["name"] == container).map(|one| &one["state"]) else {
        // a pod that was refused has a reason of its own
        let refused = matches!(status["phase"].as_str(), Some("Failed" | "Succeeded"));
        return if refused { Progress::Over(said(status)) } else { Progress::Waiting(unscheduled(pod)) };
    };
    if state["running"].is_object() {
        return Progress::Running;
    }
    if state["terminated"].is_object() {
        return Progress::Over(said(&state["terminated"]));
    }
    Progress::Waiting(said(&state["waiting"]))
}

fn unscheduled(pod: &Value) -> String {
    let conditions = pod["status"]["conditions"].as_array();
    let waits = conditions
        .and_then(|all| all.iter().find(|one| one["type"] == "PodScheduled" && one["status"] == "False"));
    waits.and_then(|one| one["message"].as_str()).unwrap_or_default().to_owned()
}

/// The container's `tty`: whether a terminal is at its other end.
pub fn has_terminal(pod: &Value, container: &str) -> bool {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let mut all = lists.iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    all.any(|one| one["name"] == container && one["tty"] == true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_is_asked_for_is_followed() {
        let pod = |state: Value| {
            json!({"status": {"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}],
                "ephemeralContainerStatuses": [{"name": "look", "state": state}]}})
        };
        let of = |state: Value| progress(&pod(state), "look");
        assert_eq!(of(json!({"running": {}})), Progress::Running);
        let pull = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
        assert_eq!(of(pull), Progress::Waiting("ErrImagePull: not found".to_owned()));
        assert_eq!(
            of(json!({"terminated": {"reason": "Completed"}})),
            Progress::Over("Completed".to_owned())
        );
        assert_eq!(progress(&pod(json!({})), "other"), Progress::Waiting(String::new()));
        let refused = json!({"status": {"phase": "Failed", "reason": "NodeAffinity", "message": "no"}});
        assert_eq!(progress(&refused, "debugger"), Progress::Over("NodeAffinity: no".to_owned()));
    }

    #[test]
    fn an_ephemeral_container_may_see_the_processes_of_another() {
        let one =
            |target| ephemeral("debugger-a", "busybox", target)["spec"]["ephemeralContainers"][0].clone();
        assert_eq!(one("main")["targetContainerName"], "main");
        assert!(one("").get("targetContainerName").is_none());
        assert!(has_terminal(&json!({"spec": {"ephemeralContainers": [one("")]}}), "debugger-a"));
        assert!(!has_terminal(&json!({"spec": {"containers": [{"name": "a"}]}}), "a"));
    }
}
