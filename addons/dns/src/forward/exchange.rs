//! One question to one upstream: by UDP from a port and with a number that nobody can guess, by TCP if the answer is
//! too large, without EDNS if the upstream does not know it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use crate::forward::Key;
use crate::forward::reply::{Bounds, Reply, Unfit};
use crate::query::code;
use crate::section::kind;

/// After so long a datagram is taken for lost and sent again.
const RESEND: Duration = Duration::from_secs(1);
/// The largest datagram that is asked for: what passes every link unfragmented.
const UDP_BYTES: u16 = 1232;

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The network, or nobody is there.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It answered something that is not DNS.
    #[error("answered with a malformed message")]
    Malformed,
    /// It answered, with this response code, that it cannot.
    #[error("answered with response code {0}")]
    Code(u16),
}

/// Asks `server`. Takes for as long as the server does: the caller sets the limit.
///
/// # Errors
/// There is no answer; a reply with a response code that says so counts as one.
pub async fn exchange(server: SocketAddr, key: &Key, bounds: Bounds) -> Result<Reply, Failure> {
    match by_udp(server, key, bounds, true).await? {
        // what old servers say to an OPT record
        Reply { code: code::FORMERR | code::NOTIMP | code::BADVERS, .. } => {
            by_udp(server, key, bounds, false).await
        }
        reply => Ok(reply),
    }
}

async fn by_udp(server: SocketAddr, key: &Key, bounds: Bounds, edns: bool) -> Result<Reply, Failure> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // only what this server sends is received, and that nobody listens is heard of
    socket.connect(server).await?;
    let id = rand::random();
    let packet = packet(key, id, edns);
    // some send more than they are asked for
    let mut buffer = vec![0; 4096];
    loop {
        socket.send(&packet).await?;
        let resend = Instant::now() + RESEND;
        while let Ok(received) = tokio::time::timeout_at(resend, socket.recv(&mut buffer)).await {
            match Reply::read(&buffer[..received?], id, key, bounds, Instant::now()) {
                Ok(reply) => return Ok(reply),
                Err(Unfit::Other) => {}
                Err(Unfit::Truncated) => return by_tcp(server, key, bounds, edns).await,
                Err(Unfit::Malformed) => return Err(Failure::Malformed),
            }
        }
    }
}

async fn by_tcp(server: SocketAddr, key: &Key, bounds: Bounds, edns: bool) -> Result<Reply, Failure> {
    let mut stream = timeout(RESEND * 2, TcpStream::connect(server)).await.map_err(io::Error::from)??;
    let id = rand::random();
    let packet = packet(key, id, edns);
    let mut framed = (packet.len() as u16).to_be_bytes().to_vec();
    framed.extend(packet);
    stream.write_all(&framed).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    Reply::read(&buffer, id, key, bounds, Instant::now()).map_err(|_| Failure::Malformed)
}

fn packet(key: &Key, id: u16, edns: bool) -> Vec<u8> {
    let flags = 0x0100 | if key.unchecked { 0x0010 } else { 0 };
    let mut packet = Vec::with_capacity(key.name.wire().len() + 27);
    for number in [id, flags, 1, 0, 0, u16::from(edns)] {
        packet.extend(number.to_be_bytes());
    }
    packet.extend_from_slice(key.name.wire());
    packet.extend(key.kind.to_be_bytes());
    packet.extend(1_u16.to_be_bytes());
    if edns {
        let dnssec = if key.dnssec { 0x8000 } else { 0 };
        packet.push(0);
        for number in [kind::OPT, UDP_BYTES, 0, dnssec, 0] {
            packet.extend(number.to_be_bytes());
        }
    }
    packet
}
