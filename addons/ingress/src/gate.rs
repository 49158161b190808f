//! The socket of a client, with the scan and the clock on its way to the parser.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::Connection;
use crate::scan::{Awaits, Refusal, Scan};

/// What the parser is given instead of what was refused, so that it answers 400: no header's name has a NUL.
const AMBIGUOUS: &[u8] = b"\0\r\n\r\n";
/// Ends a head that is too long, so that the parser sees that it is, and answers 431.
const TOO_LONG: &[u8] = b"\r\n\r\n";

/// A connection's bytes.
pub struct Gate<T> {
    io: T,
    connection: Arc<Connection>,
    /// `None` for HTTP/2, whose frames say how long they are.
    scan: Option<Scan>,
    /// What is left to say instead of what comes; empty and `Some`: the end.
    instead: Option<&'static [u8]>,
}

impl<T> Gate<T> {
    /// Of a connection that speaks HTTP/1.
    pub fn http1(io: T, connection: Arc<Connection>, head_max: usize) -> Self {
        Self { io, connection, scan: Some(Scan::new(head_max)), instead: None }
    }

    /// Of one that speaks HTTP/2.
    pub fn http2(io: T, connection: Arc<Connection>) -> Self {
        Self { io, connection, scan: None, instead: None }
    }

    /// Looks at what has come after `before`, and cuts off what is refused.
    fn look(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let count = buffer.filled().len() - before;
        let Some(scan) = self.scan.as_mut().filter(|_| !self.connection.opaque.load(Relaxed)) else {
            // any frame shows that the other side lives
            return self.connection.read(count, Awaits::Request);
        };
        match scan.feed(&buffer.filled()[before..]) {
            Ok(()) => self.connection.read(count, scan.awaits()),
            Err((refusal, fine)) => {
                buffer.set_filled(before + fine);
                self.instead = Some(match refusal {
                    Refusal::Ambiguous => AMBIGUOUS,
                    Refusal::TooLong => TOO_LONG,
                });
                self.say(buffer);
            }
        }
    }

    fn say(&mut self, buffer: &mut ReadBuf<'_>) {
        if let Some(text) = &mut self.instead {
            let (now, later) = text.split_at(text.len().min(buffer.remaining()));
            buffer.put_slice(now);
            *text = later;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gate<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.instead.is_some() {
            self.say(buffer);
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        match &read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => self.look(buffer, before),
            Poll::Ready(_) => {}
            Poll::Pending => self.connection.wants_to_read(),
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> Gate<T> {
    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Ready(Ok(count)) => self.connection.written(*count),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.wants_to_write(),
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gate<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [part] = parts {
            return self.poll_write(cx, part);
        }
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
