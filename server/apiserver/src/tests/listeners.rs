//! A second address of the same server.

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;

/// GET of `path` at an address, with TLS that has to be good for `name`.
async fn get_over_tls(w: &World, address: &str, port: u16, name: &'static str, path: &str) -> (u16, Value) {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(w.server.pki().ca_pem().as_bytes()).unwrap().into_owned())
        .unwrap();
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect((address, port)).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "x").body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_address_is_served_alike_and_drained_with_the_first() {
    let w = world().await;
    w.server.secure(w.server.tasks()).await.unwrap();
    let port = w.server.port();
    let drain = sampan_process::Drain::new();
    let running = tokio::spawn(w.server.clone().run(drain.clone()));
    // another address of this machine, the same port
    w.server.listen_also("127.0.0.43".parse().unwrap(), port).unwrap();
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "10.96.0.1",
    ];
    for name in names {
        let (code, body) = get_over_tls(&w, "127.0.0.43", port, name, "/version").await;
        assert_eq!((code, &body["minor"]), (200, &json!("36")), "{name}");
    }
    // the same pipeline: who shows nothing is nobody
    assert_eq!(get_over_tls(&w, "127.0.0.43", port, "kubernetes", "/api/v1/pods").await.0, 403);
    assert_eq!(get_over_tls(&w, "127.0.0.1", port, "kubernetes", "/version").await.0, 200);
    let taken = w.server.listen_also("127.0.0.43".parse().unwrap(), port).err().unwrap();
    assert!(taken.to_string().starts_with(&format!("cannot listen on 127.0.0.43 port {port}: ")), "{taken}");
    drain.start();
    w.server.tasks().drain().start();
    running.await.unwrap().unwrap();
    assert!(TcpStream::connect(("127.0.0.43", port)).await.is_err());
}
