//! A container's whole configuration for the runtime, put together from its parts. Pure: files that the
//! mounts point to are made by the driver.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use sampan_cri::{ContainerConfig, ImageStatus, Mount, Propagation};

use super::expansion::{expand, unknown};
use super::{qos, security};
use crate::dirs::PodDirs;
use crate::volume::Place;
use crate::volume::subpath::SubPath;

/// What a configuration is made from.
pub struct Inputs<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// Restart count.
    pub attempt: u32,
    /// Its image, present on the machine.
    pub image: &'a ImageStatus,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Where the pod's files are.
    pub dirs: &'a PodDirs,
    /// Directory or file of each volume of the pod.
    pub volumes: &'a BTreeMap<String, Place>,
    /// Bytes of memory of the machine.
    pub memory_capacity: u64,
    /// Where localhost seccomp profiles are.
    pub seccomp_profiles: &'a Path,
    /// Container whose PID namespace is joined.
    pub target: Option<String>,
}

/// Label: the container's name.
pub const LABEL_CONTAINER: &str = "io.kubernetes.container.name";
/// Annotation: the image the spec asked for.
pub const ANNOTATION_IMAGE: &str = "sampan.io/image";
/// Annotation: host path of the termination message.
pub const ANNOTATION_TERMINATION: &str = "sampan.io/termination-message";

/// The configuration; an error is a `CreateContainerConfigError`.
pub fn container_config(inputs: &Inputs<'_>) -> Result<ContainerConfig, String> {
    let Inputs { pod, container, attempt, image, env, dirs, .. } = inputs;
    security::verify_run_as_non_root(pod, container, image)?;
    let lookup = |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let expand_all =
        |list: &Option<Vec<String>>| list.iter().flatten().map(|word| expand(word, &lookup)).collect();
    let mut mounts = volume_mounts(inputs, &lookup)?;
    managed_files(inputs, &mut mounts);
    let termination = dirs.termination_log(&container.name, *attempt);
    if let Some(path) = container.termination_message_path.as_deref().filter(|p| !p.is_empty()) {
        mounts.push(mount(path, termination.clone()));
    }
    let mut security = security::rights(pod, container, image, inputs.seccomp_profiles);
    security.target_container_id.clone_from(&inputs.target);
    Ok(ContainerConfig {
        name: container.name.clone(),
        attempt: *attempt,
        image: image.id.clone(),
        command: expand_all(&container.command),
        args: expand_all(&container.args),
        working_dir: container.working_dir.clone().filter(|d| !d.is_empty()),
        env: env.clone(),
        mounts,
        devices: Vec::new(),
        log_path: PathBuf::from(&container.name).join(format!("{attempt}.log")),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        resources: qos::container_resources(pod, container, inputs.memory_capacity),
        security,
        stop_signal: container.lifecycle.as_ref().and_then(|l| l.stop_signal.clone()),
        labels: labels(pod, &container.name),
        annotations: BTreeMap::from([
            (ANNOTATION_IMAGE.to_owned(), container.image.clone().unwrap_or_default()),
            (ANNOTATION_TERMINATION.to_owned(), termination.display().to_string()),
            ("io.kubernetes.container.restartCount".to_owned(), attempt.to_string()),
        ]),
    })
}

fn labels(pod: &Pod, container: &str) -> BTreeMap<String, String> {
    let mut labels = pod_labels(pod);
    labels.insert(LABEL_CONTAINER.to_owned(), container.to_owned());
    labels
}

/// Labels that tell whose a sandbox or container is.
pub fn pod_labels(pod: &Pod) -> BTreeMap<String, String> {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    BTreeMap::from([
        ("io.kubernetes.pod.name".to_owned(), text(&meta.name)),
        ("io.kubernetes.pod.namespace".to_owned(), text(&meta.namespace)),
        ("io.kubernetes.pod.uid".to_owned(), text(&meta.uid)),
    ])
}

fn mount(container_path: &str, host_path: PathBuf) -> Mount {
    Mount { container_path: container_path.to_owned(), host_path, ..Mount::default() }
}

/// Files the kubelet keeps for the pod, unless the user mounts something there.
fn managed_files(inputs: &Inputs<'_>, mounts: &mut Vec<Mount>) {
    for (path, file) in [
        ("/etc/hosts", inputs.dirs.hosts()),
        ("/etc/resolv.conf", inputs.dirs.resolv_conf()),
        ("/etc/hostname", inputs.dirs.hostname()),
    ] {
        if !mounts.iter().any(|m| m.container_path.trim_end_matches('/') == path) {
            mounts.push(mount(path, file));
        }
    }
}

fn volume_mounts(inputs: &Inputs<'_>, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Mount>, String> {
    let wanted = inputs.container.volume_mounts.iter().flatten().enumerate();
    wanted.map(|(index, m)| volume_mount(inputs, index, m, lookup)).collect()
}

