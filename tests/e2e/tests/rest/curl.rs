//! Every route with `curl` and a token, as the README shows it; and the rights of each scope.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sampan_test_e2e::{cluster, eventually, registry};
use sampan_testkit::{Cluster, Image};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const PACKAGE: &str = r#"{"apiVersion": "sampan.dev/v1", "kind": "Addon", "name": "paper", "summary": {"en": "A ConfigMap"},
"maintainer": "tests", "version": "1.0.0", "values": {"text": {"type": "string", "default": "a"}},
"manifests": ["map.yaml"], "page": "http://paper.example/${text}"}"#;
const MAP: &str = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "paper"}, "data": {"text": "${text}"}}"#;

/// Somebody with a token.
struct Tool<'a> {
    cluster: &'a Cluster,
    base: String,
    token: String,
}

struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| self.body.clone())
    }
}

impl<'a> Tool<'a> {
    /// A token of a scope, made by the command.
    fn new(cluster: &'a Cluster, name: &str, scope: &str) -> Result<Self> {
        let token = cluster.sampan(&["token", "create", name, "--scope", scope])?.trim().to_owned();
        let status: Value =
            serde_json::from_str(&cluster.kubectl(&["get", "--raw", "/sampan/v1/status"])?)?;
        let base = status["rest"].as_str().context("where the API is")?.to_owned();
        Ok(Self { cluster, base, token })
    }

    fn curl(&self, method: &str, path: &str, more: &[&str]) -> Result<Answer> {
        let output = self.command(method, path).args(["-m", "60"]).args(more).output()?;
        let Output { status, stdout, stderr } = output;
        ensure!(status.success(), "{method} {path}: {}", String::from_utf8_lossy(&stderr));
        let text = String::from_utf8(stdout)?;
        let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
        let code = head.split(' ').nth(1).context("no code")?.parse()?;
        Ok(Answer { code, head: head.to_lowercase(), body: body.to_owned() })
    }

    fn command(&self, method: &str, path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "-X", method, "-H", &format!("Authorization: Bearer {}", self.token)]);
        curl.arg(format!("{}{path}", self.base));
        curl
    }

    /// A JSON body, and an answer of that code.
    fn json(&self, method: &str, path: &str, body: &Value, code: u16) -> Result<Value> {
        let body = body.to_string();
        let sent = ["-H", "Content-Type: application/json", "-d", body.as_str()];
        let more: &[&str] = if method == "GET" { &[] } else { &sent };
        let answer = self.curl(method, path, more)?;
        ensure!(answer.code == code, "{method} {path}: {} {}", answer.code, answer.body);
        answer.json()
    }

    fn get(&self, path: &str) -> Result<Value> {
        self.json("GET", path, &Value::Null, 200)
    }

    fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.json("POST", path, &body, 200)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_walks_through_every_route_with_a_token() -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    scopes(&cluster)?;
    let tool = Tool::new(&cluster, "walker", "admin")?;
    let document = tool.get("/openapi.json")?;
    let mut walked = BTreeSet::new();
    walked.extend(reads(&tool)?);
    walked.extend(images(&tool)?);
    walked.extend(addons(&tool)?);
    walked.extend(tokens(&tool)?);
    walked.extend(simulation(&tool)?);
    walked.extend(database_and_end(&tool)?);
    let operations = document["paths"].as_object().context("paths")?.values();
    let all: BTreeSet<&str> = operations
        .flat_map(|path| path.as_object().into_iter().flatten())
        .filter_map(|(_, operation)| operation["operationId"].as_str())
        .collect();
    let left: Vec<_> = all.difference(&walked).collect();
    ensure!(left.is_empty() && walked.is_subset(&all), "not walked: {left:?}; unknown: {walked:?}");
    Ok(())
}

