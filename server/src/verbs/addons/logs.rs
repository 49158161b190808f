//! `sampan addons logs`: what an addon's code said, and what the pods of a package's workloads said.

use futures::AsyncBufReadExt;
use futures::stream::{SelectAll, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, ListParams, LogParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use sampan_addons::{Details, Reference, Request, Sort};
use serde_json::Value;

use super::ask;
use crate::failure::{Failure, Kind};
use crate::verbs::{Context, Outcome};

/// Kinds that have pods.
const WORKLOADS: [&str; 5] = ["DaemonSet", "Deployment", "Job", "ReplicaSet", "StatefulSet"];

/// Runs the verb.
pub async fn run(context: Context, name: String, follow: bool, tail: usize) -> Outcome {
    let native = sampan_addons::natives().iter().any(|addon| addon.about().name == name);
    if native {
        return crate::verbs::logs::run(context, Some(name), follow, tail).await;
    }
    let details: Details = ask(&context, Request::Show { name: name.clone() }).await?;
    if details.status.sort == Sort::Native {
        return crate::verbs::logs::run(context, Some(name), follow, tail).await;
    }
    let client = client(&context).await?;
    let pods = pods(&client, &details.objects).await?;
    let lines = i64::try_from(tail).unwrap_or(i64::MAX);
    let mut all = SelectAll::new();
    for (namespace, pod, container) in pods {
        let params = LogParams {
            container: Some(container.clone()),
            follow,
            tail_lines: Some(lines),
            ..LogParams::default()
        };
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let place = format!("{namespace}/{pod} {container}");
        match api.log_stream(&pod, &params).await {
            Ok(log) => all.push(Box::pin(log.lines().map(move |line| (place.clone(), line)))),
            // a container that has not started yet has no log
            Err(error) => eprintln!("{place}: {error}"),
        }
    }
    while let Some((place, line)) = all.next().await {
        println!("[{place}] {}", line?);
    }
    // what the platform did with it comes last: it is what one looks for when no pod says anything
    let own = context.profile.logs().join(format!("{name}.log")).exists();
    if own && !follow {
        return crate::verbs::logs::run(context, Some(name), false, tail).await;
    }
    Ok(0)
}

async fn client(context: &Context) -> Result<Client, Failure> {
    let Some((path, name)) = context.profile.settings()?.kubeconfig else {
        let message = format!("there is no cluster {:?}", context.profile.name);
        return Err(Failure::new(Kind::NotRunning, message));
    };
    super::super::demo::client(&path, &name).await
}

/// Namespace, pod and container of everything that a package runs.
async fn pods(client: &Client, objects: &[Reference]) -> Result<Vec<(String, String, String)>, Failure> {
    let mut found = Vec::new();
    for object in objects {
        let Some(namespace) = &object.namespace else { continue };
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let list = match object.kind.as_str() {
            "Pod" => api.get_opt(&object.name).await.map_err(anyhow::Error::from)?.into_iter().collect(),
            kind if WORKLOADS.contains(&kind) => {
                let Some(selector) = selector(client, namespace, object).await? else { continue };
                api.list(&ListParams::default().labels(&selector)).await.map_err(anyhow::Error::from)?.items
            }
            _ => Vec::new(),
        };
        for pod in list {
            let containers = pod.spec.into_iter().flat_map(|spec| spec.containers);
            let name = pod.metadata.name.unwrap_or_default();
            found.extend(containers.map(|container| (namespace.clone(), name.clone(), container.name)));
        }
    }
    Ok(found)
}

/// The labels of a workload's pods, as a list takes them.
async fn selector(client: &Client, namespace: &str, object: &Reference) -> Result<Option<String>, Failure> {
    let (group, version) = object.api_version.rsplit_once('/').unwrap_or(("", &object.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &object.kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let workload = api.get_opt(&object.name).await.map_err(anyhow::Error::from)?;
    let labels = workload.map(|workload| workload.data["spec"]["selector"]["matchLabels"].clone());
    let pairs = labels.as_ref().and_then(Value::as_object).map(|labels| {
        labels
            .iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
    });
    Ok(pairs.filter(|pairs| !pairs.is_empty()).map(|pairs| pairs.join(",")))
}
