//! Questions in streams: many in one connection, answered as they become ready, within limits of connections, of
//! questions that wait, and of time in which nothing is asked.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, SinkExt, StreamExt};
use sampan_process::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::answer::{TCP_BYTES, Transport};
use crate::responder::{Outcome, Responder};

/// Most connections at one time.
const MOST_CONNECTIONS: usize = 256;
/// Most questions of one connection that wait for an upstream.
const MOST_WAITING: usize = 32;
/// A connection in which nothing is asked for so long is closed (CoreDNS's, too).
const IDLE: Duration = Duration::from_secs(10);
/// Who does not take an answer for so long gets none.
const SEND: Duration = Duration::from_secs(5);
/// Between attempts to accept, if one failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves streams.
pub struct Tcp {
    listener: TcpListener,
    responder: Arc<Responder>,
    tasks: Tasks,
    room: Arc<Semaphore>,
}

impl Tcp {
    /// Serves connections to `listener`, each in a task of its own.
    pub fn new(listener: TcpListener, responder: Arc<Responder>, tasks: Tasks) -> Self {
        Self { listener, responder, tasks, room: Arc::new(Semaphore::new(MOST_CONNECTIONS)) }
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// None that it could not go on after.
    pub async fn run(self) -> io::Result<()> {
        loop {
            // waits for room before it accepts: more wait in the kernel
            let Ok(permit) = self.room.clone().acquire_owned().await else { return Ok(()) };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                // of that one connection
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    // too many open files, say: questions over UDP are answered all the same
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let connection =
                Connection { responder: self.responder.clone(), waiting: FuturesUnordered::new() };
            self.tasks.spawn_until_drain("connection", async move {
                // a connection that ends in the middle is the client's affair
                let _ = connection.serve(stream).await;
                drop(permit);
            });
        }
    }
}

struct Connection {
    responder: Arc<Responder>,
    waiting: FuturesUnordered<BoxFuture<'static, Vec<u8>>>,
}

impl Connection {
    async fn serve(mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let codec =
            LengthDelimitedCodec::builder().length_field_length(2).max_frame_length(TCP_BYTES).new_codec();
        let mut frames = Framed::new(stream, codec);
        let mut idle = Instant::now() + IDLE;
        loop {
            let answer = tokio::select! {
                frame = frames.next(), if self.waiting.len() < MOST_WAITING => match frame {
                    Some(frame) => self.take(&frame?),
                    None => break,
                },
                Some(answer) = self.waiting.next() => Some(Bytes::from(answer)),
                () = sleep_until(idle), if self.waiting.is_empty() => return Ok(()),
            };
            idle = Instant::now() + IDLE;
            if let Some(answer) = answer {
                timeout(SEND, frames.send(answer)).await??;
            }
        }
        // what was asked before the end is answered
        while let Some(answer) = self.waiting.next().await {
            timeout(SEND, frames.send(Bytes::from(answer))).await??;
        }
        Ok(())
    }

    fn take(&mut self, packet: &BytesMut) -> Option<Bytes> {
        let mut buffer = vec![0; TCP_BYTES];
        buffer[..packet.len()].copy_from_slice(packet);
        let zone = self.responder.zone();
        match self.responder.answer(&zone, &mut buffer, packet.len(), Transport::Tcp, 0) {
            Outcome::Reply(length) => {
                buffer.truncate(length);
                buffer.shrink_to_fit();
                Some(buffer.into())
            }
            Outcome::Later(later) => {
                let responder = self.responder.clone();
                self.waiting.push(async move { responder.finish(later, Transport::Tcp).await }.boxed());
                None
            }
            Outcome::Silence => None,
        }
    }
}
