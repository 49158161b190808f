//! How an object is, as its Table's cells tell: what kubectl shows is what is judged.

use sampan_view::Health;

/// Health and reason of an object; `text` gives the cell of a column. `deleting`: it has a deletionTimestamp.
pub fn of(
    group: &str,
    resource: &str,
    deleting: bool,
    text: &dyn Fn(&str) -> Option<String>,
) -> (Health, String) {
    let (health, reason) = judged(group, resource, text);
    match deleting && health != Health::Failed {
        true => (Health::Progressing, "Terminating".to_owned()),
        false => (health, reason),
    }
}

fn judged(group: &str, resource: &str, text: &dyn Fn(&str) -> Option<String>) -> (Health, String) {
    let cell = |name: &str| text(name).unwrap_or_default();
    let said = |name: &str, judge: fn(&str) -> Health| (judge(&cell(name)), cell(name));
    match (group, resource) {
        ("", "pods") => pod(&cell("Status"), &cell("Ready"), &cell("Node"), &cell("Restarts")),
        ("", "nodes") => said("Status", node),
        ("", "namespaces") => {
            said("Status", |status| if status == "Active" { Health::Healthy } else { Health::Progressing })
        }
        ("", "persistentvolumeclaims" | "persistentvolumes") => said("Status", volume),
        ("" | "events.k8s.io", "events") => (event(&cell("Type")), cell("Reason")),
        ("apps", "deployments" | "statefulsets") => counted(&cell("Ready")),
        ("apps" | "", "replicasets" | "replicationcontrollers" | "daemonsets") => {
            counted(&format!("{}/{}", cell("Ready"), cell("Desired")))
        }
        ("batch", "jobs") => job(&cell("Status"), &cell("Completions")),
        ("batch", "cronjobs") => match cell("Suspend").as_str() {
            "True" | "true" => (Health::Done, "Suspended".to_owned()),
            _ => (Health::Healthy, String::new()),
        },
        ("apiregistration.k8s.io", "apiservices") => match cell("Available") {
            available if available.starts_with("True") => (Health::Healthy, "Available".to_owned()),
            available => (Health::Failed, available),
        },
        ("certificates.k8s.io", "certificatesigningrequests") => said("Condition", request),
        _ => custom(text),
    }
}

fn pod(status: &str, ready: &str, node: &str, restarts: &str) -> (Health, String) {
    let unready = ready.split_once('/').is_some_and(|(ready, all)| ready != all);
    let restarted = !restarts.is_empty() && restarts != "0";
    let health = match status {
        "Running" if !unready => Health::Healthy,
        "Running" if restarted => Health::Warning,
        "Running" | "ContainerCreating" | "PodInitializing" | "Terminating" | "SchedulingGated" => {
            Health::Progressing
        }
        "Completed" | "Succeeded" => Health::Done,
        // no node: nothing has been done for it yet, or nothing can be
        "Pending" if ["", "<none>"].contains(&node) => Health::Warning,
        "Pending" => Health::Progressing,
        "NotReady" => Health::Warning,
        "" => Health::None,
        init if init.strip_prefix("Init:").is_some_and(is_count) => Health::Progressing,
        _ => Health::Failed,
    };
    (health, status.to_owned())
}

/// `1/3`.
fn is_count(text: &str) -> bool {
    text.split_once('/').is_some_and(|(done, all)| done.parse::<u32>().is_ok() && all.parse::<u32>().is_ok())
}

fn node(status: &str) -> Health {
    let mut words = status.split(',');
    match (words.next(), words.next()) {
        (Some("Ready"), None) => Health::Healthy,
        (Some("Ready"), _) => Health::Warning,
        _ => Health::Failed,
    }
}

fn volume(status: &str) -> Health {
    match status {
        "Bound" => Health::Healthy,
        "Available" => Health::Done,
        "Pending" => Health::Progressing,
        "Released" => Health::Warning,
        "Lost" | "Failed" => Health::Failed,
        _ => Health::Progressing,
    }
}

fn event(kind: &str) -> Health {
    match kind {
        "Warning" => Health::Warning,
        _ => Health::None,
    }
}

/// `2/3`: of three wanted, two are ready.
fn counted(ready: &str) -> (Health, String) {
    let numbers = ready
        .split_once('/')
        .and_then(|(ready, all)| Some((ready.parse::<u64>().ok()?, all.parse::<u64>().ok()?)));
    let health = match numbers {
        Some((_, 0)) => Health::Done,
        Some((ready, all)) if ready >= all => Health::Healthy,
        Some((0, _)) => Health::Failed,
        Some(_) => Health::Warning,
        None => Health::None,
    };
    let reason = match health {
        Health::Healthy => "Available",
        Health::Done => "ScaledToZero",
        Health::None => "",
        _ => "Unavailable",
    };
    (health, reason.to_owned())
}

