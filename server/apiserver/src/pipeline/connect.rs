//! What goes on to a node: log, exec, attach, portforward and proxies
//! (`pkg/registry/core/pod/strategy.go` `LogLocation`, `ExecLocation`; `pkg/registry/core/*/rest`).

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use sampan_api::go;
use sampan_api::kinds;
use sampan_api::selector::Selector;
use sampan_api::status::{ApiError, FieldError, Reason};
use serde_json::{Value, json};

use super::negotiate::{As, Format};
use super::query::encode;
use super::resource::{Answer, not_allowed};
use super::warnings::Warnings;
use super::{Context, respond, shape};
use crate::registry::{Operation, Review, Target};
use crate::strategies::pod;
use crate::value::{at, items, meta, text};
use crate::{ApiServer, ResponseBody, Takeover, TakeoverSlot};

/// Longest error text taken over from a kubelet.
const ERROR_TEXT: usize = 64 * 1024;

impl ApiServer {
    pub(super) async fn connect(&self, context: Context, target: Target) -> Answer {
        let warnings = Warnings::default();
        let review = Review {
            operation: Operation::Connect,
            kind: target.kind,
            subresource: &target.subresource,
            namespace: &target.namespace,
            name: &target.name,
            user: &context.user,
            old: None,
            dry_run: false,
            said: &Default::default(),
            store: &self.registry().store,
            converter: &self.registry().converter,
            warnings: &warnings,
            notes: Default::default(),
        };
        let mut options = connect_options(&context, &target);
        self.registry().admit(&review, &mut options).await?;
        self.registry().admit_validate(&review, &options).await?;
        match (target.kind.kind, target.subresource.as_str()) {
            ("Pod", "log") => self.log(&context, &target).await,
            ("Pod", "exec" | "attach" | "portforward") => self.stream(context, &target),
            ("Node", "proxy") => self.node_proxy(context, &target).await,
            ("Pod" | "Service", "proxy") => super::proxy::forward(self, context, &target).await,
            _ => Err(not_allowed()),
        }
    }

    async fn log(&self, context: &Context, target: &Target) -> Answer {
        let (pod, _) = self.registry().object(&Target { subresource: String::new(), ..target.clone() })?;
        check_log_options(&target.name, &context.query)?;
        let container = container(&pod, context.query.text("container"))?;
        let Some(node) = pod::node(&pod) else {
            return Ok(respond::raw(200, "text/plain", Bytes::new()));
        };
        self.node_exists(node)?;
        let wanted = [
            "follow",
            "previous",
            "sinceSeconds",
            "sinceTime",
            "timestamps",
            "tailLines",
            "limitBytes",
            "stream",
        ];
        let query = pass(&context.query, &wanted);
        let path = format!("/containerLogs/{}/{}/{container}?{query}", target.namespace, target.name);
        let request = Request::get(path).body(Bytes::new()).map_err(ApiError::internal)?;
        let response = self.ask(node, request).await?;
        if !response.status().is_success() {
            return Err(node_error(response).await);
        }
        let mut response = response;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(response)
    }

    /// 404 with the node's name for a pod whose node is gone: `GetConnectionInfo`.
    fn node_exists(&self, name: &str) -> Result<(), ApiError> {
        let kind = kinds::by_resource("", "v1", "nodes").ok_or_else(ApiError::unknown_resource)?;
        self.registry().entry(&Target::new(kind, "", name)).map(drop)
    }

    async fn ask(&self, node: &str, request: Request<Bytes>) -> Answer {
        let answer = self.registry().connector()?.request(node, request).await;
        answer.map_err(|why| ApiError::internal(format!("error reaching node {node}: {why}")))
    }

    /// exec, attach, portforward: the connection goes to the kubelet as it is.
    fn stream(&self, context: Context, target: &Target) -> Answer {
        let (pod, _) = self.registry().object(&Target { subresource: String::new(), ..target.clone() })?;
        let forward = target.subresource == "portforward";
        let container =
            if forward { String::new() } else { container(&pod, context.query.text("container"))? };
        let node = pod::node(&pod).ok_or_else(|| {
            ApiError::bad_request(format!("pod {} does not have a host assigned", target.name))
        })?;
        if target.subresource == "exec" && context.query.all("command").next().is_none() {
            return Err(ApiError::bad_request("you must specify at least 1 command for the container"));
        }
        self.node_exists(node)?;
        let path = match forward {
            true => format!(
                "/portForward/{}/{}?{}",
                target.namespace,
                target.name,
                pass(&context.query, &["port", "ports"])
            ),
            false => format!(
                "/{}/{}/{}/{container}?{}",
                target.subresource,
                target.namespace,
                target.name,
                streams(&context)
            ),
        };
        self.hand_over(node.to_owned(), path, context)
    }

