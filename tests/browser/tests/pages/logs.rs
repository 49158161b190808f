//! Logs that are followed, filtered and linked to; a shell.

use anyhow::{Result, ensure};
use sampan_test_browser::Browser;
use serde_json::json;

/// Followed, coloured, filtered; nothing of it is HTML.
pub async fn logs(browser: &Browser) -> Result<()> {
    browser.go("pods/default/shell?tab=logs").await?;
    let ticks = "return [...document.querySelectorAll('.lines .log')].filter(one => one.innerText.includes('tick')).length";
    let before = browser.until("a tick", ticks, json!([])).await?.as_u64().unwrap_or_default();
    let more =
        format!("{ticks} > {before}").replacen("return ", "return (", 1).replace(".length >", ".length) >");
    browser.until("more ticks", &more, json!([])).await?;
    browser.fill(".logs input[type=search]", "bold").await?;
    browser
        .until("only what fits", "return document.querySelectorAll('.lines .log').length == 1", json!([]))
        .await?;
    browser.read(".lines .log", "<b>bold</b>").await?;
    browser.click_text(".lines .log", "bold").await?;
    browser.read(".pretty", "\"level\": \"error\"").await?;
    browser.fill(".logs input[type=search]", "first line").await?;
    browser.read(".lines .log", "red first line").await?;
    linked(browser).await?;
    browser.go("deployments.apps/default/web?tab=logs").await?;
    browser.see(".logs").await
}

/// The address of a page leads to the line that was chosen, by mouse or by keyboard.
async fn linked(browser: &Browser) -> Result<()> {
    browser.go("pods/default/shell?tab=logs").await?;
    // of a pod that has run for long only the end is in sight
    browser.fill(".logs input[type=search]", "bold").await?;
    browser.click_text(".lines .log", "bold").await?;
    browser.read(".lines .log.linked", "bold").await?;
    let address = browser.client.current_url().await?;
    ensure!(address.query_pairs().any(|(name, value)| name == "line" && value.contains('T')), "{address}");
    browser.go("").await?;
    browser.client.goto(address.as_str()).await?;
    browser.read(".lines .log.linked", "bold").await?;
    browser.read(".pretty", "\"level\": \"error\"").await?;
    browser.is_accessible("a linked line").await?;
    browser.run("document.querySelector('.lines').focus()", json!([])).await?;
    browser.press("\u{e013}").await?;
    browser.read(".lines .log.linked", "first line").await?;
    browser.press("\u{e00c}").await?;
    let none = "return !document.querySelector('.log.linked') && !location.search.includes('line=')";
    browser.until("no line is chosen", none, json!([])).await?;
    // ten megabytes without an end are a line of which the beginning is shown
    browser.go("pods/default/long?tab=logs").await?;
    browser.read(".lines .log", "after it").await?;
    browser.until("one line, cut", "return [...document.querySelectorAll('.lines .log')].filter(one => one.innerText.startsWith('x')).length == 1 && document.querySelector('.lines .log').innerText.includes('… (+')", json!([])).await.map(drop)
}

/// A shell: what is typed is run.
pub async fn terminal(browser: &Browser) -> Result<()> {
    browser.go("pods/default/shell?tab=terminal").await?;
    browser.see(".terminal .xterm").await?;
    // the prompt has come when the terminal's own rows say so
    let rows = "return [...document.querySelectorAll('.xterm-rows > div')].some(one => one.innerText.includes(arguments[0]))";
    browser.until("a prompt", rows, json!(["#"])).await?;
    browser.run("document.querySelector('.xterm-helper-textarea').focus()", json!([])).await?;
    browser.press("echo a$((6*7))b\n").await?;
    browser.until("what was run", rows, json!(["a42b"])).await.map(drop)
}
