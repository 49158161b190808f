//! Paths, queries and ranges of the distribution API. Pure.

use http::{HeaderMap, Method, header};

use crate::error::Refusal;
use crate::name::{Digest, Name, Reference};

/// What a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Whether this is a registry.
    Base,
    /// Names of repositories.
    Catalog,
    /// Names of tags.
    Tags(Name),
    /// A manifest.
    Manifest(Name, Reference),
    /// A blob.
    Blob(Name, Digest),
    /// Begin an upload.
    Begin(Name),
    /// An upload by its id.
    Upload(Name, String),
    /// Manifests about a manifest.
    Referrers(Name, Digest),
}

/// Reads a path; `mirrored` is the registry that the query's `ns` names, in containerd's mirror protocol.
///
/// # Errors
/// In the specification's words.
pub fn route(path: &str, mirrored: Option<&str>) -> Result<Route, Refusal> {
    let rest = match path {
        "/v2" | "/v2/" => return Ok(Route::Base),
        "/v2/_catalog" => return Ok(Route::Catalog),
        _ => path.strip_prefix("/v2/").ok_or_else(Refusal::not_found)?,
    };
    let name = |text: &str| {
        let full = mirrored.map_or_else(|| text.to_owned(), |registry| format!("{registry}/{text}"));
        Name::parse(&full).ok_or_else(|| Refusal::name_invalid(text))
    };
    let digest = |text: &str| {
        let problem = || Refusal::digest_invalid(format!("{text:?} is not a digest by sha256 or sha512"));
        Digest::parse(text).ok_or_else(problem)
    };
    if let Some(of) = rest.strip_suffix("/tags/list") {
        return Ok(Route::Tags(name(of)?));
    }
    if let Some(of) = rest.strip_suffix("/blobs/uploads").or_else(|| rest.strip_suffix("/blobs/uploads/")) {
        return Ok(Route::Begin(name(of)?));
    }
    // the last of the three: a repository may be called like a part of the path
    let split = |word: &str| rest.rsplit_once(word).filter(|(_, last)| !last.contains('/'));
    if let Some((of, reference)) = split("/manifests/") {
        let name = name(of)?;
        let problem = || match reference.contains(':') {
            true => Refusal::digest_invalid(format!("{reference:?} is not a digest by sha256 or sha512")),
            false => Refusal::manifest_unknown(reference),
        };
        let reference = Reference::parse(reference).ok_or_else(problem)?;
        return Ok(Route::Manifest(name, reference));
    }
    if let Some((of, id)) = split("/blobs/uploads/") {
        let id = uuid::Uuid::parse_str(id).map_err(|_| Refusal::upload_unknown())?;
        return Ok(Route::Upload(name(of)?, id.to_string()));
    }
    if let Some((of, text)) = split("/blobs/") {
        return Ok(Route::Blob(name(of)?, digest(text)?));
    }
    if let Some((of, text)) = split("/referrers/") {
        return Ok(Route::Referrers(name(of)?, digest(text)?));
    }
    Err(Refusal::not_found())
}

/// The pairs of a query.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query.
    pub fn parse(text: &str) -> Self {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        };
        Query(text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect())
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The part of a blob of `size` bytes that is asked for, as first byte and length; `None`: all of it. Of several parts,
/// all is sent, as a server may.
///
/// # Errors
/// There is no such part.
pub fn range(headers: &HeaderMap, size: u64) -> Result<Option<(u64, u64)>, Refusal> {
    let Some(text) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|parts| parts.split_once('-')) else {
        return Ok(None);
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (from, to) = match (number(first), number(last)) {
        (Some(from), Some(to)) if from <= to => (from, to.min(size.saturating_sub(1))),
        (Some(from), None) if last.trim().is_empty() => (from, size.saturating_sub(1)),
        (None, Some(count)) if first.trim().is_empty() && count > 0 => {
            (size.saturating_sub(count), size.saturating_sub(1))
        }
        (None, Some(0)) if first.trim().is_empty() => return Err(Refusal::range(size)),
        _ => return Ok(None),
    };
    if from >= size {
        return Err(Refusal::range(size));
    }
    Ok(Some((from, to - from + 1)))
}

/// Checks that a chunk follows the `have` bytes there are, if it says where it belongs.
///
/// # Errors
/// It does not.
pub fn chunk_follows(headers: &HeaderMap, have: u64) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let first = text
        .trim_start_matches("bytes ")
        .split('-')
        .next()
        .and_then(|first| first.trim().parse::<u64>().ok());
    if first == Some(have) { Ok(()) } else { Err(Refusal::upload_range(have)) }
}

