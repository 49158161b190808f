//! The logs of pods, where collectors of logs look for them: a DaemonSet that mounts `/var/log`, `/var/log/pods` or
//! `/var/log/containers` of the node.
//!
//! The files are among the cluster's own, so that the clusters of a machine have nothing of each other's and a cluster takes
//! its logs with it. A container that mounts one of these directories of the node, or one above, is shown the cluster's in
//! their place; the machine's own `/var/log/pods` is a place to mount them at and stays empty.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use sampan_cri::{Mount, Propagation};

use crate::dirs::PodDirs;

/// Where collectors look for `<ns>_<name>_<uid>/<container>/<n>.log`.
const PODS: &str = "/var/log/pods";
/// Where they look for a link to each: `<name>_<ns>_<container>-<id>.log`.
const CONTAINERS: &str = "/var/log/containers";
/// Bytes of a file's name.
const NAME_MAX: usize = 255;

fn places(dirs: &PodDirs) -> [(&'static Path, PathBuf); 2] {
    [(Path::new(PODS), dirs.all_logs()), (Path::new(CONTAINERS), dirs.log_links())]
}

/// The file or directory that stands for this one of the node: itself, but for logs.
pub fn stand_in(path: &Path, dirs: &PodDirs) -> PathBuf {
    let own = places(dirs).into_iter().find_map(|(public, own)| {
        let below = path.strip_prefix(public).ok()?;
        Some(if below.as_os_str().is_empty() { own } else { own.join(below) })
    });
    own.unwrap_or_else(|| path.to_owned())
}

/// What a container with these mounts mounts besides, to see the logs where it sees their place.
pub fn besides(mounts: &[Mount], dirs: &PodDirs) -> Vec<Mount> {
    // what such a mount does would be done to the machine as well
    let above = mounts.iter().filter(|mount| mount.propagation != Propagation::Bidirectional);
    let logs = above.flat_map(|mount| {
        places(dirs).into_iter().filter_map(move |(public, own)| {
            let below =
                public.strip_prefix(&mount.host_path).ok().filter(|below| !below.as_os_str().is_empty())?;
            let at = Path::new(&mount.container_path).join(below);
            let seen = innermost(mounts, &at).is_some_and(|shown| std::ptr::eq(shown, mount));
            let container_path = at.display().to_string();
            let log = Mount { container_path, host_path: own, readonly: mount.readonly, ..Mount::default() };
            seen.then_some(log)
        })
    });
    logs.collect()
}

/// The mount that a container sees at a path.
fn innermost<'a>(mounts: &'a [Mount], at: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| at.starts_with(&mount.container_path));
    above.max_by_key(|mount| Path::new(&mount.container_path).components().count())
}

/// Makes what [`besides`] wants: the directories, and the places for them on the machine. Blocking.
///
/// # Errors
/// One cannot be made: the machine's `/var/log` is not to be written to.
pub fn make_places(dirs: &PodDirs) -> io::Result<()> {
    for (public, own) in places(dirs) {
        std::fs::create_dir_all(own)?;
        std::fs::create_dir_all(public)?;
    }
    Ok(())
}

