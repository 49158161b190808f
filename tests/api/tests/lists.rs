//! list, pages, resourceVersion, watch, bookmarks, WatchList.
#![allow(clippy::unwrap_used)]

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use sampan_test_api::{ask, get};
use sampan_testkit::Cluster;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

#[tokio::test]
async fn lists_and_watches() -> Result<()> {
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    pages(&client).await.context("pages")?;
    println!("pages: ok");
    revisions(&client).await.context("revisions")?;
    println!("revisions: ok");
    initial_events(&client).await.context("initial_events")?;
    println!("initial_events: ok");
    shapes(&client).await.context("shapes")?;
    println!("shapes: ok");
    resume(&client).await.context("resume")?;
    println!("resume: ok");
    discovery(&client).await
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"set": "pages"}}})).unwrap()
}

fn name(map: &ConfigMap) -> String {
    map.metadata.name.clone().unwrap_or_default()
}

/// Pages are exact at the first page's revision, whatever happens meanwhile.
async fn pages(client: &Client) -> Result<()> {
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for number in 0..25 {
        api.create(&PostParams::default(), &map(&format!("page-{number:02}"))).await?;
    }
    let mut parameters = ListParams::default().labels("set=pages").limit(7);
    let first = api.list(&parameters).await?;
    api.delete("page-20", &DeleteParams::default()).await?;
    api.create(&PostParams::default(), &map("page-99")).await?;
    let mut names: Vec<String> = first.items.iter().map(name).collect();
    parameters.continue_token = first.metadata.continue_.clone();
    while parameters.continue_token.as_deref().is_some_and(|token| !token.is_empty()) {
        let page = api.list(&parameters).await?;
        ensure!(page.metadata.resource_version == first.metadata.resource_version, "another revision");
        names.extend(page.items.iter().map(name));
        parameters.continue_token = page.metadata.continue_;
    }
    let wanted: Vec<String> = (0..25).map(|number| format!("page-{number:02}")).collect();
    ensure!(names == wanted, "{names:?}");
    // without a selector the rest is counted
    let answer = get(client, &format!("{MAPS}?limit=10"), "application/json").await?.json();
    ensure!(answer["metadata"]["remainingItemCount"] == 16, "{}", answer["metadata"]);
    Ok(())
}

/// resourceVersion and resourceVersionMatch: upstream's matrix.
async fn revisions(client: &Client) -> Result<()> {
    let now =
        get(client, MAPS, "*/*").await?.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let cases = [
        ("resourceVersion=0".to_owned(), 200),
        (format!("resourceVersion={now}"), 200),
        (format!("resourceVersion={now}&resourceVersionMatch=Exact"), 200),
        (format!("resourceVersion={now}&resourceVersionMatch=NotOlderThan"), 200),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan&limit=3".to_owned(), 200),
        ("resourceVersionMatch=Exact".to_owned(), 422),
        ("resourceVersion=0&resourceVersionMatch=Exact".to_owned(), 422),
        ("resourceVersion=0&resourceVersionMatch=Newest".to_owned(), 422),
        ("resourceVersionMatch=NotOlderThan".to_owned(), 422),
        ("sendInitialEvents=true".to_owned(), 422),
        (format!("watch=1&resourceVersion={now}&resourceVersionMatch=Exact"), 422),
        ("watch=1&sendInitialEvents=true".to_owned(), 422),
        ("watch=1&resourceVersion=x".to_owned(), 422),
    ];
    for (query, code) in cases {
        let answer = get(client, &format!("{MAPS}?{query}"), "*/*").await?;
        ensure!(answer.code == code, "{query}: {} {}", answer.code, answer.text);
    }
    // exact means: as it was
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    api.create(&PostParams::default(), &map("later")).await?;
    let path = format!("{MAPS}?resourceVersion={now}&resourceVersionMatch=Exact");
    let old = get(client, &path, "*/*").await?;
    ensure!(!old.text.contains("\"later\"") && old.text.contains("page-99"), "not exact");
    ensure!(old.json()["metadata"]["resourceVersion"] == now);
    Ok(())
}

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn initial_events(client: &Client) -> Result<()> {
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
    let events = events(&get(client, &format!("{MAPS}?{query}"), "*/*").await?.text);
    let end = events.iter().position(|event| {
        event["type"] == "BOOKMARK"
            && event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
    });
    let end = end.expect("the end of the initial events is told");
    ensure!(events.iter().take(end).all(|event| event["type"] == "ADDED"));
    // page-00 … page-24 without page-20, page-99, later and the root CA
    ensure!(end == 27, "{end} initial events");
    Ok(())
}

