//! The registry's requests and answers (OCI distribution specification 1.1).

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited, StreamBody};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{Notify, RwLock};
use tokio_util::io::ReaderStream;

use crate::error::Refusal;
use crate::manifest::{MANIFEST_MAX, Manifest, referrers};
use crate::mirror::Mirrors;
use crate::name::{Algorithm, Digest, Name, Reference, Tag};
use crate::route::{Query, Route, chunk_follows, range, route, writes};
use crate::store::{Store, Stored};
use crate::sweep::Rules;
use crate::uploads::Uploads;

/// Errors of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A response's body: whole, or streamed from a file or from another registry.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;
type Answer = Result<Response<ResponseBody>, Refusal>;

/// How much of a blob is read at once.
const PIECE: usize = 128 << 10;
/// Names in one answer, if the client does not say.
const PAGE: usize = 1000;
const DIGEST: &str = "docker-content-digest";
const UPLOAD: &str = "docker-upload-uuid";

/// The registry.
pub struct Server {
    /// What it has.
    pub store: Store,
    uploads: Uploads,
    mirrors: Mirrors,
    /// How long a copy stays that nobody asks for.
    copies: Duration,
    /// Whether names of this host alone may be asked for.
    local_only: bool,
    /// Held shared while something is put into the store, alone while it is swept.
    gate: RwLock<()>,
    /// Woken when something may have become useless.
    pub useless: Notify,
}

impl Server {
    /// Serves a store and what `mirrors` add to it, which stays for `copies` after it was last asked for.
    pub fn new(store: Store, mirrors: Mirrors, copies: Duration, local_only: bool) -> Arc<Self> {
        let uploads = Uploads::new(store.clone());
        let (gate, useless) = (RwLock::new(()), Notify::new());
        Arc::new(Self { store, uploads, mirrors, copies, local_only, gate, useless })
    }

    /// Answers a request. Refusals are answers, too.
    pub async fn handle<B>(self: Arc<Self>, request: Request<B>) -> Result<Response<ResponseBody>, Infallible>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError> + std::fmt::Display,
    {
        let answer = self.answer(request).await.unwrap_or_else(|refusal| {
            if refusal.status.is_server_error() {
                tracing::warn!(
                    status = refusal.status.as_u16(),
                    error = refusal.message,
                    "request not served"
                );
            }
            json(refusal.status, &refusal.body())
        });
        let mut answer = answer;
        let version = HeaderValue::from_static("registry/2.0");
        answer.headers_mut().insert("docker-distribution-api-version", version);
        Ok(answer)
    }

    async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError> + std::fmt::Display,
    {
        if self.local_only {
            check_host(&request)?;
        }
        let (head, body) = request.into_parts();
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let route = route(head.uri.path(), query.get("ns"))?;
        let method = if head.method == Method::HEAD { Method::GET } else { head.method.clone() };
        if let Route::Manifest(name, _) | Route::Blob(name, _) | Route::Begin(name) | Route::Upload(name, _) =
            &route
            && writes(&method)
            && method != Method::DELETE
            && self.mirrors.of(name).is_some()
        {
            return Err(Refusal::denied(format!("{name} is a copy of another registry's: push there")));
        }
        let answer = match (method, route) {
            (Method::GET, Route::Base) => json(StatusCode::OK, &json!({})),
            (Method::GET, Route::Catalog) => self.catalog(&query).await?,
            (Method::GET, Route::Tags(name)) => self.tags(name, &query).await?,
            (Method::GET, Route::Referrers(name, digest)) => self.referrers(name, digest, &query).await?,
            (Method::GET, Route::Manifest(name, reference)) => self.manifest(name, reference).await?,
            (Method::PUT, Route::Manifest(name, reference)) => {
                self.put_manifest(name, reference, &head.headers, body).await?
            }
            (Method::DELETE, Route::Manifest(name, reference)) => {
                self.delete_manifest(name, reference).await?
            }
            (Method::GET, Route::Blob(name, digest)) => {
                self.blob(name, digest, &head.headers, head.method == Method::HEAD).await?
            }
            (Method::DELETE, Route::Blob(name, digest)) => self.delete_blob(name, digest).await?,
            (Method::POST, Route::Begin(name)) => self.begin(name, &query, body).await?,
            (Method::GET, Route::Upload(name, id)) => self.progress(&name, &id).await?,
            (Method::PATCH, Route::Upload(name, id)) => self.append(&name, &id, &head.headers, body).await?,
            (Method::PUT, Route::Upload(name, id)) => {
                self.finish(name, id, &head.headers, &query, body).await?
            }
            (Method::DELETE, Route::Upload(name, id)) => {
                self.uploads.find(&name, &id).await?;
                self.uploads.end(&id);
                empty(StatusCode::NO_CONTENT)
            }
            (method, _) => return Err(Refusal::unsupported(format!("{method} is not for this"))),
        };
        Ok(if head.method == Method::HEAD { without_body(answer) } else { answer })
    }

