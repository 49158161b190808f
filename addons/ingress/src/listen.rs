//! The sockets. A port that is taken is tried again with growing pauses, for nothing tells when its holder ends; the
//! others are served meanwhile, and health says who has it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::Config;
use crate::holder;
use crate::standing::Gap;
use crate::worker::Door;

/// First pause before a port is tried again; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A socket that should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    address: SocketAddr,
    tls: bool,
}

/// Why one is not there.
#[derive(Debug)]
struct Missing {
    wanted: Wanted,
    reason: String,
}

fn wanted(config: &Config) -> Vec<Wanted> {
    let of = |port: u16, tls| config.sockets(port).into_iter().map(move |address| Wanted { address, tls });
    of(config.http.port, false).chain(of(config.https.port, true)).collect()
}

/// How many sockets there should be.
pub fn count(config: &Config) -> usize {
    wanted(config).len()
}

/// Opens all sockets and hands each to every worker. Ends when none is missing; says through `told` which are.
pub async fn open(config: &Config, workers: &[UnboundedSender<Door>], told: impl Fn(Vec<Gap>)) {
    let (mut rest, mut pause) = (wanted(config), PAUSE);
    loop {
        let missing = attempt(&rest, workers);
        let gap = |missing: &Missing| Gap { tls: missing.wanted.tls, reason: missing.reason.clone() };
        told(missing.iter().map(gap).collect());
        if missing.is_empty() {
            return;
        }
        rest = missing.into_iter().map(|missing| missing.wanted).collect();
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn attempt(wanted: &[Wanted], workers: &[UnboundedSender<Door>]) -> Vec<Missing> {
    let mut missing = Vec::new();
    for &wanted in wanted {
        match bind(wanted.address).and_then(|listener| hand_out(&listener, wanted, workers)) {
            Ok(()) => tracing::info!(address = %wanted.address, tls = wanted.tls, "listening"),
            Err(error) => missing.push(Missing { wanted, reason: reason(wanted.address, &error) }),
        }
    }
    missing
}

/// All of the host's addresses of both families, or of IPv4 alone where there is no IPv6.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    // without SO_REUSEPORT: two who listen would each get a part of the connections
    let bound = TcpListener::bind(address).or_else(|error| match error.raw_os_error() {
        Some(libc_eafnosupport) if libc_eafnosupport == EAFNOSUPPORT && address.ip().is_unspecified() => {
            TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], address.port())))
        }
        _ => Err(error),
    })?;
    bound.set_nonblocking(true)?;
    Ok(bound)
}

/// Linux's number for an address family that the kernel does not have.
const EAFNOSUPPORT: i32 = 97;

fn hand_out(listener: &TcpListener, wanted: Wanted, workers: &[UnboundedSender<Door>]) -> io::Result<()> {
    let port = listener.local_addr()?.port();
    for worker in workers {
        // a worker that has ended has its reason told elsewhere
        let _ = worker.send(Door { listener: listener.try_clone()?, port, tls: wanted.tls });
    }
    Ok(())
}

fn reason(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => match holder::of(port) {
            Some(holder) => format!("port {port} is taken by {holder}"),
            None => format!("port {port} is taken"),
        },
        _ => format!("{address} cannot be listened at: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_taken_port_is_named_and_had_once_it_is_free() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut config = Config { addresses: vec!["127.0.0.1".parse().unwrap()], ..Config::default() };
        (config.http.port, config.https.port) = (port, 0);
        let (sender, mut doors) = unbounded_channel();
        let mut holds = Some(taken);
        let told = std::cell::RefCell::new(Vec::new());
        let holds = std::cell::RefCell::new(&mut holds);
        open(&config, &[sender], |missing| {
            told.borrow_mut().push(missing);
            // the one that held it ends after our first try
            holds.borrow_mut().take();
        })
        .await;
        let told = told.into_inner();
        let [Gap { tls: false, reason }] = &told[0][..] else { panic!("{told:?}") };
        let own = std::process::id();
        assert!(
            reason.starts_with(&format!("port {port} is taken by "))
                && reason.contains(&format!("pid {own}"))
        );
        assert_eq!(told[1..], [vec![]]);
        assert_eq!(doors.recv().await.unwrap().port, port);
    }
}
