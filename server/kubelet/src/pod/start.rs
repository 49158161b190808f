//! Starts one container: image, configuration, create, start, postStart hook.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use sampan_cri::{ContainerState, ContainerStatus, ImageStatus, RuntimeError};
use sampan_process::Drain;

use super::machine::{Event, StartFailure};
use super::state::{End, Run};
use super::{hooks, images};
use crate::container::config::{ANNOTATION_TERMINATION, Inputs, container_config, sub_paths};
use crate::container::{downward::Facts, env};
use crate::context::Context;
use crate::logs;
use crate::volume::subpath::{SubPath, prepare, read};
use crate::volume::{self, Holdings, Place};

/// One container to start.
pub struct Start {
    /// The kubelet.
    pub context: Arc<Context>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container.
    pub container: Container,
    /// Restart count.
    pub attempt: u32,
    /// Where it runs.
    pub sandbox_id: String,
    /// The pod's addresses.
    pub ips: Vec<String>,
    /// What the pod holds on to.
    pub holdings: Arc<Holdings>,
    /// Container whose processes it shows, for an ephemeral one.
    pub target: Option<String>,
    /// Calls the pull off.
    pub abort: Drain,
}

impl Start {
    /// Does it and says how it went.
    pub async fn run(self) -> Event {
        let name = self.container.name.clone();
        match self.start().await {
            Ok(run) => Event::Started(name, run),
            Err(failure) => Event::StartFailed(name, failure),
        }
    }

    async fn start(&self) -> Result<Run, StartFailure> {
        let secrets = self.pull_secrets().await?;
        let image = self.pulled(&self.container, &secrets).await?;
        self.show_images(&secrets).await?;
        let id = self.create(&image).await?;
        self.tell(false, "Created", "Container created");
        if let Err(error) = self.context.runtime.start_container(&id).await {
            return Err(self.not_started(&id, &image, error).await);
        }
        self.tell(false, "Started", "Container started");
        let dirs = self.context.dirs.pod(&self.pod);
        if let Err(error) = logs::link(&dirs, &self.pod, &self.container.name, &id, self.attempt) {
            tracing::warn!(id, %error, "log not linked");
        }
        let status = self.context.runtime.container_status(&id).await;
        let (image_name, image_id) = image_names(&image, self.container.image.as_deref().unwrap_or_default());
        let started = self.container.startup_probe.is_none();
        let run = Run {
            id,
            image: image_name,
            image_id,
            wanted: self.container.image.clone().unwrap_or_default(),
            user: status.ok().and_then(|status| status.user),
            started_at: Timestamp::now(),
            started,
            ready: started && self.container.readiness_probe.is_none(),
        };
        self.post_start(&run).await?;
        Ok(run)
    }

    async fn pull_secrets(&self) -> Result<Vec<Arc<Secret>>, StartFailure> {
        tokio::select! {
            biased;
            () = self.abort.wait() => Err(StartFailure::Aborted),
            secrets = images::pull_secrets(&self.context, &self.pod, &self.holdings) => Ok(secrets),
        }
    }

    async fn pulled(
        &self,
        container: &Container,
        secrets: &[Arc<Secret>],
    ) -> Result<ImageStatus, StartFailure> {
        tokio::select! {
            biased;
            () = self.abort.wait() => Err(StartFailure::Aborted),
            image = images::ensure(&self.context, &self.pod, container, secrets) => {
                image.map_err(|(reason, message)| StartFailure::Image(reason, message))
            }
        }
    }

    /// Mounts the images that the container shows as volumes, unless another container of the pod had them mounted.
    async fn show_images(&self, secrets: &[Arc<Secret>]) -> Result<(), StartFailure> {
        let dirs = self.context.dirs.pod(&self.pod);
        for (source, at) in volume::images(&self.pod, &self.container, &dirs) {
            let wanted = Container {
                name: self.container.name.clone(),
                image: source.reference,
                image_pull_policy: source.pull_policy,
                ..Container::default()
            };
            let image = self.pulled(&wanted, secrets).await?;
            let failed = |error: String| {
                self.tell(true, "Failed", &format!("Error: {error}"));
                StartFailure::Create("CreateContainerError", error)
            };
            let _one = self.holdings.busy().await;
            if volume::mounts::is_mount(&at).map_err(|error| failed(error.to_string()))? {
                continue;
            }
            let mounted = self.context.runtime.mount_image(&image.id, at).await;
            mounted.map_err(|error| failed(error.to_string()))?;
        }
        Ok(())
    }

