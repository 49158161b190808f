//! Twelve tasks by keyboard alone: no event of a mouse in any of them, the focus always seen, and back where it was.

use anyhow::{Context, Result, ensure};
use sampan_test_browser::{Browser, CONTROL};
use sampan_test_e2e::apply;
use sampan_testkit::Cluster;
use serde_json::json;

/// DevTools' number of the Shift key.
const SHIFT: u32 = 8;

const WORLD: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: typed}
data: {key: before}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: keyed, labels: {app: keyed}}
spec:
  replicas: 1
  selector: {matchLabels: {app: keyed}}
  template:
    metadata: {labels: {app: keyed}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: nginx, image: "nginx:alpine"}]}
"#;

/// Notes every event that a mouse makes: a click by keyboard has no clicks in `detail`.
const WATCH: &str = "globalThis.mice = []; for (const kind of ['pointerdown', 'mousedown', 'mousemove', 'click'])
    window.addEventListener(kind, (event) => { if (kind != 'click' || event.detail > 0) mice.push(kind) }, true)";

/// What has the focus: its tag, its text, and whether that is to be seen.
const FOCUS: &str = "const one = document.activeElement, look = getComputedStyle(one);
    const ring = (style) => style.outlineStyle != 'none' && parseFloat(style.outlineWidth) > 0 || style.boxShadow != 'none';
    const around = one.closest('.filter') ?? one;
    return {tag: one.tagName, text: (one.innerText ?? '').trim(), label: one.getAttribute('aria-label') ?? '',
        seen: one.matches('.xterm-helper-textarea, :has(.cm-content)') || ring(look) || ring(getComputedStyle(around)) || Boolean(one.shadowRoot)}";

struct Keyboard<'a>(&'a Browser);

impl Keyboard<'_> {
    /// Moves on by Tab, or back, until a condition on `one`, what has the focus, holds; each stop is to be seen.
    async fn tab(&self, what: &str, back: bool) -> Result<()> {
        let there = format!("const one = document.activeElement; return Boolean({what})");
        for _ in 0..250 {
            if self.0.run(&there, json!([])).await? == true {
                return Ok(());
            }
            self.0.key("Tab", 9, if back { SHIFT } else { 0 }).await?;
            let focus = self.0.run(FOCUS, json!([])).await?;
            ensure!(
                focus["tag"] == "BODY" || focus["seen"] == true,
                "nobody sees where the focus is: {focus}"
            );
        }
        anyhow::bail!("no Tab leads to {what}: {}", self.0.run(FOCUS, json!([])).await?)
    }

    /// To a button of that name that works, which may have to be waited for; then pressed.
    async fn push(&self, within: &str, text: &str) -> Result<()> {
        let ready = "return [...document.querySelectorAll(arguments[0])].some(one => one.innerText.includes(arguments[1]) && !one.disabled)";
        self.0
            .until(
                &format!("{text} to press"),
                ready,
                json!([format!("{within} button, {within} summary"), text]),
            )
            .await?;
        self.tab(&format!("one.closest({within:?}) && one.innerText.includes({text:?})"), false).await?;
        self.0.press("\u{e007}").await
    }

    async fn is_on(&self, text: &str) -> Result<()> {
        let there = "const one = document.activeElement; return one.innerText.includes(arguments[0])";
        self.0.until(&format!("the focus back on {text}"), there, json!([text])).await.map(drop)
    }

    /// The palette, what is asked of it, and what comes first of it.
    async fn palette(&self, words: &str, first: &str) -> Result<()> {
        self.0.key("k", 75, CONTROL).await?;
        self.0.see("dialog.palette[open]").await?;
        self.0.press(words).await?;
        let offered = "return document.querySelector('dialog.palette li[aria-selected=true]')?.innerText.includes(arguments[0])";
        self.0.until(first, offered, json!([first])).await?;
        self.0.press("\u{e007}").await?;
        self.0
            .until("the palette gone", "return !document.querySelector('dialog[open]')", json!([]))
            .await
            .map(drop)
    }
}

/// All twelve.
pub async fn alone(cluster: &Cluster, browser: &Browser) -> Result<()> {
    apply(cluster, WORLD)?;
    cluster.kubectl(&["rollout", "status", "deployment/keyed", "--timeout=90s"])?;
    browser.go("").await?;
    browser.see("main h1").await?;
    browser.run(WATCH, json!([])).await?;
    let keyboard = Keyboard(browser);
    finds(browser, &keyboard).await?;
    reads(browser, &keyboard).await?;
    changes(cluster, browser, &keyboard).await?;
    settles(cluster, browser, &keyboard).await?;
    let mice = browser.run("return globalThis.mice", json!([])).await?;
    ensure!(mice == json!([]), "a mouse was there, or the page was loaded anew: {mice}");
    Ok(())
}

