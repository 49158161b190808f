//! Paths that are no resources: discovery, OpenAPI, health, version, metrics.

mod measured;
pub(crate) mod openapi;
mod slis;
pub(crate) mod zpages;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Method, Response};
use sampan_api::discovery::{self, Aggregated};
use sampan_api::go::Quote as _;
use sampan_api::kinds;
use sampan_api::status::ApiError;
use sampan_process::{Component, State};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::aggregate::Version;
use crate::pipeline::negotiate::{Format, Offer};
use crate::pipeline::{Context, nobody, respond};
use crate::{ApiServer, ResponseBody, VERSION};

type Answer = Result<Response<ResponseBody>, ApiError>;

impl ApiServer {
    pub(crate) async fn path(&self, context: Context) -> Answer {
        let path = context.info.path.clone();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        if !matches!(context.head.method, Method::GET | Method::HEAD) {
            return match parts.as_slice() {
                ["apis", group, ..] if !self.serves_group(group).await => nobody(false),
                ["api" | "apis" | "openapi" | "version", ..] => Err(crate::pipeline::not_allowed()),
                _ => nobody(false),
            };
        }
        if context.head.method == Method::HEAD && is_routed(&parts) {
            return Err(crate::pipeline::not_allowed());
        }
        match parts.as_slice() {
            [""] => self.json(&json!({"paths": self.listed().await}), &context),
            ["healthz" | "livez" | "readyz", rest @ ..] => Ok(self.health(parts[0], rest, &context)),
            ["version"] => self.json(&version(), &context),
            ["metrics"] => Ok(self.metrics()),
            ["metrics", "slis"] => Ok(slis::page()),
            ["flagz"] => zpages::flagz(self.flags(), &context),
            ["statusz"] => {
                let mut paths = self.listed().await;
                // it lists what there was before it
                paths.retain(|path| path != "/statusz");
                zpages::statusz(&paths, &context)
            }
            ["debug", "api_priority_and_fairness", page] => {
                let details = !context.query.text("includeRequestDetails").is_empty();
                let text = self.fairness().and_then(|fairness| fairness.dump(page, details));
                Ok(text.map_or_else(respond::page_not_found, |text| {
                    respond::raw(200, "text/plain; charset=utf-8", text)
                }))
            }
            ["api"] => match Aggregated::accepted(context.accept()) {
                Some(format) => Ok(aggregated(&discovery::aggregated_core(format), format, &context)),
                None => self.json(&discovery::api_versions(&self.address()), &context),
            },
            ["apis"] => self.groups_document(&context).await,
            ["apis", group] => match discovery::api_group(group) {
                Some(mut document) => {
                    if let Some((_, versions)) = self.joined().into_iter().find(|(name, _)| name == group) {
                        discovery::put_ahead(
                            &mut document,
                            discovery::other_group_body(group, &names(&versions)),
                        );
                    }
                    self.json(&document, &context)
                }
                None => {
                    let others = self.other_groups().await;
                    let found = others.iter().find(|(name, _)| name == group);
                    let found = found.map(|(name, of)| discovery::other_group(name, &names(of)));
                    self.found(found, false, &context)
                }
            },
            ["api", version] => self.found(discovery::api_resource_list("", version), true, &context),
            ["apis", group, version] => {
                let custom = self.customs().of_version(group, version);
                let kinds = kinds::of_version(group, version).chain(custom);
                let list = discovery::resource_list(group, version, kinds);
                self.found(list, kinds::group(group).is_some(), &context)
            }
            ["openapi", rest @ ..] => match self.aggregated_openapi(rest, &context).await {
                Some(response) => Ok(response),
                None => openapi::serve(rest, self.customs(), &context),
            },
            _ => match self.gate().path(&path) {
                Some(value) => Ok(issuer_document(&path, &value)),
                None => nobody(parts[0] == "version"),
            },
        }
    }

    /// What `/` lists, in order.
    async fn listed(&self) -> Vec<String> {
        let mut paths = index(&self.other_groups().await);
        for endpoint in ["healthz", "livez", "readyz"] {
            paths.extend(self.checks(endpoint).iter().map(|(check, _)| format!("/{endpoint}/{check}")));
        }
        paths.sort();
        // a group may have versions from here and from elsewhere
        paths.dedup();
        paths
    }

