//! A watch or a log in WebSocket messages, for clients that ask for them so: browsers know no other stream that goes on.
//!
//! Ported from upstream's `endpoints/handlers/watch.go` (`HandleWS`: a message for each event, of text if the encoding is)
//! and `util/httpstream/wsstream/stream.go` (an empty message first, then what comes; in base64 if the client wants).
//! exec, attach and port forwarding are the kubelet's: their messages carry channels.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::header::{CONTENT_TYPE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use http_body_util::BodyExt;
use sampan_api::status::{ApiError, Reason};
use sampan_process::BoxedIo;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::connect::take_over;
use super::info::RequestInfo;
use crate::{ResponseBody, Takeover};

/// The protocols of a log.
const PLAIN: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";

/// How a stream is cut into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// A message for each line.
    Lines,
    /// A message for each part, which has its length ahead of it as four bytes.
    Lengths,
    /// As it comes.
    Pieces { base64: bool },
}

/// What a client that wants messages has said.
pub(super) struct Socket {
    key: String,
    /// The protocol chosen, if the client offers any.
    protocol: Option<&'static str>,
    log: bool,
}

fn said(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

impl Socket {
    /// `None` for a request that wants no messages, or whose answer does not go on.
    ///
    /// # Errors
    /// A handshake without its key, or of protocols that a log is not sent in.
    pub fn wanted(headers: &HeaderMap, info: &RequestInfo) -> Result<Option<Self>, ApiError> {
        let log = info.group.is_empty() && info.resource == "pods" && info.subresource == "log";
        let goes_on = log || (info.verb == "watch" && info.subresource.is_empty());
        if !goes_on || !said(headers, UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
            return Ok(None);
        }
        let key = said(headers, SEC_WEBSOCKET_KEY).next().filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| ApiError::bad_request("missing Sec-WebSocket-Key"))?.to_owned();
        let offered: Vec<&str> = said(headers, SEC_WEBSOCKET_PROTOCOL).collect();
        let protocol = match log {
            true => protocol(&offered)?,
            false => None,
        };
        Ok(Some(Self { key, protocol, log }))
    }

    /// The answer in messages; an answer that is no stream stays as it is.
    pub fn carry(self, response: Response<ResponseBody>) -> Response<ResponseBody> {
        if response.status() != StatusCode::OK {
            return response;
        }
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let cut = match (self.log, kind.contains("json") || kind.contains("yaml")) {
            (true, _) => Cut::Pieces { base64: self.protocol == Some(BASE64) },
            (false, true) => Cut::Lines,
            (false, false) => Cut::Lengths,
        };
        let (head, body) = (self.head(), response.into_body());
        take_over(Takeover(Box::new(move |io| Box::pin(send(io, head, cut, body)))))
    }

    fn head(&self) -> String {
        let accept = derive_accept_key(self.key.as_bytes());
        let chosen =
            self.protocol.map_or(String::new(), |protocol| format!("Sec-WebSocket-Protocol: {protocol}\r\n"));
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{chosen}\r\n"
        )
    }
}

/// The first of the offered protocols that a log is sent in.
fn protocol(offered: &[&str]) -> Result<Option<&'static str>, ApiError> {
    let known = |name: &&str| [PLAIN, BASE64].into_iter().find(|known| known == name);
    match (offered.is_empty(), offered.iter().find_map(known)) {
        (true, _) => Ok(None),
        (false, Some(protocol)) => Ok(Some(protocol)),
        (false, None) => {
            let why = format!(
                "unable to negotiate protocol: client supports [{}], server accepts [{PLAIN} {BASE64}]",
                offered.join(" ")
            );
            Err(ApiError::new(Reason::Forbidden, why))
        }
    }
}

/// Takes the whole messages out of what has come.
fn messages(cut: Cut, come: &mut BytesMut) -> Vec<Message> {
    let mut out = Vec::new();
    match cut {
        Cut::Lines => {
            while let Some(end) = come.iter().position(|byte| *byte == b'\n') {
                out.push(Message::text(String::from_utf8_lossy(&come.split_to(end + 1)).into_owned()));
            }
        }
        Cut::Lengths => {
            while let Some(length) = come.first_chunk().map(|first| u32::from_be_bytes(*first) as usize)
                && come.len() - 4 >= length
            {
                come.advance(4);
                out.push(Message::Binary(come.split_to(length).freeze()));
            }
        }
        Cut::Pieces { .. } if come.is_empty() => {}
        Cut::Pieces { base64: true } => out.push(Message::text(STANDARD.encode(come.split()))),
        Cut::Pieces { base64: false } => out.push(Message::Binary(come.split().freeze())),
    }
    out
}