    fn tell(&self, warning: bool, reason: &str, text: &str) {
        self.context.tell(&self.pod, warning, reason, text, Some(&self.container.name));
    }

    async fn create(&self, image: &ImageStatus) -> Result<String, StartFailure> {
        let config_error = |message: String| {
            self.tell(true, "Failed", &format!("Error: {message}"));
            StartFailure::Create("CreateContainerConfigError", message)
        };
        let dirs = self.context.dirs.pod(&self.pod);
        let volumes = volume::places(&self.context, &self.pod, &dirs).await.map_err(config_error)?;
        let env = self.environment(&volumes).await.map_err(config_error)?;
        let inputs = Inputs {
            pod: &self.pod,
            container: &self.container,
            attempt: self.attempt,
            image,
            env,
            dirs: &dirs,
            volumes: &volumes,
            memory_capacity: self.context.machine.memory_bytes,
            seccomp_profiles: &self.context.dirs.seccomp(),
            target: self.target.clone(),
        };
        let mut config = container_config(&inputs).map_err(config_error)?;
        let shown = logs::besides(&config.mounts, &dirs);
        // a machine that has no room for them has its own
        if !shown.is_empty() && logs::make_places(&dirs).is_ok() {
            config.mounts.extend(shown);
        }
        let parts = sub_paths(&inputs).map_err(config_error)?;
        let termination = dirs.termination_log(&self.container.name, self.attempt);
        prepare_sub_paths(&parts, &self.container.name).map_err(config_error)?;
        prepare_files(&termination, &config.mounts).map_err(|e| config_error(e.to_string()))?;
        self.context.runtime.create_container(&self.sandbox_id, config).await.map_err(|error| {
            self.tell(true, "Failed", &format!("Error: {error}"));
            match error {
                RuntimeError::InvalidConfig(message) => {
                    StartFailure::Create("CreateContainerConfigError", message)
                }
                other => StartFailure::Create("CreateContainerError", other.to_string()),
            }
        })
    }

    async fn environment(&self, volumes: &BTreeMap<String, Place>) -> Result<Vec<(String, String)>, String> {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let (maps, secrets) = env::referred(&self.container);
        let mut references = env::References::default();
        for name in maps {
            let object = self.holdings.config_map(&self.context, namespace, &name, false).await?;
            references.config_maps.insert(name, object);
        }
        for name in secrets {
            let object = self.holdings.secret(&self.context, namespace, &name, false).await?;
            references.secrets.insert(name, object);
        }
        for (name, path) in env::files(&self.container) {
            let Some(place) = volumes.get(name) else { continue };
            let (root, within) = (place.path.clone(), path.to_owned());
            let text = tokio::task::spawn_blocking(move || read(&root, Path::new(&within))).await;
            let text = text.map_err(|error| error.to_string())?.map_err(|error| error.to_string());
            references.files.insert((name.to_owned(), path.to_owned()), text);
        }
        self.context.services.synced().await;
        let services = env::services(&self.pod, &self.context.services.list());
        let facts: Facts = self.context.facts(self.ips.clone());
        env::environment(&self.pod, &self.container, &services, &references, &facts)
    }

    async fn not_started(&self, id: &str, image: &ImageStatus, error: RuntimeError) -> StartFailure {
        self.tell(true, "Failed", &format!("Error: {error}"));
        let (reason, exit_code) = start_end(&error, &self.context.runtime_name);
        let (image, image_id) = image_names(image, self.container.image.as_deref().unwrap_or_default());
        StartFailure::Run(End {
            id: id.to_owned(),
            image,
            image_id,
            user: None,
            exit_code,
            reason: reason.to_owned(),
            message: error.to_string(),
            started_at: Some(Timestamp::UNIX_EPOCH),
            finished_at: Timestamp::now(),
        })
    }

    async fn post_start(&self, run: &Run) -> Result<(), StartFailure> {
        let Some(handler) = self.container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else {
            return Ok(());
        };
        let ip = self.ips.first().map(String::as_str).unwrap_or_default();
        let Err(why) = hooks::run(&self.context, &self.container, &run.id, ip, handler).await else {
            return Ok(());
        };
        tracing::warn!(container = self.container.name, why, "postStart hook failed");
        self.tell(true, "FailedPostStartHook", "PostStartHook failed");
        self.tell(false, "Killing", "FailedPostStartHook");
        let grace = self.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
        let grace = std::time::Duration::from_secs(grace.unsigned_abs());
        if let Err(error) = self.context.runtime.stop_container(&run.id, grace).await {
            tracing::warn!(container = self.container.name, %error, "not stopped after its failed postStart hook");
        }
        match self.context.runtime.container_status(&run.id).await {
            Ok(status) => Err(StartFailure::Run(end_of(&status, run, &self.container))),
            Err(error) => Err(StartFailure::Create("PostStartHookError", error.to_string())),
        }
    }
}

