//! Which request is which verb: one table, read here and described by `openapi`. Pure.

use std::path::PathBuf;

use base64::Engine;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use sampan_addons::Request;
use sampan_simulate::Wanted;
use sampan_simulate::words::State as NodeState;
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::reply::Refusal;
use super::tokens::NewToken;
use super::{OPEN, PREFIX};

/// Lines of a log that come without being asked for more.
const TAIL: usize = 200;
/// Most lines that can be asked for.
pub const TAIL_MAX: usize = 1_000_000;

/// What a route does; the name is its `operationId`, in camel case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each route's summary says it")]
pub enum Action {
    Describe,
    Read,
    GetStatus,
    ListComponents,
    ListNodes,
    ListProfiles,
    GetVersion,
    GetKubeconfig,
    WatchEvents,
    ListImages,
    LoadImages,
    PullImage,
    RemoveImage,
    ListLogs,
    GetLog,
    GetMetricsHistory,
    Backup,
    Stop,
    OpenDashboard,
    ListTokens,
    CreateToken,
    RevokeToken,
    ListOperations,
    GetOperation,
    ListAddons,
    AddAddon,
    GetAddon,
    RemoveAddon,
    EnableAddon,
    DisableAddon,
    ConfigureAddon,
    GetAddonImages,
    GetAddonPage,
    GetAddonLogs,
    GetSimulation,
    Simulate,
    DeleteSimulation,
    FailZone,
    RecoverZone,
}

/// A way to ask.
pub struct Route {
    /// `GET`, `POST` or `DELETE`.
    pub method: Method,
    /// Below [`PREFIX`]; `{name}` stands for one part.
    pub path: &'static str,
    /// What it does.
    pub action: Action,
    /// In one line.
    pub summary: &'static str,
}

/// Every route.
pub static ROUTES: [Route; 39] = {
    use Action as A;
    const fn get(path: &'static str, action: A, summary: &'static str) -> Route {
        Route { method: Method::GET, path, action, summary }
    }
    const fn post(path: &'static str, action: A, summary: &'static str) -> Route {
        Route { method: Method::POST, path, action, summary }
    }
    const fn delete(path: &'static str, action: A, summary: &'static str) -> Route {
        Route { method: Method::DELETE, path, action, summary }
    }
    [
        get("/openapi.json", A::Describe, "This document"),
        get("/docs", A::Read, "This document, for people"),
        get("/status", A::GetStatus, "Components, node, versions and addresses"),
        get("/components", A::ListComponents, "The cluster's components and how they are"),
        get("/nodes", A::ListNodes, "The nodes, in short"),
        get("/profiles", A::ListProfiles, "The clusters of this machine"),
        get("/version", A::GetVersion, "Versions of sampan and of the Kubernetes that it is"),
        get("/kubeconfig", A::GetKubeconfig, "The administrator's kubeconfig"),
        get("/events", A::WatchEvents, "What happens to components and operations, as it happens"),
        get("/images", A::ListImages, "The images that pods start from"),
        post("/images", A::LoadImages, "Load images from an archive"),
        post("/images/pull", A::PullImage, "Pull an image from its registry"),
        post("/images/remove", A::RemoveImage, "Remove an image"),
        get("/logs", A::ListLogs, "Whose logs there are"),
        get("/logs/{name}", A::GetLog, "What a component said"),
        get(
            "/metrics/history/{name}",
            A::GetMetricsHistory,
            "What nodes or pods used lately, as long as the addon metrics keeps it",
        ),
        post("/backup", A::Backup, "Save the database to a new file"),
        post("/stop", A::Stop, "Stop the pods, then the daemon"),
        post("/dashboard", A::OpenDashboard, "An address that signs a browser in, once"),
        get("/tokens", A::ListTokens, "The tokens for tools"),
        post("/tokens", A::CreateToken, "Make a token for a tool"),
        delete("/tokens/{name}", A::RevokeToken, "Revoke a token"),
        get("/operations", A::ListOperations, "What was done last, and what is being done"),
        get("/operations/{name}", A::GetOperation, "An operation; its steps to clients that accept a stream"),
        get("/addons", A::ListAddons, "All addons and how they are"),
        post("/addons", A::AddAddon, "Add a package, or another version of one"),
        get("/addons/{name}", A::GetAddon, "An addon with its configuration, schema and objects"),
        delete("/addons/{name}", A::RemoveAddon, "Remove a package with what it made"),
        post("/addons/{name}/enable", A::EnableAddon, "Turn an addon on and wait until it is healthy"),
        post("/addons/{name}/disable", A::DisableAddon, "Turn an addon off and take its objects away"),
        post("/addons/{name}/configure", A::ConfigureAddon, "Change the configuration of an addon"),
        get("/addons/{name}/images", A::GetAddonImages, "The images that an addon uses"),
        get("/addons/{name}/page", A::GetAddonPage, "The address of an addon's page"),
        get("/addons/{name}/logs", A::GetAddonLogs, "What the code of a native addon said"),
        get("/simulate", A::GetSimulation, "The simulated nodes, in numbers"),
        post("/simulate", A::Simulate, "Have so many simulated nodes, and wait until they are Ready"),
        delete("/simulate", A::DeleteSimulation, "Remove the simulated nodes with their pods"),
        post("/simulate/zones/{name}/fail", A::FailZone, "Have the simulated nodes of a zone fall silent"),
        post("/simulate/zones/{name}/recover", A::RecoverZone, "Have them come back"),
    ]
};

