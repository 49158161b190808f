//! Every resource, subresource and verb that Kubernetes v1.36 serves (`api-surface-v1.36.tsv`), looked up in discovery and
//! asked of the built binary: objects go in as JSON and as protobuf and come out the same in both. The table of what was
//! seen, row by verb, is printed; a verb counts when its answer was looked at.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use http::Request;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use sampan_api::{kinds, proto};
use sampan_testkit::Cluster;
use serde_json::{Value, json};

const SURFACE: &str = include_str!("../../../server/api/generate/api-surface-v1.36.tsv");
const SAMPLES: &str = include_str!("../src/samples.yaml");
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const NAMESPACE: &str = "surface";

/// The columns of the table.
static VERBS: [&str; 10] =
    ["get", "list", "watch", "watchlist", "post", "put", "patch", "delete", "deletecollection", "connect"];

/// Subresources whose requests go on to something else.
const CONNECTED: [&str; 4] = ["attach", "exec", "portforward", "proxy"];

/// How long an answer may take, its end included.
const PATIENCE: Duration = Duration::from_secs(30);

/// Kinds that are looked at beside each other.
const AT_ONCE: usize = 8;

/// A line of the table.
struct Row {
    group_version: &'static str,
    resource: &'static str,
    kind: &'static str,
    namespaced: bool,
    verbs: Vec<&'static str>,
}

impl Row {
    fn place(&self) -> String {
        format!("{} {}", self.group_version, self.resource)
    }
}

fn rows() -> Vec<Row> {
    let row = |line: &'static str| {
        let [group_version, resource, kind, namespaced, verbs] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let group_version = group_version.strip_prefix("apis/").unwrap_or(group_version);
        Row {
            group_version,
            resource,
            kind,
            namespaced: namespaced == "True",
            verbs: verbs.split(',').collect(),
        }
    };
    SURFACE.lines().skip(1).map(row).collect()
}

struct Answer {
    code: u16,
    media: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{} {}", self.code, String::from_utf8_lossy(&self.body)))
    }

    fn expect(self, codes: &[u16]) -> Result<Self> {
        ensure!(codes.contains(&self.code), "{} {}", self.code, String::from_utf8_lossy(&self.body));
        Ok(self)
    }
}

/// What is asked, and of whom.
struct World {
    client: Client,
    samples: BTreeMap<String, Value>,
    /// What was asked and answered, by row and verb.
    seen: Mutex<BTreeSet<(String, &'static str)>>,
}

impl World {
    fn saw(&self, row: &Row, verb: &str) {
        let verb = VERBS.into_iter().find(|one| *one == verb).unwrap();
        self.seen.lock().unwrap().insert((row.place(), verb));
    }

    /// The verbs of every resource that discovery lists in the row's group and version, in the table's words.
    async fn listed(&self, group_version: &str) -> Result<BTreeMap<String, BTreeSet<&'static str>>> {
        let path =
            if group_version == "api/v1" { "/api/v1".to_owned() } else { format!("/apis/{group_version}") };
        let list = self.json("GET", &path, &Value::Null).await?.expect(&[200])?.json()?;
        let resources = list["resources"].as_array().context("resources")?;
        let each = resources.iter().map(|resource| {
            let name = resource["name"].as_str().context("a name")?.to_owned();
            // what is connected to is listed by the verbs that methods stand for
            let connects = CONNECTED.contains(&name.split_once('/').map_or("", |(_, sub)| sub));
            let verbs = resource["verbs"].as_array().context("verbs")?.iter().filter_map(Value::as_str);
            let verbs = verbs.flat_map(|verb| match verb {
                _ if connects => &["connect"][..],
                "create" => &["post"][..],
                "update" => &["put"][..],
                "watch" => &["watch", "watchlist"][..],
                verb => VERBS.iter().position(|one| *one == verb).map_or(&[][..], |at| &VERBS[at..=at]),
            });
            Ok((name, verbs.copied().collect()))
        });
        each.collect()
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        media: &str,
        accept: &str,
        body: Vec<u8>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(path).header("accept", accept);
        if !media.is_empty() {
            request = request.header("content-type", media);
        }
        let asked = async {
            let response = self.client.send(request.body(Body::from(body))?).await?;
            let (head, body) = response.into_parts();
            anyhow::Ok((head, body.collect().await?.to_bytes().to_vec()))
        };
        let answered = tokio::time::timeout(PATIENCE, asked).await;
        let (response, body) =
            answered.with_context(|| format!("{method} {path}: no end of the answer"))??;
        let code = response.status.as_u16();
        let media = response.headers.get("content-type").map(|value| value.to_str().map(str::to_owned));
        let media = media.transpose()?.unwrap_or_default();
        Ok(Answer { code, media, body })
    }

