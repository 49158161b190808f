//! What is asked of the daemon itself: how the cluster is, its images, its database.

use std::path::Path;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use sampan_addons::Sort;
use sampan_cri::{ImageStatus, RuntimeError};
use sampan_cri_oci::images::reference::Reference;
use serde_json::{Value, json};

use super::PREFIX;
use super::reply::Refusal;
use super::shapes::{ClusterStatus, ComponentStatus, ImageSummary, NodeSummary, Saved, Versions};
use crate::daemon::{Running, access};
use crate::failure::{Failure, Kind};
use crate::kubeconfig;
use crate::profile::{Profile, Settings};
use crate::verbs::profile::Row;

/// Components, node, versions and addresses.
pub fn status(running: &Running) -> ClusterStatus {
    let all = running.health.all();
    ClusterStatus {
        profile: running.profile.name.clone(),
        node: running.node.clone(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kubernetes_version: sampan_apiserver::VERSION.to_owned(),
        container_runtime: running.settings.container_runtime.to_string(),
        components: all.iter().map(|(one, health)| (one.name().to_owned(), health.into())).collect(),
        address: access::of(&running.server).server,
        dashboard: running.dashboard.address(),
        rest: format!("http://127.0.0.1:{}{PREFIX}", running.dashboard.port()),
        // the block in use: one that nobody chose gives way to the host's networks
        settings: Settings { pod_cidr: running.network.pod_cidr(), ..running.settings.clone() },
    }
}

/// All components.
pub fn components(running: &Running) -> Vec<ComponentStatus> {
    running.health.all().iter().map(|(one, health)| ComponentStatus::of(*one, health)).collect()
}

/// The nodes, in short.
pub async fn nodes(admin: &Client) -> Result<Vec<NodeSummary>, Refusal> {
    let nodes = Api::<Node>::all(admin.clone()).list(&ListParams::default()).await;
    let nodes = nodes.map_err(|error| Refusal::internal(&error.to_string()))?;
    let one = |node: &Node| {
        let status = node.status.clone().unwrap_or_default();
        let ready =
            status.conditions.iter().flatten().find(|one| one.type_ == "Ready").map(|one| one.status.clone());
        let addresses: Vec<String> =
            status.addresses.iter().flatten().map(|one| one.address.clone()).collect();
        let info = status.node_info.unwrap_or_default();
        NodeSummary {
            name: node.name_any(),
            ready: ready.as_deref() == Some("True"),
            addresses,
            kubelet_version: info.kubelet_version,
            container_runtime: info.container_runtime_version,
            capacity: status.capacity.unwrap_or_default(),
            unschedulable: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false),
        }
    };
    Ok(nodes.items.iter().map(one).collect())
}

/// The clusters of this machine.
pub fn profiles() -> Result<Vec<Row>, Refusal> {
    let all = Profile::all()?;
    Ok(all.iter().map(Row::of).collect())
}

/// Versions.
pub fn version() -> Versions {
    Versions {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kubernetes_version: sampan_apiserver::VERSION.to_owned(),
    }
}

/// The administrator's kubeconfig.
pub fn kubeconfig(running: &Running) -> Result<String, Refusal> {
    Ok(kubeconfig::text(&running.profile.name, &access::of(&running.server))?)
}

/// What nodes or pods used.
pub async fn history(admin: &Client, what: &str) -> Result<Value, Refusal> {
    if !["nodes", "pods"].contains(&what) {
        return Err(Refusal::not_found(format!(
            "there is no history of {what:?}; there is one of nodes and of pods"
        )));
    }
    let request = http::Request::get(format!("/apis/metrics.sampan.dev/v1alpha1/{what}")).body(Vec::new());
    let request = request.map_err(|error| Refusal::internal(&error.to_string()))?;
    admin.request(request).await.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 404 => Refusal::from(Failure::new(
            Kind::AddonNeeds,
            "nothing is measured; `sampan addons enable metrics`",
        )),
        error => Refusal::internal(&error.to_string()),
    })
}

/// Whose logs there are.
pub fn log_names(running: &Running) -> Vec<String> {
    let components = running.health.all().into_keys().map(|component| component.name().to_owned());
    let addons = sampan_addons::natives().into_iter().map(|addon| addon.about().name.to_owned());
    let mut names: Vec<String> = components.chain(addons).collect();
    names.sort();
    names.dedup();
    names
}

/// Fails unless there is a component, or a native addon, of that name.
pub fn is_component(running: &Running, name: &str) -> Result<(), Refusal> {
    let names = log_names(running);
    match names.iter().any(|one| one == name) {
        true => Ok(()),
        false => Err(Refusal::not_found(format!("no log of {name:?}; there are: {}", names.join(", ")))),
    }
}

/// Fails unless there is a native addon of that name.
pub fn is_native(running: &Running, name: &str) -> Result<(), Refusal> {
    let details = running.addons.show(name).map_err(|error| Refusal::of(&error))?;
    match details.status.sort == Sort::Package {
        true => Err(Refusal::package_log(name)),
        false => Ok(()),
    }
}

