//! Behind a proxy that closes what says nothing for 25 seconds.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sampan_test_browser::{Browser, relay::Relay};
use sampan_test_e2e::{apply, ready};
use sampan_testkit::Cluster;
use serde_json::json;

const QUIET: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: quiet}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: busybox, command: [sh, -c, "echo one; echo two; sleep 86400"]}]
"#;

/// Some row of the terminal has the text.
const ROWS: &str = "return [...document.querySelectorAll('.terminal .xterm-rows > div')].some(one => one.innerText.includes(arguments[0]))";
/// Twice as long as the proxy waits, in pings.
const PINGS: usize = 3;
const LIMIT: Duration = Duration::from_secs(120);

/// A shell and the feed are pinged, and so they stay; a log, which nothing can ping, goes on by itself.
pub async fn idle(cluster: &Cluster, browser: &Browser, relay: &Relay) -> Result<()> {
    apply(cluster, QUIET)?;
    ready(cluster, "quiet")?;
    browser.go("pods/default/quiet?tab=logs").await?;
    browser.read(".lines .log", "two").await?;
    browser.click_text(".tabs .to-dock", "Keep open").await?;
    browser.read(".dock .lines .log", "two").await?;
    browser.click_text(".tabs button:enabled", "Terminal").await?;
    browser.see(".body .terminal .xterm").await?;
    browser.until("a prompt", ROWS, json!(["#"])).await?;
    let focus = "document.querySelector('.body .xterm-helper-textarea').focus()";
    browser.run(focus, json!([])).await?;
    browser.press("kept=b$((6*7))c\n").await?;
    let before = relay.carried().len();
    let pinged = relay.until(|all| {
        let count = |path: &str| {
            all.iter()
                .filter(|one| one.asked.contains(path))
                .map(|one| one.pings)
                .next_back()
                .unwrap_or_default()
        };
        count("/sampan/v1/feed") >= PINGS && count("/sampan/v1/exec?") >= PINGS
    });
    let all = tokio::time::timeout(LIMIT, pinged).await.context("no pings")??;
    // neither of them was opened again on the way
    let opened = |path: &str| all[before..].iter().filter(|one| one.asked.contains(path)).count();
    ensure!(opened("/sampan/v1/feed") + opened("/sampan/v1/exec?") == 0, "{all:?}");
    browser.see(".fresh.live").await?;
    browser.run(focus, json!([])).await?;
    browser.press("echo $kept\n").await?;
    browser.until("the same shell", ROWS, json!(["b42c"])).await?;
    // the proxy has closed the log, which has begun again where it was
    ensure!(opened("/pods/quiet/log?") >= 1, "the proxy closes nothing: {all:?}");
    cluster.kubectl(&["exec", "quiet", "--", "sh", "-c", "echo three > /proc/1/fd/1"])?;
    let told = "const all = [...document.querySelectorAll('.dock .lines .log')].map(one => one.innerText); return all.join(' ') == 'one two three'";
    browser.until("each line once", told, json!([])).await?;
    browser.click(".dock .bar-of-tabs li button.quiet").await?;
    cluster.kubectl(&["delete", "pod", "quiet", "--now"]).map(drop)
}
