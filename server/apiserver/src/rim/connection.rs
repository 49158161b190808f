//! One accepted TLS connection: who it is from, and the first bytes it sent.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::{Extensions, Protocol};
use actix_rt::net::TcpStream;
use actix_tls::accept::rustls_0_23::TlsStream;
use bytes::{Buf, Bytes, BytesMut};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Certificates, Peer};

/// The header in which the original `Upgrade` of a SPDY request travels through actix.
pub(super) const MARK: &str = "x-sampan-upgrade";
/// A longer head is not looked at.
const HEAD_LIMIT: usize = 64 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(32);

/// A connection whose first bytes may have been read already.
pub(super) struct Connection<T = TlsStream<TcpStream>> {
    io: T,
    early: Bytes,
    shown: Option<(Certificates, Protocol)>,
}

/// What the requests of one connection know of it.
#[derive(Clone)]
pub(super) struct Shown {
    certificates: Certificates,
    pub(super) protocol: Protocol,
    pub(super) gone: Gone,
}

/// Tells when the connection's own data was dropped.
#[derive(Clone)]
pub(super) struct Gone(CancellationToken);

impl Gone {
    pub(super) fn token(&self) -> CancellationToken {
        self.0.clone()
    }
}

/// Kept in the connection's data only: its drop is the connection's end.
struct Open(#[allow(dead_code)] DropGuard);

impl Shown {
    pub(super) fn peer(shown: Option<&Self>, remote: Option<SocketAddr>) -> Peer {
        match (super::stranger(remote), shown) {
            (Peer::Tls { remote, .. }, Some(shown)) => {
                Peer::Tls { certificates: shown.certificates.clone(), remote }
            }
            (stranger, _) => stranger,
        }
    }
}

impl Connection {
    /// Looks at ALPN, the client's certificate and, on HTTP/1.1, the first head.
    pub(super) async fn new(
        mut io: TlsStream<TcpStream>,
        clients: &dyn ClientCertVerifier,
    ) -> io::Result<(Self, Protocol, Option<SocketAddr>)> {
        let (stream, tls) = io.get_ref();
        let _ = stream.set_nodelay(true);
        let remote = stream.peer_addr().ok();
        let protocol = if tls.alpn_protocol() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
        let certificates = vouched(tls.peer_certificates().unwrap_or_default(), clients);
        let early = match protocol {
            Protocol::Http1 => tokio::time::timeout(HEAD_TIMEOUT, first_head(&mut io)).await??,
            _ => Bytes::new(),
        };
        Ok((Self { io, early, shown: Some((certificates, protocol)) }, protocol, remote))
    }

    /// Puts what is known into the connection's data, for its requests.
    pub(super) fn tell(&self, data: &mut Extensions) {
        if let Some((certificates, protocol)) = self.shown.clone() {
            let token = CancellationToken::new();
            data.insert(Open(token.clone().drop_guard()));
            data.insert(Shown { certificates, protocol, gone: Gone(token) });
        }
    }
}

/// The client's chain; in the place of one that is not the CA's a certificate that says nothing, so that whoever
/// shows it is refused, not taken for anonymous.
fn vouched(chain: &[CertificateDer<'_>], clients: &dyn ClientCertVerifier) -> Certificates {
    let Some((leaf, rest)) = chain.split_first() else { return Certificates::default() };
    let chain = match clients.verify_client_cert(leaf, rest, UnixTime::now()) {
        Ok(_) => chain.iter().map(|c| c.clone().into_owned()).collect(),
        Err(why) => {
            tracing::debug!(%why, "client certificate refused");
            vec![CertificateDer::from(Vec::new())]
        }
    };
    chain.into()
}

impl<T> Connection<T> {
    /// A connection from which `early` was read before.
    pub(super) fn resumed(io: T, early: Bytes) -> Self {
        Self { io, early, shown: None }
    }
}

/// Reads up to the end of the first head and marks a SPDY upgrade in it.
async fn first_head<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Bytes> {
    let mut head = BytesMut::with_capacity(2048);
    loop {
        if io.read_buf(&mut head).await? == 0 {
            return Ok(head.freeze());
        }
        if let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") {
            return Ok(mark(head.freeze(), end + 2));
        }
        if head.len() > HEAD_LIMIT {
            return Ok(head.freeze());
        }
    }
}

/// Rewrites `Upgrade: SPDY/3.1` so that actix hands over the connection; the original goes into [`MARK`].
fn mark(bytes: Bytes, head_end: usize) -> Bytes {
    let (head, rest) = bytes.split_at(head_end);
    let lines = || head.split_inclusive(|b| *b == b'\n');
    let value = |line: &[u8]| -> Option<Vec<u8>> {
        let (name, value) = line.split_at(line.iter().position(|b| *b == b':')?);
        name.eq_ignore_ascii_case(b"upgrade")
            .then(|| value.get(1..).unwrap_or_default().trim_ascii().to_vec())
    };
    let spdy = |line: &[u8]| value(line).filter(|v| v.len() >= 5 && v.iter().take(5).eq_ignore(b"spdy/"));
    if !lines().any(|line| spdy(line).is_some()) {
        return bytes;
    }
    let mut out = BytesMut::with_capacity(bytes.len() + 64);
    for line in lines() {
        match spdy(line) {
            Some(original) => {
                out.extend_from_slice(b"Upgrade: websocket\r\n");
                out.extend_from_slice(MARK.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(&original);
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(line),
        }
    }
    out.extend_from_slice(rest);
    out.freeze()
}

/// Comparison of bytes without regard to case.
trait EqIgnore {
    fn eq_ignore(self, other: &[u8]) -> bool;
}

impl<'a, I: Iterator<Item = &'a u8>> EqIgnore for I {
    fn eq_ignore(self, other: &[u8]) -> bool {
        self.map(u8::to_ascii_lowercase).eq(other.iter().copied())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let n = self.early.len().min(buffer.remaining());
        buffer.put_slice(self.early.get(..n).unwrap_or_default());
        self.early.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// A connection both ways, as [`crate::Takeover`] takes it.
pub(super) fn boxed<T>(io: T, early: Bytes) -> sampan_process::BoxedIo
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Box::new(Connection::resumed(io, early))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_spdy_upgrade_is_marked() {
        let cases: [(&str, &str); 4] = [
            ("GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"),
            ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n", "GET / HTTP/1.1\r\nUpgrade: websocket\r\n"),
            (
                "POST /x HTTP/1.1\r\nupgrade:  SPDY/3.1\r\nA: b\r\n",
                "POST /x HTTP/1.1\r\nUpgrade: websocket\r\nx-sampan-upgrade: SPDY/3.1\r\nA: b\r\n",
            ),
            ("GET / HTTP/1.1\r\nX-Upgrade: SPDY/3.1\r\n", "GET / HTTP/1.1\r\nX-Upgrade: SPDY/3.1\r\n"),
        ];
        for (head, want) in cases {
            let bytes = Bytes::from(format!("{head}\r\nrest\r\nUpgrade: SPDY/3.1\r\n"));
            let got = mark(bytes, head.len());
            assert_eq!(got, format!("{want}\r\nrest\r\nUpgrade: SPDY/3.1\r\n"), "{head}");
        }
    }
}
