//! What pods and nodes use: the metrics API, asked as the user as often as it measures.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use sampan_view::feed::{Kind, Usage};
use serde::Deserialize;
use std::collections::BTreeMap;

use super::desk::Desk;
use super::list::segment;
use super::project::quantity;

/// The metrics addon measures this often; nothing tells when it has.
pub const EVERY: Duration = Duration::from_secs(15);
/// Without metrics they are looked for this often.
pub const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// Whether a kind's objects are measured.
pub fn is_measured(kind: &Kind) -> bool {
    kind.group.is_empty() && ["pods", "nodes"].contains(&kind.resource.as_str())
}

#[derive(Deserialize)]
struct Metrics {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Meta,
    #[serde(default)]
    usage: BTreeMap<String, String>,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Meta {
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
struct Container {
    usage: BTreeMap<String, String>,
}

/// What is used now; none if nobody says so or the user may not know.
pub async fn read(desk: &Desk, kind: &Kind, namespaces: &[String]) -> Option<Vec<Usage>> {
    const BASE: &str = "/apis/metrics.k8s.io/v1beta1";
    let resource = &kind.resource;
    if namespaces.is_empty() {
        return page(desk, format!("{BASE}/{resource}")).await;
    }
    let mut all = Vec::new();
    for namespace in namespaces {
        all.extend(page(desk, format!("{BASE}/namespaces/{}/{resource}", segment(namespace))).await?);
    }
    Some(all)
}

async fn page(desk: &Desk, uri: String) -> Option<Vec<Usage>> {
    let request =
        Request::builder().uri(uri).header(http::header::ACCEPT, "application/json").body(Bytes::new());
    let (head, body) = (desk.api)(desk.user.clone(), request.ok()?).await.response.into_parts();
    if !head.status.is_success() {
        return None;
    }
    parse(&body.collect().await.ok()?.to_bytes())
}

fn parse(body: &[u8]) -> Option<Vec<Usage>> {
    let metrics: Metrics = serde_json::from_slice(body).ok()?;
    let one = |item: Item| {
        let all: Vec<&BTreeMap<String, String>> = match item.containers.is_empty() {
            true => vec![&item.usage],
            false => item.containers.iter().map(|container| &container.usage).collect(),
        };
        let sum = |what: &str| all.iter().filter_map(|usage| quantity(usage.get(what)?)).sum::<f64>();
        // both are far below 2^53
        let whole = |number: f64| number.round().max(0.0) as u64;
        Usage {
            cpu_millis: whole(sum("cpu") * 1000.0),
            memory_bytes: whole(sum("memory")),
            namespace: item.metadata.namespace,
            name: item.metadata.name,
        }
    };
    Some(metrics.items.into_iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_added_up() {
        let body = br#"{"items":[
            {"metadata":{"name":"p","namespace":"n"},"containers":[{"usage":{"cpu":"1500000n","memory":"2Mi"}},{"usage":{"cpu":"2m","memory":"1Ki"}}]},
            {"metadata":{"name":"node"},"usage":{"cpu":"250m","memory":"1Gi"}}]}"#;
        let usage = parse(body).expect("metrics");
        assert_eq!((usage[0].cpu_millis, usage[0].memory_bytes), (4, 2_098_176));
        assert_eq!(
            (usage[1].name.as_str(), usage[1].cpu_millis, usage[1].memory_bytes),
            ("node", 250, 1_073_741_824)
        );
        assert!(parse(b"{}").is_none());
    }
}
