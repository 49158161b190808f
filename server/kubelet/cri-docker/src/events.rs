//! The engine's event stream as ours.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures::StreamExt;
use sampan_cri::{ContainerEvent, ContainerEventKind};
use tokio::sync::broadcast;

use crate::labels;

/// Pause before the stream is asked for again after the engine went away.
const PAUSE: Duration = Duration::from_secs(1);

/// Repeats the engine's events for `profile`'s containers for ever; the engine may restart meanwhile.
pub async fn follow(docker: Docker, profile: String, events: broadcast::Sender<ContainerEvent>) {
    let mut since: Option<i64> = None;
    loop {
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            (
                "label".to_owned(),
                vec![format!("{}={profile}", labels::PROFILE), format!("{}=container", labels::KIND)],
            ),
        ]);
        let mut options = EventsOptionsBuilder::default().filters(&filters);
        let from = since.map(|since| since.to_string());
        if let Some(from) = &from {
            options = options.since(from);
        }
        let mut stream = docker.events(Some(options.build()));
        while let Some(Ok(message)) = stream.next().await {
            since = message.time.or(since);
            if let Some(event) = convert(message) {
                // nobody listening is fine: the kubelet lists when it starts
                let _ = events.send(event);
            }
        }
        tracing::warn!("the Docker Engine's event stream ended");
        tokio::time::sleep(PAUSE).await;
    }
}

fn convert(message: EventMessage) -> Option<ContainerEvent> {
    let kind = match message.action.as_deref()? {
        "create" => ContainerEventKind::Created,
        "start" => ContainerEventKind::Started,
        "die" => ContainerEventKind::Stopped,
        "destroy" => ContainerEventKind::Deleted,
        _ => return None,
    };
    let actor = message.actor?;
    let known = labels::read(&actor.attributes.unwrap_or_default());
    Some(ContainerEvent { container_id: actor.id?, sandbox_id: known.sandbox_id, pod: known.pod, kind })
}
