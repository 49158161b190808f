//! The dashboard in headless Chromium against a cluster: its size, its start, long lists, events, memory.
//!
//! Pods are objects that no scheduler takes. A time is from the act in the page to the end of the frame that shows it,
//! so it has the wait for the next frame in it; an event's time begins before the page sends the write that causes it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use sampan_test_browser::{Browser, PLAIN, measure::percentile};
use sampan_testkit::Cluster;
use sampan_view::feed::{Ask, Kind};
use serde_json::json;

use crate::figure::{Figure, Goal, Unit};
use crate::pods;

/// Pods of which the heap is weighed.
const SOME: usize = 10_000;
/// Pods of the long list.
const MANY: usize = 50_000;
/// Events in a second, of the busy cluster.
const EVENTS: usize = 1_000;
/// Comes first in a list by names.
const PROBE: &str = "a-probe";

/// Changes the probe's reason and answers when it was painted.
const EVENT: &str = "const [name, reason, done] = arguments;
    const began = performance.now();
    const row = [...document.querySelectorAll('.rows tbody tr:not(.room)')].find(row => row.innerText.includes(name));
    const painted = () => { const channel = new MessageChannel(); channel.port1.onmessage = () => done(performance.now() - began); channel.port2.postMessage(0); };
    const seen = new MutationObserver(() => { if (row.innerText.includes(reason)) { seen.disconnect(); requestAnimationFrame(painted); } });
    seen.observe(row, {childList: true, subtree: true, characterData: true});
    fetch(`k8s/api/v1/namespaces/default/pods/${name}/status`, {method: 'PATCH',
        headers: {'content-type': 'application/merge-patch+json', 'x-sampan-csrf': '1'},
        body: JSON.stringify({status: {reason}})});";

/// Measures all of it.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let rounds = if short { 3 } else { 9 };
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    let browser = Browser::signed_in(&cluster, PLAIN).await?;
    let mut figures = vec![size(&browser).await?];
    figures.extend(starts(&browser, rounds).await?);
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let mut probe = pods::idle_pod(PROBE)?;
    probe.spec.get_or_insert_default().scheduler_name = Some("nobody".into());
    api.create(&PostParams::default(), &probe).await?;
    pods::fill(&client, SOME).await?;
    listed(&browser, SOME).await?;
    let (script, memory) = browser.heap().await?;
    figures.push(Figure::alone(
        "dashboard: heap at 10,000 pods",
        Unit::Megabytes,
        vec![(script + memory) / 1e6],
        Goal::Below(150.0),
    ));
    figures.extend(snapshot(&cluster, &browser, rounds).await?);
    figures.push(event("idle", &browser, rounds * 5, 100.0).await?);
    let load = tokio::spawn(events(client.clone()));
    let busy = event("1,000 events/s", &browser, rounds * 5, 250.0).await;
    load.abort();
    figures.push(busy?);
    pods::fill_from(&client, SOME, MANY).await?;
    listed(&browser, MANY).await?;
    figures.push(told("50,000", &browser, rounds, Goal::Below(1500.0)).await?);
    figures.extend(list(&browser, rounds).await?);
    Ok(figures)
}

/// All pods over a feed of its own, and as kubectl prints them: at once, for it asks for pages of 500 five times a second at most.
async fn snapshot(cluster: &Cluster, browser: &Browser, rounds: usize) -> Result<[Figure; 2]> {
    let mut printed = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        let lines = cluster.kubectl(&["get", "pods", "--chunk-size=0"])?;
        printed.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(lines.lines().count() > SOME, "kubectl printed too few");
    }
    Ok([
        told("10,000", browser, rounds, Goal::Below(300.0)).await?,
        Figure::alone("`kubectl get pods --chunk-size=0` of 10,000", Unit::Milliseconds, printed, Goal::Report),
    ])
}

async fn told(many: &str, browser: &Browser, rounds: usize, goal: Goal) -> Result<Figure> {
    let kind = Kind { group: String::new(), version: "v1".into(), resource: "pods".into() };
    let ask = Ask::Open {
        view: 1,
        kind,
        namespaces: vec!["default".into()],
        label_selector: String::new(),
        field_selector: String::new(),
        filter: String::new(),
        summary: false,
        since: None,
    };
    let mut times = Vec::new();
    for _ in 0..rounds {
        times.push(browser.time_of_snapshot(&ask).await?);
    }
    Ok(Figure::alone(format!("dashboard: snapshot of {many} pods"), Unit::Milliseconds, times, goal))
}

