//! The programs that sampan is measured beside: etcd, runc and Docker Engine, as Debian packages them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sampan_testkit::{Image, free_port};
use tempfile::TempDir;

/// How long a peer may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer.
fn until<T>(what: &str, pause: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Some(answer) => return Ok(answer),
            None if Instant::now() > deadline => bail!("{what} does not answer"),
            None => std::thread::sleep(pause),
        }
    }
}

/// Runs a command to its end; its words are the error.
fn checked(command: &mut Command, what: &str) -> Result<()> {
    let output = command.output().with_context(|| what.to_owned())?;
    ensure!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A running etcd, killed when dropped.
pub struct Etcd {
    process: Child,
    /// Where clients connect on loopback.
    pub port: u16,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Etcd {
    /// Starts one with its data in `folder`.
    pub fn start(folder: &Path) -> Result<Self> {
        let (port, peer) = (free_port(), free_port());
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(folder)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start etcd: install Debian's etcd-server")?;
        Ok(Self { process, port })
    }

    /// Its process id.
    pub fn pid(&self) -> Result<i32> {
        Ok(i32::try_from(self.process.id())?)
    }

    /// Waits until `/health` says true.
    pub fn healthy(&self) -> Result<()> {
        let ask = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            write!(stream, "GET /health HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            answer.contains("\"health\":\"true\"").then_some(())
        };
        until("etcd", Duration::from_millis(1), ask)
    }
}

/// A bundle of the image for `runc run`.
pub struct Runc {
    bundle: TempDir,
    count: usize,
}

impl Runc {
    /// Unpacks `image` beside runc's own default configuration, with `program` as its process.
    pub fn new(image: &Image, program: &[&str]) -> Result<Self> {
        let bundle = tempfile::tempdir()?;
        let rootfs = bundle.path().join("rootfs");
        tar::Archive::new(&image.layer[..]).unpack(&rootfs)?;
        checked(Command::new("runc").arg("spec").current_dir(bundle.path()), "runc (package runc)")?;
        let file = bundle.path().join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = program.into();
        std::fs::write(file, serde_json::to_vec(&config)?)?;
        Ok(Self { bundle, count: 0 })
    }

    /// Runs a container to its end, in milliseconds.
    pub fn run(&mut self) -> Result<f64> {
        self.count += 1;
        let name = format!("sampan-bench-{}-{}", std::process::id(), self.count);
        let began = Instant::now();
        checked(Command::new("runc").args(["run", &name]).current_dir(self.bundle.path()), "runc run")?;
        Ok(began.elapsed().as_secs_f64() * 1000.0)
    }
}

/// Docker Engine with the image loaded; one that we started ends with us.
pub struct Docker {
    engine: Option<Child>,
    image: &'static str,
}

impl Docker {
    /// Finds or starts the engine and loads `image` under `name`.
    pub fn new(image: &Image, name: &'static str) -> Result<Self> {
        let socket = PathBuf::from("/var/run/docker.sock");
        let answers = || std::os::unix::net::UnixStream::connect(&socket).ok();
        let engine = match answers() {
            Some(_) => None,
            None => {
                let mut command = Command::new("dockerd");
                let command = command.stdout(Stdio::null()).stderr(Stdio::null());
                Some(command.spawn().context("cannot start dockerd: install Debian's docker.io")?)
            }
        };
        let docker = Self { engine, image: name };
        until("dockerd", Duration::from_millis(50), answers)?;
        let folder = tempfile::tempdir()?;
        let archive = folder.path().join("image.tar");
        image.save(name, &archive)?;
        let mut load = Command::new("docker");
        checked(load.arg("load").arg("-i").arg(archive), "docker load (package docker.io)")?;
        Ok(docker)
    }

    /// `docker run --detach` until it returns, which is when the process runs; in milliseconds.
    pub fn run(&self, program: &[&str]) -> Result<f64> {
        let name = format!("sampan-bench-{}", std::process::id());
        let mut command = Command::new("docker");
        command.args(["run", "--detach", "--name", &name, self.image]).args(program);
        let began = Instant::now();
        checked(&mut command, "docker run")?;
        let took = began.elapsed().as_secs_f64() * 1000.0;
        checked(Command::new("docker").args(["rm", "--force", &name]), "docker rm")?;
        Ok(took)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let _ = checked(Command::new("docker").args(["rmi", "--force", self.image]), "docker rmi");
        if let Some(engine) = &mut self.engine {
            if let Ok(pid) = i32::try_from(engine.id()) {
                // it ends its containerd only when asked politely
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGTERM,
                );
            }
            let _ = engine.wait();
        }
    }
}