    /// A document, or what upstream says where there is none: its routes' words, if they know what is above.
    fn found(&self, value: Option<Value>, routed: bool, context: &Context) -> Answer {
        match value {
            Some(value) => self.json(&value, context),
            None => nobody(routed),
        }
    }

    async fn serves_group(&self, group: &str) -> bool {
        kinds::group(group).is_some() || self.other_groups().await.iter().any(|(name, _)| name == group)
    }

    fn json(&self, value: &Value, context: &Context) -> Answer {
        let format = context.format(Offer { shapes: false, protobuf: false }).unwrap_or(Format::JSON);
        Ok(respond::value(200, value, format, &context.head.headers))
    }

    /// `/apis`: the registry's groups, then the others.
    async fn groups_document(&self, context: &Context) -> Answer {
        let mut others = self.other_groups().await;
        others.retain(|(name, _)| kinds::group(name).is_none());
        let joined = self.joined();
        let Some(format) = Aggregated::accepted(context.accept()) else {
            let mut document = discovery::api_group_list();
            for (name, versions) in &joined {
                join(&mut document, "groups", name, discovery::other_group_body(name, &names(versions)));
            }
            let more =
                others.iter().map(|(name, versions)| discovery::other_group_body(name, &names(versions)));
            extend(&mut document, "groups", more);
            self.order(&mut document, "groups");
            return self.json(&document, context);
        };
        let mut document = discovery::aggregated_groups(format);
        let body = |(name, versions): &(String, Vec<Version>)| {
            let versions = versions.iter().map(|version| (&*version.name, version.resources.as_ref()));
            discovery::aggregated_other(name, versions)
        };
        for group in &joined {
            join(&mut document, "items", &group.0, body(group));
        }
        extend(&mut document, "items", others.iter().map(body));
        self.order(&mut document, "items");
        Ok(aggregated(&document, format, context))
    }

    /// What definitions add to the registry's groups: versions that it has not. They stand ahead, as their APIServices have the
    /// higher `versionPriority`.
    fn joined(&self) -> Vec<(String, Vec<Version>)> {
        let groups = self.customs().groups().into_iter().filter(|(group, _)| kinds::group(group).is_some());
        let added = groups.map(|(group, versions)| {
            let new = |name: &str| kinds::of_version(&group, name).next().is_none();
            let versions = versions.into_iter().filter(|(name, _)| new(name)).map(|(name, kinds)| {
                let resources = discovery::resource_list(&group, &name, kinds.into_iter());
                Version { name, resources }
            });
            let versions = versions.collect();
            (group, versions)
        });
        added.filter(|(_, versions): &(String, Vec<Version>)| !versions.is_empty()).collect()
    }

    fn order(&self, document: &mut Value, list: &str) {
        if let Some(groups) = document.get_mut(list).and_then(Value::as_array_mut) {
            crate::aggregate::local::order(groups, |group| self.group_priority(group));
        }
    }

    /// Where clients reach this server, for old clients' `serverAddressByClientCIDRs`.
    fn address(&self) -> String {
        format!("{}:{}", self.advertise(), self.port())
    }

    /// `healthz.go`: every check by name, or `ok`.
    fn health(&self, endpoint: &str, rest: &[&str], context: &Context) -> Response<ResponseBody> {
        let excluded: Vec<&str> = context.query.all("exclude").collect();
        let checks = self.checks(endpoint);
        slis::observe(endpoint, &checks);
        if !rest.is_empty() {
            let name = rest.join("/");
            return match checks.iter().find(|(check, _)| *check == name) {
                Some((_, true)) => respond::raw(200, "text/plain; charset=utf-8", "ok"),
                Some(_) => {
                    respond::raw(500, "text/plain; charset=utf-8", "internal server error: not ready\n")
                }
                None => respond::page_not_found(),
            };
        }
        let failed = checks.iter().any(|(name, well)| !well && !excluded.contains(name));
        if !failed && context.query.get("verbose").is_none() {
            return respond::raw(200, "text/plain; charset=utf-8", "ok");
        }
        let mut text = String::new();
        for (name, well) in &checks {
            text.push_str(&match (excluded.contains(name), well) {
                (true, _) => format!("[+]{name} excluded: ok\n"),
                (false, true) => format!("[+]{name} ok\n"),
                (false, false) => format!("[-]{name} failed: reason withheld\n"),
            });
        }
        let unknown = excluded.iter().filter(|name| checks.iter().all(|(check, _)| check != *name));
        let unknown: std::collections::BTreeSet<String> =
            unknown.map(|name| name.quoted().to_string()).collect();
        if !unknown.is_empty() {
            let unknown: Vec<String> = unknown.into_iter().collect();
            text.push_str(&format!(
                "warn: some health checks cannot be excluded: no matches for {}\n",
                unknown.join(", ")
            ));
        }
        text.push_str(&format!("{endpoint} check {}\n", if failed { "failed" } else { "passed" }));
        respond::raw(if failed { 500 } else { 200 }, "text/plain; charset=utf-8", text)
    }