    async fn json(&self, method: &str, path: &str, body: &Value) -> Result<Answer> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.ask(method, path, "application/json", "application/json", bytes).await
    }

    fn sample(&self, row: &Row, resource: &str) -> Result<Value> {
        let key = format!("{} {resource}", row.group_version);
        let mut sample = self.samples.get(&key).with_context(|| format!("no sample of {key}"))?.clone();
        let metadata = sample.as_object_mut().unwrap().entry("metadata").or_insert_with(|| json!({}));
        let virtual_ = !row.verbs.contains(&"get") && !row.resource.contains('/');
        // what is only asked is refused with metadata
        if !virtual_ {
            metadata["labels"] = json!({"surface": "yes"});
            if metadata["name"].is_null() {
                metadata["name"] = "sample".into();
            }
        }
        sample["apiVersion"] = row.group_version.strip_prefix("api/").unwrap_or(row.group_version).into();
        Ok(sample)
    }

    fn collection(row: &Row, resource: &str) -> String {
        let root = match row.group_version {
            "api/v1" => "/api/v1".to_owned(),
            other => format!("/apis/{other}"),
        };
        match row.namespaced {
            true => format!("{root}/namespaces/{NAMESPACE}/{resource}"),
            false => format!("{root}/{resource}"),
        }
    }

    /// A resource's own verbs; what is made is there afterwards.
    async fn resource(&self, row: &Row) -> Result<()> {
        let path = Self::collection(row, row.resource);
        let has = |verb: &str| row.verbs.contains(&verb);
        if !has("post") {
            // componentstatuses, which nobody makes
            let list = self.json("GET", &path, &Value::Null).await?.expect(&[200])?.json()?;
            let name = list["items"][0]["metadata"]["name"].as_str().context("an item")?.to_owned();
            self.saw(row, "list");
            self.json("GET", &format!("{path}/{name}"), &Value::Null).await?.expect(&[200])?;
            self.saw(row, "get");
            return Ok(());
        }
        if row.resource == "bindings" {
            let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "nobody"}, "target": {"name": "n"}});
            let refused = self.json("POST", &path, &binding).await?.expect(&[404])?.json()?;
            ensure!(refused["details"]["name"] == "nobody", "{refused}");
            self.saw(row, "post");
            return Ok(());
        }
        let mut sample = self.sample(row, row.resource)?;
        sample["kind"] = row.kind.into();
        if !has("get") {
            return self.virtual_resource(row, &path, &sample).await;
        }
        let made = self.json("POST", &path, &sample).await?.expect(&[201])?.json()?;
        self.saw(row, "post");
        let name = made["metadata"]["name"].as_str().context("a name")?.to_owned();
        let one = format!("{path}/{name}");
        self.both_encodings(row, &one).await.context("get")?;
        self.saw(row, "get");
        let list = self
            .json("GET", &format!("{path}?labelSelector=surface=yes"), &Value::Null)
            .await?
            .expect(&[200])?
            .json()?;
        ensure!(list["kind"] == format!("{}List", row.kind), "list: {}", list["kind"]);
        ensure!(list["items"].as_array().is_some_and(|items| !items.is_empty()), "list: {list}");
        let body = self.ask("GET", &path, "", PROTOBUF, Vec::new()).await?.expect(&[200])?;
        ensure!(body.media == PROTOBUF && proto::is_protobuf(&body.body), "list in protobuf: {}", body.media);
        self.saw(row, "list");
        for (verb, query) in [
            ("watch", "watch=1&timeoutSeconds=1&resourceVersion=0"),
            (
                "watchlist",
                "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
            ),
        ] {
            let seen = self
                .ask("GET", &format!("{path}?{query}"), "", "application/json", Vec::new())
                .await?
                .expect(&[200])?;
            let text = String::from_utf8_lossy(&seen.body).into_owned();
            ensure!(text.starts_with(r#"{"type":"ADDED""#), "{query}: {text:.300}");
            ensure!(
                !query.contains("send") || text.contains("k8s.io/initial-events-end"),
                "{query}: no bookmark"
            );
            self.saw(row, verb);
        }
        let merge = json!({"metadata": {"annotations": {"patched": "yes"}}});
        let patched = self
            .ask(
                "PATCH",
                &one,
                "application/merge-patch+json",
                "application/json",
                merge.to_string().into_bytes(),
            )
            .await?
            .expect(&[200])
            .context("patch")?
            .json()?;
        ensure!(patched["metadata"]["annotations"]["patched"] == "yes", "patch: {patched}");
        self.saw(row, "patch");
        let mut latest = self.json("GET", &one, &Value::Null).await?.expect(&[200])?.json()?;
        latest["metadata"]["annotations"]["put"] = "yes".into();
        let put = self.json("PUT", &one, &latest).await?;
        // someone in the cluster may have been faster
        let put = if put.code == 409 { self.again(&one).await? } else { put };
        let put = put.expect(&[200]).context("put")?.json()?;
        ensure!(put["metadata"]["annotations"]["put"] == "yes", "put: {put}");
        self.saw(row, "put");
        Ok(())
    }

    async fn again(&self, one: &str) -> Result<Answer> {
        let mut latest = self.json("GET", one, &Value::Null).await?.expect(&[200])?.json()?;
        latest["metadata"]["annotations"]["put"] = "yes".into();
        latest["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        match self.json("PUT", one, &latest).await? {
            // kinds that are not updated unconditionally
            refused if refused.code == 422 => {
                let latest = self.json("GET", one, &Value::Null).await?.expect(&[200])?.json()?;
                let mut latest = latest;
                latest["metadata"]["annotations"]["put"] = "yes".into();
                self.json("PUT", one, &latest).await
            }
            answer => Ok(answer),
        }
    }

    /// Answered, never kept.
    async fn virtual_resource(&self, row: &Row, path: &str, sample: &Value) -> Result<()> {
        let made = self.json("POST", path, sample).await?.expect(&[201])?.json()?;
        ensure!(made["kind"] == row.kind && made["status"].is_object(), "{made}");
        let body =
            self.ask("POST", path, "application/json", PROTOBUF, sample.to_string().into_bytes()).await?;
        let body = body.expect(&[201])?;
        ensure!(body.media == PROTOBUF, "{}", body.media);
        self.saw(row, "post");
        Ok(())
    }

    /// The same object in JSON and in protobuf.
    async fn both_encodings(&self, row: &Row, one: &str) -> Result<()> {
        let (group, version) = row.group_version.split_once('/').unwrap();
        let group = if group == "api" { "" } else { group };
        let schema = kinds::by_kind(group, version, row.kind).context("a kind")?.schema;
        for _ in 0..5 {
            let json = self.json("GET", one, &Value::Null).await?.expect(&[200])?.json()?;
            let binary = self.ask("GET", one, "", PROTOBUF, Vec::new()).await?.expect(&[200])?;
            ensure!(binary.media == PROTOBUF, "{}", binary.media);
            let decoded = proto::decode(&binary.body, schema).map_err(anyhow::Error::msg)?;
            if decoded["metadata"]["resourceVersion"] == json["metadata"]["resourceVersion"] {
                let (json, decoded) = (without_empty(json), without_empty(decoded));
                ensure!(json == decoded, "JSON {json}\nprotobuf {decoded}");
                return Ok(());
            }
        }
        bail!("{one} changes all the time")
    }

    /// A subresource of what was made before.
    async fn subresource(&self, row: &Row) -> Result<()> {
        let (resource, sub) = row.resource.split_once('/').unwrap();
        let parent = Self::collection(row, resource);
        let name = match self.samples.get(&format!("{} {resource}", row.group_version)) {
            Some(sample) => sample["metadata"]["name"].as_str().unwrap_or("sample").to_owned(),
            None => bail!("no sample of {resource}"),
        };
        let path = format!("{parent}/{name}/{sub}");
        for verb in &row.verbs {
            match (*verb, sub) {
                ("connect", _) => {
                    // nothing runs there: whoever is asked for does not exist, which only a known path can tell
                    let nobody = format!("{parent}/nobody/{sub}");
                    let answer = self.json("GET", &nobody, &Value::Null).await?.expect(&[404])?.json()?;
                    ensure!(answer["details"]["name"] == "nobody", "{answer}");
                }
                ("get", _) => {
                    let answer = self.json("GET", &path, &Value::Null).await?;
                    // the log of a container that has not started
                    answer.expect(if sub == "log" { &[200, 400] } else { &[200] }).context("get")?;
                }
                ("put", "finalize") => {
                    let object = self.json("GET", &format!("{parent}/{name}"), &Value::Null).await?.json()?;
                    self.json("PUT", &path, &object).await?.expect(&[200]).context("put")?;
                }
                ("put", _) => {
                    let object = self.json("GET", &path, &Value::Null).await?.expect(&[200])?.json()?;
                    self.json("PUT", &path, &object).await?.expect(&[200, 409]).context("put")?;
                }
                ("patch", _) => {
                    let patch = b"{\"metadata\":{}}".to_vec();
                    let media = "application/merge-patch+json";
                    self.ask("PATCH", &path, media, "application/json", patch)
                        .await?
                        .expect(&[200])
                        .context("patch")?;
                }
                ("post", "binding") => {
                    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": "nowhere"}});
                    self.json("POST", &path, &binding).await?.expect(&[201]).context("post")?;
                }
                ("post", "eviction") => {
                    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}});
                    self.json("POST", &format!("{path}?dryRun=All"), &eviction)
                        .await?
                        .expect(&[201])
                        .context("post")?;
                }
                ("post", "token") => {
                    let request =
                        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
                    let token = self.json("POST", &path, &request).await?.expect(&[201])?.json()?;
                    ensure!(token["status"]["token"].is_string(), "{token}");
                }
                (verb, sub) => bail!("nobody knows how to {verb} {sub}"),
            }
            self.saw(row, verb);
        }
        Ok(())
    }

    /// It goes, comes back by way of protobuf, and goes with its collection.
    async fn away(&self, row: &Row) -> Result<()> {
        let path = Self::collection(row, row.resource);
        let mut sample = self.sample(row, row.resource)?;
        sample["kind"] = row.kind.into();
        let name = sample["metadata"]["name"].as_str().context("a name")?.to_owned();
        let gone = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
        if row.verbs.contains(&"delete") {
            self.json("DELETE", &format!("{path}/{name}"), &gone)
                .await?
                .expect(&[200, 202])
                .context("delete")?;
            self.saw(row, "delete");
        }
        if !row.verbs.contains(&"deletecollection") {
            return Ok(());
        }
        self.unheld(&format!("{path}/{name}")).await?;
        let (group, version) = row.group_version.split_once('/').unwrap();
        let group = if group == "api" { "" } else { group };
        let kind = kinds::by_kind(group, version, row.kind).context("a kind")?;
        let body = proto::encode(sample.to_string().as_bytes(), kind.schema, &kind.api_version(), kind.kind)
            .map_err(anyhow::Error::msg)?;
        self.ask("POST", &path, PROTOBUF, "application/json", body)
            .await?
            .expect(&[201])
            .context("post in protobuf")?;
        let selector = format!("{path}?labelSelector=surface=yes");
        self.json("DELETE", &selector, &gone).await?.expect(&[200]).context("deletecollection")?;
        self.saw(row, "deletecollection");
        self.unheld(&format!("{path}/{name}")).await
    }

    /// Takes protection's finalizers off what is going, for nothing of it is in use.
    async fn unheld(&self, one: &str) -> Result<()> {
        let free = br#"{"metadata":{"finalizers":null}}"#.to_vec();
        let media = "application/merge-patch+json";
        self.ask("PATCH", one, media, "application/json", free).await?.expect(&[200, 404]).map(drop)
    }
}

