//! `/proxy` of pods and services: one HTTP request to the pod's own address, or a connection that is upgraded, such as to a
//! websocket. The workload sees the `Host` that the client asked for; redirects and the links of HTML pages are led
//! through the proxy: upstream's `UpgradeAwareHandler` and its `Transport`.

mod dial;
mod links;

use std::io::{Read, Write};
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper_util::rt::TokioIo;
use sampan_api::go::Quote as _;
use sampan_api::status::{ApiError, Reason};
use sampan_process::{BoxedIo, Duplex};
use serde_json::Value;
use tokio::io::{AsyncWriteExt, copy_bidirectional};

use super::connect::{end_to_end, endpoint, take_over, upgrades};
use super::resource::Answer;
use super::{Context, respond};
use crate::registry::Target;
use crate::value::{at, items, text};
use crate::{ApiServer, Takeover};
use links::Place;

/// `[scheme:]name[:port]`: `net.SplitSchemeNamePort`.
fn split(id: &str) -> Option<(&str, &str, &str)> {
    match id.split(':').collect::<Vec<_>>().as_slice() {
        [name] => Some(("http", name, "")),
        [name, port] => Some(("http", name, port)),
        [scheme @ ("http" | "https" | ""), name, port] => {
            Some((if scheme.is_empty() { "http" } else { scheme }, name, port))
        }
        _ => None,
    }
}

/// Forwards the request and streams the answer back.
pub(super) async fn forward(server: &ApiServer, context: Context, target: &Target) -> Answer {
    let invalid = || {
        ApiError::bad_request(format!(
            "invalid {} request {}",
            target.kind.kind.to_lowercase(),
            target.name.quoted()
        ))
    };
    let (scheme, name, port) = split(&target.name).ok_or_else(invalid)?;
    let place = Target { name: name.to_owned(), subresource: String::new(), ..target.clone() };
    let (object, _) = server.registry().object(&place)?;
    if target.kind.kind != "Pod"
        && let Some(number) = missing_port(&object, port)
    {
        let message = format!("no service port {number} found for service {}", name.quoted());
        return Err(ApiError::new(Reason::ServiceUnavailable, message));
    }
    let (host, port) = match target.kind.kind {
        "Pod" => pod_address(&object, port)?,
        _ => endpoint(server, &object, port).ok_or_else(|| {
            ApiError::new(
                Reason::ServiceUnavailable,
                format!("no endpoints available for service {}", target.name.quoted()),
            )
        })?,
    };
    if !proxyable(&host) {
        return Err(ApiError::bad_request("address not allowed"));
    }
    if let Some(location) = missing_slash(&context) {
        let mut response = Response::new(respond::body(Bytes::new()));
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        response.headers_mut().insert(LOCATION, location);
        return Ok(response);
    }
    send(server, context, Backend { tls: scheme == "https", host, port }).await
}

/// A port's number that a service does not have.
fn missing_port(service: &Value, port: &str) -> Option<u64> {
    let number = port.parse().ok()?;
    let ports = items(at(service, &["spec", "ports"]));
    (!ports.iter().any(|own| at(own, &["port"]).as_u64() == Some(number))).then_some(number)
}

/// `IsProxyableIP`: addresses that lead to the node itself, or to what only it may ask, are refused.
pub(super) fn proxyable(host: &str) -> bool {
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(v4)) => {
            !(v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast())
        }
        Ok(IpAddr::V6(v6)) => {
            !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast())
        }
        Err(_) => false,
    }
}

fn pod_address(pod: &Value, port: &str) -> Result<(String, u16), ApiError> {
    let ip = text(pod, &["status", "podIP"]);
    if ip.is_empty() {
        return Err(ApiError::bad_request("address not allowed"));
    }
    let containers = items(at(pod, &["spec", "containers"]));
    let mut ports = containers.iter().flat_map(|c| items(at(c, &["ports"])));
    let named = ports.find(|p| port.is_empty() || text(p, &["name"]) == port);
    let found = port
        .parse()
        .ok()
        .or_else(|| at(named?, &["containerPort"]).as_u64().and_then(|p| u16::try_from(p).ok()));
    match (found, port) {
        (Some(number), _) => Ok((ip.to_owned(), number)),
        (None, "") => Ok((ip.to_owned(), 80)),
        (None, port) => Err(ApiError::bad_request(format!("invalid pod port {}", port.quoted()))),
    }
}

