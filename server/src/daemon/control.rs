//! How the daemon is told to end, and how it ends the pods.

use serde_json::json;

use super::components::Running;
use super::shutdown;
use crate::messages::Message;
use crate::rest::Telling;

/// Someone asked the daemon to end and waits for the answer.
pub struct StopRequest {
    keep_pods: bool,
    telling: Telling,
}

impl StopRequest {
    /// To end, with or without the pods.
    pub fn new(keep_pods: bool, telling: Telling) -> Self {
        Self { keep_pods, telling }
    }

    /// Stops the containers (unless told not to), tells so, and answers.
    pub async fn stop_and_answer(self, running: &Running) {
        let pods = shutdown::running(&running.runtime).await.len();
        let left = if self.keep_pods {
            pods
        } else {
            let message = serde_json::to_value(Message::StoppingPods { count: pods }).unwrap_or_default();
            self.telling.step(message);
            shutdown::stop_containers(&running.runtime).await;
            withdraw(running).await;
            0
        };
        self.telling.done(json!({"running": left}));
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