    /// Runs something blocking that adds to the store.
    async fn add<T: Send + 'static>(
        &self,
        work: impl FnOnce(Store) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let _shared = self.gate.read().await;
        self.look(work).await
    }

    /// Runs something blocking that looks at the store.
    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(Store) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || work(store)).await.map_err(std::io::Error::other)?
    }

    /// Sweeps once; when to do it again, if there is a reason.
    pub async fn sweep(&self) -> Option<Duration> {
        let rules =
            Rules { pushed: self.uploads.pushed(), mirrored: self.mirrors.registries(), copies: self.copies };
        let _alone = self.gate.write().await;
        let store = self.store.clone();
        let sweep = move || store.sweep(std::time::SystemTime::now(), &rules);
        let swept = tokio::task::spawn_blocking(sweep).await.ok()?;
        if swept.blobs > 0 {
            tracing::info!(blobs = swept.blobs, bytes = swept.bytes, "unused blobs removed");
        }
        swept.next
    }

    async fn catalog(&self, query: &Query) -> Answer {
        let all = self.look(|store| Ok(store.catalog())).await?;
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        Ok(page(names, query, "/v2/_catalog", |names| json!({"repositories": names})))
    }

    async fn tags(&self, name: Name, query: &Query) -> Answer {
        if let Some((upstream, path)) = self.mirrors.of(&name) {
            return upstream.tags(path, query).await;
        }
        let of = name.clone();
        let (tags, known) = self
            .look(move |store| {
                Ok((store.tags(&of), store.repository(&of).join(crate::store::MANIFESTS).exists()))
            })
            .await?;
        if tags.is_empty() && !known {
            return Err(Refusal::name_unknown(name.as_str()));
        }
        let tags: Vec<String> = tags.iter().map(|tag| tag.as_str().to_owned()).collect();
        let path = format!("/v2/{name}/tags/list");
        Ok(page(tags, query, &path, |tags| json!({"name": name.as_str(), "tags": tags})))
    }

    async fn referrers(&self, name: Name, subject: Digest, query: &Query) -> Answer {
        let all = self.look(move |store| Ok(store.referrers(&name, &subject))).await?;
        let wanted = query.get("artifactType");
        let mut answer = json(StatusCode::OK, &referrers(&all, wanted));
        let kind = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        if wanted.is_some() {
            answer.headers_mut().insert("oci-filters-applied", HeaderValue::from_static("artifactType"));
        }
        Ok(answer)
    }

    async fn manifest(&self, name: Name, reference: Reference) -> Answer {
        let local = {
            let (name, reference) = (name.clone(), reference.clone());
            self.look(move |store| store.manifest(&name, &reference)).await
        };
        let Some((upstream, path)) = self.mirrors.of(&name) else {
            return match (local, self.mirrors.fallback(&name)) {
                (Err(refusal), Some((upstream, copy))) if refusal.code == "MANIFEST_UNKNOWN" => {
                    let path = name.as_str();
                    self.mirrored(upstream, path, copy, reference, None).await
                }
                (local, _) => local.map(manifest),
            };
        };
        let path = path.to_owned();
        self.mirrored(upstream, &path, name, reference, local.ok()).await
    }

    /// A manifest of another registry's, kept as a copy. By its digest it cannot have changed; by a tag it is asked for
    /// anew, and the copy serves when there is no answer.
    async fn mirrored(
        &self,
        upstream: &crate::mirror::Upstream,
        path: &str,
        copy: Name,
        reference: Reference,
        local: Option<Stored>,
    ) -> Answer {
        let local = match local {
            Some(stored) => Some(stored),
            None => {
                let (copy, reference) = (copy.clone(), reference.clone());
                self.look(move |store| Ok(store.manifest(&copy, &reference).ok())).await?
            }
        };
        if let Some(stored) = &local {
            let (copy, digest) = (copy.clone(), stored.digest.clone());
            let touch = move |store: Store| {
                store.touch(&copy, &digest);
                Ok(())
            };
            self.look(touch).await?;
        }
        if let (Reference::Digest(_), Some(stored)) = (&reference, &local) {
            return Ok(manifest(stored.clone()));
        }
        match upstream.manifest(path, &reference, local.as_ref().map(|stored| &stored.digest)).await {
            Ok(None) => local.map(manifest).ok_or_else(|| Refusal::manifest_unknown(&reference.to_string())),
            Ok(Some(stored)) => {
                let kept = stored.clone();
                let tag = match reference {
                    Reference::Tag(tag) => Some(tag),
                    Reference::Digest(_) => None,
                };
                let put = self.add(move |store| {
                    store.put_manifest(
                        &copy,
                        tag.as_ref(),
                        &kept.media_type,
                        &kept.bytes,
                        (kept.digest.algorithm(), false),
                    )
                });
                // a disk that is full keeps nobody from pulling
                if let Err(refusal) = put.await {
                    tracing::warn!(error = refusal.message, "a manifest could not be kept");
                }
                Ok(manifest(stored))
            }
            Err(refusal) => match local {
                Some(stored) if refusal.status.is_server_error() => {
                    tracing::warn!(
                        error = refusal.message,
                        "the copy is served, as the registry does not answer"
                    );
                    Ok(manifest(stored))
                }
                _ => Err(refusal),
            },
        }
    }

    async fn put_manifest<B>(&self, name: Name, reference: Reference, headers: &HeaderMap, body: B) -> Answer
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let read = Limited::new(body, MANIFEST_MAX).collect().await;
        let bytes = read.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
            true => Refusal::too_large(MANIFEST_MAX),
            false => Refusal::broken_off(error),
        })?;
        let bytes = bytes.to_bytes();
        let read = Manifest::parse(&bytes)?;
        let declared =
            headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let media_type = declared.or_else(|| read.media_type().map(str::to_owned)).unwrap_or_default();
        if read.media_type().is_some_and(|inside| inside != media_type) {
            return Err(Refusal::manifest_invalid("mediaType and Content-Type differ"));
        }
        let subject = read.subject().map(ToString::to_string);
        let algorithm = match &reference {
            Reference::Tag(_) => Algorithm::Sha256,
            Reference::Digest(digest) => digest.algorithm(),
        };
        let tag: Option<Tag> = match &reference {
            Reference::Tag(tag) => Some(tag.clone()),
            Reference::Digest(digest) if *digest == Digest::by(algorithm, &bytes) => None,
            Reference::Digest(digest) => {
                return Err(Refusal::digest_invalid(format!("the manifest's digest is not {digest}")));
            }
        };
        let of = name.clone();
        let digest = self
            .add(move |store| store.put_manifest(&of, tag.as_ref(), &media_type, &bytes, (algorithm, true)))
            .await?;
        let mut answer = located(StatusCode::CREATED, &format!("/v2/{name}/manifests/{digest}"));
        put_header(&mut answer, DIGEST, &digest.to_string());
        if let Some(subject) = subject {
            put_header(&mut answer, "oci-subject", &subject);
        }
        // an image that this one replaces under its tag stays, by its digest
        Ok(answer)
    }

    async fn delete_manifest(&self, name: Name, reference: Reference) -> Answer {
        self.add(move |store| store.delete_manifest(&name, &reference)).await?;
        self.useless.notify_one();
        Ok(empty(StatusCode::ACCEPTED))
    }

    async fn blob(&self, name: Name, digest: Digest, headers: &HeaderMap, head: bool) -> Answer {
        let find = |name: Name| {
            let digest = digest.clone();
            self.look(move |store| Ok(store.has(&name, &digest)))
        };
        if let Some(size) = find(name.clone()).await? {
            return stream(&self.store.blob(&digest), &digest, size, headers).await;
        }
        let (upstream, path, copy) = match (self.mirrors.of(&name), self.mirrors.fallback(&name)) {
            (Some((upstream, path)), _) => (upstream, path, name.clone()),
            (None, Some((upstream, copy))) => (upstream, name.as_str(), copy),
            (None, None) => return Err(Refusal::blob_unknown(&digest.to_string())),
        };
        if copy != name
            && let Some(size) = find(copy.clone()).await?
        {
            return stream(&self.store.blob(&digest), &digest, size, headers).await;
        }
        upstream.blob(path, &digest, head, self.store.clone(), copy).await
    }

    async fn delete_blob(&self, name: Name, digest: Digest) -> Answer {
        self.add(move |store| store.unlink(&name, &digest)).await?;
        self.useless.notify_one();
        Ok(empty(StatusCode::ACCEPTED))
    }

    async fn begin<B>(&self, name: Name, query: &Query, body: B) -> Answer
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display,
    {
        if let Some(mount) = query.get("mount").and_then(Digest::parse) {
            let (to, digest) = (name.clone(), mount.clone());
            let from = query.get("from").and_then(Name::parse);
            if self.add(move |store| Ok(store.mount(&to, from.as_ref(), &digest)?)).await? {
                return Ok(created(&name, &mount));
            }
        }
        let id = self.uploads.begin(&name).await?;
        if query.get("digest").is_some() {
            return self.finish(name, id, &HeaderMap::new(), query, body).await;
        }
        Ok(accepted(StatusCode::ACCEPTED, &name, &id, 0))
    }

    async fn progress(&self, name: &Name, id: &str) -> Answer {
        let upload = self.uploads.find(name, id).await?;
        let size = upload.lock().await.size().await?;
        Ok(accepted(StatusCode::NO_CONTENT, name, id, size))
    }

    async fn append<B>(&self, name: &Name, id: &str, headers: &HeaderMap, body: B) -> Answer
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display,
    {
        let mut upload = self.uploads.write(name, id).await?;
        chunk_follows(headers, upload.size().await?)?;
        upload.append(body).await?;
        Ok(accepted(StatusCode::ACCEPTED, name, id, upload.size().await?))
    }

    async fn finish<B>(&self, name: Name, id: String, headers: &HeaderMap, query: &Query, body: B) -> Answer
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display,
    {
        let problem = || Refusal::digest_invalid("a digest by sha256 or sha512 has to be given");
        let wanted = query.get("digest").and_then(Digest::parse).ok_or_else(problem)?;
        let mut upload = self.uploads.write(&name, &id).await?;
        chunk_follows(headers, upload.size().await?)?;
        upload.append(body).await?;
        let digest = upload.digest(wanted.algorithm()).await?;
        if digest != wanted {
            self.uploads.end(&id);
            let text = format!("the digest of what was uploaded is {digest}, not {wanted}");
            return Err(Refusal::digest_invalid(text));
        }
        let (of, path) = (name.clone(), upload.path.clone());
        self.add(move |store| Ok(store.keep(&of, &wanted, &path)?)).await?;
        self.uploads.end(&id);
        Ok(created(&name, &digest))
    }
}

