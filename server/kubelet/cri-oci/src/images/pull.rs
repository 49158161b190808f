//! Pulling from registries: mirrors first, then the registry itself.
//!
//! One pull per name at a time; whoever asks meanwhile waits for it and shares its result.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use oci_client::client::{ClientConfig, ClientProtocol, LayerDescriptor};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference as Address};
use sampan_cri::{ImageAuth, RuntimeError};

use super::ConfigFile;
use super::archive::{Descriptor, Manifest};
use super::diff_id::DiffId;
use super::reference::Reference;
use super::store::{ImageStore, Record};

const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Layers downloaded at once; containerd's default.
const PARALLEL: usize = 3;

/// How often layers are fetched that another image's removal takes away before this image is recorded.
const TURNS: usize = 3;

/// Where registries are.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// Registry → hosts to ask first, such as `docker.io` → `mirror.gcr.io`; `http://host` for plain HTTP.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Hosts spoken to without TLS; loopback always is.
    pub insecure: Vec<String>,
}

/// Mirrors of docker.io that can be reached from a country.
pub fn country_mirrors(country: &str) -> Vec<String> {
    match country {
        "cn" => vec!["docker.m.daocloud.io".into(), "docker.1ms.run".into()],
        _ => Vec::new(),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    host: String,
    plain: bool,
}

impl Registries {
    /// In the order they are asked.
    fn endpoints(&self, registry: &str) -> Vec<Endpoint> {
        let mirrors = self.mirrors.get(registry).into_iter().flatten();
        mirrors.map(String::as_str).chain([registry]).map(|host| self.endpoint(host)).collect()
    }

    /// Each pull secret in turn, as the kubelet does; without any, nobody's rights. A mirror is not told the
    /// secrets of the registry it mirrors: it may be anybody's, and without TLS everybody's.
    fn tries(&self, endpoint: &Endpoint, registry: &str, secrets: &[ImageAuth]) -> Vec<RegistryAuth> {
        match secrets {
            [_, ..] if *endpoint == self.endpoint(registry) => secrets.iter().map(credentials).collect(),
            _ => vec![RegistryAuth::Anonymous],
        }
    }

    fn endpoint(&self, host: &str) -> Endpoint {
        let bare = host.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/');
        let name = bare.rsplit_once(':').map_or(bare, |(name, _)| name);
        let loopback = name == "localhost" || name.starts_with("127.") || name == "[::1]";
        let plain = host.starts_with("http://") || loopback || self.insecure.iter().any(|one| one == bare);
        Endpoint { host: bare.to_owned(), plain }
    }
}

type Flight = Arc<tokio::sync::Mutex<Option<(Instant, Result<Record, RuntimeError>)>>>;

/// Pulls images into a store.
pub struct Puller {
    store: Arc<ImageStore>,
    registries: Registries,
    flights: parking_lot::Mutex<HashMap<String, Flight>>,
}

impl Puller {
    /// Installs rustls' provider if nobody has.
    pub fn new(store: Arc<ImageStore>, registries: Registries) -> Self {
        // an error means that the process has one already
        let _ = rustls::crypto::ring::default_provider().install_default();
        Puller { store, registries, flights: parking_lot::Mutex::default() }
    }

    /// Pulls, or waits for the pull of the same name that runs.
    pub async fn pull(&self, image: &str, auth: Vec<ImageAuth>) -> Result<Record, RuntimeError> {
        let asked = Instant::now();
        let reference = Reference::parse(image)
            .map_err(|message| RuntimeError::InvalidImageName { image: image.to_owned(), message })?;
        let key = reference.full();
        let flight = self.flights.lock().entry(key.clone()).or_default().clone();
        let mut last = flight.lock().await;
        if let Some((finished, result)) = &*last
            && *finished >= asked
        {
            return result.clone();
        }
        let result = self.pull_now(&reference, &auth).await;
        *last = Some((Instant::now(), result.clone()));
        drop(last);
        // those who wait hold the flight themselves
        self.flights.lock().remove(&key);
        result
    }

    async fn pull_now(&self, reference: &Reference, auth: &[ImageAuth]) -> Result<Record, RuntimeError> {
        let full = reference.full();
        if let Some(record) = reference.digest.as_ref().and_then(|_| self.store.find(&full)) {
            return Ok(record);
        }
        let mut said: Vec<String> = Vec::new();
        for endpoint in self.registries.endpoints(&reference.registry) {
            match self.pull_from(&endpoint, reference, auth).await {
                Ok(record) => return Ok(record),
                Err(words) => {
                    tracing::debug!(image = full, host = endpoint.host, error = words, "pull failed");
                    said.push(words);
                }
            }
        }
        // the last is the registry itself; what its mirrors said matters only if they said something else
        let last = said.pop().unwrap_or_default();
        said.retain(|words| *words != last);
        said.push(last);
        Err(RuntimeError::ImagePull { image: full, message: said.join("; ") })
    }

    async fn pull_from(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        auths: &[ImageAuth],
    ) -> Result<Record, String> {
        let client = client(endpoint);
        let address = address(endpoint, reference);
        let mut words = String::new();
        for auth in self.registries.tries(endpoint, &reference.registry, auths) {
            match self.fetch(&client, &address, &auth, reference).await {
                Ok(record) => return Ok(record),
                Err(error) => words = error,
            }
        }
        Err(words)
    }

    async fn fetch(
        &self,
        client: &Client,
        address: &Address,
        auth: &RegistryAuth,
        reference: &Reference,
    ) -> Result<Record, String> {
        let full = reference.full();
        let resolve = |error| format!("failed to resolve reference {full:?}: {}", words(&full, &error));
        let (bytes, digest) = client.pull_manifest_raw(address, auth, &MANIFESTS).await.map_err(resolve)?;
        let mut manifest: Manifest = parse(&bytes)?;
        if manifest.config.is_none() {
            let selected = manifest.select().ok_or_else(|| {
                format!("no match for platform in manifest: not found: {full} has no image for this machine")
            })?;
            let one = address.clone_with_digest(selected.digest.clone());
            manifest = parse(&client.pull_manifest_raw(&one, auth, &MANIFESTS).await.map_err(resolve)?.0)?;
        }
        let config = manifest.config.as_ref().ok_or("manifest has no configuration")?;
        let config = self.blob(client, address, config).await?;
        let parsed: ConfigFile = parse(&config)?;
        if parsed.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err("image configuration and manifest disagree about the number of layers".into());
        }
        let layers: Vec<_> = parsed.rootfs.diff_ids.into_iter().zip(manifest.layers).collect();
        let mut again = 1..TURNS;
        loop {
            self.layers(client, address, &layers).await?;
            match self.store.add_image(&config, Some(reference), std::slice::from_ref(&digest)) {
                Err(error) if error.kind() == ErrorKind::NotFound && again.next().is_some() => {}
                done => return done.map_err(|error| error.to_string()),
            }
        }
    }

    async fn layers(
        &self,
        client: &Client,
        address: &Address,
        layers: &[(DiffId, Descriptor)],
    ) -> Result<(), String> {
        let jobs: Vec<_> =
            layers.iter().map(|(diff_id, of)| self.layer(client, address, diff_id, of)).collect();
        futures::stream::iter(jobs).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await.map(drop)
    }

    async fn blob(&self, client: &Client, address: &Address, of: &Descriptor) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let descriptor = LayerDescriptor { digest: &of.digest, urls: &None };
        client
            .pull_blob(address, &descriptor, &mut bytes)
            .await
            .map_err(|error| format!("failed to copy {}: {}", of.digest, words(&of.digest, &error)))?;
        Ok(bytes)
    }

    async fn layer(
        &self,
        client: &Client,
        address: &Address,
        diff_id: &DiffId,
        of: &Descriptor,
    ) -> Result<(), String> {
        if self.store.has_layer(diff_id) {
            return Ok(());
        }
        let path = self.store.temporary();
        let fail = |error: std::io::Error| format!("failed to extract layer {diff_id}: {error}");
        let mut file = tokio::fs::File::create(&path).await.map_err(fail)?;
        let descriptor = LayerDescriptor { digest: &of.digest, urls: &None };
        let downloaded = client.pull_blob(address, &descriptor, &mut file).await;
        drop(file);
        let result = match downloaded {
            Ok(()) => {
                let (store, diff_id, path) = (self.store.clone(), diff_id.clone(), path.clone());
                let unpack = move || store.add_layer(std::fs::File::open(path)?, &diff_id);
                tokio::task::spawn_blocking(unpack)
                    .await
                    .map_err(std::io::Error::other)
                    .flatten()
                    .map_err(fail)
            }
            Err(error) => Err(format!("failed to copy {}: {}", of.digest, words(&of.digest, &error))),
        };
        let _ = tokio::fs::remove_file(&path).await;
        result
    }
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("unexpected answer of the registry: {error}"))
}

