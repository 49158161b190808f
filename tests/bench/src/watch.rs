//! A thousand watchers of one busy resource: deliveries a second, and how long after a write the last of them know.
//!
//! Each watcher has a TLS connection of its own and watches the ConfigMaps of one namespace; a delivery is one event that
//! one of them has read. Writes are merge patches that put the time of their sending into an object, so that each event
//! says how old it is. The loader, watchers and writers alike, is one thread on the last core, the daemon has the others.
//!
//! Deliveries: eight writers go on as long as not more than a hundred events are on their way to the watchers on average.
//! Lag: writes at a rate that is offered, 200,000 deliveries a second or four fifths of what was reached if that is less.
//! An event's age counts from the moment at which it was due to be sent until a watcher has read it, so the commit
//! to the disk and the loader's own work of reading a thousand connections are in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, PostParams};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sampan_testkit::Cluster;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::figure::{Figure, Goal, Unit};
use crate::tls::{Stream, Target, leave_last_core, on_last_core};

const WATCHERS: u64 = 1000;
const WRITERS: u64 = 8;
/// Events that may be on their way to each watcher.
const AHEAD: u64 = 100;
/// Deliveries a second that are to be reached.
const DELIVERIES: f64 = 200_000.0;
const PATH: &str = "/api/v1/namespaces/default/configmaps";
/// Stands before and after the time in an object, and nowhere else in it.
const MARK: u8 = b'~';
/// How long all of one phase may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures both.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(8192).min(hard), hard)?;
    let cluster = Cluster::start()?;
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client().await?);
    for writer in 0..WRITERS {
        let map = serde_json::from_value(json!({"metadata": {"name": name(writer)}, "data": {}}))?;
        api.create(&PostParams::default(), &map).await?;
    }
    let listed = api.list(&ListParams::default().limit(1)).await?;
    let version = listed.metadata.resource_version.context("a list without revision")?;
    let target = Target::cluster(&cluster, PATH).await?;
    leave_last_core(cluster.pid()?)?;
    let (rounds, events) = if short { (1, 500) } else { (5, 2000) };
    on_last_core(async {
        let watched = Watched::new(&target, &version).await?;
        let mut rates = Vec::new();
        for _ in 0..rounds {
            rates.push(watched.deliveries(&target, events).await?);
        }
        rates.sort_by(f64::total_cmp);
        let rate = DELIVERIES.min(rates[rates.len() / 2] * 0.8) / WATCHERS as f64;
        let mut lags = Vec::new();
        for _ in 0..rounds {
            lags.push(watched.lag(&target, events, rate).await?);
        }
        let offered = (rate * WATCHERS as f64).round();
        Ok(vec![
            Figure::alone(
                "1,000 watchers of one resource",
                Unit::PerSecond("deliveries"),
                rates,
                Goal::AtLeast(DELIVERIES),
            ),
            Figure::alone(
                format!("1,000 watchers, {offered} deliveries/s offered: write sent → event read, p99"),
                Unit::Milliseconds,
                lags,
                Goal::Below(20.0),
            ),
        ])
    })
}

fn name(writer: u64) -> String {
    format!("busy-{writer}")
}

/// What the watchers have read.
struct Read {
    began: Instant,
    deliveries: AtomicU64,
    /// Of each delivery the age in microseconds, since they were last taken.
    ages: std::sync::Mutex<Vec<u32>>,
    more: Notify,
    failed: std::sync::Mutex<Option<anyhow::Error>>,
}

/// The watchers, on this runtime.
struct Watched {
    read: Arc<Read>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Watched {
    async fn new(target: &Target, version: &str) -> Result<Self> {
        let read = Arc::new(Read {
            began: Instant::now(),
            deliveries: AtomicU64::new(0),
            ages: std::sync::Mutex::default(),
            more: Notify::new(),
            failed: std::sync::Mutex::default(),
        });
        let mut tasks = Vec::new();
        for _ in 0..WATCHERS {
            let stream = open(target, version).await?;
            let read = read.clone();
            tasks.push(tokio::spawn(async move {
                if let Err(error) = follow(stream, &read).await {
                    read.failed.lock().unwrap_or_else(|held| held.into_inner()).get_or_insert(error);
                    read.more.notify_one();
                }
            }));
        }
        Ok(Self { read, tasks })
    }

    /// Waits until so many deliveries were read in all.
    async fn until(&self, deliveries: u64) -> Result<()> {
        let wait = async {
            while self.read.deliveries.load(Ordering::Relaxed) < deliveries {
                let failed = self.read.failed.lock().unwrap_or_else(|held| held.into_inner()).take();
                if let Some(error) = failed {
                    return Err(error);
                }
                self.read.more.notified().await;
            }
            // whoever else waits looks as well
            self.read.more.notify_one();
            Ok(())
        };
        tokio::time::timeout(PATIENCE, wait).await.context("not all events came")?
    }

    /// Deliveries a second of so many events, written as fast as they are read.
    async fn deliveries(&self, target: &Target, events: u64) -> Result<f64> {
        let before = self.read.deliveries.load(Ordering::Relaxed);
        let (began, next) = (Instant::now(), AtomicU64::new(0));
        let writers = (0..WRITERS).map(|writer| {
            let next = &next;
            async move {
                let target = target.at(&format!("{PATH}/{}", name(writer)));
                let mut connection = target.connect().await?;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= events {
                        return anyhow::Ok(());
                    }
                    self.until(before + number.saturating_sub(AHEAD) * WATCHERS).await?;
                    let body = patch(self.read.began.elapsed());
                    target.send(&mut connection, "PATCH", "application/merge-patch+json", body).await?;
                }
            }
        });
        futures::future::try_join_all(writers).await?;
        self.until(before + events * WATCHERS).await?;
        self.ages();
        Ok((events * WATCHERS) as f64 / began.elapsed().as_secs_f64())
    }

