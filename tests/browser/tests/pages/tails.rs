//! Logs beyond one that is followed: by level and time, wrapped, as a file, of several pods, in a burst, full of dirt.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sampan_test_browser::Browser;
use sampan_test_e2e::{apply, eventually, ready};
use sampan_testkit::{Cluster, length};
use serde_json::json;

const WORLD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: levels}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: busybox
    command: [sh, -c, "echo ERROR it broke; echo level=warn it creaks; echo INFO it runs; echo DEBUG it thinks; echo it is plain; echo wide $(seq -s - 1 300) end of it; sleep 86400"]
---
apiVersion: v1
kind: Pod
metadata: {name: dirty}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: busybox
    command:
    - sh
    - -c
    - |
      head -c 65536 /dev/urandom; echo
      printf 'clear \033[2J\033[H title \033]0;stolen\007 link \033]8;;http://evil.example\033\\there\033]8;;\007 zero \000 back \010 c1 \302\23331m wild \377\376 end\n'
      printf '\033[1;92mbright\033[0m <img src=x onerror="document.title=1"> \342\200\256turned\n'
      printf '\033[31mnever reset\n'; echo 'all of it was told'
      sleep 86400
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: chorus}
spec:
  replicas: 3
  selector: {matchLabels: {app: chorus}}
  template:
    metadata: {labels: {app: chorus}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: busybox, command: [sh, -c, "while true; do echo verse of $(hostname); sleep 1; done"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: burst}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: busybox
    command:
    - sh
    - -c
    - |
      echo it waits
      until [ -e /tmp/go ]; do sleep 0.1; done
      n=1
      while [ $n -lt LINES ]; do
        busybox awk -v n=$n 'BEGIN { for (i = n; i < n + 500; i++) printf "line %d of a burst that nobody could read\n", i }'
        n=$((n+500)); sleep 0.1
      done
      echo it is over
      sleep 86400
"#;

/// Lines of the burst: more than the buffer holds.
const LINES: u64 = 120_000;
/// Lines that the buffer holds.
const KEPT: u64 = 100_000;

/// The texts of the lines that are drawn.
const DRAWN: &str = "[...document.querySelectorAll('.lines .log')].map(one => one.innerText)";

/// Waits until the lines that are drawn, called `all`, are as wanted.
async fn drawn(browser: &Browser, what: &str, wanted: &str) -> Result<()> {
    let script = format!("const all = {DRAWN}; return {wanted}");
    browser.until(what, &script, json!([])).await.map(drop)
}

/// All of it.
pub async fn tails(cluster: &Cluster, browser: &Browser) -> Result<()> {
    apply(cluster, &WORLD.replace("LINES", &LINES.to_string()))?;
    for pod in ["levels", "dirty"] {
        ready(cluster, pod)?;
    }
    chosen(cluster, browser).await.context("levels, times, a file")?;
    dirt(browser).await.context("dirt")?;
    cluster.kubectl(&["rollout", "status", "deployment/chorus", "--timeout=90s"])?;
    chorus(cluster, browser).await.context("several pods")
}

/// By level and by time; wrapped; as a file.
async fn chosen(cluster: &Cluster, browser: &Browser) -> Result<()> {
    backdate(cluster)?;
    browser.go("pods/default/levels?tab=logs").await?;
    drawn(browser, "all lines", "all.length == 7 && all[0].includes('of long ago')").await?;
    const LEVEL: &str = ".logs select[aria-label=Level]";
    for (level, line) in
        [("error", "ERROR it broke"), ("warn", "it creaks"), ("info", "INFO it runs"), ("debug", "it thinks")]
    {
        browser.choose(LEVEL, level).await?;
        drawn(browser, level, &format!("all.length == 1 && all[0].includes({line:?})")).await?;
        browser.read(".logs .line", "1 of 7").await?;
    }
    browser.choose(LEVEL, "").await?;
    // what was written within five minutes, which the line of long ago was not
    const SINCE: &str = ".logs select[aria-label=Since]";
    browser.choose(SINCE, "300").await?;
    drawn(browser, "the last minutes", "all.length == 6 && all[0].includes('ERROR it broke')").await?;
    browser.choose(SINCE, "").await?;
    drawn(browser, "all lines again", "all.length == 7").await?;
    browser.click_text(".logs label", "Times").await?;
    let time = "const one = document.querySelector('.lines .log .time'); return one.innerText.startsWith('08:00:00') && one.getClientRects().length > 0";
    browser.until("the time of each", time, json!([])).await?;
    let within =
        "const lines = document.querySelector('.lines'); return lines.scrollWidth <= lines.clientWidth";
    ensure!(browser.run(within, json!([])).await? == false, "no line is too long to be seen whole");
    browser.click_text(".logs label", "Wrap").await?;
    browser.until("nothing sticks out", within, json!([])).await?;
    let high = "const last = [...document.querySelectorAll('.lines .log')].pop(); return last.offsetHeight > 2 * document.querySelector('.lines .log').offsetHeight && last.innerText.endsWith('end of it')";
    browser.until("the long line on several", high, json!([])).await?;
    browser.is_accessible("wrapped lines").await?;
    browser.fill(".logs input[type=search]", "/it (broke|runs)$/").await?;
    drawn(browser, "an expression", "all.length == 2").await?;
    let folder = cluster.directory().join("saved");
    browser.save_into(&folder).await?;
    browser.click(".logs button[aria-label=Download]").await?;
    let file = folder.join("log.txt");
    // Chromium holds the name with an empty file until all of it is there
    let whole = || Ok(std::fs::read_to_string(&file).ok().filter(|text| !text.is_empty()));
    let saved = eventually("the file", Duration::from_secs(20), whole)?;
    let lines: Vec<&str> = saved.lines().collect();
    ensure!(
        lines.len() == 2 && lines[0].ends_with("Z ERROR it broke") && lines[1].ends_with("Z INFO it runs"),
        "{saved}"
    );
    Ok(())
}

/// Puts a line of long ago before those of the pod `levels`.
fn backdate(cluster: &Cluster) -> Result<()> {
    let uid = cluster.kubectl(&["get", "pod", "levels", "-o", "jsonpath={.metadata.uid}"])?;
    let file: PathBuf = cluster.data_directory().join(format!("pods-logs/default_levels_{uid}/main/0.log"));
    let told = eventually("the last line", Duration::from_secs(20), || {
        let told = std::fs::read_to_string(&file)?;
        Ok(told.contains("end of it").then_some(told))
    })?;
    let old = "2020-01-01T08:00:00.000000000Z stdout F a line of long ago\n";
    std::fs::write(&file, format!("{old}{told}")).with_context(|| file.display().to_string())
}

/// Bytes that are no text, and sequences that would do something to a terminal.
async fn dirt(browser: &Browser) -> Result<()> {
    browser.go("pods/default/dirty?tab=logs").await?;
    browser.read(".lines .log", "all of it was told").await?;
    // nothing is left that does something, and what was said can be read
    let clean = "const all = [...document.querySelectorAll('.lines .log')].map(one => one.innerText);
        const line = all.find(one => one.includes('wild')), bright = [...document.querySelectorAll('.lines .log span')].find(one => one.textContent == 'bright');
        return !all.some(one => /[\\u0000-\\u0008\\u000a-\\u001f\\u007f-\\u009f]/.test(one)) && line == 'clear  title  link there zero  back  c1 31m wild \\ufffd\\ufffd end'
            && bright?.classList.contains('c10') && bright.classList.contains('bold')";
    browser.until("only text", clean, json!([])).await?;
    let kept = "const turned = [...document.querySelectorAll('.lines .log')].find(one => one.textContent.includes('turned'));
        const after = [...document.querySelectorAll('.lines .log')].pop();
        return document.querySelector('.lines img') == null && ['isolate', 'isolate-override', 'plaintext'].includes(getComputedStyle(turned).unicodeBidi)
            && after.innerText.trim() == 'all of it was told' && !after.querySelector('.c1')";
    browser.until("each line for itself", kept, json!([])).await?;
    ensure!(!["stolen", "1"].contains(&browser.client.title().await?.as_str()), "a line was run");
    browser.is_accessible("dirt").await
}

/// All pods of a workload, each in a colour of its own.
async fn chorus(cluster: &Cluster, browser: &Browser) -> Result<()> {
    browser.go("deployments.apps/default/chorus?tab=logs").await?;
    let pods = cluster.kubectl(&["get", "pods", "-l", "app=chorus", "-o", "name"])?;
    let pods: Vec<&str> = pods.lines().filter_map(|pod| pod.strip_prefix("pod/")).collect();
    ensure!(pods.len() == 3, "{pods:?}");
    let colours = "const told = arguments[0].map(pod => [...document.querySelectorAll('.lines .log')].find(one => one.querySelector('.source')?.textContent.trim() == pod));
        if (told.some((one, at) => !one?.textContent.includes('verse of ' + arguments[0][at]))) return false;
        return new Set(told.map(one => getComputedStyle(one.querySelector('.source')).color)).size == 3";
    browser.until("three in three colours", colours, json!([pods])).await?;
    browser.is_accessible("several pods").await?;
    browser.picture("logs-of-several").await?;
    // one goes, another comes: it is followed without being asked for
    cluster.kubectl(&["delete", "pod", pods[0], "--now"])?;
    let other = "return [...document.querySelectorAll('.lines .source')].some(one => !arguments[0].includes(one.textContent.trim()))";
    browser.until("the one that came", other, json!([pods])).await?;
    cluster.kubectl(&["delete", "deployment", "chorus"]).map(drop)
}

/// Five thousand lines a second into a buffer of a hundred thousand: the page goes on answering, and keeps what it should.
pub async fn burst(cluster: &Cluster, browser: &Browser) -> Result<()> {
    ready(cluster, "burst")?;
    browser.go("pods/default/burst?tab=logs").await?;
    browser.read(".lines .log", "it waits").await?;
    let watch = "globalThis.seen = {frames: 0, rows: 0, worst: 0}; let last = performance.now();
        const look = now => { seen.frames++; seen.worst = Math.max(seen.worst, now - last); last = now;
            seen.rows = Math.max(seen.rows, document.querySelectorAll('.lines .log').length); requestAnimationFrame(look); };
        requestAnimationFrame(look);";
    browser.run(watch, json!([])).await?;
    cluster.kubectl(&["exec", "burst", "--", "touch", "/tmp/go"])?;
    const NUMBER: &str = "const last = [...document.querySelectorAll('.lines .log')].pop()?.innerText ?? ''; const number = Number(/^line (\\d+)/.exec(last)?.[1] ?? 0);";
    let many = format!("{NUMBER} return number > 20000");
    if browser.until("many lines", &many, json!([])).await.is_err() {
        browser.until("many lines", &many, json!([])).await?;
    }
    // what is done meanwhile is done before the end
    browser.fill(".logs input[type=search]", "777").await?;
    let sifted = format!(
        "const all = {DRAWN}; return all.length > 5 && all.every(one => one.includes('777')) && Number(/of (\\d+)/.exec(document.querySelector('.logs .line .soft:last-of-type').innerText)?.[1])"
    );
    let total = browser.until("filtered", &sifted, json!([])).await?.as_u64().unwrap_or_default();
    // how soon is told by the figures, and held where the machine has nothing else to do
    let quiet = length() > 1;
    ensure!(total >= 20_000 && (total < LINES || !quiet), "filtered only at {total} lines");
    browser.fill(".logs input[type=search]", "it is over").await?;
    browser.key("k", 75, sampan_test_browser::CONTROL).await?;
    browser.see("dialog.palette[open]").await?;
    let all = "return document.querySelectorAll('.lines .log').length";
    ensure!(browser.run(all, json!([])).await? == 0 || !quiet, "the palette opened only at the end");
    browser.press("\u{e00c}").await?;
    if browser.read(".lines .log", "it is over").await.is_err() {
        browser.read(".lines .log", "it is over").await?;
    }
    let seen = browser.run("return globalThis.seen", json!([])).await?;
    eprintln!("burst of {LINES} lines: {seen}");
    browser.client.find(fantoccini::Locator::Css(".logs input[type=search]")).await?.clear().await?;
    browser.run("document.querySelector('.logs input[type=search]').dispatchEvent(new InputEvent('input', {bubbles: true}))", json!([])).await?;
    browser
        .until(
            "the buffer is full and no more",
            "return document.querySelector('.logs .line .soft:last-of-type').innerText == arguments[0]",
            json!([KEPT.to_string()]),
        )
        .await?;
    browser
        .run(
            "const lines = document.querySelector('.lines'); lines.scrollTop = lines.scrollHeight",
            json!([]),
        )
        .await?;
    drawn(browser, "the end", "all[all.length - 1] == 'it is over'").await?;
    // nothing of what is kept is missing: the end and those before it
    browser.run("document.querySelector('.lines').scrollTop = 0", json!([])).await?;
    let first = format!("line {} of", LINES - KEPT + 2);
    drawn(browser, "the first that is kept", &format!("all[0].startsWith({first:?})")).await?;
    let seen = browser.run("return globalThis.seen", json!([])).await?;
    let count = |what: &str| seen[what].as_u64().unwrap_or_default();
    ensure!((5..200).contains(&count("rows")), "rows in the page: {seen}");
    ensure!(count("frames") > LINES / 1000 || !quiet, "frames while the lines came: {seen}");
    cluster.kubectl(&["delete", "pod", "burst", "levels", "dirty", "--now"]).map(drop)
}
