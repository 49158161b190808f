//! A session's audit log; what is refused at start; objects of fairness and aggregation that a cluster begins with.
#![allow(clippy::unwrap_used)]

use anyhow::{Context, Result, ensure};
use sampan_testkit::{Cluster, Options};
use serde_json::{Value, json};

/// The events of a log, in which each line is one.
fn events(file: &std::path::Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn a_session_is_recorded() -> Result<()> {
    let cluster = Cluster::unstarted(Options::default())?;
    let log = cluster.directory().join("audit.log");
    refuses_a_bad_policy(&cluster)?;
    cluster.sampan(&["start", &format!("--audit-log-path={}", log.display())])?;
    cluster.kubectl(&["create", "secret", "generic", "s", "--from-literal=password=hunter2"])?;
    cluster.kubectl(&["create", "serviceaccount", "seen"])?;
    ensure!(cluster.kubectl(&["get", "pods", "-A", "--as=jane"]).is_err());
    begins_with(&cluster)?;
    cluster.sampan(&["stop"])?;
    let all = events(&log)?;
    ensure!(!std::fs::read_to_string(&log)?.contains("hunter2"), "a Secret is in the log");
    let of = |verb: &str, resource: &str| {
        let found = all.iter().find(|one| one["verb"] == verb && one["objectRef"]["resource"] == resource);
        found.with_context(|| format!("{verb} {resource}"))
    };
    let secret = of("create", "secrets")?;
    ensure!(secret["objectRef"]["name"] == "s" && secret.get("requestObject").is_none(), "{secret}");
    ensure!(
        secret["level"] == "Metadata" && secret["responseStatus"] == json!({"metadata": {}, "code": 201})
    );
    let account = all.iter().find(|one| one["objectRef"]["name"] == "seen").context("the account")?;
    ensure!(account["requestObject"]["metadata"]["name"] == "seen", "{account}");
    ensure!(all.iter().all(|one| one["auditID"].as_str().is_some_and(|id| id.len() == 36)));
    ensure!(
        account["user"]["username"] == "kubernetes-admin" && account["sourceIPs"] == json!(["127.0.0.1"])
    );
    let jane = all.iter().find(|one| one["impersonatedUser"]["username"] == "jane").context("jane")?;
    ensure!(jane["annotations"]["authorization.k8s.io/decision"] == "forbid", "{jane}");
    // the setting is the profile's, and the log goes on
    cluster.up()?;
    cluster.kubectl(&["create", "serviceaccount", "later"])?;
    cluster.sampan(&["stop"])?;
    let later = events(&log)?;
    ensure!(later.len() > all.len() && later.iter().any(|one| one["objectRef"]["name"] == "later"));
    Ok(())
}

fn refuses_a_bad_policy(cluster: &Cluster) -> Result<()> {
    let file = cluster.directory().join("policy.yaml");
    std::fs::write(&file, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Loud}]\n")?;
    let flag = format!("--audit-policy-file={}", file.display());
    let why = cluster.sampan(&["start", &flag]).err().context("a bad policy is taken")?.to_string();
    ensure!(why.contains(&format!("{flag}: rules[0].level: Unsupported value: \"Loud\"")), "{why}");
    Ok(())
}

fn begins_with(cluster: &Cluster) -> Result<()> {
    let local = cluster.kubectl(&["get", "apiservice", "v1.apps", "--no-headers"])?;
    ensure!(local.contains("Local") && local.contains("True"), "{local}");
    let dangling = r#"jsonpath={.items[*].status.conditions[?(@.type=="Dangling")].status}"#;
    let schemas = cluster.kubectl(&["get", "flowschemas", "-o", dangling])?;
    ensure!(
        schemas.split(' ').count() == 13 && schemas.split(' ').all(|status| status == "False"),
        "{schemas}"
    );
    let trust = ["-n", "kube-system", "get", "configmap", "extension-apiserver-authentication", "-o", "json"];
    let trust: Value = serde_json::from_str(&cluster.kubectl(&trust)?)?;
    ensure!(trust["data"]["requestheader-allowed-names"] == r#"["front-proxy-client"]"#, "{trust}");
    Ok(())
}
