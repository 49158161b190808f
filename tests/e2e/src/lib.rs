//! The walk that every user does, and the bad days, on the built binary with real clients. See `tests/`.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sampan_testkit::{Cluster, Image, Options, Registry};

/// A registry with nginx under the tags that the walks use, and busybox.
pub fn registry() -> Result<Registry> {
    let registry = Registry::start()?;
    for tag in ["alpine", "1.0", "1.1"] {
        registry.push(&Image::nginx(&format!("Welcome to nginx {tag}\n"))?, "library/nginx", tag)?;
    }
    registry.push(&Image::busybox()?, "library/busybox", "latest")?;
    Ok(registry)
}

/// A cluster that pulls from `registry`, on `runtime`.
pub fn cluster(registry: &Registry, runtime: &str) -> Result<Cluster> {
    let start = ["--registry-mirror", &registry.url(), "--container-runtime", runtime];
    Cluster::with(Options { start: start.map(str::to_owned).to_vec() })
}

/// Docker Engine runs, or is started; it goes on after the test, as it would on a user's machine: other tests use it.
#[allow(clippy::zombie_processes)]
pub fn docker_engine() -> Result<()> {
    let answers = || std::os::unix::net::UnixStream::connect("/var/run/docker.sock").is_ok();
    if answers() {
        return Ok(());
    }
    let mut engine = std::process::Command::new("dockerd");
    engine.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut engine = engine.spawn().context("dockerd (package docker.io): run `make test`")?;
    eventually("dockerd listens", Duration::from_secs(60), || {
        anyhow::ensure!(engine.try_wait()?.is_none(), "dockerd has ended");
        Ok(answers().then_some(()))
    })
}

/// `kubectl apply -f -`.
pub fn apply(cluster: &Cluster, manifest: &str) -> Result<()> {
    let mut kubectl = cluster
        .kubectl_command()
        .args(["apply", "-f", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()?;
    use std::io::Write;
    // the dashes tell kubectl that this is YAML, though it begins with a brace
    kubectl.stdin.take().context("standard input")?.write_all(format!("---\n{manifest}").as_bytes())?;
    anyhow::ensure!(kubectl.wait()?.success(), "kubectl apply of {manifest}");
    Ok(())
}

/// Waits for a condition of a pod with kubectl itself (which watches).
pub fn ready(cluster: &Cluster, pod: &str) -> Result<()> {
    cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", &format!("pod/{pod}")])?;
    Ok(())
}

/// Asks until the answer fits, for what cannot be watched (an event's text, a log that grows).
pub fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if began.elapsed() > limit {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A GET of `/` at `address`, as text.
pub fn fetch(address: &str) -> Result<String> {
    use std::io::{Read, Write};
    let mut stream =
        std::net::TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// A kubectl that goes on (`logs -f`, `attach`, `get -w`), with what it has said so far.
pub struct Follower {
    child: std::process::Child,
    said: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Follower {
    /// Runs kubectl with `arguments` until dropped.
    pub fn start(cluster: &Cluster, arguments: &[&str]) -> Result<Self> {
        use std::io::Read;
        let mut command = cluster.kubectl_command();
        let mut child = command
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        let mut output = child.stdout.take().context("a pipe")?;
        let said = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let collect = said.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                collect.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push_str(&text);
            }
        });
        Ok(Self { child, said })
    }

    /// Does `nudge` again and again until the output has `words`, as it is or [`squeezed`].
    pub fn until(&self, words: &str, mut nudge: impl FnMut() -> Result<()>) -> Result<String> {
        eventually(&format!("{words:?} in what kubectl says"), Duration::from_secs(20), || {
            nudge()?;
            let said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            Ok((said.contains(words) || squeezed(&said).contains(words)).then_some(said))
        })
    }
}

/// With one space between words of a line: how wide columns are is kubectl's to choose.
pub fn squeezed(text: &str) -> String {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One field of an object, by JSONPath.
pub fn field(cluster: &Cluster, object: &str, path: &str) -> Result<String> {
    cluster.kubectl(&["get", object, "-o", &format!("jsonpath={path}")])
}