/// What is sent to enable.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Enable {
    /// Paths of the configuration with their values, such as `{"http.port": 8080}`, on top of what was set before.
    pub set: Map<String, Value>,
    /// How long to wait until it is healthy, in seconds; without it 30 for native addons, 180 for packages.
    #[serde(deserialize_with = "whole")]
    pub timeout_seconds: Option<u64>,
}

/// What is sent to configure.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Configure {
    /// Paths with their values, such as `{"http.port": 8080}`.
    pub set: Map<String, Value>,
    /// Paths of which the default is to hold again.
    pub unset: Vec<String>,
}

/// What is sent to add; a body of the type `application/gzip` is the archive itself.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Add {
    /// The package's folder as a tar, gzipped, in base64.
    #[schemars(length(min = 1))]
    pub files: String,
    /// The name to give it; without one its own.
    #[serde(default)]
    pub name: Option<String>,
}

/// Names an image.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Image {
    /// Such as `nginx:alpine`.
    #[schemars(length(min = 1))]
    pub image: String,
}

/// Names an archive on the daemon's machine.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Archive {
    /// Absolute path of a docker-save or OCI archive.
    #[schemars(with = "String", regex(pattern = "^/"))]
    pub archive: PathBuf,
}

/// Names a file on the daemon's machine.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewFile {
    /// Absolute path of a file that does not exist.
    #[schemars(with = "String", regex(pattern = "^/"))]
    pub file: PathBuf,
}

/// How to stop.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Stop {
    /// Leave the containers running.
    pub keep_pods: bool,
}

/// An addon's verb, and how its result is shown.
pub struct Asked {
    /// The verb.
    pub request: Request,
    /// Makes an object of what is none.
    pub shape: fn(Value) -> Value,
}

/// What a request is.
pub enum Call {
    /// What is answered without anything being sent.
    Plain(Action),
    /// The last lines of a log, and what is said from then on.
    Log {
        /// An addon's, rather than a component's.
        addon: bool,
        /// Whose.
        name: String,
        /// How many.
        tail: usize,
        /// Go on.
        follow: bool,
    },
    /// What `nodes` or `pods` used.
    History(String),
    /// Load images.
    Load(PathBuf),
    /// Pull an image.
    Pull(String),
    /// Remove an image.
    RemoveImage(String),
    /// Back up.
    Backup(PathBuf),
    /// End.
    Stop {
        /// Leave the containers running.
        keep_pods: bool,
    },
    /// Make a token.
    CreateToken(NewToken),
    /// Revoke a token.
    RevokeToken(String),
    /// An operation, by its id.
    Operation(String),
    /// Asks the platform.
    Addon(Asked),
    /// Have so many simulated nodes.
    Simulate(Box<Wanted>),
    /// Remove them.
    DeleteSimulation,
    /// Have a zone of them fall silent, or come back.
    TellZone {
        /// The zone.
        zone: String,
        /// What its nodes do from now on.
        state: NodeState,
    },
}

