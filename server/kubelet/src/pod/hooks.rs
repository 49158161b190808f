//! postStart and preStop: upstream's `pkg/kubelet/lifecycle/handlers.go`.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::context::Context;
use crate::probe::http;

/// Runs a handler to its end; an error is for the log and the event.
pub async fn run(
    context: &Context,
    container: &Container,
    id: &str,
    pod_ip: &str,
    handler: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let output = context.runtime.exec_sync(id, &command, None).await.map_err(|e| e.to_string())?;
        return match output.exit_code {
            0 => Ok(()),
            code => Err(format!(
                "command '{}' exited with {code}: {}",
                command.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )),
        };
    }
    if let Some(get) = &handler.http_get {
        let target = http::target(get, container, pod_ip)?;
        return http::get(&target, Duration::from_secs(60)).await.map(drop);
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.unsigned_abs())).await;
        return Ok(());
    }
    Err(format!("invalid handler: {handler:?}"))
}