/// A page of another origin may not reach a registry on loopback through its user's browser: neither by sending there
/// (browsers say `Origin`), nor by a name of its own that leads to 127.0.0.1.
fn check_host<B>(request: &Request<B>) -> Result<(), Refusal> {
    if request.headers().contains_key(header::ORIGIN) {
        return Err(Refusal::denied("this registry is not for pages"));
    }
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().host().map(str::to_owned).or_else(|| {
        let host: http::uri::Authority = named?.parse().ok()?;
        Some(host.host().to_owned())
    });
    let host = host.unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let own = bare == "localhost" || bare.ends_with(".localhost") || bare.parse::<std::net::IpAddr>().is_ok();
    if own {
        Ok(())
    } else {
        Err(Refusal::denied(format!("{host:?} is no name of this host: use localhost")))
    }
}

/// A blob or a part of it, from its file.
async fn stream(path: &Path, digest: &Digest, size: u64, headers: &HeaderMap) -> Answer {
    let part = range(headers, size)?;
    let (from, count) = part.unwrap_or((0, size));
    let mut file = tokio::fs::File::open(path).await?;
    if from > 0 {
        file.seek(std::io::SeekFrom::Start(from)).await?;
    }
    let pieces =
        ReaderStream::with_capacity(file.take(count), PIECE).map_ok(Frame::data).map_err(BoxError::from);
    let mut answer = Response::new(StreamBody::new(pieces).boxed_unsync());
    put_header(&mut answer, header::CONTENT_LENGTH.as_str(), &count.to_string());
    if part.is_some() {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let text = format!("bytes {from}-{}/{size}", from + count - 1);
        put_header(&mut answer, header::CONTENT_RANGE.as_str(), &text);
    }
    put_header(&mut answer, header::CONTENT_TYPE.as_str(), "application/octet-stream");
    put_header(&mut answer, header::ACCEPT_RANGES.as_str(), "bytes");
    put_header(&mut answer, DIGEST, &digest.to_string());
    put_header(&mut answer, header::ETAG.as_str(), &format!("\"{digest}\""));
    Ok(answer)
}