    fn checks(&self, endpoint: &str) -> Vec<(&'static str, bool)> {
        let report = self.health_report();
        let mut checks = vec![("ping", true), ("log", true)];
        // upstream's own connection to itself, whose certificate runs out; requests within this process need none
        if endpoint != "readyz" {
            checks.push(("loopback-serving-certificate", true));
        }
        checks.push(("etcd", !matches!(report.get(Component::Store).state, State::Failed(_))));
        if endpoint == "readyz" {
            checks.push(("etcd-readiness", true));
            checks.push(("informer-sync", true));
        }
        checks.extend(HOOKS.map(|hook| (hook, true)));
        if endpoint == "readyz" {
            checks.push(("shutdown", !self.draining()));
        }
        checks
    }
}

/// What upstream begins once it listens, in its order. Here all of it is done, or runs, before the first request is answered.
const HOOKS: [&str; 30] = [
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/storage-readiness",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/aggregator-reload-proxy-client-cert",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
];

/// Whether upstream has a route for GET alone there: what other servers serve, and its aggregator, answer HEAD as well.
fn is_routed(parts: &[&str]) -> bool {
    match parts {
        ["api" | "version", ..] => true,
        ["apis", group, _] => kinds::group(group).is_some(),
        _ => false,
    }
}

fn names(versions: &[Version]) -> Vec<&str> {
    versions.iter().map(|version| &*version.name).collect()
}

/// Adds versions to a group that the document has.
fn join(document: &mut Value, list: &str, name: &str, more: Value) {
    let groups = document.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
    let named = |group: &&mut Value| {
        [group.get("name"), group.pointer("/metadata/name")].iter().flatten().any(|found| **found == name)
    };
    if let Some(group) = groups.into_iter().find(named) {
        discovery::put_ahead(group, more);
    }
}

fn extend(document: &mut Value, list: &str, more: impl Iterator<Item = Value>) {
    if let Some(list) = document.get_mut(list).and_then(Value::as_array_mut) {
        list.extend(more);
    }
}

fn aggregated(document: &Value, format: Aggregated, context: &Context) -> Response<ResponseBody> {
    crate::aggregate::metrics::discovered();
    let text = Bytes::from(document.to_string());
    let mut response = with_etag(text, format.content_type(), &context.head.headers);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

/// A body with its hash; 304 for a client that has it.
pub(crate) fn with_etag(
    text: Bytes,
    content_type: &'static str,
    request: &HeaderMap,
) -> Response<ResponseBody> {
    let tag = format!("\"{}\"", hex(&Sha256::digest(&text)).to_uppercase());
    let known = request.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|v| v == tag);
    let mut response = match known {
        true => respond::raw(304, content_type, Bytes::new()),
        false => respond::compressed(200, content_type, text, request),
    };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, value);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `/version`.
fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": format!("linux/{}", architecture()),
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What there is, for `/`.
fn index(others: &[(String, Vec<Version>)]) -> Vec<String> {
    let mut paths: Vec<String> = vec!["/api".into(), "/api/v1".into(), "/apis".into()];
    for group in kinds::groups().iter().filter(|group| !group.name.is_empty()) {
        paths.push(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{version}", group.name)));
    }
    for (group, versions) in others {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{}", version.name)));
    }
    let rest = [
        "/flagz",
        "/healthz",
        "/livez",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/statusz",
        "/version",
        "/.well-known/openid-configuration",
    ];
    paths.extend(rest.map(str::to_owned));
    paths
}

/// What the issuer of tokens publishes: `k8s.io/kubernetes/pkg/routes/openidmetadata.go`.
fn issuer_document(path: &str, document: &Value) -> Response<ResponseBody> {
    let content_type = if path.contains("/jwks") { "application/jwk-set+json" } else { "application/json" };
    let mut response = respond::raw(200, content_type, document.to_string());
    let cache = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(CACHE_CONTROL, cache);
    response
}
