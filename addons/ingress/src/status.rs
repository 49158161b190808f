//! What Ingresses say of themselves: the address, what is not served, and events. The rim around [`status`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::networking::v1::{Ingress, IngressLoadBalancerIngress, IngressPortStatus};
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use sampan_addon::Context;
use sampan_reconcile::{Controller, Error, Informer, Key, Object, Recorder, Sources, reference};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::Config;
use crate::compile::Problem;
use crate::index::Index;

/// What an Ingress that we serve has for a status: the address and the ports, each with the first problem that concerns
/// it. Pure.
pub fn status(address: IpAddr, config: &Config, problems: &[Problem]) -> Vec<IngressLoadBalancerIngress> {
    let port = |number: u16, tls: bool| {
        let first = problems.iter().find(|problem| problem.tls == tls);
        IngressPortStatus {
            port: number.into(),
            protocol: "TCP".into(),
            error: first.map(|problem| format!("sampan.dev/{}", problem.reason)),
        }
    };
    let ports = [(config.http.port, false), (config.https.port, true)];
    let ports = ports.into_iter().filter(|(number, _)| *number != 0).map(|(number, tls)| port(number, tls));
    let ip = Some(address.to_string());
    vec![IngressLoadBalancerIngress { ip, ports: Some(ports.collect()), ..Default::default() }]
}

fn held(ingress: &Ingress) -> &[IngressLoadBalancerIngress] {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    status.and_then(|status| status.ingress.as_deref()).unwrap_or_default()
}

/// Whether a status is one that we wrote: other controllers write no ports.
fn is_ours(ingress: &Ingress, address: IpAddr) -> bool {
    let address = address.to_string();
    held(ingress)
        .iter()
        .any(|one| one.ip.as_ref() == Some(&address) && one.ports.as_ref().is_some_and(|p| !p.is_empty()))
}

/// The controller.
pub struct Publisher {
    client: kube::Client,
    ingresses: Informer<Ingress>,
    index: Arc<Mutex<Index>>,
    recorder: Recorder,
    address: Option<IpAddr>,
    config: Config,
    /// What has been told of each.
    told: Mutex<BTreeMap<Key, Vec<Problem>>>,
    touched: Mutex<Option<UnboundedReceiver<Key>>>,
}

/// The address that Ingresses show.
pub fn address(config: &Config, context: &Context) -> Option<IpAddr> {
    let listened = config.addresses.iter().find(|ip| !ip.is_unspecified());
    config.publish_address.or(listened.copied()).or(context.site.node_ips.first().copied())
}

impl Publisher {
    /// Publishes what `index` knows of the Ingresses that `touched` names.
    pub fn new(
        context: &Context,
        config: Config,
        ingresses: Informer<Ingress>,
        index: Arc<Mutex<Index>>,
        touched: UnboundedReceiver<Key>,
    ) -> Self {
        Self {
            client: context.client.clone(),
            recorder: Recorder::new(context.client.clone(), "sampan-ingress", "", &context.tasks),
            address: address(&config, context),
            ingresses,
            index,
            config,
            told: Mutex::default(),
            touched: Mutex::new(Some(touched)),
        }
    }

    fn tell(&self, ingress: &Ingress, problems: Vec<Problem>) {
        let object = reference(ingress);
        let mut told = self.told.lock();
        let before = told.get(&ingress.key()).cloned().unwrap_or_default();
        for problem in problems.iter().filter(|problem| !before.contains(problem)) {
            self.recorder.warning(&object, problem.reason, problem.message.clone());
        }
        match problems.is_empty() {
            true => _ = told.remove(&ingress.key()),
            false => _ = told.insert(ingress.key(), problems),
        }
    }
}

async fn write(
    client: &kube::Client,
    ingress: &Ingress,
    wanted: &[IngressLoadBalancerIngress],
) -> Result<Ingress, kube::Error> {
    let list = if wanted.is_empty() { json!(null) } else { json!(wanted) };
    let meta = &ingress.metadata;
    // the resourceVersion: a status must not be set by what a user has just changed away from
    let body = json!({
        "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        "status": {"loadBalancer": {"ingress": list}},
    });
    let api: Api<Ingress> = Api::namespaced(client.clone(), meta.namespace.as_deref().unwrap_or_default());
    api.patch_status(&ingress.key().name, &PatchParams::default(), &Patch::Merge(body)).await
}

/// Takes the address back from every Ingress.
///
/// # Errors
/// The API refused.
pub async fn withdraw(context: &Context, config: &Config) -> Result<(), Error> {
    let Some(address) = address(config, context) else { return Ok(()) };
    let ingresses = context.informers.of::<Ingress>();
    ingresses.synced().await;
    for listed in ingresses.list() {
        let mut ingress = Some(listed);
        while let Some(held) = ingress.take().filter(|ingress| is_ours(ingress, address)) {
            match write(&context.client, &held, &[]).await.map_err(Error::from) {
                // somebody changed it meanwhile: once more with what it is now
                Err(error) if error.is_race() => {
                    let api: Api<Ingress> = Api::namespaced(context.client.clone(), held.key().namespace());
                    ingress = api.get_opt(&held.key().name).await?.map(Arc::new);
                }
                other => _ = other?,
            }
        }
    }
    Ok(())
}

impl Controller for Publisher {
    type Key = Key;

    fn name(&self) -> &'static str {
        "sampan-ingress"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.needs(&self.ingresses);
        if let Some(receiver) = self.touched.lock().take() {
            let keys = futures::stream::unfold(receiver, |mut receiver| async {
                receiver.recv().await.map(|key| (key, receiver))
            });
            sources.stream(keys.boxed());
        }
        // somebody else's write of the status
        sources.on(&self.ingresses, |delta| {
            let changed = match (&delta.old, &delta.new) {
                (Some(old), Some(new)) => held(old) != held(new),
                _ => false,
            };
            if changed { vec![delta.key.clone()] } else { Vec::new() }
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let (Some(ingress), Some(address)) = (self.ingresses.get(key), self.address) else {
            self.told.lock().remove(key);
            return Ok(None);
        };
        let (served, problems) = {
            let index = self.index.lock();
            (index.has(key), index.problems(key))
        };
        let wanted = match served {
            true => status(address, &self.config, &problems),
            false if is_ours(&ingress, address) => Vec::new(),
            false => return Ok(None),
        };
        if held(&ingress) != wanted {
            if served && held(&ingress).is_empty() {
                self.recorder.normal(&reference(&*ingress), "Sync", "Scheduled for sync");
            }
            let written = write(&self.client, &ingress, &wanted).await?;
            self.ingresses.reached(written.version()).await;
        }
        self.tell(&ingress, problems);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_show_at_their_port() {
        let config = Config::default();
        let problem = |reason, tls| Problem { reason, message: String::new(), tls };
        let ip = "192.0.2.1".parse().unwrap();
        let errors = |problems: &[Problem]| {
            let status = status(ip, &config, problems);
            assert_eq!((status.len(), status[0].ip.as_deref()), (1, Some("192.0.2.1")));
            let ports = status[0].ports.clone().unwrap();
            ports.into_iter().map(|port| (port.port, port.error.unwrap_or_default())).collect::<Vec<_>>()
        };
        assert_eq!(errors(&[]), [(80, String::new()), (443, String::new())]);
        let both =
            [problem("BadCertificate", true), problem("PathConflict", false), problem("BadPath", false)];
        let expected =
            [(80, "sampan.dev/PathConflict".to_owned()), (443, "sampan.dev/BadCertificate".to_owned())];
        assert_eq!(errors(&both), expected);
    }
}