async fn shapes(client: &Client) -> Result<()> {
    let table = get(client, MAPS, TABLE).await?.json();
    ensure!(table["kind"] == "Table" && table["columnDefinitions"][1]["name"] == "Data", "{table}");
    ensure!(table["rows"][0]["object"]["kind"] == "PartialObjectMetadata");
    let answer = get(client, MAPS, METADATA).await?;
    ensure!(answer.code == 406, "a list is not one object: {}", answer.text);
    let list = get(client, MAPS, METADATA_LIST).await?.json();
    ensure!(list["kind"] == "PartialObjectMetadataList" && list["items"][0].get("data").is_none());
    let watch = format!("{MAPS}?watch=1&timeoutSeconds=1");
    let rows = events(&get(client, &watch, TABLE).await?.text);
    ensure!(
        rows[0]["object"]["columnDefinitions"].is_array() && rows[1]["object"]["columnDefinitions"].is_null()
    );
    ensure!(rows.iter().all(|event| event["object"]["kind"] == "Table"));
    let metadata = events(&get(client, &watch, METADATA).await?.text);
    ensure!(metadata.iter().all(|event| event["object"]["kind"] == "PartialObjectMetadata"));
    let yaml = get(client, &format!("{MAPS}/page-00"), "application/yaml").await?;
    ensure!(yaml.text.contains("name: page-00") && !yaml.text.starts_with('{'), "{}", yaml.text);
    for accept in [
        "text/html",
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=Nothing;v=v1;g=meta.k8s.io",
    ] {
        let answer = get(client, &format!("{MAPS}/page-00"), accept).await?;
        ensure!(answer.code == 406, "{accept}: {}", answer.text);
    }
    Ok(())
}

/// A watch from a revision sees what came after it, once each and in order.
async fn resume(client: &Client) -> Result<()> {
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let first = api.create(&PostParams::default(), &map("resume-1")).await?;
    let from = first.metadata.resource_version.clone().unwrap();
    let second = api.create(&PostParams::default(), &map("resume-2")).await?;
    let mut changed = second.clone();
    changed.data = Some([("a".to_owned(), "b".to_owned())].into());
    api.replace("resume-2", &PostParams::default(), &changed).await?;
    ensure!(
        api.replace("resume-2", &PostParams::default(), &second).await.is_err(),
        "a stale write is a conflict"
    );
    api.delete("resume-1", &DeleteParams::default()).await?;
    let parameters = WatchParams::default().timeout(1);
    let seen: Vec<String> = api
        .watch(&parameters, &from)
        .await?
        .try_filter_map(|event| async move {
            Ok(match event {
                WatchEvent::Added(map) => Some(format!("added {}", name(&map))),
                WatchEvent::Modified(map) => Some(format!("modified {}", name(&map))),
                WatchEvent::Deleted(map) => Some(format!("deleted {}", name(&map))),
                WatchEvent::Bookmark(_) => None,
                WatchEvent::Error(error) => Some(format!("error {error:?}")),
            })
        })
        .try_collect()
        .await?;
    ensure!(seen == ["added resume-2", "modified resume-2", "deleted resume-1"], "{seen:?}");
    let gone = ask(client, "DELETE", &format!("{MAPS}?labelSelector=set=pages"), "", Vec::new()).await?;
    ensure!(gone.code == 200, "{}", gone.text);
    ensure!(api.list(&ListParams::default().labels("set=pages")).await?.items.is_empty());
    Ok(())
}

async fn discovery(client: &Client) -> Result<()> {
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let groups = get(client, "/apis", accept).await?.json();
    ensure!(
        groups["kind"] == "APIGroupDiscoveryList" && groups["items"].as_array().is_some_and(|i| i.len() > 15)
    );
    ensure!(get(client, "/apis", "application/json").await?.json()["kind"] == "APIGroupList");
    Ok(())
}
