//! `/proxy` of pods and services: one HTTP request to the pod's own address, or a connection that is upgraded, such as to a
//! websocket. The workload sees the `Host` that the client asked for, as upstream's `UpgradeAwareHandler` has it.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use sampan_api::status::{ApiError, Reason};
use sampan_process::{BoxedIo, Duplex};
use serde_json::Value;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::Context;
use super::connect::{end_to_end, endpoint, take_over, upgrades};
use super::resource::Answer;
use crate::registry::Target;
use crate::value::{at, items, text};
use crate::{ApiServer, Takeover};

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
            "invalid {} request {:?}",
            target.kind.kind.to_lowercase(),
            target.name
        ))
    };
    let (scheme, name, port) = split(&target.name).ok_or_else(invalid)?;
    let place = Target { name: name.to_owned(), subresource: String::new(), ..target.clone() };
    let (object, _) = server.registry().object(&place)?;
    let (host, port) = match target.kind.kind {
        "Pod" => pod_address(&object, port)?,
        _ => endpoint(server, &object, port).ok_or_else(|| {
            ApiError::new(
                Reason::ServiceUnavailable,
                format!("no endpoints available for service {:?}", target.name),
            )
        })?,
    };
    if !proxyable(&host) {
        return Err(ApiError::bad_request("address not allowed"));
    }
    if scheme == "https" {
        return Err(ApiError::new(
            Reason::ServiceUnavailable,
            "proxying to https endpoints is not served yet",
        ));
    }
    send(server, context, &host, port).await
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
        (None, port) => Err(ApiError::bad_request(format!("invalid pod port {port:?}"))),
    }
}

async fn send(server: &ApiServer, context: Context, host: &str, port: u16) -> Answer {
    let failed = |why: String| {
        let message = format!("error trying to reach service: {why}");
        ApiError::new(Reason::ServiceUnavailable, message)
    };
    let query = context.head.uri.query().map_or(String::new(), |q| format!("?{q}"));
    let uri = format!("/{}{query}", context.info.rest);
    let asked = context.head.headers.get(HOST).cloned();
    let own = || HeaderValue::from_str(&format!("{host}:{port}")).ok();
    let mut headers = end_to_end(&context.head.headers);
    headers.extend(asked.or_else(own).map(|value| (HOST, value)));
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|e| failed(format!("dial tcp {host}:{port}: connect: {e}")))?;
    if upgrades(&context.head.headers) {
        let head = upgrade_head(&context.head.method, &uri, &headers);
        return Ok(take_over(Takeover(Box::new(move |io| Box::pin(join(stream, head, io))))));
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failed(e.to_string()))?;
    // ends with the body it feeds, or with the client that stopped reading it
    server.tasks().spawn_until_drain("proxy", async move { drop(connection.await) });
    let mut request = Request::builder()
        .method(context.head.method.clone())
        .uri(uri)
        .body(Full::<Bytes>::new(context.body))
        .map_err(ApiError::internal)?;
    *request.headers_mut() = headers;
    let response = sender.send_request(request).await.map_err(|e| failed(e.to_string()))?;
    let (mut head, body) = response.into_parts();
    head.headers = end_to_end(&head.headers);
    Ok(http::Response::from_parts(
        head,
        body.map_err(|error| Box::new(error) as crate::BoxError).boxed_unsync(),
    ))
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
