//! A thousand custom resource definitions: how long it takes to install them, and to start with them.
//!
//! Installed means that each one's condition Established has come on a watch; 32 are sent at once over TLS. Their schemas
//! are structural, of forty fields, with a rule in CEL and printer columns; a group has twenty of them. The start is
//! `sampan start` on the stopped cluster until the command returns, after which an object of the last definition
//! is written at once: it has to be served.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition,
};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use sampan_testkit::Cluster;
use serde_json::{Map, Value, json};

use crate::figure::{Figure, Goal, Unit};

const COUNT: usize = 1000;
const AT_ONCE: usize = 32;
const OF_A_GROUP: usize = 20;
/// How long all of them may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures both.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let (rounds, starts) = if short { (1, 2) } else { (3, 3) };
    let (mut installed, mut started) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let cluster = Cluster::start()?;
        installed.push(install(cluster.client().await?).await?.as_secs_f64() * 1e3);
        for start in 0..starts {
            cluster.sampan(&["stop"])?;
            let began = Instant::now();
            cluster.up()?;
            started.push(began.elapsed().as_secs_f64() * 1e3);
            served(&cluster, start).await?;
        }
    }
    let figure = |name, values, limit| Figure::alone(name, Unit::Milliseconds, values, Goal::Below(limit));
    Ok(vec![
        figure("1,000 CRDs: POST → all Established", installed, 10_000.0),
        figure("start with 1,000 CRDs → node Ready", started, 1500.0),
    ])
}

async fn install(client: Client) -> Result<Duration> {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let definitions = (0..COUNT).map(definition).collect::<Result<Vec<_>>>()?;
    let mut events = api.watch(&WatchParams::default(), "0").await?.boxed();
    let began = Instant::now();
    let creating = futures::stream::iter(&definitions)
        .map(|definition| {
            let api = &api;
            async move { api.create(&PostParams::default(), definition).await }
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| async { Ok(()) });
    let creating = async {
        creating.await?;
        eprintln!("{COUNT} definitions created in {:.2?}", began.elapsed());
        anyhow::Ok(())
    };
    let all = async {
        let mut established = HashSet::new();
        while established.len() < COUNT {
            match events.try_next().await?.context("the watch ended")? {
                WatchEvent::Added(one) | WatchEvent::Modified(one) if is_established(&one) => {
                    established.insert(one.metadata.name);
                }
                WatchEvent::Error(status) => bail!("the watch failed: {status:?}"),
                _ => {}
            }
        }
        Ok(began.elapsed())
    };
    let both = futures::future::try_join(creating, all);
    Ok(tokio::time::timeout(PATIENCE, both).await.context("not all were established")??.1)
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_deref());
    let established = |condition: &CustomResourceDefinitionCondition| {
        condition.type_ == "Established" && condition.status == "True"
    };
    conditions.unwrap_or_default().iter().any(established)
}

/// Writes an object of the last definition, and reads it back.
async fn served(cluster: &Cluster, number: usize) -> Result<()> {
    let last = COUNT - 1;
    let kind = GroupVersionKind::gvk(&group(last), "v1", &format!("Thing{last}"));
    let kind = ApiResource::from_gvk_with_plural(&kind, &format!("thing{last}s"));
    let api: Api<DynamicObject> = Api::default_namespaced_with(cluster.client().await?, &kind);
    let name = format!("one-{number}");
    let object = DynamicObject::new(&name, &kind).data(json!({"spec": {"low": 1, "high": 2}}));
    api.create(&PostParams::default(), &object).await?;
    let spec = &api.get(&name).await?.data["spec"];
    ensure!(spec["mode"] == "usual", "the default of the schema is missing: {spec}");
    Ok(())
}

fn group(number: usize) -> String {
    format!("group-{}.bench.example.org", number / OF_A_GROUP)
}

fn definition(number: usize) -> Result<CustomResourceDefinition> {
    let plural = format!("thing{number}s");
    let fields = (0..36).map(|field| {
        let schema = match field % 4 {
            0 => json!({"type": "string", "maxLength": 200, "description": "A text of the user's choice."}),
            1 => json!({"type": "integer", "minimum": 0, "format": "int32"}),
            2 => json!({"type": "array", "maxItems": 50, "items": {"type": "string", "maxLength": 100}}),
            _ => json!({"type": "object", "properties": {"name": {"type": "string"}, "on": {"type": "boolean"}}}),
        };
        (format!("field{field}"), schema)
    });
    let mut properties: Map<String, Value> = fields.collect();
    properties.insert("low".into(), json!({"type": "integer"}));
    properties.insert("high".into(), json!({"type": "integer"}));
    properties
        .insert("mode".into(), json!({"type": "string", "enum": ["usual", "rare"], "default": "usual"}));
    let rule = json!({"rule": "self.low <= self.high", "message": "low is above high"});
    let spec = json!({
        "type": "object", "required": ["low", "high"], "properties": properties, "x-kubernetes-validations": [rule],
    });
    let status = json!({"type": "object", "properties": {"phase": {"type": "string"}}});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": format!("{plural}.{}", group(number))},
        "spec": {
            "group": group(number),
            "scope": "Namespaced",
            "names": {
                "plural": plural, "singular": format!("thing{number}"),
                "kind": format!("Thing{number}"), "listKind": format!("Thing{number}List"),
            },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Mode", "type": "string", "jsonPath": ".spec.mode"},
                    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
                ],
            }],
        },
    }))?)
}
