//! TLS, HTTP/2, gRPC and websockets.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::endpoint::{Endpoint, with_trailers};
use crate::world::{World, certificate, connect, rule, seen, within};

/// HTTP/2 over `stream`.
async fn h2<T>(stream: T) -> hyper::client::conn::http2::SendRequest<Full<Bytes>>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_chosen_by_name_and_replaced_while_it_runs() {
    let world = World::start(json!({})).await;
    let echo = Endpoint::echo("echo").await;
    world.service("s", &[echo.port], None).await;
    let ((a, a_key, a_der), (wild, wild_key, wild_der)) = (certificate("a.test"), certificate("*.w.test"));
    world.secret("a", &a, &a_key).await;
    world.secret("wild", &wild, &wild_key).await;
    let tls = |host: &str, secret: &str| json!({"rules": [rule(host, "Prefix", "/", "s")], "tls": [{"hosts": [host], "secretName": secret}]});
    world.ingress("a", json!({}), tls("a.test", "a")).await;
    world.ingress("wild", json!({}), tls("*.w.test", "wild")).await;
    world.ingress("broken", json!({}), tls("b.test", "broken")).await;
    world.shows("wild", &[]).await;
    world.shows("a", &[]).await;
    world.shows("broken", &[(443, "sampan.dev/BadCertificate")]).await;
    let said = world.event("broken", "BadCertificate").await;
    assert_eq!(said, "Secret default/broken is not there; the default certificate is used");
    assert_eq!(world.certificate("a.test").await, a_der);
    assert_eq!(world.certificate("x.w.test").await, wild_der);
    let own = world.certificate("b.test").await;
    assert!(own != a_der && own == world.certificate("elsewhere.test").await);
    // a Secret that is not a certificate harms its own Ingress alone
    world.secret("wild", "rubbish", &wild_key).await;
    world.shows("wild", &[(443, "sampan.dev/BadCertificate")]).await;
    assert_eq!(world.certificate("x.w.test").await, own);
    assert_eq!(world.certificate("a.test").await, a_der);
    let (new, new_key, new_der) = certificate("b.test");
    world.secret("broken", &new, &new_key).await;
    world.shows("broken", &[]).await;
    assert_eq!(world.certificate("B.test").await, new_der);
    let mut sender = connect(world.tls("a.test", &["http/1.1"]).await).await;
    let request = Request::get("/").header("host", "a.test").body(Full::default()).unwrap();
    let echoed = seen(within(sender.send_request(request)).await.unwrap()).await.echo();
    assert_eq!(echoed["headers"]["x-forwarded-proto"], "https");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_clients_reach_http1_endpoints() {
    let world = World::start(json!({})).await;
    let echo = Endpoint::echo("echo").await;
    world.service("s", &[echo.port], None).await;
    world.ingress("a", json!({}), json!({"rules": [rule("a.test", "Prefix", "/", "s")]})).await;
    world.until("a.test", "/", 200).await;
    let stream = world.tls("a.test", &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut sender = h2(stream).await;
    let asked = (0..20).map(|n| {
        let request = Request::post(format!("https://a.test/{n}/../x?{n}"))
            .version(Version::HTTP_2)
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::new(Bytes::from(vec![b'x'; n * 1000])))
            .unwrap();
        sender.send_request(request)
    });
    for (n, response) in within(futures::future::join_all(asked)).await.into_iter().enumerate() {
        let echoed = seen(response.unwrap()).await.echo();
        assert_eq!((&echoed["uri"], &echoed["length"]), (&json!(format!("/x?{n}")), &json!(n * 1000)));
        assert_eq!(
            (&echoed["headers"]["cookie"], &echoed["headers"]["host"]),
            (&json!("a=1; b=2"), &json!("a.test"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_passes_in_both_directions_with_its_trailers() {
    let world = World::start(json!({})).await;
    let rpc = Endpoint::start(|request| async move {
        assert_eq!(
            (request.version(), request.headers()["te"].as_bytes()),
            (Version::HTTP_2, &b"trailers"[..])
        );
        assert_eq!(request.uri().authority().unwrap(), "rpc.test");
        let sent = request.into_body().collect().await.unwrap();
        let trailer = sent.trailers().is_some_and(|trailers| trailers["x-end"] == "yes");
        assert!(trailer);
        with_trailers(vec![sent.to_bytes(), Bytes::from_static(b"more")], &[("grpc-status", "0")])
    })
    .await;
    world.service("annotated", &[rpc.port], None).await;
    world.service("declared", &[rpc.port], Some("kubernetes.io/h2c")).await;
    world
        .ingress(
            "a",
            json!({"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}),
            json!({"rules": [rule("rpc.test", "Prefix", "/annotated", "annotated")]}),
        )
        .await;
    world
        .ingress("b", json!({}), json!({"rules": [rule("rpc.test", "Prefix", "/declared", "declared")]}))
        .await;
    world.shows("b", &[]).await;
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let stream = world.tls("rpc.test", &["h2"]).await;
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for path in ["annotated", "declared", "declared"] {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-end", http::HeaderValue::from_static("yes"));
        let body = Full::new(Bytes::from_static(b"ask ")).with_trailers(async { Some(Ok(trailers)) });
        let request = Request::post(format!("https://rpc.test/{path}/Call"))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(Box::pin(body))
            .unwrap();
        let answer = within(sender.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = within(answer.into_body().collect()).await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), "ask more");
    }
}

/// A server that sends back what it is sent.
async fn websocket_echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                socket.send(Message::text("hello")).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() || message.is_binary() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_stay_open_over_tls_and_end_with_the_ingress() {
    let mut world = World::start(json!({})).await;
    let (port, echo) = (websocket_echo().await, Endpoint::echo("echo").await);
    world.service("ws", &[port], None).await;
    world.service("s", &[echo.port], None).await;
    world
        .ingress(
            "a",
            json!({}),
            json!({"rules": [
        rule("ws.test", "Prefix", "/", "ws"), rule("plain.test", "Prefix", "/", "s")]}),
        )
        .await;
    world.shows("a", &[]).await;
    let stream = world.tls("ws.test", &["http/1.1"]).await;
    let (mut socket, answer) =
        within(tokio_tungstenite::client_async("wss://ws.test/chat", stream)).await.unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(within(socket.next()).await.unwrap().unwrap(), Message::text("hello"));
    for size in [1, 125, 70_000] {
        let sent = Message::binary(vec![7_u8; size]);
        socket.send(sent.clone()).await.unwrap();
        assert_eq!(within(socket.next()).await.unwrap().unwrap(), sent);
    }
    // text that would be refused as HTTP passes, for it is none
    socket.send(Message::text("GET / HTTP/1.1\nContent-Length: 1\n\n")).await.unwrap();
    assert!(within(socket.next()).await.unwrap().unwrap().is_text());
    // an endpoint that does not switch answers as usual
    let request = Request::get("/").header("host", "plain.test").header("connection", "upgrade");
    let seen = world.request(request.header("upgrade", "websocket")).await;
    assert_eq!((seen.status.as_u16(), &seen.echo()["headers"]["upgrade"]), (200, &json!("websocket")));
    world.stop().await;
    assert!(within(socket.next()).await.is_none_or(|end| end.is_err() || end.unwrap().is_close()));
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_without_tls_is_known_by_its_preface() {
    let world = World::start(json!({})).await;
    let echo = Endpoint::echo("echo").await;
    world.service("s", &[echo.port], None).await;
    world.ingress("a", json!({}), json!({"rules": [rule("a.test", "Prefix", "/", "s")]})).await;
    world.until("a.test", "/", 200).await;
    let mut sender = h2(tokio::net::TcpStream::connect(("127.0.0.1", world.http)).await.unwrap()).await;
    let request = Request::get("http://a.test/x").body(Full::default()).unwrap();
    let answer = seen(within(sender.send_request(request)).await.unwrap()).await;
    assert_eq!((answer.status.as_u16(), &answer.echo()["uri"]), (200, &json!("/x")));
}
