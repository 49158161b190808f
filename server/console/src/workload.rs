//! The web pages of pods and Services, each on an origin of its own: `http://NAME.localhost:PORT`.
//!
//! ```text
//! dashboard ── /sampan/v1/open?kind=services&… ──► 303 NAME.localhost/.sampan/enter?ticket=… ──► cookie ──► 303 /
//! NAME.localhost/… ──► API server, …/services/NAME:PORT/proxy/…, as who opened it
//! ```
//!
//! A workload's page is code of others. It gets no cookie of the dashboard, which refuses its origin; it cannot set cookies
//! for other hosts; and each request is asked of the API server with the rights that its opener has at that moment.

use std::sync::Arc;
use std::time::Duration;

use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::Message;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::Request;
use http::request::Builder;
use http_body_util::BodyExt;
use sampan_process::BoxedIo;
use sampan_view::place::{decode, encode, pairs};
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Packet;

use crate::feed::SILENCE;
use crate::guard::By;
use crate::places::Place;
use crate::server::{Asker, State};
use crate::upgraded::connected;
use crate::{forward, reply};

/// Where a ticket is redeemed.
const ENTER: &str = "/.sampan/enter";
const COOKIE: &str = "sampan-place";
/// An upload.
const MAX_BODY: usize = 64 * 1024 * 1024;
const MAX_FRAME: usize = 16 * 1024 * 1024;
const PIPE: usize = 64 * 1024;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// What says who asks, or is of one hop: none of it goes on.
const DROPPED: [&str; 12] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "sec-websocket-extensions",
];
const CLOSED: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>sampan</title>\
<p>This page is closed: open it from the dashboard again.</p><p lang=\"zh-CN\">此页面已关闭，请从控制台重新打开。</p></html>";

/// Opens a workload: where to go, with a ticket. What is not there is told at once, in the API server's words.
pub async fn open(request: &HttpRequest, state: &Arc<State>, asker: Asker) -> HttpResponse {
    let site = request.headers().get("sec-fetch-site").and_then(|value| value.to_str().ok());
    if site.is_some_and(|site| !["same-origin", "none"].contains(&site)) {
        return reply::failure(403, "Forbidden", "the request comes from another site");
    }
    if state.guard.by(request.headers()) == Some(By::Public) {
        let message = "pages of workloads are shown to browsers of the cluster's own machine; elsewhere use \
            `kubectl port-forward`";
        return reply::failure(501, "NotImplemented", message);
    }
    let Some((object, target)) = target(request.query_string()) else {
        let message =
            "kind (services or pods), namespace, name and port are needed; scheme may be http or https";
        return reply::failure(400, "BadRequest", message);
    };
    match Request::get(object).body(Bytes::new()) {
        Ok(asked) => {
            // who may reach it but not read it goes on
            let answer = forward::send(state, asker.clone(), asked).await;
            if answer.status() == StatusCode::NOT_FOUND {
                return answer;
            }
        }
        Err(error) => return reply::failure(400, "BadRequest", &error.to_string()),
    }
    let (name, ticket) = state.places.open(asker, target);
    let address = format!("http://{name}.localhost:{}{ENTER}?ticket={ticket}", state.guard.port());
    HttpResponse::SeeOther().insert_header((header::LOCATION, address)).finish()
}

/// The API's path of a workload, and that of what it serves, with `/proxy` at its end.
fn target(query: &str) -> Option<(String, String)> {
    let all = pairs(query);
    let part = |name: &str| {
        let value = all.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())?;
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        (!value.is_empty() && value.chars().all(plain)).then(|| encode(value))
    };
    let kind = part("kind").filter(|kind| ["services", "pods"].contains(&kind.as_str()))?;
    let (namespace, name, port) = (part("namespace")?, part("name")?, part("port")?);
    let scheme = match all.iter().find(|(own, _)| own == "scheme").map(|(_, value)| value.as_str()) {
        None | Some("http") => "",
        Some("https") => "https:",
        Some(_) => return None,
    };
    let place = format!("/api/v1/namespaces/{namespace}/{kind}");
    Some((format!("{place}/{name}"), format!("{place}/{scheme}{name}:{port}/proxy")))
}

/// A request to a workload's host.
pub async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    state: &Arc<State>,
    name: &str,
) -> HttpResponse {
    if request.path() == ENTER {
        return enter(request, state, name);
    }
    if has_dots(request.path()) {
        return reply::failure(400, "BadRequest", "a path has no dot segments");
    }
    if is_foreign(request, name, state.guard.port()) {
        return reply::failure(403, "Forbidden", "the request comes from another origin");
    }
    let cookie = request.cookie(COOKIE).map(|cookie| cookie.value().to_owned()).unwrap_or_default();
    let Some(place) = state.places.enter(name, &cookie) else { return closed() };
    if !state.still(&place.asker).await {
        return closed();
    }
    match request.headers().contains_key(header::UPGRADE) {
        true => socket(request, payload, state, place).await,
        false => page(request, payload, state, place).await,
    }
}

