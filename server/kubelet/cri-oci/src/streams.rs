//! Streams of commands as tokio sees them.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sampan_cri::TerminalSize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::host::epoll;

/// Both ends of a pipe: ours does not block.
pub fn reader() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    epoll::nonblocking(read.as_raw_fd());
    Ok((pipe::Receiver::from_owned_fd(read)?, write))
}

/// Both ends of a pipe: ours does not block.
pub fn writer() -> io::Result<(pipe::Sender, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    epoll::nonblocking(write.as_raw_fd());
    Ok((pipe::Sender::from_owned_fd(write)?, read))
}

/// A terminal's master, or any other descriptor that reads and writes.
pub struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    /// Takes the descriptor.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        epoll::nonblocking(fd.as_raw_fd());
        // SAFETY: an owned descriptor never changes its number
        Ok(Terminal(unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)?))
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match epoll::read(guard.get_inner().as_raw_fd(), buffer.initialize_unfilled()) {
                // nobody has the terminal open any more: its end, as EIO says too
                Some(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                None => guard.clear_ready(),
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            match epoll::write(guard.get_inner().as_raw_fd(), data) {
                Some(0) if !data.is_empty() => guard.clear_ready(),
                Some(count) => return Poll::Ready(Ok(count)),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Applies sizes to a terminal until the sender is gone.
pub fn resizer(fd: OwnedFd) -> mpsc::Sender<TerminalSize> {
    let (sender, mut sizes) = mpsc::channel::<TerminalSize>(4);
    tokio::spawn(async move {
        while let Some(size) = sizes.recv().await {
            let window =
                libc::winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
            // SAFETY: `window` lives through the call
            unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &window) };
        }
    });
    sender
}
