//! Terminals beside a plain shell: a container's own process, a debug container, a node.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sampan_test_browser::Browser;
use sampan_test_e2e::{apply, ready};
use sampan_testkit::Cluster;
use serde_json::json;

const WORLD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: echoing}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: plain, image: busybox, stdin: true, command: [sh, -c, "while read line; do echo heard $line; done"]}
  - {name: term, image: busybox, stdin: true, tty: true, command: [sh]}
"#;

/// Some row of the terminal has the text.
const ROWS: &str = "return [...document.querySelectorAll('.xterm-rows > div')].some(one => one.innerText.includes(arguments[0]))";

async fn types(browser: &Browser, keys: &str) -> Result<()> {
    browser.run("document.querySelector('.xterm-helper-textarea').focus()", json!([])).await?;
    browser.press(keys).await
}

/// The process of a container without a terminal, and of one with.
pub async fn attaches(cluster: &Cluster, browser: &Browser) -> Result<()> {
    apply(cluster, WORLD)?;
    ready(cluster, "echoing")?;
    browser.go("pods/default/echoing?tab=terminal").await?;
    browser.click_text(".segments button:enabled", "Attach").await?;
    browser.see(".terminal .xterm").await?;
    browser.read(".terminal-page p", "own process").await?;
    types(browser, "ahoy\n").await?;
    browser.until("what the process said", ROWS, json!(["heard ahoy"])).await?;
    browser.is_accessible("attach").await?;
    let choose = "const select = document.querySelector('.terminal-page select'); select.value = 'term';
        select.dispatchEvent(new Event('change'))";
    browser.run(choose, json!([])).await?;
    browser
        .until(
            "another terminal",
            "return !document.querySelector('.xterm-rows').innerText.includes('ahoy')",
            json!([]),
        )
        .await?;
    types(browser, "echo b$((6*7))c\n").await?;
    browser.until("what was run", ROWS, json!(["b42c"])).await?;
    // it ends when its process does, and can be opened again
    types(browser, "exit\n").await?;
    browser.read(".terminal-page [role=status]", "has ended").await?;
    browser.click_text(".terminal-page [role=status] button", "Open again").await?;
    browser.see(".terminal .xterm").await
}

/// A container with tools beside one that has none, in its processes.
pub async fn debugs(cluster: &Cluster, browser: &Browser) -> Result<()> {
    browser.go("pods/default/shell?tab=terminal").await?;
    browser.click_text(".segments button:enabled", "Debug container").await?;
    browser.fill(".terminal-page form input", "busybox").await?;
    browser.click(".terminal-page form button.primary:enabled").await?;
    browser.see(".terminal .xterm").await?;
    browser.until("a prompt", ROWS, json!(["#"])).await?;
    types(browser, "ps | grep -c tic[k]; echo d$((6*7))e\n").await?;
    browser.until("what was run", ROWS, json!(["d42e"])).await?;
    let added = cluster.kubectl(&["get", "pod", "shell", "-o", "jsonpath={.spec.ephemeralContainers[0]}"])?;
    ensure!(added.contains("\"targetContainerName\":\"main\""), "{added}");
    // an image that is not there is said in place
    browser.go("pods/default/echoing?tab=terminal").await?;
    browser.click_text(".segments button:enabled", "Debug container").await?;
    browser.fill(".terminal-page form input", "no-such-image:1").await?;
    browser.click(".terminal-page form button.primary:enabled").await?;
    browser.read(".terminal-page [role=status]", "is starting").await?;
    browser.read(".terminal-page [role=status]", "Pull").await
}

/// Waits for the browser's question and says yes.
async fn agreed(browser: &Browser) -> Result<()> {
    for _ in 0..100 {
        match browser.client.accept_alert().await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_no_such_alert() => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error.into()),
        }
    }
    bail!("nothing is asked")
}

/// A shell of the node, of which nothing is left.
pub async fn node(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    browser.go(&format!("nodes/-/{node}")).await?;
    browser.click_text(".tabs button:enabled", "Terminal").await?;
    browser.is_accessible("node shell").await?;
    browser.click(".terminal-page form button.primary:enabled").await?;
    browser.see(".terminal .xterm").await?;
    browser.until("a prompt", ROWS, json!(["#"])).await?;
    types(browser, "ls -d /etc/debian_version; cat /proc/1/comm\n").await?;
    browser.until("the node's files", ROWS, json!(["/etc/debian_version"])).await?;
    let pods = ["get", "pods", "-l", "app.kubernetes.io/managed-by=sampan-dashboard", "-o", "name"];
    let pod = cluster.kubectl(&pods)?;
    let pod = pod.trim();
    ensure!(pod.starts_with("pod/node-debugger-"), "{pod}");
    // it stays while another tab is looked at, and goes with the page
    browser.click_text(".tabs button", "Events").await?;
    browser.click_text(".tabs button", "Terminal").await?;
    browser.until("the same shell", ROWS, json!(["/etc/debian_version"])).await?;
    browser
        .run("setTimeout(() => document.querySelector('.nav a[title=Topology]').click())", json!([]))
        .await?;
    agreed(browser).await?;
    cluster
        .kubectl(&["wait", pod, "--for=delete", "--timeout=30s"])
        .context("the node's shell is left behind")?;
    Ok(())
}

/// The shell knows how large its window is, also after that has changed.
pub async fn resizes(browser: &Browser) -> Result<()> {
    browser.go("pods/default/shell?tab=terminal").await?;
    browser.see(".terminal .xterm").await?;
    browser.until("a prompt", ROWS, json!(["#"])).await?;
    let size = async |tag: &str| {
        types(browser, &format!("echo {tag}=$(stty size)=\n")).await?;
        let said = "const drawn = document.querySelectorAll('.xterm-rows > div'), text = [...drawn].map(one => one.innerText).join('\\n');
            const [, rows, columns] = new RegExp(arguments[0] + '=(\\\\d+) (\\\\d+)=').exec(text) ?? [];
            return rows == drawn.length && [Number(rows), Number(columns)]";
        let size = browser.until("a size that is that of the screen", said, json!([tag])).await?;
        anyhow::Ok((size[0].as_u64().unwrap_or_default(), size[1].as_u64().unwrap_or_default()))
    };
    let first = size("first").await?;
    let rows = "return document.querySelectorAll('.xterm-rows > div').length != arguments[0]";
    let window = browser.client.get_window_size().await?;
    browser.client.set_window_size(900, 560).await?;
    browser.until("other rows", rows, json!([first.0])).await?;
    let small = size("small").await?;
    ensure!(small.0 < first.0 && small.1 < first.1, "{first:?}, then {small:?}");
    browser.client.set_window_size(u32::try_from(window.0)?, u32::try_from(window.1)?).await?;
    browser.until("other rows", rows, json!([small.0])).await?;
    let last = size("last").await?;
    ensure!(last == first, "{first:?}, then {last:?}");
    Ok(())
}
