//! The description is a valid OpenAPI document, and the daemon does what it says: schemathesis asks every route what the
//! description allows and what it does not.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sampan_testkit::Cluster;
use serde_json::Value;

/// A log that is followed, or the daemon's events, never end; an ended daemon, or a revoked token, answers no more; as many
/// simulated nodes as the description allows would take the machine.
const LEFT: [&str; 4] = ["stop", "watchEvents", "revokeToken", "simulate"];
const SETTINGS: &str = r#"
[parameters]
"query.follow" = "false"

[checks.positive_data_acceptance]
# what only the cluster can tell is wrong: the address of an image, the fields of an addon
expected-statuses = ["2xx", "401", "403", "404", "409", "422"]

[[operations]]
# a registry that cannot be reached is a bad gateway
include-operation-id = "pullImage"
checks.not_a_server_error.enabled = false
checks.positive_data_acceptance.enabled = false
"#;

#[test]
fn the_daemon_keeps_what_its_description_says() -> Result<()> {
    let cluster = Cluster::start()?;
    let tools =
        PathBuf::from(std::env::var("SAMPAN_TEST_TOOLS").context("SAMPAN_TEST_TOOLS; `make test` sets it")?);
    let folder = cluster.directory();
    let document = cluster.kubectl(&["get", "--raw", "/sampan/v1/openapi.json"])?;
    let file = folder.join("openapi.json");
    std::fs::write(&file, &document)?;
    std::fs::write(folder.join("schemathesis.toml"), SETTINGS)?;
    let valid = Command::new(tools.join("venv/bin/openapi-spec-validator")).arg(&file).output()?;
    ensure!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stdout));
    let status: Value = serde_json::from_str(&cluster.kubectl(&["get", "--raw", "/sampan/v1/status"])?)?;
    let base = status["rest"].as_str().context("where the API is")?.trim_end_matches("/sampan/v1");
    let token = cluster.sampan(&["token", "create", "contract", "--scope", "admin"])?;
    let mut schemathesis = Command::new(tools.join("venv/bin/schemathesis"));
    schemathesis.current_dir(folder).args(["run", "openapi.json", "--url", base, "--seed", "1"]);
    schemathesis.args(["-H", &format!("Authorization: Bearer {}", token.trim())]);
    schemathesis.args([
        "--phases",
        "coverage,fuzzing",
        "--max-examples",
        "10",
        "--request-timeout",
        "30",
        "--no-color",
    ]);
    for operation in LEFT {
        schemathesis.args(["--exclude-operation-id", operation]);
    }
    let output = schemathesis.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.contains("36 selected / 40 total"), "{said}");
    Ok(())
}
