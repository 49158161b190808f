//! Connections to endpoints. Each worker has its own, so nothing is shared and nothing locks.
//!
//! An HTTP/1 connection has no task: it is driven by the request that has it ([`Link::drive`]), so that a request costs
//! one wake-up for each arrival of bytes. While it is idle nobody looks at it; whether the endpoint has closed it
//! shows when it is taken again. HTTP/2 connections carry many requests and have a task each.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::annotations::Protocol;
use crate::body::{Exchange, Upload};
use crate::deadline::Deadline;
use crate::wire::{Local, Wire, trusting};

/// How long a connection waits for its next request.
const IDLE: Duration = Duration::from_secs(60);
/// Most that wait for one endpoint.
const IDLE_MAX: usize = 256;

/// Where to, and in which protocol.
pub type Target = (SocketAddr, Protocol);
type H1 = Box<http1::Connection<TokioIo<Wire>, Upload>>;

/// The connections of one worker.
pub struct Pool {
    idle: RefCell<HashMap<Target, Vec<(Instant, Link)>>>,
    shared: RefCell<HashMap<Target, http2::SendRequest<Upload>>>,
    tls: Arc<rustls::ClientConfig>,
    tls_h2: Arc<rustls::ClientConfig>,
    sweeping: Cell<bool>,
}

/// A connection, for one request.
pub struct Link {
    kind: Kind,
    target: Target,
    pool: Rc<Pool>,
    /// Whether requests went by it before.
    pub reused: bool,
    /// Whether the endpoint takes another request after this one.
    pub kept: bool,
    /// When the endpoint has been silent for too long.
    pub deadline: Deadline,
}

enum Kind {
    H1 { sender: http1::SendRequest<Upload>, connection: H1, done: bool },
    H2(http2::SendRequest<Upload>),
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// It took too long.
    Slow,
    /// It was refused, or is not the protocol.
    Refused,
}

/// Why there is no answer.
pub enum Failure {
    /// Nothing of the request was sent.
    Unsent(Box<Request<Upload>>),
    /// The endpoint broke off, or what it said is no answer.
    Lost,
    /// It was silent for too long.
    Silent,
}

impl Pool {
    /// No connections yet.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            idle: RefCell::default(),
            shared: RefCell::default(),
            tls: trusting(b"http/1.1"),
            tls_h2: trusting(b"h2"),
            sweeping: Cell::new(false),
        })
    }

    /// A connection that is open already.
    pub async fn take(self: &Rc<Self>, target: Target) -> Option<Link> {
        if target.1.is_h2() {
            let sender = self.shared.borrow().get(&target).filter(|sender| !sender.is_closed()).cloned()?;
            return Some(self.link(Kind::H2(sender), target, true));
        }
        loop {
            let (_, mut link) = self.idle.borrow_mut().get_mut(&target)?.pop()?;
            if poll_fn(|cx| Poll::Ready(link.is_open(cx))).await {
                link.reused = true;
                return Some(link);
            }
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// See [`Unreachable`].
    pub async fn connect(self: &Rc<Self>, target: Target, patience: Duration) -> Result<Link, Unreachable> {
        timeout(patience, self.open(target)).await.map_err(|_| Unreachable::Slow)?.ok_or(Unreachable::Refused)
    }

    async fn open(self: &Rc<Self>, target: Target) -> Option<Link> {
        let (address, protocol) = target;
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let wire = match protocol {
            Protocol::Http | Protocol::H2c => Wire::Plain(stream),
            Protocol::Https => Wire::over_tls(stream, &self.tls, ServerName::from(address.ip())).await?,
            Protocol::H2 => Wire::over_tls(stream, &self.tls_h2, ServerName::from(address.ip())).await?,
        };
        let kind = match protocol.is_h2() {
            true => self.share(target, wire).await?,
            false => {
                let (sender, connection) = http1::handshake(TokioIo::new(wire)).await.ok()?;
                Kind::H1 { sender, connection: Box::new(connection), done: false }
            }
        };
        Some(self.link(kind, target, false))
    }

    fn link(self: &Rc<Self>, kind: Kind, target: Target, reused: bool) -> Link {
        Link { kind, target, pool: self.clone(), reused, kept: true, deadline: Deadline::default() }
    }

    async fn share(&self, target: Target, wire: Wire) -> Option<Kind> {
        let (sender, connection) = http2::Builder::new(Local).handshake(TokioIo::new(wire)).await.ok()?;
        // ends when no request and no pool has a sender
        tokio::task::spawn_local(connection);
        self.shared.borrow_mut().insert(target, sender.clone());
        Some(Kind::H2(sender))
    }

    fn put(self: &Rc<Self>, link: Link) {
        let mut idle = self.idle.borrow_mut();
        let waiting = idle.entry(link.target).or_default();
        if waiting.len() < IDLE_MAX {
            waiting.push((Instant::now(), link));
        }
        if !self.sweeping.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(self)));
        }
    }

    /// Closes what has waited too long; when to look again.
    fn clear(&self, now: Instant) -> Option<Instant> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|_, waiting| {
            // the last to come is the first to go out: the first are the oldest
            let old = waiting.partition_point(|(since, _)| *since + IDLE <= now);
            drop(waiting.drain(..old));
            !waiting.is_empty()
        });
        idle.values().filter_map(|waiting| Some(waiting.first()?.0 + IDLE)).min()
    }

    /// Closes all that wait.
    pub fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        drop(idle);
        self.shared.borrow_mut().clear();
    }
}