    async fn node_proxy(&self, context: Context, target: &Target) -> Answer {
        let node = target.name.split(':').next().unwrap_or("").to_owned();
        self.registry().entry(&Target {
            name: node.clone(),
            subresource: String::new(),
            ..target.clone()
        })?;
        let query = context.head.uri.query().map_or(String::new(), |q| format!("?{q}"));
        let path = format!("/{}{query}", context.info.rest);
        if upgrades(&context.head.headers) {
            return self.hand_over(node, path, context);
        }
        let mut request = Request::builder().method(context.head.method.clone()).uri(path);
        if let Some(headers) = request.headers_mut() {
            *headers = end_to_end(&context.head.headers);
        }
        let request = request.body(context.body).map_err(ApiError::internal)?;
        self.ask(&node, request).await
    }

    /// 101 with a [`Takeover`]: the kubelet writes the head itself.
    fn hand_over(&self, node: String, path: String, context: Context) -> Answer {
        if !upgrades(&context.head.headers) {
            return Err(ApiError::bad_request("Upgrade request required"));
        }
        let connector = self.registry().connector()?;
        let mut request = Request::builder()
            .method(context.head.method.clone())
            .uri(path)
            .body(Bytes::new())
            .map_err(ApiError::internal)?;
        *request.headers_mut() = context.head.headers.clone();
        request.headers_mut().remove(http::header::AUTHORIZATION);
        let takeover = Takeover(Box::new(move |io| connector.upgrade(&node, request, io)));
        Ok(take_over(takeover))
    }

    /// `componentstatuses`, which upstream deprecates but still serves.
    pub(super) fn component_status(&self, context: &Context, target: &Target, format: Format) -> Answer {
        let one = |name: &str| {
            let condition = json!({"type": "Healthy", "status": "True", "message": "ok"});
            json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]})
        };
        let names = ["controller-manager", "scheduler", "etcd-0"];
        let wrong = |why: String| ApiError::bad_request(why);
        let selector = Selector::parse(context.query.text("labelSelector")).map_err(wrong)?;
        let objects: Vec<Value> = match target.name.as_str() {
            // they have no labels
            "" if !selector.matches(&Value::Null) => Vec::new(),
            "" => names.map(one).into(),
            name if names.contains(&name) => vec![one(name)],
            _ => return Err(target.not_found()),
        };
        let body = match (format.shape, objects.as_slice()) {
            (As::Table, objects) => {
                let objects = objects.iter().map(|object| object.to_string().into());
                let rows = shape::Rows { include: shape::include(context)?, meta: format.meta };
                shape::table(target.kind, objects, &json!({}), rows, true)?
            }
            (_, [object]) if !target.name.is_empty() => object.to_string().into(),
            (_, items) => {
                json!({"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": items})
                    .to_string()
                    .into()
            }
        };
        Ok(respond::encoded(200, body, format, &context.head.headers))
    }
}

/// `ValidatePodLogOptions`, and the numbers' syntax before it.
fn check_log_options(name: &str, query: &super::query::Query) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    for (field, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        let Some(text) = query.get(field).filter(|text| !text.is_empty()) else { continue };
        let number = go::parse_int(text).map_err(ApiError::bad_request)?;
        if number < least {
            let why =
                if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            errors.push(FieldError::invalid(field, number, why));
        }
    }
    if query.get("sinceSeconds").is_some() && query.get("sinceTime").is_some() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden("", why));
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("", "PodLogOptions", name, errors)) }
}

/// The object of CONNECT that admission sees; null where there is none.
fn connect_options(context: &Context, target: &Target) -> Value {
    let Some(kind) = crate::dynamic::connect_options(target.kind.kind, &target.subresource) else {
        return Value::Null;
    };
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    let query = &context.query;
    for flag in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|flag| query.flag(flag)) {
        crate::value::set(&mut options, &[flag], true);
    }
    if let Some(container) = query.get("container").filter(|container| !container.is_empty()) {
        crate::value::set(&mut options, &["container"], container);
    }
    let command: Vec<&str> = query.all("command").collect();
    if !command.is_empty() {
        crate::value::set(&mut options, &["command"], command);
    }
    let ports: Vec<u64> =
        query.all("ports").flat_map(|all| all.split(',')).filter_map(|port| port.parse().ok()).collect();
    if !ports.is_empty() {
        crate::value::set(&mut options, &["ports"], ports);
    }
    if target.subresource == "proxy" {
        crate::value::set(&mut options, &["path"], context.info.rest.as_str());
    }
    options
}

