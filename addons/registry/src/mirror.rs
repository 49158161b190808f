//! Other registries that this one stands before: what is asked for through it is fetched once and kept.
//!
//! A repository of `docker.io` is asked for as containerd's mirror protocol does (`/v2/library/nginx/…?ns=docker.io`), or by
//! its full name (`/v2/docker.io/library/nginx/…`); either way it is kept under the full name.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::stream::unfold;
use http::{Method, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;

use crate::error::Refusal;
use crate::manifest::MANIFEST_MAX;
use crate::name::{Algorithm, Digest, Hash, Name, Reference};
use crate::route::Query;
use crate::server::{BoxError, ResponseBody, empty, json, put_header};
use crate::store::{Store, Stored};

const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of the other registry.
const SILENCE: Duration = Duration::from_secs(60);
/// A token is used for so long, if its registry does not say: the shortest that the specification allows.
const TOKEN: Duration = Duration::from_secs(60);
/// Seconds for which a token is used at most: a day.
const MOST: u64 = 24 * 3600;
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// One registry behind this one.
pub struct Upstream {
    registry: String,
    url: String,
    client: reqwest::Client,
    tokens: Mutex<HashMap<String, (String, Instant)>>,
}

/// All of them.
#[derive(Default)]
pub struct Mirrors {
    upstreams: Vec<Upstream>,
    fallback: Option<usize>,
}

impl Mirrors {
    /// Registries by name and address; `true` for the one that is asked for names that are of none.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(configured: &[(String, String, bool)]) -> Result<Self, String> {
        let mut mirrors = Mirrors::default();
        for (place, (registry, url, fallback)) in configured.iter().enumerate() {
            let client = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE);
            let client = client.build().map_err(|error| error.to_string())?;
            let url = url.trim_end_matches('/').to_owned();
            mirrors.upstreams.push(Upstream {
                registry: registry.clone(),
                url,
                client,
                tokens: Mutex::default(),
            });
            if *fallback {
                mirrors.fallback = Some(place);
            }
        }
        Ok(mirrors)
    }

    /// Names of all of them.
    pub fn registries(&self) -> Vec<String> {
        self.upstreams.iter().map(|one| one.registry.clone()).collect()
    }

    /// The registry that a full name is of, and the name there.
    pub fn of<'a>(&self, name: &'a Name) -> Option<(&Upstream, &'a str)> {
        let (registry, path) = name.as_str().split_once('/')?;
        self.upstreams.iter().find(|one| one.registry == registry).map(|upstream| (upstream, path))
    }

    /// The registry to ask for a name that is of none, and the full name there.
    pub fn fallback(&self, name: &Name) -> Option<(&Upstream, Name)> {
        let upstream = self.upstreams.get(self.fallback?)?;
        Some((upstream, Name::parse(&format!("{}/{name}", upstream.registry))?))
    }
}

impl Upstream {
    /// A manifest; `None` if it is the one that is `held`.
    ///
    /// # Errors
    /// There is none, the registry refuses, or it does not answer.
    pub async fn manifest(
        &self,
        path: &str,
        reference: &Reference,
        held: Option<&Digest>,
    ) -> Result<Option<Stored>, Refusal> {
        let part = format!("manifests/{reference}");
        // registries count what is got, but not what is looked at
        if let Some(held) = held {
            let head = self.ask(&Method::HEAD, path, &part).await?;
            let digest = head.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
            if digest.and_then(Digest::parse).as_ref() == Some(held) {
                return Ok(None);
            }
        }
        let answer = self.ask(&Method::GET, path, &part).await?;
        let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = kind.unwrap_or_default().to_owned();
        let bytes = self.whole(answer).await?;
        let algorithm = match reference {
            Reference::Digest(digest) => digest.algorithm(),
            Reference::Tag(_) => Algorithm::Sha256,
        };
        let digest = Digest::by(algorithm, &bytes);
        match reference {
            Reference::Digest(wanted) if *wanted != digest => {
                Err(Refusal::upstream(format!("{}: what came for {wanted} is {digest}", self.registry)))
            }
            _ => Ok(Some(Stored { digest, media_type, bytes })),
        }
    }

