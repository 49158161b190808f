//! The verbs of [`ContainerRuntime`].

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sampan_cri::*;
use sampan_process::BoxedIo;
use tokio::io::AsyncReadExt;
use tokio::sync::{broadcast, oneshot};

use crate::client::HostClient;
use crate::host::filter;
use crate::host::protocol::{Reply, StartContainer, Verb};
use crate::images::store::{ImageStore, Record};
use crate::images::{archive, docker, unpack};
use crate::records::{ContainerRecord, Live, Phase, SandboxRecord, new_id};
use crate::runtime::{EmbeddedRuntime, Inner, internal};
use crate::sandbox;
use crate::spec::{self, Joined, PidNamespace};
use crate::streams::{self, Terminal};
use crate::users::{self, Identity};

/// Most that `exec_sync` keeps of each stream.
const MAX_OUTPUT: usize = 16 << 20;

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| RuntimeError::Internal(error.to_string()))
}

#[async_trait]
impl ContainerRuntime for EmbeddedRuntime {
    async fn version(&self) -> Result<RuntimeVersion> {
        Ok(RuntimeVersion { name: "sampan".into(), version: self.0.config.version.clone() })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { joins_network_namespace: true }
    }

    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus> {
        let id = new_id();
        match self.0.make_sandbox(&id, config).await {
            Ok(record) => {
                self.0.save_sandbox(&record).map_err(internal("sandbox record"))?;
                let status = record.status(&self.0.boot_id);
                self.0.sandboxes.lock().insert(id, record);
                Ok(status)
            }
            Err(error) => {
                self.0.forget_sandbox_pins(&id);
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
        // another attempt of the same pod uses the same cgroup
        let cgroup = self.0.pod_cgroup(&record.config);
        let shared = self.0.sandboxes.lock().values().any(|other| self.0.pod_cgroup(&other.config) == cgroup);
        if !shared {
            self.0.remove_cgroup(&cgroup).await;
        }
        Ok(())
    }

    async fn pod_sandbox_status(&self, sandbox_id: &str) -> Result<SandboxStatus> {
        Ok(self.0.sandbox(sandbox_id)?.status(&self.0.boot_id))
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        Ok(self.0.sandboxes.lock().values().map(|record| record.status(&self.0.boot_id)).collect())
    }

    async fn create_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String> {
        let sandbox = self.0.sandbox(sandbox_id)?;
        if !sandbox.ready(&self.0.boot_id) {
            return Err(RuntimeError::Internal(format!("sandbox {sandbox_id} is not ready")));
        }
        let image = self.0.images.find(&config.image);
        let image =
            image.ok_or_else(|| RuntimeError::NotFound { kind: "image", id: config.image.clone() })?;
        let id = new_id();
        let (inner, new, config_) = (self.0.clone(), id.clone(), config);
        let made = blocking(move || inner.make_container(&new, &sandbox, config_, &image)).await?;
        match made {
            Ok(record) => {
                self.0.containers.lock().insert(id.clone(), Live::new(record));
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
        Ok(self.0.import_from_docker(image).await.map(|record| record.status()))
    }

    async fn list_images(&self) -> Result<Vec<ImageStatus>> {
        Ok(self.0.images.list().iter().map(Record::status).collect())
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let (images, image) = (self.0.images.clone(), image.to_owned());
        blocking(move || images.remove(&image)).await?.map_err(internal("removing image"))
    }

    async fn load_images(&self, archive: PathBuf) -> Result<Vec<ImageStatus>> {
        let images = self.0.images.clone();
        let records = blocking(move || archive::load(&images, &archive)).await?;
        Ok(records.map_err(internal("loading images"))?.iter().map(Record::status).collect())
    }

    async fn image_fs_info(&self) -> Result<ImageFsInfo> {
        let images = self.0.images.clone();
        blocking(move || images.usage()).await?.map_err(internal("image file system"))
    }

    async fn container_stats(&self) -> Result<Vec<ContainerStats>> {
        let inner = self.0.clone();
        blocking(move || inner.stats()).await
    }

    fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.0.events.subscribe()
    }
}

type Output = Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>;

/// Reads to the end; beyond the limit it drops what it reads, so that the command never blocks on a full pipe.
async fn collect(from: Output, into: Arc<parking_lot::Mutex<Vec<u8>>>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer).await
        && count > 0
    {
        let mut into = into.lock();
        let room = MAX_OUTPUT.saturating_sub(into.len());
        into.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// A pipe's end, or a terminal.
fn attached_stdin(fd: OwnedFd, tty: bool) -> Result<Box<dyn tokio::io::AsyncWrite + Send + Unpin>> {
    if tty {
        return Ok(Box::new(Terminal::new(fd).map_err(internal("terminal"))?));
    }
    crate::host::epoll::nonblocking(fd.as_raw_fd());
    Ok(Box::new(tokio::net::unix::pipe::Sender::from_owned_fd(fd).map_err(internal("pipe"))?))
}

/// Hangs up on a command whose session is dropped before it ended.
struct HangUp {
    host: Arc<HostClient>,
    exec: u64,
    ended: bool,
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if !self.ended {
            // a deadline's victim must die even if it ignores the hang-up
            self.host.tell(Verb::KillExec { exec: self.exec, signal: libc::SIGHUP });
            self.host.tell(Verb::KillExec { exec: self.exec, signal: libc::SIGKILL });
        }
    }
}

fn exit_of(
    host: Arc<HostClient>,
    exec: u64,
    code: oneshot::Receiver<i32>,
) -> futures::future::BoxFuture<'static, Result<i32>> {
    let guard = HangUp { host, exec, ended: false };
    Box::pin(async move {
        // the whole guard moves in here, so that dropping this future hangs up
        let mut guard = guard;
        let code = code.await;
        guard.ended = true;
        code.map_err(|_| RuntimeError::Unavailable("container host ended".into()))
    })
}

async fn exec_terminal(host: Arc<HostClient>, id: &str, request: &ExecRequest) -> Result<ExecSession> {
    let (exec, master, code) = host.exec(id, &request.command, true, &[]).await?;
    let master = master.ok_or_else(|| RuntimeError::Internal("no terminal arrived".into()))?;
    let again = || master.try_clone().map_err(internal("terminal"));
    let terminal = |fd| Terminal::new(fd).map_err(internal("terminal"));
    let mut session = ExecSession {
        stdin: None,
        stdout: None,
        stderr: None,
        resize: Some(streams::resizer(again()?)),
        exit: exit_of(host, exec, code),
    };
    if request.stdin {
        session.stdin = Some(Box::new(terminal(again()?)?));
    }
    session.stdout = Some(Box::new(terminal(again()?)?));
    Ok(session)
}

async fn exec_pipes(host: Arc<HostClient>, id: &str, request: &ExecRequest) -> Result<ExecSession> {
    let null = || -> Result<OwnedFd> {
        let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
        Ok(file.map_err(internal("/dev/null"))?.into())
    };
    let mut stdin: Option<Box<dyn tokio::io::AsyncWrite + Send + Unpin>> = None;
    let mut outputs: [Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>; 2] = [None, None];
    let mut theirs = Vec::new();
    if request.stdin {
        let (ours, end) = streams::writer().map_err(internal("pipe"))?;
        stdin = Some(Box::new(ours));
        theirs.push(end);
    } else {
        theirs.push(null()?);
    }
    for (slot, wanted) in outputs.iter_mut().zip([request.stdout, request.stderr]) {
        if wanted {
            let (ours, end) = streams::reader().map_err(internal("pipe"))?;
            *slot = Some(Box::new(ours));
            theirs.push(end);
        } else {
            theirs.push(null()?);
        }
    }
    let raw: Vec<i32> = theirs.iter().map(AsRawFd::as_raw_fd).collect();
    let (exec, _, code) = host.exec(id, &request.command, false, &raw).await?;
    let [stdout, stderr] = outputs;
    Ok(ExecSession { stdin, stdout, stderr, resize: None, exit: exit_of(host, exec, code) })
}

impl Inner {
    fn pod_cgroup(&self, config: &SandboxConfig) -> String {
        format!("{}/{}", self.config.cgroup_root, config.cgroup_parent.trim_matches('/'))
    }

    fn containers_of(&self, sandbox_id: &str) -> Vec<String> {
        let containers = self.containers.lock();
        let of = containers.values().filter(|live| live.record.sandbox_id == sandbox_id);
        of.map(|live| live.record.id.clone()).collect()
    }

    /// Exit code, once there is one.
    async fn wait_exit(&self, id: &str) -> i32 {
        let Some(mut phases) = self.containers.lock().get(id).map(|live| live.phase.subscribe()) else {
            return 0;
        };
        match phases.wait_for(|phase| matches!(phase, Phase::Exited { .. })).await.as_deref() {
            Ok(Phase::Exited { exit, .. }) => exit.exit_code,
            _ => 0,
        }
    }

    async fn make_sandbox(self: &Arc<Self>, id: &str, config: SandboxConfig) -> Result<SandboxRecord> {
        let directory = self.config.sandbox_run(id);
        let (network, netns) = match &config.network {
            SandboxNetwork::Host => (None, None),
            SandboxNetwork::Namespace(path) => (Some(path.clone()), Some(path.clone())),
            SandboxNetwork::Create => (None, Some(directory.join("net"))),
        };
        let wanted = sandbox::Wanted {
            directory: directory.clone(),
            network,
            own_network: config.network == SandboxNetwork::Create,
            ipc: !config.host_ipc,
            // CRI: a pod on the node's network has the node's name
            uts: config.network != SandboxNetwork::Host,
            hostname: config.hostname.clone(),
            sysctls: config.sysctls.clone(),
        };
        let (inner, cgroup, resources) = (self.clone(), self.pod_cgroup(&config), config.resources.clone());
        let procs = self.cgroups.procs(&cgroup);
        blocking(move || -> Result<()> {
            inner.cgroups.create(&cgroup).map_err(internal("pod cgroup"))?;
            inner.cgroups.apply(&cgroup, &resources).map_err(RuntimeError::Unsupported)?;
            sandbox::make(&wanted).map_err(internal("pod namespaces"))
        })
        .await??;
        let record = SandboxRecord {
            id: id.to_owned(),
            config,
            created_at: Timestamp::now(),
            netns,
            boot_id: self.boot_id.clone(),
            stopped: false,
        };
        if record.config.share_process_namespace && !record.config.host_pid {
            self.share_pids(&record, &directory, procs).await?;
        }
        Ok(record)
    }

    async fn share_pids(&self, record: &SandboxRecord, directory: &Path, procs: Vec<PathBuf>) -> Result<()> {
        let joined = self.joined(record);
        let namespaces = [joined.network, joined.ipc, joined.uts].into_iter().flatten().collect();
        let verb = Verb::StartInit { sandbox: record.id.clone(), namespaces, cgroup_procs: procs };
        match self.host().await?.call(verb, &[]).await?.0 {
            Reply::Started { pid, .. } => {
                sandbox::pin(&format!("/proc/{pid}/ns/pid"), &directory.join("pid"))
                    .map_err(internal("pid namespace"))
            }
            other => Err(RuntimeError::Internal(format!("container host said {other:?}"))),
        }
    }

    fn joined(&self, sandbox: &SandboxRecord) -> Joined {
        let directory = self.config.sandbox_run(&sandbox.id);
        let pid = match (sandbox.config.host_pid, sandbox.config.share_process_namespace) {
            (true, _) => PidNamespace::Node,
            (false, true) => PidNamespace::Path(directory.join("pid")),
            (false, false) => PidNamespace::Own,
        };
        Joined {
            network: sandbox.netns.clone(),
            ipc: (!sandbox.config.host_ipc).then(|| directory.join("ipc")),
            uts: (!sandbox.host_network()).then(|| directory.join("uts")),
            pid,
        }
    }

    /// Root, bundle, cgroup, log directory and record. Blocking.
    fn make_container(
        &self,
        id: &str,
        sandbox: &SandboxRecord,
        config: ContainerConfig,
        image: &Record,
    ) -> Result<ContainerRecord> {
        let bundle = self.config.bundle(id);
        let rootfs = bundle.join("rootfs");
        let names: Vec<String> =
            image.layers.iter().map(|one| ImageStore::layer_name(one).to_owned()).collect();
        let own = self.config.container_state(id);
        sandbox::mount_root(&self.images.layers_directory(), &names, &own, &rootfs)
            .map_err(internal("container root"))?;
        let identity = identity(&config, image, &rootfs)?;
        unpack::make_directory(&rootfs, &spec::working_directory(&config, &image.config))
            .map_err(internal("working directory"))?;
        let cgroup = format!("{}/{id}", self.pod_cgroup(&sandbox.config));
        let mut value = self.specification(id, sandbox, &config, image, &rootfs, &identity, &cgroup)?;
        let profile = value["linux"].as_object_mut().and_then(|linux| linux.remove("seccomp"));
        let text = serde_json::to_vec(&value).map_err(|error| RuntimeError::Internal(error.to_string()))?;
        std::fs::write(bundle.join("config.json"), text).map_err(internal("bundle"))?;
        if let Some(profile) = profile {
            let filter = self.filters.compiled(&profile).map_err(RuntimeError::InvalidConfig)?;
            std::fs::write(bundle.join(filter::FILE), &*filter).map_err(internal("bundle"))?;
        }
        self.cgroups.create(&cgroup).map_err(internal("container cgroup"))?;
        self.cgroups.apply(&cgroup, &config.resources).map_err(RuntimeError::Unsupported)?;
        if !config.security.privileged {
            self.cgroups.allow_devices(&cgroup, &config.devices).map_err(internal("device cgroup"))?;
        }
        let record = ContainerRecord {
            id: id.to_owned(),
            sandbox_id: sandbox.id.clone(),
            pod: sandbox.config.pod.clone(),
            log_path: sandbox.config.log_directory.join(&config.log_path),
            image: image.config.clone(),
            created_at: Timestamp::now(),
            boot_id: self.boot_id.clone(),
            phase: Phase::Created,
            cgroup,
            config,
        };
        self.save(&record).map_err(internal("container record"))?;
        Ok(record)
    }

    #[allow(clippy::too_many_arguments)]
    fn specification(
        &self,
        _id: &str,
        sandbox: &SandboxRecord,
        config: &ContainerConfig,
        image: &Record,
        rootfs: &Path,
        identity: &Identity,
        cgroup: &str,
    ) -> Result<serde_json::Value> {
        let mut namespaces = self.joined(sandbox);
        if let Some(target) = &config.security.target_container_id {
            match self.container(target)?.phase {
                Phase::Running { pid, .. } => {
                    namespaces.pid = PidNamespace::Path(format!("/proc/{pid}/ns/pid").into())
                }
                _ => {
                    return Err(RuntimeError::Internal(format!(
                        "container {target} is not in running state"
                    )));
                }
            }
        }
        let shm = match sandbox.config.host_ipc {
            true => PathBuf::from("/dev/shm"),
            false => self.config.sandbox_run(&sandbox.id).join("shm"),
        };
        spec::build(&spec::Input {
            config,
            image: &image.config,
            rootfs,
            namespaces: &namespaces,
            shm: &shm,
            cgroup,
            identity,
            available: &self.capabilities,
            seccomp: localhost_profile(&config.security.seccomp)?,
            hostname: &sandbox.config.hostname,
        })
        .map_err(RuntimeError::InvalidConfig)
    }

    fn start_request(&self, record: &ContainerRecord) -> StartContainer {
        StartContainer {
            id: record.id.clone(),
            bundle: self.config.bundle(&record.id),
            log_path: record.log_path.clone(),
            exit_path: self.config.exit_path(&record.id),
            stdin: record.config.stdin,
            stdin_once: record.config.stdin_once,
            tty: record.config.tty,
            cgroup_procs: self.cgroups.procs(&record.cgroup),
            oom_file: self.cgroups.oom_file(&record.cgroup),
        }
    }

    /// Unmounts and deletes all files of a container but its log. Blocking.
    fn discard(&self, id: &str) {
        let bundle = self.config.bundle(id);
        sandbox::unmount_root(&bundle.join("rootfs"));
        let _ = std::fs::remove_dir_all(&bundle);
        let _ = std::fs::remove_dir_all(self.config.container_state(id));
    }

    fn stats(&self) -> Vec<ContainerStats> {
        let running: Vec<(String, String)> = {
            let containers = self.containers.lock();
            let running =
                containers.values().filter(|live| matches!(live.record.phase, Phase::Running { .. }));
            running.map(|live| (live.record.id.clone(), live.record.cgroup.clone())).collect()
        };
        let usage = |(container_id, cgroup): (String, String)| {
            let usage = self.cgroups.usage(&cgroup);
            ContainerStats {
                container_id,
                cpu_nanos: usage.cpu_nanos,
                working_set_bytes: usage.working_set_bytes,
            }
        };
        running.into_iter().map(usage).collect()
    }

    /// The engine's image by one of its names, if the node runs an engine that has it.
    async fn import_from_docker(&self, image: &str) -> Option<Record> {
        let socket = self.config.docker_socket.as_ref().filter(|socket| socket.exists())?;
        if !docker::has(socket, image).await {
            return None;
        }
        let temporary = self.images.temporary();
        let saved = docker::save(socket, image, &temporary).await;
        let (images, path) = (self.images.clone(), temporary.clone());
        let loaded = match saved {
            Ok(()) => blocking(move || archive::load(&images, &path)).await.ok()?,
            Err(error) => Err(error),
        };
        let _ = std::fs::remove_file(&temporary);
        match loaded {
            Ok(records) => self.images.find(image).or_else(|| records.into_iter().next()),
            Err(error) => {
                tracing::warn!(image, %error, "image could not be imported from the node's Docker Engine");
                None
            }
        }
    }
}

/// User and groups: the pod's words before the image's.
fn identity(config: &ContainerConfig, image: &Record, rootfs: &Path) -> Result<Identity> {
    let security = &config.security;
    let user = match (security.run_as_user, &security.run_as_username) {
        (Some(uid), _) => uid.to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => image.config.user.clone(),
    };
    let (passwd, group) =
        (unpack::read_inside(rootfs, "etc/passwd"), unpack::read_inside(rootfs, "etc/group"));
    let mut identity = users::resolve(&user, &passwd, &group).map_err(RuntimeError::InvalidConfig)?;
    if let Some(gid) = security.run_as_group {
        identity.gid = gid as u32;
    }
    identity.groups.extend(security.supplemental_groups.iter().map(|gid| *gid as u32));
    if !identity.groups.contains(&identity.gid) {
        identity.groups.insert(0, identity.gid);
    }
    identity.groups.dedup();
    Ok(identity)
}

fn localhost_profile(profile: &SeccompProfile) -> Result<Option<serde_json::Value>> {
    let SeccompProfile::Localhost(path) = profile else { return Ok(None) };
    let bad = |error: &dyn std::fmt::Display| {
        RuntimeError::InvalidConfig(format!(
            "cannot load seccomp profile {:?}: {error}",
            path.display().to_string()
        ))
    };
    let text = std::fs::read(path).map_err(|error| bad(&error))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| bad(&error))
}