/// 101 whose head is written by whoever takes the connection over.
pub(crate) fn take_over(takeover: Takeover) -> Response<ResponseBody> {
    let mut response = Response::new(respond::body(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.extensions_mut().insert(TakeoverSlot::new(takeover));
    response
}

/// Whether the client wants another protocol on this connection.
pub(crate) fn upgrades(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
}

/// Headers without those of this hop and of this server's clients.
pub(crate) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in [
        CONNECTION,
        HOST,
        http::header::AUTHORIZATION,
        http::header::TRANSFER_ENCODING,
        http::header::CONTENT_LENGTH,
        http::header::PROXY_AUTHENTICATE,
        http::header::PROXY_AUTHORIZATION,
        http::header::TE,
        http::header::TRAILER,
        http::HeaderName::from_static("keep-alive"),
    ] {
        kept.remove(name);
    }
    kept
}

/// Takes out what was this server's to act upon.
pub(crate) fn without_impersonation(headers: &mut HeaderMap) {
    let impersonation = headers.keys().filter(|name| name.as_str().starts_with("impersonate-"));
    for name in impersonation.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// The named parameters, as they came.
fn pass(query: &super::query::Query, names: &[&str]) -> String {
    let kept = query.pairs().iter().filter(|(key, _)| names.contains(&key.as_str()));
    kept.map(|(key, value)| format!("{key}={}", encode(value))).collect::<Vec<_>>().join("&")
}

/// The kubelet's names of the stream options.
fn streams(context: &Context) -> String {
    let flags = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];
    let mut parts: Vec<String> = flags
        .iter()
        .filter(|(ours, _)| context.query.flag(ours))
        .map(|(_, name)| format!("{name}=1"))
        .collect();
    parts.extend(context.query.all("command").map(|part| format!("command={}", encode(part))));
    parts.join("&")
}

/// The container meant: `validateContainer`.
fn container(pod: &Value, asked: &str) -> Result<String, ApiError> {
    let name = meta(pod, "name");
    let plain = pod::container_names(pod, "containers");
    let all: Vec<String> = ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|list| pod::container_names(pod, list))
        .collect();
    match (asked, plain.as_slice()) {
        ("", [one]) => Ok(one.clone()),
        ("", []) => Err(ApiError::bad_request(format!("a container name must be specified for pod {name}"))),
        ("", _) => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            all.join(" ")
        ))),
        (asked, _) if all.iter().any(|c| c == asked) => Ok(asked.to_owned()),
        (asked, _) => Err(ApiError::bad_request(format!("container {asked} is not valid for pod {name}"))),
    }
}

/// A kubelet's refusal, in its own words.
async fn node_error(response: Response<ResponseBody>) -> ApiError {
    let code = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if bytes.len() > ERROR_TEXT {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    if let Ok(status) = serde_json::from_str::<Value>(&text)
        && status["kind"] == "Status"
    {
        return ApiError::new(reason(code), status["message"].as_str().unwrap_or(""));
    }
    ApiError::new(reason(code), text)
}

fn reason(code: u16) -> Reason {
    match code {
        400 => Reason::BadRequest,
        403 => Reason::Forbidden,
        404 => Reason::NotFound,
        503 => Reason::ServiceUnavailable,
        _ => Reason::InternalError,
    }
}

/// The first ready address and port behind a service's port, by name or number; empty means the only one.
pub(super) fn endpoint(server: &ApiServer, service: &Value, port: &str) -> Option<(String, u16)> {
    let number: Option<u64> = port.parse().ok();
    let is_number = |p: &Value| number.is_some() && at(p, &["port"]).as_u64() == number;
    let wanted = items(at(service, &["spec", "ports"]))
        .iter()
        .find(|p| port.is_empty() || text(p, &["name"]) == port || is_number(p))?;
    let kind = kinds::by_resource("discovery.k8s.io", "v1", "endpointslices")?;
    let prefix = format!("{}/", meta(service, "namespace"));
    for entry in server.registry().store.list(kind.storage_group).prefix(&prefix) {
        let slice: Value = serde_json::from_slice(&entry.value).ok()?;
        if text(&slice, &["metadata", "labels", "kubernetes.io/service-name"]) != meta(service, "name") {
            continue;
        }
        let port =
            items(at(&slice, &["ports"])).iter().find(|p| text(p, &["name"]) == text(wanted, &["name"]));
        let ready = items(at(&slice, &["endpoints"]))
            .iter()
            .find(|e| at(e, &["conditions", "ready"]).as_bool() != Some(false));
        let address = ready.and_then(|e| items(at(e, &["addresses"])).first()?.as_str().map(str::to_owned));
        if let (Some(address), Some(port)) = (address, port.and_then(|p| at(p, &["port"]).as_u64())) {
            return Some((address, u16::try_from(port).ok()?));
        }
    }
    None
}