fn manifest(stored: Stored) -> Response<ResponseBody> {
    let mut answer = whole(StatusCode::OK, stored.bytes);
    put_header(&mut answer, header::CONTENT_TYPE.as_str(), &stored.media_type);
    put_header(&mut answer, DIGEST, &stored.digest.to_string());
    put_header(&mut answer, header::ETAG.as_str(), &format!("\"{}\"", stored.digest));
    answer
}

fn created(name: &Name, digest: &Digest) -> Response<ResponseBody> {
    let mut answer = located(StatusCode::CREATED, &format!("/v2/{name}/blobs/{digest}"));
    put_header(&mut answer, DIGEST, &digest.to_string());
    answer
}

fn accepted(status: StatusCode, name: &Name, id: &str, size: u64) -> Response<ResponseBody> {
    let mut answer = located(status, &format!("/v2/{name}/blobs/uploads/{id}"));
    put_header(&mut answer, header::RANGE.as_str(), &format!("0-{}", size.saturating_sub(1)));
    put_header(&mut answer, UPLOAD, id);
    answer
}

fn located(status: StatusCode, location: &str) -> Response<ResponseBody> {
    let mut answer = empty(status);
    put_header(&mut answer, header::LOCATION.as_str(), location);
    answer
}

/// Sets a header; a value that cannot be one is left out.
pub fn put_header(answer: &mut Response<ResponseBody>, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (header::HeaderName::try_from(name), HeaderValue::try_from(value)) {
        answer.headers_mut().insert(name, value);
    }
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<ResponseBody> {
    let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        put_header(&mut answer, header::CONTENT_LENGTH.as_str(), "0");
    }
    answer
}