/// Lives as long as there is something to close.
async fn sweep(pool: std::rc::Weak<Pool>) {
    let mut next = Instant::now() + IDLE;
    loop {
        tokio::time::sleep_until(next.into()).await;
        let Some(pool) = pool.upgrade() else { return };
        match pool.clear(Instant::now()) {
            Some(due) => next = due,
            None => {
                pool.sweeping.set(false);
                return;
            }
        }
    }
}

impl Link {
    /// Whether the endpoint has not closed it, and it can take a request.
    fn is_open(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        match &self.kind {
            Kind::H1 { sender, done, .. } => !done && sender.is_ready(),
            Kind::H2(sender) => !sender.is_closed(),
        }
    }

    /// Lets an HTTP/1 connection work; whether there is one.
    pub fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        let Kind::H1 { connection, done, .. } = &mut self.kind else { return false };
        if !*done {
            *done = connection.poll_without_shutdown(cx).is_ready();
        }
        true
    }

    /// Sends a request; the head of the answer.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn send(
        &mut self,
        request: Request<Upload>,
        silence: Duration,
        exchange: &Exchange,
    ) -> Result<Response<Incoming>, Failure> {
        let Self { kind, deadline, .. } = self;
        let mut wait = |cx: &mut Context<'_>| {
            deadline.poll(cx, exchange.moved.get() + silence).map(|()| Err(Failure::Silent))
        };
        match kind {
            Kind::H1 { sender, connection, done } => {
                let mut sent = pin!(sender.try_send_request(request));
                poll_fn(|cx| {
                    if !*done {
                        *done = connection.poll_without_shutdown(cx).is_ready();
                    }
                    match sent.as_mut().poll(cx) {
                        Poll::Ready(answer) => Poll::Ready(answer.map_err(failure)),
                        Poll::Pending => wait(cx),
                    }
                })
                .await
            }
            Kind::H2(sender) => {
                let mut sent = pin!(sender.try_send_request(request));
                poll_fn(|cx| match sent.as_mut().poll(cx) {
                    Poll::Ready(answer) => Poll::Ready(answer.map_err(failure)),
                    Poll::Pending => wait(cx),
                })
                .await
            }
        }
    }

    /// Back to the pool, if it can take another request. The connection is not driven before the next one takes it: its
    /// buffer still has what the client has yet to be sent, so that it would have to get another.
    pub fn give_back(self) {
        if self.kept && matches!(self.kind, Kind::H1 { done: false, .. }) {
            let pool = self.pool.clone();
            pool.put(self);
        }
    }

    /// The bare connection after a switch of protocols, and what has come on it already.
    pub async fn switch(self) -> Option<(Wire, Bytes)> {
        let Kind::H1 { mut connection, done, .. } = self.kind else { return None };
        if !done {
            poll_fn(|cx| connection.poll_without_shutdown(cx)).await.ok()?;
        }
        let parts = connection.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }
}

fn failure(error: hyper::client::conn::TrySendError<Request<Upload>>) -> Failure {
    let mut error = error;
    match error.take_message() {
        Some(request) => Failure::Unsent(Box::new(request)),
        None => Failure::Lost,
    }
}