fn closed() -> HttpResponse {
    HttpResponse::Unauthorized()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(CLOSED)
}

fn enter(request: &HttpRequest, state: &State, name: &str) -> HttpResponse {
    let ticket =
        pairs(request.query_string()).into_iter().find(|(own, _)| own == "ticket").map(|(_, value)| value);
    let Some(secret) = state.places.redeem(name, &ticket.unwrap_or_default()) else { return closed() };
    // lax: the way here began on the dashboard's origin
    let cookie = Cookie::build(COOKIE, secret).path("/").http_only(true).same_site(SameSite::Lax).finish();
    HttpResponse::SeeOther()
        .cookie(cookie)
        .insert_header((header::LOCATION, "/"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .finish()
}

/// A path that would lead out of the workload's own, were it resolved on the way. Browsers resolve them before they ask.
fn has_dots(path: &str) -> bool {
    path.split(['/', '\\']).any(|part| [".", ".."].contains(&decode(part).as_str()))
}

/// Whether a page of another origin writes, or opens a websocket.
fn is_foreign(request: &HttpRequest, name: &str, port: u16) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let origin = request.headers().get(header::ORIGIN).map(|value| value.to_str().unwrap_or("?"));
    let own = format!("http://{name}.localhost:{port}");
    (!reads || request.headers().contains_key(header::UPGRADE)) && origin.is_some_and(|origin| origin != own)
}

/// Method, address and what of the head a workload may see.
fn asked(request: &HttpRequest, place: &Place) -> Builder {
    let target =
        format!("{}{}", place.target, request.uri().path_and_query().map_or("/", |all| all.as_str()));
    let mut builder = Request::builder().method(request.method().as_str()).uri(target);
    for (name, value) in request.headers() {
        let name = name.as_str();
        // who it is that asks is not the page's to say
        if !DROPPED.contains(&name) && !name.starts_with("impersonate-") && !name.starts_with("x-remote-") {
            builder = builder.header(name, value.as_bytes());
        }
    }
    if let Some(cookies) = cookies(request.headers()) {
        builder = builder.header("cookie", cookies);
    }
    match request.headers().get(header::HOST) {
        Some(host) => builder.header("host", host.as_bytes()).header("x-forwarded-host", host.as_bytes()),
        None => builder,
    }
    .header("x-forwarded-proto", "http")
    // links and redirects are this origin's own
    .header("sampan-own-origin", "1")
}

/// The workload's own cookies.
fn cookies(headers: &HeaderMap) -> Option<String> {
    let all = headers
        .get_all(header::COOKIE)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|all| all.split(';'));
    let own = all.map(str::trim).filter(|pair| pair.split('=').next() != Some(COOKIE));
    let own = own.collect::<Vec<_>>().join("; ");
    (!own.is_empty()).then_some(own)
}

async fn page(
    request: &HttpRequest,
    payload: web::Payload,
    state: &Arc<State>,
    place: Place,
) -> HttpResponse {
    let body = match forward::read(payload, MAX_BODY).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let mut response = match asked(request, &place).body(body) {
        Ok(asked) => forward::send(state, place.asker, asked).await,
        Err(error) => return reply::failure(400, "BadRequest", &error.to_string()),
    };
    keep_cookies_here(response.headers_mut());
    response
}

