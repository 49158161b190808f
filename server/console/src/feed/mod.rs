//! The feed's server side: one websocket, many views, no view that waits for a slow tab.
//!
//! ```text
//!  websocket ──asks──► Desk ──spawns──► a task for each view ──┐   list and watch as the user
//!     ▲                                                        │
//!     └──── frames ◄── encoded ◄── bounded queue of Tell ◄─────┘
//! ```
//!
//! The websocket lives on actix' thread and only pumps; everything else runs in the daemon's runtime. The queue is
//! short: when the tab does not read, its views stop reading their watches, the API server drops those as it drops any
//! slow watcher, and the views begin anew ([`Tell::Begin`]) when the tab reads again. Nothing piles up.

mod desk;
mod health;
mod list;
mod object;
mod project;
mod rights;
mod source;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream};
use bytes::Bytes;
use futures::StreamExt;
use sampan_view::feed::{JSON, POSTCARD, Tell};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, timeout};

use crate::reply;
use crate::server::{Asker, State};

pub use rights::Rights;

/// Proxies close what says nothing for a minute.
pub const PING: Duration = Duration::from_secs(20);
/// A browser answers pings at once; one that has not for this long is gone.
pub const SILENCE: Duration = Duration::from_secs(65);
/// An ask is a few hundred bytes.
const MAX_ASK: usize = 64 * 1024;
/// Asks that wait; a page sends a dozen at once.
const ASKS: usize = 256;
/// Asks in a row; a page sends a few at each click.
const BURST: u32 = 500;
/// One more may be sent after this long.
const REFILL: Duration = Duration::from_millis(20);
/// Tells that wait for the tab.
const TELLS: usize = 16;

/// How a feed's messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Postcard,
    Json,
}

/// What goes over the wire.
enum Frame {
    Text(String),
    Binary(Bytes),
}

impl Form {
    fn write(self, tell: &Tell) -> Option<Frame> {
        match self {
            Form::Postcard => postcard::to_allocvec(tell).ok().map(|bytes| Frame::Binary(bytes.into())),
            Form::Json => serde_json::to_string(tell).ok().map(Frame::Text),
        }
    }
}

/// Opens the feed.
pub fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    state: &Arc<State>,
    asker: Asker,
) -> HttpResponse {
    let Some(form) = form(request) else {
        let message = format!("a feed speaks the sub-protocol {POSTCARD} or {JSON}");
        return reply::failure(400, "BadRequest", &message);
    };
    let opened = actix_ws::handle_with_protocols(request, payload, &[POSTCARD, JSON]);
    let (response, session, stream) = match opened {
        Ok(opened) => opened,
        Err(error) => return reply::failure(400, "BadRequest", &error.to_string()),
    };
    let (ask, asks) = mpsc::channel(ASKS);
    let (tell, tells) = mpsc::channel(TELLS);
    // what the desk does belongs to the daemon, not to actix' thread
    state.spawn("feed", desk::run(state.clone(), asker, asks, tell));
    actix_web::rt::spawn(pump(session, stream.max_frame_size(MAX_ASK), form, ask, tells));
    response
}

fn form(request: &HttpRequest) -> Option<Form> {
    let offered =
        request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
    let mut offered = offered.flat_map(|list| list.split(',')).map(str::trim);
    offered.find_map(|name| match name {
        POSTCARD => Some(Form::Postcard),
        JSON => Some(Form::Json),
        _ => None,
    })
}

/// Carries asks in and tells out until one side ends.
async fn pump(
    mut session: actix_ws::Session,
    mut stream: MessageStream,
    form: Form,
    ask: mpsc::Sender<String>,
    mut tells: mpsc::Receiver<Tell>,
) {
    let mut pings = interval_at(Instant::now() + PING, PING);
    let mut heard = Instant::now();
    let mut allowance = Allowance::new(heard);
    let close = loop {
        tokio::select! {
            message = stream.next() => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => {
                        if !allowance.take(heard) || ask.try_send(text.to_string()).is_err() {
                            break reason(CloseCode::Policy, "too much is asked at once");
                        }
                    }
                    Some(Ok(Message::Ping(bytes))) => {
                        if session.pong(&bytes).await.is_err() {
                            break None;
                        }
                    }
                    Some(Ok(Message::Pong(_) | Message::Nop)) => {}
                    Some(Ok(Message::Close(_))) | None => break None,
                    Some(Ok(Message::Binary(_) | Message::Continuation(_))) => {
                        break reason(CloseCode::Unsupported, "asks are text");
                    }
                    Some(Err(_)) => break reason(CloseCode::Size, "an ask is too large or no message"),
                }
            }
            tell = tells.recv() => {
                let Some(tell) = tell else { break reason(CloseCode::Away, "the daemon is ending") };
                let sent = match form.write(&tell) {
                    Some(Frame::Text(text)) => timeout(SILENCE, session.text(text)).await,
                    Some(Frame::Binary(bytes)) => timeout(SILENCE, session.binary(bytes)).await,
                    None => continue,
                };
                if !matches!(sent, Ok(Ok(()))) {
                    break None;
                }
                if tell == Tell::SignedOut {
                    break reason(CloseCode::Policy, "signed out");
                }
            }
            _ = pings.tick() => {
                if heard.elapsed() > SILENCE || session.ping(b"").await.is_err() {
                    break None;
                }
            }
        }
    };
    let _ = session.close(close).await;
}

/// How much may still be asked.
struct Allowance {
    left: u32,
    filled: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: BURST, filled: now }
    }

    /// Takes one, if there is one.
    fn take(&mut self, now: Instant) -> bool {
        let more = now.duration_since(self.filled).as_millis() / REFILL.as_millis();
        if more > 0 {
            self.left = self.left.saturating_add(u32::try_from(more).unwrap_or(BURST)).min(BURST);
            self.filled = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

fn reason(code: CloseCode, text: &str) -> Option<CloseReason> {
    Some(CloseReason { code, description: Some(text.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_no_more() {
        let began = Instant::now();
        let mut allowance = Allowance::new(began);
        assert!((0..BURST).all(|_| allowance.take(began)));
        assert!(!allowance.take(began));
        assert!(allowance.take(began + REFILL));
        assert!(!allowance.take(began + REFILL));
        assert!((0..BURST).all(|_| allowance.take(began + REFILL * (2 * BURST))));
    }
}
