//! The daemon's end of the control socket.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use sampan_cri::{ImageStatus, RuntimeError};
use sampan_cri_oci::images::reference::Reference;
use sampan_process::{State, Tasks};
use serde_json::{Value, json};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::components::Running;
use super::{access, shutdown};
use crate::control::{Reply, Request, receive, send};
use crate::failure::{Failure, Kind};
use crate::kubeconfig::Owner;
use crate::messages::Message;

/// Between attempts to accept, if one failed.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// Someone asked the daemon to end and waits for the answer.
pub struct StopRequest {
    keep_pods: bool,
    write: OwnedWriteHalf,
}

impl StopRequest {
    /// Stops the containers (unless told not to), tells so, and answers.
    pub async fn stop_and_answer(mut self, running: &Running) {
        let pods = shutdown::running(&running.runtime).await.len();
        let left = if self.keep_pods {
            pods
        } else {
            let message = serde_json::to_value(Message::StoppingPods { count: pods }).unwrap_or_default();
            // whoever asked may have gone; the cluster stops all the same
            let _ = send(&mut self.write, &Reply::Progress(message)).await;
            shutdown::stop_containers(&running.runtime).await;
            withdraw(running).await;
            0
        };
        let _ = send(&mut self.write, &Reply::Done(json!({"running": left}))).await;
    }
}

/// Takes the rules for pods and Services back: nothing is left that they could lead to.
async fn withdraw(running: &Running) {
    let network = crate::daemon::network_config(&running.profile, &running.settings);
    let table = crate::daemon::services_table(&network.table);
    let services = sampan_proxy::cleanup(&table, &network.bridge, &network.service_cidr).await;
    if let Err(error) = services {
        tracing::warn!(%error, "the service proxy's rules stay");
    }
    if let Err(error) = running.network.withdraw().await {
        tracing::warn!(%error, "the pod network's rules stay");
    }
}

/// Listens on the profile's socket; requests to stop come out of the receiver.
pub fn serve(running: Arc<Running>, tasks: &Tasks) -> Result<mpsc::Receiver<StopRequest>, Failure> {
    let path = running.profile.socket();
    // a socket of a daemon that is gone: the lock file says that none runs
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let_owner_in(&running.profile)?;
    let (stops, stop) = mpsc::channel(1);
    let own = tasks.clone();
    tasks.spawn_until_drain("control", async move {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // too many open files, say: whoever asks waits until there are fewer
                    tracing::warn!(%error, "the control socket");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (running, stops) = (running.clone(), stops.clone());
            own.spawn_until_drain("request", async move {
                if let Err(failure) = exchange(&running, stream, stops).await {
                    tracing::debug!(%failure, "control request not answered");
                }
            });
        }
    });
    Ok(stop)
}

/// Whoever called sudo may use the socket without it.
fn let_owner_in(profile: &crate::profile::Profile) -> Result<(), Failure> {
    if let Some((uid, gid)) = Owner::detect().ids {
        // the socket alone: in a directory of theirs they could plant what root then follows
        std::os::unix::fs::lchown(profile.socket(), Some(uid.as_raw()), Some(gid.as_raw()))?;
    }
    Ok(())
}

async fn exchange(
    running: &Running,
    stream: UnixStream,
    stops: mpsc::Sender<StopRequest>,
) -> Result<(), Failure> {
    let (read, mut write) = stream.into_split();
    let reply = match receive(read).await {
        Ok(Request::Stop { keep_pods }) => {
            let request = StopRequest { keep_pods, write };
            return stops.send(request).await.map_err(|_| Failure::new(Kind::NotRunning, "stopping already"));
        }
        Ok(Request::Addons(request)) => addons(running, request, &mut write).await,
        Ok(request) => answer(running, request).await.map_or_else(Reply::from, Reply::Done),
        Err(failure) => failure.into(),
    };
    send(&mut write, &reply).await
}

async fn answer(running: &Running, request: Request) -> Result<Value, Failure> {
    match request {
        Request::Status => Ok(status(running)),
        Request::ImageList => {
            let images = running.runtime.list_images().await.map_err(image_failure)?;
            Ok(images.iter().map(image).collect())
        }
        Request::ImagePull { image: name } => {
            let pulled = running.runtime.pull_image(&name, Vec::new()).await.map_err(image_failure)?;
            Ok(image(&pulled))
        }
        Request::ImageLoad { archive } => {
            let loaded =
                running.runtime.load_images(archive.clone()).await.map_err(|error| {
                    Failure::new(Kind::Archive, format!("{}: {error}", archive.display()))
                })?;
            Ok(loaded.iter().map(image).collect())
        }
        Request::ImageRemove { image: name } => {
            let images = running.runtime.list_images().await.map_err(image_failure)?;
            // asking the runtime by name would fetch the image from the host's Docker Engine first
            if !images.iter().any(|image| is_named(image, &name)) {
                let message = format!("there is no image {name}; `sampan image ls` shows what there is");
                return Err(Failure::new(Kind::NotFound, message));
            }
            running.runtime.remove_image(&name).await.map_err(image_failure)?;
            Ok(Value::Null)
        }
        Request::Backup { file } => backup(running, &file).await,
        Request::Addons(_) | Request::Stop { .. } => {
            Err(Failure::new(Kind::Internal, "handled by the caller"))
        }
    }
}