fn client(endpoint: &Endpoint) -> Client {
    Client::new(ClientConfig {
        protocol: if endpoint.plain { ClientProtocol::Http } else { ClientProtocol::Https },
        connect_timeout: Some(Duration::from_secs(30)),
        read_timeout: Some(Duration::from_secs(60)),
        ..ClientConfig::default()
    })
}

fn address(endpoint: &Endpoint, reference: &Reference) -> Address {
    let (host, repository) = (endpoint.host.clone(), reference.repository.clone());
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => Address::with_digest(host, repository, digest.clone()),
        (None, tag) => Address::with_tag(host, repository, tag.clone().unwrap_or_else(|| "latest".into())),
    }
}

fn credentials(auth: &ImageAuth) -> RegistryAuth {
    match auth {
        ImageAuth::Basic { username, password } => RegistryAuth::Basic(username.clone(), password.clone()),
        ImageAuth::Bearer(token) => RegistryAuth::Bearer(token.clone()),
    }
}

/// The registry's words as containerd would say them.
fn words(what: &str, error: &OciDistributionError) -> String {
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => format!("{what}: not found"),
        OciDistributionError::RegistryError { envelope, .. } => {
            let said = envelope.errors.iter().map(|error| {
                let code = serde_json::to_value(&error.code).unwrap_or_default();
                (code.as_str().unwrap_or_default().to_owned(), error.message.clone())
            });
            let said: Vec<(String, String)> = said.collect();
            let text: Vec<&str> = said.iter().map(|(_, message)| message.as_str()).collect();
            let text = text.join(", ");
            match said.first().map(|(code, _)| code.as_str()) {
                Some("MANIFEST_UNKNOWN" | "NAME_UNKNOWN") => format!("{what}: not found: {text}"),
                Some("UNAUTHORIZED" | "DENIED") => denied(&text),
                _ => text,
            }
        }
        OciDistributionError::UnauthorizedError { .. } => denied("authorization failed"),
        OciDistributionError::AuthenticationFailure(text) => denied(text),
        OciDistributionError::RequestError(error) => {
            let mut text = error.to_string();
            let mut next = std::error::Error::source(error);
            while let Some(cause) = next {
                text = format!("{text}: {cause}");
                next = cause.source();
            }
            format!("failed to do request: {text}")
        }
        other => other.to_string(),
    }
}

