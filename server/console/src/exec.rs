//! A terminal in a container: the browser's websocket on one side, the kubelet's on the other.
//!
//! Both speak `v5.channel.k8s.io`, so messages pass as they are. The two connections are not one, because the browser
//! has to be pinged: proxies close what is quiet for a minute, and a shell may be.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{Message, MessageStream};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::Request;
use http_body_util::BodyExt;
use sampan_process::BoxedIo;
use sampan_view::place::{encode, pairs};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Packet;

use crate::feed::{PING, SILENCE};
use crate::server::{Asker, State};
use crate::upgraded::connected;
use crate::{Answer, reply};

/// Channels of bytes: stdin, stdout, stderr, the outcome, the terminal's size.
const PROTOCOL: &str = "v5.channel.k8s.io";
/// The channel of the outcome: a Status.
const OUTCOME: u8 = 3;
/// A paste is one message.
const MAX_MESSAGE: usize = 1024 * 1024;
/// Between the two connections.
const PIPE: usize = 64 * 1024;
const MESSAGES: usize = 16;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Opens a terminal; a refusal is told on the channel of the outcome, for a browser cannot read it otherwise.
pub async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    state: &Arc<State>,
    asker: Asker,
) -> HttpResponse {
    let Some(target) = target(request.query_string()) else {
        let message = "namespace and pod are needed, and a command unless attach=true";
        return reply::failure(400, "BadRequest", message);
    };
    let (response, session, stream) = match actix_ws::handle_with_protocols(request, payload, &[PROTOCOL]) {
        Ok(opened) => opened,
        Err(error) => return reply::failure(400, "BadRequest", &error.to_string()),
    };
    let (into, inputs) = mpsc::channel(MESSAGES);
    let (tell, outputs) = mpsc::channel(MESSAGES);
    let owner = state.clone();
    state.spawn("terminal", async move {
        let asked = Request::builder()
            .uri(target)
            .header("upgrade", "websocket")
            .header("connection", "Upgrade")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "c2FtcGFuIGRhc2hib2FyZA==")
            .header("sec-websocket-protocol", PROTOCOL)
            .body(Bytes::new());
        if let Ok(asked) = asked {
            let answer = (owner.api)(asker.user.clone(), asked).await;
            bridge(answer, inputs, tell, owner.over(&asker)).await;
        }
    });
    actix_web::rt::spawn(pump(session, stream.max_frame_size(MAX_MESSAGE), into, outputs));
    response
}

/// The API's path of what the browser asks.
fn target(query: &str) -> Option<String> {
    let all = pairs(query);
    let get = |name: &str| all.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    let is = |name: &str| get(name) == Some("true");
    let part = |name: &str| {
        get(name).filter(|value| !value.is_empty()).map(|value| encode(value).replace('/', "%2F"))
    };
    let (namespace, pod) = (part("namespace")?, part("pod")?);
    let verb = if is("attach") { "attach" } else { "exec" };
    let commands: String = all
        .iter()
        .filter(|(name, _)| name == "command")
        .map(|(_, value)| format!("&command={}", encode(value)))
        .collect();
    if commands.is_empty() == (verb == "exec") {
        return None;
    }
    let container = part("container").map(|container| format!("&container={container}")).unwrap_or_default();
    let tty = is("tty");
    // a terminal has one stream of output
    Some(format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/{verb}?stdin=true&stdout=true&stderr={}&tty={tty}{container}{commands}",
        !tty
    ))
}

/// The browser's side, on actix' thread. Each direction goes on while the other waits: a program that reads nothing before
/// it could write would stand still otherwise.
async fn pump(
    session: actix_ws::Session,
    stream: MessageStream,
    into: mpsc::Sender<Bytes>,
    outputs: mpsc::Receiver<Bytes>,
) {
    let heard = Cell::new(Some(Instant::now()));
    tokio::select! {
        () = inward(session.clone(), stream, into, &heard) => {}
        () = outward(session.clone(), outputs, &heard) => {}
    }
    let _ = session.close(None).await;
}

