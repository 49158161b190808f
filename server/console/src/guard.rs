//! Whom a browser may have been sent by: the checks of every request before anything else looks at it.
//!
//! A page of another origin may make this machine's browser speak to loopback: by a form, a websocket, or by a name of
//! its own that resolves to 127.0.0.1 (DNS rebinding). So each request has to name a host that is ours, each write and
//! each websocket that comes from a browser has to come from an origin that is ours, and writes carry a header that no
//! other origin can send without asking first.
//!
//! Cookies know no ports: what a pod serves on a port of this machine would be sent one that was set for 127.0.0.1. So
//! the dashboard has a name of its own below `localhost` that nobody guesses, and sessions are good there alone.

use std::fmt;
use std::str::FromStr;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::reply;

/// A header that a page of another origin cannot send: CORS would have to allow it.
pub const CSRF: &str = "x-sampan-csrf";
/// What pages may load and do. `wasm-unsafe-eval` lets WebAssembly be compiled, nothing else.
const CSP: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; \
img-src 'self' data:; font-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'";

/// What an answer of an API may do where a browser shows it as a page: nothing.
const DATA_CSP: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

/// An address that a proxy in front has: `https://ops.example/sampan/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// `https://ops.example`, as browsers send it.
    origin: String,
    /// `ops.example` or `ops.example:8443`, as browsers send it.
    host: String,
    /// Begins and ends with a slash.
    prefix: String,
}

/// Not an address to be reached by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {why}; give it as https://host:port/path/")]
pub struct BadUrl {
    url: String,
    why: &'static str,
}

impl FromStr for PublicUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let refuse = |why| BadUrl { url: text.to_owned(), why };
        let uri: http::Uri = text.parse().map_err(|_| refuse("not a URL"))?;
        let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
        let scheme = scheme.ok_or_else(|| refuse("it begins with neither http:// nor https://"))?;
        let authority = uri.authority().ok_or_else(|| refuse("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("it has a user in it"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(refuse("it has more than a path"));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
        if !uri.path().bytes().all(plain) || uri.path().contains("//") {
            return Err(refuse("its path is not plain"));
        }
        let usual = if scheme == "https" { ":443" } else { ":80" };
        let host = authority.as_str().to_ascii_lowercase();
        let host = host.strip_suffix(usual).unwrap_or(&host).to_owned();
        let prefix = format!("{}/", uri.path().trim_end_matches('/'));
        Ok(Self { origin: format!("{scheme}://{host}"), host, prefix })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.prefix)
    }
}

impl PublicUrl {
    /// Whether a request's host, in lower case, is this one: nginx' `$host` has no port in it.
    fn is_at(&self, host: &str) -> bool {
        self.host == host || without_port(&self.host) == host
    }
}

/// The dashboard's name below `localhost`, which browsers take for this machine: cookies set for it go to no other port that
/// a browser is led to by a name it knows. It lasts as long as the key, and says nothing of it.
pub fn name(profile: &str, key: &[u8; 32]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digest = ring::digest::digest(&ring::digest::SHA256, &[b"name".as_slice(), key].concat());
    let letters: String =
        digest.as_ref().iter().take(8).map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
    format!("{profile}-{letters}.localhost")
}

/// What is ours.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The dashboard's own host, with its port.
    own: String,
    port: u16,
    public: Vec<PublicUrl>,
}

/// By which of our names a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The dashboard's own.
    Own,
    /// This machine's for itself: for tools, which bring a token. Browsers are sent on.
    Machine,
    /// A proxy's in front.
    Public,
}

/// The names of this machine for itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