/// A pod by the palette; a list filtered, sorted, and an object of it in the drawer.
async fn finds(browser: &Browser, keyboard: &Keyboard<'_>) -> Result<()> {
    keyboard.palette("po shell", "default/shell").await.context("1: a pod by the palette")?;
    browser.read(".detail h1", "shell").await?;
    browser.press("gp").await?;
    browser.read(".rows .name", "imageless").await?;
    browser.press("/").await?;
    browser.press("status:failed !imageless").await?;
    let names = "return [...document.querySelectorAll('.rows tbody .name')].map(one => one.innerText.trim()).join(' ') == arguments[0]";
    browser.until("2: a list filtered", names, json!(["crashing"])).await?;
    // the words are taken away as they came
    browser.key("a", 65, CONTROL).await?;
    browser.press("\u{e017}").await?;
    browser.read(".rows .name", "shell").await?;
    keyboard.tab("one.matches('.sort') && one.innerText.includes('Restarts')", false).await?;
    browser.press("\u{e007}").await?;
    browser
        .until(
            "3: sorted",
            "return document.querySelector('[aria-sort=ascending]')?.innerText.includes('Restarts')",
            json!([]),
        )
        .await?;
    keyboard.tab("one.matches('.rows')", true).await?;
    browser.press("jj").await?;
    browser.see("tr.cursor").await?;
    browser.press("\u{e007}").await?;
    browser.see(".detail.drawer").await.context("4: the drawer")?;
    browser
        .until(
            "the focus in the drawer",
            "return Boolean(document.activeElement.closest('.drawer'))",
            json!([]),
        )
        .await?;
    browser.press("\u{e00c}").await?;
    browser
        .until(
            "the focus back in the list",
            "return !document.querySelector('.drawer') && document.activeElement.matches('.rows')",
            json!([]),
        )
        .await
        .map(drop)
}

/// Logs, filtered; a shell, and out of it.
async fn reads(browser: &Browser, keyboard: &Keyboard<'_>) -> Result<()> {
    keyboard.palette("po shell", "default/shell").await?;
    browser.read(".detail h1", "shell").await?;
    browser.press("l").await?;
    browser.read(".lines .log", "tick").await?;
    keyboard.tab("one.matches('.logs input[type=search]')", false).await?;
    browser.press("first line").await?;
    browser
        .until("5: logs filtered", "return document.querySelectorAll('.lines .log').length == 1", json!([]))
        .await?;
    keyboard.tab("one.matches('.lines')", false).await?;
    browser.press("s").await?;
    let rows = "return [...document.querySelectorAll('.xterm-rows > div')].some(one => one.innerText.includes(arguments[0]))";
    browser.until("a prompt", rows, json!(["#"])).await?;
    browser
        .until(
            "the focus in the shell",
            "return document.activeElement.matches('.xterm-helper-textarea')",
            json!([]),
        )
        .await?;
    browser.press("echo k$((6*7))y\n").await?;
    browser.until("6: a shell", rows, json!(["k42y"])).await?;
    browser.key("F6", 117, 0).await?;
    keyboard.is_on("Terminal").await.context("out of the shell")?;
    // one that went on would be asked about by whatever leads away
    keyboard.tab("one.matches('.xterm-helper-textarea')", false).await?;
    browser.press("exit\n").await?;
    browser.read(".terminal-page [role=status]", "has ended").await?;
    browser.key("F6", 117, 0).await?;
    keyboard.is_on("Terminal").await.context("out of the shell that has ended")?;
    browser.press("y").await?;
    browser.read("pre.code", "kind: Pod").await
}

