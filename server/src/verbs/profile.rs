//! `sampan profile list`: the clusters of this machine, in minikube's form.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{Context, Outcome};
use crate::cli;
use crate::options;
use crate::profile::{Profile, Settings};
use crate::ui::Format;

/// What is said of a cluster, in minikube's form.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// Its name.
    name: String,
    /// `Running` or `Stopped`.
    status: &'static str,
    /// Its node; left out if not known, as of a stopped cluster of another `SAMPAN_HOME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// `embedded` or `docker`; left out if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    container_runtime: Option<String>,
    /// The API server's; left out if not known.
    #[serde(rename = "APIServerPort", skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
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
                context.ui.plain(&row.text());
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
        let status = if profile.daemon_pid().is_some() { "Running" } else { "Stopped" };
        Self::new(&profile.name, status, profile.known_settings().as_ref())
    }

    fn new(name: &str, status: &'static str, settings: Option<&Settings>) -> Self {
        Self {
            name: name.to_owned(),
            status,
            node: settings.map(options::node_name),
            container_runtime: settings.map(|known| known.container_runtime.to_string()),
            port: settings.map(|known| known.apiserver_port),
        }
    }

    fn text(&self) -> String {
        let known = |field: &Option<String>| field.clone().unwrap_or_else(|| "-".to_owned());
        let port = self.port.map(|port| port.to_string());
        let [node, runtime, port] = [&self.node, &self.container_runtime, &port].map(known);
        line([&self.name, self.status, &node, &runtime, &port])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let row = Row::new("two", "Stopped", None);
        assert_eq!(row.text().split_whitespace().collect::<Vec<_>>(), ["two", "Stopped", "-", "-", "-"]);
        assert_eq!(json!(row), json!({"Name": "two", "Status": "Stopped"}));
        let settings = Settings { node_name: "n".into(), apiserver_port: 6445, ..Settings::default() };
        let row = Row::new("two", "Running", Some(&settings));
        let fields: Vec<_> = row.text().split_whitespace().map(str::to_owned).collect();
        assert_eq!(fields, ["two", "Running", "n", "embedded", "6445"]);
        assert_eq!(json!(row)["APIServerPort"], 6445);
    }
}