fn denied(text: &str) -> String {
    format!(
        "pull access denied, repository does not exist or may require authorization: \
         server message: insufficient_scope: {text}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_first_and_loopback_is_plain() {
        let mirrors = BTreeMap::from([(
            "docker.io".to_owned(),
            vec!["http://10.0.0.1:5000".to_owned(), "mirror.example".to_owned()],
        )]);
        let registries = Registries { mirrors, insecure: vec!["registry.lan".into()] };
        let seen = |registry: &str| -> Vec<(String, bool)> {
            registries.endpoints(registry).into_iter().map(|one| (one.host, one.plain)).collect()
        };
        assert_eq!(
            seen("docker.io"),
            [
                ("10.0.0.1:5000".to_owned(), true),
                ("mirror.example".to_owned(), false),
                ("docker.io".to_owned(), false)
            ]
        );
        assert_eq!(seen("localhost:5000"), [("localhost:5000".to_owned(), true)]);
        assert_eq!(seen("127.0.0.1:1"), [("127.0.0.1:1".to_owned(), true)]);
        assert_eq!(seen("registry.lan"), [("registry.lan".to_owned(), true)]);
        assert_eq!(seen("quay.io"), [("quay.io".to_owned(), false)]);
    }

    #[test]
    fn secrets_go_to_the_registry_alone() {
        let mirrors = ["http://10.0.0.1:5000", "mirror.example", "http://docker.io"].map(str::to_owned);
        let registries =
            Registries { mirrors: [("docker.io".to_owned(), mirrors.to_vec())].into(), insecure: vec![] };
        let basic = |name: &str| ImageAuth::Basic { username: name.into(), password: "p".into() };
        let secrets = [basic("a"), basic("b")];
        let asked = |secrets: &[ImageAuth]| -> Vec<(String, bool, usize)> {
            let all = registries.endpoints("docker.io").into_iter();
            let named = |tries: &[RegistryAuth]| {
                tries.iter().filter(|one| !matches!(one, RegistryAuth::Anonymous)).count()
            };
            all.map(|one| {
                let tries = registries.tries(&one, "docker.io", secrets);
                assert!(!tries.is_empty());
                (one.host, one.plain, named(&tries))
            })
            .collect()
        };
        let expect = |own| {
            [
                ("10.0.0.1:5000".to_owned(), true, 0),
                ("mirror.example".to_owned(), false, 0),
                ("docker.io".to_owned(), true, 0),
                ("docker.io".to_owned(), false, own),
            ]
        };
        assert_eq!(asked(&secrets), expect(2));
        assert_eq!(asked(&[]), expect(0));
    }
}