/// Reads a request.
///
/// # Errors
/// There is no such route, or the body or query is not as described.
pub fn read(
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Call, Refusal> {
    use Action as A;
    let (action, name) = find(method, path)?;
    let addon = |request, shape| Ok(Call::Addon(Asked { request, shape }));
    let same: fn(Value) -> Value = |value| value;
    match action {
        A::GetLog | A::GetAddonLogs => {
            let (tail, follow) = (tail(query)?, flag(query, "follow")?);
            Ok(Call::Log { addon: action == A::GetAddonLogs, name, tail, follow })
        }
        A::GetMetricsHistory => Ok(Call::History(name)),
        A::LoadImages => Ok(Call::Load(required::<Archive>(body)?.archive)),
        A::PullImage => Ok(Call::Pull(required::<Image>(body)?.image)),
        A::RemoveImage => Ok(Call::RemoveImage(required::<Image>(body)?.image)),
        A::Backup => Ok(Call::Backup(required::<NewFile>(body)?.file)),
        A::Stop => Ok(Call::Stop { keep_pods: parsed::<Stop>(body)?.keep_pods }),
        A::CreateToken => Ok(Call::CreateToken(required(body)?)),
        A::RevokeToken => Ok(Call::RevokeToken(name)),
        A::GetOperation => Ok(Call::Operation(name)),
        A::ListAddons => addon(Request::List, |items| json!({"items": items})),
        A::GetAddon => addon(Request::Show { name }, same),
        A::GetAddonImages => addon(Request::Images { name }, |images| json!({"images": images})),
        A::GetAddonPage => addon(Request::Page { name }, |url| json!({"url": url})),
        A::DisableAddon => addon(Request::Disable { name }, same),
        A::RemoveAddon => addon(Request::Remove { name }, same),
        A::EnableAddon => {
            let Enable { set, timeout_seconds } = parsed(body)?;
            addon(Request::Enable { name, set: pairs(set), timeout_seconds }, same)
        }
        A::ConfigureAddon => {
            let Configure { set, unset } = parsed(body)?;
            addon(Request::Configure { name, set: pairs(set), unset }, same)
        }
        A::Simulate => Ok(Call::Simulate(Box::new(required(body)?))),
        A::DeleteSimulation => Ok(Call::DeleteSimulation),
        A::FailZone => Ok(Call::TellZone { zone: name, state: NodeState::Failed }),
        A::RecoverZone => Ok(Call::TellZone { zone: name, state: NodeState::Alive }),
        A::AddAddon => {
            let Add { files, name } = added(headers, body)?;
            addon(Request::Add { files, name }, same)
        }
        A::Describe
        | A::Read
        | A::GetStatus
        | A::ListComponents
        | A::ListNodes
        | A::ListProfiles
        | A::GetVersion
        | A::GetKubeconfig
        | A::WatchEvents
        | A::ListImages
        | A::ListLogs
        | A::OpenDashboard
        | A::ListTokens
        | A::ListOperations
        | A::GetSimulation => Ok(Call::Plain(action)),
    }
}

/// The action of a path, and the name in it.
fn find(method: &Method, path: &str) -> Result<(Action, String), Refusal> {
    let rest = path.strip_prefix(PREFIX).ok_or_else(Refusal::no_path)?;
    let parts: Vec<&str> = rest.split('/').collect();
    let of = |route: &Route| {
        let wanted: Vec<&str> = route.path.split('/').collect();
        let fits = wanted.len() == parts.len()
            && wanted
                .iter()
                .zip(&parts)
                .all(|(want, part)| want == part || (*want == "{name}" && !part.is_empty()));
        let place = wanted.iter().position(|want| *want == "{name}");
        fits.then(|| place.map_or("", |place| parts[place]).to_owned())
    };
    let here: Vec<(&Route, String)> = ROUTES.iter().filter_map(|route| Some((route, of(route)?))).collect();
    match here.iter().find(|(route, _)| route.method == method) {
        Some((route, name)) => Ok((route.action, name.clone())),
        None if rest == OPEN => Err(Refusal::elsewhere(rest)),
        None if here.is_empty() => Err(Refusal::no_path()),
        None => {
            let methods: Vec<&str> = here.iter().map(|(route, _)| route.method.as_str()).collect();
            Err(Refusal::method(&methods))
        }
    }
}

fn tail(query: &str) -> Result<usize, Refusal> {
    let Some(value) = field(query, "tail") else { return Ok(TAIL) };
    let lines = value.parse().ok().filter(|lines| *lines <= TAIL_MAX);
    lines.ok_or_else(|| Refusal::bad("tail", &format!("has to be a number of lines, at most {TAIL_MAX}")))
}

fn flag(query: &str, name: &str) -> Result<bool, Refusal> {
    match field(query, name) {
        None | Some("false") => Ok(false),
        Some("" | "true") => Ok(true),
        Some(_) => Err(Refusal::bad(name, "has to be true or false")),
    }
}

fn field<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
        (own == name).then_some(value)
    })
}

/// A whole number, which JSON may also write as `60.0`.
pub fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    // beyond 2^53 there are only whole numbers, and none that anybody means
    let float = || {
        number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15).map(|float| float as i64)
    };
    let whole = number.as_i64().or_else(float).and_then(|whole| T::try_from(whole).ok());
    whole.map(Some).ok_or_else(|| D::Error::custom(format!("{number} is no whole number of this range")))
}

/// A body; none at all is an empty one.
fn parsed<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Refusal> {
    match body.is_empty() {
        true => Ok(T::default()),
        false => required(body),
    }
}

