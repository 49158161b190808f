//! Heads of requests and answers on their way through: what belongs to one connection alone goes, who asked is added.

use http::header::{
    CONNECTION, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Version, request, response};

use crate::connection::Connection;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Headers without which a message means something else: naming them in `Connection` does not remove them.
const KEPT: [&str; 6] = ["host", "content-length", "content-type", "authorization", "cookie", "connection"];

/// Takes away what is for this connection alone (RFC 9110, 7.6.1); the protocol to switch to, if that is asked.
pub fn strip(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut switches = false;
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
        headers.remove(CONNECTION);
        for token in named.iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')) {
            switches |= remove_named(headers, token.trim());
        }
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE).filter(|_| switches)
}

/// Whether the endpoint takes another request on the connection of this answer, as far as it says.
pub fn keeps_alive(answer: &response::Parts) -> bool {
    let says = |token: &str| {
        let texts = answer.headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        texts.flat_map(|text| text.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
    };
    match answer.version {
        Version::HTTP_10 => says("keep-alive"),
        _ => !says("close"),
    }
}

/// Removes a header that `Connection` names; whether it is `upgrade`.
fn remove_named(headers: &mut HeaderMap, name: &str) -> bool {
    if name.eq_ignore_ascii_case("upgrade") {
        return true;
    }
    if !KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept)) && !name.eq_ignore_ascii_case("te") {
        headers.remove(name);
    }
    false
}

/// Takes away what is for this connection alone of a request; the protocol to switch to, if that is asked.
pub fn strip_request(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let switch = strip(headers);
    // answered here, before the first byte of the body is asked for
    headers.remove(EXPECT);
    if let Some(te) = headers.remove(TE)
        && te
            .to_str()
            .is_ok_and(|text| text.split(',').any(|one| one.trim().eq_ignore_ascii_case("trailers")))
    {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    switch
}

/// Puts a switch of protocols back in.
pub fn put_switch(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Says who asked, by which name. What the client itself says of that counts only if it is a trusted proxy.
pub fn forwarded(headers: &mut HeaderMap, client: &Connection, host: &HeaderValue, trusted: bool) {
    let mut chain = client.peer_text.clone();
    if trusted {
        let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let all: Vec<&str> = before.chain(client.peer_text.to_str()).collect();
        chain = HeaderValue::from_str(&all.join(", ")).unwrap_or(chain);
    }
    // at most five more: they take their place at once
    headers.reserve(5);
    headers.insert(FORWARDED_FOR, chain);
    let mut set = |name: HeaderName, value: &dyn Fn() -> HeaderValue| {
        if !(trusted && headers.contains_key(&name)) {
            headers.insert(name, value());
        }
    };
    set(REAL_IP, &|| client.peer_text.clone());
    set(FORWARDED_PROTO, &|| HeaderValue::from_static(if client.tls { "https" } else { "http" }));
    set(FORWARDED_HOST, &|| host.clone());
    set(FORWARDED_PORT, &|| client.port_text.clone());
}

/// Whether a trusted proxy says that the client came by https.
pub fn came_by_https(headers: &HeaderMap) -> bool {
    headers.get(FORWARDED_PROTO).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// HTTP/2 may cut the cookies into several headers, which HTTP/1 may not (RFC 9113, 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

/// By which name the request asks: its authority, or else the one `Host` header. `None` if that is missing, double or
/// not a name.
pub fn host_of(parts: &request::Parts) -> Option<HeaderValue> {
    let host = match parts.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok()?,
        None => {
            let mut all = parts.headers.get_all(HOST).iter();
            let host = all.next()?.clone();
            all.next().is_none().then_some(host)?
        }
    };
    name_of(host.to_str().ok()?).is_some().then_some(host)
}

/// A host's name without its port and last dot; `None` if it is not one.
pub fn name_of(host: &str) -> Option<&str> {
    let end = match host.starts_with('[') {
        true => host.find(']')? + 1,
        false => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let digits = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(digits) {
        return None;
    }
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let address = |name: &str| name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).is_some();
    let named = name.bytes().all(fine) || address(name);
    let name = name.strip_suffix('.').unwrap_or(name);
    (named && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_is_for_one_connection_goes() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "keep-alive, X-Private"),
            ("connection", "host, content-type"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers, deflate"),
            ("expect", "100-continue"),
            ("content-type", "text/plain"),
            ("upgrade", "h2c"),
        ]);
        assert_eq!(strip_request(&mut headers), None);
        let mut left = names(&headers);
        left.sort_unstable();
        assert_eq!(
            (left, &headers[TE]),
            (vec!["content-type", "host", "te"], &HeaderValue::from_static("trailers"))
        );
    }

    #[test]
    fn a_switch_of_protocols_is_told() {
        let mut headers =
            map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("te", "gzip")]);
        assert_eq!(strip_request(&mut headers).unwrap(), "websocket");
        assert!(headers.is_empty());
    }

    #[test]
    fn clients_do_not_say_who_they_are_unless_they_are_trusted() {
        let client = Connection::new("192.0.2.7:5".parse().unwrap(), true, 8443, None);
        let said =
            [("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "http"), ("x-real-ip", "10.0.0.1")];
        let host = HeaderValue::from_static("a.b:8443");
        let values = |trusted| {
            let mut headers = map(&said);
            forwarded(&mut headers, &client, &host, trusted);
            let get = |name: &str| headers[name].to_str().unwrap().to_owned();
            ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip"]
                .map(get)
        };
        assert_eq!(values(false), ["192.0.2.7", "https", "a.b:8443", "8443", "192.0.2.7"]);
        assert_eq!(values(true), ["10.0.0.1, 192.0.2.7", "http", "a.b:8443", "8443", "10.0.0.1"]);
    }

    #[test]
    fn hosts_are_names() {
        for (host, name) in [
            ("a.b", Some("a.b")),
            ("A.b:80", Some("A.b")),
            ("a.b.", Some("a.b")),
            ("[::1]:80", Some("[::1]")),
            ("1.2.3.4:65535", Some("1.2.3.4")),
            ("a_b", Some("a_b")),
            ("", None),
            (":80", None),
            (".", None),
            ("a b", None),
            ("a/b", None),
            ("a@b", None),
            ("a:b", None),
            ("a:123456", None),
            ("[::1", None),
        ] {
            assert_eq!(name_of(host), name, "{host:?}");
        }
    }

    #[test]
    fn cookies_are_found_and_joined() {
        let mut headers = map(&[("cookie", "a=1; b=2"), ("cookie", "route=xyz")]);
        assert_eq!((cookie(&headers, "route"), cookie(&headers, "c")), (Some("xyz"), None));
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; route=xyz"]);
    }
}
