//! What is changed from the pages: edited, made, scaled, restarted, opened.

use anyhow::{Result, ensure};
use sampan_test_browser::Browser;
use sampan_testkit::Cluster;
use serde_json::json;

/// The server's own difference before anything is saved; nobody's change is lost.
pub async fn edits(cluster: &Cluster, browser: &Browser) -> Result<()> {
    cluster.kubectl(&["create", "configmap", "edited", "--from-literal=key=before"])?;
    browser.go("configmaps/default/edited?tab=yaml").await?;
    browser.read("pre.code", "key: before").await?;
    browser.click_text(".yaml button", "Edit").await?;
    rewrite(browser, "key: before", "key: after").await?;
    browser.click_text(".yaml .line button", "heck").await?;
    browser.read(".difference .gone", "before").await?;
    browser.read(".difference .new", "after").await?;
    ensure!(cluster.kubectl(&["get", "configmap", "edited", "-o", "jsonpath={.data.key}"])? == "before");
    browser.click_text(".yaml button.primary:enabled", "").await?;
    browser.read("pre.code", "key: after").await?;
    ensure!(cluster.kubectl(&["get", "configmap", "edited", "-o", "jsonpath={.data.key}"])? == "after");
    // somebody else is faster
    browser.click_text(".yaml button", "Edit").await?;
    browser.yaml().await?;
    cluster.kubectl(&["patch", "configmap", "edited", "-p", r#"{"data":{"key":"theirs"}}"#])?;
    rewrite(browser, "key: after", "key: mine").await?;
    browser.click_text(".yaml .line button", "heck").await?;
    browser.read(".yaml .error", "data.key").await?;
    ensure!(cluster.kubectl(&["get", "configmap", "edited", "-o", "jsonpath={.data.key}"])? == "theirs");
    Ok(())
}

/// The text in the editor, with one thing in it changed.
async fn rewrite(browser: &Browser, from: &str, to: &str) -> Result<()> {
    let text = browser.yaml().await?;
    ensure!(text.contains(from), "no {from} in {text}");
    browser.write_yaml(&text.replace(from, to)).await
}

/// Several documents at once; each is told of.
pub async fn creates(cluster: &Cluster, browser: &Browser) -> Result<()> {
    browser.go("create?ns=default").await?;
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: made\ndata:\n  key: one\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: Not_A_Name\n---\napiVersion: v1\nkind: Nothing\nmetadata:\n  name: x\n";
    browser.write_yaml(text).await?;
    browser.click("main button.primary").await?;
    browser.read(".told-list .healthy", "ConfigMap/made").await?;
    browser.read(".told-list .error", "Not_A_Name").await?;
    browser.read(".told-list .error", "Nothing").await?;
    ensure!(cluster.kubectl(&["get", "configmap", "made", "-o", "jsonpath={.data.key}"])? == "one");
    // the same again, changed
    browser.write_yaml(&text.replace("key: one", "key: two")).await?;
    browser.click("main button.primary").await?;
    browser
        .until("changed", "return document.querySelectorAll('.told-list li').length == 3", json!([]))
        .await?;
    sampan_test_e2e::eventually("the change", std::time::Duration::from_secs(10), || {
        let value = cluster.kubectl(&["get", "configmap", "made", "-o", "jsonpath={.data.key}"])?;
        Ok((value == "two").then_some(()))
    })
}

/// Scale, restart, cordon; each with a question first.
pub async fn acts(cluster: &Cluster, browser: &Browser) -> Result<()> {
    browser.go("deployments.apps/default/web").await?;
    browser.click_text(".actions button", "Scale").await?;
    browser.read("dialog[open] h2", "default/web").await?;
    browser.fill("dialog[open] input[type=number]", "1").await?;
    browser.click("dialog[open] button.primary").await?;
    cluster.kubectl(&["wait", "deployment/web", "--for=jsonpath={.status.replicas}=1", "--timeout=60s"])?;
    browser.click_text(".actions button", "Restart").await?;
    browser.click("dialog[open] button.primary").await?;
    cluster.kubectl(&[
        "wait",
        "deployment/web",
        "--for=jsonpath={.metadata.annotations.deployment\\.kubernetes\\.io/revision}=2",
        "--timeout=60s",
    ])?;
    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    browser.go(&format!("nodes/-/{node}")).await?;
    browser.click_text(".actions button", "Cordon").await?;
    browser.click("dialog[open] button.primary").await?;
    browser.read(".actions button", "Uncordon").await?;
    let cordoned = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].spec.unschedulable}"])?;
    ensure!(cordoned == "true", "{cordoned}");
    browser.click_text(".actions button", "Uncordon").await?;
    browser.click("dialog[open] button.primary").await?;
    browser.until("uncordoned", "return [...document.querySelectorAll('.actions button')].some(one => one.innerText.trim() == 'Cordon')", json!([])).await?;
    // a namespace goes only when its name is typed
    browser.go("namespaces/-/team").await?;
    browser.click_text(".actions button", "Delete").await?;
    browser.see("dialog[open] button.danger:disabled").await?;
    browser.press("\u{e00c}").await?;
    browser
        .until("the question gone", "return document.querySelector('dialog[open]') == null", json!([]))
        .await
        .map(drop)
}

/// The web page of a Service in a tab of its own.
pub async fn workloads(browser: &Browser) -> Result<()> {
    browser.go("services/default/web").await?;
    let own = browser.client.window().await?;
    browser.see(".ports a.button").await?;
    browser.is_accessible("ports").await?;
    browser.click(".ports a.button").await?;
    let windows = async || anyhow::Ok(browser.client.windows().await?);
    let opened = loop {
        let all = windows().await?;
        if let Some(other) = all.into_iter().find(|one| *one != own) {
            break other;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    browser.client.switch_to_window(opened).await?;
    browser.read("body", "Welcome to nginx").await?;
    let place = browser.client.current_url().await?;
    ensure!(
        place.host_str().is_some_and(|host| host.ends_with(".localhost")) && place.path() == "/",
        "{place}"
    );
    let seen = browser.run("return [document.cookie, String(window.opener)]", json!([])).await?;
    ensure!(seen == json!(["", "null"]), "{seen}");
    browser.client.close_window().await?;
    browser.client.switch_to_window(own).await?;
    Ok(())
}