/// Reason and exit code of a container that did not start: as containerd's (`StartError`, always 128) or, with
/// Docker Engine, as cri-dockerd's, whose code says what was wrong with the command.
fn start_end(error: &RuntimeError, runtime: &str) -> (&'static str, i32) {
    match (runtime, error) {
        ("docker", RuntimeError::Start { exit_code, .. }) => ("ContainerCannotRun", *exit_code),
        _ => ("StartError", 128),
    }
}

/// Name and digest that the status shows for an image.
pub fn image_names(image: &ImageStatus, wanted: &str) -> (String, String) {
    let name = image.repo_tags.first().cloned().unwrap_or_else(|| wanted.to_owned());
    let id = image.repo_digests.first().cloned().unwrap_or_else(|| image.id.clone());
    (name, id)
}

/// Binds the parts of volumes to where the runtime finds them.
fn prepare_sub_paths(parts: &[SubPath], container: &str) -> Result<(), String> {
    parts.iter().try_for_each(|part| {
        prepare(part).map_err(|error| {
            let (path, volume) = (part.path.display(), &part.volume);
            format!(
                "failed to prepare subPath {path} for volumeMount {volume:?} of container {container:?}: {error}"
            )
        })
    })
}

/// Makes the termination message file, and directories of the host that were removed since the volumes were set up.
fn prepare_files(termination: &Path, mounts: &[sampan_cri::Mount]) -> std::io::Result<()> {
    if let Some(parent) = termination.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(termination, b"")?;
    std::fs::set_permissions(termination, std::fs::Permissions::from_mode(0o666))?;
    for mount in mounts.iter().filter(|m| !m.host_path.exists()) {
        std::fs::create_dir_all(&mount.host_path)?;
    }
    Ok(())
}

/// How a container ended, with its termination message.
pub fn end_of(status: &ContainerStatus, run: &Run, container: &Container) -> End {
    let (exit_code, oom, finished_at, said) = match &status.state {
        ContainerState::Exited(exit) => {
            (exit.exit_code, exit.oom_killed, exit.finished_at, exit.message.clone())
        }
        _ => (137, false, Timestamp::now(), "The container could not be located".to_owned()),
    };
    let reason = match (exit_code, oom, &status.state) {
        (_, _, ContainerState::Unknown | ContainerState::Created) => "ContainerStatusUnknown",
        (_, true, _) => "OOMKilled",
        (0, ..) => "Completed",
        _ => "Error",
    };
    let file = status.annotations.get(ANNOTATION_TERMINATION).map(Path::new);
    let own = file.and_then(|path| termination_message(path, &status.log_path, container, exit_code));
    End {
        id: status.id.clone(),
        image: run.image.clone(),
        image_id: run.image_id.clone(),
        user: run.user.clone(),
        exit_code,
        reason: reason.to_owned(),
        message: own.unwrap_or(said),
        started_at: status.started_at.or(Some(run.started_at)),
        finished_at,
    }
}

/// Most bytes of a termination message, and of a log's tail that stands in for one.
const MESSAGE_MAX: usize = 4096;
const LOG_MAX: usize = 2048;
const LOG_LINES: usize = 80;

fn termination_message(file: &Path, log: &Path, container: &Container, exit_code: i32) -> Option<String> {
    let bytes = std::fs::read(file).unwrap_or_default();
    if !bytes.is_empty() {
        let tail = &bytes[bytes.len().saturating_sub(MESSAGE_MAX)..];
        return Some(String::from_utf8_lossy(tail).into_owned());
    }
    let fallback = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    if !fallback || exit_code == 0 {
        return None;
    }
    let text = crate::serve::logs::tail_text(log, LOG_LINES);
    Some(String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_MAX)..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_does_not_start_ends_as_its_runtime_says() {
        let error = RuntimeError::Start { message: "no such file".to_owned(), exit_code: 127 };
        assert_eq!(start_end(&error, "sampan"), ("StartError", 128));
        assert_eq!(start_end(&error, "docker"), ("ContainerCannotRun", 127));
        assert_eq!(start_end(&RuntimeError::InvalidConfig(String::new()), "docker"), ("StartError", 128));
    }
}
