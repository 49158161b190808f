//! The dashboard's pages in Chromium, against a real cluster with pods that run, crash, wait and miss their image.
#![allow(clippy::unwrap_used)]

use anyhow::{Context, Result, ensure};
use sampan_test_browser::relay::Relay;
use sampan_test_browser::{Browser, CONTROL, Look, PLAIN, address};
use sampan_test_e2e::{apply, cluster, ready, registry};
use sampan_testkit::{Cluster, length};
use serde_json::{Value, json};
use tokio::sync::Mutex;

#[path = "pages/addons.rs"]
mod addons_page;
#[path = "pages/bad_days.rs"]
mod bad_days;
#[path = "pages/changes.rs"]
mod changes;
#[path = "pages/cron.rs"]
mod cron;
#[path = "pages/dock.rs"]
mod dock;
#[path = "pages/editor.rs"]
mod editor;
#[path = "pages/finds.rs"]
mod finds;
#[path = "pages/foreign.rs"]
mod foreign;
#[path = "pages/idle.rs"]
mod idle;
#[path = "pages/keyboard.rs"]
mod keyboard;
#[path = "pages/lists.rs"]
mod lists_kept;
#[path = "pages/logs.rs"]
mod logs;
#[path = "pages/mended.rs"]
mod mended;
#[path = "pages/missed.rs"]
mod missed;
#[path = "pages/nginx.rs"]
mod nginx;
#[path = "pages/questions.rs"]
mod questions;
#[path = "pages/tails.rs"]
mod tails;
#[path = "pages/terminals.rs"]
mod terminals;

const WORLD: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}, annotations: {note: "<script>document.title='owned'</script>"}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: nginx, image: "nginx:alpine"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: shell, labels: {app: shell}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: busybox
    command: [sh, -c, "printf '\\033[31mred\\033[0m first line\\n{\"level\":\"error\",\"msg\":\"<b>bold</b>\"}\\n'; i=0; while true; do i=$((i+1)); echo tick $i; sleep 1; done"]
---
apiVersion: v1
kind: Pod
metadata: {name: long}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: busybox, command: [sh, -c, "head -c 10000000 /dev/zero | tr '\\0' x; echo; echo after it; sleep 3600"]}
---
apiVersion: v1
kind: Pod
metadata: {name: crashing}
spec: {containers: [{name: main, image: busybox, command: [sh, -c, "echo it breaks; exit 3"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: waiting}
spec: {nodeSelector: {disk: none}, containers: [{name: main, image: busybox}]}
---
apiVersion: v1
kind: Pod
metadata: {name: imageless}
spec: {containers: [{name: main, image: "no-such-image:1"}]}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {password: correct-horse}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: team}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: reader, namespace: team}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: theirs, namespace: team}
spec:
  replicas: 1
  selector: {matchLabels: {app: theirs}}
  template:
    metadata: {labels: {app: theirs}}
    spec: {containers: [{name: nginx, image: "nginx:alpine"}]}
"#;

/// One of the two at a time: each is a cluster and a browser.
static TURN: Mutex<()> = Mutex::const_new(());

/// Where the pages are walked through.
enum Way<'a> {
    /// At the daemon's own address.
    Direct,
    /// Through nginx, below a path.
    Nginx(&'a Relay),
}

/// Aspects that are about the daemon's own address, or a cluster of their own.
const OWN: [&str; 3] = ["workloads", "pictures", "nothing in it"];
/// Aspects that are left to `make test-long` behind nginx: what they are about is the same there, and they take long.
const LONG: [&str; 16] = [
    "burst",
    "debug container",
    "node shell",
    "editor",
    "editor of Secrets",
    "unknown rights",
    "revisions",
    "deletions",
    "usage",
    "large object",
    "many",
    "memory",
    "owners",
    "crowd",
    "everywhere",
    "drain",
];

