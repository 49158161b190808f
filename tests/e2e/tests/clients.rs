//! Clients of every age and language: create, list, watch, patch, exec, log, delete.
#![allow(clippy::unwrap_used)]

use std::io::BufRead;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{
    AttachParams, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use sampan_test_e2e::{cluster, eventually, registry};
use sampan_testkit::Cluster;
use serde_json::json;
use tokio::io::AsyncReadExt;

#[test]
fn all_clients() -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    old_kubectl(&cluster)?;
    python(&cluster)?;
    javascript(&cluster)?;
    kustomize(&cluster)?;
    kube_rs(&cluster)
}

fn tools() -> std::path::PathBuf {
    std::env::var_os("SAMPAN_TEST_TOOLS").expect("SAMPAN_TEST_TOOLS is set by make test").into()
}

/// kubectl 1.20 from Debian: OpenAPI v2 as protobuf, SPDY, no server-side field validation.
fn old_kubectl(cluster: &Cluster) -> Result<()> {
    let kubectl = |arguments: &[&str]| -> Result<String> {
        let output = Command::new(tools().join("kubectl-1.20"))
            .env("KUBECONFIG", cluster.kubeconfig())
            .env("HOME", cluster.directory())
            .args(arguments)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "kubectl-1.20 {arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    };
    kubectl(&["run", "old", "--image=busybox", "--", "sh", "-c", "echo hello from old; sleep 1000"])?;
    kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/old"])?;
    ensure!(kubectl(&["get", "pods"])?.contains("old"));
    kubectl(&["patch", "pod", "old", "-p", r#"{"metadata":{"labels":{"patched":"yes"}}}"#])?;
    ensure!(kubectl(&["get", "pods", "-l", "patched=yes"])?.contains("old"));
    ensure!(kubectl(&["exec", "old", "--", "echo", "through spdy"])?.contains("through spdy"));
    ensure!(kubectl(&["logs", "old"])?.contains("hello from old"));
    let file = cluster.directory().join("bad.yaml");
    std::fs::write(&file, "apiVersion: v1\nkind: Pod\nmetadata:\n  name: bad\nspec:\n  containrs: []\n")?;
    ensure!(
        kubectl(&["create", "-f", &file.display().to_string()]).is_err(),
        "validation against OpenAPI v2"
    );
    ensure!(kubectl(&["explain", "pod.spec"])?.contains("containers"));
    let mut watch = Command::new(tools().join("kubectl-1.20"))
        .env("KUBECONFIG", cluster.kubeconfig())
        .args(["get", "pod", "old", "-w", "--output-watch-events"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = std::io::BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut until = |word: &str| lines.by_ref().flatten().any(|line| line.starts_with(word));
    ensure!(until("ADDED"), "the watch ended before ADDED");
    kubectl(&["delete", "pod", "old", "--grace-period=1"])?;
    ensure!(until("DELETED"), "the watch ended before DELETED");
    watch.kill()?;
    watch.wait()?;
    Ok(())
}

fn python(cluster: &Cluster) -> Result<()> {
    let output = Command::new(tools().join("venv/bin/python"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client.py"))
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn javascript(cluster: &Cluster) -> Result<()> {
    let output = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client.mjs"))
        .env("KUBECONFIG", cluster.kubeconfig())
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success() && text(&output.stdout).trim() == "ok",
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(())
}

/// An overlay with a generated ConfigMap: applied, changed by another apply, deleted.
fn kustomize(cluster: &Cluster) -> Result<()> {
    let overlay = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kustomize/overlay");
    cluster.kubectl(&["create", "namespace", "kustomized"])?;
    let applied = cluster.kubectl(&["apply", "-k", overlay])?;
    ensure!(applied.contains("deployment.apps/dev-web created"), "{applied}");
    let get = |what: &str, path: &str| {
        cluster.kubectl(&["get", "-n", "kustomized", what, "-o", &format!("jsonpath={{{path}}}")])
    };
    ensure!(get("deployment/dev-web", ".spec.template.spec.containers[0].image")? == "busybox:2");
    ensure!(get("deployment/dev-web", ".metadata.labels.team")? == "a");
    // the generated name has a hash of the content, and the Deployment names it
    let settings =
        get("deployment/dev-web", ".spec.template.spec.containers[0].envFrom[0].configMapRef.name")?;
    ensure!(settings.starts_with("dev-settings-"), "{settings}");
    ensure!(get(&format!("configmap/{settings}"), ".data.color")? == "blue");
    let again = cluster.kubectl(&["apply", "-k", overlay])?;
    ensure!(again.contains("deployment.apps/dev-web unchanged"), "{again}");
    let serverside = cluster.kubectl(&["apply", "-k", overlay, "--server-side"])?;
    ensure!(serverside.contains("deployment.apps/dev-web serverside-applied"), "{serverside}");
    cluster.kubectl(&["delete", "-k", overlay])?;
    ensure!(cluster.kubectl(&["get", "-n", "kustomized", "deployments", "-o", "name"])?.is_empty());
    Ok(())
}

fn kube_rs(cluster: &Cluster) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let client = cluster.client().await?;
        let api: Api<Pod> = Api::default_namespaced(client);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "rust", "labels": {"app": "rust"}},
            "spec": {"containers": [{"name": "main", "image": "busybox", "command": ["sh", "-c", "echo hello from rust; sleep 1000"]}]},
        }))?;
        let created = api.create(&PostParams::default(), &pod).await?;
        let version = created.metadata.resource_version.clone().unwrap();
        ensure!(api.create(&PostParams::default(), &pod).await.is_err(), "a second pod of the same name");
        kube::runtime::wait::await_condition(api.clone(), "rust", kube::runtime::conditions::is_pod_running()).await?;
        ensure!(api.list(&ListParams::default().labels("app=rust")).await?.items.len() == 1);
        let patch = json!({"metadata": {"annotations": {"patched": "yes"}}});
        api.patch("rust", &PatchParams::default(), &Patch::Merge(&patch)).await?;
        let params = WatchParams::default().labels("app=rust").timeout(20);
        let mut events = api.watch(&params, &version).await?.boxed();
        let patched = |pod: &Pod| pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("patched"));
        loop {
            match events.try_next().await? {
                Some(WatchEvent::Modified(pod)) if patched(&pod) => break,
                Some(_) => {}
                None => anyhow::bail!("the watch ended before the patch was seen"),
            }
        }
        let mut process = api.exec("rust", ["echo", "through websocket"], &AttachParams::default()).await?;
        let mut text = String::new();
        process.stdout().unwrap().read_to_string(&mut text).await?;
        ensure!(text.contains("through websocket"), "{text}");
        ensure!(api.logs("rust", &LogParams::default()).await?.contains("hello from rust"));
        api.delete("rust", &DeleteParams::default().grace_period(1)).await?;
        Ok(())
    })?;
    eventually("the pod is gone", Duration::from_secs(20), || {
        Ok(cluster
            .kubectl(&["get", "pod", "rust", "--ignore-not-found", "-o", "name"])?
            .is_empty()
            .then_some(()))
    })
}
