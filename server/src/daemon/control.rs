//! The daemon's end of the control socket.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use sampan_cri::{ImageStatus, RuntimeError};
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
            0
        };
        let _ = send(&mut self.write, &Reply::Done(json!({"running": left}))).await;
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
        while let Ok((stream, _)) = listener.accept().await {
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
        for path in [profile.socket(), profile.run.clone()] {
            nix::unistd::chown(&path, Some(uid), Some(gid)).map_err(std::io::Error::from)?;
        }
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
            let loaded = running.runtime.load_images(archive).await.map_err(image_failure)?;
            Ok(loaded.iter().map(image).collect())
        }
        Request::ImageRemove { image: name } => {
            let known = running.runtime.image_status(&name).await.map_err(image_failure)?;
            if known.is_none() {
                return Err(Failure::new(Kind::NotFound, format!("there is no image {name}")));
            }
            running.runtime.remove_image(&name).await.map_err(image_failure)?;
            Ok(Value::Null)
        }
        Request::Backup { file } => backup(running, &file).await,
        Request::Stop { .. } => Err(Failure::new(Kind::Internal, "stop is handled by the caller")),
    }
}

async fn backup(running: &Running, file: &std::path::Path) -> Result<Value, Failure> {
    if file.exists() {
        return Err(Failure::new(Kind::Usage, format!("{} exists already", file.display())));
    }
    let store = &running.server.registry().store;
    store.backup(file).await.map_err(|error| Failure::new(Kind::Store, error.to_string()))?;
    Ok(json!({"file": file, "revision": store.revision()}))
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
        "components": components, "access": access::of(&running.server),
    })
}
