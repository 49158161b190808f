//! Somebody in the middle: carries connections on to a server of this machine and notes what was asked on each, and which
//! websocket frames the server sent.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A websocket's opcode of a ping.
const PING: u8 = 9;

/// What one connection carried.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    /// The first line of what was asked.
    pub asked: String,
    /// How many pings the server sent, once it was a websocket.
    pub pings: usize,
    /// How many other frames.
    pub frames: usize,
}

/// Ends with whoever holds it.
pub struct Relay {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    told: watch::Receiver<()>,
    all: Arc<Mutex<Vec<Carried>>>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// To a port of this machine.
    pub async fn start(to: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let all = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = watch::channel(());
        let noted = all.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let noted = Noted { all: noted.clone(), tell: tell.clone(), at: None };
                tokio::spawn(carry(client, to, noted));
            }
        });
        Ok(Self { port, told, all, task })
    }

    /// All connections so far.
    pub fn carried(&self) -> Vec<Carried> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until what was carried is as wanted.
    pub async fn until(&self, wanted: impl Fn(&[Carried]) -> bool) -> Result<Vec<Carried>> {
        let mut told = self.told.clone();
        loop {
            told.borrow_and_update();
            let carried = self.carried();
            if wanted(&carried) {
                return Ok(carried);
            }
            told.changed().await?;
        }
    }
}

/// Where a connection's notes go.
struct Noted {
    all: Arc<Mutex<Vec<Carried>>>,
    tell: watch::Sender<()>,
    at: Option<usize>,
}

impl Noted {
    fn note(&mut self, change: impl FnOnce(&mut Carried)) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let at = *self.at.get_or_insert_with(|| {
            all.push(Carried::default());
            all.len() - 1
        });
        change(&mut all[at]);
        drop(all);
        self.tell.send_replace(());
    }
}

async fn carry(mut client: TcpStream, to: u16, mut noted: Noted) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let mut head = vec![0; 4096];
    let Ok(count @ 1..) = client.read(&mut head).await else { return };
    let asked = String::from_utf8_lossy(&head[..count]).lines().next().unwrap_or_default().to_owned();
    noted.note(|carried| carried.asked = asked);
    if server.write_all(&head[..count]).await.is_err() {
        return;
    }
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    // whichever side ends, ends both
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = watched(&mut from_server, &mut to_client, noted) => {}
    }
}

async fn watched(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), mut noted: Noted) {
    let (mut buffer, mut frames) = (vec![0; 64 * 1024], Frames::default());
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        for opcode in frames.take(&buffer[..count]) {
            noted.note(|carried| if opcode == PING { carried.pings += 1 } else { carried.frames += 1 });
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Finds the frames of a server in a stream that begins with the answer to the upgrade.
#[derive(Default)]
struct Frames {
    pending: Vec<u8>,
    upgraded: bool,
    /// No websocket: nothing is looked at.
    other: bool,
    /// Bytes of a frame that are still to come.
    left: u64,
}

impl Frames {
    /// The opcodes of the frames that begin in a piece.
    fn take(&mut self, mut piece: &[u8]) -> Vec<u8> {
        let mut found = Vec::new();
        if self.other {
            return found;
        }
        loop {
            let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
            piece = &piece[skipped..];
            self.left -= skipped as u64;
            if piece.is_empty() && self.pending.is_empty() {
                return found;
            }
            self.pending.extend_from_slice(piece);
            let pending = std::mem::take(&mut self.pending);
            let Some((opcode, head, body)) = self.next(&pending) else {
                if !self.other {
                    self.pending = pending;
                }
                return found;
            };
            found.extend(opcode);
            self.left = body;
            let rest = pending[head..].to_vec();
            let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
            self.left -= skipped as u64;
            self.pending = rest[skipped..].to_vec();
            piece = &[];
        }
    }

    /// The opcode of what begins here, the length of its head, and that of its body.
    fn next(&mut self, bytes: &[u8]) -> Option<(Option<u8>, usize, u64)> {
        if !self.upgraded {
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
            self.upgraded = bytes.starts_with(b"HTTP/1.1 101");
            self.other = !self.upgraded;
            return self.upgraded.then_some((None, end, 0));
        }
        let (opcode, length) = (bytes.first()? & 0xf, bytes.get(1)? & 0x7f);
        let (head, body) = match length {
            126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
            length => (2, u64::from(length)),
        };
        Some((Some(opcode), head, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_they_come() {
        let mut stream = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
        stream.extend([0x89, 0]);
        stream.extend([0x82, 126, 1, 0]);
        stream.extend([7; 256]);
        stream.extend([0x81, 2, 0x89, 0x89]);
        stream.extend([0x89, 1, 5]);
        for size in [1, 2, 3, 5, 64, 1000] {
            let mut frames = Frames::default();
            let found: Vec<u8> = stream.chunks(size).flat_map(|piece| frames.take(piece)).collect();
            assert_eq!(found, [9, 2, 1, 9], "in pieces of {size}");
        }
        let mut other = Frames::default();
        assert!(other.take(b"HTTP/1.1 200 OK\r\n\r\n\x89\x00").is_empty());
        assert!(other.take(&[0x89, 0]).is_empty());
    }
}
