//! What stays open below the pages, and what pods and nodes used.

use anyhow::Result;
use sampan_test_browser::Browser;
use serde_json::json;

/// Some row of the terminal has the text.
const ROWS: &str = "return [...document.querySelectorAll('.dock .xterm-rows > div')].some(one => one.innerText.includes(arguments[0]))";

/// A shell and a log outlive the page they were opened on, and a change of language.
pub async fn stays(browser: &Browser) -> Result<()> {
    browser.go("pods/default/shell?tab=terminal").await?;
    browser.see(".terminal .xterm").await?;
    let page = ROWS.replace(".dock ", ".detail ");
    browser.until("a prompt on the page", &page, json!(["#"])).await?;
    browser.run("document.querySelector('.detail .xterm-helper-textarea').focus()", json!([])).await?;
    browser.press("moved=m$((6*8))d\n").await?;
    browser.click_text(".tabs .to-dock", "Keep open").await?;
    browser.until("it is below", ROWS, json!(["moved="])).await?;
    browser.run("document.querySelector('.dock .xterm-helper-textarea').focus()", json!([])).await?;
    browser.press("echo $moved\n").await?;
    browser.until("the same shell", ROWS, json!(["m48d"])).await?;
    browser.until("a prompt", ROWS, json!(["#"])).await?;
    browser.run("document.querySelector('.dock .xterm-helper-textarea').focus()", json!([])).await?;
    browser.press("kept=d$((6*7))k\n").await?;
    // the same shell, on another page
    browser.click_text("nav a", "Deployment").await?;
    browser.read(".rows .name", "web").await?;
    browser.run("document.querySelector('.dock .xterm-helper-textarea').focus()", json!([])).await?;
    browser.press("echo $kept\n").await?;
    browser.until("the shell goes on", ROWS, json!(["d42k"])).await?;
    // logs beside it, by a key
    browser.click_text(".rows .name .open", "web").await?;
    browser.see(".detail.drawer").await?;
    browser.press("L").await?;
    browser.see(".dock .pane:not([hidden]) .logs").await?;
    let hidden = "const panes = [...document.querySelectorAll('.dock .pane')]; return panes.length == 2 && panes.filter(one => one.hidden).length == 1";
    browser.until("one of two is seen", hidden, json!([])).await?;
    browser.is_accessible("the dock").await?;
    browser.picture("dock").await?;
    browser.click_text("header.top button", "中文").await?;
    browser.see("html[lang=zh-CN]").await?;
    browser.read(".dock .bar-of-tabs", "终端").await?;
    // what is in it as well
    browser.read(".dock .pane:not([hidden]) .logs label", "换行").await?;
    let none = "return !/Wrap|Follow|Shell leaves|Command/.test([...document.querySelectorAll('.dock .pane label, .dock .pane button, .dock .pane p')].map(one => one.textContent).join(' '))";
    browser.until("nothing in the other language", none, json!([])).await?;
    browser.click_text(".dock .bar-of-tabs li button", "终端").await?;
    browser.until("the shell is still there", ROWS, json!(["d42k"])).await?;
    browser.read(".dock .pane:not([hidden]) label", "命令").await?;
    browser.is_accessible("the dock in Chinese").await?;
    browser.click_text("header.top button", "English").await?;
    browser.see("html[lang=en]").await?;
    for left in ["1", "0"] {
        browser.click(".dock .bar-of-tabs li button.quiet").await?;
        let closed = "return document.querySelectorAll('.dock .pane').length == arguments[0]";
        browser.until("one less", closed, json!([left])).await?;
    }
    Ok(())
}

/// Lines of what was used, for a node, a pod and a workload; and who owns whom.
pub async fn usage(browser: &Browser) -> Result<()> {
    browser.go("pods/default/shell").await?;
    browser.read(".chart", "CPU").await?;
    browser.read(".chart", "at most").await?;
    browser.go("deployments.apps/default/web").await?;
    browser.read(".chart", "Memory").await?;
    browser.read(".tree", "Deployment/web").await?;
    browser.read(".tree", "ReplicaSet/web-").await?;
    browser.read(".tree", "Pod/web-").await?;
    browser.click_text(".tree a", "Pod/web-").await?;
    let chain = "const all = [...document.querySelectorAll('.tree li')].map(one => one.innerText); return all.length == 3 && all[0].startsWith('Deployment/web') && all[1].startsWith('ReplicaSet/') && all[2].startsWith('Pod/')";
    browser.until("owners up to the topmost", chain, json!([])).await?;
    browser.is_accessible("usage and owners").await?;
    browser.go("").await?;
    browser.see(".node .trend .spark").await
}
