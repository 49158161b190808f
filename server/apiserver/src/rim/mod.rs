//! The sockets: the API over TLS, HTTP/1.1 and HTTP/2, served by actix.
//!
//! A thin rim: it turns bytes into an [`http::Request`] with its [`Peer`], calls a [`Serve`], and writes what
//! comes back. Everything that means something (who, may, what) is behind that call, and loopback clients
//! make the same call without this module.
//!
//! ```text
//!  TCP ─► TLS (client certificate asked for) ─► ALPN ─┬─ h2 ────────► HttpService ──► Serve
//!                                                     └─ http/1.1 ─┬─ request ──────► Serve
//!                                                                  └─ Upgrade ──────► Serve ─► Takeover(raw connection)
//! ```
//!
//! actix hands over the raw connection for `Upgrade: websocket` only; kubectl up to 1.30 upgrades to SPDY/3.1, always
//! as the first request of a connection. [`connection`] therefore looks at the first head and marks such a
//! request so that it takes the same way.
//!
//! actix workers have runtimes of their own. Requests are polled there, but inside the daemon's runtime
//! context, so that what a handler spawns belongs to the daemon and outlives the connection.

mod connection;
mod convert;
mod upgrade;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actix_http::{HttpMessage, HttpService, KeepAlive, Protocol};
use actix_server::Server;
use actix_service::{ServiceFactoryExt, fn_service};
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use prometheus_client::metrics::counter::Counter;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use sampan_api::status::{ApiError, Reason};
use sampan_process::Drain;
use tokio::runtime::Handle;

use crate::{Peer, ResponseBody};
use connection::{Connection, Shown};
use convert::Body;

/// Whatever answers requests: the API server's pipeline, or a test's.
pub trait Serve: Send + Sync + 'static {
    /// Answers one request; errors are answers, too.
    fn serve(
        self: Arc<Self>,
        request: Request<Bytes>,
        peer: Peer,
    ) -> BoxFuture<'static, Response<ResponseBody>>;
}

impl<F> Serve for F
where
    F: Fn(Request<Bytes>, Peer) -> BoxFuture<'static, Response<ResponseBody>> + Send + Sync + 'static,
{
    fn serve(
        self: Arc<Self>,
        request: Request<Bytes>,
        peer: Peer,
    ) -> BoxFuture<'static, Response<ResponseBody>> {
        self(request, peer)
    }
}

/// Upstream's limit of a request body (etcd's request limit, doubled).
pub const MAX_BODY: usize = 3 * 1024 * 1024;
/// How much of a body over the limit is read so that its sender gets to see the answer.
const MAX_DROPPED: usize = 16 * MAX_BODY;
/// How many ports after the wanted one are tried.
const PORTS_TRIED: u16 = 100;
/// Upstream's ReadHeaderTimeout.
const HEAD_TIMEOUT: Duration = Duration::from_secs(32);
/// Upstream's request timeout, here for a body that trickles in.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Upstream's IdleTimeout; on HTTP/2 the pause between pings.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Binds `port` on `address`.
pub fn bind(address: IpAddr, port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((address, port))
}

