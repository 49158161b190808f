//! A client's connection as its deadlines see it: what it waits for, since when, and how fast what it waits for comes.
//!
//! The times are noted where bytes pass ([`crate::gate`]) and where requests begin and end ([`Busy`]); one timer for a
//! connection asks [`Connection::due`] for the next moment to look. Requests that come and go quickly never touch it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::HeaderValue;
use tokio::sync::OwnedSemaphorePermit;

use crate::config::Limits;
use crate::scan::Awaits;

/// How long a body or an answer may be slow before its rate counts.
const GRACE: Duration = Duration::from_secs(20);
/// Nothing is waited for.
const NEVER: u64 = u64::MAX;

/// One connection of a client. Its times are milliseconds since it began.
#[derive(Debug)]
pub struct Connection {
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// The peer's address, as headers have it.
    pub peer_text: HeaderValue,
    /// Whether it is over TLS.
    pub tls: bool,
    /// The port that the client came to, as headers have it.
    pub port_text: HeaderValue,
    began: Instant,
    awaits: AtomicU8,
    since: AtomicU64,
    /// Requests under way.
    busy: AtomicU32,
    served: AtomicBool,
    /// Whether it is no longer HTTP.
    pub opaque: AtomicBool,
    /// Its place among the connections that there may be.
    _place: Option<OwnedSemaphorePermit>,
    reads: Meter,
    writes: Meter,
}

/// How long one direction was waited for, and what came of it.
#[derive(Debug)]
struct Meter {
    since: AtomicU64,
    waited: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    fn new() -> Self {
        Self { since: AtomicU64::new(NEVER), waited: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    fn wait(&self, now: u64) {
        if self.since.load(Relaxed) == NEVER {
            self.since.store(now, Relaxed);
        }
    }

    fn pass(&self, now: u64, bytes: usize) {
        let since = self.since.swap(NEVER, Relaxed);
        if since != NEVER {
            self.waited.fetch_add(now.saturating_sub(since), Relaxed);
        }
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    fn reset(&self) {
        self.waited.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
    }

    /// When to give up; none while nothing is waited for.
    fn due(&self, limits: &Limits) -> Option<u64> {
        let since = Some(self.since.load(Relaxed)).filter(|since| *since != NEVER)?;
        let silent = since + millis(limits.client);
        // the time that the bytes so far pay for, but never less than the grace
        let paid = (self.bytes.load(Relaxed) * 1000).checked_div(limits.rate).unwrap_or(NEVER / 2);
        let allowed = paid.max(millis(GRACE)).saturating_sub(self.waited.load(Relaxed));
        Some(silent.min(since.saturating_add(allowed)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER)
}

/// A request under way.
#[derive(Debug)]
pub struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, Relaxed) == 1 {
            self.0.since.store(self.0.now(), Relaxed);
        }
    }
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(peer: SocketAddr, tls: bool, port: u16, place: Option<OwnedSemaphorePermit>) -> Arc<Self> {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let text = HeaderValue::from_str(&peer.ip().to_string());
        Arc::new(Self {
            peer,
            peer_text: text.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            tls,
            port_text: HeaderValue::from(port),
            began: Instant::now(),
            awaits: AtomicU8::new(Awaits::Request as u8),
            since: AtomicU64::new(0),
            busy: AtomicU32::new(0),
            served: AtomicBool::new(false),
            opaque: AtomicBool::new(false),
            _place: place,
            reads: Meter::new(),
            writes: Meter::new(),
        })
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }

    /// A request begins; it ends with the answer's body.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Relaxed);
        self.served.store(true, Relaxed);
        Busy(self.clone())
    }

    /// Whether no request is under way.
    pub fn is_idle(&self) -> bool {
        self.busy.load(Relaxed) == 0
    }

    /// Bytes have come, after which `awaits` comes.
    pub fn read(&self, bytes: usize, awaits: Awaits) {
        let before = self.awaits.swap(awaits as u8, Relaxed);
        if before == awaits as u8 && awaits != Awaits::Body {
            return;
        }
        let now = self.now();
        if before != awaits as u8 {
            self.since.store(now, Relaxed);
            self.reads.reset();
        }
        self.reads.pass(now, bytes);
    }

    /// The client is waited for.
    pub fn wants_to_read(&self) {
        if self.awaits.load(Relaxed) == Awaits::Body as u8 {
            self.reads.wait(self.now());
        }
    }

    /// Bytes have been taken by the client.
    pub fn written(&self, bytes: usize) {
        if self.writes.since.load(Relaxed) != NEVER {
            self.writes.pass(self.now(), bytes);
        } else {
            self.writes.bytes.fetch_add(bytes as u64, Relaxed);
        }
    }

    /// The client does not take what there is.
    pub fn wants_to_write(&self) {
        self.writes.wait(self.now());
    }

    /// When to close it, if nothing happens until then.
    pub fn due(&self, limits: &Limits) -> Option<Instant> {
        let awaits = self.awaits.load(Relaxed);
        let since = self.since.load(Relaxed);
        let idle = self.is_idle();
        let fresh = !self.served.load(Relaxed);
        let read = match awaits {
            _ if self.opaque.load(Relaxed) => None,
            a if a == Awaits::Body as u8 => self.reads.due(limits),
            a if idle && (fresh || a == Awaits::Head as u8) => Some(since + millis(limits.header)),
            _ if idle => Some(since + millis(limits.keep_alive)),
            _ => None,
        };
        let due = [read, self.writes.due(limits)].into_iter().flatten().min()?;
        Some(self.began + Duration::from_millis(due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Arc<Connection> {
        Connection::new("[::1]:1".parse().unwrap(), false, 80, None)
    }

    fn due(connection: &Connection) -> Option<u64> {
        let due = connection.due(&crate::Config::default().limits())?;
        Some((due - connection.began).as_secs())
    }

    #[test]
    fn each_wait_has_its_end() {
        let connection = connection();
        assert_eq!(due(&connection), Some(15), "nothing was ever sent");
        connection.read(10, Awaits::Head);
        assert_eq!(due(&connection), Some(15), "a head has begun");
        connection.read(10, Awaits::Request);
        let busy = connection.busy();
        assert_eq!(due(&connection), None, "the endpoint's turn");
        connection.wants_to_write();
        assert_eq!(due(&connection), Some(20), "the client takes nothing");
        connection.written(100_000);
        assert_eq!(due(&connection), None);
        drop(busy);
        assert_eq!(due(&connection), Some(75), "kept alive");
    }

    #[test]
    fn bodies_have_to_come_at_a_rate() {
        let connection = connection();
        connection.read(10, Awaits::Body);
        let _busy = connection.busy();
        assert_eq!(due(&connection), None, "nobody waits for it");
        connection.wants_to_read();
        assert_eq!(due(&connection), Some(20));
        // 4500 bytes pay for 30 seconds, of which 8 have passed
        connection.reads.since.store(NEVER, Relaxed);
        connection.reads.waited.store(8_000, Relaxed);
        connection.read(4_490, Awaits::Body);
        connection.wants_to_read();
        assert_eq!(due(&connection), Some(22));
        // more than enough: then only silence ends it
        connection.read(1 << 20, Awaits::Body);
        connection.wants_to_read();
        assert_eq!(due(&connection), Some(60));
    }
}
