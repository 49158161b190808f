//! exec and attach over WebSocket and over SPDY.

use bytes::Bytes;
use sampan_cri::{RuntimeError, TerminalSize};
use sampan_process::BoxedIo;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::remote::{self, Output, Wanted};
use super::spdy::{Connection, Sending, Stream};
use super::websocket::{Message, Socket};

/// Opens the session once the client is connected.
pub type Open = futures::future::BoxFuture<'static, Result<remote::Opened, RuntimeError>>;

const WAITING: usize = 16;

/// Subprotocols of WebSocket, by preference.
pub const WEBSOCKET: [&str; 6] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];
/// Protocols over SPDY, by preference.
pub const SPDY: [&str; 4] = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// Serves a session over a WebSocket.
pub async fn websocket(io: BoxedIo, protocol: &str, wanted: Wanted, open: Open) {
    let base64 = protocol.contains("base64");
    let with_status = protocol.starts_with('v');
    let (mut reader, mut writer) = Socket::server(io, base64).await.split();
    let (stdin, stdin_rx) = channel(WAITING);
    let (resize, resize_rx) = channel(WAITING);
    let (output, mut output_rx) = channel(WAITING);
    // tells the client that the connection stands, as upstream's createWebSocketStreams does
    let first = if wanted.stdout {
        1
    } else if wanted.stderr {
        2
    } else {
        3
    };
    writer.send(first, Bytes::new()).await;
    let session = async move {
        match open.await {
            Ok(session) => remote::run(session, stdin_rx, resize_rx, output).await,
            Err(error) => Some(Err(error)),
        }
    };
    let write = async {
        while let Some(output) = output_rx.recv().await {
            let (channel, data) = match output {
                Output::Stdout(data) => (1, data),
                Output::Stderr(data) => (2, data),
            };
            if !writer.send(channel, data).await {
                return false;
            }
        }
        true
    };
    let read = read_websocket(&mut reader, stdin, resize);
    let both = async { tokio::join!(session, write) };
    tokio::select! {
        (result, _) = both => {
            if let Some(text) = result.and_then(|result| remote::farewell(&result, with_status)) {
                writer.send(3, text.into()).await;
            }
            writer.close().await;
        }
        () = read => {}
    }
}

/// Takes the client's messages until it hangs up.
async fn read_websocket(
    reader: &mut super::websocket::Reader,
    stdin: Sender<Bytes>,
    resize: Sender<TerminalSize>,
) {
    let mut stdin = Some(stdin);
    while let Some(Message { channel, data }) = reader.next().await {
        match channel {
            0 => {
                if let Some(stdin) = &stdin {
                    let _ = stdin.send(data).await;
                }
            }
            4 => {
                if let Some(size) = remote::size_of(&data) {
                    let _ = resize.send(size).await;
                }
            }
            // v5: the client closes one of its channels
            255 if data.first() == Some(&0) => stdin = None,
            _ => {}
        }
    }
}

#[derive(Default)]
struct Streams {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Streams {
    fn complete(&self, wanted: Wanted, resizes: bool) -> bool {
        self.error.is_some()
            && (self.stdin.is_some() || !wanted.stdin)
            && (self.stdout.is_some() || !wanted.stdout)
            && (self.stderr.is_some() || !wanted.stderr || wanted.tty)
            && (self.resize.is_some() || !(wanted.tty && resizes))
    }

    fn take(&mut self, stream: Stream) {
        let kind = stream.header("streamtype").unwrap_or_default().to_owned();
        match kind.as_str() {
            "error" => self.error = Some(stream),
            "stdin" => self.stdin = Some(stream),
            "stdout" => self.stdout = Some(stream),
            "stderr" => self.stderr = Some(stream),
            "resize" => self.resize = Some(stream),
            other => tracing::debug!(other, "unknown stream type"),
        }
    }
}

/// Serves a session over SPDY.
pub async fn spdy(io: BoxedIo, protocol: &str, wanted: Wanted, open: Open) {
    let (mut connection, work) = Connection::new(io);
    let resizes = matches!(protocol, "v3.channel.k8s.io" | "v4.channel.k8s.io");
    let with_status = protocol == "v4.channel.k8s.io";
    let serve = async move {
        let mut streams = Streams::default();
        while !streams.complete(wanted, resizes) {
            let Some(stream) = connection.next().await else { return };
            streams.take(stream);
        }
        serve_spdy(streams, with_status, open).await;
        connection.go_away().await;
        // the writer ends the connection once that is out
        while connection.next().await.is_some() {}
    };
    tokio::join!(serve, work);
}

async fn serve_spdy(streams: Streams, with_status: bool, open: Open) {
    let Some(error) = streams.error else { return };
    let (resize, resize_rx) = channel(WAITING);
    let (output, mut output_rx) = channel(WAITING);
    let (stdout, stderr) = (streams.stdout.map(|s| s.sending()), streams.stderr.map(|s| s.sending()));
    let (_keep, nothing) = channel(1);
    let stdin = streams.stdin.map_or(nothing, |stream| stream.incoming);
    let session = async move {
        match open.await {
            Ok(session) => remote::run(session, stdin, resize_rx, output).await,
            Err(error) => Some(Err(error)),
        }
    };
    let write = async {
        while let Some(output) = output_rx.recv().await {
            let (to, data) = match output {
                Output::Stdout(data) => (&stdout, data),
                Output::Stderr(data) => (&stderr, data),
            };
            if let Some(to) = to
                && !to.send(data).await
            {
                return;
            }
        }
    };
    let sizes = pump_sizes(streams.resize.map(|stream| stream.incoming), resize);
    let error = error.sending();
    let result = tokio::select! {
        (result, ()) = async { tokio::join!(session, write) } => result,
        () = error.closed() => None,
        () = sizes => None,
    };
    if let Some(text) = result.and_then(|result| remote::farewell(&result, with_status)) {
        error.send(text.into()).await;
    }
    for half in [Some(error), stdout, stderr].into_iter().flatten() {
        Sending::finish(&half).await;
    }
}

/// Passes terminal sizes on; never ends.
async fn pump_sizes(from: Option<Receiver<Bytes>>, resize: Sender<TerminalSize>) {
    if let Some(mut from) = from {
        while let Some(data) = from.recv().await {
            if let Some(size) = remote::size_of(&data) {
                let _ = resize.send(size).await;
            }
        }
    }
    std::future::pending().await
}