/// Where a page without a slash at its end is: its links would be resolved beside it (`proxyRedirectsforRootPath`).
fn missing_slash(context: &Context) -> Option<HeaderValue> {
    let asks = matches!(context.head.method, Method::GET | Method::HEAD) && !upgrades(&context.head.headers);
    let path = context.head.uri.path();
    if !asks || !context.info.rest.is_empty() || path.ends_with('/') {
        return None;
    }
    let query = context.head.uri.query().map_or(String::new(), |query| format!("?{query}"));
    HeaderValue::from_str(&format!("{path}/{query}")).ok()
}

/// Who answers.
struct Backend {
    tls: bool,
    host: String,
    port: u16,
}

impl Backend {
    fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// A client that has the workload on an origin of its own sends this: its pages' links lead where they should as they are.
const OWN_ORIGIN: HeaderName = HeaderName::from_static("sampan-own-origin");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
/// A longer page is passed on as it is.
const PAGE: usize = 16 * 1024 * 1024;

async fn send(server: &ApiServer, context: Context, backend: Backend) -> Answer {
    let failed = |why: String| {
        let message = format!("error trying to reach service: {why}");
        ApiError::new(Reason::ServiceUnavailable, message)
    };
    let query = context.head.uri.query().map_or(String::new(), |q| format!("?{q}"));
    let uri = format!("/{}{query}", context.info.rest);
    let asked = context.head.headers.get(HOST).cloned();
    let own = || HeaderValue::from_str(&backend.address()).ok();
    let mut headers = end_to_end(&context.head.headers);
    headers.extend(asked.clone().or_else(own).map(|value| (HOST, value)));
    let own_origin = headers.remove(OWN_ORIGIN).is_some();
    let stream = dial::dial(backend.tls, &backend.host, backend.port).await.map_err(failed)?;
    if upgrades(&context.head.headers) {
        let head = upgrade_head(&context.head.method, &uri, &headers);
        return Ok(take_over(Takeover(Box::new(move |io| Box::pin(join(stream, head, io))))));
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failed(e.to_string()))?;
    // ends with the body it feeds, or with the client that stopped reading it
    server.tasks().spawn_until_drain("proxy", async move { drop(connection.await) });
    headers.remove(http::header::UPGRADE);
    if let Ok(uri) = HeaderValue::from_str(context.head.uri.path()) {
        headers.insert(FORWARDED_URI, uri);
    }
    let mut request = Request::builder()
        .method(context.head.method.clone())
        .uri(uri)
        .body(Full::<Bytes>::new(context.body))
        .map_err(ApiError::internal)?;
    *request.headers_mut() = headers;
    let response = sender.send_request(request).await.map_err(|e| failed(e.to_string()))?;
    let (mut head, body) = response.into_parts();
    head.headers = end_to_end(&head.headers);
    without_cors(&mut head.headers);
    let body = body.map_err(|error| Box::new(error) as crate::BoxError).boxed_unsync();
    if own_origin {
        return Ok(Response::from_parts(head, body));
    }
    let prefix = context.head.uri.path().strip_suffix(&context.info.rest).unwrap_or_default();
    let place = Place {
        workload: &backend.address(),
        asked: asked.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default(),
        prefix: prefix.trim_end_matches('/'),
    };
    let body = match rewritten(&mut head.headers, place) {
        Some(encoding) => page(body, encoding, place).await?,
        None => body,
    };
    Ok(Response::from_parts(head, body))
}

/// Whom a workload lets read its answers is not for this origin (`removeCORSHeaders`).
fn without_cors(headers: &mut HeaderMap) {
    for name in [
        http::header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        http::header::ACCESS_CONTROL_ALLOW_HEADERS,
        http::header::ACCESS_CONTROL_ALLOW_METHODS,
        http::header::ACCESS_CONTROL_ALLOW_ORIGIN,
    ] {
        headers.remove(name);
    }
}

/// How a page is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Plain,
    Gzip,
    Deflate,
}

