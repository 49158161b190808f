//! `sampan profile list`: the clusters of this machine, in minikube's form.

use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::cli;
use crate::options;
use crate::profile::Profile;
use crate::ui::Format;

/// What is said of a cluster.
pub struct Row {
    name: String,
    status: &'static str,
    node: String,
    runtime: String,
    port: u16,
}

/// Runs the verb.
pub fn run(context: &Context, verb: &cli::Profile) -> Outcome {
    let cli::Profile::List = verb;
    let rows: Vec<Row> = Profile::all()?.iter().map(Row::of).collect();
    match context.ui.format() {
        Format::Json => context.ui.value(&json!({
            "invalid": [],
            "valid": rows.iter().map(Row::json).collect::<Vec<_>>(),
        })),
        Format::Text => {
            context.ui.plain(&line(["PROFILE", "STATUS", "NODE", "RUNTIME", "PORT"]));
            for row in &rows {
                let port = row.port.to_string();
                context.ui.plain(&line([&row.name, row.status, &row.node, &row.runtime, &port]));
            }
        }
    }
    Ok(0)
}

fn line(fields: [&str; 5]) -> String {
    let [name, status, node, runtime, port] = fields;
    format!("{name:<20} {status:<8} {node:<30} {runtime:<9} {port:>5}")
}

impl Row {
    /// What is known of a cluster, whether it runs or not.
    pub fn of(profile: &Profile) -> Self {
        let settings = profile.settings_or_default();
        Self {
            name: profile.name.clone(),
            status: if profile.daemon_pid().is_some() { "Running" } else { "Stopped" },
            node: options::node_name(&settings),
            runtime: settings.container_runtime.to_string(),
            port: settings.apiserver_port,
        }
    }

    /// In minikube's form.
    pub fn json(&self) -> Value {
        json!({"Name": self.name, "Status": self.status, "Node": self.node, "ContainerRuntime": self.runtime,
               "APIServerPort": self.port})
    }
}