/// What is sent of the main module to a browser that reads gzip.
async fn size(browser: &Browser) -> Result<Figure> {
    let script =
        "return performance.getEntriesByType('resource').find(one => one.name.endsWith('.wasm'))?.name";
    let address = browser.run(script, json!([])).await?;
    let address =
        address.as_str().and_then(|address| address.strip_prefix("http://")).context("an address")?;
    let (host, path) = address.split_once('/').context("a path")?;
    let mut stream = TcpStream::connect(host)?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("an answer")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    ensure!(head.contains("content-encoding: gzip"), "{head}");
    let size = (answer.len() - end - 4) as f64 / 1e3;
    Ok(Figure::alone("dashboard: main module, gzip", Unit::Kilobytes, vec![size], Goal::Below(450.0)))
}

async fn starts(browser: &Browser, rounds: usize) -> Result<[Figure; 2]> {
    browser.watch_starts().await?;
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        cold.push(browser.time_to_use(true).await?);
        // the browser keeps compiled code after the second time
        browser.time_to_use(false).await?;
        warm.push(browser.time_to_use(false).await?);
    }
    let figure = |name, times, limit| Figure::alone(name, Unit::Milliseconds, times, Goal::Below(limit));
    Ok([
        figure("dashboard: first page usable, cold", cold, 600.0),
        figure("dashboard: first page usable, warm", warm, 300.0),
    ])
}

/// Opens the list and waits until so many are in it.
async fn listed(browser: &Browser, count: usize) -> Result<()> {
    browser.go("pods?ns=default").await?;
    let all = "const table = document.querySelector('.rows table'); return table && table.getAttribute('aria-rowcount') > arguments[0]";
    browser.until("all are listed", all, json!([count])).await?;
    // what came last is drawn, and measured use is added once
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok(())
}

async fn event(when: &str, browser: &Browser, count: usize, limit: f64) -> Result<Figure> {
    let mut times = Vec::new();
    for number in 0..count {
        let arguments =
            vec![json!(PROBE), json!(format!("Round{when}{number}").replace([' ', ',', '/'], ""))];
        times.push(browser.client.execute_async(EVENT, arguments).await?.as_f64().context("a time")?);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let name = format!("dashboard: event to pixel, {when}, p95");
    Ok(Figure::alone(name, Unit::Milliseconds, vec![percentile(&times, 95)], Goal::Below(limit)))
}

/// So many changes of pods in a second, until it is ended.
async fn events(client: Client) -> Result<()> {
    let api: Api<Pod> = Api::default_namespaced(client);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for round in 0usize.. {
        ticks.tick().await;
        let changes = futures::stream::iter(0..EVENTS / 10).map(|number| {
            let (api, name) = (api.clone(), pods::name((round * EVENTS / 10 + number) % SOME));
            async move {
                let patch = json!({"status": {"message": format!("round {round}")}});
                api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
            }
        });
        changes.buffer_unordered(16).try_for_each(|()| async { Ok(()) }).await?;
    }
    Ok(())
}

async fn list(browser: &Browser, rounds: usize) -> Result<Vec<Figure>> {
    let (mut filter, mut sort) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for line in ["object-1", "object-12", "/^object-[1-9]+0$/", "app=web object-3", ""] {
            filter.push(browser.time_of_filter(line).await?);
        }
        for column in ["Age", "Restarts", "Name"] {
            sort.push(browser.time_of_sort(column).await?);
        }
    }
    // 5,000 pixels in a second
    let scrolled = browser.scroll(84, 600).await?;
    ensure!(scrolled.blank == 0, "{} times no row was seen while scrolling", scrolled.blank);
    let figure = |name, unit, values, goal| {
        Figure::alone(format!("dashboard: 50,000 pods, {name}"), unit, values, goal)
    };
    let frames = vec![percentile(&scrolled.frames, 95)];
    Ok(vec![
        figure("filter", Unit::Milliseconds, filter, Goal::Below(50.0)),
        figure("sort", Unit::Milliseconds, sort, Goal::Below(60.0)),
        // a frame at 60 Hz is 16.67 ms, told in tenths
        figure("frames while scrolling, p95", Unit::Milliseconds, frames, Goal::Below(16.85)),
        figure("rows in the page", Unit::Count, vec![scrolled.rows as f64], Goal::Below(101.0)),
    ])
}