/// Leads a redirect through the proxy. How the body is to be read, if it is a page whose links have to be, too.
fn rewritten(headers: &mut HeaderMap, place: Place<'_>) -> Option<Encoding> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(location) = text(LOCATION) {
        if let Ok(location) = HeaderValue::from_str(&place.link(location)) {
            headers.insert(LOCATION, location);
        }
        return None;
    }
    if text(CONTENT_TYPE)?.split(';').next()?.trim() != "text/html" {
        return None;
    }
    match text(CONTENT_ENCODING).unwrap_or_default() {
        "" => Some(Encoding::Plain),
        "gzip" => Some(Encoding::Gzip),
        "deflate" => Some(Encoding::Deflate),
        // of another the links stay as they are
        _ => None,
    }
}

/// The page with its links led through the proxy; as it came, if it is too long or not what it says.
async fn page(
    body: crate::ResponseBody,
    encoding: Encoding,
    place: Place<'_>,
) -> Result<crate::ResponseBody, ApiError> {
    let (mut frames, mut read) = (BodyStream::new(body), BytesMut::new());
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| {
            ApiError::new(Reason::ServiceUnavailable, format!("error trying to reach service: {error}"))
        })?;
        read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if read.len() > PAGE {
            let first = futures::stream::iter([Ok(Frame::data(read.freeze()))]);
            return Ok(StreamBody::new(first.chain(frames)).boxed_unsync());
        }
    }
    let page = recoded(&read, encoding, |html| place.page(html));
    Ok(respond::body(page.unwrap_or_else(|_| read.freeze())))
}

/// What is compressed, changed.
fn recoded(bytes: &[u8], encoding: Encoding, change: impl Fn(&[u8]) -> Vec<u8>) -> std::io::Result<Bytes> {
    let read = |from: &mut dyn Read| -> std::io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        match from.take(PAGE as u64 + 1).read_to_end(&mut plain)? > PAGE {
            true => Err(std::io::ErrorKind::FileTooLarge.into()),
            false => Ok(change(&plain)),
        }
    };
    let level = flate2::Compression::fast();
    Ok(match encoding {
        Encoding::Plain => change(bytes).into(),
        Encoding::Gzip => {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), level);
            to.write_all(&read(&mut flate2::read::MultiGzDecoder::new(bytes))?)?;
            to.finish()?.into()
        }
        Encoding::Deflate => {
            let mut to = flate2::write::DeflateEncoder::new(Vec::new(), level);
            to.write_all(&read(&mut flate2::read::DeflateDecoder::new(bytes))?)?;
            to.finish()?.into()
        }
    })
}