/// All images.
pub async fn images(running: &Running) -> Result<Vec<ImageSummary>, Refusal> {
    let images = running.runtime.list_images().await.map_err(image_failure)?;
    Ok(images.iter().map(ImageSummary::from).collect())
}

/// Pulls one.
pub async fn pull_image(running: &Running, name: &str) -> Result<Value, Refusal> {
    let pulled = running.runtime.pull_image(name, Vec::new()).await.map_err(image_failure)?;
    Ok(json!(ImageSummary::from(&pulled)))
}

/// Loads those of an archive.
pub async fn load_images(running: &Running, archive: &Path) -> Result<Value, Refusal> {
    is_absolute("archive", archive)?;
    let loaded = running.runtime.load_images(archive.to_owned()).await;
    let loaded =
        loaded.map_err(|error| Failure::new(Kind::Archive, format!("{}: {error}", archive.display())))?;
    Ok(json!({"items": loaded.iter().map(ImageSummary::from).collect::<Vec<_>>()}))
}

/// Removes one.
pub async fn remove_image(running: &Running, name: &str) -> Result<(), Refusal> {
    let images = running.runtime.list_images().await.map_err(image_failure)?;
    // asking the runtime by name would fetch the image from the host's Docker Engine first
    if !images.iter().any(|image| is_named(image, name)) {
        let message = format!("there is no image {name}; `sampan image ls` shows what there is");
        return Err(Refusal::not_found(message));
    }
    running.runtime.remove_image(name).await.map_err(image_failure)
}

/// Saves the database.
pub async fn backup(running: &Running, file: &Path) -> Result<Value, Refusal> {
    check_target(file)?;
    let store = &running.server.registry().store;
    store.backup(file).await.map_err(|error| Failure::new(Kind::Store, error.to_string()))?;
    Ok(json!(Saved { file: file.to_owned(), revision: store.revision() }))
}

/// Fails if no new file can be made there.
fn check_target(file: &Path) -> Result<(), Refusal> {
    is_absolute("file", file)?;
    let refuse = |problem: String| Err(Refusal::invalid("file", &problem));
    if std::fs::symlink_metadata(file).is_ok() {
        return refuse(format!("{} exists already; choose another name", file.display()));
    }
    match file.parent() {
        Some(folder) if !folder.is_dir() => {
            refuse(format!("there is no folder {}; choose one that exists", folder.display()))
        }
        _ => Ok(()),
    }
}

fn is_absolute(field: &str, path: &Path) -> Result<(), Refusal> {
    match path.is_absolute() {
        true => Ok(()),
        false => Err(Refusal::invalid(field, &format!("{path:?} is no absolute path"))),
    }
}

/// Whether an image is meant by a name (with the tag, registry and folder that Docker leaves out), a digest, or an id
/// of which at least twelve digits are given.
fn is_named(image: &ImageStatus, name: &str) -> bool {
    let names = image.repo_tags.iter().chain(&image.repo_digests);
    let id = name.strip_prefix("sha256:").unwrap_or(name);
    let begins = image.id.trim_start_matches("sha256:").starts_with(id) && id.len() >= 12;
    let whole = Reference::parse(name);
    begins
        || whole.is_ok_and(|whole| names.into_iter().any(|one| Reference::parse(one).as_ref() == Ok(&whole)))
}

fn image_failure(error: RuntimeError) -> Refusal {
    match &error {
        RuntimeError::NotFound { .. } => Refusal::not_found(error.to_string()),
        RuntimeError::InvalidImageName { .. } => Refusal::invalid("image", &error.to_string()),
        _ => Failure::new(Kind::Image, error.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_short_names_and_ids() {
        let digest = "7".repeat(64);
        let image = ImageStatus {
            id: "sha256:0123456789abcdef".into(),
            repo_tags: vec!["docker.io/library/nginx:latest".into(), "quay.io/a/b:1".into()],
            repo_digests: vec![format!("docker.io/library/nginx@sha256:{digest}")],
            ..ImageStatus::default()
        };
        for (name, known) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("library/nginx", true),
            (&format!("nginx@sha256:{digest}"), true),
            ("quay.io/a/b:1", true),
            ("0123456789ab", true),
            ("sha256:0123456789abcdef", true),
            ("nginx:alpine", false),
            ("quay.io/a/b", false),
            ("0123", false),
            ("NGINX", false),
        ] {
            assert_eq!(is_named(&image, name), known, "{name}");
        }
    }

    #[test]
    fn a_backup_goes_to_a_new_file_in_a_folder_that_exists() {
        let words = |path: &str| {
            check_target(Path::new(path)).map_err(|refusal| refusal.status()["message"].to_string())
        };
        assert!(words("/no-such-file.db").is_ok());
        assert!(words("b.db").is_err_and(|text| text.contains("no absolute path")));
        assert!(words("/nonexist/b.db").is_err_and(|text| text.contains("no folder /nonexist;")));
        assert!(words("/etc/passwd").is_err_and(|text| text.contains("choose another name")));
    }
}
