//! Bodies: large ones both ways, limits, endpoints that are slow or break off.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::endpoint::{Endpoint, text_reply};
use crate::world::{World, rule, seen, within};

/// 64 kB pieces that together are larger than what any buffer holds.
const PIECES: usize = 1024;
const PIECE: usize = 64 << 10;

fn pieces(counted: Arc<AtomicU64>) -> impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    let piece = Bytes::from(vec![b'x'; PIECE]);
    futures::stream::iter(0..PIECES).map(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(Frame::data(piece.clone()))
    })
}

async fn world_with(annotations: serde_json::Value, endpoint: u16, config: serde_json::Value) -> World {
    let world = World::start(config).await;
    world.service("s", &[endpoint], None).await;
    world.ingress("a", annotations, json!({"rules": [rule("a.test", "Prefix", "/", "s")]})).await;
    world.shows("a", &[]).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_both_ways() {
    let back = Endpoint::start(|request| async move {
        let (mut length, mut body) = (0, request.into_body());
        while let Some(frame) = body.frame().await {
            length += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        let mut reply = http::Response::new(StreamBody::new(pieces(Arc::default())).boxed_unsync());
        reply.headers_mut().insert("x-length", length.into());
        reply
    })
    .await;
    let world = world_with(json!({}), back.port, json!({})).await;
    let stream = TcpStream::connect(("127.0.0.1", world.http)).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = StreamBody::new(Box::pin(pieces(Arc::default())));
    let request = Request::post("/").header("host", "a.test").body(body).unwrap();
    let answer = within(sender.send_request(request)).await.unwrap();
    assert_eq!(answer.headers()["x-length"], (PIECES * PIECE).to_string());
    let (mut length, mut body) = (0, answer.into_body());
    while let Some(frame) = within(body.frame()).await {
        length += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(length, PIECES * PIECE);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_not_read() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let back = Endpoint::start(move |_| {
        let counted = counted.clone();
        async move { http::Response::new(StreamBody::new(pieces(counted)).boxed_unsync()) }
    })
    .await;
    let world = world_with(json!({}), back.port, json!({})).await;
    let mut client = TcpStream::connect(("127.0.0.1", world.http)).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut head = [0; 100];
    within(client.read_exact(&mut head)).await.unwrap();
    // until nothing moves any more: the buffers of two connections are full
    let mut before = u64::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(
        before < PIECES as u64 / 2,
        "{before} of {PIECES} pieces were taken for a client that reads nothing"
    );
    let mut rest = Vec::new();
    within(client.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() >= PIECES * PIECE - 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_the_limit_are_refused() {
    let echo = Endpoint::echo("echo").await;
    let world =
        world_with(json!({"nginx.ingress.kubernetes.io/proxy-body-size": "1k"}), echo.port, json!({})).await;
    let post = |head: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{head}\r\n\r\n{body}")
    };
    let fits = world.raw(&post("Content-Length: 1024", &"x".repeat(1024))).await;
    assert!(fits.starts_with("HTTP/1.1 200") && fits.contains("\"length\":1024"), "{fits}");
    let before = echo.requests();
    let large = world.raw(&post("Content-Length: 1025", &"x".repeat(1025))).await;
    assert!(large.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{large}");
    assert!(
        large.ends_with("413 Payload Too Large: the body is larger than this Ingress allows\n"),
        "{large}"
    );
    assert_eq!(echo.requests(), before);
    // one that does not say its length is cut off where it passes the limit
    let chunk = format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025));
    let large = world.raw(&post("Transfer-Encoding: chunked", &chunk)).await;
    assert!(large.starts_with("HTTP/1.1 413 "), "{large}");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_are_silent_or_break_off_are_told_apart() {
    let silent = Endpoint::start(|_| async { std::future::pending().await }).await;
    let world = world_with(json!({"sampan.dev/proxy-read-timeout": "1"}), silent.port, json!({})).await;
    let seen_silent = world.get("a.test", "/").await;
    assert_eq!(seen_silent.body, "504 Gateway Timeout: the endpoint did not answer in time\n");
    // one that is no HTTP server, and one that closes at once
    for text in ["SSH-2.0-OpenSSH\r\n", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        world.service("s", &[listener.local_addr().unwrap().port()], None).await;
        let serve = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(text.as_bytes()).await;
            }
        };
        tokio::select! {
            never = serve => never,
            _ = world.until("a.test", "/", 502) => {}
        }
    }
    // nobody accepts: the connection is never established
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    world.service("s", &[port], None).await;
    world.until("a.test", "/", 502).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_its_endpoint_closed_while_it_waited_costs_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // says that it keeps the connection, and closes it
    let serve = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"the body") {
                if stream.read_buf(&mut seen).await.unwrap() == 0 {
                    break;
                }
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        }
    });
    let world = world_with(json!({}), port, json!({"workers": 1})).await;
    for _ in 0..10 {
        let text =
            "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 8\r\n\r\nthe body";
        let answer = world.raw(text).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    serve.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_ends_well_when_its_endpoint_or_the_ingress_goes() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let slow = Endpoint::start(move |_| {
        let mut wait = wait.clone();
        async move {
            wait.wait_for(|go| *go).await.unwrap();
            text_reply("done")
        }
    })
    .await;
    let mut world = world_with(json!({}), slow.port, json!({})).await;
    // until the endpoint is known, the answer is 503
    let mut asked = None;
    within(async {
        while slow.requests() == 0 {
            let mut sender = world.connect().await;
            let request = Request::get("/").header("host", "a.test").body(Default::default()).unwrap();
            let task = tokio::spawn(sender.send_request(request));
            while slow.requests() == 0 && !task.is_finished() {
                tokio::task::yield_now().await;
            }
            asked = Some(task);
        }
    })
    .await;
    world.service("s", &[], None).await;
    world.until("a.test", "/", 503).await;
    let port = world.http;
    let closed = async move {
        // the request is let go once nobody listens any more
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        go.send(true).unwrap();
    };
    tokio::join!(within(closed), world.stop());
    let answer = seen(within(asked.unwrap()).await.unwrap().unwrap()).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, "done"));
}
