//! Port forwarding: over SPDY (plain or tunnelled in a WebSocket) and over the older WebSocket channels.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use sampan_cri::RuntimeError;
use sampan_process::BoxedIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::spdy::{Connection, Sending, Stream};
use super::websocket::Socket;

/// Connects to a port of the pod.
pub type Connect = Arc<dyn Fn(u16) -> BoxFuture<'static, Result<BoxedIo, RuntimeError>> + Send + Sync>;

/// The protocol's name over SPDY.
pub const PROTOCOL: &str = "portforward.k8s.io";
/// Its name when SPDY is tunnelled.
pub const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// Serves streams in pairs of `error` and `data` until the client goes.
pub async fn spdy(io: BoxedIo, connect: Connect) {
    let (mut connection, work) = Connection::new(io);
    let serve = async move {
        let mut waiting: HashMap<String, Stream> = HashMap::new();
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                stream = connection.next() => {
                    let Some(stream) = stream else { return };
                    let key = request_id(&stream);
                    match waiting.remove(&key) {
                        None => _ = waiting.insert(key, stream),
                        Some(other) => running.push(pair(stream, other, connect.clone())),
                    }
                }
                Some(()) = running.next() => {}
            }
        }
    };
    tokio::select! {
        () = serve => {}
        () = work => {}
    }
}

/// Streams of one connection share a request id; clients before 1.5 send none, but open error and data in
/// turn.
fn request_id(stream: &Stream) -> String {
    match stream.header("requestid") {
        Some(id) => id.to_owned(),
        None if stream.header("streamtype") == Some("error") => stream.id.to_string(),
        None => stream.id.saturating_sub(2).to_string(),
    }
}

async fn pair(one: Stream, other: Stream, connect: Connect) {
    let data_first = one.header("streamtype") == Some("data");
    let (data, error) = if data_first { (one, other) } else { (other, one) };
    let port = data.header("port").and_then(|port| port.parse().ok()).unwrap_or(0);
    let (sending, errors) = (data.sending(), error.sending());
    if let Err(why) = carry(port, data.incoming, &sending, connect).await {
        let text = format!("error forwarding port {port} to pod: {why}");
        errors.send(text.into()).await;
    }
    sending.finish().await;
    errors.finish().await;
}

async fn carry(
    port: u16,
    mut incoming: Receiver<Bytes>,
    out: &Sending,
    connect: Connect,
) -> Result<(), String> {
    let io = connect(port).await.map_err(|e| e.to_string())?;
    let (mut reader, mut writer) = tokio::io::split(io);
    let inward = async {
        while let Some(data) = incoming.recv().await {
            if writer.write_all(&data).await.is_err() {
                break;
            }
        }
        let _ = writer.shutdown().await;
    };
    let outward = async {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(count) = reader.read(&mut buffer).await {
            if count == 0 || !out.send(Bytes::copy_from_slice(&buffer[..count])).await {
                break;
            }
        }
        out.finish().await;
    };
    tokio::join!(inward, outward);
    Ok(())
}

/// Serves the older protocol: the ports are in the query, port *i* has channels 2*i* (data) and 2*i*+1 (error),
/// each of which begins with its port number.
pub async fn websocket(io: BoxedIo, ports: Vec<u16>, base64: bool, connect: Connect) {
    let (mut reader, mut writer) = Socket::server(io, base64).await.split();
    let (out, mut outgoing) = channel::<(u8, Bytes)>(64);
    let mut inputs: Vec<Sender<Bytes>> = Vec::new();
    let mut running = FuturesUnordered::new();
    for (index, port) in ports.into_iter().enumerate().take(100) {
        let (input, incoming) = channel(16);
        inputs.push(input);
        let data = u8::try_from(index * 2).unwrap_or(u8::MAX);
        let number = Bytes::copy_from_slice(&port.to_le_bytes());
        writer.send(data, number.clone()).await;
        writer.send(data + 1, number).await;
        running.push(channel_pair(port, data, incoming, out.clone(), connect.clone()));
    }
    drop(out);
    let read = async {
        while let Some(message) = reader.next().await {
            if let Some(input) =
                inputs.get(usize::from(message.channel / 2)).filter(|_| message.channel % 2 == 0)
            {
                let _ = input.send(message.data).await;
            }
        }
    };
    let write = async {
        while let Some((channel, data)) = outgoing.recv().await {
            if !writer.send(channel, data).await {
                return;
            }
        }
        writer.close().await;
    };
    let work = async { while running.next().await.is_some() {} };
    tokio::select! {
        () = read => {}
        ((), ()) = async { tokio::join!(write, work) } => {}
    }
}

async fn channel_pair(
    port: u16,
    data: u8,
    mut incoming: Receiver<Bytes>,
    out: Sender<(u8, Bytes)>,
    connect: Connect,
) {
    let io = match connect(port).await {
        Ok(io) => io,
        Err(error) => {
            let _ =
                out.send((data + 1, format!("error forwarding port {port} to pod: {error}").into())).await;
            return;
        }
    };
    let (mut reader, mut writer) = tokio::io::split(io);
    let inward = async {
        while let Some(bytes) = incoming.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await
    };
    let outward = async {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(count) = reader.read(&mut buffer).await {
            if count == 0 || out.send((data, Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = inward => {}
        () = outward => {}
    }
}