/// Takes the domain off cookies: they are this host's alone.
fn keep_cookies_here(headers: &mut HeaderMap) {
    let all: Vec<HeaderValue> = headers.remove(header::SET_COOKIE).collect();
    for value in all {
        let Ok(text) = value.to_str() else { continue };
        let kept = text.split(';').filter(|part| !part.trim().to_ascii_lowercase().starts_with("domain="));
        let kept = kept.collect::<Vec<_>>().join(";");
        if kept.split('=').next().map(str::trim) == Some(COOKIE) {
            continue;
        }
        if let Ok(value) = HeaderValue::from_str(&kept) {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

/// A websocket of a workload's page: accepted once the workload has.
async fn socket(
    request: &HttpRequest,
    payload: web::Payload,
    state: &Arc<State>,
    place: Place,
) -> HttpResponse {
    let is_websocket = request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !is_websocket {
        return reply::failure(501, "NotImplemented", "only websockets are passed on");
    }
    let asked = asked(request, &place)
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .body(Bytes::new());
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => return reply::failure(400, "BadRequest", &error.to_string()),
    };
    let io = match upgrade(state, &place.asker, asked).await {
        Ok(io) => io,
        Err(refused) => return refused,
    };
    let Some((socket, protocol)) = connected(io).await else {
        return reply::failure(502, "BadGateway", "the workload did not accept the websocket");
    };
    let protocols: Vec<&str> = protocol.as_deref().into_iter().collect();
    match actix_ws::handle_with_protocols(request, payload, &protocols) {
        Ok((response, session, stream)) => {
            actix_web::rt::spawn(carry(session, stream.max_frame_size(MAX_FRAME), socket));
            response
        }
        Err(error) => reply::failure(400, "BadRequest", &error.to_string()),
    }
}

/// The near end of the connection to a workload; or what the API server said instead.
async fn upgrade(
    state: &Arc<State>,
    asker: &Asker,
    asked: Request<Bytes>,
) -> Result<DuplexStream, HttpResponse> {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let (tell, told) = oneshot::channel();
    let (owner, asker) = (state.clone(), asker.clone());
    state.spawn("workload", async move {
        let answer = (owner.api)(asker.user.clone(), asked).await;
        let Some(takeover) = answer.takeover else {
            let (head, body) = answer.response.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let _ = tell.send(Err((head.status.as_u16(), body)));
            return;
        };
        if tell.send(Ok(())).is_ok() {
            tokio::select! {
                () = takeover(Box::new(theirs) as BoxedIo) => {}
                () = owner.over(&asker) => {}
            }
        }
    });
    match told.await {
        Ok(Ok(())) => Ok(ours),
        Ok(Err((status, body))) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            Err(HttpResponse::build(status).content_type("application/json").body(body))
        }
        Err(_) => Err(reply::failure(503, "ServiceUnavailable", "the daemon is ending")),
    }
}

/// Messages both ways, until one side ends. Neither way waits for the other.
async fn carry(
    session: actix_ws::Session,
    mut stream: actix_ws::MessageStream,
    socket: WebSocketStream<DuplexStream>,
) {
    let (mut sink, mut packets) = socket.split();
    let (mut near, mut far) = (session.clone(), session.clone());
    let inward = async {
        while let Some(Ok(message)) = stream.next().await {
            let sent = match message {
                Message::Text(text) => sink.send(Packet::text(text.to_string())).await.is_ok(),
                Message::Binary(bytes) => sink.send(Packet::Binary(bytes)).await.is_ok(),
                Message::Ping(bytes) => near.pong(&bytes).await.is_ok(),
                Message::Pong(_) | Message::Nop => true,
                Message::Continuation(_) | Message::Close(_) => false,
            };
            if !sent {
                return;
            }
        }
    };
    let outward = async {
        while let Some(Ok(packet)) = packets.next().await {
            let sent = match packet {
                Packet::Text(text) => timeout(SILENCE, far.text(text.to_string())).await,
                Packet::Binary(bytes) => timeout(SILENCE, far.binary(bytes)).await,
                // the library answers pings itself
                Packet::Ping(_) | Packet::Pong(_) | Packet::Frame(_) => continue,
                Packet::Close(_) => return,
            };
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    };
    tokio::select! {
        () = inward => {}
        () = outward => {}
    }
    let _ = timeout(GOODBYE, sink.close()).await;
    let _ = session.close(None).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_named_plainly() {
        let of = |query: &str| target(query).map(|(_, target)| target);
        let wanted = "/api/v1/namespaces/a/services/web:80/proxy";
        assert_eq!(of("kind=services&namespace=a&name=web&port=80").as_deref(), Some(wanted));
        let wanted = "/api/v1/namespaces/a/pods/https:web:admin/proxy";
        assert_eq!(of("kind=pods&namespace=a&name=web&port=admin&scheme=https").as_deref(), Some(wanted));
        for query in [
            "kind=pods&namespace=a&name=web&port=80&scheme=ftp",
            "kind=nodes&namespace=a&name=web&port=80",
            "kind=services&namespace=a%2Fb&name=web&port=80",
            "kind=services&namespace=a&name=web%3A1&port=80",
            "kind=services&namespace=a&name=web",
            "kind=services&namespace=a&name=&port=80",
        ] {
            assert_eq!(of(query), None, "{query}");
        }
    }

    #[test]
    fn paths_do_not_lead_out() {
        for (path, dots) in
            [("/a/../b", true), ("/%2e%2E/b", true), ("/.", true), ("/a..b/.c/...", false), ("/", false)]
        {
            assert_eq!(has_dots(path), dots, "{path}");
        }
    }

    #[test]
    fn cookies_stay_where_they_belong() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; sampan-place=x; b=2"));
        assert_eq!(cookies(&headers).as_deref(), Some("a=1; b=2"));
        for (set, kept) in [
            ("a=1; Path=/; Domain=localhost; HttpOnly", Some("a=1; Path=/; HttpOnly")),
            ("a=1;DOMAIN=evil.example", Some("a=1")),
            ("sampan-place=theirs", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(header::SET_COOKIE, HeaderValue::from_static(set));
            keep_cookies_here(&mut headers);
            assert_eq!(headers.get(header::SET_COOKIE).and_then(|value| value.to_str().ok()), kept);
        }
    }
}