    /// A blob: what passes to the client is written down, and kept when all of it has come and is what it should be.
    ///
    /// # Errors
    /// There is none, the registry refuses, or it does not answer.
    pub async fn blob(
        &self,
        path: &str,
        digest: &Digest,
        head: bool,
        store: Store,
        copy: Name,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let method = if head { Method::HEAD } else { Method::GET };
        let answer = self.ask(&method, path, &format!("blobs/{digest}")).await?;
        let size = answer.content_length();
        let size = size.filter(|_| !head).or_else(|| length(answer.headers()));
        let mut response = match head {
            true => empty(StatusCode::OK),
            false => {
                let copying = Copying::begin(answer, digest.clone(), store, copy).await;
                let frames = unfold(Some(copying), |state| async {
                    let mut copying = state?;
                    match copying.next().await {
                        Ok(Some(chunk)) => Some((Ok(Frame::data(chunk)), Some(copying))),
                        Ok(None) => None,
                        Err(error) => Some((Err(error), None)),
                    }
                });
                Response::new(StreamBody::new(frames).boxed_unsync())
            }
        };
        if let Some(size) = size {
            put_header(&mut response, header::CONTENT_LENGTH.as_str(), &size.to_string());
        }
        put_header(&mut response, header::CONTENT_TYPE.as_str(), "application/octet-stream");
        put_header(&mut response, "docker-content-digest", &digest.to_string());
        Ok(response)
    }

    /// The tags of a repository there.
    ///
    /// # Errors
    /// There is none, the registry refuses, or it does not answer.
    pub async fn tags(&self, path: &str, query: &Query) -> Result<Response<ResponseBody>, Refusal> {
        let number = query.get("n").and_then(|n| n.parse::<u32>().ok()).map(|n| format!("n={n}"));
        let last = query
            .get("last")
            .filter(|last| crate::name::Tag::parse(last).is_some())
            .map(|last| format!("last={last}"));
        let words: Vec<String> = number.into_iter().chain(last).collect();
        let part = match words.is_empty() {
            true => "tags/list".to_owned(),
            false => format!("tags/list?{}", words.join("&")),
        };
        let answer = self.ask(&Method::GET, path, &part).await?;
        let bytes = self.whole(answer).await?;
        let value = serde_json::from_slice(&bytes).map_err(|error| Refusal::upstream(error.to_string()))?;
        Ok(json(StatusCode::OK, &value))
    }

    /// An answer that is no blob: it has to fit into memory.
    async fn whole(&self, mut answer: reqwest::Response) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.silent(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MANIFEST_MAX {
                return Err(Refusal::upstream(format!("{}: the answer is too large", self.registry)));
            }
        }
        Ok(bytes)
    }

    fn silent(&self, error: &reqwest::Error) -> Refusal {
        let mut text = error.to_string();
        let mut next = std::error::Error::source(error);
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        Refusal::upstream(format!("{}: {text}", self.registry))
    }

    async fn ask(&self, method: &Method, path: &str, part: &str) -> Result<reqwest::Response, Refusal> {
        let url = format!("{}/v2/{path}/{part}", self.url);
        let send = |token: Option<String>| {
            let request = self.client.request(method.clone(), &url).header(header::ACCEPT, ACCEPT);
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            async move { request.send().await.map_err(|error| self.silent(&error)) }
        };
        let mut answer = send(self.token(path)).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let challenge =
                answer.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
            if let Some(challenge) = challenge.and_then(Challenge::parse) {
                let token = self.fetch_token(path, &challenge).await?;
                answer = send(Some(token)).await?;
            }
        }
        let what = format!("{}/{path}/{part}", self.registry);
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::NOT_FOUND if part.starts_with("blobs/") => Err(Refusal::blob_unknown(&what)),
            StatusCode::NOT_FOUND if part.starts_with("manifests/") => Err(Refusal::manifest_unknown(&what)),
            StatusCode::NOT_FOUND => Err(Refusal::name_unknown(&what)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Refusal::denied(format!("{what}: {} refuses", self.registry)))
            }
            StatusCode::TOO_MANY_REQUESTS => Err(Refusal {
                status: StatusCode::TOO_MANY_REQUESTS,
                code: "TOOMANYREQUESTS",
                message: format!("{what}: {} has had too many requests", self.registry),
            }),
            status => Err(Refusal::upstream(format!("{what}: {} answers {status}", self.registry))),
        }
    }

    fn token(&self, path: &str) -> Option<String> {
        let mut tokens = self.tokens.lock();
        tokens.retain(|_, (_, until)| *until > Instant::now());
        tokens.get(path).map(|(token, _)| token.clone())
    }

    /// A token for whoever asks: the specification's `docs/spec/auth/token.md`.
    async fn fetch_token(&self, path: &str, challenge: &Challenge) -> Result<String, Refusal> {
        let scope = format!("repository:{path}:pull");
        let mut url = reqwest::Url::parse(&challenge.realm)
            .map_err(|error| Refusal::upstream(format!("{}: {}: {error}", self.registry, challenge.realm)))?;
        url.query_pairs_mut().append_pair("service", &challenge.service).append_pair("scope", &scope);
        let answer = self.client.get(url).send().await.map_err(|error| self.silent(&error))?;
        let bytes = self.whole(answer).await?;
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let token = value["token"].as_str().or(value["access_token"].as_str());
        let token =
            token.ok_or_else(|| Refusal::upstream(format!("{}: no token was given", self.registry)))?;
        let life =
            value["expires_in"].as_u64().map_or(TOKEN, |seconds| Duration::from_secs(seconds.min(MOST)));
        // a little early, that none expires on its way
        let until = Instant::now() + life.mul_f32(0.8);
        self.tokens.lock().insert(path.to_owned(), (token.to_owned(), until));
        Ok(token.to_owned())
    }
}