/// A ConfigMap edited; a Deployment scaled and restarted; the ConfigMap deleted.
async fn changes(cluster: &Cluster, browser: &Browser, keyboard: &Keyboard<'_>) -> Result<()> {
    keyboard.palette("cm typed", "default/typed").await?;
    browser.read(".detail h1", "typed").await?;
    browser.press("y").await?;
    browser.read("pre.code", "key: before").await?;
    keyboard.push(".yaml", "Edit").await?;
    let text = browser.yaml().await?;
    browser
        .until("the focus in the editor", "return Boolean(document.activeElement.shadowRoot)", json!([]))
        .await?;
    browser.key("a", 65, CONTROL).await?;
    browser.devtools("Input.insertText", json!({"text": text.replace("before", "after")})).await?;
    // Escape, then Tab: out of the editor, which has Tab for itself
    // (the first Escape closes what was offered)
    browser.key("Escape", 27, 0).await?;
    browser.key("Escape", 27, 0).await?;
    keyboard.tab("!one.shadowRoot", false).await?;
    keyboard.push(".yaml", "Check").await?;
    browser.read(".difference .new", "after").await?;
    keyboard.push(".yaml", "Save").await?;
    browser.read("pre.code", "key: after").await.context("7: edited and saved")?;
    ensure!(cluster.kubectl(&["get", "configmap", "typed", "-o", "jsonpath={.data.key}"])? == "after");
    keyboard.palette("deploy keyed", "default/keyed").await?;
    browser.read(".detail h1", "keyed").await?;
    keyboard.push(".actions", "Scale").await?;
    browser.see("dialog[open] input[type=number]:focus").await?;
    browser.key("a", 65, CONTROL).await?;
    browser.press("2\u{e007}").await?;
    cluster
        .kubectl(&["wait", "deployment/keyed", "--for=jsonpath={.spec.replicas}=2", "--timeout=30s"])
        .context("8: scaled")?;
    keyboard.is_on("Scale").await?;
    keyboard.push(".actions", "Restart").await?;
    keyboard.push("dialog[open]", "Restart").await?;
    let revision = "--for=jsonpath={.metadata.annotations.deployment\\.kubernetes\\.io/revision}=2";
    cluster.kubectl(&["wait", "deployment/keyed", revision, "--timeout=60s"]).context("9: restarted")?;
    keyboard.is_on("Restart").await?;
    keyboard.palette("cm typed", "default/typed").await?;
    browser.read(".detail h1", "typed").await?;
    keyboard.push(".actions", "Delete").await?;
    keyboard.push("dialog[open]", "Delete").await?;
    browser.see(".banner").await.context("10: deleted")?;
    ensure!(!cluster.kubectl(&["get", "configmaps", "-o", "name"])?.contains("typed"));
    Ok(())
}

/// The language, the namespaces, an addon.
async fn settles(cluster: &Cluster, browser: &Browser, keyboard: &Keyboard<'_>) -> Result<()> {
    keyboard.palette("简体", "简体中文").await?;
    browser.see("html[lang=zh-CN]").await.context("11: the language")?;
    browser.read("nav", "工作负载").await?;
    keyboard.palette("english", "English").await?;
    browser.see("html[lang=en]").await?;
    browser.press("gd").await?;
    browser.read(".rows .name", "theirs").await?;
    keyboard.tab("one.matches('.namespaces summary')", false).await?;
    browser.press("\u{e007}").await?;
    keyboard
        .tab("one.matches('input[type=checkbox]') && one.parentElement.innerText.trim() == 'team'", false)
        .await?;
    browser.press(" ").await?;
    let only = "return location.search.includes('ns=team') && [...document.querySelectorAll('.rows tbody .name')].map(one => one.innerText.trim()).join() == 'theirs'";
    browser.until("12: one namespace", only, json!([])).await?;
    browser.press("\u{e00c}").await?;
    browser
        .until(
            "the focus on the menu's head",
            "return document.activeElement.matches('.namespaces:not([open]) summary')",
            json!([]),
        )
        .await?;
    let port = sampan_testkit::free_port();
    cluster.sampan(&["addons", "configure", "registry", "--set", &format!("listen=127.0.0.1:{port}")])?;
    browser.press("ga").await?;
    browser.read(".addon h2", "registry").await?;
    let card = |text: &str| {
        format!(
            "one.closest('.addon')?.querySelector('h2').innerText.includes('registry') && one.innerText == {text:?}"
        )
    };
    for (press, then) in [("Enable", "Disable"), ("Disable", "Enable")] {
        keyboard.tab(&card(press), false).await?;
        browser.press("\u{e007}").await?;
        if press == "Disable" {
            browser.read("dialog[open] h2", "Disable registry").await?;
            keyboard.tab("one.closest('dialog[open]') && one.innerText == 'Disable'", false).await?;
            browser.press("\u{e007}").await?;
        }
        let done = "return [...document.querySelectorAll('.addon')].find(one => one.querySelector('h2').innerText.includes('registry'))?.innerText.includes(arguments[0])";
        browser.until("the thirteenth: an addon", done, json!([then])).await?;
    }
    Ok(())
}