/// The parts of volumes that the container mounts; to be prepared before it is created. Errors are as those of
/// [`container_config`].
pub fn sub_paths(inputs: &Inputs<'_>) -> Result<Vec<SubPath>, String> {
    let lookup = |name: &str| inputs.env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let mut parts = Vec::new();
    for (index, wanted) in inputs.container.volume_mounts.iter().flatten().enumerate() {
        if let Some(path) = sub_path(wanted, &lookup)? {
            parts.push(SubPath {
                volume: wanted.name.clone(),
                root: place(inputs, wanted)?.path.clone(),
                path: PathBuf::from(path),
                at: inputs.dirs.sub_path(&wanted.name, &inputs.container.name, index),
                shared: wanted.mount_propagation.as_deref() == Some("Bidirectional"),
            });
        }
    }
    Ok(parts)
}

fn place<'a>(inputs: &Inputs<'a>, wanted: &VolumeMount) -> Result<&'a Place, String> {
    inputs.volumes.get(&wanted.name).ok_or_else(|| {
        format!("cannot find volume {:?} to mount into container {:?}", wanted.name, inputs.container.name)
    })
}

/// The part of the volume that is wanted, if not the whole of it.
fn sub_path(wanted: &VolumeMount, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    let sub = match (&wanted.sub_path, &wanted.sub_path_expr) {
        (Some(path), _) if !path.is_empty() => path.clone(),
        (_, Some(expression)) if !expression.is_empty() => {
            if let Some(name) = unknown(expression, lookup).first() {
                return Err(format!("missing value for {name:?}"));
            }
            expand(expression, lookup)
        }
        _ => return Ok(None),
    };
    if sub.starts_with('/') {
        return Err(format!("error SubPath `{sub}` must not be an absolute path"));
    }
    if Path::new(&sub).components().any(|c| c == std::path::Component::ParentDir) {
        return Err(format!("unable to provision SubPath `{sub}`: must not contain '..'"));
    }
    Ok(Some(sub))
}

fn volume_mount(
    inputs: &Inputs<'_>,
    index: usize,
    wanted: &VolumeMount,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Mount, String> {
    let place = place(inputs, wanted)?;
    let host_path = match sub_path(wanted, lookup)? {
        None => place.path.clone(),
        Some(_) => inputs.dirs.sub_path(&wanted.name, &inputs.container.name, index),
    };
    Ok(Mount {
        container_path: absolute(&wanted.mount_path),
        host_path,
        readonly: wanted.read_only.unwrap_or(false) || place.read_only,
        propagation: match wanted.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            _ => Propagation::Private,
        },
    })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    /// The parts and the mounts of a container with these mounts of volume `v`.
    fn made(mounts: serde_json::Value) -> Result<(Vec<SubPath>, Vec<Mount>), String> {
        let container = json!({"name": "c", "volumeMounts": mounts});
        let spec =
            json!({"containers": [container], "volumes": [{"name": "v", "hostPath": {"path": "/data"}}]});
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        let inputs = Inputs {
            pod: &pod,
            container: &pod.spec.as_ref().unwrap().containers[0],
            attempt: 0,
            image: &ImageStatus::default(),
            env: vec![("NAME".to_owned(), "n".to_owned()), ("UP".to_owned(), "../n".to_owned())],
            dirs: &PodDirs { root: "/pod".into(), logs: "/logs".into() },
            volumes: &[("v".to_owned(), Place { path: PathBuf::from("/data"), read_only: false })].into(),
            memory_capacity: 1 << 30,
            seccomp_profiles: Path::new("/seccomp"),
            target: None,
        };
        Ok((sub_paths(&inputs)?, container_config(&inputs)?.mounts))
    }

    #[test]
    fn a_part_of_a_volume_is_mounted_from_where_it_is_bound_to() {
        let (parts, mounts) = made(json!([
            {"name": "v", "mountPath": "/whole"},
            {"name": "v", "mountPath": "/part", "subPathExpr": "a/$(NAME)", "mountPropagation": "Bidirectional"},
        ]))
        .unwrap();
        let at = PathBuf::from("/pod/volume-subpaths/v/c/1");
        let (root, path) = (PathBuf::from("/data"), PathBuf::from("a/n"));
        assert_eq!(parts, [SubPath { volume: "v".to_owned(), root, path, at: at.clone(), shared: true }]);
        assert_eq!((&mounts[0].host_path, &mounts[1].host_path), (&PathBuf::from("/data"), &at));
    }

    #[test]
    fn parts_that_lead_out_are_refused() {
        for (mount, why) in [
            (json!({"subPath": "/etc"}), "error SubPath `/etc` must not be an absolute path"),
            (
                json!({"subPath": "a/../../b"}),
                "unable to provision SubPath `a/../../b`: must not contain '..'",
            ),
            (json!({"subPathExpr": "$(UP)"}), "unable to provision SubPath `../n`: must not contain '..'"),
            (json!({"subPathExpr": "$(NONE)"}), "missing value for \"NONE\""),
        ] {
            let mut mount = mount;
            mount["name"] = json!("v");
            mount["mountPath"] = json!("/m");
            assert_eq!(made(json!([mount])).unwrap_err(), why);
        }
    }
}
