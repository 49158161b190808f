//! `sampan profile list`: the clusters of this machine, in minikube's form.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{Context, Outcome};
use crate::cli;
use crate::options;
use crate::profile::Profile;
use crate::ui::Format;

/// What is said of a cluster, in minikube's form.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// Its name.
    name: String,
    /// `Running` or `Stopped`.
    status: &'static str,
    /// Its node.
    node: String,
    /// `embedded` or `docker`.
    container_runtime: String,
    /// The API server's.
    #[serde(rename = "APIServerPort")]
    port: u16,
}

/// Runs the verb.
pub fn run(context: &Context, verb: &cli::Profile) -> Outcome {
    let cli::Profile::List = verb;
    let rows: Vec<Row> = Profile::all()?.iter().map(Row::of).collect();
    match context.ui.format() {
        Format::Json => context.ui.value(&json!({
            "invalid": [],
            "valid": rows,
        })),
        Format::Text => {
            context.ui.plain(&line(["PROFILE", "STATUS", "NODE", "RUNTIME", "PORT"]));
            for row in &rows {
                let port = row.port.to_string();
                context.ui.plain(&line([&row.name, row.status, &row.node, &row.container_runtime, &port]));
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
            container_runtime: settings.container_runtime.to_string(),
            port: settings.apiserver_port,
        }
    }
}
