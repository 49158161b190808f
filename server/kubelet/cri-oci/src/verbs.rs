//! The verbs of [`ContainerRuntime`].

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sampan_cri::*;
use sampan_process::BoxedIo;
use tokio::sync::broadcast;

use crate::host::protocol::{Reply, Verb};
use crate::images::archive::{self, Imported};
use crate::images::reference::Reference;
use crate::images::store::Record;
use crate::records::{Phase, new_id};
use crate::runtime::{EmbeddedRuntime, internal};
use crate::sandbox;
use crate::sessions::{attached_stdin, collect, exec_pipes, exec_terminal};
use crate::streams;

/// Runs what blocks on a thread for that.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| RuntimeError::Internal(error.to_string()))
}

#[async_trait]
impl ContainerRuntime for EmbeddedRuntime {
    async fn version(&self) -> Result<RuntimeVersion> {
        Ok(RuntimeVersion { name: "sampan".into(), version: self.0.config.version.clone() })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            joins_network_namespace: true,
            strict_groups: true,
            // as containerd's own configuration has it
            runtime_handlers: &["runc"],
        }
    }

    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus> {
        let id = new_id();
        let made = self.0.make_sandbox(&id, config.clone()).await.and_then(|record| {
            self.0.save_sandbox(&record).map_err(internal("sandbox record"))?;
            Ok(record)
        });
        match made {
            Ok(record) => {
                let status = record.status(&self.0.boot_id);
                self.0.sandboxes.lock().insert(id, record);
                Ok(status)
            }
            Err(error) => {
                self.0.unmake_sandbox(&id, &config).await;
                Err(error)
            }
        }
    }

    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        let Ok(mut record) = self.0.sandbox(sandbox_id) else { return Ok(()) };
        for id in self.0.containers_of(sandbox_id) {
            self.stop_container(&id, Duration::ZERO).await?;
        }
        if record.config.share_process_namespace {
            self.0.host().await?.call(Verb::StopInit { sandbox: sandbox_id.to_owned() }, &[]).await?;
        }
        let (inner, id) = (self.0.clone(), sandbox_id.to_owned());
        blocking(move || inner.forget_sandbox_pins(&id)).await?;
        record.stopped = true;
        self.0.save_sandbox(&record).map_err(internal("sandbox record"))?;
        self.0.sandboxes.lock().insert(sandbox_id.to_owned(), record);
        Ok(())
    }

    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        let Ok(record) = self.0.sandbox(sandbox_id) else { return Ok(()) };
        self.stop_pod_sandbox(sandbox_id).await?;
        for id in self.0.containers_of(sandbox_id) {
            self.remove_container(&id).await?;
        }
        self.0.sandboxes.lock().remove(sandbox_id);
        let path = self.0.config.state_dir.join("sandboxes").join(format!("{sandbox_id}.json"));
        let _ = std::fs::remove_file(path);
        self.0.release_pod_cgroup(&record.config).await;
        Ok(())
    }

    async fn pod_sandbox_status(&self, sandbox_id: &str) -> Result<SandboxStatus> {
        Ok(self.0.sandbox(sandbox_id)?.status(&self.0.boot_id))
    }

    async fn update_pod_sandbox_resources(&self, sandbox_id: &str, resources: Resources) -> Result<()> {
        let cgroup = self.0.pod_cgroup(&self.0.sandbox(sandbox_id)?.config);
        self.0.cgroups.apply(&cgroup, &resources).map_err(RuntimeError::Unsupported)
    }

    async fn pod_sandbox_memory(&self, sandbox_id: &str) -> Result<SandboxMemory> {
        let cgroup = self.0.pod_cgroup(&self.0.sandbox(sandbox_id)?.config);
        let (inner, id) = (self.0.clone(), sandbox_id.to_owned());
        blocking(move || inner.memory(&cgroup, &id)).await
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        Ok(self.0.sandboxes.lock().values().map(|record| record.status(&self.0.boot_id)).collect())
    }

    async fn create_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String> {
        let sandbox = self.0.sandbox(sandbox_id)?;
        if !sandbox.ready(&self.0.boot_id) {
            return Err(RuntimeError::Internal(format!("sandbox {sandbox_id} is not ready")));
        }
        let id = new_id();
        let (inner, new) = (self.0.clone(), id.clone());
        match blocking(move || inner.add_container(&new, &sandbox, config)).await? {
            Ok(()) => {
                self.0.publish(&id, ContainerEventKind::Created);
                Ok(id)
            }
            Err(error) => {
                self.0.discard(&id);
                Err(error)
            }
        }
    }

    async fn start_container(&self, container_id: &str) -> Result<()> {
        let record = self.0.container(container_id)?;
        if record.phase != Phase::Created {
            return Err(RuntimeError::Internal(format!("container {container_id} is not in created state")));
        }
        let host = self.0.host().await?;
        match host.start(self.0.start_request(&record)).await {
            Ok((pid, started_at)) => {
                // its exit may already be known
                if self.0.container(container_id)?.phase == Phase::Created {
                    self.0.set_phase(container_id, Phase::Running { pid, started_at });
                }
                self.0.publish(container_id, ContainerEventKind::Started);
                Ok(())
            }
            Err(RuntimeError::Start { message, exit_code }) => {
                let exit = Exit {
                    exit_code,
                    oom_killed: false,
                    finished_at: Timestamp::now(),
                    message: message.clone(),
                };
                self.0.set_phase(container_id, Phase::Exited { started_at: None, exit });
                self.0.publish(container_id, ContainerEventKind::Stopped);
                Err(RuntimeError::Start { message, exit_code })
            }
            Err(error) => Err(error),
        }
    }

    async fn stop_container(&self, container_id: &str, grace: Duration) -> Result<()> {
        let Ok(record) = self.0.container(container_id) else { return Ok(()) };
        if !matches!(record.phase, Phase::Running { .. }) {
            return Ok(());
        }
        let host = self.0.host().await?;
        if !grace.is_zero() {
            let verb = Verb::Kill { id: container_id.to_owned(), signal: record.stop_signal() };
            host.call(verb, &[]).await?;
            if tokio::time::timeout(grace, self.0.wait_exit(container_id)).await.is_ok() {
                return Ok(());
            }
        }
        host.call(Verb::Kill { id: container_id.to_owned(), signal: libc::SIGKILL }, &[]).await?;
        self.0.cgroups.kill(&record.cgroup);
        self.0.wait_exit(container_id).await;
        Ok(())
    }

    async fn remove_container(&self, container_id: &str) -> Result<()> {
        let Ok(record) = self.0.container(container_id) else { return Ok(()) };
        self.stop_container(container_id, Duration::ZERO).await?;
        self.0.host().await?.tell(Verb::Forget { id: container_id.to_owned() });
        self.0.publish(container_id, ContainerEventKind::Deleted);
        self.0.containers.lock().remove(container_id);
        let (inner, id) = (self.0.clone(), container_id.to_owned());
        blocking(move || inner.discard(&id)).await?;
        self.0.remove_cgroup(&record.cgroup).await;
        Ok(())
    }

    async fn container_status(&self, container_id: &str) -> Result<ContainerStatus> {
        Ok(self.0.container(container_id)?.status())
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>> {
        Ok(self.0.containers.lock().values().map(|live| live.record.status()).collect())
    }

    async fn update_container_resources(&self, container_id: &str, resources: Resources) -> Result<()> {
        let record = self.0.container(container_id)?;
        self.0.cgroups.apply(&record.cgroup, &resources).map_err(RuntimeError::Unsupported)
    }

    async fn reopen_container_log(&self, container_id: &str) -> Result<()> {
        let host = self.0.host().await?;
        match host.call(Verb::ReopenLog { id: container_id.to_owned() }, &[]).await?.0 {
            Reply::Unknown => Err(RuntimeError::NotFound { kind: "container", id: container_id.to_owned() }),
            _ => Ok(()),
        }
    }

    async fn exec_sync(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Option<Duration>,
    ) -> Result<ExecOutput> {
        let request =
            ExecRequest { command: command.to_vec(), tty: false, stdin: false, stdout: true, stderr: true };
        let mut session = self.exec(container_id, request).await?;
        let (out, err) = (session.stdout.take(), session.stderr.take());
        let exit = session.exit;
        let work = async {
            let stdout = Arc::new(parking_lot::Mutex::new(Vec::new()));
            let stderr = Arc::new(parking_lot::Mutex::new(Vec::new()));
            let (to_out, to_err) = (stdout.clone(), stderr.clone());
            let read_all = async move { tokio::join!(collect(out, to_out), collect(err, to_err)) };
            tokio::pin!(read_all);
            let mut drained = false;
            tokio::pin!(exit);
            let code = loop {
                tokio::select! {
                    _ = &mut read_all, if !drained => drained = true,
                    code = &mut exit => break code?,
                }
            };
            if !drained {
                // a background child may hold the pipes for ever; what the command itself wrote is there
                let _ = tokio::time::timeout(Duration::from_millis(200), &mut read_all).await;
            }
            let taken = (std::mem::take(&mut *stdout.lock()), std::mem::take(&mut *stderr.lock()));
            Ok((code, taken.0, taken.1))
        };
        let done = match timeout.filter(|timeout| !timeout.is_zero()) {
            Some(timeout) => tokio::time::timeout(timeout, work).await,
            None => Ok(work.await),
        };
        match done {
            Ok(Ok((exit_code, stdout, stderr))) => Ok(ExecOutput { stdout, stderr, exit_code }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(RuntimeError::DeadlineExceeded { command: command.join(" ") }),
        }
    }

    async fn exec(&self, container_id: &str, request: ExecRequest) -> Result<ExecSession> {
        let record = self.0.container(container_id)?;
        if !matches!(record.phase, Phase::Running { .. }) {
            return Err(RuntimeError::Internal(format!("container {container_id} is not in running state")));
        }
        let host = self.0.host().await?;
        match request.tty {
            true => exec_terminal(host, container_id, &request).await,
            false => exec_pipes(host, container_id, &request).await,
        }
    }

    async fn attach(&self, container_id: &str, request: AttachRequest) -> Result<ExecSession> {
        let record = self.0.container(container_id)?;
        let tty = record.config.tty;
        let mut fds: Vec<OwnedFd> = Vec::new();
        let mut output = |wanted: bool| -> Result<Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>> {
            if !wanted {
                return Ok(None);
            }
            let (ours, theirs) = streams::reader().map_err(internal("pipe"))?;
            fds.push(theirs);
            Ok(Some(Box::new(ours)))
        };
        let stdout = output(request.stdout)?;
        let stderr = output(request.stderr && !tty)?;
        let verb = Verb::Attach {
            id: container_id.to_owned(),
            stdin: request.stdin,
            stdout: stdout.is_some(),
            stderr: stderr.is_some(),
        };
        let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let (reply, received) = self.0.host().await?.call(verb, &raw).await?;
        drop(fds);
        if matches!(reply, Reply::Unknown) {
            return Err(RuntimeError::Internal(format!("container {container_id} is not in running state")));
        }
        let given = received.into_iter().next();
        let resize = match (&given, tty) {
            (Some(fd), true) => Some(streams::resizer(fd.try_clone().map_err(internal("terminal"))?)),
            _ => None,
        };
        let stdin: Option<Box<dyn tokio::io::AsyncWrite + Send + Unpin>> = match given {
            Some(fd) if request.stdin => Some(attached_stdin(fd, tty)?),
            _ => None,
        };
        let (inner, id) = (self.0.clone(), container_id.to_owned());
        let exit = Box::pin(async move { Ok(inner.wait_exit(&id).await) });
        Ok(ExecSession { stdin, stdout, stderr, resize, exit })
    }

    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<BoxedIo> {
        let netns = self.0.sandbox(sandbox_id)?.netns;
        let connected = blocking(move || sandbox::connect_inside(netns.as_deref(), port)).await?;
        let stream = connected.map_err(|error| {
            RuntimeError::Internal(format!("failed to connect to localhost:{port} inside namespace: {error}"))
        })?;
        stream.set_nonblocking(true).map_err(internal("port forward"))?;
        Ok(Box::new(tokio::net::TcpStream::from_std(stream).map_err(internal("port forward"))?))
    }

    async fn pull_image(&self, image: &str, auth: Vec<ImageAuth>) -> Result<ImageStatus> {
        Ok(self.0.puller.pull(image, auth).await?.status())
    }

    async fn image_status(&self, image: &str) -> Result<Option<ImageStatus>> {
        if let Some(record) = self.0.images.find(image) {
            return Ok(Some(record.status()));
        }
        Reference::parse(image)
            .map_err(|message| RuntimeError::InvalidImageName { image: image.to_owned(), message })?;
        Ok(self.0.import_from_docker(image).await.map(|record| record.status()))
    }

    async fn list_images(&self) -> Result<Vec<ImageStatus>> {
        Ok(self.0.images.list().iter().map(Record::status).collect())
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let (inner, image) = (self.0.clone(), image.to_owned());
        blocking(move || inner.remove_unused_image(&image)).await?
    }

    async fn load_images(&self, archive: PathBuf) -> Result<Vec<LoadedImage>> {
        let images = self.0.images.clone();
        let imported = blocking(move || archive::load(&images, &archive)).await?;
        let loaded = |one: Imported| LoadedImage { image: one.record.status(), names: one.names };
        Ok(imported.map_err(internal("loading images"))?.into_iter().map(loaded).collect())
    }

    async fn mount_image(&self, image: &str, at: PathBuf) -> Result<()> {
        let (inner, image) = (self.0.clone(), image.to_owned());
        blocking(move || inner.show_image(&image, &at)).await?
    }

    async fn image_fs_info(&self) -> Result<ImageFsInfo> {
        let images = self.0.images.clone();
        blocking(move || images.usage()).await?.map_err(internal("image file system"))
    }

    async fn container_stats(&self) -> Result<Vec<ContainerStats>> {
        let inner = self.0.clone();
        blocking(move || inner.stats()).await
    }

    async fn container_written_bytes(&self, container_id: &str) -> Result<u64> {
        let upper = self.0.config.container_state(container_id).join("upper");
        let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        match blocking(move || disk_bytes(&upper)).await? {
            Err(error) if gone(&error) => {
                Err(RuntimeError::NotFound { kind: "container", id: container_id.to_owned() })
            }
            bytes => bytes.map_err(internal("size of a container")),
        }
    }

    fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.0.events.subscribe()
    }
}
