//! The REST API for tools on the built binary: every route of its own description, who may, and what is refused.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use http::Request;
use http_body_util::BodyExt;
use kube::Client;
use sampan_test_e2e::apply;
use sampan_testkit::Cluster;
use serde_json::{Value, json};

#[path = "rest/contract.rs"]
mod contract;
#[path = "rest/curl.rs"]
mod curl;

const VIEWER: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: viewer}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: addons-viewer}
rules: [{nonResourceURLs: [/sampan/v1/addons, /sampan/v1/addons/*], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: addons-viewer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: addons-viewer}
subjects: [{kind: ServiceAccount, name: viewer, namespace: default}]
"#;

/// Code and JSON (or text) of an answer.
async fn ask(client: &Client, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
    let request = Request::builder().method(method).uri(format!("/sampan/v1{path}")).body(body.into())?;
    let answer = client.send(request).await?;
    let code = answer.status().as_u16();
    let text = answer.into_body().collect().await?.to_bytes().to_vec();
    let text = String::from_utf8(text)?;
    Ok((code, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_have_the_verbs_of_the_command_line() -> Result<()> {
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    let (code, document) = ask(&client, "GET", "/openapi.json", &Value::Null).await?;
    ensure!(code == 200 && document["openapi"] == "3.1.0", "{code} {document}");

    let (_, list) = ask(&client, "GET", "/addons", &Value::Null).await?;
    let names: BTreeSet<&str> =
        list["items"].as_array().context("items")?.iter().filter_map(|one| one["name"].as_str()).collect();
    for name in ["dns", "ingress", "loadbalancer", "metrics", "registry", "storage"] {
        ensure!(names.contains(name), "{names:?}");
    }
    let port = sampan_testkit::free_port();
    let set = json!({"set": {"listen": format!("127.0.0.1:{port}")}});
    let (code, status) = ask(&client, "POST", "/addons/registry/enable", &set).await?;
    ensure!(code == 200 && status["enabled"] == true && status["health"]["state"] == "healthy", "{status}");
    ensure!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let (_, details) = ask(&client, "GET", "/addons/registry", &Value::Null).await?;
    ensure!(details["configuration"]["listen"] == format!("127.0.0.1:{port}"), "{details}");
    let (_, said) = ask(&client, "GET", "/addons/registry/logs?tail=1", &Value::Null).await?;
    ensure!(said.as_str().is_some_and(|text| text.lines().count() <= 1), "{said}");
    let (code, details) =
        ask(&client, "POST", "/addons/registry/configure", &json!({"set": {"proxyDays": 3}})).await?;
    ensure!(code == 200 && details["configuration"]["proxyDays"] == 3, "{details}");
    let (code, status) = ask(&client, "POST", "/addons/registry/disable", &Value::Null).await?;
    ensure!(code == 200 && status["enabled"] == false, "{status}");
    ensure!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    // what one did the other sees
    let shown = cluster.sampan(&["addons", "configure", "registry", "-o", "json"])?;
    ensure!(serde_json::from_str::<Value>(&shown)?["configuration"]["proxyDays"] == 3, "{shown}");

    for (method, path, body, code, words) in [
        ("GET", "/addons/registri", Value::Null, 404, "did you mean \"registry\""),
        ("POST", "/addons/dns/configure", json!({"set": {"ttlSeconds": -1}}), 422, "ttlSeconds"),
        ("POST", "/addons/dns/configure", json!({"sets": {}}), 400, "unknown field `sets`"),
        ("DELETE", "/addons/dns", Value::Null, 409, "built in"),
        ("PUT", "/addons", Value::Null, 405, "GET and POST"),
        ("GET", "/elsewhere", Value::Null, 404, "openapi.json"),
        ("POST", "/addons", json!({"files": "bm8="}), 422, ""),
    ] {
        let (said, status) = ask(&client, method, path, &body).await?;
        let message = status["message"].as_str().unwrap_or_default().to_owned();
        ensure!(
            said == code && message.contains(words) && status["kind"] == "Status",
            "{path}: {said} {status}"
        );
    }
    every_route_answers(&client, &document).await?;
    who_may(&cluster)
}

/// Each path of the description is there, also with a name that no addon has.
async fn every_route_answers(client: &Client, document: &Value) -> Result<()> {
    for (path, methods) in document["paths"].as_object().context("paths")? {
        let path = path.trim_start_matches("/sampan/v1").replace("{name}", "nobody");
        for method in methods.as_object().context("methods")?.keys() {
            // the one goes on for ever, the other ends the daemon: both are asked by the command line and in console.rs
            if ["/events", "/stop"].contains(&path.as_str()) {
                continue;
            }
            let (code, said) = ask(client, &method.to_uppercase(), &path, &Value::Null).await?;
            let known = !said["message"].as_str().is_some_and(|text| text.contains("nothing at this path"));
            ensure!(known && code != 405, "{method} {path}: {code} {said}");
        }
    }
    Ok(())
}

/// Nobody without credentials, and with them whom RBAC lets.
fn who_may(cluster: &Cluster) -> Result<()> {
    apply(cluster, VIEWER)?;
    let token = cluster.kubectl(&["create", "token", "viewer"])?;
    let server =
        cluster.kubectl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"])?;
    let curl = |method: &str, path: &str, token: Option<&str>| -> Result<String> {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sSk", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "-X", method]);
        if let Some(token) = token {
            curl.args(["-H", &format!("Authorization: Bearer {token}")]);
        }
        let output = curl.arg(format!("{}/sampan/v1{path}", server.trim())).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let token = Some(token.trim());
    for (method, path, token, code) in [
        ("GET", "/addons", None, "403"),
        ("GET", "/addons", token, "200"),
        ("GET", "/addons/dns", token, "200"),
        ("POST", "/addons/dns/disable", token, "403"),
        ("GET", "/openapi.json", token, "403"),
    ] {
        let said = curl(method, path, token)?;
        ensure!(said == code, "{method} {path}: {said}");
    }
    Ok(())
}
