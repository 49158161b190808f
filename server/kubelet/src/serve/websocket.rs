//! Kubernetes' channels in WebSocket messages: the first byte of a message is its channel
//! (upstream's `apimachinery/pkg/util/httpstream/wsstream`). Also a plain byte stream in binary messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use sampan_process::BoxedIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Raw;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

/// A message on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its channel.
    pub channel: u8,
    /// Its content.
    pub data: Bytes,
}

/// A WebSocket after its handshake.
pub struct Socket {
    inner: WebSocketStream<BoxedIo>,
    base64: bool,
}

/// Its receiving half.
pub struct Reader {
    inner: SplitStream<WebSocketStream<BoxedIo>>,
    base64: bool,
}

/// Its sending half.
pub struct Writer {
    inner: SplitSink<WebSocketStream<BoxedIo>, Raw>,
    base64: bool,
}

impl Socket {
    /// The server's side of a connection whose heads are exchanged.
    pub async fn server(io: BoxedIo, base64: bool) -> Self {
        Self { inner: WebSocketStream::from_raw_socket(io, Role::Server, None).await, base64 }
    }

    /// Both halves.
    pub fn split(self) -> (Reader, Writer) {
        let (sink, stream) = self.inner.split();
        (Reader { inner: stream, base64: self.base64 }, Writer { inner: sink, base64: self.base64 })
    }
}

impl Reader {
    /// The next message; `None` once the client has gone.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            let bytes: Bytes = match self.inner.next().await?.ok()? {
                Raw::Binary(bytes) => bytes,
                Raw::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
                Raw::Close(_) => return None,
                _ => continue,
            };
            let Some(first) = bytes.first().copied() else { continue };
            if !self.base64 {
                return Some(Message { channel: first, data: bytes.slice(1..) });
            }
            let data = STANDARD.decode(&bytes[1..]).ok()?;
            return Some(Message { channel: first.wrapping_sub(b'0'), data: data.into() });
        }
    }
}

impl Writer {
    /// Sends a message; `false` if the client has gone.
    pub async fn send(&mut self, channel: u8, data: Bytes) -> bool {
        let message = if self.base64 {
            Raw::text(format!("{}{}", char::from(b'0' + channel), STANDARD.encode(&data)))
        } else {
            let mut bytes = BytesMut::with_capacity(1 + data.len());
            bytes.put_u8(channel);
            bytes.put_slice(&data);
            Raw::Binary(bytes.freeze())
        };
        self.inner.send(message).await.is_ok()
    }

    /// Says goodbye. client-go takes a close without status 1000 for an error.
    pub async fn close(&mut self) {
        let _ = self.inner.send(normal_end()).await;
        let _ = self.inner.close().await;
    }
}

/// The close message of an end that nothing is wrong with.
fn normal_end() -> Raw {
    Raw::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// A byte stream carried in binary messages, for SPDY tunnelled in a WebSocket. The returned future does the
/// work.
pub async fn tunnel(io: BoxedIo) -> (BoxedIo, impl Future<Output = ()> + Send) {
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    let (mut sink, mut stream) = socket.split();
    let (near, far) = tokio::io::duplex(64 << 10);
    let (mut from, mut to) = tokio::io::split(far);
    let work = async move {
        let inward = async {
            while let Some(Ok(message)) = stream.next().await {
                let done = match message {
                    Raw::Binary(bytes) => to.write_all(&bytes).await.is_err(),
                    Raw::Close(_) => true,
                    _ => false,
                };
                if done {
                    break;
                }
            }
            let _ = to.shutdown().await;
        };
        let outward = async {
            let mut buffer = vec![0; 32 << 10];
            while let Ok(count) = from.read(&mut buffer).await {
                let message = Raw::Binary(Bytes::copy_from_slice(&buffer[..count]));
                if count == 0 || sink.send(message).await.is_err() {
                    break;
                }
            }
            let _ = sink.send(normal_end()).await;
            let _ = sink.close().await;
        };
        tokio::join!(inward, outward);
    };
    (Box::new(near), work)
}
