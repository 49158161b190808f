//! Which request is which verb: one table, read here and described by `openapi`. Pure.

use base64::Engine;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use sampan_addons::Request;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::PREFIX;
use super::reply::Refusal;

/// Lines of a log that come without being asked for more.
const TAIL: usize = 200;

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// This API's description.
    OpenApi,
    /// All addons.
    List,
    /// Adds a package.
    Add,
    /// One addon.
    Show,
    /// Takes a package out.
    Remove,
    /// Turns on.
    Enable,
    /// Turns off.
    Disable,
    /// Changes the configuration.
    Configure,
    /// The images.
    Images,
    /// The page's address.
    Page,
    /// What it said.
    Logs,
}

/// A way to ask.
pub struct Route {
    /// `GET`, `POST` or `DELETE`.
    pub method: Method,
    /// Below [`PREFIX`]; `{name}` stands for an addon's name.
    pub path: &'static str,
    /// What it does.
    pub action: Action,
    /// In one line.
    pub summary: &'static str,
}

/// Every route.
pub static ROUTES: [Route; 11] = {
    const fn route(method: Method, path: &'static str, action: Action, summary: &'static str) -> Route {
        Route { method, path, action, summary }
    }
    [
        route(Method::GET, "/openapi.json", Action::OpenApi, "This document"),
        route(Method::GET, "/addons", Action::List, "All addons and how they are"),
        route(Method::POST, "/addons", Action::Add, "Add a package, or another version of one"),
        route(
            Method::GET,
            "/addons/{name}",
            Action::Show,
            "An addon with its configuration, schema and objects",
        ),
        route(Method::DELETE, "/addons/{name}", Action::Remove, "Remove a package with what it made"),
        route(
            Method::POST,
            "/addons/{name}/enable",
            Action::Enable,
            "Turn an addon on and wait until it is healthy",
        ),
        route(
            Method::POST,
            "/addons/{name}/disable",
            Action::Disable,
            "Turn an addon off and take its objects away",
        ),
        route(
            Method::POST,
            "/addons/{name}/configure",
            Action::Configure,
            "Change the configuration of an addon",
        ),
        route(Method::GET, "/addons/{name}/images", Action::Images, "The images that an addon uses"),
        route(Method::GET, "/addons/{name}/page", Action::Page, "The address of an addon's page"),
        route(Method::GET, "/addons/{name}/logs", Action::Logs, "What the code of a native addon said"),
    ]
};

/// What is sent to enable.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Enable {
    /// Paths of the configuration with their values, such as `{"http.port": 8080}`, on top of what was set before.
    pub set: Map<String, Value>,
    /// How long to wait until it is healthy, in seconds; without it 30 for native addons, 180 for packages.
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
    pub files: String,
    /// The name to give it; without one its own.
    #[serde(default)]
    pub name: Option<String>,
}

/// A verb, and how its result is shown.
pub struct Asked {
    /// The verb.
    pub request: Request,
    /// Makes an object of what is none.
    pub shape: fn(Value) -> Value,
}

/// What a request is.
pub enum Call {
    /// Asks for the description.
    OpenApi,
    /// Asks for the last lines of a log.
    Logs {
        /// The addon.
        name: String,
        /// How many.
        tail: usize,
    },
    /// Asks the platform.
    Verb(Asked),
}

/// Reads a request.
///
/// # Errors
/// There is no such route, or the body is not as described.
pub fn read(
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Call, Refusal> {
    let (action, name) = find(method, path)?;
    let verb = |request, shape| Ok(Call::Verb(Asked { request, shape }));
    let same: fn(Value) -> Value = |value| value;
    match action {
        Action::OpenApi => Ok(Call::OpenApi),
        Action::Logs => Ok(Call::Logs { name, tail: tail(query)? }),
        Action::List => verb(Request::List, |items| json!({"items": items})),
        Action::Show => verb(Request::Show { name }, same),
        Action::Images => verb(Request::Images { name }, |images| json!({"images": images})),
        Action::Page => verb(Request::Page { name }, |url| json!({"url": url})),
        Action::Disable => verb(Request::Disable { name }, same),
        Action::Remove => verb(Request::Remove { name }, same),
        Action::Enable => {
            let Enable { set, timeout_seconds } = parsed(body)?;
            verb(Request::Enable { name, set: pairs(set), timeout_seconds }, same)
        }
        Action::Configure => {
            let Configure { set, unset } = parsed(body)?;
            verb(Request::Configure { name, set: pairs(set), unset }, same)
        }
        Action::Add => {
            let Add { files, name } = added(headers, body)?;
            verb(Request::Add { files, name }, same)
        }
    }
}

/// The action of a path, and the addon's name in it.
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
        None if here.is_empty() => Err(Refusal::no_path()),
        None => {
            let methods: Vec<&str> = here.iter().map(|(route, _)| route.method.as_str()).collect();
            Err(Refusal::method(&methods.join(" and ")))
        }
    }
}

fn tail(query: &str) -> Result<usize, Refusal> {
    let Some(value) = query.split('&').find_map(|pair| pair.strip_prefix("tail=")) else { return Ok(TAIL) };
    value.parse().map_err(|_| Refusal::bad("tail", "has to be a number of lines"))
}

/// A body; none at all is an empty one.
fn parsed<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Refusal> {
    match body.is_empty() {
        true => Ok(T::default()),
        false => serde_json::from_slice(body).map_err(|error| Refusal::bad("body", &error.to_string())),
    }
}

fn added(headers: &HeaderMap, body: &Bytes) -> Result<Add, Refusal> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match kind.starts_with("application/gzip") {
        true => Ok(Add { files: base64::engine::general_purpose::STANDARD.encode(body), name: None }),
        false => serde_json::from_slice(body).map_err(|error| Refusal::bad("body", &error.to_string())),
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

    fn asked(method: &str, path: &str, body: &str) -> Result<Request, Refusal> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let path = format!("{PREFIX}{path}");
        match read(&method, &path, "", &HeaderMap::new(), &Bytes::from(body.to_owned()))? {
            Call::Verb(asked) => Ok(asked.request),
            _ => panic!("no verb"),
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
    fn what_is_wrong_is_named() {
        for (method, path, body, code, words) in [
            ("GET", "/nodes", "", 404, "openapi.json"),
            ("GET", "/addons/", "", 404, "openapi.json"),
            ("PUT", "/addons/dns", "", 405, "GET and DELETE"),
            ("POST", "/addons/dns/enable", "{", 400, "body: "),
            ("POST", "/addons/dns/enable", r#"{"sets": {}}"#, 400, "unknown field `sets`"),
            ("POST", "/addons", "{}", 400, "missing field `files`"),
        ] {
            let status = asked(method, path, body).unwrap_err().status();
            assert_eq!(status["code"], code, "{method} {path}");
            assert!(status["message"].as_str().unwrap().contains(words), "{status}");
        }
    }
}
