//! Bodies on their way through: passed on as they come, never gathered, never copied. What is not taken on one side is
//! not read on the other.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::connection::Busy;
use crate::upstream::Link;

/// Why a body ended before its end.
#[derive(Debug)]
pub enum Broken {
    /// It is larger than allowed.
    TooLarge,
    /// The client broke off or sent something malformed.
    Client(hyper::Error),
    /// The endpoint broke off.
    Upstream(hyper::Error),
    /// The endpoint was silent for too long.
    Silent,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::TooLarge => f.write_str("the body is larger than allowed"),
            Broken::Client(_) => f.write_str("the client broke off"),
            Broken::Upstream(_) => f.write_str("the endpoint broke off"),
            Broken::Silent => f.write_str("the endpoint was silent for too long"),
        }
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Broken::Client(error) | Broken::Upstream(error) => Some(error),
            Broken::TooLarge | Broken::Silent => None,
        }
    }
}

/// What both directions of a request know of each other.
#[derive(Debug)]
pub struct Exchange {
    /// When a part of the request's body was last sent.
    pub moved: Cell<Instant>,
    /// Whether its body was too large.
    pub too_large: Cell<bool>,
    /// Whether its body was broken.
    pub broken: Cell<bool>,
}

impl Exchange {
    /// One that begins.
    pub fn new() -> Rc<Self> {
        let moved = Cell::new(Instant::now());
        Rc::new(Self { moved, too_large: Cell::new(false), broken: Cell::new(false) })
    }
}

/// The body of a request on its way to an endpoint.
pub struct Upload {
    body: Option<Incoming>,
    /// How much more may come.
    left: u64,
    exchange: Rc<Exchange>,
}

impl Upload {
    /// `body`, of at most `most` bytes.
    pub fn new(body: Incoming, most: Option<u64>, exchange: Rc<Exchange>) -> Self {
        Self { body: Some(body), left: most.unwrap_or(u64::MAX), exchange }
    }

    /// Nothing.
    pub fn empty(exchange: Rc<Exchange>) -> Self {
        Self { body: None, left: 0, exchange }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match std::task::ready!(Pin::new(body).poll_frame(cx)) {
            None => Poll::Ready(None),
            Some(Err(error)) => {
                self.exchange.broken.set(true);
                Poll::Ready(Some(Err(Broken::Client(error))))
            }
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.exchange.moved.set(Instant::now());
                let Some(left) = self.left.checked_sub(length) else {
                    self.exchange.too_large.set(true);
                    return Poll::Ready(Some(Err(Broken::TooLarge)));
                };
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The body of an answer on its way to the client.
pub struct Answer {
    kind: Kind,
    busy: Option<Busy>,
}

enum Kind {
    Text(Option<Bytes>),
    Download(Download),
}

/// The body of an endpoint's answer, and the connection that it comes by.
pub struct Download {
    body: Incoming,
    link: Option<Link>,
    silence: Duration,
    exchange: Rc<Exchange>,
    /// Since when it is waited for.
    since: Option<Instant>,
}

impl Answer {
    /// A text.
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Text(Some(text.into())), busy: None }
    }

    /// Nothing.
    pub fn empty() -> Self {
        Self { kind: Kind::Text(None), busy: None }
    }

    /// What comes by `link`, each part within `silence` of the one before.
    pub fn download(body: Incoming, link: Link, silence: Duration, exchange: Rc<Exchange>) -> Self {
        let download = Download { body, link: Some(link), silence, exchange, since: None };
        Self { kind: Kind::Download(download), busy: None }
    }

    /// Keeps the connection busy until the end.
    pub fn keep(mut self, busy: Busy) -> Self {
        self.busy = Some(busy);
        self
    }
}

impl Download {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending() && self.drive(cx) {
            polled = Pin::new(&mut self.body).poll_frame(cx);
        }
        match polled {
            Poll::Pending => self.wait(cx),
            Poll::Ready(frame) => {
                self.since = None;
                if frame.is_none() {
                    self.finish();
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Broken::Upstream)))
            }
        }
    }

    /// Lets the connection work; whether there is one of our own to drive.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        self.link.as_mut().is_some_and(|link| link.drive(cx))
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(link) = &mut self.link else { return Poll::Pending };
        let since = *self.since.get_or_insert_with(Instant::now);
        let due = since.max(self.exchange.moved.get()) + self.silence;
        link.deadline.poll(cx, due).map(|()| Some(Err(Broken::Silent)))
    }

    /// Gives the connection back, if the answer has been read to its end.
    fn finish(&mut self) {
        if let Some(link) = self.link.take()
            && self.body.is_end_stream()
        {
            link.give_back();
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // a body of known length is not asked for its end
        self.finish();
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.kind {
            Kind::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Download(download) => download.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Text(text) => text.is_none(),
            Kind::Download(download) => download.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Download(download) => download.body.size_hint(),
        }
    }
}
