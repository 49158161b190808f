//! The near end of a connection that the API server has upgraded: its head is read, what follows is a websocket.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

const MAX_HEAD: usize = 16 * 1024;
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// The websocket, and the sub-protocol that was chosen; none if the other side did not agree to it.
pub async fn connected(mut io: DuplexStream) -> Option<(WebSocketStream<DuplexStream>, Option<String>)> {
    let mut head = BytesMut::new();
    loop {
        if io.read_buf(&mut head).await.ok()? == 0 || head.len() > MAX_HEAD {
            return None;
        }
        let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let rest = head.split_off(end + 4).to_vec();
        if !head.starts_with(b"HTTP/1.1 101") {
            return None;
        }
        let protocol = protocol(&String::from_utf8_lossy(&head));
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE));
        let socket = WebSocketStream::from_partially_read(io, rest, Role::Client, Some(config)).await;
        return Some((socket, protocol));
    }
}

fn protocol(head: &str) -> Option<String> {
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-protocol").then(|| value.trim().to_owned())
    };
    head.lines().find_map(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_protocol_is_read() {
        assert_eq!(protocol("HTTP/1.1 101 x\r\nSec-WebSocket-Protocol: chat\r\n"), Some("chat".to_owned()));
        assert_eq!(protocol("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n"), None);
    }
}