fn required<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad("body", &error.to_string()))
}

fn added(headers: &HeaderMap, body: &Bytes) -> Result<Add, Refusal> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match kind.starts_with("application/gzip") {
        true => Ok(Add { files: base64::engine::general_purpose::STANDARD.encode(body), name: None }),
        false => required(body),
    }
}

/// As `--set` has it: texts as they are, all else as JSON.
fn pairs(set: Map<String, Value>) -> Vec<String> {
    let pair = |(path, value): (String, Value)| match value {
        Value::String(text) => format!("{path}={text}"),
        value => format!("{path}={value}"),
    };
    set.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn call(method: &str, path: &str, body: &str) -> Result<Call, Refusal> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let path = format!("{PREFIX}{path}");
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        read(&method, path, query, &HeaderMap::new(), &Bytes::from(body.to_owned()))
    }

    fn asked(method: &str, path: &str, body: &str) -> Result<Request, Refusal> {
        match call(method, path, body)? {
            Call::Addon(asked) => Ok(asked.request),
            _ => panic!("no addon's verb"),
        }
    }

    #[test]
    fn requests_are_verbs() {
        let name = || "dns".to_owned();
        for (method, path, body, request) in [
            ("GET", "/addons", "", Request::List),
            ("GET", "/addons/dns", "", Request::Show { name: name() }),
            ("DELETE", "/addons/dns", "", Request::Remove { name: name() }),
            ("POST", "/addons/dns/disable", "", Request::Disable { name: name() }),
            ("GET", "/addons/dns/images", "", Request::Images { name: name() }),
            ("GET", "/addons/dns/page", "", Request::Page { name: name() }),
            (
                "POST",
                "/addons/dns/enable",
                r#"{"set": {"ttlSeconds": 7, "clusterDomain": "x.local"}, "timeoutSeconds": 5}"#,
                Request::Enable {
                    name: name(),
                    set: vec!["ttlSeconds=7".into(), "clusterDomain=x.local".into()],
                    timeout_seconds: Some(5),
                },
            ),
            (
                "POST",
                "/addons/dns/enable",
                r#"{"timeoutSeconds": 5.0}"#,
                Request::Enable { name: name(), set: vec![], timeout_seconds: Some(5) },
            ),
            (
                "POST",
                "/addons/dns/enable",
                "",
                Request::Enable { name: name(), set: vec![], timeout_seconds: None },
            ),
            (
                "POST",
                "/addons/dns/configure",
                r#"{"unset": ["ttlSeconds"]}"#,
                Request::Configure { name: name(), set: vec![], unset: vec!["ttlSeconds".into()] },
            ),
            ("POST", "/addons", r#"{"files": "AAAA"}"#, Request::Add { files: "AAAA".into(), name: None }),
        ] {
            assert_eq!(asked(method, path, body), Ok(request), "{method} {path}");
        }
    }

    #[test]
    fn logs_have_a_tail_and_may_go_on() {
        let log = |path: &str| match call("GET", path, "") {
            Ok(Call::Log { addon, name, tail, follow }) => (addon, name, tail, follow),
            _ => panic!("{path}"),
        };
        assert_eq!(log("/logs/kubelet"), (false, "kubelet".into(), 200, false));
        assert_eq!(log("/addons/dns/logs?tail=3&follow=true"), (true, "dns".into(), 3, true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (method, path, body, code, words) in [
            ("GET", "/nothing", "", 404, "openapi.json"),
            ("GET", "/addons/", "", 404, "openapi.json"),
            ("GET", "/open", "", 421, "GET /sampan/v1/status says where"),
            ("PUT", "/addons/dns", "", 405, "GET and DELETE"),
            ("POST", "/addons/dns/enable", "{", 400, "body: "),
            ("POST", "/addons/dns/enable", r#"{"sets": {}}"#, 400, "unknown field `sets`"),
            ("POST", "/addons", "{}", 400, "missing field `files`"),
            ("POST", "/images/pull", "", 400, "body: "),
            ("POST", "/simulate", "{}", 400, "missing field `nodes`"),
            ("POST", "/simulate", r#"{"nodes": 1.5}"#, 400, "no whole number"),
            ("POST", "/simulate/zones//fail", "", 404, "openapi.json"),
            ("GET", "/logs/x?tail=many", "", 400, "tail: "),
            ("GET", "/logs/x?follow=1", "", 400, "follow: "),
        ] {
            let status = call(method, path, body).err().unwrap().status();
            assert_eq!(status["code"], code, "{method} {path}");
            assert!(status["message"].as_str().unwrap().contains(words), "{status}");
        }
    }
}
