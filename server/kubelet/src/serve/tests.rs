//! Exec and port forwarding as clients see them, over in-memory connections.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use sampan_cri::{ContainerEvent, ContainerEventKind, ExecSession, PodIdentity};
use sampan_process::BoxedIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::exec::{self, Open};
use super::forward::{self, Connect};
use super::remote::Wanted;
use super::spdy::frame::{Frame, HeaderReader, HeaderWriter, data, read_frame, syn_stream};
use super::websocket;

/// A session that echoes its input to standard output and then exits with `code`.
fn echo(code: i32) -> Open {
    Box::pin(async move {
        let (near, far) = duplex(1024);
        let (reader, writer) = tokio::io::split(far);
        let (done, ended) = tokio::sync::oneshot::channel();
        let (near_read, near_write) = tokio::io::split(near);
        tokio::spawn(async move {
            let (mut reader, mut writer) = (reader, writer);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
            let _ = done.send(());
        });
        Ok(ExecSession {
            stdin: Some(Box::new(near_write)),
            stdout: Some(Box::new(near_read)),
            stderr: None,
            resize: None,
            exit: Box::pin(async move {
                let _ = ended.await;
                Ok(code)
            }),
        }
        .into())
    })
}

const BOTH: Wanted = Wanted { stdin: true, stdout: true, stderr: false, tty: false };

async fn client(protocol: &'static str, code: i32) -> WebSocketStream<DuplexStream> {
    let (near, far) = duplex(4096);
    let far: BoxedIo = Box::new(far);
    tokio::spawn(exec::websocket(far, protocol, BOTH, echo(code)));
    WebSocketStream::from_raw_socket(near, Role::Client, None).await
}

async fn binary(client: &mut WebSocketStream<DuplexStream>) -> Vec<u8> {
    match client.next().await.unwrap().unwrap() {
        Message::Binary(bytes) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn exec_over_websocket_v5_closes_stdin_and_tells_the_exit_code() {
    let mut client = client("v5.channel.k8s.io", 3).await;
    assert_eq!(binary(&mut client).await, [1], "the empty first message");
    client.send(Message::binary(b"\0hi".to_vec())).await.unwrap();
    assert_eq!(binary(&mut client).await, b"\x01hi");
    client.send(Message::binary(vec![255, 0])).await.unwrap();
    let status = binary(&mut client).await;
    let value: serde_json::Value = serde_json::from_slice(&status[1..]).unwrap();
    assert_eq!(status[0], 3);
    assert_eq!(
        (&value["reason"], &value["details"]["causes"][0]["message"]),
        (&"NonZeroExitCode".into(), &"3".into())
    );
}

#[tokio::test]
async fn attach_succeeds_whatever_the_container_ends_with() {
    let open: Open = Box::pin(async {
        echo(4).await.map(|opened| super::upgrade::without_exit_code(opened.session).into())
    });
    let (near, far) = duplex(4096);
    tokio::spawn(exec::websocket(Box::new(far), "v5.channel.k8s.io", BOTH, open));
    let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    assert_eq!(binary(&mut client).await, [1]);
    client.send(Message::binary(vec![255, 0])).await.unwrap();
    let status = binary(&mut client).await;
    let value: serde_json::Value = serde_json::from_slice(&status[1..]).unwrap();
    assert_eq!(value["status"], "Success");
}

#[tokio::test]
async fn attach_to_a_container_that_goes_on_ends_with_what_there_is_to_say() {
    let open: Open = Box::pin(async {
        // what is written is taken, and nothing ends
        let (near, far) = duplex(1024);
        let (near_read, near_write) = tokio::io::split(near);
        let exit = Box::pin(async move {
            let _far = far;
            std::future::pending().await
        });
        let (stdin, stdout): (Box<dyn tokio::io::AsyncWrite + Send + Unpin>, _) =
            (Box::new(near_write), Some(Box::new(near_read) as _));
        let session = ExecSession { stdin: Some(stdin), stdout, stderr: None, resize: None, exit };
        Ok(super::remote::Opened { session, ends_with_input: true })
    });
    let (near, far) = duplex(4096);
    tokio::spawn(exec::websocket(Box::new(far), "v5.channel.k8s.io", BOTH, open));
    let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    assert_eq!(binary(&mut client).await, [1]);
    client.send(Message::binary(b"\0hi".to_vec())).await.unwrap();
    client.send(Message::binary(vec![255, 0])).await.unwrap();
    let status = binary(&mut client).await;
    let value: serde_json::Value = serde_json::from_slice(&status[1..]).unwrap();
    assert_eq!((status[0], &value["status"]), (3, &"Success".into()));
}

#[tokio::test]
async fn missed_events_are_told_apart_from_the_end_of_a_container() {
    let event = |id: &str| ContainerEvent {
        container_id: id.to_owned(),
        sandbox_id: String::new(),
        pod: PodIdentity { namespace: String::new(), name: String::new(), uid: String::new() },
        kind: ContainerEventKind::Stopped,
    };
    let (sender, mut events) = tokio::sync::broadcast::channel(2);
    for id in ["a", "b", "c"] {
        sender.send(event(id)).unwrap();
    }
    assert!(!super::stopped(&mut events, "a").await, "its end was among the lost ones");
    assert!(super::stopped(&mut events, "c").await);
}

#[tokio::test]
async fn base64_channels() {
    let mut client = client("base64.channel.k8s.io", 0).await;
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("1"));
    client.send(Message::text("0aGk=")).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("1aGk="));
}

