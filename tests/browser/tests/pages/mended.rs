//! What a new user ran into: rights of one namespace only, narrow windows, changes of others, texts not saved, keys.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use sampan_test_browser::{Browser, PLAIN, address};
use sampan_testkit::Cluster;
use serde_json::json;

const NO_DIALOG: &str = "return document.querySelector('dialog[open]') == null";

/// Who sees one namespace only is told so, where nothing can be shown.
pub async fn few_rights(cluster: &Cluster) -> Result<()> {
    let token = cluster.kubectl(&["create", "token", "reader", "-n", "team"])?;
    let browser = Browser::start(PLAIN).await?;
    browser.client.goto(&address(cluster)?).await?;
    browser.read(".sign-in code", &format!("sampan -p {} dashboard", cluster.profile())).await?;
    browser.fill(".sign-in input", token.trim()).await?;
    browser.click(".sign-in button").await?;
    browser.read(".tile", "You may not list Pod of all namespaces").await?;
    browser.read(".panel-card", "You may not list Event of all namespaces").await?;
    browser.read(".panel-card", "You may not list Node").await?;
    browser.read(".panel-card", "You may not list Components").await?;
    ensure!(
        browser.run("return document.querySelector('.fine') == null", json!([])).await? == json!(true),
        "all is well for who may see nothing"
    );
    browser.is_accessible("overview of few rights").await?;
    browser.picture("few-rights").await?;
    browser.click(".namespaces summary").await?;
    let named = "return document.activeElement?.matches('.namespaces input[type=text]')";
    browser.until("a namespace can be named", named, json!([])).await?;
    browser.press("team\u{e007}").await?;
    browser.read(".tile .chip", "1").await?;
    browser.go("topology").await?;
    browser.read(".barred", "You may not list Service of all namespaces").await?;
    browser.go("access").await?;
    browser.read(".barred", "You may not list ClusterRoleBinding").await
}

/// All kinds are reached where only icons have room.
pub async fn narrow(browser: &Browser) -> Result<()> {
    for width in [800, 400] {
        browser.client.set_window_size(width, 800).await?;
        browser.go("").await?;
        let summary = ".nav summary[title=Workloads]";
        browser.see(summary).await?;
        let fits = "const links = document.querySelector('.nav .links'); return links.scrollWidth <= links.clientWidth";
        browser.until("nothing sticks out", fits, json!([])).await?;
        browser.is_accessible("narrow navigation").await?;
        browser.click(summary).await?;
        browser.until("nothing sticks out of what is open", fits, json!([])).await?;
        browser.picture(&format!("narrow-{width}")).await?;
        browser.click(".nav a[title=Pod]").await?;
        browser.read(".rows .name", "shell").await?;
        let shut = "return document.querySelector('.nav.wide-open') == null";
        browser.until("it closed", shut, json!([])).await?;
        browser.click(".nav summary[title=Network]").await?;
        browser.see(".nav.wide-open a[title=Service]").await?;
        browser.press("\u{e00c}").await?;
        browser.until("it closed at Escape", shut, json!([])).await?;
    }
    browser.client.set_window_size(1280, 800).await?;
    Ok(())
}

async fn value(cluster: &Cluster, key: &str) -> Result<String> {
    cluster.kubectl(&["get", "configmap", "shared", "-o", &format!("jsonpath={{.data.{key}}}")])
}

/// Waits for the browser's question and says no.
pub async fn asked(browser: &Browser) -> Result<()> {
    for _ in 0..100 {
        match browser.client.dismiss_alert().await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_no_such_alert() => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error.into()),
        }
    }
    bail!("nothing is asked")
}

async fn rewrite(browser: &Browser, from: &str, to: &str) -> Result<()> {
    let text = browser.yaml().await?;
    ensure!(text.contains(from), "no {from} in {text}");
    browser.write_yaml(&text.replace(from, to)).await
}

