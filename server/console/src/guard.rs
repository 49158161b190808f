//! Whom a browser may have been sent by: the checks of every request before anything else looks at it.
//!
//! A page of another origin may make this machine's browser speak to loopback: by a form, a websocket, or by a name of
//! its own that resolves to 127.0.0.1 (DNS rebinding). So each request has to name a host that is ours, each write and
//! each websocket that comes from a browser has to come from an origin that is ours, and writes carry a header that no
//! other origin can send without asking first.

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

/// What is ours.
#[derive(Clone, Debug)]
pub struct Guard {
    port: u16,
    public: Vec<PublicUrl>,
}

/// The names of this machine for itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

impl Guard {
    /// For a server on `port` of loopback, that proxies lead to from `public`.
    pub fn new(port: u16, public: Vec<PublicUrl>) -> Self {
        Self { port, public }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a browser of this machine asks, rather than one beyond a proxy.
    pub fn is_local(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let port = format!(":{}", self.port);
        host.to_ascii_lowercase().strip_suffix(&port).is_some_and(|name| LOOPBACK.contains(&name))
    }

    /// Refuses what was sent by a page that is not ours.
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), HttpResponse> {
        let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let host = text(header::HOST).unwrap_or_default().to_ascii_lowercase();
        if !self.is_host(&host) {
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
            None if !bearer && !headers.contains_key(header::COOKIE) => return Err(reply::unauthorized()),
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

    fn is_host(&self, host: &str) -> bool {
        let port = format!(":{}", self.port);
        let own = host.strip_suffix(&port).is_some_and(|name| LOOPBACK.contains(&name));
        own || self.public.iter().any(|public| public.host == host || host == without_port(&public.host))
    }

    fn is_origin(&self, origin: &str) -> bool {
        let own = |name: &str| origin == format!("http://{name}:{}", self.port);
        LOOPBACK.iter().any(|name| own(name)) || self.public.iter().any(|public| public.origin == origin)
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
                self.public.iter().any(|public| public.host == host && public.origin.starts_with("https://"))
            }
        }
    }
}

/// nginx' `$host` has no port in it.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn forbidden(message: &str) -> HttpResponse {
    reply::failure(403, "Forbidden", message)
}

/// Puts what every answer has: what pages may do, no guessing of types, no referrer.
pub fn harden(headers: &mut HeaderMap) {
    let mut put = |name: &'static str, value: &'static str| {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    };
    put("content-security-policy", CSP);
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
        Guard::new(6480, vec!["https://Ops.example:443/ops/sampan".parse().expect("url")])
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
    fn writes_and_websockets_come_from_us() {
        let own = ("origin", "http://localhost:6480");
        let (host, csrf, socket) =
            (("host", "localhost:6480"), ("x-sampan-csrf", "1"), ("upgrade", "websocket"));
        let (bearer, cookie) = (("authorization", "Bearer x"), ("cookie", "sampan=x"));
        for (method, headers, expected) in [
            (Method::POST, vec![host, own, csrf], 200),
            (Method::POST, vec![host, own], 403),
            (Method::POST, vec![host, csrf], 401),
            (Method::POST, vec![host, csrf, cookie], 403),
            (Method::POST, vec![host, bearer], 200),
            (Method::POST, vec![host, bearer, ("origin", "https://evil.example")], 403),
            (Method::POST, vec![host, csrf, ("origin", "http://localhost:6481")], 403),
            (Method::POST, vec![host, csrf, ("origin", "https://localhost:6480")], 403),
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
