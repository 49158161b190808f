//! `kubectl apply --server-side` on the built binary: two managers, conflicts, force, the way from client-side
//! apply, and what else writes to an object.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sampan_test_e2e::eventually;
use sampan_testkit::Cluster;
use serde_json::{Value, json};

/// kubectl with a manifest on its standard input.
fn with_input(cluster: &Cluster, arguments: &[&str], manifest: &Value) -> Result<Output> {
    let mut kubectl = cluster
        .kubectl_command()
        .args(arguments)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    kubectl.stdin.take().context("standard input")?.write_all(manifest.to_string().as_bytes())?;
    Ok(kubectl.wait_with_output()?)
}

fn done(cluster: &Cluster, arguments: &[&str], manifest: &Value) -> Result<String> {
    let output = with_input(cluster, arguments, manifest)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

fn refused(cluster: &Cluster, arguments: &[&str], manifest: &Value) -> Result<String> {
    let output = with_input(cluster, arguments, manifest)?;
    ensure!(!output.status.success(), "{arguments:?} succeeded");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn deployment(replicas: Option<u32>, image: &str) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}},
            "spec": {"containers": [{"name": "c", "image": image, "imagePullPolicy": "Never"}]}},
    });
    if let Some(replicas) = replicas {
        spec["replicas"] = replicas.into();
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

/// The fields of a manager, or null.
fn fields(cluster: &Cluster, object: &str, manager: &str, operation: &str) -> Result<Value> {
    below(cluster, object, manager, operation, "")
}

/// The same, written through a subresource.
fn below(
    cluster: &Cluster,
    object: &str,
    manager: &str,
    operation: &str,
    subresource: &str,
) -> Result<Value> {
    let shown = cluster.kubectl(&["get", object, "-o", "json", "--show-managed-fields"])?;
    let object: Value = serde_json::from_str(&shown)?;
    let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let mut found = list.into_iter().filter(|e| e["manager"] == manager && e["operation"] == operation);
    let found = found.find(|e| e["subresource"].as_str().unwrap_or_default() == subresource);
    Ok(found.map_or(Value::Null, |entry| entry["fieldsV1"].clone()))
}

#[test]
fn managers_share_an_object() -> Result<()> {
    let cluster = Cluster::start()?;
    two_managers(&cluster).context("two managers")?;
    from_the_client_to_the_server(&cluster).context("from client-side apply")?;
    other_writers(&cluster).context("other writers")
}

fn two_managers(cluster: &Cluster) -> Result<()> {
    let apply = |manager: &'static str| ["apply", "--server-side", "--field-manager", manager];
    let said = done(cluster, &apply("one"), &deployment(Some(0), "i:1"))?;
    ensure!(said == "deployment.apps/d serverside-applied\n", "{said}");
    let said = refused(cluster, &apply("two"), &deployment(Some(1), "i:1"))?;
    let words = "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas";
    ensure!(said.contains(words), "{said}");
    done(cluster, &[&apply("two")[..], &["--force-conflicts"]].concat(), &deployment(Some(1), "i:1"))?;
    let one = fields(cluster, "deployment/d", "one", "Apply")?;
    ensure!(one["f:spec"].get("f:replicas").is_none(), "{one}");
    let two = fields(cluster, "deployment/d", "two", "Apply")?;
    ensure!(two["f:spec"]["f:replicas"] == json!({}), "{two}");
    let unknown = {
        let mut manifest = deployment(None, "i:1");
        manifest["spec"]["foo"] = json!(1);
        refused(cluster, &apply("one"), &manifest)?
    };
    ensure!(unknown.contains(".spec.foo: field not declared in schema"), "{unknown}");
    let plain = cluster.kubectl(&["get", "deployment/d", "-o", "yaml"])?;
    ensure!(!plain.contains("managedFields"), "kubectl hides them");
    Ok(())
}

fn from_the_client_to_the_server(cluster: &Cluster) -> Result<()> {
    done(cluster, &["apply"], &map(json!({"a": "1", "b": "1"})))?;
    let before = fields(cluster, "configmap/m", "kubectl-client-side-apply", "Update")?;
    ensure!(before["f:data"]["f:a"] == json!({}), "{before}");
    // what it would do is shown first
    let difference = with_input(cluster, &["diff", "--server-side"], &map(json!({"a": "2"})))?;
    let shown = String::from_utf8_lossy(&difference.stdout).into_owned();
    ensure!(difference.status.code() == Some(1) && shown.contains("+  a: \"2\""), "{shown}");
    done(cluster, &["apply", "--server-side"], &map(json!({"a": "2"})))?;
    let after = cluster.kubectl(&["get", "configmap/m", "-o", "jsonpath={.data}"])?;
    ensure!(after == r#"{"a":"2"}"#, "{after}");
    ensure!(fields(cluster, "configmap/m", "kubectl-client-side-apply", "Update")?.is_null());
    ensure!(fields(cluster, "configmap/m", "kubectl", "Apply")?["f:data"]["f:a"] == json!({}));
    Ok(())
}

fn other_writers(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["scale", "deployment/d", "--replicas=2"])?;
    let said =
        refused(cluster, &["apply", "--server-side", "--field-manager", "two"], &deployment(Some(1), "i:1"))?;
    let words = "conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas";
    ensure!(said.contains(words), "{said}");
    eventually("the controller's status", Duration::from_secs(30), || {
        let status = below(cluster, "deployment/d", "kube-controller-manager", "Update", "status")?;
        Ok(status["f:status"].is_object().then_some(()))
    })?;
    done(cluster, &["replace", "--force"], &map(json!({"z": "1"})))?;
    let replaced = fields(cluster, "configmap/m", "kubectl-replace", "Update")?;
    ensure!(replaced["f:data"] == json!({".": {}, "f:z": {}}), "{replaced}");
    cluster.kubectl(&["label", "configmap/m", "x=y"])?;
    let labelled = fields(cluster, "configmap/m", "kubectl-label", "Update")?;
    ensure!(labelled["f:metadata"]["f:labels"]["f:x"] == json!({}), "{labelled}");
    Ok(())
}
