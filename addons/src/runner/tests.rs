#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use sampan_addon::{About, Error, GroupHandler, Served, Text};
use tokio::sync::mpsc;

use super::*;

/// Says when it is started, and ends as the script says.
struct Scripted {
    started: mpsc::UnboundedSender<Instant>,
    runs: AtomicUsize,
    script: fn(usize) -> Act,
}

enum Act {
    Panic,
    Fail,
    Return,
    /// Healthy for so long, then it fails.
    Live(Duration),
    /// Until the drain, and so long after it.
    Stay(Duration),
}

#[async_trait]
impl Native for Scripted {
    fn about(&self) -> About {
        let summary = Text { en: "", zh: "" };
        About { name: "scripted", summary, maintainer: "", version: "", default_on: false, needs: &[] }
    }

    fn schema(&self) -> Value {
        Value::Null
    }

    fn configuration(&self, config: &Value) -> Result<Value, Error> {
        Ok(config.clone())
    }

    fn objects(&self, _: &Value, _: &Site) -> Result<Vec<Value>, Error> {
        Ok(Vec::new())
    }

    fn page(&self, _: &Value, _: &Site) -> Option<String> {
        None
    }

    fn waits_for_outside(&self) -> bool {
        false
    }

    async fn run(&self, _: &Value, context: Context, drain: Drain) -> Result<(), Error> {
        self.started.send(Instant::now()).unwrap();
        match (self.script)(self.runs.fetch_add(1, Ordering::SeqCst)) {
            Act::Panic => panic!("out of tea"),
            Act::Fail => Err(Error::Other("no water".into())),
            Act::Return => Ok(()),
            Act::Live(time) => {
                context.health.healthy();
                tokio::time::sleep(time).await;
                Err(Error::Other("worn out".into()))
            }
            Act::Stay(after) => {
                context.health.healthy();
                drain.wait().await;
                tokio::time::sleep(after).await;
                Ok(())
            }
        }
    }

    async fn disabled(&self, _: &Value, _: Context) -> Result<(), Error> {
        Ok(())
    }
}

struct NoHost;

impl Host for NoHost {
    fn serve_group(&self, _: &'static str, _: &'static str, _: GroupHandler) -> Served {
        Box::new(())
    }

    fn content_store(&self) -> Option<PathBuf> {
        None
    }
}

struct World {
    runner: Runner,
    health: Health,
    starts: mpsc::UnboundedReceiver<Instant>,
    _data: tempfile::TempDir,
}

fn world(script: fn(usize) -> Act) -> World {
    let (started, starts) = mpsc::unbounded_channel();
    let handle = |_| -> sampan_client::ResponseFuture { Box::pin(std::future::pending()) };
    let client = sampan_client::loopback(Arc::new(handle), "default");
    let (tasks, health) = (Tasks::new(Component::Daemon), Health::new());
    let data = tempfile::tempdir().unwrap();
    let local = std::net::Ipv4Addr::LOCALHOST;
    let parts = Parts {
        native: Arc::new(Scripted { started, runs: AtomicUsize::new(0), script }),
        config: Value::Null,
        informers: Informers::new(client.clone(), tasks.clone()),
        client,
        site: Site {
            profile: String::new(),
            node_name: String::new(),
            node_ips: Vec::new(),
            bridge: String::new(),
            gateway: local,
            pod_cidr: String::new(),
            service_cidr: String::new(),
            dns_ip: local,
            cluster_domain: String::new(),
        },
        data: data.path().join("scripted"),
        host: Arc::new(NoHost),
        health: health.clone(),
    };
    World { runner: Runner::start(parts, &tasks), health, starts, _data: data }
}

/// Whole seconds between one start and the next, `count` times.
async fn pauses(world: &mut World, count: usize) -> Vec<u64> {
    let mut last = world.starts.recv().await.unwrap();
    let mut pauses = Vec::new();
    for _ in 0..count {
        let next = world.starts.recv().await.unwrap();
        pauses.push((next - last).as_secs());
        last = next;
    }
    pauses
}

const SCRIPTED: Component = Component::Addon("scripted");

#[tokio::test(start_paused = true)]
async fn one_that_fails_is_started_again_later_and_later() {
    let mut world = world(|run| match run % 3 {
        0 => Act::Panic,
        1 => Act::Fail,
        _ => Act::Return,
    });
    assert_eq!(pauses(&mut world, 11).await, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert!(world.health.get(SCRIPTED).restarts >= 11);
    world.runner.stop().await;
    assert_eq!(world.health.get(SCRIPTED).state, State::Stopped);
}

#[tokio::test(start_paused = true)]
async fn reasons_are_told() {
    for (script, reason) in [
        ((|_| Act::Panic) as fn(usize) -> Act, "panicked: out of tea"),
        (|_| Act::Fail, "no water"),
        (|_| Act::Return, "ended without being asked to"),
    ] {
        let world = world(script);
        let mut reports = world.runner.reporter.watch();
        let report =
            reports.wait_for(|report| matches!(report, Report::Failed { .. })).await.unwrap().clone();
        assert!(
            matches!(report, Report::Failed { reason: said, next } if said == reason && next.contains("addons logs scripted"))
        );
        world.runner.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn ten_healthy_minutes_make_the_next_failure_the_first() {
    let mut world = world(|run| match run {
        0..=2 => Act::Fail,
        3 => Act::Live(Duration::from_secs(60)),
        4 => Act::Live(CALM),
        _ => Act::Fail,
    });
    // after a minute the pause goes on growing, after ten it begins anew
    assert_eq!(pauses(&mut world, 6).await, [1, 2, 4, 60 + 8, 600 + 1, 2]);
    world.runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_end_is_cut_off() {
    for (after, limit) in
        [(Duration::ZERO, Duration::from_secs(1)), (Duration::from_secs(3600), GRACE + GRACE_TASKS)]
    {
        let script: fn(usize) -> Act = match after.is_zero() {
            true => |_| Act::Stay(Duration::ZERO),
            false => |_| Act::Stay(Duration::from_secs(3600)),
        };
        let mut world = world(script);
        world.starts.recv().await.unwrap();
        let mut reports = world.runner.reporter.watch();
        reports.wait_for(|report| *report == Report::Healthy).await.unwrap();
        let began = Instant::now();
        world.runner.stop().await;
        assert!(began.elapsed() <= limit, "{:?}", began.elapsed());
        assert!(world.starts.try_recv().is_err(), "not started again");
    }
}
