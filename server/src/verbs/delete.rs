//! `sampan delete`: no process, mount, namespace, rule, cgroup or file of the cluster is left.

use std::path::Path;
use std::time::Duration;

use sampan_kubelet::mounts;
use sampan_pod_network::PodNetwork;
use sampan_process::{Component, Tasks};

use super::{Context, Outcome, stop};
use crate::control::{self, Request};
use crate::daemon;
use crate::failure::{Failure, Kind};
use crate::kubeconfig::{self, Owner};
use crate::messages::Message;
use crate::options;
use crate::profile::{Profile, Settings};
use crate::ui::Ui;

/// How long a daemon may take to end by itself before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Deletes every cluster of this machine; one that cannot be deleted ends it.
pub async fn run_all(mut context: Context) -> Outcome {
    let profiles = Profile::all()?;
    if profiles.is_empty() {
        context.ui.step(&Message::NothingToDelete { profile: context.profile.name.clone() });
    }
    for profile in profiles {
        run(Context { profile, ui: context.ui.clone() }).await?;
    }
    Ok(0)
}

/// Runs the verb.
pub async fn run(mut context: Context) -> Outcome {
    let Context { profile, ui } = &mut context;
    if !profile.left()? {
        ui.step(&Message::NothingToDelete { profile: profile.name.clone() });
        return Ok(0);
    }
    profile.create()?;
    let _held = profile.lock_command()?;
    ui.step(&Message::Deleting { profile: profile.name.clone() });
    let settings = usable(profile.settings_or_default());
    end_daemon(profile).await?;
    // a second call finds it installed
    let _ = rustls::crypto::ring::default_provider().install_default();
    daemon::purge(profile, &settings).await?;
    clean_network(profile, &settings).await?;
    unmount_below(&profile.data)?;
    unmount_below(&profile.run)?;
    remove_cgroups(&daemon::cgroup_root(profile));
    clean_kubeconfigs(profile, &settings, ui);
    // the lock goes last
    for directory in [&profile.data, &profile.run] {
        remove(directory)?;
    }
    ui.step(&Message::Deleted { profile: profile.name.clone() });
    Ok(0)
}

/// Settings that the network can be opened with for its removal: which block it had does not matter for that.
fn usable(mut settings: Settings) -> Settings {
    if options::pod_cidr(&settings.pod_cidr).is_err() {
        settings.pod_cidr = Settings::default().pod_cidr;
    }
    settings
}

/// Removes the cluster from every kubeconfig that it was written to, and from the user's, should the list be lost. A
/// file that cannot be edited is named and keeps nothing else from being removed.
fn clean_kubeconfigs(profile: &Profile, settings: &Settings, ui: &Ui) {
    let own = Owner::detect().kubeconfig();
    let mut paths: Vec<&Path> = settings.kubeconfigs().map(|(path, _)| path.as_path()).collect();
    if !paths.contains(&own.as_path()) {
        paths.push(&own);
    }
    for path in paths {
        if let Err(failure) = kubeconfig::remove(path, &Owner::of(path), &profile.name) {
            ui.warn(&Message::KubeconfigLeft { path: path.display().to_string(), why: failure.message });
        }
    }
}

/// Asks the daemon to end with its pods; kills it if it does not.
async fn end_daemon(profile: &Profile) -> Result<(), Failure> {
    let Some(pid) = profile.daemon_pid() else { return Ok(()) };
    let asked = async {
        control::ask(&profile.socket(), &Request::Stop { keep_pods: true }, drop).await?;
        stop::ended(profile).await
    };
    if let Ok(Ok(())) = tokio::time::timeout(PATIENCE, asked).await {
        return Ok(());
    }
    let killed = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    killed.map_err(std::io::Error::from)?;
    stop::ended(profile).await
}

async fn clean_network(profile: &Profile, settings: &Settings) -> Result<(), Failure> {
    let tasks = Tasks::new(Component::Daemon);
    let failed = |error: sampan_pod_network::Error| Failure::new(Kind::PodNetwork, error.to_string());
    // nothing is to be made, so that a block that the host uses by now is in nobody's way
    let config = sampan_pod_network::Config {
        pool_size: 0,
        fixed: false,
        ..daemon::network_config(profile, settings)
    };
    let table = daemon::services_table(&config.table);
    let cleaned = sampan_proxy::cleanup(&table, &config.bridge, &config.service_cidr).await;
    cleaned.map_err(|error| Failure::new(Kind::PodNetwork, error.to_string()))?;
    let network = PodNetwork::new(config, tasks.clone()).await.map_err(failed)?;
    network.cleanup().await.map_err(failed)?;
    tasks.finish(Duration::from_secs(1)).await;
    Ok(())
}

/// Unmounts whatever is mounted below a directory. What a pod bound there stays mounted where it came from.
fn unmount_below(directory: &Path) -> Result<(), Failure> {
    let failed =
        |error| Failure::new(Kind::Runtime, format!("cannot unmount {}: {error}", directory.display()));
    mounts::unmount_below(directory).map_err(failed)
}

/// Removes the cluster's cgroups from every hierarchy; a directory with a process in it stays and is no error.
fn remove_cgroups(root: &str) {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let own = std::iter::once(std::path::PathBuf::from("/sys/fs/cgroup"));
    for hierarchy in hierarchies.map(|entry| entry.path()).chain(own) {
        remove_cgroup(&hierarchy.join(root.trim_start_matches('/')));
    }
}

/// Cgroup directories are removed one by one, children first; their files are not files.
fn remove_cgroup(path: &Path) {
    for child in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&child.path());
        }
    }
    let _ = std::fs::remove_dir(path);
}

fn remove(directory: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot remove {}: {error}", directory.display());
        Failure::new(Failure::from(error).kind, message)
    };
    mounts::remove(directory).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_network_that_does_not_parse_is_no_obstacle() {
        let settings = Settings { pod_cidr: "10.0.0.0".into(), ..Settings::default() };
        assert_eq!(usable(settings).pod_cidr, Settings::default().pod_cidr);
    }
}
