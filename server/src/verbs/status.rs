//! `sampan status`, in minikube's form: a text per node and an exit code with a bit for each that is down.

use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::control::{self, Request};
use crate::failure::Kind;
use crate::kubeconfig::{self, Owner};
use crate::ui::Format;

/// Exit bits, as minikube's.
const HOST_DOWN: u8 = 1;
const CLUSTER_DOWN: u8 = 2;
const KUBERNETES_DOWN: u8 = 4;

/// What is known of the one node.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    name: String,
    host: &'static str,
    kubelet: &'static str,
    apiserver: &'static str,
    kubeconfig: &'static str,
    /// The daemon's process, while it runs.
    pid: Option<u64>,
}

/// Runs the verb.
pub async fn run(context: Context) -> Outcome {
    let Context { profile, ui } = &context;
    let answer = control::ask(&profile.socket(), &Request::Status, drop).await;
    let report = match answer {
        Ok(status) => {
            let server = status["address"].as_str().unwrap_or_default();
            Report::of(&profile.name, &status, configured(&profile.name, server))
        }
        Err(failure) if failure.kind == Kind::PermissionDenied => return Err(failure),
        Err(_) if profile.exists()? => Report::all(&profile.name, "Stopped"),
        Err(_) => Report::all(&profile.name, "Nonexistent"),
    };
    match ui.format() {
        Format::Json => ui.value(&report.json()),
        Format::Text => ui.plain(&report.text()),
    }
    Ok(report.exit_code())
}

/// Whether kubectl, called now, would find this cluster at `server`.
fn configured(profile: &str, server: &str) -> bool {
    let path = Owner::detect().kubeconfig();
    kubeconfig::server(&path, profile).as_deref() == Some(server)
}

impl Report {
    fn all(name: &str, state: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            host: state,
            kubelet: state,
            apiserver: state,
            kubeconfig: state,
            pid: None,
        }
    }

    fn of(name: &str, status: &Value, configured: bool) -> Self {
        let state = |component: &str| match status["components"][component]["state"].as_str() {
            Some("Ready") => "Running",
            None | Some("Starting") => "Starting",
            _ => "Error",
        };
        Self {
            name: name.to_owned(),
            host: "Running",
            kubelet: state("kubelet"),
            apiserver: state("kube-apiserver"),
            kubeconfig: if configured { "Configured" } else { "Misconfigured" },
            pid: status["pid"].as_u64(),
        }
    }

    fn exit_code(&self) -> u8 {
        let bit = |down: bool, bit: u8| if down { bit } else { 0 };
        bit(self.host != "Running", HOST_DOWN)
            | bit(self.apiserver != "Running", CLUSTER_DOWN)
            | bit(self.kubelet != "Running", KUBERNETES_DOWN)
    }

    fn text(&self) -> String {
        let Report { name, host, kubelet, apiserver, kubeconfig, pid: _ } = self;
        format!(
            "{name}\ntype: Control Plane\nhost: {host}\nkubelet: {kubelet}\napiserver: {apiserver}\nkubeconfig: {kubeconfig}\n"
        )
    }

    fn json(&self) -> Value {
        json!({"Name": self.name, "Host": self.host, "Kubelet": self.kubelet, "APIServer": self.apiserver,
               "Kubeconfig": self.kubeconfig, "Worker": false, "Pid": self.pid})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_has_a_bit_for_what_is_down() {
        assert_eq!(Report::all("a", "Stopped").exit_code(), 7);
        let status = |kubelet| json!({"components": {"kubelet": {"state": kubelet}, "kube-apiserver": {"state": "Ready"}}});
        assert_eq!(Report::of("a", &status("Ready"), true).exit_code(), 0);
        assert_eq!(Report::of("a", &status("Failed"), true).exit_code(), KUBERNETES_DOWN);
    }

    #[test]
    fn json_has_the_process_of_a_daemon_that_runs() {
        assert_eq!(Report::of("a", &json!({"pid": 7}), true).json()["Pid"], 7);
        assert_eq!(Report::all("a", "Stopped").json()["Pid"], Value::Null);
    }
}
