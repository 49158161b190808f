//! Sees to it that a container's image is there: upstream's `pkg/kubelet/images/image_manager.go`.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use sampan_cri::{ImageAuth, ImageStatus, RuntimeError};
use serde_json::Value;

use super::backoff::go_duration;
use crate::context::Context;
use crate::volume::Holdings;

/// Reason and message of a failure, as the container's status shows them.
pub type Failure = (&'static str, String);

/// The image, pulled if the policy and its absence ask for it.
pub async fn ensure(
    context: &Context,
    pod: &Pod,
    container: &Container,
    secrets: &[Arc<Secret>],
) -> Result<ImageStatus, Failure> {
    let image = container.image.as_deref().unwrap_or_default();
    let tell = |warning: bool, reason: &str, text: &str| {
        context.tell(pod, warning, reason, text, Some(&container.name))
    };
    let result = ensure_told(context, container, secrets, image, &tell).await;
    if let Err((reason, _)) = &result {
        tell(true, "Failed", &format!("Error: {reason}"));
    }
    result
}

async fn ensure_told(
    context: &Context,
    container: &Container,
    secrets: &[Arc<Secret>],
    image: &str,
    tell: &(dyn Fn(bool, &str, &str) + Sync),
) -> Result<ImageStatus, Failure> {
    let present = match context.runtime.image_status(image).await {
        Ok(present) => present,
        Err(RuntimeError::InvalidImageName { message, .. }) => {
            let text = format!(
                "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {message}"
            );
            tell(true, "InspectFailed", &text);
            return Err(("InvalidImageName", text));
        }
        Err(error) => {
            let text = format!("Failed to inspect image {image:?}: {error}");
            tell(true, "InspectFailed", &text);
            return Err(("ImageInspectError", text));
        }
    };
    match (pull_policy(container), present) {
        ("IfNotPresent" | "Never", Some(status)) => {
            // a runtime may have found it elsewhere on this machine just now
            if !context.images_reported.lock().contains(&status.id) {
                context.images_changed.notify_one();
            }
            let text = format!(
                "Container image {image:?} already present on machine and can be accessed by the pod"
            );
            tell(false, "Pulled", &text);
            Ok(status)
        }
        ("Never", None) => {
            let text = format!("Container image {image:?} is not present with pull policy of Never");
            tell(true, "ErrImageNeverPull", &text);
            Err(("ErrImageNeverPull", text))
        }
        _ => pull(context, image, secrets, tell).await,
    }
}

fn pull_policy(container: &Container) -> &str {
    container.image_pull_policy.as_deref().unwrap_or("IfNotPresent")
}

async fn pull(
    context: &Context,
    image: &str,
    secrets: &[Arc<Secret>],
    tell: &(dyn Fn(bool, &str, &str) + Sync),
) -> Result<ImageStatus, Failure> {
    tell(false, "Pulling", &format!("Pulling image {image:?}"));
    let began = Instant::now();
    let auth = secrets.iter().flat_map(|secret| matching(secret, image)).collect();
    match context.runtime.pull_image(image, auth).await {
        Ok(status) => {
            context.images_changed.notify_one();
            let took = go_duration(SignedDuration::try_from(began.elapsed()).unwrap_or_default());
            let text = format!(
                "Successfully pulled image {image:?} in {took} ({took} including waiting). Image size: {} bytes.",
                status.size_bytes
            );
            tell(false, "Pulled", &text);
            Ok(status)
        }
        Err(error) => {
            let text = remote_error(&error);
            tell(true, "Failed", &format!("Failed to pull image {image:?}: {text}"));
            let reason = if matches!(error, RuntimeError::InvalidImageName { .. }) {
                "InvalidImageName"
            } else {
                "ErrImagePull"
            };
            Err((reason, text))
        }
    }
}

/// The words of a CRI client, which tools look for: `rpc error: code = NotFound desc = …`.
fn remote_error(error: &RuntimeError) -> String {
    let text = error.to_string();
    let missing =
        text.contains("not found") || text.contains("manifest unknown") || text.contains("NAME_UNKNOWN");
    let code = match error {
        RuntimeError::InvalidImageName { .. } => "InvalidArgument",
        RuntimeError::Unavailable(_) => "Unavailable",
        _ if missing => "NotFound",
        _ => "Unknown",
    };
    format!("rpc error: code = {code} desc = {text}")
}

/// The pod's pull secrets that are there, in their order, with credentials for registries; an event tells of the others
/// (upstream's `getPullSecretsForPod`).
pub async fn pull_secrets(context: &Context, pod: &Pod, holdings: &Holdings) -> Vec<Arc<Secret>> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for reference in pod.spec.iter().flat_map(|s| s.image_pull_secrets.iter().flatten()) {
        // validation lets names be empty
        if reference.name.is_empty() {
            continue;
        }
        match holdings.secret(context, namespace, &reference.name, false).await {
            Ok(Some(secret)) => found.push(secret),
            _ => missing.push(reference.name.as_str()),
        }
    }
    if let Some(text) = without(&missing) {
        context.tell(pod, true, "FailedToRetrieveImagePullSecret", &text, None);
    }
    found
}

