//! `sampan version`.

use serde_json::json;

use super::{Context, Outcome};
use crate::ui::Format;

/// The Kubernetes version that is served.
pub const KUBERNETES: &str = "v1.36.0+sampan";

/// Runs the verb.
pub fn run(context: &Context, short: bool) -> Outcome {
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    match (context.ui.format(), short) {
        (Format::Json, _) => {
            context.ui.value(&json!({"sampanVersion": version, "kubernetesVersion": KUBERNETES}))
        }
        (Format::Text, true) => context.ui.plain(version),
        (Format::Text, false) => {
            context.ui.plain(&format!("sampan version: {version}\nkubernetes: {KUBERNETES}"))
        }
    }
    Ok(0)
}