fn length(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// `Bearer realm="…",service="…"`.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: String,
}

impl Challenge {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let value = |name: &str| {
            let start = rest.find(&format!("{name}=\""))? + name.len() + 2;
            let text = rest.get(start..)?;
            Some(text[..text.find('"')?].to_owned())
        };
        Some(Self { realm: value("realm")?, service: value("service").unwrap_or_default() })
    }
}

/// A blob on its way to a client, and into the store.
struct Copying {
    answer: reqwest::Response,
    digest: Digest,
    /// Bytes that are still to come, if that is known.
    left: Option<u64>,
    hash: Hash,
    store: Store,
    copy: Name,
    /// Where it is written; `None` once the disk has refused.
    file: Option<(tokio::fs::File, Unfinished)>,
}

/// A file that goes with this value.
struct Unfinished(std::path::PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Copying {
    async fn begin(answer: reqwest::Response, digest: Digest, store: Store, copy: Name) -> Self {
        let path = store.uploads().join(format!("{}.tmp", uuid::Uuid::new_v4()));
        let file = tokio::fs::File::create(&path).await.ok().map(|file| (file, Unfinished(path)));
        let left = answer.content_length();
        let hash = Hash::new(digest.algorithm());
        Self { answer, digest, left, hash, store, copy, file }
    }

    async fn next(&mut self) -> Result<Option<bytes::Bytes>, BoxError> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let Some(chunk) = self.answer.chunk().await? else {
            return self.end().await.map(|()| None);
        };
        self.hash.update(&chunk);
        self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
        if let Some((file, _)) = &mut self.file
            && let Err(error) = file.write_all(&chunk).await
        {
            tracing::warn!(%error, digest = %self.digest, "a blob cannot be kept");
            self.file = None;
        }
        // before the last bytes are passed on: nobody asks for more after them
        if self.left == Some(0) {
            self.end().await?;
        }
        Ok(Some(chunk))
    }

    async fn end(&mut self) -> Result<(), BoxError> {
        let digest = self.hash.clone().finish();
        if digest != self.digest {
            return Err(format!("what came for {} is {digest}", self.digest).into());
        }
        let Some((mut file, unfinished)) = self.file.take() else { return Ok(()) };
        let (store, copy) = (self.store.clone(), self.copy.clone());
        let flushed = file.flush().await;
        let kept = tokio::task::spawn_blocking(move || {
            flushed.and_then(|()| store.keep(&copy, &digest, &unfinished.0))
        });
        if let Err(error) = kept.await? {
            tracing::warn!(%error, digest = %self.digest, "a blob cannot be kept");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn challenges_are_read() {
        let text = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"x\"";
        let challenge =
            Challenge { realm: "https://auth.docker.io/token".into(), service: "registry.docker.io".into() };
        assert_eq!(Challenge::parse(text), Some(challenge));
        for text in ["", "Basic realm=\"x\"", "Bearer", "Bearer realm=\"x", "Bearer service=\"x\""] {
            assert_eq!(Challenge::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_lead_to_their_registry() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let configured = [("docker.io".to_owned(), "https://registry-1.docker.io/".to_owned(), true)];
        let mirrors = Mirrors::new(&configured).unwrap();
        let name = |text: &str| Name::parse(text).unwrap();
        assert_eq!(mirrors.of(&name("docker.io/library/nginx")).map(|(_, path)| path), Some("library/nginx"));
        assert!(mirrors.of(&name("docker.io")).is_none() && mirrors.of(&name("quay.io/a")).is_none());
        assert_eq!(
            mirrors.fallback(&name("library/nginx")).map(|(_, name)| name),
            Some(name("docker.io/library/nginx"))
        );
    }
}
