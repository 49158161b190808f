//! Extenders: HTTP servers that have a say in where pods go (upstream's `v1.Extender`), read and validated as upstream's
//! `ValidateKubeSchedulerConfiguration` does.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::FutureExt;
use jiff::SignedDuration;
use kube::config::{KubeConfigOptions, Kubeconfig};
use sampan_api::validation::is_qualified_name;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::read::{Error, invalid};

/// Upstream's `DefaultExtenderTimeout`.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Extender {
    /// Where it is; a verb follows.
    pub url_prefix: String,
    pub(crate) filter_verb: String,
    pub(crate) preempt_verb: String,
    pub(crate) prioritize_verb: String,
    pub(crate) weight: i64,
    pub(crate) bind_verb: String,
    #[serde(rename = "enableHTTPS")]
    enable_https: bool,
    #[serde(rename = "tlsConfig")]
    tls: Option<Tls>,
    #[serde(rename = "httpTimeout", deserialize_with = "duration")]
    timeout: Duration,
    /// Nodes are told by name, for it knows them.
    pub(crate) node_cache_capable: bool,
    managed_resources: Vec<ManagedResource>,
    /// What it cannot say does not keep pods from being placed.
    pub(crate) ignorable: bool,
}

/// How it is spoken to over TLS. Data is base64, as JSON has bytes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Tls {
    insecure: bool,
    server_name: String,
    cert_file: String,
    key_file: String,
    ca_file: String,
    cert_data: String,
    key_data: String,
    ca_data: String,
}

/// An extended resource that it looks after.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct ManagedResource {
    name: String,
    ignored_by_scheduler: bool,
}

/// Go's, such as `1m30s`; never negative.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let goes = |c: char| c.is_ascii_digit() || ".hmsnuµ".contains(c);
    let parsed = text.chars().all(goes).then(|| text.parse::<SignedDuration>().ok()).flatten();
    let parsed = if text == "0" { Some(SignedDuration::ZERO) } else { parsed };
    let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
    parsed.ok_or_else(|| serde::de::Error::custom(format!("time: invalid duration {text:?}")))
}

impl Extender {
    /// How long it may take to answer.
    pub(crate) fn timeout(&self) -> Duration {
        if self.timeout.is_zero() { TIMEOUT } else { self.timeout }
    }

    /// Names of the resources that make pods its business; without any, all are.
    pub(crate) fn managed(&self) -> impl Iterator<Item = &str> {
        self.managed_resources.iter().map(|resource| resource.name.as_str())
    }

    /// Names of resources that NodeResourcesFit leaves to it.
    pub(super) fn ignored(&self) -> impl Iterator<Item = &str> {
        let ignored = self.managed_resources.iter().filter(|resource| resource.ignored_by_scheduler);
        ignored.map(|resource| resource.name.as_str())
    }

    /// The URL of a verb.
    pub(crate) fn url(&self, verb: &str) -> String {
        format!("{}/{verb}", self.url_prefix.trim_end_matches('/'))
    }

    /// How to connect; certificates and keys are read.
    ///
    /// # Errors
    /// The URL is none, or TLS cannot be had with what is configured; which is in the text.
    pub(crate) fn connection(&self) -> Result<kube::Config, String> {
        let uri: http::Uri = self.url_prefix.parse().map_err(|error| format!("{error}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(format!("{:?} is no URL of http or https", self.url_prefix));
        }
        let tls = self.tls.clone().unwrap_or_default();
        let trusts = !tls.ca_file.is_empty() || !tls.ca_data.is_empty();
        let insecure = tls.insecure || (self.enable_https && !trusts);
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        // data comes before files, as in client-go
        let both = |data: &str, file: &str| (said(data), said(file).filter(|_| data.is_empty()));
        let (ca_data, ca_file) = both(&tls.ca_data, &tls.ca_file);
        let (cert_data, cert_file) = both(&tls.cert_data, &tls.cert_file);
        let (key_data, key_file) = both(&tls.key_data, &tls.key_file);
        let config: Kubeconfig = serde_json::from_value(json!({
            "current-context": "extender",
            "contexts": [{"name": "extender", "context": {"cluster": "extender", "user": "extender"}}],
            "clusters": [{"name": "extender", "cluster": {
                "server": self.url_prefix.trim_end_matches('/'),
                "insecure-skip-tls-verify": insecure,
                "certificate-authority": ca_file,
                "certificate-authority-data": ca_data,
                "tls-server-name": said(&tls.server_name),
            }}],
            "users": [{"name": "extender", "user": {
                "client-certificate": cert_file,
                "client-certificate-data": cert_data,
                "client-key": key_file,
                "client-key-data": key_data,
            }}],
        }))
        .map_err(|error| error.to_string())?;
        let options = KubeConfigOptions::default();
        // it waits for nothing: files are read at once
        let config = kube::Config::from_custom_kubeconfig(config, &options).now_or_never();
        let mut config = match config {
            Some(config) => config.map_err(|error| with_causes(&error))?,
            None => return Err("its certificates cannot be read at once".to_owned()),
        };
        config.default_retry = false;
        config.proxy_url = None;
        if insecure || uri.scheme_str() == Some("http") {
            // nobody is trusted for what is not looked at
            config.root_cert.get_or_insert_default();
        }
        kube::client::ConfigExt::rustls_client_config(&config).map_err(|error| with_causes(&error))?;
        Ok(config)
    }
}

/// An error with what caused it.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Fails if one cannot be, or they cannot be together. Those that are ignorable come last, as upstream asks them.
pub(super) fn check(extenders: Vec<Extender>) -> Result<Vec<Extender>, Error> {
    let mut managed = BTreeSet::new();
    for (at, extender) in extenders.iter().enumerate() {
        let path = format!("extenders[{at}]");
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            return Err(invalid(
                format!("{path}.weight"),
                format!("{}: must have a positive weight applied to it", extender.weight),
            ));
        }
        for (at, resource) in extender.managed_resources.iter().enumerate() {
            check_resource(&resource.name, &mut managed)
                .map_err(|problem| invalid(format!("{path}.managedResources[{at}].name"), problem))?;
        }
        extender.connection().map_err(|problem| invalid(path, problem))?;
    }
    let binders = extenders.iter().filter(|extender| !extender.bind_verb.is_empty()).count();
    if binders > 1 {
        let problem =
            format!("found {binders} extenders implementing bind: only one extender can implement bind");
        return Err(invalid("extenders", problem));
    }
    let (last, first): (Vec<_>, Vec<_>) = extenders.into_iter().partition(|extender| extender.ignorable);
    Ok(first.into_iter().chain(last).collect())
}

fn check_resource<'a>(name: &'a str, managed: &mut BTreeSet<&'a str>) -> Result<(), String> {
    if let Some(problem) = is_qualified_name(name).into_iter().next() {
        return Err(format!("{name:?}: {problem}"));
    }
    // core/v1 `IsExtendedResourceName`
    if !name.contains('/') || name.contains("kubernetes.io/") || name.starts_with("requests.") {
        return Err(format!("{name:?}: is an invalid extended resource name"));
    }
    match managed.insert(name) {
        true => Ok(()),
        false => Err(format!("{name:?}: duplicate extender managed resource name")),
    }
}