fn job(status: &str, completions: &str) -> (Health, String) {
    let health = match status {
        "Complete" | "SuccessCriteriaMet" => Health::Done,
        "Failed" | "FailureTarget" => Health::Failed,
        "Suspended" => Health::Warning,
        "" if completions.split_once('/').is_some_and(|(done, all)| done == all) => Health::Done,
        _ => Health::Progressing,
    };
    (health, status.to_owned())
}

fn request(condition: &str) -> Health {
    match condition.split(',').next() {
        Some("Approved") => Health::Healthy,
        Some("Denied" | "Failed") => Health::Failed,
        _ => Health::Progressing,
    }
}

/// A custom resource that shows whether it is ready, as most operators' do.
fn custom(text: &dyn Fn(&str) -> Option<String>) -> (Health, String) {
    let found =
        ["Ready", "Available", "Healthy", "Synced"].into_iter().find_map(|name| Some((name, text(name)?)));
    match found.as_ref().map(|(name, value)| (*name, value.as_str())) {
        Some((name, "True" | "true")) => (Health::Healthy, name.to_owned()),
        Some((name, "False" | "false")) => (Health::Failed, format!("Not{name}")),
        Some((_, "Unknown")) => (Health::Progressing, "Unknown".to_owned()),
        _ => (Health::None, text("Status").or_else(|| text("Phase")).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(group: &str, resource: &str, cells: &[(&str, &str)]) -> Health {
        let text =
            |name: &str| cells.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        of(group, resource, false, &text).0
    }

    #[test]
    fn pods_are_judged_as_kubectl_shows_them() {
        for (status, ready, restarts, node, expected) in [
            ("Running", "1/1", "0", "n", Health::Healthy),
            ("Running", "0/1", "0", "n", Health::Progressing),
            ("Running", "1/2", "3 (1m ago)", "n", Health::Warning),
            ("Completed", "0/1", "0", "n", Health::Done),
            ("Pending", "0/1", "0", "<none>", Health::Warning),
            ("Pending", "0/1", "0", "n", Health::Progressing),
            ("ContainerCreating", "0/1", "0", "n", Health::Progressing),
            ("Init:0/2", "0/1", "0", "n", Health::Progressing),
            ("Init:Error", "0/1", "0", "n", Health::Failed),
            ("Init:CrashLoopBackOff", "0/1", "0", "n", Health::Failed),
            ("CrashLoopBackOff", "0/1", "5", "n", Health::Failed),
            ("ImagePullBackOff", "0/1", "0", "n", Health::Failed),
            ("OOMKilled", "0/1", "1", "n", Health::Failed),
            ("ExitCode:3", "0/1", "1", "n", Health::Failed),
            ("Evicted", "0/1", "0", "n", Health::Failed),
        ] {
            let cells = [("Status", status), ("Ready", ready), ("Restarts", restarts), ("Node", node)];
            assert_eq!(health("", "pods", &cells), expected, "{status} {ready}");
        }
    }

    #[test]
    fn others_are_judged_by_what_they_count_or_say() {
        for (group, resource, cells, expected) in [
            ("apps", "deployments", vec![("Ready", "3/3")], Health::Healthy),
            ("apps", "deployments", vec![("Ready", "1/3")], Health::Warning),
            ("apps", "deployments", vec![("Ready", "0/3")], Health::Failed),
            ("apps", "deployments", vec![("Ready", "0/0")], Health::Done),
            ("apps", "daemonsets", vec![("Ready", "2"), ("Desired", "2")], Health::Healthy),
            ("", "nodes", vec![("Status", "Ready")], Health::Healthy),
            ("", "nodes", vec![("Status", "Ready,SchedulingDisabled")], Health::Warning),
            ("", "nodes", vec![("Status", "NotReady")], Health::Failed),
            ("batch", "jobs", vec![("Status", "Complete"), ("Completions", "1/1")], Health::Done),
            ("batch", "jobs", vec![("Status", "Running"), ("Completions", "0/1")], Health::Progressing),
            ("batch", "cronjobs", vec![("Suspend", "True")], Health::Done),
            ("", "persistentvolumeclaims", vec![("Status", "Pending")], Health::Progressing),
            ("", "events", vec![("Type", "Warning")], Health::Warning),
            ("", "services", vec![("Type", "ClusterIP")], Health::None),
            ("x.example", "things", vec![("Ready", "False")], Health::Failed),
            ("x.example", "things", vec![("Ready", "True")], Health::Healthy),
            ("x.example", "things", vec![], Health::None),
        ] {
            assert_eq!(health(group, resource, &cells), expected, "{resource} {cells:?}");
        }
    }

    #[test]
    fn what_is_being_deleted_is_on_its_way() {
        let text = |name: &str| (name == "Status").then(|| "Active".to_owned());
        assert_eq!(of("", "namespaces", true, &text), (Health::Progressing, "Terminating".to_owned()));
    }
}