/// Adds the link to the log of a container's run. Blocking.
///
/// # Errors
/// It is not there and cannot be made.
pub fn link(dirs: &PodDirs, pod: &Pod, container: &str, id: &str, attempt: u32) -> io::Result<()> {
    let links = dirs.log_links();
    std::fs::create_dir_all(&links)?;
    let log = Path::new(PODS).join(dirs.logs.file_name().unwrap_or_default());
    let log = log.join(container).join(format!("{attempt}.log"));
    match symlink(log, links.join(link_name(pod, container, id))) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Takes away the link to the log of a container's run; fine if there is none. Blocking.
pub fn unlink(dirs: &PodDirs, pod: &Pod, container: &str, id: &str) {
    let _ = std::fs::remove_file(dirs.log_links().join(link_name(pod, container, id)));
}

/// Takes away all links to logs of a pod. Blocking.
///
/// # Errors
/// One cannot be removed.
pub fn unlink_all(dirs: &PodDirs) -> io::Result<()> {
    let own = Path::new(PODS).join(dirs.logs.file_name().unwrap_or_default());
    let name = own.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut parts = name.split('_');
    let start = parts.next().zip(parts.next()).map(|(namespace, name)| format!("{name}_{namespace}_"));
    let entries = std::fs::read_dir(dirs.log_links()).into_iter().flatten().flatten();
    let begins = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        start.as_ref().is_some_and(|start| name.to_string_lossy().starts_with(start))
    };
    for entry in entries.filter(begins) {
        if std::fs::read_link(entry.path()).is_ok_and(|log| log.starts_with(&own)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Upstream's `logSymlink`.
fn link_name(pod: &Pod, container: &str, id: &str) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (name, namespace) = (text(&pod.metadata.name), text(&pod.metadata.namespace));
    let mut link = format!("{name}_{namespace}_{container}-{id}");
    link.truncate(NAME_MAX - ".log".len());
    link + ".log"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn dirs(root: &Path) -> PodDirs {
        PodDirs { root: root.join("kubelet/pods/u"), logs: root.join("logs/ns_p_u") }
    }

    #[test]
    fn logs_are_the_clusters_own_wherever_they_are_mounted() {
        let dirs = dirs(Path::new("/d"));
        for (path, stands) in [
            ("/var/log/pods", "/d/logs"),
            ("/var/log/pods/", "/d/logs"),
            ("/var/log/pods/ns_p_u/c", "/d/logs/ns_p_u/c"),
            ("/var/log/containers", "/d/kubelet/container-logs"),
            ("/var/log", "/var/log"),
            ("/var/log/podsx", "/var/log/podsx"),
        ] {
            assert_eq!(stand_in(Path::new(path), &dirs), Path::new(stands), "{path}");
        }
        let mount = |host: &str, at: &str| Mount {
            container_path: at.to_owned(),
            host_path: host.into(),
            readonly: true,
            ..Mount::default()
        };
        let log = |at: &str, own: &str| mount(own, at);
        for (mounts, expected) in [
            (
                vec![mount("/var/log", "/var/log")],
                vec![
                    log("/var/log/pods", "/d/logs"),
                    log("/var/log/containers", "/d/kubelet/container-logs"),
                ],
            ),
            (
                vec![mount("/", "/host/")],
                vec![
                    log("/host/var/log/pods", "/d/logs"),
                    log("/host/var/log/containers", "/d/kubelet/container-logs"),
                ],
            ),
            (
                vec![mount("/var/log", "/l"), mount("/d/logs", "/l/pods")],
                vec![log("/l/containers", "/d/kubelet/container-logs")],
            ),
            (vec![Mount { propagation: Propagation::Bidirectional, ..mount("/", "/host") }], vec![]),
            // seen through the inner one alone
            (
                vec![mount("/", "/host"), mount("/var", "/host/var")],
                vec![
                    log("/host/var/log/pods", "/d/logs"),
                    log("/host/var/log/containers", "/d/kubelet/container-logs"),
                ],
            ),
            (
                vec![
                    mount("/", "/host"),
                    Mount { propagation: Propagation::Bidirectional, ..mount("/var", "/host/var") },
                ],
                vec![],
            ),
            (vec![mount("/d/volume", "/host/var/log/"), mount("/", "/host")], vec![]),
            (
                vec![mount("/d/volume", "/host/var/log/pods"), mount("/", "/host")],
                vec![log("/host/var/log/containers", "/d/kubelet/container-logs")],
            ),
            (vec![mount("/d/logs", "/var/log/pods"), mount("/var/lib", "/x")], vec![]),
        ] {
            assert_eq!(besides(&mounts, &dirs), expected, "{mounts:?}");
        }
    }

    #[test]
    fn links_come_with_runs_and_go_with_the_pod() {
        let directory = tempfile::tempdir().unwrap();
        let dirs = dirs(directory.path());
        let pod = |name: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns"}})).unwrap()
        };
        let links = || {
            let entries = std::fs::read_dir(dirs.log_links()).unwrap().flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        link(&dirs, &pod("p"), "c", "id0", 0).unwrap();
        link(&dirs, &pod("p"), "c", "id1", 1).unwrap();
        link(&dirs, &pod("p"), "c", "id1", 1).unwrap();
        let other = PodDirs { logs: dirs.logs.with_file_name("ns_p_v"), ..dirs.clone() };
        link(&other, &pod("p"), "c", "id2", 0).unwrap();
        assert_eq!(links(), ["p_ns_c-id0.log", "p_ns_c-id1.log", "p_ns_c-id2.log"]);
        let log = std::fs::read_link(dirs.log_links().join("p_ns_c-id1.log")).unwrap();
        assert_eq!(log, Path::new("/var/log/pods/ns_p_u/c/1.log"));
        unlink(&dirs, &pod("p"), "c", "id0");
        unlink(&dirs, &pod("p"), "c", "id0");
        assert_eq!(links(), ["p_ns_c-id1.log", "p_ns_c-id2.log"]);
        unlink_all(&dirs).unwrap();
        assert_eq!(links(), ["p_ns_c-id2.log"], "of another pod of this name");
        assert_eq!(link_name(&pod(&"p".repeat(253)), "c", "id").len(), 255);
    }
}
