//! Clients that mean no good.

use http::Request;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::endpoint::Endpoint;
use crate::world::{World, rule, within};

async fn world(config: serde_json::Value) -> (World, Endpoint) {
    let world = World::start(config).await;
    let echo = Endpoint::echo("echo").await;
    world.service("s", &[echo.port], None).await;
    world.ingress("a", json!({}), json!({"rules": [rule("a.test", "Prefix", "/", "s")]})).await;
    world.until("a.test", "/", 200).await;
    (world, echo)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_past_the_ingress() {
    let (world, echo) = world(json!({})).await;
    let before = echo.requests();
    let hidden = "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let length = hidden.len();
    for head in [
        format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ),
        format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n"
        ),
        format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\nContent-Length: 0\r\n\r\n"),
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +5\r\n\r\n".into(),
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n".into(),
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding : chunked\r\n\r\n".into(),
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: identity, chunked\r\n\r\n".into(),
        "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
        "POST / HTTP/1.1\r\nHost: a.test\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n".into(),
        "GET / HTTP/1.1\nHost: a.test\n\n".into(),
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: y\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\0b\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\rb: c\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n".into(),
        "GET / HTTP/1.1\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a.test/b\r\n\r\n".into(),
        "GET / HTTP/9.9\r\nHost: a.test\r\n\r\n".into(),
        "GET /../hidden HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n".into(),
        "rubbish\r\n\r\n".into(),
    ] {
        let close = head.replacen("Host: a.test\r\n", "Host: a.test\r\nConnection: close\r\n", 1);
        let answer = world.raw(&format!("{close}{hidden}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answer:?}");
    }
    assert_eq!(echo.requests(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_chunks_reach_no_endpoint_as_a_whole_request() {
    let (world, echo) = world(json!({})).await;
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in [
        "3\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        let answer = world.raw(&format!("{post}{chunks}GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{chunks:?}: {answer:?}");
    }
    let pipelined = format!(
        "{post}3;x=y\r\nabc\r\n0\r\nSum: 1\r\n\r\nGET /next HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
    );
    let answer = world.raw(&pipelined).await;
    assert!(answer.matches("HTTP/1.1 200").count() == 2 && answer.contains("\"uri\":\"/next\""), "{answer}");
    assert!(echo.requests() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_heads_are_refused() {
    let (world, _echo) = world(json!({"headerBytes": 8192})).await;
    let get = |extra: &str| format!("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{extra}\r\n\r\n");
    assert!(world.raw(&get(&format!("X: {}", "y".repeat(7000)))).await.starts_with("HTTP/1.1 200"));
    for extra in [format!("X: {}", "y".repeat(9000)), "X: y\r\n".repeat(2000)] {
        let answer = world.raw(&get(extra.trim_end())).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let path = format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "x".repeat(9000));
    let answer = world.raw(&path).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_lose_their_place_and_others_are_served() {
    let (world, _echo) =
        world(json!({"headerSeconds": 1, "clientSeconds": 1, "keepAliveSeconds": 1, "connections": 8, "workers": 1})).await;
    let open = |text: &'static str| async move {
        let mut stream = TcpStream::connect(("127.0.0.1", world.http)).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    // every place is taken by one that says nothing, a part of a head, or a part of a body
    let mut slow = Vec::new();
    for text in [
        "",
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX",
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabc",
    ] {
        slow.push(open(text).await);
        slow.push(open(text).await);
    }
    let served = world.get("a.test", "/").await;
    assert_eq!(served.status, 200);
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = within(stream.read_to_end(&mut rest)).await;
    }
    // one that is kept alive, but for nothing
    let mut sender = world.connect().await;
    let request = Request::get("/").header("host", "a.test").body(Default::default()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    within(async {
        while sender.ready().await.is_ok() && !sender.is_closed() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_for_connections_are_not_forwarded() {
    let (world, echo) = world(json!({})).await;
    let before = echo.requests();
    for head in ["CONNECT a.test:80 HTTP/1.1\r\nHost: a.test", "TRACE / HTTP/1.1\r\nHost: a.test"] {
        let answer = world.raw(&format!("{head}\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }
    assert_eq!(echo.requests(), before);
}
