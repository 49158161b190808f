//! What is asked before something is done: what it changes, what goes with it, and whether it is still what was looked at.

use anyhow::{Result, ensure};
use sampan_test_browser::Browser;
use sampan_test_e2e::apply;
use sampan_testkit::Cluster;
use serde_json::json;

const WORLD: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: going, labels: {app: going}}
spec:
  replicas: 2
  selector: {matchLabels: {app: going}}
  template:
    metadata: {labels: {app: going}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: nginx, image: "nginx:1.0"}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: kept}
spec:
  replicas: 1
  serviceName: kept
  selector: {matchLabels: {app: kept}}
  template:
    metadata: {labels: {app: kept}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: nginx, image: "nginx:1.0"}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: full}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: full}
---
apiVersion: v1
kind: Secret
metadata: {name: two, namespace: full}
"#;

/// Back to a revision, with the difference first; for both kinds of history.
pub async fn revisions(cluster: &Cluster, browser: &Browser) -> Result<()> {
    apply(cluster, WORLD)?;
    for (workload, page) in [
        ("deployment/going", "deployments.apps/default/going"),
        ("statefulset/kept", "statefulsets.apps/default/kept"),
    ] {
        cluster.kubectl(&["rollout", "status", workload, "--timeout=90s"])?;
        cluster.kubectl(&["set", "image", workload, "nginx=nginx:1.1"])?;
        cluster.kubectl(&["rollout", "status", workload, "--timeout=90s"])?;
        browser.go(page).await?;
        browser.click_text(".actions button", "Roll back").await?;
        browser.read("dialog[open] .difference .gone", "nginx:1.1").await?;
        browser.read("dialog[open] .difference .new", "nginx:1.0").await?;
        browser.is_accessible("roll back").await?;
        browser.click("dialog[open] button.primary:enabled").await?;
        let image = "jsonpath={.spec.template.spec.containers[0].image}=nginx:1.0";
        cluster.kubectl(&["wait", workload, &format!("--for={image}"), "--timeout=30s"])?;
    }
    Ok(())
}

/// What goes with an object is named, and what has changed since is not deleted unseen.
pub async fn deletions(cluster: &Cluster, browser: &Browser) -> Result<()> {
    cluster.kubectl(&["rollout", "status", "deployment/going", "--timeout=90s"])?;
    browser.go("deployments.apps/default/going").await?;
    browser.click_text(".actions button", "Delete").await?;
    browser.read("dialog[open] .consequences", "2 Pod").await?;
    browser.read("dialog[open] .consequences", "2 ReplicaSet").await?;
    browser.is_accessible("delete").await?;
    cluster.kubectl(&["label", "deployment/going", "precious=yes"])?;
    browser.click("dialog[open] button.danger:enabled").await?;
    browser.read("dialog[open] p", "Somebody changed it").await?;
    cluster.kubectl(&["get", "deployment/going"])?;
    browser.click("dialog[open] button.danger:enabled").await?;
    cluster.kubectl(&["wait", "deployment/going", "--for=delete", "--timeout=30s"])?;
    browser.read(".banner", "Deleted").await?;
    // a namespace with all that is in it, by its name
    browser.go("namespaces/-/full").await?;
    browser.click_text(".actions button", "Delete").await?;
    browser.read("dialog[open] .consequences", "1 Secret").await?;
    browser.see("dialog[open] button.danger:disabled").await?;
    browser.fill("dialog[open] input[type=text]", "full").await?;
    browser.click("dialog[open] button.danger:enabled").await?;
    cluster.kubectl(&["wait", "namespace/full", "--for=delete", "--timeout=60s"])?;
    // a node says what runs on it
    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    browser.go(&format!("nodes/-/{node}")).await?;
    browser.click_text(".actions button", "Delete").await?;
    browser.read("dialog[open] .consequences", "pods run on it").await?;
    browser.press("\u{e00c}").await?;
    let gone = "return document.querySelector('dialog[open]') == null";
    browser.until("the question gone", gone, json!([])).await?;
    ensure!(cluster.kubectl(&["get", "nodes", "-o", "name"])?.contains(&node));
    Ok(())
}

const BUSY_NODE: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: kept, namespace: drained}
spec:
  replicas: 2
  selector: {matchLabels: {app: kept}}
  template:
    metadata: {labels: {app: kept}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: busybox, command: [sleep, "3600"], volumeMounts: [{name: cache, mountPath: /cache}]}]
      volumes: [{name: cache, emptyDir: {}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: kept, namespace: drained}
spec: {minAvailable: 1, selector: {matchLabels: {app: kept}}}
"#;

/// A node is drained: the plan names what goes, stays, is lost and waits; a budget is waited for.
pub async fn drains(cluster: &Cluster, browser: &Browser) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "drained"])?;
    apply(cluster, BUSY_NODE)?;
    cluster.kubectl(&["rollout", "status", "-n", "drained", "deployment/kept", "--timeout=60s"])?;
    let counted = "--for=jsonpath={.status.disruptionsAllowed}=1";
    cluster.kubectl(&["wait", "pdb/kept", "-n", "drained", counted, "--timeout=30s"])?;
    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    browser.go(&format!("nodes/-/{node}")).await?;
    browser.click_text(".actions button:enabled", "Drain").await?;
    browser.read("dialog", "drained/kept allows 1 of the 2").await?;
    browser.read("dialog", "emptyDir").await?;
    browser.read("dialog", "default/shell").await?;
    browser.read("dialog", "come from files of the node: kube-system/").await?;
    browser.is_accessible("plan of a drain").await?;
    browser.picture("drain").await?;
    let unready = "return document.querySelector('dialog button.danger').disabled";
    browser.until("a loss that is not agreed to", unready, json!([])).await?;
    let agree = "document.querySelectorAll('dialog input[type=checkbox]').forEach(one => one.click())";
    browser.run(agree, json!([])).await?;
    browser.click("dialog button.danger:enabled").await?;
    browser.read("dialog .steps li", "Cannot evict pod as it would violate").await?;
    ensure!(
        cluster.kubectl(&["get", "node", &node, "-o", "jsonpath={.spec.unschedulable}"])? == "true",
        "it is not cordoned"
    );
    browser.is_accessible("a drain").await?;
    let none = r#"{"spec":{"minAvailable":0}}"#;
    cluster.kubectl(&["patch", "pdb/kept", "-n", "drained", "--type=merge", "-p", none])?;
    browser.read("dialog", "drained as far as it goes").await?;
    browser.click("dialog button.primary:enabled").await?;
    let left = cluster.kubectl(&[
        "get",
        "pods",
        "-A",
        "--field-selector",
        &format!("spec.nodeName={node}"),
        "-o",
        "name",
    ])?;
    let mirrors = |line: &&str| line.ends_with(&format!("-{node}"));
    ensure!(left.lines().all(|line| mirrors(&line)), "{left}");
    browser.click_text(".actions button:enabled", "Uncordon").await?;
    browser.click("dialog button.primary:enabled").await?;
    let free = "return [...document.querySelectorAll('.actions button')].some(one => one.innerText.includes('Cordon'))";
    browser.until("the node is free again", free, json!([])).await.map(drop)
}