impl Way<'_> {
    /// Whether an aspect is held. `SAMPAN_PAGES` names some, those behind nginx as `nginx:NAME`; `make test` never does.
    fn holds(&self, aspect: &str) -> bool {
        let chosen = std::env::var("SAMPAN_PAGES").ok();
        match self {
            Way::Direct => chosen.is_none_or(|chosen| chosen.split(',').any(|one| one == aspect)),
            Way::Nginx(_) if OWN.contains(&aspect) => false,
            Way::Nginx(_) => chosen.map_or_else(
                || length() > 1 || !LONG.contains(&aspect),
                |chosen| chosen.split(',').any(|one| one.strip_prefix("nginx:") == Some(aspect)),
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_and_do_what_they_say() -> Result<()> {
    let _turn = TURN.lock().await;
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    walk(&cluster, &Way::Direct).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_behind_nginx_show_and_do_the_same() -> Result<()> {
    let _turn = TURN.lock().await;
    if std::env::var("SAMPAN_PAGES").is_ok_and(|chosen| !chosen.contains("nginx:")) {
        return Ok(());
    }
    let registry = registry()?;
    let behind = nginx::Behind::start(&registry).await?;
    walk(&behind.cluster, &Way::Nginx(&behind.relay)).await
}

/// Holds the pages to each aspect in turn.
async fn walk(cluster: &Cluster, way: &Way<'_>) -> Result<()> {
    apply(cluster, WORLD)?;
    ready(cluster, "shell")?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
    let browser = Browser::signed_in(cluster, PLAIN).await?;
    let failed = std::cell::RefCell::new(Vec::new());
    macro_rules! hold {
        ($what:literal, $aspect:expr) => {
            if way.holds($what) {
                let began = std::time::Instant::now();
                let result: Result<()> = $aspect.await;
                let told = if result.is_ok() { "ok" } else { "FAILED" };
                eprintln!("{}: {told} ({:.1} s)", $what, began.elapsed().as_secs_f64());
                failed.borrow_mut().extend(result.err().map(|error| format!("{}: {error:#}", $what)));
            }
        };
    }
    hold!("overview", overview(&browser));
    hold!("lists", lists(cluster, &browser));
    hold!("why", why(&browser));
    hold!("objects", objects(cluster, &browser));
    hold!("logs", logs::logs(&browser));
    hold!("tails", tails::tails(cluster, &browser));
    hold!("burst", tails::burst(cluster, &browser));
    hold!("terminal", logs::terminal(&browser));
    hold!("resize", terminals::resizes(&browser));
    hold!("attach", terminals::attaches(cluster, &browser));
    hold!("debug container", terminals::debugs(cluster, &browser));
    hold!("node shell", terminals::node(cluster, &browser));
    hold!("edits", changes::edits(cluster, &browser));
    hold!("creates", changes::creates(cluster, &browser));
    hold!("editor", editor::helps(&browser));
    hold!("editor of Secrets", editor::covers(cluster, &browser));
    hold!("form", editor::forms(cluster, &browser));
    hold!("unknown rights", editor::doubts(&browser));
    hold!("acts", changes::acts(cluster, &browser));
    hold!("workloads", changes::workloads(&browser));
    hold!("revisions", questions::revisions(cluster, &browser));
    hold!("deletions", questions::deletions(cluster, &browser));
    hold!("addons", addons(cluster, &browser));
    hold!("addons followed", addons_page::lives(cluster, &browser));
    hold!("mended: narrow", mended::narrow(&browser));
    hold!("mended: together", mended::together(cluster, &browser));
    hold!("mended: on top", mended::on_top(&browser));
    hold!("mended: around", mended::around(cluster, &browser));
    hold!("mended: facts", missed::facts(cluster, &browser));
    hold!("mended: links", missed::links(&browser));
    hold!("mended: room", missed::room(&browser));
    hold!("mended: causes", missed::causes(cluster, &browser));
    hold!("mended: shells", missed::shells(&browser));
    hold!("mended: begins", missed::begins(cluster, &browser));
    hold!("mended: heads", missed::heads(&browser));
    hold!("keys", keys(&browser));
    hold!("keyboard alone", keyboard::alone(cluster, &browser));
    hold!("dock", dock::stays(&browser));
    hold!("usage", dock::usage(&browser));
    hold!("hostile texts", bad_days::hostile(cluster, &browser));
    hold!("hostile names", foreign::names(cluster, &browser));
    hold!("foreign origin", foreign::origin(cluster, &browser));
    hold!("large object", bad_days::large(cluster, &browser));
    hold!("many", many(cluster, &browser));
    hold!("columns", lists_kept::columns(&browser));
    hold!("memory", lists_kept::memory_is_flat(cluster, &browser));
    hold!("owners", finds::owners(&browser));
    hold!("previous run", finds::previous_run(cluster, &browser));
    hold!("columnless", finds::columnless(cluster, &browser));
    hold!("crowd", finds::crowd(cluster, &browser));
    hold!("rights", finds::rights(&browser));
    hold!("cron", cron::cron(cluster, &browser));
    if let Way::Nginx(relay) = way {
        hold!("address", nginx::address(cluster, &browser));
        hold!("idle", idle::idle(cluster, &browser, relay));
    }
    hold!("away", away(cluster, &browser));
    let complaints = browser.complaints().await?;
    // refusals, and connections that a killed daemon broke, are told by the browser itself
    let own = |one: &&String| !one.contains("Failed to load resource") && !one.contains("WebSocket");
    failed.borrow_mut().extend(complaints.iter().filter(own).map(|one| format!("the console says: {one}")));
    drop(browser);
    hold!("reader", reader(cluster));
    hold!("mended: few rights", mended::few_rights(cluster));
    hold!("addons to look at", addons_page::read_only(cluster));
    hold!("pictures", pictures(cluster));
    hold!("name bound anew", foreign::rebound(cluster));
    hold!("expired token", foreign::expired(cluster));
    hold!("revoked rights", bad_days::revoked(cluster));
    hold!("nothing in it", bad_days::nothing());
    hold!("everywhere", everywhere(cluster));
    // last, for nothing is left after it
    hold!("drain", async { questions::drains(cluster, &Browser::signed_in(cluster, PLAIN).await?).await });
    let failed = failed.into_inner();
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

/// What is there, how it is, what is wrong.
async fn overview(browser: &Browser) -> Result<()> {
    ensure!(
        !browser.client.current_url().await?.as_str().contains("ticket"),
        "the ticket stays in the address"
    );
    browser.read(".fresh.live", "").await?;
    browser.read(".tile", "Pod").await?;
    browser.read(".panel-card", "crashing").await?;
    browser.read(".panel-card", "CrashLoopBackOff").await.or(browser.read(".panel-card", "Error").await)?;
    browser.read(".node", "").await?;
    let well = "const all = [...document.querySelectorAll('.components li')]; return all.length > 5 && all.every(one => one.querySelector('.healthy'))";
    browser.until("components that are well", well, json!([])).await?;
    let within =
        "return [...document.querySelectorAll('.tile')].every(one => one.scrollWidth <= one.clientWidth)";
    browser.until("nothing sticks out", within, json!([])).await?;
    ensure!(browser.client.title().await? != "owned");
    Ok(())
}

async fn names(browser: &Browser) -> Result<Vec<String>> {
    let script =
        "return [...document.querySelectorAll('.rows tbody .name')].map(one => one.innerText.trim())";
    Ok(serde_json::from_value(browser.run(script, json!([])).await?)?)
}

/// Live rows, filter, order, columns, selection; all of it in the address.
async fn lists(cluster: &Cluster, browser: &Browser) -> Result<()> {
    browser.go("pods?ns=default").await?;
    browser.read(".rows .name", "shell").await?;
    // what is made is seen without asking again, and what goes is gone
    cluster.kubectl(&["run", "fleeting", "--image=busybox", "--restart=Never", "--", "sleep", "600"])?;
    browser.read(".rows .name", "fleeting").await?;
    cluster.kubectl(&["delete", "pod", "fleeting", "--now"])?;
    let gone = "return ![...document.querySelectorAll('.rows .name')].some(one => one.innerText.includes('fleeting'))";
    browser.until("the pod gone", gone, json!([])).await?;
    browser.fill(".filter input", "status:failed !imageless").await?;
    browser.until("only what crashes", "const all = [...document.querySelectorAll('.rows tbody .name')].map(one => one.innerText.trim()); return all.length == 1 && all[0] == 'crashing'", json!([])).await?;
    ensure!(
        browser.client.current_url().await?.as_str().contains("q=status"),
        "the filter is not in the address"
    );
    browser.client.refresh().await?;
    browser.read(".rows .name", "crashing").await?;
    ensure!(names(browser).await? == ["crashing"], "{:?}", names(browser).await?);
    browser.fill(".filter input", "/(/").await?;
    browser.see(".filter.wrong").await?;
    browser.go("pods?ns=default&sort=-Restarts").await?;
    browser.read(".rows .name", "crashing").await?;
    ensure!(
        names(browser).await?.first().is_some_and(|first| first == "crashing"),
        "{:?}",
        names(browser).await?
    );
    let aria = "const table = document.querySelector('.rows table'); return table.getAttribute('aria-rowcount') > 3 && document.querySelector('[aria-sort=descending]') != null";
    browser.until("rows are counted", aria, json!([])).await?;
    for path in [
        "deployments.apps",
        "services",
        "configmaps",
        "secrets",
        "nodes",
        "namespaces",
        "events",
        "clusterroles.rbac.authorization.k8s.io",
        "endpointslices.discovery.k8s.io",
    ] {
        browser.go(path).await?;
        browser.see(".rows tbody .name").await.with_context(|| path.to_owned())?;
    }
    browser.go("no-such-kind").await?;
    browser.see("main h1, main h2").await?;
    // chosen ones are deleted together
    for name in ["one", "two"] {
        cluster.kubectl(&["create", "configmap", &format!("chosen-{name}")])?;
    }
    browser.go("configmaps?ns=default&q=chosen-").await?;
    browser.read(".rows .name", "chosen-two").await?;
    browser.click("th.pick input").await?;
    browser.click(".tools button.danger").await?;
    browser.read("dialog[open]", "2").await?;
    browser.click("dialog[open] button.danger").await?;
    browser
        .until("both gone", "return document.querySelectorAll('.rows tbody .name').length == 0", json!([]))
        .await?;
    let left = cluster.kubectl(&["get", "configmaps", "-o", "name"])?;
    ensure!(!left.contains("chosen"), "{left}");
    Ok(())
}

/// The cause and the next step, in both languages.
async fn why(browser: &Browser) -> Result<()> {
    for (pod, words) in [("crashing", "3"), ("imageless", "no-such-image"), ("waiting", "node")] {
        browser.go(&format!("pods/default/{pod}")).await?;
        browser.read(".cause", words).await.with_context(|| pod.to_owned())?;
    }
    browser.click_text("header.top button", "中文").await?;
    browser.read("html[lang=zh-CN] .cause", "节点").await?;
    let english = "return [...document.querySelectorAll('nav a, nav summary')].map(one => one.innerText)";
    let nav = browser.run(english, json!([])).await?.to_string();
    ensure!(nav.contains("工作负载") && nav.contains("Deployment"), "{nav}");
    browser.click_text("header.top button", "English").await?;
    browser.see("html[lang=en]").await
}

/// One object: facts, events, owners, YAML, secrets; readable after it is gone.
async fn objects(cluster: &Cluster, browser: &Browser) -> Result<()> {
    browser.go("deployments.apps/default/web").await?;
    browser.read(".detail", "document.title='owned'").await?;
    browser.read(".detail", "nginx:alpine").await?;
    ensure!(browser.client.title().await? != "owned", "an annotation was run");
    browser.click_text(".tabs button", "YAML").await?;
    browser.read("pre.code", "kind: Deployment").await?;
    let yaml =
        browser.run("return document.querySelector('pre.code').innerText", json!([])).await?.to_string();
    ensure!(!yaml.contains("managedFields"), "{yaml}");
    browser.go("secrets/default/hidden").await?;
    browser.read(".detail", "password").await?;
    let text = browser.run("return document.body.innerText", json!([])).await?.to_string();
    ensure!(!text.contains("correct-horse"), "a secret is shown without being asked for");
    browser
        .run("[...document.querySelectorAll('.detail .body button')].forEach(one => one.click())", json!([]))
        .await?;
    browser.read(".detail", "correct-horse").await?;
    cluster.kubectl(&["create", "configmap", "short-lived", "--from-literal=key=remembered"])?;
    browser.go("configmaps/default/short-lived").await?;
    browser.read(".detail", "remembered").await?;
    cluster.kubectl(&["delete", "configmap", "short-lived"])?;
    browser.see(".banner").await?;
    browser.read(".detail", "remembered").await
}

/// On and off with progress; what is wrong with a value is said.
async fn addons(cluster: &Cluster, browser: &Browser) -> Result<()> {
    browser.go("addons").await?;
    browser.read(".addon h2", "registry").await?;
    let port = sampan_testkit::free_port();
    cluster.sampan(&["addons", "configure", "registry", "--set", &format!("listen=127.0.0.1:{port}")])?;
    let click = "const card = [...document.querySelectorAll('.addon')].find(one => one.querySelector('h2')?.innerText.includes('registry')); if (!card) return false; const button = [...card.querySelectorAll('button')].find(one => one.innerText.includes(arguments[0])); if (!button || button.disabled) return false; button.click(); return true";
    browser.until("enable", click, json!(["Enable"])).await?;
    browser.until("disable", click, json!(["Disable"])).await?;
    browser.read("dialog[open] h2", "Disable registry").await?;
    browser.is_accessible("an addon's end").await?;
    browser.click_text("dialog[open] .buttons button", "Disable").await?;
    browser.until("enable again", "const card = [...document.querySelectorAll('.addon')].find(one => one.querySelector('h2')?.innerText.includes('registry')); return card && [...card.querySelectorAll('button')].some(one => one.innerText.includes('Enable'))", json!([])).await?;
    let list = cluster.sampan(&["addons", "list", "-o", "json"])?;
    ensure!(serde_json::from_str::<Value>(&list)?.as_array().is_some_and(|all| all.len() >= 6), "{list}");
    browser.go("access").await?;
    browser.see("main h1").await?;
    browser.go("topology?ns=default").await?;
    browser.read(".graph svg", "web").await
}

/// The palette, keys that go places, help; none of them while a text is typed.
async fn keys(browser: &Browser) -> Result<()> {
    browser.go("").await?;
    browser.see("main h1").await?;
    browser.run("document.body.focus()", json!([])).await?;
    let body = || async { browser.client.find(fantoccini::Locator::Css("body")).await };
    body().await?.send_keys("gp").await?;
    browser.until("pods", "return location.pathname.endsWith('/pods')", json!([])).await?;
    browser.read(".rows .name", "shell").await?;
    body().await?.send_keys("?").await?;
    browser.see("dialog[open] .keys").await?;
    browser.press("\u{e00c}").await?;
    body().await?.send_keys("/").await?;
    browser.press("g?:").await?;
    browser.until("typed, not done", "return document.querySelector('.filter input').value == 'g?:' && !document.querySelector('dialog[open]')", json!([])).await?;
    browser.go("pods?ns=default").await?;
    browser.read(".rows .name", "shell").await?;
    body().await?.send_keys("jj").await?;
    browser.see("tr.cursor").await?;
    body().await?.send_keys("\u{e007}").await?;
    browser.see(".detail.drawer").await?;
    body().await?.send_keys("\u{e00c}").await?;
    browser
        .until("the drawer closed", "return document.querySelector('.detail.drawer') == null", json!([]))
        .await?;
    body().await?.send_keys("\u{e009}k\u{e000}").await?;
    browser.see("dialog.palette[open]").await?;
    browser.press("deplo").await?;
    browser.read("dialog.palette li", "Deployment").await?;
    browser.press("\u{e007}").await?;
    browser.until("deployments", "return location.pathname.endsWith('/deployments.apps')", json!([])).await?;
    // objects by their names, of one kind where it is named
    body().await?.send_keys("\u{e009}k\u{e000}").await?;
    browser.see("dialog.palette[open]").await?;
    browser.press("shel").await?;
    browser.read("dialog.palette li", "default/shell").await?;
    browser.is_accessible("palette").await?;
    browser.press("\u{e00c}").await?;
    body().await?.send_keys("\u{e009}k\u{e000}").await?;
    browser.press("po crashing").await?;
    browser.read("dialog.palette li", "default/crashing").await?;
    browser.press("\u{e007}").await?;
    browser
        .until("the pod", "return location.pathname.endsWith('/pods/default/crashing')", json!([]))
        .await?;
    // an action alone is for what is open, and else for what is named
    let first = "return document.querySelector('dialog.palette li')?.innerText.includes(arguments[0])";
    browser.see(".detail h1").await?;
    body().await?.send_keys("\u{e009}k\u{e000}").await?;
    browser.press("logs").await?;
    browser.until("what is open first", first, json!(["Logs default/crashing"])).await?;
    browser.press("\u{e007}").await?;
    browser.until("its logs", "return location.search == '?tab=logs'", json!([])).await?;
    body().await?.send_keys("\u{e009}k\u{e000}").await?;
    browser.press("scale deploy web").await?;
    browser.until("the object named", first, json!(["Scale default/web"])).await?;
    browser.press("\u{e007}").await?;
    browser.read("dialog[open] h2", "Scale Deployment default/web").await?;
    browser.press("\u{e00c}").await?;
    browser
        .until("the question gone", "return document.querySelector('dialog[open]') == null", json!([]))
        .await
        .map(drop)
}

/// Thousands of rows, of which the page has a screenful.
async fn many(cluster: &Cluster, browser: &Browser) -> Result<()> {
    const COUNT: usize = 3_000;
    let client = cluster.client().await?;
    cluster.kubectl(&["create", "namespace", "many"])?;
    for number in 0..COUNT {
        let body =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("row-{number}")}});
        let request = http::Request::post("/api/v1/namespaces/many/configmaps")
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())?;
        client.request::<Value>(request).await?;
    }
    browser.go("configmaps?ns=many").await?;
    let drawn = "const table = document.querySelector('.rows table'); return table && table.getAttribute('aria-rowcount') > arguments[0] && document.querySelectorAll('.rows tbody tr').length";
    let rows = browser.until("all are listed", drawn, json!([COUNT])).await?;
    ensure!(rows.as_u64().is_some_and(|rows| rows <= 100), "{rows} rows in the page");
    browser
        .run("const rows = document.querySelector('.rows'); rows.scrollTop = rows.scrollHeight", json!([]))
        .await?;
    browser.read(".rows .name", "row-2999").await?;
    let rows = browser.run(drawn, json!([COUNT])).await?;
    ensure!(rows.as_u64().is_some_and(|rows| rows <= 100), "{rows} rows in the page");
    cluster.kubectl(&["delete", "namespace", "many", "--wait=false"])?;
    Ok(())
}

/// A daemon that is killed with the page open: it says so, and goes on when the daemon does; lists and logs lose nothing, and
/// a shell, which is gone, can be opened again.
async fn away(cluster: &Cluster, browser: &Browser) -> Result<()> {
    browser.go("pods/default/shell?tab=terminal").await?;
    let prompt = "return [...document.querySelectorAll('.terminal .xterm-rows > div')].some(one => one.innerText.includes('#'))";
    browser.until("a prompt", prompt, json!([])).await?;
    browser.click_text(".tabs .to-dock", "Keep open").await?;
    browser.until("a prompt in the dock", prompt, json!([])).await?;
    browser.go_on("pods/default/shell?tab=logs").await?;
    browser.read(".lines .log", "tick").await?;
    browser.click_text(".tabs .to-dock", "Keep open").await?;
    let ticks = "[...document.querySelectorAll('.dock .lines .log')].map(one => Number(/^tick (\\d+)/.exec(one.innerText)?.[1])).filter(Boolean)";
    let last = format!("return {ticks}.pop()");
    let before = browser.until("a tick", &last, json!([])).await?.as_u64().unwrap_or_default();
    browser.go_on("configmaps?ns=default").await?;
    browser.read(".rows .name", "kube-root-ca.crt").await?;
    let killed = std::process::Command::new("kill").args(["-9", &cluster.pid()?.to_string()]).status()?;
    ensure!(killed.success());
    browser.see(".fresh.stale").await?;
    // what was known stays readable
    browser.read(".rows .name", "kube-root-ca.crt").await?;
    cluster.up()?;
    cluster.kubectl(&["create", "configmap", "meanwhile"])?;
    browser.see(".fresh.live").await?;
    browser.read(".rows .name", "meanwhile").await?;
    let after = format!("return {ticks}.pop() > arguments[0] + 3");
    browser.until("ticks again", &after, json!([before])).await?;
    let each = format!(
        "const all = {ticks}; return all.length > 4 && all.every((tick, at) => at == 0 || tick == all[at - 1] + 1)"
    );
    ensure!(browser.run(&each, json!([])).await? == true, "ticks are lost or told twice");
    browser.click_text(".dock .bar-of-tabs li button", "Terminal").await?;
    browser.read(".dock [role=status]", "has ended").await?;
    browser.click_text(".dock [role=status] button", "Open again").await?;
    browser.until("a prompt again", prompt, json!([])).await?;
    for left in ["1", "0"] {
        browser.click(".dock .bar-of-tabs li button.quiet").await?;
        let closed = "return document.querySelectorAll('.dock .pane').length == arguments[0]";
        browser.until("one less", closed, json!([left])).await?;
    }
    Ok(())
}

/// Someone who may see one namespace: no more is seen, and no button works that may not.
async fn reader(cluster: &Cluster) -> Result<()> {
    let token = cluster.kubectl(&["create", "token", "reader", "-n", "team"])?;
    let browser = Browser::start(PLAIN).await?;
    browser.client.goto(&address(cluster)?).await?;
    browser.see(".sign-in").await?;
    browser.is_accessible("sign-in").await?;
    browser.fill(".sign-in input", "no token").await?;
    browser.click(".sign-in button").await?;
    browser
        .until("it is refused", "return document.querySelector('.sign-in .error').innerText != ''", json!([]))
        .await?;
    browser.fill(".sign-in input", token.trim()).await?;
    browser.click(".sign-in button").await?;
    browser.see("main h1").await?;
    browser.go("pods").await?;
    browser.read(".told", "cannot list resource").await?;
    browser.go("secrets?ns=team").await?;
    browser.read(".told", "cannot list resource").await?;
    browser.go("pods?ns=team").await?;
    browser.read(".rows .name", "theirs").await?;
    browser.go("deployments.apps/team/theirs").await?;
    let all = "const all = [...document.querySelectorAll('.actions button')]; return all.length >= 4 && all.every(one => one.disabled && one.title != '')";
    browser.until("every button says what is missing", all, json!([])).await?;
    browser.go("deployments.apps/team/theirs?tab=yaml").await?;
    let edit = "return [...document.querySelectorAll('.yaml button')].some(one => one.disabled && one.title.includes('update deployments.apps'))";
    browser.until("editing says what is missing", edit, json!([])).await?;
    let pod = cluster.kubectl(&[
        "get",
        "pods",
        "-n",
        "team",
        "-l",
        "app=theirs",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ])?;
    browser.go(&format!("pods/team/{pod}")).await?;
    let tabs = "const all = [...document.querySelectorAll('.tabs button')]; const shell = all.find(one => one.innerText == 'Terminal'), logs = all.find(one => one.innerText == 'Logs'); return shell?.disabled && shell.title.includes('create pods/exec') && logs?.disabled === false";
    browser.until("the terminal says what is missing, logs are open", tabs, json!([])).await?;
    // nothing of it is kept where a script could read it
    let kept = browser
        .run("return JSON.stringify([localStorage, sessionStorage, document.cookie])", json!([]))
        .await?;
    ensure!(!kept.to_string().contains("eyJ") && !kept.to_string().contains("sampan-6"), "{kept}");
    Ok(())
}

/// Pictures of the overview and of pods, light and dark, in both languages: the README shows those that
/// `make screenshots` took.
async fn pictures(cluster: &Cluster) -> Result<()> {
    let drawn = |place: &str| {
        format!("return document.querySelector('{place} path')?.getAttribute('d').includes('L')")
    };
    for (dark, look) in [(false, "light"), (true, "dark")] {
        let browser = Browser::signed_in(cluster, Look { dark, ..PLAIN }).await?;
        // nothing is caught in its movement
        let still = json!([{"name": "prefers-color-scheme", "value": look}, {"name": "prefers-reduced-motion", "value": "reduce"}]);
        browser.devtools("Emulation.setEmulatedMedia", json!({"features": still})).await?;
        browser
            .devtools(
                "Emulation.setDeviceMetricsOverride",
                json!({"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": false}),
            )
            .await?;
        for (tag, button) in [("en", "English"), ("zh", "中文")] {
            if tag == "zh" {
                browser.click_text("header.top button", button).await?;
                browser.see("html[lang=zh-CN]").await?;
            }
            browser.go("").await?;
            browser.until("two readings", &drawn(".node .trend"), json!([])).await?;
            browser.read(".panel-card", "crashing").await?;
            browser.picture(&format!("overview-{tag}-{look}")).await?;
            browser.go("pods?open=default/shell").await?;
            browser.until("two readings", &drawn(".drawer .chart"), json!([])).await?;
            browser.read(".rows .name", "imageless").await?;
            browser.picture(&format!("pods-{tag}-{look}")).await?;
        }
    }
    Ok(())
}

/// What is done to a page, and what is seen then.
type Act = (&'static str, &'static str);

/// Waits until a selector finds something that works, and clicks it: no word of it, for words are in two languages.
const CLICK: &str = "const one = document.querySelector(arguments[0]); if (!one || one.disabled) return false; one.scrollIntoView({block: 'center'}); one.click(); return true";

/// Places, and what is opened there; `NODE` stands for the node's name.
const PLACES: [(&str, &[Act]); 36] = [
    ("", &[]),
    ("pods", &[]),
    ("pods", &[(".tools .menu summary", ".chooser")]),
    ("pods?open=default/shell", &[]),
    ("pods/default/crashing", &[]),
    ("pods/default/shell?tab=logs", &[]),
    ("pods/default/shell?tab=terminal", &[]),
    ("pods/default/shell?tab=events", &[]),
    ("deployments.apps/default/web", &[]),
    ("deployments.apps/default/web?tab=pods", &[]),
    ("deployments.apps/default/web?tab=logs", &[]),
    ("deployments.apps/default/web?tab=events", &[]),
    ("deployments.apps/default/web?tab=yaml", &[]),
    ("deployments.apps/default/web?tab=yaml", &[(".yaml .line button", ".editor")]),
    (
        "deployments.apps/default/web",
        &[(".actions button:nth-of-type(1)", "dialog[open] input[type=number]")],
    ),
    ("deployments.apps/default/web", &[(".actions button:nth-of-type(2)", "dialog[open]")]),
    (
        "deployments.apps/default/web",
        &[(
            ".actions button:nth-of-type(3)",
            "dialog[open] .difference, dialog[open] p[role=status]:not(.soft)",
        )],
    ),
    ("deployments.apps/default/web", &[(".actions button.danger", "dialog[open] .consequences")]),
    ("namespaces/-/team", &[(".actions button.danger", "dialog[open] input[type=text]")]),
    ("nodes", &[]),
    ("nodes/-/NODE", &[]),
    ("nodes/-/NODE?tab=terminal", &[]),
    ("nodes/-/NODE", &[(".actions button:nth-of-type(2)", "dialog[open] .consequences strong")]),
    ("events", &[]),
    ("secrets?ns=none", &[]),
    ("secrets/default/hidden", &[]),
    ("services/default/web", &[]),
    ("customresourcedefinitions.apiextensions.k8s.io", &[]),
    ("no-such-kind", &[]),
    ("topology", &[]),
    ("addons", &[]),
    ("addons", &[(".addon button[aria-expanded]", ".addon form.settings input")]),
    ("access", &[]),
    ("access?ns=team", &[]),
    ("create", &[]),
    ("create?by=form", &[]),
];

/// Every page and every question, light and dark, in both languages: no violation, no complaint.
async fn everywhere(cluster: &Cluster) -> Result<()> {
    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    // all that is found, not only the first
    let mut found = Vec::new();
    let mut hold = |result: Result<()>| found.extend(result.err().map(|error| format!("{error:#}")));
    for dark in [false, true] {
        let browser = Browser::signed_in(cluster, Look { dark, ..PLAIN }).await?;
        for (tag, button) in [("en", "English"), ("zh", "中文")] {
            if tag == "zh" {
                browser.go("").await?;
                browser.click_text("header.top button", button).await?;
                browser.see("html[lang=zh-CN]").await?;
            }
            let look = format!("{tag} {}", if dark { "dark" } else { "light" });
            for (place, acts) in PLACES {
                browser.go(&place.replace("NODE", &node)).await?;
                browser.see("main h1, main h2").await?;
                browser
                    .until("it is drawn", "return !document.querySelector('.skeleton')", json!([]))
                    .await?;
                for (click, then) in acts {
                    browser.until(click, CLICK, json!([click])).await.with_context(|| place.to_owned())?;
                    browser.see(then).await.with_context(|| format!("{place} {click}"))?;
                }
                hold(browser.is_accessible(&format!("{place} {acts:?} {look}")).await);
            }
            for (key, code, modifiers, then) in
                [("k", 75, CONTROL, "dialog.palette[open]"), ("?", 191, 0, "dialog[open] .keys")]
            {
                browser.go("").await?;
                browser.see("main h1").await?;
                match modifiers {
                    0 => browser.press(key).await?,
                    _ => browser.key(key, code, modifiers).await?,
                }
                browser.see(then).await?;
                hold(browser.is_accessible(&format!("{then} {look}")).await);
            }
        }
        let mut complaints = browser.complaints().await?;
        // pods come and go on this machine, and Chromium ends its calls when they do: they are sent again
        complaints.retain(|one| !one.contains("ERR_NETWORK_CHANGED"));
        hold(if complaints.is_empty() {
            Ok(())
        } else {
            Err(anyhow::anyhow!("the console says: {complaints:#?}"))
        });
    }
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}