/// The head of a request that wants another protocol, as it goes over the wire.
pub(crate) fn upgrade_head(method: &http::Method, uri: &str, headers: &HeaderMap) -> Vec<u8> {
    let mut head = format!("{method} {uri} HTTP/1.1\r\nconnection: Upgrade\r\n").into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Both ways until one side ends; the workload answers the client itself.
pub(crate) async fn join(mut workload: impl Duplex, head: Vec<u8>, mut client: BoxedIo) {
    if workload.write_all(&head).await.is_ok() {
        let _ = copy_bidirectional(&mut workload, &mut client).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_is_written_as_it_came() {
        let headers = [("upgrade", "websocket"), ("host", "a:1")];
        let headers = headers
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        let head = upgrade_head(&http::Method::GET, "/x?y", &HeaderMap::from_iter(headers));
        let wanted = "GET /x?y HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\nhost: a:1\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&head), wanted);
    }

    const PLACE: Place<'static> = Place { workload: "10.0.0.1:80", asked: "localhost", prefix: "/p/proxy" };

    #[test]
    fn redirects_are_led_and_pages_are_known() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            HeaderMap::from_iter(pairs)
        };
        let mut moved = headers(&[("location", "/login?next=/"), ("content-type", "text/html")]);
        assert_eq!(rewritten(&mut moved, PLACE), None);
        assert_eq!(moved.get_all(LOCATION).iter().collect::<Vec<_>>(), ["/p/proxy/login?next=/"]);
        for (pairs, encoding) in [
            (vec![("content-type", "text/html; charset=utf-8")], Some(Encoding::Plain)),
            (vec![("content-type", "text/html"), ("content-encoding", "gzip")], Some(Encoding::Gzip)),
            (vec![("content-type", "text/html"), ("content-encoding", "deflate")], Some(Encoding::Deflate)),
            (vec![("content-type", "text/html"), ("content-encoding", "br")], None),
            (vec![("content-type", "application/json")], None),
            (vec![], None),
        ] {
            assert_eq!(rewritten(&mut headers(&pairs), PLACE), encoding, "{pairs:?}");
        }
    }

    #[test]
    fn compressed_pages_stay_compressed() {
        let page = b"<a href=\"/x\">";
        let same = |bytes: &[u8], encoding| recoded(bytes, encoding, <[u8]>::to_vec);
        let change = |html: &[u8]| PLACE.page(html);
        for encoding in [Encoding::Plain, Encoding::Gzip, Encoding::Deflate] {
            let packed = match encoding {
                Encoding::Plain => page.to_vec(),
                Encoding::Gzip => {
                    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    to.write_all(page).expect("memory");
                    to.finish().expect("memory")
                }
                Encoding::Deflate => {
                    let mut to = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                    to.write_all(page).expect("memory");
                    to.finish().expect("memory")
                }
            };
            let changed = recoded(&packed, encoding, change).expect("a page");
            let mut read = Vec::new();
            match encoding {
                Encoding::Plain => read = changed.to_vec(),
                Encoding::Gzip => {
                    flate2::read::GzDecoder::new(&*changed).read_to_end(&mut read).map(drop).expect("gzip")
                }
                Encoding::Deflate => flate2::read::DeflateDecoder::new(&*changed)
                    .read_to_end(&mut read)
                    .map(drop)
                    .expect("deflate"),
            }
            assert_eq!(read, b"<a href=\"/p/proxy/x\">", "{encoding:?}");
        }
        assert!(same(b"no gzip at all", Encoding::Gzip).is_err());
    }

    #[tokio::test]
    async fn a_workloads_certificate_is_not_asked_for() {
        let made =
            rcgen::generate_simple_self_signed(vec!["somebody.else".to_owned()]).expect("a certificate");
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config =
            rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key)
                .expect("a pair");
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let mut stream = acceptor.accept(stream).await.expect("tls");
            stream.write_all(b"hello").await.expect("a reader");
            stream.flush().await.expect("a reader");
            // no goodbye
            stream.into_inner().0.shutdown().await.expect("an end");
        });
        let mut client = dial::dial(true, "127.0.0.1", port).await.expect("a connection");
        let mut said = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut client, &mut said).await.expect("words");
        assert_eq!(said, "hello");
        server.await.expect("served");
    }

    #[test]
    fn a_services_port_is_one_that_it_has() {
        let service = serde_json::json!({"spec": {"ports": [{"name": "web", "port": 80}, {"port": 443}]}});
        for (port, missing) in [("80", None), ("443", None), ("web", None), ("", None), ("81", Some(81))] {
            assert_eq!(missing_port(&service, port), missing, "{port}");
        }
    }

    #[test]
    fn only_addresses_beyond_the_node() {
        for refused in [
            "127.0.0.1",
            "::1",
            "169.254.169.254",
            "0.0.0.0",
            "::ffff:127.0.0.1",
            "fe80::1",
            "224.0.0.1",
            "x",
        ] {
            assert!(!proxyable(refused), "{refused}");
        }
        for allowed in ["10.244.0.7", "192.168.1.4", "fd00::7"] {
            assert!(proxyable(allowed), "{allowed}");
        }
    }
}
