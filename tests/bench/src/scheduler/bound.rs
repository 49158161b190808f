//! The pods of a namespace as they are bound, by a watch of those that have a node.

use std::pin::Pin;

use anyhow::{Context, Result, ensure};
use futures::{AsyncBufRead, AsyncBufReadExt};
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Deserialize;

/// The watch.
pub struct Bound {
    lines: Pin<Box<dyn AsyncBufRead + Send>>,
    line: String,
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

impl Bound {
    /// From now on.
    pub async fn watch(client: &Client, namespace: &str) -> Result<Self> {
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), namespace);
        let version =
            api.list(&ListParams::default().limit(1)).await?.metadata.resource_version.unwrap_or_default();
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods?watch=true&fieldSelector=spec.nodeName%21%3D&resourceVersion={version}"
        );
        let request = hyper::Request::get(path).body(Vec::new())?;
        let lines = client.request_stream(request).await?;
        Ok(Self { lines: Box::pin(lines), line: String::new() })
    }

    /// The name of the next pod that is bound.
    pub async fn next(&mut self) -> Result<String> {
        loop {
            self.line.clear();
            let length = self.lines.read_line(&mut self.line).await?;
            ensure!(length > 0, "the watch ended");
            let event: Event = serde_json::from_str(&self.line).context("an event of a watch")?;
            match event.r#type.as_str() {
                "ADDED" => return Ok(event.object.metadata.name),
                "ERROR" => anyhow::bail!("the watch failed: {}", self.line),
                _ => {}
            }
        }
    }
}
