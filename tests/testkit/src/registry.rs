//! Debian's docker-registry on loopback.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::http::send;
use crate::{Image, free_port};

/// A registry of its own, gone when dropped.
pub struct Registry {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Registry {
    /// Starts one on a free port.
    pub fn start() -> Result<Self> {
        Self::on(free_port())
    }

    /// Starts one on `port`.
    pub fn on(port: u16) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("config.yml");
        let storage = directory.path().join("storage");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            storage.display()
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        let child = command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut registry = Self {
            child: child.context("docker-registry (package docker-registry)")?,
            port,
            _directory: directory,
        };
        registry.wait()?;
        Ok(registry)
    }

    /// The registry has no way to say that it listens; a connection that succeeds is the sign.
    fn wait(&mut self) -> Result<()> {
        let began = Instant::now();
        while send(&self.address(), "GET", "/v2/", "", b"").is_err() {
            if began.elapsed() > Duration::from_secs(20) || self.child.try_wait()?.is_some() {
                bail!("docker-registry did not come up on {}", self.address());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `http://127.0.0.1:PORT`, for `--registry-mirror`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Pushes an image under `name:tag`.
    pub fn push(&self, image: &Image, name: &str, tag: &str) -> Result<()> {
        push(&self.address(), image, name, tag)
    }
}

/// Pushes an image under `name:tag` to the registry at `address`, which speaks plain HTTP.
pub fn push(address: &str, image: &Image, name: &str, tag: &str) -> Result<()> {
    for part in [&image.layer, &image.config] {
        blob(address, name, part)?;
    }
    let path = format!("/v2/{name}/manifests/{tag}");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let answer = send(address, "PUT", &path, media_type, &image.manifest)?;
    if answer.status != 201 {
        bail!("PUT {path}: {}", answer.status);
    }
    Ok(())
}

fn blob(address: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let begun = send(address, "POST", &format!("/v2/{name}/blobs/uploads/"), "", b"")?;
    let location = begun.header("location").context("an upload without a location")?;
    let path = location.trim_start_matches("http://").trim_start_matches(address);
    let separator = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{separator}digest={}", Image::digest(bytes));
    let answer = send(address, "PUT", &path, "application/octet-stream", bytes)?;
    if answer.status != 201 {
        bail!("PUT of a blob: {}", answer.status);
    }
    Ok(())
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