/// Without what Go's JSON may leave out or say as null, zeros among it: the same object to every client.
fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().map(|(key, value)| (key, without_empty(value)));
            let kept = kept.filter(|(_, value)| {
                let nothing = [json!(null), json!(""), json!([]), json!({}), json!(0), json!(false)];
                !nothing.contains(value)
            });
            let mut map: serde_json::Map<_, _> = kept.collect();
            map.sort_keys();
            map.into()
        }
        Value::Array(list) => list.into_iter().map(without_empty).collect(),
        other => other,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_and_verb_of_the_surface_is_served() -> Result<()> {
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    let samples: BTreeMap<String, Value> = serde_yaml_ng::from_str(SAMPLES)?;
    let world = World { client, samples, seen: Mutex::default() };
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    world.json("POST", "/api/v1/namespaces", &namespace).await?.expect(&[201])?;
    let account = format!(
        "/api/v1/namespaces/{NAMESPACE}/serviceaccounts?watch=1&timeoutSeconds=30&fieldSelector=metadata.name=default"
    );
    world.first(&account).await?;
    let rows = rows();
    // versions of one kind share their objects: one after the other
    let mut kinds: BTreeMap<(&str, &str), Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.resource.contains('/')) {
        let group = row.group_version.split_once('/').map_or("", |(group, _)| group);
        kinds.entry((group, row.resource)).or_default().push(row);
    }
    let told: Vec<Told> =
        futures::stream::iter(kinds.into_values().map(|versions| world.kind(versions, &rows)))
            .buffer_unordered(AT_ONCE)
            .concat()
            .await;
    let mut listed = BTreeMap::new();
    for group_version in rows.iter().map(|row| row.group_version).collect::<BTreeSet<_>>() {
        listed.insert(group_version, world.listed(group_version).await.context(group_version)?);
    }
    let seen = world.seen.lock().unwrap();
    let mut wrong: Vec<String> = told
        .iter()
        .filter_map(|told| Some(format!("{}: {}", told.row.place(), told.failure.as_deref()?)))
        .collect();
    println!("{:<72} {}", "", VERBS.join(" "));
    for row in &rows {
        let offered = listed[row.group_version].get(row.resource).cloned().unwrap_or_default();
        let asked = |verb: &str| VERBS.iter().any(|one| *one == verb && seen.contains(&(row.place(), *one)));
        let cell = |verb: &&'static str| {
            let mark = match (row.verbs.contains(verb), offered.contains(verb), asked(verb)) {
                (true, true, true) => "yes",
                (false, false, _) => "-",
                (true, false, _) => "UNLISTED",
                (true, true, false) => "UNSEEN",
                (false, true, _) => "MORE",
            };
            format!("{mark:<width$}", width = verb.len().max(3))
        };
        let cells: Vec<String> = VERBS.iter().map(cell).collect();
        println!("{:<72} {}", row.place(), cells.join(" ").trim_end());
        if cells.iter().any(|cell| cell.trim_end().chars().all(|c| c.is_ascii_uppercase())) {
            wrong.push(format!("{}: {}", row.place(), cells.join(" ")));
        }
    }
    let known: BTreeSet<String> = rows.iter().map(Row::place).collect();
    let more =
        listed.iter().flat_map(|(of, resources)| resources.keys().map(move |name| format!("{of} {name}")));
    wrong.extend(
        more.filter(|place| !known.contains(place)).map(|place| format!("{place}: no row of the table")),
    );
    let verbs: usize = rows.iter().map(|row| row.verbs.len()).sum();
    println!(
        "{} rows, {} of {verbs} verbs; {}",
        rows.len(),
        seen.len(),
        match wrong.is_empty() {
            true => "no row missing".to_owned(),
            false => format!("{} wrong", wrong.len()),
        }
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(seen.len() == verbs, "{} of {verbs} verbs were seen", seen.len());
    Ok(())
}

