//! The editor of YAML: it completes, marks, is left by keys, and covers Secrets.

use anyhow::{Result, ensure};
use sampan_test_browser::{Browser, CONTROL};
use sampan_testkit::Cluster;
use serde_json::json;

const SHADOW: &str = "const shadow = document.querySelector('.editor')?.shadowRoot;";

/// Waits until something in the editor has a text.
async fn inside(browser: &Browser, selector: &str, text: &str) -> Result<()> {
    let script = format!(
        "{SHADOW} return [...shadow?.querySelectorAll(arguments[0]) ?? []].some(one => one.textContent.includes(arguments[1]))"
    );
    browser
        .until(&format!("{text:?} in the editor's {selector}"), &script, json!([selector, text]))
        .await
        .map(drop)
}

/// Completion and marks by the server's schemas; keys that are the editor's, and how to leave it.
pub async fn helps(browser: &Browser) -> Result<()> {
    browser.go("create?ns=default").await?;
    browser.write_yaml("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: x\nspec:\n  ").await?;
    browser.key(" ", 32, CONTROL).await?;
    inside(browser, ".cm-tooltip-autocomplete li", "replicas").await?;
    inside(browser, ".cm-completionInfo", "").await?;
    browser.devtools("Input.insertText", json!({"text": "repl"})).await?;
    inside(browser, "li[aria-selected]", "replicasinteger").await?;
    // an option that has just come is not taken by a key meant for the text
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    browser.key("Enter", 13, 0).await?;
    inside(browser, ".cm-line", "  replicas: ").await?;
    browser.devtools("Input.insertText", json!({"text": "two\n  nonsense: 1"})).await?;
    // the line of a mark is told by the gutter
    let marks = format!(
        "{SHADOW} return shadow.querySelectorAll('.cm-gutter-lint .cm-lint-marker-error').length == 2"
    );
    browser.until("two marks", &marks, json!([])).await?;
    browser.write_yaml("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  type: ").await?;
    browser.key(" ", 32, CONTROL).await?;
    inside(browser, ".cm-tooltip-autocomplete li", "NodePort").await?;
    browser.is_accessible("the editor while it completes").await?;
    // letters and Ctrl-K are the editor's
    browser.write_yaml("a: ").await?;
    browser.key("?", 191, 8).await?;
    browser.key("k", 75, CONTROL).await?;
    let open = browser.run("return Boolean(document.querySelector('dialog[open]'))", json!([])).await?;
    ensure!(open == json!(false), "a dialog opened while a text was typed");
    // Tab indents; after Escape it leaves
    let within = "return document.activeElement?.classList.contains('editor') ?? false";
    browser.key("Tab", 9, 0).await?;
    ensure!(browser.run(within, json!([])).await? == json!(true), "Tab left the editor");
    browser.key("Escape", 27, 0).await?;
    browser.key("Tab", 9, 0).await?;
    ensure!(browser.run(within, json!([])).await? == json!(false), "Escape and Tab did not leave the editor");
    Ok(())
}

/// A Secret is edited with its values covered; they stay what they were.
pub async fn covers(cluster: &Cluster, browser: &Browser) -> Result<()> {
    cluster.kubectl(&["create", "secret", "generic", "veiled", "--from-literal=key=correct-horse"])?;
    browser.go("secrets/default/veiled?tab=yaml").await?;
    browser.read("pre.code", "••••••••").await?;
    browser.click_text(".yaml button", "Edit").await?;
    let text = browser.yaml().await?;
    ensure!(text.contains("••••••••") && !text.contains("Y29ycmVjdC1ob3JzZQ"), "{text}");
    browser.write_yaml(&text.replace("metadata:", "metadata:\n  labels:\n    kept: \"yes\"")).await?;
    browser.click_text(".yaml .line button", "heck").await?;
    browser.read(".difference .new", "kept").await?;
    browser.click_text(".yaml button.primary:enabled", "").await?;
    browser.read("pre.code", "kept").await?;
    let told = cluster.kubectl(&[
        "get",
        "secret",
        "veiled",
        "-o",
        "jsonpath={.data.key} {.metadata.labels.kept}",
    ])?;
    ensure!(told == "Y29ycmVjdC1ob3JzZQ== yes", "{told}");
    browser.click_text(".yaml button", "Show values").await?;
    browser.read("pre.code", "Y29ycmVjdC1ob3JzZQ").await
}

/// A Deployment with its Service by the form: errors at their fields, a dry run first, the YAML in sight.
pub async fn forms(cluster: &Cluster, browser: &Browser) -> Result<()> {
    browser.go("create?by=form&ns=default").await?;
    browser.fill("#form-name", "Shop_1").await?;
    browser.fill("#form-image", "nginx:alpine").await?;
    browser.fill("#form-replicas", "-1").await?;
    browser.fill("#form-port", "80").await?;
    browser.click_text(".environment button", "Add").await?;
    browser.fill(".environment input", "MODE").await?;
    browser.read(".by-form pre.code", "containerPort: 80").await?;
    browser.see(".by-form button.primary:disabled").await?;
    browser.click_text(".by-form button", "Check").await?;
    browser.read("#form-name-wrong", "Invalid value").await?;
    browser.read("#form-replicas-wrong", "greater than or equal to 0").await?;
    browser.is_accessible("the form with errors").await?;
    browser.fill("#form-name", "shop").await?;
    browser.fill("#form-replicas", "1").await?;
    browser.click_text(".by-form button", "Check").await?;
    browser.see(".by-form button.primary:enabled").await?;
    ensure!(
        cluster.kubectl(&["get", "deployments", "-o", "name"])?.lines().all(|one| !one.ends_with("/shop"))
    );
    browser.click(".by-form button.primary").await?;
    browser
        .until("its page", "return location.pathname.endsWith('/deployments.apps/default/shop')", json!([]))
        .await?;
    let port = cluster.kubectl(&["get", "service", "shop", "-o", "jsonpath={.spec.ports[0].port}"])?;
    ensure!(port == "80", "{port}");
    Ok(())
}

/// A right that could not be asked for is none.
pub async fn doubts(browser: &Browser) -> Result<()> {
    browser.go("configmaps/default/edited").await?;
    browser.see(".actions button:enabled").await?;
    // the page is left and entered without loading it anew, with a broken way to the API server between
    browser.run("window.fetched = window.fetch; window.fetch = (request, ...rest) => String(request.url ?? request).includes('selfsubjectaccessreviews') ? Promise.reject(new Error('cut')) : window.fetched(request, ...rest); document.querySelector('a[href=\"./configmaps\"], a[href^=\"configmaps\"]')?.click()", json!([])).await?;
    browser.see(".rows .name").await?;
    browser.run("history.back()", json!([])).await?;
    let doubt = "const all = [...document.querySelectorAll('.actions button')]; return all.length > 0 && all.every(one => one.disabled && one.title.includes('could not be checked') && one.title.includes('configmaps'))";
    browser.until("a right nobody knows", doubt, json!([])).await?;
    browser.run("window.fetch = window.fetched", json!([])).await.map(drop)
}