/// What is typed. `heard` is when something last came; none while the container has not taken it.
async fn inward(
    mut session: actix_ws::Session,
    mut stream: MessageStream,
    into: mpsc::Sender<Bytes>,
    heard: &Cell<Option<Instant>>,
) {
    loop {
        let message = stream.next().await;
        heard.set(None);
        let is_open = match message {
            // waits for the container: a paste is not faster than its reader
            Some(Ok(Message::Binary(bytes))) => into.send(bytes).await.is_ok(),
            Some(Ok(Message::Ping(bytes))) => session.pong(&bytes).await.is_ok(),
            Some(Ok(Message::Pong(_) | Message::Nop)) => true,
            _ => false,
        };
        heard.set(Some(Instant::now()));
        if !is_open {
            return;
        }
    }
}

/// What the container says, and pings.
async fn outward(
    mut session: actix_ws::Session,
    mut outputs: mpsc::Receiver<Bytes>,
    heard: &Cell<Option<Instant>>,
) {
    let mut pings = interval_at(Instant::now() + PING, PING);
    loop {
        let sent = tokio::select! {
            output = outputs.recv() => match output {
                Some(output) => timeout(SILENCE, session.binary(output)).await,
                None => return,
            },
            _ = pings.tick() => match heard.get() {
                Some(heard) if heard.elapsed() > SILENCE => return,
                _ => timeout(SILENCE, session.ping(b"")).await,
            },
        };
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// The kubelet's side, in the daemon's runtime; ended when the session is over.
async fn bridge(
    answer: Answer,
    inputs: mpsc::Receiver<Bytes>,
    tell: mpsc::Sender<Bytes>,
    over: impl Future<Output = ()>,
) {
    let Some(takeover) = answer.takeover else {
        let body =
            answer.response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let outcome = [&[OUTCOME], body.as_ref()].concat();
        let _ = tell.send(outcome.into()).await;
        return;
    };
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let serving = takeover(Box::new(theirs) as BoxedIo);
    let carrying = async {
        if let Some((socket, _)) = connected(ours).await {
            carry(socket, inputs, tell, over).await;
        }
    };
    // the kubelet's side may have to say goodbye after ours has ended, so both are waited for
    tokio::join!(serving, carrying);
}

async fn carry(
    socket: WebSocketStream<DuplexStream>,
    mut inputs: mpsc::Receiver<Bytes>,
    tell: mpsc::Sender<Bytes>,
    over: impl Future<Output = ()>,
) {
    let (mut sink, mut packets) = socket.split();
    let typed = async {
        while let Some(input) = inputs.recv().await {
            if sink.send(Packet::Binary(input)).await.is_err() {
                return;
            }
        }
    };
    let said = async {
        while let Some(Ok(packet)) = packets.next().await {
            let is_open = match packet {
                Packet::Binary(bytes) => tell.send(bytes).await.is_ok(),
                Packet::Close(_) => false,
                _ => true,
            };
            if !is_open {
                return;
            }
        }
    };
    tokio::select! {
        () = typed => {}
        () = said => {}
        () = over => {}
    }
    // a kubelet that still waits for a container to read does not take it
    let _ = timeout(GOODBYE, sink.close()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_names_its_container_and_command() {
        let query = "namespace=a&pod=b&container=c&command=/bin/sh&command=-c&command=x%26y&tty=true";
        assert_eq!(
            target(query).as_deref(),
            Some(
                "/api/v1/namespaces/a/pods/b/exec?stdin=true&stdout=true&stderr=false&tty=true&container=c&command=/bin/sh&command=-c&command=x%26y"
            )
        );
        assert_eq!(
            target("namespace=a&pod=../b&attach=true").as_deref(),
            Some("/api/v1/namespaces/a/pods/..%2Fb/attach?stdin=true&stdout=true&stderr=true&tty=false")
        );
        for incomplete in [
            "",
            "namespace=a",
            "namespace=a&pod=b",
            "namespace=a&pod=&command=x",
            "namespace=a&pod=b&attach=true&command=x",
        ] {
            assert_eq!(target(incomplete), None, "{incomplete}");
        }
    }
}