/// What is said of secrets that are missing.
fn without(missing: &[&str]) -> Option<String> {
    let names = missing.join(", ");
    (!missing.is_empty()).then(|| {
        format!(
            "Unable to retrieve some image pull secrets ({names}); attempting to pull the image may not succeed."
        )
    })
}

fn matching(secret: &Secret, image: &str) -> Vec<ImageAuth> {
    let data = secret.data.as_ref();
    let modern = data.and_then(|d| d.get(".dockerconfigjson"));
    let legacy = data.and_then(|d| d.get(".dockercfg"));
    let Some(config) = modern.or(legacy).and_then(|b| serde_json::from_slice::<Value>(&b.0).ok()) else {
        return Vec::new();
    };
    let auths = if modern.is_some() { config.get("auths").cloned().unwrap_or_default() } else { config };
    let entries = auths.as_object().cloned().unwrap_or_default();
    entries.iter().filter(|(host, _)| serves(host, image)).filter_map(|(_, entry)| auth_of(entry)).collect()
}

/// Whether a key of a docker configuration is for the registry of `image`.
fn serves(key: &str, image: &str) -> bool {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let key = key.trim_end_matches("/v1").trim_end_matches("/v2");
    let first = image.split('/').next().unwrap_or_default();
    let has_host = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let full = if has_host { image.to_owned() } else { format!("docker.io/{image}") };
    let key = if matches!(key, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { key };
    full == key || full.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'))
}

fn auth_of(entry: &Value) -> Option<ImageAuth> {
    let text =
        |name: &str| entry.get(name).and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned);
    if let Some(token) = text("registrytoken") {
        return Some(ImageAuth::Bearer(token));
    }
    if let (Some(username), Some(password)) = (text("username"), text("password")) {
        return Some(ImageAuth::Basic { username, password });
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(text("auth")?).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some(ImageAuth::Basic { username: username.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_pull_secrets_are_told_in_one_breath() {
        let text = |names: &str| {
            format!(
                "Unable to retrieve some image pull secrets ({names}); attempting to pull the image may not succeed."
            )
        };
        for (missing, expected) in
            [(&[][..], None), (&["nosuch"], Some(text("nosuch"))), (&["a", "b"], Some(text("a, b")))]
        {
            assert_eq!(without(missing), expected);
        }
    }

    #[test]
    fn a_key_serves_its_own_registry() {
        for (key, image, want) in [
            ("https://index.docker.io/v1/", "nginx", true),
            ("https://index.docker.io/v1/", "ghcr.io/a/b", false),
            ("ghcr.io", "ghcr.io/a/b:1", true),
            ("ghcr.io/a", "ghcr.io/ab/c", false),
            ("127.0.0.1:5000", "127.0.0.1:5000/x", true),
        ] {
            assert_eq!(serves(key, image), want, "{key} {image}");
        }
    }
}
