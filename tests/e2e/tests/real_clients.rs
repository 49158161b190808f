//! Clients whose own build takes minutes: client-go and Helm. `make clients` builds them and runs this.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use anyhow::{Result, ensure};
use sampan_test_e2e::{cluster, registry};
use sampan_testkit::Cluster;

/// A tool of `.ci/setup clients`.
fn tool(cluster: &Cluster, name: &str, arguments: &[&str]) -> Result<String> {
    let tools = std::env::var_os("SAMPAN_TEST_TOOLS").expect("SAMPAN_TEST_TOOLS is set by make clients");
    let output = Command::new(std::path::Path::new(&tools).join(name))
        .args(arguments)
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("HOME", cluster.directory())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{name} {arguments:?}: {text}{complaint}");
    Ok(text)
}

#[test]
fn client_go_and_helm() -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    let kubeconfig = cluster.kubeconfig().display().to_string();
    let seen = tool(&cluster, "client-go", &[&kubeconfig])?;
    ensure!(seen.lines().count() == 6 && seen.lines().all(|line| line.ends_with(" ok")), "{seen}");
    helm(&cluster)
}

/// Install with a hook and a CRD, an upgrade that leaves what kubectl changed, rollback, uninstall.
fn helm(cluster: &Cluster) -> Result<()> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/chart");
    tool(cluster, "helm", &["install", "port", chart, "--wait", "--timeout", "90s"])?;
    let get = |what: &str, path: &str| cluster.kubectl(&["get", what, "-o", &format!("jsonpath={{{path}}}")]);
    ensure!(get("boat/port", ".spec.flag")? == "white", "a default of the CRD");
    ensure!(get("deployment/port", ".status.readyReplicas")? == "1");
    ensure!(cluster.kubectl(&["get", "jobs", "-o", "name"])?.is_empty(), "the hook stays");
    // three ways: what the chart does not set stays as kubectl left it
    cluster.kubectl(&["annotate", "deployment/port", "by=hand"])?;
    tool(
        cluster,
        "helm",
        &["upgrade", "port", chart, "--set", "greeting=hello,replicas=2", "--wait", "--timeout", "90s"],
    )?;
    ensure!(get("configmap/port-greeting", ".data.greeting")? == "hello");
    ensure!(get("deployment/port", ".metadata.annotations.by")? == "hand");
    ensure!(get("deployment/port", ".status.readyReplicas")? == "2");
    tool(cluster, "helm", &["rollback", "port", "1", "--wait", "--timeout", "90s"])?;
    ensure!(get("configmap/port-greeting", ".data.greeting")? == "ahoy");
    let history = tool(cluster, "helm", &["history", "port"])?;
    ensure!(history.contains("Rollback to 1"), "{history}");
    tool(cluster, "helm", &["uninstall", "port", "--wait"])?;
    let left = cluster.kubectl(&["get", "deployments,configmaps,boats", "-o", "name"])?;
    ensure!(!left.contains("port"), "{left}");
    Ok(())
}
