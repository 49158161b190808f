//! Bodies that nobody should send: every answer blames the client, none is a 5xx, nothing panics.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use kube::Client;
use sampan_test_api::{Random, Seed, ask, mutate, seeds};
use sampan_testkit::{Cluster, length};
use serde_json::{Value, json};

const MUTATIONS: u64 = 10_000;
const AT_ONCE: usize = 16;
/// Under a minute with a release build on an idle machine; a debug build beside other tests takes longer.
const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_a_client_sends_is_the_servers_fault() -> Result<()> {
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    broken_bodies(&client).await?;
    oversized(&client).await?;
    mutations(&client).await?;
    let log = cluster.sampan(&["logs", "kube-apiserver"])?;
    ensure!(!log.contains("panic"), "the API server panicked: {log}");
    ensure!(ask(&client, "GET", "/readyz", "", Vec::new()).await?.code == 200);
    Ok(())
}

/// Method, path, content type, body, and the code that upstream answers with.
async fn broken_bodies(client: &Client) -> Result<()> {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    const JSON: &str = "application/json";
    const YAML: &str = "application/yaml";
    let cases: &[(&str, &str, &str, &[u8], u16)] = &[
        ("POST", MAPS, JSON, b"", 400),
        ("POST", MAPS, JSON, b"{", 400),
        ("POST", MAPS, JSON, b"\xff\xfe", 400),
        ("POST", MAPS, JSON, b"[]", 400),
        ("POST", MAPS, JSON, b"null", 422),
        ("POST", MAPS, JSON, b"{} {}", 400),
        ("POST", MAPS, JSON, br#"{"kind":"Pod"}"#, 400),
        ("POST", MAPS, JSON, br#"{"apiVersion":"v9"}"#, 400),
        ("POST", MAPS, JSON, br#"{"kind":1}"#, 400),
        ("POST", MAPS, JSON, br#"{"metadata":3}"#, 400),
        ("POST", MAPS, JSON, br#"{"metadata":{"name":"a","labels":{"x":1}}}"#, 400),
        ("POST", MAPS, JSON, br#"{"metadata":{"name":"a"},"data":{"x":{}}}"#, 400),
        ("POST", MAPS, JSON, br#"{"metadata":{}}"#, 422),
        ("POST", MAPS, JSON, br#"{"metadata":{"name":"A b"}}"#, 422),
        ("POST", MAPS, JSON, br#"{"metadata":{"name":"a","namespace":"other"}}"#, 400),
        ("POST", MAPS, JSON, br#"{"metadata":{"name":"a","resourceVersion":"1"}}"#, 400),
        (
            "POST",
            &format!("{MAPS}?fieldValidation=Strict"),
            JSON,
            br#"{"metadata":{"name":"a"},"dota":{}}"#,
            400,
        ),
        (
            "POST",
            &format!("{MAPS}?fieldValidation=Strict"),
            JSON,
            br#"{"metadata":{"name":"a","name":"b"}}"#,
            400,
        ),
        ("POST", &format!("{MAPS}?fieldValidation=Foo"), JSON, br#"{"metadata":{"name":"a"}}"#, 422),
        ("POST", &format!("{MAPS}?dryRun=Foo"), JSON, br#"{"metadata":{"name":"a"}}"#, 422),
        ("POST", MAPS, YAML, b"a: b: c", 400),
        ("POST", MAPS, YAML, b"\t- x", 400),
        ("POST", MAPS, YAML, b"metadata: {name: [}", 400),
        ("POST", MAPS, YAML, b"&a [*a, *b]", 400),
        ("POST", MAPS, "text/plain", b"{}", 415),
        ("POST", MAPS, "application/vnd.kubernetes.protobuf", b"k8s\0\xff\xff\xff", 400),
        ("POST", MAPS, "application/vnd.kubernetes.protobuf", b"{}", 400),
        ("PUT", MAPS, JSON, b"{}", 405),
        ("PUT", &format!("{MAPS}/absent"), JSON, br#"{"metadata":{"name":"absent"}}"#, 404),
        ("PUT", &format!("{MAPS}/victim"), JSON, br#"{"metadata":{"name":"other"}}"#, 400),
        ("PATCH", &format!("{MAPS}/victim"), JSON, b"{}", 415),
        ("PATCH", &format!("{MAPS}/victim"), "application/json-patch+json", b"{}", 400),
        (
            "PATCH",
            &format!("{MAPS}/victim"),
            "application/json-patch+json",
            br#"[{"op":"test","path":"/kind","value":1}]"#,
            422,
        ),
        ("PATCH", &format!("{MAPS}/victim"), "application/merge-patch+json", b"[", 400),
        ("PATCH", &format!("{MAPS}/victim"), "application/strategic-merge-patch+json", b"3", 400),
        ("PATCH", &format!("{MAPS}/absent"), "application/merge-patch+json", b"{}", 404),
        ("DELETE", &format!("{MAPS}/victim"), JSON, br#"{"propagationPolicy":"Foo"}"#, 422),
        ("DELETE", &format!("{MAPS}/victim"), JSON, br#"{"preconditions":{"uid":"x"}}"#, 409),
        ("DELETE", &format!("{MAPS}/victim"), JSON, br#"{"gracePeriodSeconds":"x"}"#, 400),
        (
            "POST",
            "/api/v1/namespaces/absent/pods",
            JSON,
            br#"{"metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"b"}]}}"#,
            404,
        ),
        ("POST", "/apis/absent/v1/things", JSON, b"{}", 404),
        ("GET", &format!("{MAPS}?limit=x"), "", b"", 400),
        ("GET", &format!("{MAPS}?continue=x"), "", b"", 400),
        ("GET", &format!("{MAPS}?labelSelector=a+in+b"), "", b"", 400),
        ("GET", &format!("{MAPS}?fieldSelector=no.such=b"), "", b"", 400),
    ];
    let victim = ask(client, "POST", MAPS, JSON, br#"{"metadata":{"name":"victim"}}"#.to_vec()).await?;
    ensure!(victim.code == 201, "{}", victim.text);
    for (method, path, media, body, code) in cases {
        let answer = ask(client, method, path, media, body.to_vec()).await?;
        let what = || format!("{method} {path} {media} {}", String::from_utf8_lossy(body));
        answer.check().with_context(what)?;
        ensure!(answer.code == *code, "{}: {} instead of {code}: {}", what(), answer.code, answer.text);
    }
    Ok(())
}

async fn oversized(client: &Client) -> Result<()> {
    let body = json!({"metadata": {"name": "big"}, "data": {"a": "x".repeat(4 << 20)}}).to_string();
    let answer =
        ask(client, "POST", "/api/v1/namespaces/default/configmaps", "application/json", body.into()).await?;
    answer.check()?;
    ensure!(answer.code == 413, "{}", answer.text);
    // under the request limit, over ConfigMap's own
    let body = json!({"metadata": {"name": "big"}, "data": {"a": "x".repeat(2 << 20)}}).to_string();
    let answer =
        ask(client, "POST", "/api/v1/namespaces/default/configmaps", "application/json", body.into()).await?;
    answer.check()?;
    ensure!(answer.code == 422, "{}", answer.text);
    Ok(())
}

/// The seeds have to be valid, or the mutations would test one error only.
async fn valid(client: &Client, seeds: &[Seed]) -> Result<()> {
    for seed in seeds {
        let path = format!("{}?dryRun=All&fieldValidation=Strict", seed.path);
        let answer = ask(client, "POST", &path, "application/json", seed.object.to_string().into()).await?;
        ensure!(answer.code == 201, "{}: {}", seed.path, answer.text);
    }
    Ok(())
}

async fn mutations(client: &Client) -> Result<()> {
    let seeds = seeds();
    valid(client, &seeds).await?;
    let began = Instant::now();
    let mutations = MUTATIONS * u64::from(length());
    let accepted: Vec<bool> = futures::stream::iter(0..mutations)
        .map(|number| one(client, &seeds, number))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let accepted = accepted.into_iter().filter(|accepted| *accepted).count();
    println!("{mutations} mutations in {:?}, {accepted} accepted", began.elapsed());
    ensure!(began.elapsed() < LIMIT * length(), "too slow: {:?}", began.elapsed());
    ensure!(accepted > 100, "only {accepted} were accepted: the mutations are too wild to reach far");
    Ok(())
}

/// A mutation of one of the seeds: created, or patched into something that is there.
async fn one(client: &Client, seeds: &[Seed], number: u64) -> Result<bool> {
    let mut random = Random(number);
    let seed = &seeds[random.below(seeds.len())];
    let body = mutate(&seed.object, &mut random);
    let shown = String::from_utf8_lossy(&body).into_owned();
    let (method, path, media, body) = match random.below(6) {
        0 => ("POST", seed.path.to_owned(), "application/yaml", body),
        1 => (
            "PATCH",
            "/api/v1/namespaces/default/services/kubernetes".to_owned(),
            "application/strategic-merge-patch+json",
            body,
        ),
        2 => ("PATCH", "/api/v1/namespaces/default".to_owned(), "application/merge-patch+json", body),
        3 => {
            let operation = |path: &str| json!({"op": "add", "path": path, "value": seed.object["spec"]});
            let patch = Value::Array(vec![
                operation("/spec"),
                operation("/metadata/labels"),
                operation("/spec/ports/0"),
            ]);
            (
                "PATCH",
                "/api/v1/namespaces/default/services/kubernetes".to_owned(),
                "application/json-patch+json",
                mutate(&patch, &mut random),
            )
        }
        _ => ("POST", seed.path.to_owned(), "application/json", body),
    };
    let answer = ask(client, method, &format!("{path}?dryRun=All"), media, body).await?;
    answer.check().with_context(|| format!("mutation {number}: {method} {path} {media} {shown}"))?;
    Ok(answer.code < 400)
}
