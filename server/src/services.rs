//! The block of Services' addresses: chosen when a cluster is made and fixed then, because Services keep theirs.
//!
//! Two clusters on one machine cannot share a block: the machine itself reaches Services, too.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use nix::fcntl::{Flock, FlockArg};
use sampan_pod_network::subnet::{Subnet, clash};

use crate::failure::{Failure, Kind};
use crate::options;
use crate::profile::Settings;

/// Upstream's default, as kubeadm has it.
pub const DEFAULT: &str = "10.96.0.0/12";

/// Which of the block's addresses is the API server's.
pub const API: u32 = 1;
/// Which of the block's addresses is the cluster DNS's, as kubeadm has it.
pub const DNS: u32 = 10;

/// A port at which nobody listens on an address of ours, TCP and UDP: `preferred`, or any.
pub fn free_port(address: Ipv4Addr, preferred: u16) -> std::io::Result<u16> {
    let free = |port| -> std::io::Result<u16> {
        let port = TcpListener::bind((address, port))?.local_addr()?.port();
        UdpSocket::bind((address, port)).map(|_| port)
    };
    // what is free for TCP may be taken for UDP
    (0..16).fold(free(preferred), |found, _| found.or_else(|_| free(0)))
}

/// The block of a cluster; one without a block in its settings was made before there was a choice.
pub fn block(settings: &Settings) -> Result<Subnet, Failure> {
    let text = match settings.service_cidr.as_str() {
        "" => DEFAULT,
        block => block,
    };
    options::service_cidr(text)
}

/// Held while a block is chosen, until a bridge bears its addresses: others that choose wait for it.
pub struct Choosing(#[expect(dead_code, reason = "held")] Flock<File>);

/// Waits for other clusters of this machine that are choosing.
pub async fn turn() -> Result<Choosing, Failure> {
    let lock =
        || Flock::lock(File::open("/run")?, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into());
    let held: std::io::Result<Flock<File>> =
        tokio::task::spawn_blocking(lock).await.map_err(anyhow::Error::from)?;
    Ok(Choosing(held?))
}

/// A block that neither the pods nor anything on this host uses.
pub async fn choose(pods: Subnet) -> Result<Subnet, Failure> {
    let networks = sampan_pod_network::host_networks("").await;
    let networks = networks.map_err(|error| Failure::new(Kind::PodNetwork, error.to_string()))?;
    let used: Vec<(u32, Subnet)> = networks.into_iter().map(|(_, network)| (0, network)).collect();
    candidates().find(|one| !one.overlaps(&pods) && clash(one, &used).is_none()).ok_or_else(|| {
        let message = "every block for Services is in use on this host: name one with --service-cidr";
        Failure::new(Kind::PodNetwork, message)
    })
}

/// The default, what follows it up to the pods' own default, and then smaller ones elsewhere.
fn candidates() -> impl Iterator<Item = Subnet> {
    let large = (96..240).step_by(16).map(|second| Subnet::new(Ipv4Addr::new(10, second, 0, 0), 12));
    let small = (16..32).rev().map(|second| Subnet::new(Ipv4Addr::new(172, second, 0, 0), 16));
    let tiny = (0..=255).rev().map(|third| Subnet::new(Ipv4Addr::new(192, 168, third, 0), 24));
    large.chain(small).chain(tiny)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_choice_is_upstreams() {
        let mut candidates = candidates().map(|one| one.to_string());
        assert_eq!(candidates.next().as_deref(), Some(DEFAULT));
        assert_eq!(candidates.next().as_deref(), Some("10.112.0.0/12"));
        assert!(candidates.any(|one| one == "172.31.0.0/16"));
        assert!(candidates.any(|one| one == "192.168.0.0/24"));
    }
}