/// What came of a row.
struct Told<'a> {
    row: &'a Row,
    failure: Option<String>,
}

impl<'a> Told<'a> {
    fn new(row: &'a Row, result: Result<()>) -> Self {
        Self { row, failure: result.err().map(|error| format!("{error:#}")) }
    }
}

impl World {
    /// The versions of a kind, with what is below their objects.
    async fn kind<'a>(&self, versions: Vec<&'a Row>, rows: &'a [Row]) -> Vec<Told<'a>> {
        let mut told = Vec::new();
        for row in versions {
            let mut result = self.resource(row).await;
            let below = rows.iter().filter(|sub| {
                let of = sub.resource.split_once('/').map(|(of, _)| of);
                sub.group_version == row.group_version && of == Some(row.resource)
            });
            // a pod is bound last: there is no such node to ask for its log
            let mut below: Vec<&Row> = below.collect();
            below.sort_by_key(|sub| sub.resource.ends_with("/binding"));
            for sub in below {
                told.push(Told::new(sub, self.subresource(sub).await));
            }
            if result.is_ok() && row.verbs.contains(&"delete") {
                result = self.away(row).await;
            }
            told.push(Told::new(row, result));
        }
        told
    }
    /// Waits for the first event of a watch.
    async fn first(&self, path: &str) -> Result<()> {
        let request = Request::get(path).body(Body::empty())?;
        let mut body = self.client.send(request).await?.into_body();
        body.frame().await.context("no event came")??;
        Ok(())
    }
}