/// Changes of others of something else come together with one's own; of the same they are shown. No text is lost unasked.
pub async fn together(cluster: &Cluster, browser: &Browser) -> Result<()> {
    cluster.kubectl(&["create", "configmap", "shared", "--from-literal=a=one", "--from-literal=b=one"])?;
    browser.go("configmaps/default/shared?tab=yaml").await?;
    browser.click_text(".yaml button", "Edit").await?;
    rewrite(browser, "a: one", "a: mine").await?;
    cluster.kubectl(&["patch", "configmap", "shared", "-p", r#"{"data":{"b":"theirs"}}"#])?;
    browser.click_text(".yaml .line button", "Check").await?;
    browser.read(".difference .new", "a: mine").await?;
    cluster.kubectl(&["label", "configmap", "shared", "others=too"])?;
    browser.click_text(".yaml button.primary:enabled", "").await?;
    browser.read("pre.code", "a: mine").await?;
    ensure!((value(cluster, "a").await?, value(cluster, "b").await?) == ("mine".into(), "theirs".into()));
    // the same field
    browser.click_text(".yaml button", "Edit").await?;
    rewrite(browser, "a: mine", "a: mine again").await?;
    cluster.kubectl(&["patch", "configmap", "shared", "-p", r#"{"data":{"a":"theirs too"}}"#])?;
    browser.click_text(".yaml .line button", "Check").await?;
    browser.read(".yaml .error", "data.a").await?;
    browser.read(".clash .difference .new", "a: theirs too").await?;
    browser.picture("clash").await?;
    browser.is_accessible("a clash").await?;
    ensure!(browser.yaml().await?.contains("a: mine again"), "the text is lost");
    ensure!(value(cluster, "a").await? == "theirs too");
    browser.click_text(".clash button", "Take theirs as a base").await?;
    browser.read(".difference .gone", "a: theirs too").await?;
    browser.click_text(".yaml button.primary:enabled", "").await?;
    browser.read("pre.code", "a: mine again").await?;
    ensure!(value(cluster, "a").await? == "mine again");
    // not saved: Cancel and a link ask
    browser.click_text(".yaml button", "Edit").await?;
    rewrite(browser, "a: mine again", "a: not saved").await?;
    for leave in [
        "[...document.querySelectorAll('.yaml .line button')].find(one => one.innerText == 'Cancel')",
        "document.querySelector('.nav a')",
        "[...document.querySelectorAll('.menu button')].find(one => one.innerText == 'Sign out' || one.textContent == 'Sign out')",
    ] {
        browser.run(&format!("const one = {leave}; setTimeout(() => one.click())"), json!([])).await?;
        asked(browser).await?;
        ensure!(browser.yaml().await?.contains("a: not saved"), "the text is lost");
    }
    Ok(())
}

/// A workload's page says why its pods do not run, a node's page which pods it has, a Service's page what it selects.
pub async fn around(cluster: &Cluster, browser: &Browser) -> Result<()> {
    cluster.kubectl(&["create", "deployment", "imageless", "--image=no-such-image:2"])?;
    cluster.kubectl(&["create", "service", "clusterip", "nobody", "--tcp=80:80"])?;
    browser.go("deployments.apps/default/imageless").await?;
    browser.read(".cause", "The image cannot be pulled").await?;
    browser.read(".of-pod a", "Pod/imageless-").await?;
    browser.is_accessible("a workload that does not run").await?;
    browser.click(".of-pod a").await?;
    browser.read(".detail h1", "imageless-").await?;
    browser.go("services/default/nobody").await?;
    browser.read(".facts dd", "app=nobody").await?;
    browser.read(".detail .body", "No pod is selected").await?;
    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    browser.go(&format!("nodes/-/{node}")).await?;
    browser.read(".facts dt", "allocatable pods").await?;
    browser.read(".detail table th a", "shell").await?;
    cluster.kubectl(&["delete", "deployment/imageless", "service/nobody", "--wait=false"])?;
    Ok(())
}

/// Keys go to what is on top; a number that is asked for is typed over.
pub async fn on_top(browser: &Browser) -> Result<()> {
    browser.go("pods?ns=default&open=default/shell").await?;
    browser.see(".detail.drawer").await?;
    browser.run("document.querySelector('.detail.drawer').focus()", json!([])).await?;
    browser.press("?").await?;
    browser.see("dialog[open] .keys").await?;
    browser.press("\u{e009}k\u{e000}").await?;
    browser.see("dialog[open] .keys").await?;
    ensure!(
        browser.run("return document.querySelector('dialog.palette') == null", json!([])).await?
            == json!(true),
        "the palette is above the list of keys"
    );
    browser.press("\u{e00c}").await?;
    browser.until("the list of keys gone", NO_DIALOG, json!([])).await?;
    browser.see(".detail.drawer").await?;
    browser.go("deployments.apps/default/web").await?;
    browser.click_text(".actions button:enabled", "Scale").await?;
    browser.see("dialog[open] input[type=number]").await?;
    browser.devtools("Input.insertText", json!({"text": "5"})).await?;
    let typed = "return document.querySelector('dialog[open] input[type=number]').value == '5'";
    browser.until("what is typed replaces it", typed, json!([])).await?;
    browser.press("\u{e00c}").await?;
    browser.until("the question gone", NO_DIALOG, json!([])).await.map(drop)
}
