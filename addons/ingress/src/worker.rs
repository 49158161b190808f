//! A thread that serves: it accepts, and what it has accepted it keeps. Nothing of a request crosses threads.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdListener;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use arc_swap::ArcSwap;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sampan_addon::Drain;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::config::{Block, Limits};
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::forward::Forwarder;
use crate::gate::Gate;
use crate::spare::Spares;
use crate::table::Table;
use crate::upstream::Pool;
use crate::wire::Local;

/// Most requests at one time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// How an HTTP/2 connection without TLS begins; no method of HTTP/1 is so called.
const PREFACE: &[u8] = b"PRI ";
/// How long to wait when the process has no file descriptor left: accepting at once would fail again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// What all workers have in common.
#[derive(Clone)]
pub struct Shared {
    /// The routes and certificates.
    pub table: Arc<ArcSwap<Table>>,
    /// TLS with clients.
    pub tls: Arc<rustls::ServerConfig>,
    /// What clients are held to.
    pub limits: Limits,
    /// Proxies whose headers are believed.
    pub trusted: Vec<Block>,
    /// Where https is served, if it is.
    pub https_port: Option<u16>,
    /// Places for connections.
    pub places: Arc<Semaphore>,
    /// The end.
    pub drain: Drain,
}

/// A socket to accept from.
#[derive(Debug)]
pub struct Door {
    /// The socket, which does not block.
    pub listener: StdListener,
    /// Its port.
    pub port: u16,
    /// Whether clients speak TLS.
    pub tls: bool,
}

struct Worker {
    shared: Shared,
    forwarder: Forwarder,
    connections: TaskTracker,
}

/// Serves what comes through `doors` until the drain, and what has come until its end.
///
/// # Errors
/// The thread cannot have a runtime.
pub fn run(shared: Shared, doors: UnboundedReceiver<Door>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move { Rc::new(Worker::new(shared)).serve(doors).await });
    Ok(())
}

impl Worker {
    fn new(shared: Shared) -> Self {
        let connections = TaskTracker::new();
        let forwarder = Forwarder {
            table: shared.table.clone(),
            pool: Pool::new(),
            spares: Spares::default(),
            trusted: shared.trusted.clone(),
            https_port: shared.https_port,
            limits: shared.limits,
            tunnels: connections.clone(),
            drain: shared.drain.clone(),
        };
        Self { shared, forwarder, connections }
    }

    async fn serve(self: Rc<Self>, mut doors: UnboundedReceiver<Door>) {
        let drain = self.shared.drain.clone();
        let mut end = pin!(drain.wait());
        loop {
            tokio::select! {
                () = &mut end => break,
                Some(door) = doors.recv() => {
                    tokio::task::spawn_local(self.connections.track_future(self.clone().accept(door)));
                }
            }
        }
        self.connections.close();
        let _ = timeout(self.shared.limits.drain, self.connections.wait()).await;
        self.forwarder.pool.close();
    }

    async fn accept(self: Rc<Self>, door: Door) {
        let listener = match TcpListener::from_std(door.listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(port = door.port, %error, "socket not usable"),
        };
        let mut end = pin!(self.shared.drain.wait());
        loop {
            let (stream, peer) = tokio::select! {
                () = &mut end => return,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(port = door.port, %error, "connection not accepted");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            // who comes while there is no place waits in the kernel's queue
            let place = tokio::select! {
                () = &mut end => return,
                place = self.shared.places.clone().acquire_owned() => place.ok(),
            };
            let connection = Connection::new(peer, door.tls, door.port, place);
            let task = self.clone().connection(stream, connection);
            tokio::task::spawn_local(self.connections.track_future(task));
        }
    }

    async fn connection(self: Rc<Self>, stream: TcpStream, connection: Arc<Connection>) {
        let patience = self.shared.limits.header;
        let _ = stream.set_nodelay(true);
        let drain = self.shared.drain.wait();
        if !connection.tls {
            let http2 = tokio::select! {
                http2 = timeout(patience, begins_as_http2(&stream)) => http2,
                () = drain => return,
            };
            return match http2 {
                Ok(Ok(true)) => self.http2(stream, connection).await,
                Ok(Ok(false)) => self.http1(stream, connection).await,
                _ => {}
            };
        }
        let acceptor = TlsAcceptor::from(self.shared.tls.clone());
        let accepted = tokio::select! {
            accepted = timeout(patience, acceptor.accept(stream)) => accepted,
            () = drain => return,
        };
        let Ok(Ok(stream)) = accepted else { return };
        match stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            true => self.http2(stream, connection).await,
            false => self.http1(stream, connection).await,
        }
    }

    async fn http1<T>(self: Rc<Self>, io: T, connection: Arc<Connection>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let gate = Gate::http1(io, connection.clone(), self.shared.limits.header_bytes);
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.max_header_size(self.shared.limits.header_bytes).header_read_timeout(None);
        let (this, client) = (self.clone(), connection.clone());
        let service = service_fn(move |request| {
            let (this, client) = (this.clone(), client.clone());
            async move { Ok::<_, Infallible>(this.forwarder.handle(client, request).await) }
        });
        let serving = builder.serve_connection(TokioIo::new(gate), service).with_upgrades();
        let stop = |serving: Pin<&mut _>| {
            hyper::server::conn::http1::UpgradeableConnection::graceful_shutdown(serving);
            // a head that has only begun is not waited for
            connection.is_idle()
        };
        self.watch(pin!(serving), &connection, stop).await;
    }

    async fn http2<T>(self: Rc<Self>, io: T, connection: Arc<Connection>)
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let limits = &self.shared.limits;
        let gate = Gate::http2(io, connection.clone());
        let mut builder = hyper::server::conn::http2::Builder::new(Local);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(limits.client / 2)
            .keep_alive_timeout(limits.client / 2);
        let (this, client) = (self.clone(), connection.clone());
        let service = service_fn(move |request| {
            let (this, client) = (this.clone(), client.clone());
            async move { Ok::<_, Infallible>(this.forwarder.handle(client, request).await) }
        });
        let serving = builder.serve_connection(TokioIo::new(gate), service);
        let stop = |serving: Pin<&mut _>| {
            hyper::server::conn::http2::Connection::graceful_shutdown(serving);
            false
        };
        self.watch(pin!(serving), &connection, stop).await;
    }

    /// Runs a connection until it ends, breaks a deadline, or has been asked to end and has done so. `stop` asks it;
    /// whether it is over already.
    async fn watch<F: Future>(
        &self,
        mut serving: Pin<&mut F>,
        connection: &Connection,
        stop: impl Fn(Pin<&mut F>) -> bool,
    ) {
        let mut deadline = Deadline::default();
        let mut end = pin!(self.shared.drain.wait());
        let mut ending = false;
        std::future::poll_fn(|cx| {
            if !ending && end.as_mut().poll(cx).is_ready() {
                ending = true;
                if stop(serving.as_mut()) {
                    return Poll::Ready(());
                }
            }
            if serving.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            match connection.due(&self.shared.limits) {
                Some(due) => deadline.poll(cx, due),
                None => Poll::Pending,
            }
        })
        .await;
    }
}

/// Looks at the first bytes without taking them.
async fn begins_as_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    let count = stream.peek(&mut first).await?;
    Ok(count > 0 && PREFACE.starts_with(&first[..count]) && count == PREFACE.len())
}
