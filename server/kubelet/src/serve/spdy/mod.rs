//! SPDY/3.1, as much of it as Kubernetes' streams use: upstream's `moby/spdystream`.
//!
//! The other side opens streams; each is told by its headers. There is no flow control: spdystream has none
//! either. Frames and header compression are in [`frame`].

pub mod frame;

use std::collections::HashMap;

use bytes::Bytes;
use sampan_process::BoxedIo;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};

use frame::{Frame, HeaderReader, HeaderWriter, Headers, read_frame};

/// Data frames waiting for a slow reader of one stream.
const WAITING: usize = 32;
/// Largest data frame sent.
const CHUNK: usize = 32 << 10;

enum Out {
    Reply(u32),
    Data(u32, Bytes, bool),
    Ping(u32),
    Reset(u32),
    GoAway,
}

/// A stream the other side opened.
pub struct Stream {
    /// Its number.
    pub id: u32,
    /// Its headers, names in lower case.
    pub headers: Headers,
    /// What the other side sends; ends with its half.
    pub incoming: Receiver<Bytes>,
    out: Sending,
}

/// The sending half of a stream.
#[derive(Clone)]
pub struct Sending {
    id: u32,
    out: Sender<Out>,
}

impl Sending {
    /// Sends data; `false` if the connection is gone.
    pub async fn send(&self, data: Bytes) -> bool {
        let mut data = data;
        while !data.is_empty() {
            let chunk = data.split_to(data.len().min(CHUNK));
            if self.out.send(Out::Data(self.id, chunk, false)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Ends our half.
    pub async fn finish(&self) {
        let _ = self.out.send(Out::Data(self.id, Bytes::new(), true)).await;
    }

    /// Resolves once the connection is gone.
    pub async fn closed(&self) {
        self.out.closed().await;
    }
}

impl Stream {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// The sending half.
    pub fn sending(&self) -> Sending {
        self.out.clone()
    }
}

/// A connection; streams arrive at `next`.
pub struct Connection {
    streams: UnboundedReceiver<Stream>,
    out: Sender<Out>,
}

impl Connection {
    /// Serves SPDY over `io`; the returned future does the work and has to be driven.
    pub fn new(io: BoxedIo) -> (Self, impl Future<Output = ()> + Send) {
        let (reader, writer) = tokio::io::split(io);
        let (out, outgoing) = channel(64);
        let (accept, streams) = unbounded_channel();
        let read = read(reader, accept, out.clone());
        let connection = Self { streams, out };
        (connection, async move {
            // either end is the end of both: the writer once all senders are gone, the reader at end of file
            tokio::select! {
                () = write(writer, outgoing) => {}
                () = read => {}
            }
        })
    }

    /// The next stream; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Stream> {
        self.streams.recv().await
    }

    /// Says goodbye.
    pub async fn go_away(&self) {
        let _ = self.out.send(Out::GoAway).await;
    }
}

async fn write(mut writer: WriteHalf<BoxedIo>, mut outgoing: Receiver<Out>) {
    let mut headers = HeaderWriter::new();
    while let Some(out) = outgoing.recv().await {
        let last = matches!(out, Out::GoAway);
        let bytes = match out {
            Out::Reply(id) => frame::syn_reply(id, &mut headers),
            Out::Data(id, data, fin) => frame::data(id, &data, fin),
            Out::Ping(id) => frame::ping(id),
            Out::Reset(id) => frame::reset(id),
            Out::GoAway => frame::go_away(),
        };
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return;
        }
        if last {
            let _ = writer.shutdown().await;
            return;
        }
    }
}

async fn read(mut reader: ReadHalf<BoxedIo>, accept: UnboundedSender<Stream>, out: Sender<Out>) {
    let mut headers = HeaderReader::new();
    let mut open: HashMap<u32, Sender<Bytes>> = HashMap::new();
    while let Ok(Some(frame)) = read_frame(&mut reader).await {
        match frame {
            Frame::SynStream { id, fin, block } => {
                let Ok(headers) = headers.read(&block) else { return };
                let (sender, incoming) = channel(WAITING);
                if !fin {
                    open.insert(id, sender);
                }
                let stream = Stream { id, headers, incoming, out: Sending { id, out: out.clone() } };
                let known = out.send(Out::Reply(id)).await.is_ok();
                if !known || accept.send(stream).is_err() {
                    let _ = out.send(Out::Reset(id)).await;
                }
            }
            Frame::Headers { block } => {
                // the decompressor has to see every block
                if headers.read(&block).is_err() {
                    return;
                }
            }
            Frame::Data { id, fin, data } => {
                if let Some(sender) = open.get(&id).filter(|_| !data.is_empty()) {
                    // a stream nobody reads any more swallows what comes
                    let _ = sender.send(data).await;
                }
                if fin {
                    open.remove(&id);
                }
            }
            Frame::Reset { id } => _ = open.remove(&id),
            Frame::Ping { id } => _ = out.send(Out::Ping(id)).await,
            Frame::GoAway => return,
            Frame::Other => {}
        }
    }
}
