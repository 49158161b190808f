//! Both sockets of an address, each served in a task of its own.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sampan_process::Tasks;
use tokio::task::JoinHandle;

use crate::forward::{Bounds, Forwarder, Settings};
use crate::hosts::Hosts;
use crate::listen::Sockets;
use crate::responder::Responder;
use crate::tcp::Tcp;
use crate::udp::Udp;
use crate::zone::Zone;

/// A running server. Ends with the drain of the tasks that it was started among.
pub struct Server {
    udp: JoinHandle<io::Result<()>>,
    tcp: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Serves `sockets`.
    pub(crate) fn start(sockets: Sockets, responder: Responder, tasks: &Tasks) -> Self {
        let responder = Arc::new(responder);
        let udp = Udp::new(sockets.udp, responder.clone(), tasks.clone());
        let tcp = Tcp::new(sockets.tcp, responder, tasks.clone());
        Self { udp: until_drain(tasks, "udp", udp.run()), tcp: until_drain(tasks, "tcp", tcp.run()) }
    }

    /// Serves a zone alone, without forwarding: for measurements. Gives the address too; with port 0 it is one that is
    /// free.
    ///
    /// # Errors
    /// The address is not to be had.
    pub fn of_zone(zone: Zone, address: SocketAddrV4, tasks: &Tasks) -> io::Result<(Self, SocketAddr)> {
        let bounds = Bounds { positive: Duration::ZERO, negative: Duration::ZERO };
        let settings = Settings { stubs: Vec::new(), upstreams: Vec::new(), cache_entries: 0, bounds };
        let forwarder = Forwarder::new(&settings, tasks.clone());
        let sockets = Sockets::bind(address)?;
        let bound = sockets.address()?;
        let zone = Arc::new(ArcSwap::from_pointee(zone));
        let responder = Responder::new(zone, Hosts::default(), forwarder);
        Ok((Self::start(sockets, responder, tasks), bound))
    }

    /// Resolves when one of them has ended before the drain, with the reason.
    pub async fn failed(self) -> io::Error {
        let ended = tokio::select! {
            ended = self.udp => ended,
            ended = self.tcp => ended,
        };
        match ended {
            Ok(Err(error)) => error,
            Ok(Ok(())) => std::future::pending().await,
            Err(panic) => io::Error::other(panic),
        }
    }
}

fn until_drain(
    tasks: &Tasks,
    name: &'static str,
    serve: impl Future<Output = io::Result<()>> + Send + 'static,
) -> JoinHandle<io::Result<()>> {
    let drain = tasks.drain();
    tasks.spawn(name, async move {
        tokio::select! {
            () = drain.wait() => Ok(()),
            ended = serve => ended,
        }
    })
}
