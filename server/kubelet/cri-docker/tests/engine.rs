//! The shared suite on a Docker Engine, for real: one is started if none runs, which needs root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sampan_cri::suite::{Suite, wait_exit};
use sampan_cri::*;
use sampan_cri_docker::{Config, DockerRuntime};
use sampan_process::{Component, Tasks};
use sampan_testkit::Image;

const SOCKET: &str = "/var/run/docker.sock";
const PAUSE: &str = "sampan-test-pause:1";

/// Tests share the engine and time; one at a time.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The engine goes on after the tests, as it would on a user's machine: other tests use it.
#[allow(clippy::zombie_processes)]
fn engine() {
    let answers = || std::os::unix::net::UnixStream::connect(SOCKET).is_ok();
    if answers() {
        return;
    }
    let mut daemon = Command::new("dockerd");
    daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = daemon.spawn().expect("package docker.io");
    let begin = Instant::now();
    while !answers() {
        assert!(daemon.try_wait().expect("a child of ours").is_none(), "dockerd has ended");
        assert!(begin.elapsed().as_secs() < 60, "the engine answers within 60 s");
        std::thread::yield_now();
    }
}

/// An image whose command `pause` waits for ever.
fn pause(path: &Path) {
    let mut image = Image::busybox().expect("busybox");
    let config = String::from_utf8(image.config).expect("text");
    let script =
        r#""Entrypoint":["sh","-c","trap 'exit 0' TERM; while :; do sleep 1000 & wait; done","--"],"Cmd""#;
    image.config = config.replacen("\"Cmd\"", script, 1).into_bytes();
    image.save(PAUSE, path).expect("archive");
}

struct Bench {
    runtime: Arc<DockerRuntime>,
    suite: Suite,
    tasks: Tasks,
    config: Config,
    _directory: tempfile::TempDir,
}

async fn connect(config: &Config) -> (Arc<DockerRuntime>, Tasks) {
    let tasks = Tasks::new(Component::Daemon);
    let runtime = DockerRuntime::connect(config.clone(), tasks.clone()).await.expect("engine");
    (Arc::new(runtime), tasks)
}

async fn bench() -> Bench {
    engine();
    let directory = tempfile::tempdir().expect("directory");
    let config = Config {
        profile: format!("test-{}", std::process::id()),
        socket: PathBuf::from(SOCKET),
        sandbox_image: PAUSE.into(),
        registry_mirrors: Vec::new(),
    };
    let (runtime, tasks) = connect(&config).await;
    let archive = directory.path().join("image.tar");
    pause(&archive);
    runtime.load_images(archive.clone()).await.expect("load");
    Image::busybox().expect("busybox").save("sampan-test-busybox:1", &archive).expect("archive");
    let image = runtime.load_images(archive).await.expect("load").remove(0).image;
    // the same image may have other names on this Engine
    assert!(image.repo_tags.iter().any(|tag| tag == "sampan-test-busybox:1"), "{:?}", image.repo_tags);
    let suite = Suite { runtime: runtime.clone(), image: image.id, directory: directory.path().to_owned() };
    Bench { runtime, suite, tasks, config, _directory: directory }
}

macro_rules! suite {
    ($($name:ident),*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let _one = ONE.lock().await;
            let bench = bench().await;
            // a failed check must not leave containers behind
            let suite = bench.suite;
            let result = tokio::spawn(async move { suite.$name().await }).await;
            bench.runtime.purge().await.expect("purge");
            assert!(bench.runtime.list_containers().await.expect("list").is_empty());
            bench.tasks.finish(Duration::from_secs(5)).await;
            if let Err(error) = result {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    )*};
}

suite!(lifecycle, outcomes, isolation, users_and_rights, limits, streams, shared_processes, forwarding);

fn numbers(path: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(3)?.parse().ok()).collect()
}

async fn reaches(path: &Path, count: usize) {
    let long_enough = async {
        while numbers(path).len() < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), long_enough).await.expect("lines within 20 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_have_no_hole_when_the_daemon_was_away() {
    let _one = ONE.lock().await;
    let bench = bench().await;
    let sandbox = bench.suite.sandbox("away", |_| {}).await;
    let script =
        "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo $i; [ $((i%20)) = 0 ] && sleep 0.1; done; exit 9";
    let id =
        bench.runtime.create_container(&sandbox, bench.suite.config("count", script)).await.expect("create");
    bench.runtime.start_container(&id).await.expect("start");
    let log = bench.runtime.container_status(&id).await.expect("status").log_path;
    reaches(&log, 20).await;
    // the daemon goes in the middle, and comes back when the container has ended
    bench.tasks.finish(Duration::from_secs(5)).await;
    let Bench { runtime, suite, config, .. } = bench;
    drop((runtime, suite));
    let ended = Command::new("docker").args(["wait", &id]).output().expect("docker wait");
    assert_eq!(String::from_utf8_lossy(&ended.stdout).trim(), "9");
    let (runtime, tasks) = connect(&config).await;
    assert_eq!(wait_exit(&*runtime, &id).await.exit_code, 9);
    assert_eq!(numbers(&log), (1..=200).collect::<Vec<u64>>());
    assert_eq!(runtime.list_pod_sandboxes().await.expect("list")[0].state, SandboxState::Ready);
    runtime.purge().await.expect("purge");
    tasks.finish(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_named_as_asked_and_absent_ones_say_so() {
    let _one = ONE.lock().await;
    let bench = bench().await;
    let found = bench.runtime.image_status("sampan-test-busybox:1").await.expect("status").expect("loaded");
    assert_eq!(found.id, bench.suite.image);
    assert!(bench.runtime.image_status("sampan-test-absent:1").await.expect("status").is_none());
    assert!(matches!(bench.runtime.image_status("Bad").await, Err(RuntimeError::InvalidImageName { .. })));
    assert!(bench.runtime.image_fs_info().await.expect("info").capacity_bytes > 0);
    bench.runtime.remove_image("sampan-test-absent:1").await.expect("nothing to remove");
    bench.tasks.finish(Duration::from_secs(5)).await;
}
