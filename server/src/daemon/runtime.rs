//! The container runtimes by name: the only place that knows both.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sampan_cri::{Runtime, RuntimeError};
use sampan_cri_docker::DockerRuntime;
use sampan_cri_oci::EmbeddedRuntime;
use sampan_process::Tasks;

use crate::failure::{Failure, Kind};
use crate::profile::{Profile, RuntimeKind, Settings};

use super::builtin;

/// Where Docker Engine listens.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Root of the cluster's cgroups.
pub fn cgroup_root(profile: &Profile) -> String {
    format!("/sampan-{}", profile.name)
}

/// The runtime that `settings` choose.
pub async fn open(profile: &Profile, settings: &Settings, tasks: &Tasks) -> Result<Runtime, Failure> {
    let runtime: Runtime = match settings.container_runtime {
        RuntimeKind::Embedded => {
            Arc::new(EmbeddedRuntime::new(embedded(profile, settings)?).await.map_err(failed)?)
        }
        RuntimeKind::Docker => {
            Arc::new(DockerRuntime::connect(docker(profile, settings), tasks.clone()).await.map_err(failed)?)
        }
    };
    Ok(runtime)
}

fn failed(error: RuntimeError) -> Failure {
    let kind = match &error {
        RuntimeError::Unsupported(_) => Kind::HostMissing,
        _ => Kind::Runtime,
    };
    Failure::new(kind, error.to_string())
}

fn embedded(profile: &Profile, settings: &Settings) -> Result<sampan_cri_oci::Config, Failure> {
    let own = std::env::current_exe()?.to_string_lossy().into_owned();
    let command = vec![own, "container-host".to_owned()];
    let mut config =
        sampan_cri_oci::Config::new(profile.run.clone(), profile.data.clone(), &profile.name, command);
    config.cgroup_root = cgroup_root(profile);
    config.insecure_registries.clone_from(&settings.insecure_registries);
    config.image_mirror_country =
        Some(settings.image_mirror_country.clone()).filter(|country| !country.is_empty());
    config.registry_mirrors = match settings.registry_mirrors.is_empty() {
        true => BTreeMap::new(),
        false => BTreeMap::from([("docker.io".to_owned(), settings.registry_mirrors.clone())]),
    };
    Ok(config)
}

/// Where the embedded runtime keeps contents of images.
pub fn content_store(profile: &Profile) -> PathBuf {
    let config =
        sampan_cri_oci::Config::new(profile.run.clone(), profile.data.clone(), &profile.name, Vec::new());
    config.image_dir.join("blobs")
}

fn docker(profile: &Profile, settings: &Settings) -> sampan_cri_docker::Config {
    sampan_cri_docker::Config {
        profile: profile.name.clone(),
        socket: PathBuf::from(DOCKER_SOCKET),
        sandbox_image: builtin::NAME.to_owned(),
        registry_mirrors: settings.registry_mirrors.clone(),
    }
}

/// Removes every container, mount and process of a cluster whose daemon does not run.
pub async fn purge(profile: &Profile, settings: &Settings) -> Result<(), Failure> {
    let tasks = Tasks::new(sampan_process::Component::Daemon);
    match settings.container_runtime {
        RuntimeKind::Docker => {
            let runtime =
                DockerRuntime::connect(docker(profile, settings), tasks.clone()).await.map_err(failed)?;
            runtime.purge().await.map_err(failed)?;
        }
        RuntimeKind::Embedded => {
            let runtime = EmbeddedRuntime::new(embedded(profile, settings)?).await.map_err(failed)?;
            for sandbox in sampan_cri::ContainerRuntime::list_pod_sandboxes(&runtime).await.map_err(failed)? {
                let removed = sampan_cri::ContainerRuntime::remove_pod_sandbox(&runtime, &sandbox.id).await;
                if let Err(error) = removed {
                    tracing::warn!(sandbox = sandbox.id, %error, "sandbox not removed");
                }
            }
            runtime.shutdown().await.map_err(failed)?;
        }
    }
    tasks.finish(std::time::Duration::from_secs(1)).await;
    Ok(())
}
