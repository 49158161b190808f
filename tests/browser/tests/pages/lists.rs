//! Lists: their columns stay as they were left, and memory stays as it was while pods come and go.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use sampan_test_browser::Browser;
use sampan_testkit::{Cluster, length};
use serde_json::json;

/// Shown, ordered and sized by keyboard; kept for the next visit; a link's columns win.
pub async fn columns(browser: &Browser) -> Result<()> {
    let heads = "return [...document.querySelectorAll('.rows thead .sort')].map(one => one.innerText.trim()).join(' ') == arguments[0]";
    browser.go("pods?ns=default").await?;
    browser.until("the usual columns", heads, json!(["Name Status Ready Restarts Age CPU Memory"])).await?;
    browser.click(".tools .menu summary").await?;
    browser.click_text(".chooser label", "Ready").await?;
    browser.click("[aria-label='Age further left']").await?;
    browser.until("one less, one moved", heads, json!(["Name Status Age Restarts CPU Memory"])).await?;
    let width = "return document.querySelectorAll('.rows thead th')[1].offsetWidth";
    let before = browser.run(width, json!([])).await?.as_u64().unwrap_or_default();
    browser.run("document.querySelector('.rows thead .edge').focus()", json!([])).await?;
    // two steps of the right arrow
    browser.press("\u{e014}\u{e014}").await?;
    let wider = "return document.querySelectorAll('.rows thead th')[1].offsetWidth == arguments[0]";
    browser.until("a wider column", wider, json!([before + 32])).await?;
    browser.go("pods?ns=default").await?;
    browser.until("as it was left", heads, json!(["Name Status Age Restarts CPU Memory"])).await?;
    browser.until("as wide as it was left", wider, json!([before + 32])).await?;
    browser.go("pods?ns=default&cols=Age").await?;
    browser.until("a link's columns", heads, json!(["Name Status Age"])).await?;
    browser.click(".tools .menu summary").await?;
    browser.click_text(".chooser button", "Usual columns").await?;
    browser
        .until("the usual columns again", heads, json!(["Name Status Ready Restarts Age CPU Memory"]))
        .await?;
    browser.is_accessible("the menu of columns").await
}

/// Seconds until what is made once has been made.
const WARM: u64 = 20;

/// Pods come, crash and go, with list and overview looked at in turn: memory does not grow. A minute; an hour in
/// `make test-long`.
pub async fn memory_is_flat(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let seconds = if length() > 1 { 3600 } else { 60 };
    cluster.kubectl(&["create", "namespace", "churn"])?;
    cluster.kubectl(&["wait", "--for=create", "--timeout=30s", "-n", "churn", "serviceaccount/default"])?;
    let churn = tokio::spawn(churn(cluster.client().await?));
    browser.go("").await?;
    look_around(browser, WARM).await?;
    let (script, memory) = browser.heap().await?;
    look_around(browser, seconds).await?;
    let (script_after, memory_after) = browser.heap().await?;
    ensure!(!churn.is_finished(), "the churn ended: {:?}", churn.await);
    churn.abort();
    cluster.kubectl(&["delete", "namespace", "churn", "--wait=false"])?;
    eprintln!(
        "heap: script {script:.0} → {script_after:.0}, WebAssembly {memory:.0} → {memory_after:.0} bytes"
    );
    ensure!(
        script_after < script * 1.2 + 200e3,
        "JavaScript's heap grew from {script} to {script_after} bytes"
    );
    ensure!(
        memory_after < memory * 1.25 + 1e6,
        "WebAssembly's memory grew from {memory} to {memory_after} bytes"
    );
    Ok(())
}

/// From page to page without loading anew.
async fn look_around(browser: &Browser, seconds: u64) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        browser.click("nav a[href*='pods']").await?;
        browser.see(".rows tbody .name").await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        browser.click_text("nav a", "Overview").await?;
        browser.see(".tile").await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Fifty pods, each of which crashes again and again in what its status says, and is made anew after a few seconds.
async fn churn(client: Client) -> Result<()> {
    const PODS: usize = 50;
    let api: Api<Pod> = Api::namespaced(client, "churn");
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    for round in 0usize.. {
        let name = format!("pod-{}", round % PODS);
        if round >= PODS {
            let _ = api.delete(&name, &now).await;
        }
        let pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"round": round.to_string()}},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "busybox"}]},
        }))?;
        api.create(&PostParams::default(), &pod).await?;
        for restarts in 0..4 {
            let status = json!({"status": {"phase": "Running", "containerStatuses": [{
                "name": "main", "image": "busybox", "imageID": "", "ready": false, "restartCount": restarts,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            }]}});
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
