//! What is looked for and found: by owner, in the run before, among custom resources, in a crowd, among rights.

use anyhow::{Result, ensure};
use sampan_test_browser::Browser;
use sampan_test_e2e::apply;
use sampan_testkit::Cluster;
use serde_json::json;

const NAMES: &str = "[...document.querySelectorAll('.rows tbody .name')].map(one => one.innerText.trim())";

/// The pods of a Deployment, by the start of their ReplicaSet's name, and of a kind.
pub async fn owners(browser: &Browser) -> Result<()> {
    browser.go("pods?ns=default").await?;
    browser.read(".rows .name", "shell").await?;
    // other aspects' Deployments have pods as well
    for (filter, wanted) in [
        ("owner:web", "all.every(one => one.startsWith('web-'))"),
        ("owner:replicaset", "all.some(one => one.startsWith('web-')) && !all.includes('shell')"),
    ] {
        browser.fill(".filter input", filter).await?;
        let only = format!("const all = {NAMES}; return all.length > 0 && {wanted}");
        browser.until(filter, &only, json!([])).await?;
    }
    browser.fill(".filter input", "!owner:web").await?;
    let others = format!(
        "const all = {NAMES}; return all.includes('shell') && !all.some(one => one.startsWith('web-'))"
    );
    browser.until("those of nobody", &others, json!([])).await.map(drop)
}

/// Says how often it has run; the second run stays.
const AGAIN: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: kept, emptyDir: {}}]
  containers:
  - name: main
    image: busybox
    command: [sh, -c, "echo >> /kept/runs; echo run $(wc -l < /kept/runs); [ $(wc -l < /kept/runs) -gt 1 ] && sleep 3600; exit 3"]
    volumeMounts: [{name: kept, mountPath: /kept}]
"#;

/// What a container said before it was started again.
pub async fn previous_run(cluster: &Cluster, browser: &Browser) -> Result<()> {
    apply(cluster, AGAIN)?;
    cluster.kubectl(&[
        "wait",
        "pod/again",
        "--for=jsonpath={.status.containerStatuses[0].restartCount}=1",
        "--timeout=60s",
    ])?;
    browser.go("pods/default/again?tab=logs").await?;
    browser.read(".lines .log", "run 2").await?;
    browser.click_text(".logs label", "Previous run").await?;
    browser.read(".lines .log", "run 1").await?;
    let one = "return document.querySelectorAll('.lines .log').length == 1";
    browser.until("that run alone", one, json!([])).await?;
    cluster.kubectl(&["delete", "pod", "again"]).map(drop)
}

const CUSTOM: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crates.freight.example}
spec:
  group: freight.example
  scope: Namespaced
  names: {plural: crates, singular: crate, kind: Crate}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#;

/// A custom resource that says nothing of its columns; it appears in the open page, and goes.
pub async fn columnless(cluster: &Cluster, browser: &Browser) -> Result<()> {
    browser.go("").await?;
    browser.see("main h1").await?;
    apply(cluster, CUSTOM)?;
    cluster.kubectl(&[
        "wait",
        "crd/crates.freight.example",
        "--for=condition=Established",
        "--timeout=30s",
    ])?;
    apply(
        cluster,
        "{apiVersion: freight.example/v1, kind: Crate, metadata: {name: small}, spec: {holds: tea}}",
    )?;
    browser.go("crates.freight.example").await?;
    browser.read(".rows .name", "small").await?;
    let heads = "return [...document.querySelectorAll('.rows thead .sort')].map(one => one.innerText.trim())";
    let heads = browser.run(heads, json!([])).await?;
    ensure!(heads == json!(["Name", "Namespace", "Status", "Age"]), "{heads}");
    cluster.kubectl(&["delete", "crate", "small"])?;
    let gone = format!("return !{NAMES}.includes('small')");
    browser.until("it is gone", &gone, json!([])).await?;
    apply(
        cluster,
        "{apiVersion: freight.example/v1, kind: Crate, metadata: {name: large}, spec: {holds: coal}}",
    )?;
    browser.read(".rows .name", "large").await?;
    browser.go("crates.freight.example/default/large?tab=yaml").await?;
    browser.read("pre.code", "holds: coal").await?;
    cluster.kubectl(&["delete", "crd", "crates.freight.example"]).map(drop)
}

/// More than can be drawn: what fails is drawn first, and what is left out is said.
pub async fn crowd(cluster: &Cluster, browser: &Browser) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "crowd"])?;
    let service = |at: usize| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("one-{at}"), "namespace": "crowd"},
            "spec": {"clusterIP": "None", "selector": {"app": format!("one-{at}")}, "ports": [{"port": 80}]}})
    };
    let mut all: Vec<_> = (0..205).map(service).collect();
    all.push(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "worst", "namespace": "crowd"},
        "spec": {"containers": [{"name": "main", "image": "no-such-image:1"}]}}));
    apply(cluster, &json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string())?;
    browser.go("topology?ns=crowd").await?;
    browser.read(".graph svg", "worst").await?;
    browser.read("[role=status]", "6 more").await?;
    let boxes = "return document.querySelectorAll('.graph rect.box').length == 200";
    browser.until("as many as there is room for", boxes, json!([])).await?;
    browser.is_accessible("a crowd").await?;
    cluster.kubectl(&["delete", "namespace", "crowd", "--wait=false"]).map(drop)
}

/// Who is bound to what, and who may do one thing.
pub async fn rights(browser: &Browser) -> Result<()> {
    const ROWS: &str =
        "[...document.querySelectorAll('main .panel-card:last-child tbody tr')].map(one => one.innerText)";
    browser.go("access?ns=team").await?;
    let text = |wanted: &str| format!("const all = {ROWS}; return all.length > 0 && {wanted}");
    browser.until("a reader", &text("all.some(one => one.includes('team/reader'))"), json!([])).await?;
    let may = |what: &'static str, who: &'static str, does: bool| async move {
        browser.fill("main input[type=search]", what).await?;
        let not = if does { "" } else { "!" };
        let script = format!(
            "all.some(one => one.includes('system:masters')) && {not}all.some(one => one.includes('{who}'))"
        );
        browser.until(what, &text(&script), json!([])).await.map(drop)
    };
    may("get pods/log", "team/reader", true).await?;
    may("delete pods", "team/reader", false).await?;
    may("get secrets", "team/reader", false).await?;
    browser.is_accessible("who may").await
}