#[tokio::test]
async fn exec_over_spdy_v4() {
    let (near, far) = duplex(4096);
    let far: BoxedIo = Box::new(far);
    tokio::spawn(exec::spdy(far, "v4.channel.k8s.io", BOTH, echo(0)));
    let (mut reader, mut writer) = tokio::io::split(near);
    let (mut headers, mut replies) = (HeaderWriter::new(), HeaderReader::new());
    for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
        writer.write_all(&syn_stream(id, &[("streamtype", kind)], &mut headers)).await.unwrap();
        let Some(Frame::Headers { block }) = read_frame(&mut reader).await.unwrap() else {
            panic!("no reply")
        };
        assert_eq!(replies.read(&block).unwrap(), []);
    }
    writer.write_all(&data(3, b"hi", true)).await.unwrap();
    let mut said = Vec::new();
    while let Some(frame) = read_frame(&mut reader).await.unwrap() {
        match frame {
            Frame::Data { id, data, .. } if !data.is_empty() => {
                said.push((id, String::from_utf8(data.to_vec()).unwrap()))
            }
            Frame::GoAway => break,
            _ => {}
        }
    }
    let status = r#"{"metadata":{},"status":"Success"}"#.to_owned();
    assert_eq!(said, [(5, "hi".to_owned()), (1, status)]);
}

fn port_80_echoes() -> Connect {
    Arc::new(|port| {
        Box::pin(async move {
            if port != 80 {
                return Err(sampan_cri::RuntimeError::Internal("connection refused".to_owned()));
            }
            let (near, far) = duplex(1024);
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(far);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
            Ok(Box::new(near) as BoxedIo)
        })
    })
}

/// The first frame of the buffer, if all of it is there: a message may end within a frame.
async fn whole_frame(buffer: &mut Vec<u8>) -> Option<Frame> {
    let length =
        buffer.get(5..8).map(|b| usize::from(b[0]) << 16 | usize::from(b[1]) << 8 | usize::from(b[2]))?;
    if buffer.len() < 8 + length {
        return None;
    }
    let bytes: Vec<u8> = buffer.drain(..8 + length).collect();
    read_frame(&mut bytes.as_slice()).await.unwrap()
}

#[tokio::test]
async fn port_forward_tunnelled_in_a_websocket() {
    let (near, far) = duplex(4096);
    tokio::spawn(async move {
        let (io, work) = websocket::tunnel(Box::new(far)).await;
        tokio::join!(forward::spdy(io, port_80_echoes()), work);
    });
    let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let mut headers = HeaderWriter::new();
    for (id, kind, port) in [(1, "error", "80"), (3, "data", "80"), (5, "error", "81"), (7, "data", "81")] {
        let request = if port == "80" { "0" } else { "1" };
        let pairs = [("streamtype", kind), ("port", port), ("requestid", request)];
        client.send(Message::binary(syn_stream(id, &pairs, &mut headers))).await.unwrap();
    }
    client.send(Message::binary(data(3, b"ping", true))).await.unwrap();
    let (mut pong, mut refused) = (None, None);
    let mut buffer: Vec<u8> = Vec::new();
    while pong.is_none() || refused.is_none() {
        let Message::Binary(bytes) = client.next().await.unwrap().unwrap() else { continue };
        buffer.extend_from_slice(&bytes);
        while let Some(frame) = whole_frame(&mut buffer).await {
            match frame {
                Frame::Data { id: 3, data, .. } if !data.is_empty() => pong = Some(data),
                Frame::Data { id: 5, data, .. } if !data.is_empty() => refused = Some(data),
                _ => {}
            }
        }
    }
    assert_eq!(pong.unwrap(), Bytes::from_static(b"ping"));
    assert_eq!(refused.unwrap(), Bytes::from_static(b"error forwarding port 81 to pod: connection refused"));
}

#[tokio::test]
async fn port_forward_over_the_older_channels() {
    let (near, far) = duplex(4096);
    tokio::spawn(forward::websocket(Box::new(far), vec![80], false, port_80_echoes()));
    let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    assert_eq!(binary(&mut client).await, [0, 80, 0]);
    assert_eq!(binary(&mut client).await, [1, 80, 0]);
    client.send(Message::binary(b"\0ping".to_vec())).await.unwrap();
    assert_eq!(binary(&mut client).await, b"\0ping");
}

#[tokio::test]
async fn a_connection_that_closes_ends_the_session() {
    let (near, far) = duplex(4096);
    let served = tokio::spawn(exec::websocket(Box::new(far), "v4.channel.k8s.io", BOTH, echo(0)));
    let (mut reader, writer) = tokio::io::split(near);
    let mut first = [0; 3];
    reader.read_exact(&mut first).await.unwrap();
    drop((reader, writer));
    served.await.unwrap();
}

#[test]
fn component_logs_know_since_and_timestamps() {
    let text = b"I1122 21:20:40.123456 a.rs:1] one\nI1122 21:20:41.000000 a.rs:2] two\n  goes on\n";
    let now = "2026-11-22T22:00:00Z".parse().unwrap();
    let lines = |options: &super::logs::Options| {
        String::from_utf8(super::component_lines(text, options, now).concat()).unwrap()
    };
    let since = Some("2026-11-22T21:20:40.5Z".parse().unwrap());
    let options = super::logs::Options { since, ..Default::default() };
    assert_eq!(lines(&options), "I1122 21:20:41.000000 a.rs:2] two\n  goes on\n");
    let options = super::logs::Options { timestamps: true, ..options };
    assert_eq!(
        lines(&options),
        "2026-11-22T21:20:41.000000000Z I1122 21:20:41.000000 a.rs:2] two\n2026-11-22T21:20:41.000000000Z   goes on\n"
    );
}
