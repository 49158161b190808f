//! After a switch of protocols: bytes both ways until either side ends, both are silent, or the ingress ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use sampan_addon::Drain;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};

use crate::connection::Connection;
use crate::upstream::Link;

/// Runs to its end. The client's connection keeps its place among all connections for as long.
pub async fn tunnel(
    client: Arc<Connection>,
    upgrade: OnUpgrade,
    link: Link,
    silence: Duration,
    drain: Drain,
) {
    let work = async {
        let (near, far) = tokio::join!(upgrade, link.switch());
        let (Ok(near), Some((mut far, early))) = (near, far) else { return };
        let clock = Clock { began: Instant::now(), last: AtomicU64::new(0) };
        let mut near = Noted { io: TokioIo::new(near), clock: &clock };
        if near.write_all(&early).await.is_ok() {
            tokio::select! {
                // either way it is over
                _ = copy_bidirectional(&mut near, &mut far) => {}
                () = clock.silent(silence) => {}
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = drain.wait() => {}
    }
    drop(client);
}

/// When bytes last passed, in milliseconds since the beginning.
struct Clock {
    began: Instant,
    last: AtomicU64,
}

impl Clock {
    fn touch(&self) {
        self.last.store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    async fn silent(&self, silence: Duration) {
        loop {
            let due = self.began + Duration::from_millis(self.last.load(Relaxed)) + silence;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due.into()).await;
        }
    }
}

/// The client's side, which tells the clock.
struct Noted<'a, T> {
    io: T,
    clock: &'a Clock,
}

impl<T: AsyncRead + Unpin> AsyncRead for Noted<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_ready() {
            self.clock.touch();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Noted<'_, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(cx, bytes);
        if wrote.is_ready() {
            self.clock.touch();
        }
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