/// Whether a request may change something.
pub fn writes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn paths_are_read() {
        let digest = Digest::of(b"x");
        let id = uuid::Uuid::nil().to_string();
        for (path, ns, expect) in [
            ("/v2/".to_owned(), None, Route::Base),
            ("/v2/_catalog".into(), None, Route::Catalog),
            ("/v2/a/b/tags/list".into(), None, Route::Tags(name("a/b"))),
            ("/v2/a/manifests/v1".into(), None, Route::Manifest(name("a"), Reference::parse("v1").unwrap())),
            (
                format!("/v2/a/manifests/{digest}"),
                None,
                Route::Manifest(name("a"), Reference::Digest(digest.clone())),
            ),
            (
                "/v2/manifests/manifests/manifests".into(),
                None,
                Route::Manifest(name("manifests"), Reference::parse("manifests").unwrap()),
            ),
            (format!("/v2/a/blobs/{digest}"), None, Route::Blob(name("a"), digest.clone())),
            ("/v2/a/blobs/uploads/".into(), None, Route::Begin(name("a"))),
            ("/v2/a/blobs/uploads".into(), None, Route::Begin(name("a"))),
            (format!("/v2/a/blobs/uploads/{id}"), None, Route::Upload(name("a"), id.clone())),
            (format!("/v2/a/referrers/{digest}"), None, Route::Referrers(name("a"), digest.clone())),
            (
                "/v2/library/nginx/tags/list".into(),
                Some("docker.io"),
                Route::Tags(name("docker.io/library/nginx")),
            ),
        ] {
            assert_eq!(route(&path, ns), Ok(expect), "{path}");
        }
        for (path, code) in [
            ("/", "UNSUPPORTED"),
            ("/v1/x", "UNSUPPORTED"),
            ("/v2/a", "UNSUPPORTED"),
            ("/v2/A/tags/list", "NAME_INVALID"),
            ("/v2/../tags/list", "NAME_INVALID"),
            ("/v2/a/blobs/sha256:1", "DIGEST_INVALID"),
            ("/v2/a/manifests/.x", "MANIFEST_UNKNOWN"),
            ("/v2/a/manifests/sha256:x", "DIGEST_INVALID"),
            ("/v2/a/blobs/uploads/x", "BLOB_UPLOAD_UNKNOWN"),
        ] {
            assert_eq!(route(path, None).unwrap_err().code, code, "{path}");
        }
    }

    #[test]
    fn ranges_are_parts_of_the_blob() {
        let ask = |text: &str, size| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().unwrap());
            range(&headers, size).map_err(|refusal| refusal.status.as_u16())
        };
        for (text, expect) in [
            ("bytes=0-4", Ok(Some((0, 5)))),
            ("bytes=3-", Ok(Some((3, 7)))),
            ("bytes=-4", Ok(Some((6, 4)))),
            ("bytes=-40", Ok(Some((0, 10)))),
            ("bytes=8-99", Ok(Some((8, 2)))),
            ("bytes=10-", Err(416)),
            ("bytes=-0", Err(416)),
            ("bytes=5-2", Ok(None)),
            ("bytes=0-1,3-4", Ok(None)),
            ("lines=1-2", Ok(None)),
            ("bytes=x", Ok(None)),
        ] {
            assert_eq!(ask(text, 10), expect, "{text}");
        }
        assert_eq!(ask("bytes=0-", 0), Err(416));
        assert_eq!(range(&HeaderMap::new(), 1), Ok(None));
    }

    #[test]
    fn chunks_follow_each_other() {
        let follows = |text: &str, have| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, text.parse().unwrap());
            chunk_follows(&headers, have).is_ok()
        };
        assert!(follows("0-9", 0) && follows("10-19", 10) && follows("bytes 10-19/20", 10));
        assert!(!follows("5-9", 0) && !follows("x", 0));
        assert!(chunk_follows(&HeaderMap::new(), 7).is_ok());
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("digest=sha256%3Aab&from=a%2Fb&x&bad=%zz+%4");
        assert_eq!((query.get("digest"), query.get("from")), (Some("sha256:ab"), Some("a/b")));
        assert_eq!((query.get("x"), query.get("bad"), query.get("y")), (Some(""), Some("%zz %4"), None));
    }

    proptest::proptest! {
        #[test]
        fn no_request_panics(path in "(?s).{0,80}", query in ".{0,40}", span in "(bytes=)?[0-9,-]{0,30}", size in proptest::num::u64::ANY) {
            let _ = (route(&path, None), route(&format!("/v2{path}"), Some("docker.io")), Query::parse(&query));
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, span.parse().unwrap());
            if let Ok(Some((from, count))) = range(&headers, size) {
                assert!(count > 0 && from.checked_add(count).is_some_and(|end| end <= size));
            }
        }
    }
}
