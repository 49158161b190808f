//! Which ports something on the host listens at, read from `/proc/net`.
//!
//! A test by binding would be wrong twice: it succeeds beside a listener that shares its port (`SO_REUSEPORT`), and
//! for its moment it takes the port from whoever starts just then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::plan::{Pair, Protocol};

/// State of a listening TCP socket, and of a UDP socket that is connected to nobody.
const LISTEN: &str = "0A";
const UNCONNECTED: &str = "07";

/// An address and port that a socket of the host is bound to, open to peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    address: IpAddr,
    pair: Pair,
}

impl Bound {
    /// Whether what comes for `pair` at `address` is this socket's.
    pub fn is_at(&self, address: IpAddr, pair: Pair) -> bool {
        let any = self.address.is_unspecified() && (self.address.is_ipv6() || address.is_ipv4());
        self.pair == pair && (any || self.address.to_canonical() == address)
    }
}

/// All such sockets of the network namespace that this thread is in. Blocking, for as long as the kernel writes.
pub fn read() -> Vec<Bound> {
    let files = [
        ("tcp", Protocol::Tcp, LISTEN),
        ("tcp6", Protocol::Tcp, LISTEN),
        ("udp", Protocol::Udp, UNCONNECTED),
        ("udp6", Protocol::Udp, UNCONNECTED),
    ];
    let table = |(file, protocol, state)| {
        // a kernel without IPv6 has no tcp6
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        parse(&text, protocol, state)
    };
    files.into_iter().flat_map(table).collect()
}

fn parse(text: &str, protocol: Protocol, state: &str) -> Vec<Bound> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (local, in_state) = (words.next()?, words.nth(1)? == state);
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        in_state.then_some(Bound { address: hex_address(address)?, pair: Pair { protocol, port } })
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// An address as the kernel prints it: words of 32 bits in the machine's order.
fn hex_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    fn pair(protocol: Protocol, port: u16) -> Pair {
        Pair { protocol, port }
    }

    #[test]
    fn sockets_are_found_where_they_listen() {
        let (one, all) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::]:0").unwrap());
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let found = read();
        let at = |address: &str, protocol, socket: std::io::Result<std::net::SocketAddr>| {
            let pair = pair(protocol, socket.unwrap().port());
            found.iter().any(|bound| bound.is_at(address.parse().unwrap(), pair))
        };
        assert!(at("127.0.0.1", Protocol::Tcp, one.local_addr()));
        assert!(!at("192.0.2.77", Protocol::Tcp, one.local_addr()));
        assert!(at("192.0.2.77", Protocol::Tcp, all.local_addr()));
        assert!(at("192.0.2.77", Protocol::Udp, udp.local_addr()));
        assert!(!at("192.0.2.77", Protocol::Sctp, udp.local_addr()));
    }

    #[test]
    fn lines_are_read_and_rubbish_is_not() {
        let text = "  sl  local_address rem_address   st\n\
            0: 00000000:0050 00000000:0000 0A 00000000:00000000\n\
            1: 0200A8C0:01BB 0100A8C0:9999 01 00000000:00000000\n\
            2: zz:zz 0 0A\n3:\n";
        let found = parse(text, Protocol::Tcp, LISTEN);
        assert_eq!(found.len(), 1);
        assert!(found[0].is_at("192.168.0.2".parse().unwrap(), pair(Protocol::Tcp, 80)));
        assert!(!found[0].is_at("fd00::1".parse().unwrap(), pair(Protocol::Tcp, 80)));
        let mapped = "h\n0: 0000000000000000FFFF00000200A8C0:0050 0:0 0A\n";
        let found = parse(mapped, Protocol::Tcp, LISTEN);
        assert!(found[0].is_at("192.168.0.2".parse().unwrap(), pair(Protocol::Tcp, 80)));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,200}") {
            parse(&text, Protocol::Tcp, LISTEN);
        }
    }
}