    /// The age of events when they are read, in milliseconds, of a hundred all but one are younger; at so many in a second.
    async fn lag(&self, target: &Target, events: u64, rate: f64) -> Result<f64> {
        let before = self.read.deliveries.load(Ordering::Relaxed);
        let first = Instant::now() + Duration::from_millis(200);
        let writers = (0..WRITERS).map(|writer| async move {
            let target = target.at(&format!("{PATH}/{}", name(writer)));
            let mut connection = target.connect().await?;
            for number in (writer..events).step_by(WRITERS as usize) {
                let due = first + Duration::from_secs_f64(number as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
                let body = patch(due.duration_since(self.read.began));
                target.send(&mut connection, "PATCH", "application/merge-patch+json", body).await?;
            }
            anyhow::Ok(())
        });
        futures::future::try_join_all(writers).await?;
        self.until(before + events * WATCHERS).await?;
        let mut ages = self.ages();
        ensure!(ages.len() as u64 == events * WATCHERS, "{} ages", ages.len());
        ages.sort_unstable();
        let at = |part: usize| f64::from(ages[(ages.len() - 1) * part / 1000]) / 1e3;
        eprintln!(
            "{rate:.0} events/s: p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms",
            at(500),
            at(990),
            at(1000)
        );
        Ok(at(990))
    }

    fn ages(&self) -> Vec<u32> {
        std::mem::take(&mut *self.read.ages.lock().unwrap_or_else(|held| held.into_inner()))
    }
}

/// A merge patch that says when it was sent, always of the same length.
fn patch(sent: Duration) -> Bytes {
    let mark = char::from(MARK);
    json!({"data": {"sent": format!("{mark}{:016}{mark}", sent.as_micros())}}).to_string().into()
}

/// A watch from `version` on, its head read.
async fn open(target: &Target, version: &str) -> Result<Stream> {
    let mut stream = target.stream().await?;
    let request = format!(
        "GET {PATH}?watch=true&resourceVersion={version} HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.context("a watch without head")?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    ensure!(head.starts_with("HTTP/1.1 200"), "the watch was refused: {head}");
    Ok(stream)
}

/// Reads events as long as there are any.
async fn follow(mut stream: Stream, read: &Read) -> Result<()> {
    let (mut marks, mut piece) = (Marks::default(), vec![0; 16 << 10]);
    loop {
        let length = stream.read(&mut piece).await?;
        ensure!(length > 0, "a watch was ended by the server");
        let (mut found, now) = (0, read.began.elapsed().as_micros() as u64);
        let mut ages = read.ages.lock().unwrap_or_else(|held| held.into_inner());
        marks.read(&piece[..length], |sent| {
            found += 1;
            ages.push(u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX));
        });
        drop(ages);
        read.deliveries.fetch_add(found, Ordering::Relaxed);
        read.more.notify_one();
    }
}

/// Finds the marked numbers in a stream of bytes, wherever it is cut.
#[derive(Default)]
struct Marks {
    /// What was read of a number that has begun.
    open: Option<u64>,
}

impl Marks {
    fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(u64)) {
        while let Some(mark) = bytes.iter().position(|byte| *byte == MARK) {
            match self.open.take() {
                Some(number) => found(digits(number, &bytes[..mark])),
                None => self.open = Some(0),
            }
            bytes = &bytes[mark + 1..];
        }
        self.open = self.open.map(|number| digits(number, bytes));
    }
}

fn digits(number: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(number, |number, digit| number * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_wherever_the_stream_is_cut() {
        let text = b"{\"a\":\"~0012~\"}\n9{\"a\":\"~0345~\"}";
        for cut in 0..text.len() {
            let (mut marks, mut found) = (Marks::default(), Vec::new());
            marks.read(&text[..cut], |number| found.push(number));
            marks.read(&text[cut..], |number| found.push(number));
            assert_eq!(found, [12, 345], "cut at {cut}");
        }
    }
}
