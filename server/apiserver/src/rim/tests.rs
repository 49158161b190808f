#![allow(clippy::unwrap_used)]
//! A real TLS client against a real listener; the pipeline is a small function.

use std::path::Path;

use futures::FutureExt;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::pki::{self, Pki};
use crate::{Takeover, TakeoverSlot};

struct Boat {
    pki: Pki,
    port: u16,
    drain: Drain,
    ended: tokio::sync::mpsc::UnboundedReceiver<()>,
    chunks: tokio::sync::mpsc::UnboundedSender<&'static str>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    _dir: tempfile::TempDir,
}

/// Says that the stream holding it was dropped.
struct Ended(tokio::sync::mpsc::UnboundedSender<()>);
impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn boat() -> Boat {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(pki_config(dir.path())).unwrap();
    let listener = bind_free("127.0.0.1".parse().unwrap(), 16443).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (ended_tx, ended) = tokio::sync::mpsc::unbounded_channel();
    let (chunks, feed) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
    let feed = Arc::new(tokio::sync::Mutex::new(feed));
    let serve = move |request: Request<Bytes>, peer: Peer| {
        answer(request, peer, feed.clone(), ended_tx.clone()).boxed()
    };
    let drain = Drain::new();
    let config = Config {
        listener,
        tls: pki.server_config().unwrap(),
        clients: pki.client_verifier().unwrap(),
        workers: 1,
        grace: Duration::from_secs(5),
    };
    let server = tokio::spawn(run(config, Arc::new(serve), drain.clone()));
    Boat { pki, port, drain, ended, chunks, server, _dir: dir }
}

fn pki_config(dir: &Path) -> pki::Config {
    pki::Config {
        folder: dir.join("pki"),
        node_name: "boat".into(),
        addresses: Vec::new(),
        service_ip: "10.96.0.1".parse().unwrap(),
        cluster_domain: "cluster.local".into(),
    }
}

type Feed = Arc<tokio::sync::Mutex<tokio::sync::mpsc::UnboundedReceiver<&'static str>>>;

async fn answer(
    request: Request<Bytes>,
    peer: Peer,
    feed: Feed,
    ended: tokio::sync::mpsc::UnboundedSender<()>,
) -> Response<ResponseBody> {
    let whole = |text: String| Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let Peer::Tls { certificates, .. } = peer else { unreachable!() };
    match request.uri().path() {
        "/watch" => {
            let ended = Ended(ended);
            let stream = futures::stream::unfold((feed, ended), |(feed, ended)| async move {
                let chunk = feed.lock().await.recv().await?;
                Some((Ok::<_, crate::BoxError>(http_body::Frame::data(Bytes::from(chunk))), (feed, ended)))
            });
            Response::new(StreamBody::new(stream).boxed_unsync())
        }
        "/exec" => {
            let protocol = request.headers()["upgrade"].to_str().unwrap().to_owned();
            let take = move |mut io: sampan_process::BoxedIo| {
                async move {
                    let head = format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n\r\n");
                    io.write_all(head.as_bytes()).await.unwrap();
                    let mut buffer = [0; 64];
                    while let Ok(n @ 1..) = io.read(&mut buffer).await {
                        io.write_all(&buffer[..n].to_ascii_uppercase()).await.unwrap();
                        io.flush().await.unwrap();
                    }
                }
                .boxed()
            };
            let mut response = Response::new(whole(String::new()));
            *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
            response.extensions_mut().insert(TakeoverSlot::new(Takeover(Box::new(take))));
            response
        }
        path => {
            let said = String::from_utf8_lossy(request.body()).into_owned();
            let version = request.version();
            Response::builder()
                .header("x-made-by", "boat")
                .body(whole(format!(
                    "{} {path} {version:?} certificates={} {said}",
                    request.method(),
                    certificates.len()
                )))
                .unwrap()
        }
    }
}

