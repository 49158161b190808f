//! The sockets of the server's address.
//!
//! The address is put on the pods' bridge by the pod network; should that be later than this, IP_FREEBIND makes the
//! sockets ready for it.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket, sockopt,
};
use tokio::net::{TcpListener, UdpSocket};

/// What the kernel keeps of questions while we are busy, in bytes.
const RECEIVE_BYTES: usize = 1 << 20;

/// The sockets of one address.
pub struct Sockets {
    /// For datagrams.
    pub udp: UdpSocket,
    /// For streams.
    pub tcp: TcpListener,
}

impl Sockets {
    /// Binds UDP and TCP. With port 0 both get one that is free.
    ///
    /// # Errors
    /// Someone else has the port, on this address or on all.
    pub fn bind(address: SocketAddrV4) -> io::Result<Self> {
        let udp = open(SockType::Datagram, address)?;
        // root may have more than the host's limit
        let _ = setsockopt(&udp, sockopt::RcvBufForce, &RECEIVE_BYTES);
        let udp = UdpSocket::from_std(udp.into())?;
        let SocketAddr::V4(bound) = udp.local_addr()? else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        let tcp = open(SockType::Stream, bound)?;
        listen(&tcp, Backlog::MAXCONN)?;
        Ok(Self { udp, tcp: TcpListener::from_std(tcp.into())? })
    }

    /// The address.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }
}

fn open(kind: SockType, address: SocketAddrV4) -> io::Result<std::os::fd::OwnedFd> {
    let descriptor =
        socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&descriptor, sockopt::IpFreebind, &true)?;
    if kind == SockType::Stream {
        // connections of before may still be closing
        setsockopt(&descriptor, sockopt::ReuseAddr, &true)?;
    }
    bind(descriptor.as_raw_fd(), &SockaddrIn::from(address))?;
    Ok(descriptor)
}