/// Sends the body until it ends or the client goes.
async fn send(mut io: BoxedIo, head: String, cut: Cut, mut body: ResponseBody) {
    if io.write_all(head.as_bytes()).await.is_err() || io.flush().await.is_err() {
        return;
    }
    let (mut sink, mut source) = WebSocketStream::from_raw_socket(io, Role::Server, None).await.split();
    // the client has nothing to say but that it goes
    let gone =
        async { while source.next().await.is_some_and(|said| said.is_ok_and(|said| !said.is_close())) {} };
    let all = async {
        let first = match cut {
            Cut::Lines | Cut::Lengths => None,
            Cut::Pieces { base64: true } => Some(Message::text("")),
            Cut::Pieces { base64: false } => Some(Message::Binary(Bytes::new())),
        };
        if let Some(first) = first
            && sink.send(first).await.is_err()
        {
            return;
        }
        let mut come = BytesMut::new();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            come.extend_from_slice(&data);
            for message in messages(cut, &mut come) {
                if sink.send(message).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = gone => {}
        () = all => {}
    }
    let end = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = sink.send(Message::Close(Some(end))).await;
    let _ = sink.close().await;
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::super::info;
    use super::super::query::Query;
    use super::super::respond;
    use super::*;
    use crate::TakeoverSlot;

    fn asked(uri: &str, protocols: &str) -> Result<Option<Socket>, ApiError> {
        let uri: http::Uri = uri.parse().expect("a URI");
        let info = info::parse(&http::Method::GET, uri.path(), &Query::parse(uri.query().unwrap_or("")));
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, "websocket".parse().expect("a value"));
        headers.insert(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().expect("a value"));
        if !protocols.is_empty() {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocols.parse().expect("a value"));
        }
        Socket::wanted(&headers, &info)
    }

    const LOG: &str = "/api/v1/namespaces/n/pods/p/log";

    #[test]
    fn watches_and_logs_only_go_on() {
        let wanted = |uri: &str| asked(uri, "").expect("no error").is_some();
        assert!(wanted(LOG) && wanted("/api/v1/pods?watch=1") && wanted("/apis/apps/v1/watch/deployments"));
        for uri in
            ["/api/v1/pods", "/api/v1/namespaces/n/pods/p", "/api/v1/namespaces/n/pods/p/exec?command=ls"]
        {
            assert!(!wanted(uri), "{uri}");
        }
        let info = info::parse(&http::Method::GET, LOG, &Query::parse(""));
        assert!(Socket::wanted(&HeaderMap::new(), &info).expect("no error").is_none());
    }

    #[test]
    fn a_log_has_its_protocols() {
        let chosen = |offered: &str| asked(LOG, offered).map(|socket| socket.expect("a socket").protocol);
        assert_eq!(chosen(""), Ok(None));
        assert_eq!(chosen("binary.k8s.io"), Ok(Some(PLAIN)));
        assert_eq!(chosen("other, base64.binary.k8s.io"), Ok(Some(BASE64)));
        let refused = chosen("v4.channel.k8s.io").expect_err("not a log's");
        assert_eq!(refused.code, 403, "{refused}");
    }

    #[test]
    fn streams_are_cut_where_their_encoding_says() {
        let text = |text: &str| Message::text(text.to_owned());
        #[allow(clippy::type_complexity)] // a table of cases
        let cases: [(Cut, &[u8], Vec<Message>, &[u8]); 5] = [
            (Cut::Lines, b"{\"a\":1}\n{\"b\"", vec![text("{\"a\":1}\n")], b"{\"b\""),
            (Cut::Lengths, b"\0\0\0\x02ab\0\0\0\x03c", vec![Message::binary(&b"ab"[..])], b"\0\0\0\x03c"),
            (Cut::Lengths, b"\0\0", vec![], b"\0\0"),
            (Cut::Pieces { base64: false }, b"said", vec![Message::binary(&b"said"[..])], b""),
            (Cut::Pieces { base64: true }, b"said", vec![text("c2FpZA==")], b""),
        ];
        for (cut, come, expected, left) in cases {
            let mut come = BytesMut::from(come);
            assert_eq!(messages(cut, &mut come), expected, "{cut:?}");
            assert_eq!(come, left, "{cut:?}");
        }
    }

    #[tokio::test]
    async fn a_log_comes_after_an_empty_message_and_ends_with_a_close() {
        let socket = asked(LOG, "binary.k8s.io").expect("no error").expect("a socket");
        let mut answer =
            socket.carry(Response::new(respond::body(Bytes::from_static(b"container is alive\n"))));
        assert_eq!(answer.status(), 101);
        let takeover = answer.extensions_mut().remove::<TakeoverSlot>().and_then(|slot| slot.take());
        let (mut near, far) = tokio::io::duplex(4096);
        tokio::spawn((takeover.expect("the connection is taken over").0)(Box::new(far)));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(near.read_u8().await.expect("a byte"));
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        assert!(head.contains("Sec-WebSocket-Protocol: binary.k8s.io\r\n"), "{head}");
        let mut client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let mut said = Vec::new();
        while let Some(message) = client.next().await {
            match message.expect("a message") {
                Message::Binary(bytes) => said.push(bytes),
                Message::Close(frame) => {
                    assert_eq!(frame.map(|frame| frame.code), Some(CloseCode::Normal));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(said, ["", "container is alive\n"]);
    }

    #[test]
    fn a_refusal_is_an_ordinary_answer() {
        let socket = asked(LOG, "").expect("no error").expect("a socket");
        let answer = socket.carry(respond::error(&ApiError::bad_request("no such container")));
        assert_eq!(answer.status(), 400);
    }
}