/// Answers a request about addons; its steps are written as they happen.
async fn addons(running: &Running, request: sampan_addons::Request, write: &mut OwnedWriteHalf) -> Reply {
    let addons = &running.addons;
    let (tell, mut steps) = mpsc::unbounded_channel();
    let progress = move |step: sampan_addons::Step| {
        // nobody listens only once this function has returned
        let _ = tell.send(step);
    };
    let mut answer = std::pin::pin!(addons.answer(request, &progress));
    loop {
        tokio::select! {
            biased;
            Some(step) = steps.recv() => {
                let step = serde_json::to_value(step).unwrap_or_default();
                // whoever asked may have gone; what was begun is finished all the same
                let _ = send(write, &Reply::Progress(step)).await;
            }
            result = &mut answer => {
                return result.map_or_else(|error| addon_failure(&error).into(), Reply::Done);
            }
        }
    }
}

fn addon_failure(error: &sampan_addons::Error) -> Failure {
    use sampan_addons::ErrorKind;
    let kind = match error.kind() {
        ErrorKind::NotFound => Kind::AddonNotFound,
        ErrorKind::Configuration => Kind::AddonConfiguration,
        ErrorKind::Needs => Kind::AddonNeeds,
        ErrorKind::Owned => Kind::AddonOwned,
        ErrorKind::Package => Kind::AddonPackage,
        ErrorKind::BuiltIn => Kind::Usage,
        ErrorKind::NoPage => Kind::AddonNoPage,
        ErrorKind::Failed => Kind::AddonFailed,
        ErrorKind::Other => Kind::Internal,
    };
    Failure::new(kind, error.to_string())
}

async fn backup(running: &Running, file: &Path) -> Result<Value, Failure> {
    check_target(file)?;
    let store = &running.server.registry().store;
    store.backup(file).await.map_err(|error| Failure::new(Kind::Store, error.to_string()))?;
    Ok(json!({"file": file, "revision": store.revision()}))
}

/// Fails with [`Kind::Usage`] if no new file can be made there.
fn check_target(file: &Path) -> Result<(), Failure> {
    if std::fs::symlink_metadata(file).is_ok() {
        let message = format!("{} exists already; choose another name", file.display());
        return Err(Failure::new(Kind::Usage, message));
    }
    match file.parent() {
        Some(folder) if !folder.is_dir() => {
            let message = format!("there is no folder {}; choose one that exists", folder.display());
            Err(Failure::new(Kind::Usage, message))
        }
        _ => Ok(()),
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

fn image_failure(error: RuntimeError) -> Failure {
    let kind = match &error {
        RuntimeError::NotFound { .. } => Kind::NotFound,
        RuntimeError::InvalidImageName { .. } => Kind::Usage,
        _ => Kind::Image,
    };
    Failure::new(kind, error.to_string())
}

fn image(image: &ImageStatus) -> Value {
    json!({"id": image.id, "repoTags": image.repo_tags, "repoDigests": image.repo_digests, "sizeBytes": image.size_bytes})
}

fn status(running: &Running) -> Value {
    let component = |(component, health): (sampan_process::Component, sampan_process::ComponentHealth)| {
        let (state, reason) = match health.state {
            State::Starting => ("Starting", String::new()),
            State::Ready => ("Ready", String::new()),
            State::Failed(reason) => ("Failed", reason),
            State::Stopped => ("Stopped", String::new()),
        };
        let value = json!({"state": state, "reason": reason, "restarts": health.restarts});
        (component.name().to_owned(), value)
    };
    let components: serde_json::Map<String, Value> =
        running.health.all().into_iter().map(component).collect();
    json!({
        "profile": running.profile.name, "node": running.node, "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"), "kubernetesVersion": sampan_apiserver::VERSION,
        "containerRuntime": running.settings.container_runtime.to_string(),
        "components": components, "access": access::of(&running.server), "settings": running.settings,
    })
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
        let words = |path: &str| check_target(Path::new(path)).map_err(|failure| failure.message);
        assert!(words("/no-such-file.db").is_ok());
        assert!(words("/nonexist/b.db").is_err_and(|text| text.contains("no folder /nonexist;")));
        assert!(words("/etc/passwd").is_err_and(|text| text.contains("choose another name")));
    }
}
