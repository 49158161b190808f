//! `sampan demo`: the built-in demo, applied and seen to answer.

use std::time::Duration;

use anyhow::Context as _;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Context, Outcome};
use crate::failure::{Failure, Kind};
use crate::messages::Message;

/// The demo's manifest.
const MANIFEST: &str = include_str!("../../../assets/demo/demo.yaml");
/// How long the demo may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the verb.
pub async fn run(mut context: Context) -> Outcome {
    let Some((path, name)) = context.profile.settings()?.kubeconfig else {
        return Err(Failure::new(
            Kind::NotRunning,
            format!("there is no cluster {:?}", context.profile.name),
        ));
    };
    let client = client(&path, &name).await?;
    apply(&client).await?;
    context.ui.step(&Message::DemoApplied);
    let waited = tokio::time::timeout(PATIENCE, running_pod(&client)).await;
    let (pod, address) = waited.map_err(|_| {
        Failure::new(
            Kind::Runtime,
            "the demo's pod did not become ready; see `kubectl describe pod -l app=demo`",
        )
    })??;
    fetch(&address).await?;
    context.ui.step(&Message::DemoRunning { pod: pod.clone(), url: format!("http://{address}/") });
    context.ui.step(&Message::TryNext);
    for line in [
        "kubectl get pods -A".to_owned(),
        format!("kubectl logs -f {pod}"),
        "kubectl scale deployment demo --replicas=3".to_owned(),
    ] {
        context.ui.plain(&format!("    {line}"));
    }
    Ok(0)
}

/// A client for a context of a kubeconfig.
pub(super) async fn client(path: &std::path::Path, context: &str) -> Result<Client, Failure> {
    let text = std::fs::read(path).with_context(|| format!("cannot read kubeconfig {}", path.display()))?;
    // not `read_from`, which would bring a second YAML library
    let file: kube::config::Kubeconfig = serde_yaml_ng::from_slice(&text)
        .with_context(|| format!("cannot parse kubeconfig {}", path.display()))?;
    let options = kube::config::KubeConfigOptions { context: Some(context.to_owned()), ..Default::default() };
    let config = kube::Config::from_custom_kubeconfig(file, &options).await.map_err(anyhow::Error::from)?;
    Ok(Client::try_from(config).map_err(anyhow::Error::from)?)
}

/// Creates the Deployment; one that is there already is left as it is.
async fn apply(client: &Client) -> Result<(), Failure> {
    let deployment: Deployment = serde_yaml_ng::from_str(MANIFEST).map_err(anyhow::Error::from)?;
    let api: Api<Deployment> = Api::namespaced(client.clone(), "default");
    match api.create(&PostParams::default(), &deployment).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(Failure::new(Kind::NotRunning, error.to_string())),
    }
}

/// Name and address of a pod of the demo that is ready.
async fn running_pod(client: &Client) -> Result<(String, String), Failure> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let available = |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.and_then(|status| status.available_replicas).unwrap_or(0) > 0
    };
    await_condition(deployments, "demo", available).await.map_err(anyhow::Error::from)?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let list = pods.list(&ListParams::default().labels("app=demo")).await.map_err(anyhow::Error::from)?;
    let ready = list.items.iter().find_map(|pod| {
        let status = pod.status.as_ref()?;
        let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
        let name =
            pod.metadata.name.clone().filter(|_| ready && pod.metadata.deletion_timestamp.is_none())?;
        Some((name, format!("{}:8080", status.pod_ip.as_ref()?)))
    });
    ready.ok_or_else(|| Failure::new(Kind::Runtime, "the demo's pod went away as soon as it was ready"))
}

/// Asks the demo for its page.
async fn fetch(address: &str) -> Result<(), Failure> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    match &head {
        b"HTTP/1.1 200" => Ok(()),
        other => Err(Failure::new(
            Kind::Runtime,
            format!("the demo answered {:?}", String::from_utf8_lossy(other)),
        )),
    }
}