fn whole(status: StatusCode, bytes: impl Into<Bytes>) -> Response<ResponseBody> {
    let bytes = bytes.into();
    let size = bytes.len();
    let mut answer = Response::new(Full::new(bytes).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    put_header(&mut answer, header::CONTENT_LENGTH.as_str(), &size.to_string());
    answer
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &Value) -> Response<ResponseBody> {
    let mut answer = whole(status, value.to_string());
    put_header(&mut answer, header::CONTENT_TYPE.as_str(), "application/json");
    answer
}

fn without_body(answer: Response<ResponseBody>) -> Response<ResponseBody> {
    answer.map(|_| Empty::new().map_err(|never| match never {}).boxed_unsync())
}

/// One page of a sorted list: those after `last`, at most `n`, with a link to the next.
fn page(
    all: Vec<String>,
    query: &Query,
    path: &str,
    render: impl Fn(&[String]) -> Value,
) -> Response<ResponseBody> {
    let after = query.get("last").unwrap_or_default();
    let from = all.partition_point(|one| one.as_str() <= after);
    let from = if after.is_empty() { 0 } else { from };
    let limit = query.get("n").and_then(|n| n.parse::<usize>().ok()).unwrap_or(PAGE);
    let rest = &all[from..];
    let shown = &rest[..rest.len().min(limit)];
    let mut answer = json(StatusCode::OK, &render(shown));
    if let Some(last) = shown.last().filter(|_| shown.len() < rest.len()) {
        put_header(
            &mut answer,
            header::LINK.as_str(),
            &format!("<{path}?last={last}&n={limit}>; rel=\"next\""),
        );
    }
    answer
}