/// What is read; as the command line reads it.
fn reads(tool: &Tool<'_>) -> Result<Vec<&'static str>> {
    let status = tool.get("/status")?;
    ensure!(
        status["profile"] == tool.cluster.profile() && status["components"]["kube-scheduler"].is_object(),
        "{status}"
    );
    let components = tool.get("/components")?;
    ensure!(
        components["items"].as_array().is_some_and(|all| all.iter().all(|one| one["state"] == "Ready")),
        "{components}"
    );
    let nodes = tool.get("/nodes")?;
    ensure!(
        nodes["items"][0]["ready"] == true && nodes["items"][0]["capacity"]["cpu"].is_string(),
        "{nodes}"
    );
    let profiles = tool.get("/profiles")?;
    let own = |one: &&Value| one["Name"] == tool.cluster.profile();
    let own = profiles["items"].as_array().context("items")?.iter().find(own).context("no profile")?;
    ensure!(own["Status"] == "Running" && own["APIServerPort"].is_u64(), "{profiles}");
    let version: Value = serde_json::from_str(&tool.cluster.sampan(&["version", "-o", "json"])?)?;
    ensure!(tool.get("/version")?["kubernetesVersion"] == version["kubernetesVersion"], "{version}");
    let config = tool.curl("GET", "/kubeconfig", &[])?;
    let file = tool.cluster.directory().join("fetched");
    std::fs::write(&file, &config.body)?;
    let kubectl =
        tool.cluster.kubectl_command().arg("--kubeconfig").arg(&file).args(["auth", "whoami"]).output()?;
    ensure!(String::from_utf8_lossy(&kubectl.stdout).contains("kubernetes-admin"), "{kubectl:?}");
    let docs = tool.curl("GET", "/docs", &[])?;
    ensure!(docs.code == 200 && docs.body.contains("/addons/{name}/enable"), "{}", docs.head);
    let names = tool.get("/logs")?;
    ensure!(names["items"].as_array().is_some_and(|all| all.contains(&json!("kubelet"))), "{names}");
    let log = tool.curl("GET", "/logs/sampan?tail=3", &[])?;
    ensure!(log.code == 200 && (1..=3).contains(&log.body.lines().count()), "{}", log.body);
    let open = "/open?kind=services&namespace=default&port=https&scheme=https&name=";
    let opened = tool.curl("GET", &format!("{open}kubernetes"), &[])?;
    let place = opened.head.lines().find_map(|line| line.strip_prefix("location: http://"));
    let place = place.with_context(|| opened.head.clone())?;
    ensure!(opened.code == 303 && place.contains(".localhost:") && place.contains("?ticket="), "{place}");
    ensure!(tool.curl("GET", &format!("{open}nobody"), &[])?.code == 404);
    follows(tool)?;
    eventually("something is measured", SOON, || {
        let history = tool.get("/metrics/history/nodes")?;
        Ok((history["items"][0]["cpuCores"].as_array().is_some_and(|all| !all.is_empty())).then_some(()))
    })?;
    Ok(vec![
        "describe",
        "read",
        "getStatus",
        "listComponents",
        "listNodes",
        "listProfiles",
        "getVersion",
        "getKubeconfig",
        "listLogs",
        "getLog",
        "getMetricsHistory",
        "openWorkload",
    ])
}

/// A log that goes on: what the scheduler says of a new pod comes without being asked for again.
fn follows(tool: &Tool<'_>) -> Result<()> {
    let file = tool.cluster.directory().join("followed");
    let mut following = tool
        .command("GET", "/logs/kube-scheduler?tail=0&follow=true")
        .arg("-N")
        .stdout(std::fs::File::create(&file)?)
        .spawn()?;
    // its answer's head comes with the first line: pods come until one of them is spoken of
    let mut round = 0;
    let said = eventually("the scheduler speaks of a pod", SOON, || {
        round += 1;
        let name = format!("followed-{round}");
        tool.cluster.kubectl(&[
            "run",
            &name,
            "--image=busybox",
            "--restart=Never",
            "-l",
            "followed=yes",
            "--",
            "true",
        ])?;
        Ok(std::fs::read_to_string(&file)?.contains("followed-").then_some(()))
    });
    following.kill()?;
    following.wait()?;
    said?;
    tool.cluster.kubectl(&["delete", "pods", "-l", "followed=yes", "--now"]).map(drop)
}

/// Pulled from a registry, loaded from an archive, removed.
fn images(tool: &Tool<'_>) -> Result<Vec<&'static str>> {
    let pulled = tool.post("/images/pull", json!({"image": "nginx:alpine"}))?;
    ensure!(pulled["repoTags"][0].as_str().is_some_and(|tag| tag.ends_with("nginx:alpine")), "{pulled}");
    let archive = tool.cluster.directory().join("app.tar");
    Image::busybox()?.save("example.org/app:1", &archive)?;
    let loaded = tool.post("/images", json!({"archive": archive}))?;
    let tags = loaded["items"][0]["repoTags"].as_array().cloned().unwrap_or_default();
    ensure!(tags.contains(&json!("example.org/app:1")), "{loaded}");
    let all = || tool.get("/images").map(|all| all.to_string());
    ensure!(all()?.contains("example.org/app:1"));
    tool.post("/images/remove", json!({"image": "example.org/app:1"}))?;
    ensure!(!all()?.contains("example.org/app:1"));
    Ok(vec!["pullImage", "loadImages", "listImages", "removeImage"])
}

/// A package from nothing to nothing, with its progress and with the daemon's events beside it.
fn addons(tool: &Tool<'_>) -> Result<Vec<&'static str>> {
    let events = tool.cluster.directory().join("events");
    let mut listening = tool
        .command("GET", "/events")
        .args(["-N", "-H", "Accept: application/x-ndjson"])
        .stdout(std::fs::File::create(&events)?)
        .spawn()?;
    let archive = tool.cluster.directory().join("paper.tgz");
    let folder = tool.cluster.directory().join("paper");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("addon.yaml"), PACKAGE)?;
    std::fs::write(folder.join("map.yaml"), MAP)?;
    let packed = Command::new("tar").arg("-C").arg(&folder).arg("-czf").arg(&archive).arg(".").status()?;
    ensure!(packed.success());
    let sent = format!("@{}", archive.display());
    let added =
        tool.curl("POST", "/addons", &["-H", "Content-Type: application/gzip", "--data-binary", &sent])?;
    ensure!(added.code == 200, "{}", added.body);
    // without waiting, then asked again
    let body = json!({"set": {"text": "b"}}).to_string();
    let begun = tool.curl("POST", "/addons/paper/enable", &["-H", "Prefer: respond-async", "-d", &body])?;
    ensure!(begun.code == 202, "{}", begun.body);
    let place = begun
        .head
        .lines()
        .find_map(|line| line.strip_prefix("location: /sampan/v1"))
        .context("no location")?;
    let told = tool.curl("GET", place.trim(), &["-N", "-H", "Accept: text/event-stream"])?;
    ensure!(told.body.contains("event: progress") && told.body.contains("event: done"), "{}", told.body);
    ensure!(tool.get(place.trim())?["phase"] == "Succeeded");
    ensure!(tool.get("/operations")?.to_string().contains("enableAddon"));
    ensure!(tool.cluster.kubectl(&["get", "configmap/paper", "-o", "jsonpath={.data.text}"])? == "b");
    ensure!(
        tool.get("/addons")?.to_string().contains("paper")
            && tool.get("/addons/paper")?["configuration"]["text"] == "b"
    );
    ensure!(tool.get("/addons/paper/page")?["url"] == "http://paper.example/b");
    ensure!(tool.get("/addons/paper/images")?["images"] == json!({}));
    ensure!(tool.curl("GET", "/addons/dns/logs", &[])?.code == 200);
    tool.post("/addons/paper/configure", json!({"set": {"text": "c"}}))?;
    ensure!(tool.cluster.kubectl(&["get", "configmap/paper", "-o", "jsonpath={.data.text}"])? == "c");
    tool.post("/addons/paper/disable", json!({}))?;
    tool.json("DELETE", "/addons/paper", &json!({}), 200)?;
    tool.json("GET", "/addons/paper", &Value::Null, 404)?;
    let heard = eventually("the events", SOON, || {
        let heard = std::fs::read_to_string(&events)?;
        Ok(heard.contains("removeAddon").then_some(heard))
    });
    listening.kill()?;
    listening.wait()?;
    ensure!(heard?.contains("\"component\""));
    Ok(vec![
        "watchEvents",
        "addAddon",
        "enableAddon",
        "getOperation",
        "listOperations",
        "listAddons",
        "getAddon",
        "getAddonPage",
        "getAddonImages",
        "getAddonLogs",
        "configureAddon",
        "disableAddon",
        "removeAddon",
    ])
}

fn tokens(tool: &Tool<'_>) -> Result<Vec<&'static str>> {
    let made = tool.json(
        "POST",
        "/tokens",
        &json!({"name": "second", "scope": "read", "expirationSeconds": 3600}),
        201,
    )?;
    let token = made["token"].as_str().context("the token")?.to_owned();
    let second = Tool { token, base: tool.base.clone(), ..*tool };
    ensure!(second.get("/status")?["profile"] == tool.cluster.profile());
    let listed = tool.get("/tokens")?.to_string();
    ensure!(listed.contains("\"second\"") && !listed.contains(&second.token), "{listed}");
    tool.json("DELETE", "/tokens/second", &json!({}), 200)?;
    second.json("GET", "/status", &Value::Null, 401)?;
    let page = tool.post("/dashboard", json!({}))?;
    let url = page["url"].as_str().context("an address")?;
    let signed = Command::new("curl").args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", url]).output()?;
    ensure!(signed.stdout == b"303", "{signed:?}");
    Ok(vec!["createToken", "listTokens", "revokeToken", "openDashboard"])
}

fn simulation(tool: &Tool<'_>) -> Result<Vec<&'static str>> {
    let made = tool.post("/simulate", json!({"nodes": 4, "zones": 2}))?;
    ensure!(made["nodes"] == 4 && made["ready"] == 4, "{made}");
    ensure!(tool.get("/simulate")?["zones"][0]["nodes"] == 2);
    let failed = tool.post("/simulate/zones/zone-1/fail", json!({}))?;
    ensure!(failed["zones"][0]["failed"] == 2 && failed["zones"][1]["failed"] == 0, "{failed}");
    let back = tool.post("/simulate/zones/zone-1/recover", json!({}))?;
    ensure!(back["zones"][0]["failed"] == 0, "{back}");
    tool.json("POST", "/simulate/zones/none/fail", &json!({}), 404)?;
    let removed = tool.json("DELETE", "/simulate", &json!({}), 200)?;
    ensure!(removed["nodes"] == 0, "{removed}");
    Ok(vec!["simulate", "getSimulation", "failZone", "recoverZone", "deleteSimulation"])
}

fn database_and_end(tool: &Tool<'_>) -> Result<Vec<&'static str>> {
    let file = tool.cluster.directory().join("saved.db");
    let saved = tool.post("/backup", json!({"file": file}))?;
    ensure!(saved["revision"].as_u64().is_some_and(|revision| revision > 0) && file.exists(), "{saved}");
    let again = tool.json("POST", "/backup", &json!({"file": file}), 422)?;
    ensure!(again["message"].to_string().contains("exists already"), "{again}");
    let stopped = tool.post("/stop", json!({}))?;
    ensure!(stopped["running"] == 0, "{stopped}");
    eventually("the daemon has ended", SOON, || match tool.curl("GET", "/status", &[]) {
        Err(_) => Ok(Some(())),
        Ok(_) => Ok(None),
    })?;
    Ok(vec!["backup", "stop"])
}

/// `read` reads and no more, `operate` does not make tokens or end the cluster.
fn scopes(cluster: &Cluster) -> Result<()> {
    let (read, operate) = (Tool::new(cluster, "reader", "read")?, Tool::new(cluster, "operator", "operate")?);
    for (tool, method, path, code) in [
        (&read, "GET", "/status", 200),
        (&read, "GET", "/addons", 200),
        (&read, "POST", "/addons/dns/configure", 403),
        (&read, "GET", "/kubeconfig", 403),
        (&read, "POST", "/stop", 403),
        (&operate, "POST", "/addons/dns/configure", 200),
        (&operate, "POST", "/tokens", 403),
        (&operate, "GET", "/kubeconfig", 403),
        (&operate, "POST", "/stop", 403),
        (&operate, "POST", "/dashboard", 403),
    ] {
        let answer = tool.curl(method, path, if method == "POST" { &["-d", "{}"] } else { &[] })?;
        if answer.code != code {
            let who = if std::ptr::eq(tool, &read) { "read" } else { "operate" };
            bail!("{who}: {method} {path}: {} {}", answer.code, answer.body);
        }
        ensure!(code < 400 || answer.json()?["kind"] == "Status", "{}", answer.body);
    }
    Ok(())
}
