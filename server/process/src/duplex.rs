//! A byte stream both ways, whatever carries it: a TLS connection, an upgraded request, a container's shell.

use tokio::io::{AsyncRead, AsyncWrite};

/// Anything that can be read from and written to, and handed between tasks.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An owned [`Duplex`]; rooms that must not know each other pass connections in this shape.
pub type BoxedIo = Box<dyn Duplex>;