/// Binds `port` on `address`, or the next free port after it.
pub fn bind_free(address: IpAddr, port: u16) -> std::io::Result<TcpListener> {
    let mut taken = None;
    for candidate in port..=port.saturating_add(PORTS_TRIED) {
        match bind(address, candidate) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => taken = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(taken.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}

/// What one listener needs.
pub struct Config {
    /// From [`bind`] or [`bind_free`].
    pub listener: TcpListener,
    /// From [`crate::pki::Pki::server_config`].
    pub tls: ServerConfig,
    /// From [`crate::pki::Pki::client_verifier`].
    pub clients: Arc<dyn ClientCertVerifier>,
    /// Threads that serve connections.
    pub workers: usize,
    /// How long open connections may go on after the drain began.
    pub grace: Duration,
}

/// Serves until the drain, then closes the listener, lets requests finish (watches end by themselves), and returns.
pub async fn run(config: Config, serve: Arc<dyn Serve>, drain: Drain) -> std::io::Result<()> {
    let Config { listener, tls, clients, workers, grace } = config;
    let runtime = Handle::current();
    let builder = Server::build().workers(workers).disable_signals().shutdown_timeout(grace.as_secs().max(1));
    let stopping = drain.clone();
    let server = builder
        .listen("apiserver", listener, move || {
            let state = State {
                serve: serve.clone(),
                runtime: runtime.clone(),
                drain: stopping.clone(),
                clients: clients.clone(),
            };
            service(tls.clone(), state)
        })?
        .run();
    let handle = server.handle();
    let serving = tokio::spawn(server);
    drain.wait().await;
    handle.stop(true).await;
    serving.await.map_err(std::io::Error::other)?
}

/// What each worker has.
#[derive(Clone)]
struct State {
    serve: Arc<dyn Serve>,
    runtime: Handle,
    drain: Drain,
    clients: Arc<dyn ClientCertVerifier>,
}

fn service(
    tls: ServerConfig,
    state: State,
) -> impl actix_service::ServiceFactory<
    actix_rt::net::TcpStream,
    Config = (),
    Response = (),
    Error = (),
    InitError = (),
> {
    let (plain, upgrades, stopping) = (state.clone(), state.clone(), state.drain.clone());
    let clients = state.clients.clone();
    let http = HttpService::build()
        .keep_alive(KeepAlive::Timeout(IDLE_TIMEOUT))
        .client_request_timeout(HEAD_TIMEOUT)
        .h1_allow_half_closed(false)
        .graceful_shutdown_signal(move || stopping.wait())
        .on_connect_ext(Connection::tell)
        .upgrade(fn_service(move |(request, framed)| upgrade::handle(upgrades.clone(), request, framed)))
        .finish(fn_service(move |request| handle(plain.clone(), request)));
    acceptor(tls)
        .map_err(|_| ())
        .and_then(fn_service(move |stream: TlsStream<actix_rt::net::TcpStream>| {
            let clients = clients.clone();
            async move { Connection::new(stream, &*clients).await.map_err(drop) }
        }))
        .and_then(http.map_err(drop).map_init_err(drop))
}

/// `apiserver_tls_handshake_errors_total`.
static HANDSHAKE_ERRORS: LazyLock<Counter> = LazyLock::new(|| {
    let errors = Counter::default();
    let help = "Number of requests dropped with 'TLS handshake error from' error";
    sampan_process::metrics::registry().lock().register(
        "apiserver_tls_handshake_errors",
        help,
        errors.clone(),
    );
    errors
});

fn acceptor(
    mut tls: ServerConfig,
) -> impl actix_service::ServiceFactory<
    actix_rt::net::TcpStream,
    Config = (),
    Response = TlsStream<actix_rt::net::TcpStream>,
    Error = (),
    InitError = (),
> {
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut acceptor = Acceptor::new(tls);
    acceptor.set_handshake_timeout(Duration::from_secs(10));
    let errors = HANDSHAKE_ERRORS.clone();
    let failed = move |_| {
        errors.inc();
    };
    acceptor.map_err(failed).map_init_err(drop)
}

/// An ordinary request.
async fn handle(
    state: State,
    mut request: actix_http::Request,
) -> Result<actix_http::Response<Body>, Infallible> {
    let shown = request.conn_data::<Shown>().cloned();
    let peer = Shown::peer(shown.as_ref(), request.peer_addr());
    let gone = shown.filter(|s| s.protocol == Protocol::Http2).map(|s| s.gone.token());
    let body = match tokio::time::timeout(BODY_TIMEOUT, read(&mut request)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return Ok(convert::failure(&error)),
        Err(_) => {
            return Ok(convert::failure(&ApiError::new(
                Reason::Timeout,
                "the request body did not arrive in time",
            )));
        }
    };
    let converted = convert::request(request.head(), body);
    // the connection's data must not be kept alive by a watch, or its end would go unnoticed
    drop(request);
    match converted {
        Ok(request) => {
            let response =
                InRuntime { runtime: state.runtime.clone(), future: state.serve.serve(request, peer) }.await;
            Ok(convert::response(response, state.runtime, gone))
        }
        Err(why) => Ok(convert::failure(&ApiError::bad_request(why))),
    }
}

async fn read(request: &mut actix_http::Request) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::request_too_large(MAX_BODY);
    let announced = request.headers().get(actix_http::header::CONTENT_LENGTH);
    let announced =
        announced.and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok()).unwrap_or(0);
    let mut payload = request.take_payload();
    let mut body = BytesMut::with_capacity(announced.min(MAX_BODY));
    let mut length = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|e| ApiError::bad_request(format!("cannot read the request body: {e}")))?;
        length += chunk.len();
        // most clients read the answer only when they have sent everything: what is too much is read and dropped
        if length > MAX_DROPPED {
            return Err(too_large());
        }
        if length <= MAX_BODY {
            body.extend_from_slice(&chunk);
        }
    }
    if length > MAX_BODY { Err(too_large()) } else { Ok(body.freeze()) }
}

/// Polls a future inside the daemon's runtime context: what it spawns, and its timers, live there.
pub(super) struct InRuntime<F> {
    pub(super) runtime: Handle,
    pub(super) future: F,
}

impl<F: Future + Unpin> Future for InRuntime<F> {
    type Output = F::Output;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<F::Output> {
        let runtime = self.runtime.clone();
        let _context = runtime.enter();
        std::pin::Pin::new(&mut self.future).poll(cx)
    }
}

/// The peer of a connection that showed nothing.
fn stranger(remote: Option<SocketAddr>) -> Peer {
    let remote = remote.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
    Peer::Tls { certificates: Default::default(), remote }
}

#[cfg(test)]
mod tests;