impl Boat {
    async fn connect(&self, alpn: &str, with_certificate: bool) -> TlsStream<TcpStream> {
        use rustls::pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        let ca = rustls::pki_types::CertificateDer::from_pem_slice(self.pki.ca_pem().as_bytes()).unwrap();
        roots.add(ca.into_owned()).unwrap();
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let admin = self.pki.admin();
        let mut config = match with_certificate {
            true => builder
                .with_client_auth_cert(vec![admin.certificate()], admin.private_key().unwrap())
                .unwrap(),
            false => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let name = ServerName::try_from("kubernetes.default.svc").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }

    async fn h1(&self, certificate: bool) -> hyper::client::conn::http1::SendRequest<Full<Bytes>> {
        let io = TokioIo::new(self.connect("http/1.1", certificate).await);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn h2(&self) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
        let io = TokioIo::new(self.connect("h2", true).await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path).header("host", "boat").body(Full::new(body.into())).unwrap()
}

async fn text(response: Response<hyper::body::Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_carry_body_and_client_certificate() {
    let boat = boat();
    let mut with = boat.h1(true).await;
    let answer = with.send_request(post("/a", "hello")).await.unwrap();
    assert_eq!(answer.headers()["x-made-by"], "boat");
    assert_eq!(text(answer).await, "POST /a HTTP/1.1 certificates=1 hello");
    with.ready().await.unwrap();
    let answer = with.send_request(post("/again", "")).await.unwrap();
    assert_eq!(text(answer).await, "POST /again HTTP/1.1 certificates=1 ");
    let mut without = boat.h1(false).await;
    assert_eq!(
        text(without.send_request(post("/b", "")).await.unwrap()).await,
        "POST /b HTTP/1.1 certificates=0 "
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_spoken_and_a_body_over_the_limit_is_refused() {
    let boat = boat();
    let mut h2 = boat.h2().await;
    let request = Request::get("https://boat/c").body(Empty::new()).unwrap();
    assert_eq!(text(h2.send_request(request).await.unwrap()).await, "GET /c HTTP/2.0 certificates=1 ");
    let mut io = boat.connect("http/1.1", false).await;
    let head = format!("POST /big HTTP/1.1\r\nHost: boat\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1);
    io.write_all(head.as_bytes()).await.unwrap();
    // all of it, as most clients do before they read the answer
    io.write_all(&vec![b' '; MAX_BODY + 1]).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"}") {
        assert_ne!(io.read_buf(&mut seen).await.unwrap(), 0);
    }
    let seen = String::from_utf8(seen).unwrap();
    assert!(
        seen.starts_with("HTTP/1.1 413") && seen.contains("Request entity too large: limit is 3145728"),
        "{seen}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_arrive_chunk_by_chunk_and_end_with_the_client() {
    let mut boat = boat();
    let mut h1 = boat.h1(false).await;
    let mut watch = h1.send_request(post("/watch", "")).await.unwrap().into_body();
    for chunk in ["one\n", "two\n"] {
        boat.chunks.send(chunk).unwrap();
        assert_eq!(watch.frame().await.unwrap().unwrap().into_data().unwrap(), chunk);
    }
    drop((watch, h1));
    boat.ended.recv().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_over_http2_ends_with_the_connection() {
    let mut boat = boat();
    let mut h2 = boat.h2().await;
    let request = Request::get("https://boat/watch").body(Empty::<Bytes>::new()).unwrap();
    let mut watch = h2.send_request(request).await.unwrap().into_body();
    boat.chunks.send("one\n").unwrap();
    assert_eq!(watch.frame().await.unwrap().unwrap().into_data().unwrap(), "one\n");
    drop((watch, h2));
    boat.ended.recv().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_and_spdy_get_the_raw_connection_with_early_bytes() {
    let boat = boat();
    for (protocol, length) in [("websocket", ""), ("SPDY/3.1", "Content-Length: 0\r\n")] {
        let mut io = boat.connect("http/1.1", true).await;
        let head = format!(
            "POST /exec HTTP/1.1\r\nHost: boat\r\n{length}Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\nearly"
        );
        io.write_all(head.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"EARLY") {
            assert_ne!(io.read_buf(&mut seen).await.unwrap(), 0);
        }
        let seen = String::from_utf8(seen).unwrap();
        assert!(seen.starts_with("HTTP/1.1 101") && seen.contains(&format!("Upgrade: {protocol}")), "{seen}");
        io.write_all(b"more").await.unwrap();
        let mut four = [0; 4];
        io.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"MORE");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let boat = boat();
    let mut io = boat.connect("http/1.1", false).await;
    let head = "GET /forbidden HTTP/1.1\r\nHost: boat\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
    io.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    // the server closes; whether TLS says so first does not matter here
    let _ = io.read_to_end(&mut seen).await;
    let seen = String::from_utf8(seen).unwrap();
    assert!(
        seen.starts_with("HTTP/1.1 200 OK") && seen.ends_with("GET /forbidden HTTP/1.1 certificates=0 "),
        "{seen}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_closes_the_listener_and_returns() {
    let boat = boat();
    let mut h1 = boat.h1(false).await;
    h1.send_request(post("/a", "")).await.unwrap();
    boat.drain.start();
    boat.server.await.unwrap().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", boat.port)).await.is_err());
}