impl Guard {
    /// For a server on `port` of loopback, whose own name is `name`, and that proxies lead to from `public`.
    pub fn new(name: &str, port: u16, public: Vec<PublicUrl>) -> Self {
        Self { own: format!("{name}:{port}"), port, public }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The origin that a browser of this machine is to use.
    pub fn origin(&self) -> String {
        format!("http://{}", self.own)
    }

    /// By which name a request came; none if that is not ours.
    pub fn by(&self, headers: &HeaderMap) -> Option<By> {
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.named(&host.to_ascii_lowercase())
    }

    fn named(&self, host: &str) -> Option<By> {
        if host == self.own {
            return Some(By::Own);
        }
        if self.public.iter().any(|public| public.is_at(host)) {
            return Some(By::Public);
        }
        let name = host.strip_suffix(&format!(":{}", self.port))?;
        LOOPBACK.contains(&name).then_some(By::Machine)
    }

    /// The profile that the own host is named after, see [`name`].
    pub fn profile(&self) -> &str {
        let host = self.own.split('.').next().unwrap_or_default();
        host.rsplit_once('-').map_or(host, |(profile, _)| profile)
    }

    /// Refuses what was sent by a page that is not ours.
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), HttpResponse> {
        let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        if self.by(headers).is_none() {
            let host = text(header::HOST).unwrap_or_default();
            let message = format!("the host {host:?} is not this dashboard's; see --dashboard-url");
            return Err(reply::failure(421, "MisdirectedRequest", &message));
        }
        let upgrade = headers.contains_key(header::UPGRADE);
        let write = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if !upgrade && !write {
            return Ok(());
        }
        let bearer = headers.contains_key(header::AUTHORIZATION);
        match text(header::ORIGIN) {
            Some(origin) if !self.is_origin(origin) => {
                return Err(forbidden(&format!("the origin {origin:?} is not this dashboard's")));
            }
            // a browser always says where an upgrade or a write comes from; tools bring a token instead of a cookie
            None if !bearer && !headers.contains_key(header::COOKIE) => {
                return Err(reply::unauthorized(self.profile()));
            }
            None if !bearer => return Err(forbidden("a request with a cookie has to name its origin")),
            _ => {}
        }
        let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("?"));
        if site.is_some_and(|site| !["same-origin", "none"].contains(&site)) {
            return Err(forbidden("the request comes from another site"));
        }
        if write && !bearer && !headers.contains_key(CSRF) {
            return Err(forbidden("a write with a cookie has to carry X-Sampan-Csrf"));
        }
        Ok(())
    }

    fn is_origin(&self, origin: &str) -> bool {
        origin.strip_prefix("http://") == Some(&self.own)
            || self.public.iter().any(|public| public.origin == origin)
    }

    /// The sub-path that a request came by, with slashes around, and the rest of its path with one at its start.
    pub fn split<'a>(&self, path: &'a str) -> (&str, &'a str) {
        let under = |public: &'_ &PublicUrl| public.prefix != "/" && path.starts_with(&public.prefix);
        match self.public.iter().filter(under).max_by_key(|public| public.prefix.len()) {
            Some(public) => (&public.prefix, &path[public.prefix.len() - 1..]),
            None => ("/", path),
        }
    }

    /// Whether a request came by TLS as far as the browser knows: its cookie is for TLS alone then.
    pub fn is_secure(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match origin {
            Some(origin) => origin.starts_with("https://"),
            None => {
                let host = host.to_ascii_lowercase();
                self.public.iter().any(|public| public.is_at(&host) && public.origin.starts_with("https://"))
            }
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn forbidden(message: &str) -> HttpResponse {
    reply::failure(403, "Forbidden", message)
}

/// Puts what every answer has: what pages may do, no guessing of types, no referrer. What an API answers is no page,
/// whatever it says of itself.
pub fn harden(headers: &mut HeaderMap, is_page: bool) {
    let mut put = |name: &'static str, value: &'static str| {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    };
    put("content-security-policy", if is_page { CSP } else { DATA_CSP });
    put("x-content-type-options", "nosniff");
    put("referrer-policy", "no-referrer");
    put("cross-origin-opener-policy", "same-origin");
    put("cross-origin-resource-policy", "same-origin");
    put("x-frame-options", "DENY");
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let public = ["https://Ops.example:443/ops/sampan", "https://box:8443/"];
        let public = public.map(|url| url.parse().expect("url")).to_vec();
        Guard::new("sampan-abc.localhost", 6480, public)
    }

    fn code(method: Method, headers: &[(&'static str, &'static str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        guard().check(&method, &map).map_or_else(|response| response.status().as_u16(), |()| 200)
    }

    #[test]
    fn only_our_own_names_are_answered() {
        for (host, expected) in [
            ("sampan-abc.localhost:6480", 200),
            ("Sampan-ABC.localhost:6480", 200),
            ("sampan-abc.localhost", 421),
            ("sampan-abd.localhost:6480", 421),
            ("localhost:6480", 200),
            ("127.0.0.1:6480", 200),
            ("[::1]:6480", 200),
            ("LOCALHOST:6480", 200),
            ("ops.example", 200),
            ("localhost", 421),
            ("localhost:80", 421),
            ("evil.example:6480", 421),
            ("127.0.0.1.evil.example:6480", 421),
            ("evil.example", 421),
            ("", 421),
        ] {
            assert_eq!(code(Method::GET, &[("host", host)]), expected, "{host}");
        }
    }

    #[test]
    fn the_profile_is_that_of_the_name() {
        for profile in ["sampan", "two-words"] {
            assert_eq!(Guard::new(&name(profile, &[7; 32]), 6480, Vec::new()).profile(), profile);
        }
    }

    #[test]
    fn writes_and_websockets_come_from_us() {
        let own = ("origin", "http://sampan-abc.localhost:6480");
        let (host, csrf, socket) =
            (("host", "sampan-abc.localhost:6480"), ("x-sampan-csrf", "1"), ("upgrade", "websocket"));
        let (bearer, cookie) = (("authorization", "Bearer x"), ("cookie", "sampan=x"));
        for (method, headers, expected) in [
            (Method::POST, vec![host, own, csrf], 200),
            (Method::POST, vec![host, own], 403),
            (Method::POST, vec![host, csrf], 401),
            (Method::POST, vec![host, csrf, cookie], 403),
            (Method::POST, vec![host, bearer], 200),
            (Method::POST, vec![host, bearer, ("origin", "https://evil.example")], 403),
            (Method::POST, vec![host, csrf, ("origin", "http://sampan-abc.localhost:6481")], 403),
            (Method::POST, vec![host, csrf, ("origin", "https://sampan-abc.localhost:6480")], 403),
            (Method::POST, vec![host, csrf, ("origin", "http://localhost:6480")], 403),
            (Method::POST, vec![host, csrf, ("origin", "null")], 403),
            (Method::DELETE, vec![host, csrf, own, ("sec-fetch-site", "cross-site")], 403),
            (Method::DELETE, vec![host, csrf, own, ("sec-fetch-site", "same-origin")], 200),
            (Method::GET, vec![host, socket, own], 200),
            (Method::GET, vec![host, socket], 401),
            (Method::GET, vec![host, socket, cookie], 403),
            (Method::GET, vec![host, socket, bearer], 200),
            (Method::GET, vec![host, socket, ("origin", "http://evil.example")], 403),
            (Method::GET, vec![host, socket, ("origin", "https://ops.example")], 200),
            (Method::GET, vec![("host", "ops.example"), ("origin", "http://evil.example")], 200),
        ] {
            assert_eq!(code(method.clone(), &headers), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn names_differ_by_key_and_are_labels() {
        let (one, other) = (name("a", &[1; 32]), name("a", &[2; 32]));
        assert_ne!(one, other);
        assert_eq!(one, name("a", &[1; 32]));
        assert!(one.starts_with("a-") && one.len() == "a-".len() + 8 + ".localhost".len(), "{one}");
    }

    #[test]
    fn names_are_told_apart() {
        for (host, by, secure) in [
            ("sampan-abc.localhost:6480", Some(By::Own), false),
            ("127.0.0.1:6480", Some(By::Machine), false),
            ("ops.example", Some(By::Public), true),
            ("Box:8443", Some(By::Public), true),
            ("box", Some(By::Public), true),
            ("evil.example", None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            assert_eq!((guard().by(&headers), guard().is_secure(&headers)), (by, secure), "{host}");
        }
    }

    #[test]
    fn sub_paths_are_taken_off() {
        let guard = guard();
        for (path, split) in [
            ("/", ("/", "/")),
            ("/pods", ("/", "/pods")),
            ("/ops/sampan/", ("/ops/sampan/", "/")),
            ("/ops/sampan/k8s/api", ("/ops/sampan/", "/k8s/api")),
            ("/ops/sampanx", ("/", "/ops/sampanx")),
        ] {
            assert_eq!(guard.split(path), split, "{path}");
        }
    }

    #[test]
    fn public_urls_are_checked() {
        let url: PublicUrl = "http://Box:8080/a/b/".parse().expect("url");
        assert_eq!(url.to_string(), "http://box:8080/a/b/");
        for bad in [
            "box/a",
            "ftp://box/",
            "http://u@box/",
            "http://box/?q",
            "http://box/a%20b",
            "http://box//",
            "http:///",
        ] {
            let error = bad.parse::<PublicUrl>().expect_err(bad);
            assert!(error.to_string().starts_with(bad), "{error}");
        }
    }
}
