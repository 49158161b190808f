//! The pods' network on one node: a veth pair per pod, addresses, routes, a bridge that bears the node's addresses, and
//! one nftables table.
//!
//! A pod's address is a /32 and all that it sends goes to the node, which routes it into another pod's veth or out. So
//! every packet, also from pod to neighbour, is seen by the node's rules whatever the host makes of bridges
//! (br_netfilter), translations are undone on the way back, and no pod can reach another past the rules. The bridge has
//! no ports: it is where the node's address among the pods and those that the daemon serves live, and where the
//! services' block is routed.
//!
//! ```text
//!  run_dir/netns/7             a namespace, pinned; its veth is up and has the subnet's 7th address
//!  run_dir/netns/7.pod         whose it is; absent: it waits in the pool
//!  data_dir/pod-network.json   the block that was wanted, and the one that was taken
//! ```
//!
//! These files are the only record, so nothing has to be kept in step: a restart reads the directory. The block stays
//! for the cluster's life; it moves only where the host's networks collide with it and no pod has an address of it. A namespace is made before it is needed,
//! and a used one is never given to another pod; what waited in the pool a restart makes anew.

mod link;
mod rules;
mod slots;
pub mod subnet;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rtnetlink::Handle;
use sampan_process::Tasks;
use serde::{Deserialize, Serialize};
use slots::{Lease, Slots};
use subnet::Subnet;
use tokio::sync::{Notify, OnceCell, Semaphore};

/// Why the network could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration does not parse.
    #[error("{0}")]
    Config(String),
    /// Every address of the node is in use.
    #[error("no free address in the node's pod subnet {0}: delete pods")]
    Exhausted(Subnet),
    /// The block that was asked for, and no other, is not free.
    #[error("the pod network {wanted} overlaps {network} of {link}, a network of this host")]
    Overlap {
        /// The block.
        wanted: Subnet,
        /// What it overlaps.
        network: Subnet,
        /// The host's interface that has it.
        link: String,
    },
    /// No block is left for pods.
    #[error("every block of {0}'s size in 10.0.0.0/8 is in use on this host: set another pod CIDR")]
    NoBlock(Subnet),
    /// The program is missing.
    #[error("nft was not found: install the package nftables")]
    NoNft,
    /// The kernel or nft refused the rules.
    #[error("nft: {0}")]
    Nft(String),
    /// The kernel refused.
    #[error("{what}: {message}")]
    Netlink {
        /// What was being done.
        what: String,
        /// The kernel's words.
        message: String,
    },
    /// A file or system call failed.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        error: std::io::Error,
    },
}

/// What the network needs to be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Namespaces are pinned in `netns` below it.
    pub run_dir: PathBuf,
    /// Keeps which block was taken, for the cluster's life: a node's `podCIDR` never changes.
    pub data_dir: PathBuf,
    /// Bridge, such as `sampan0`; at most ten letters.
    pub bridge: String,
    /// All pods of the cluster, such as `10.244.0.0/16`.
    pub pod_cidr: String,
    /// Whether no other block will do; otherwise one that the host uses already is left for another.
    pub fixed: bool,
    /// Addresses of Services, such as `10.96.0.0/12`: pods are kept out of them.
    pub service_cidr: String,
    /// Pods of this node, such as `10.244.0.0/24`.
    pub node_subnet: String,
    /// Namespaces kept ready.
    pub pool_size: usize,
    /// Name of the nftables table.
    pub table: String,
}

/// A pod's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNet {
    /// Path of its namespace.
    pub netns: PathBuf,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Its way out: the node on the bridge.
    pub gateway: IpAddr,
}

/// Protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of the node that leads into a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// Protocol.
    pub protocol: Protocol,
    /// Only on this address of the node.
    pub host_ip: Option<Ipv4Addr>,
    /// Port on the node.
    pub host_port: u16,
    /// Port in the pod.
    pub container_port: u16,
}

struct Inner {
    config: Config,
    pods: Subnet,
    node: Subnet,
    handle: Handle,
    base: OnceCell<u32>,
    slots: Mutex<Slots>,
    refill: Notify,
    filling: tokio::sync::Mutex<()>,
    rules: tokio::sync::Mutex<()>,
    /// The kernel drops what it has to say when more than a socket's buffer of answers is outstanding.
    talks: Semaphore,
}

/// Conversations with the kernel at one time.
const TALKS: usize = 8;

/// The networks of this host other than those behind `bridge`, each with the name of its link.
pub async fn host_networks(bridge: &str) -> Result<Vec<(String, Subnet)>, Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(link::io("netlink"))?;
    let driver = tokio::spawn(connection);
    let (used, names) = tokio::join!(link::used(&handle, bridge), link::names(&handle));
    driver.abort();
    let name = |index: u32| names.iter().find(|(one, _)| *one == index).map(|(_, name)| name.clone());
    Ok(used.into_iter().map(|(index, network)| (name(index).unwrap_or_default(), network)).collect())
}

/// The network of this node's pods.
#[derive(Clone)]
pub struct PodNetwork(Arc<Inner>);

impl PodNetwork {
    /// Reads what an earlier process left, and fills the pool in the background.
    pub async fn new(config: Config, tasks: Tasks) -> Result<Self, Error> {
        let wanted: Subnet = config.pod_cidr.parse().map_err(Error::Config)?;
        let node: Subnet = config.node_subnet.parse().map_err(Error::Config)?;
        let services: Subnet = config.service_cidr.parse().map_err(Error::Config)?;
        let directory = config.run_dir.join("netns");
        std::fs::create_dir_all(&directory).map_err(link::io(directory.display().to_string()))?;
        let (connection, handle, _) = rtnetlink::new_connection().map_err(link::io("netlink"))?;
        tasks.spawn_until_drain("netlink", connection);
        let used = link::used(&handle, &config.bridge).await;
        if let Some((index, network)) = subnet::clash(&wanted, &used).filter(|_| config.fixed) {
            let mut links = link::names(&handle).await.into_iter();
            let link = links.find(|(one, _)| *one == index).map(|(_, name)| name).unwrap_or_default();
            return Err(Error::Overlap { wanted, network, link });
        }
        let slots = Slots::read(&directory);
        let kept = slots::kept_block(&config.data_dir, wanted).filter(|_| !config.fixed);
        let clash = kept.and_then(|kept| subnet::clash(&kept, &used));
        let pods = match (kept, clash) {
            (Some(kept), None) => kept,
            (Some(kept), Some((_, network))) if !slots.leased.is_empty() => {
                tracing::warn!(%kept, %network, "pod network collides with a network of this host and stays while pods have its addresses");
                kept
            }
            _ => {
                let pods = subnet::free(wanted, services, &used).ok_or(Error::NoBlock(wanted))?;
                if pods != wanted {
                    tracing::warn!(%wanted, used = %pods, "pod network collides with a network of this host and was moved");
                }
                slots::keep_block(&config.data_dir, wanted, pods)?;
                pods
            }
        };
        let node = subnet::rebase(node, wanted, pods);
        let slots = Mutex::new(slots);
        let inner = Inner {
            pods,
            node,
            handle,
            base: OnceCell::new(),
            slots,
            refill: Notify::new(),
            filling: tokio::sync::Mutex::default(),
            rules: tokio::sync::Mutex::default(),
            talks: Semaphore::new(TALKS),
            config,
        };
        let network = PodNetwork(Arc::new(inner));
        let filler = Arc::downgrade(&network.0);
        tasks.spawn_until_drain("pod network pool", async move {
            while let Some(inner) = filler.upgrade() {
                if let Err(error) = inner.fill().await {
                    tracing::warn!(%error, "network namespaces cannot be prepared");
                }
                inner.refill.notified().await;
            }
        });
        Ok(network)
    }

    /// The pods' block in use: another than configured if that collided with the host's networks.
    pub fn pod_cidr(&self) -> String {
        self.0.pods.to_string()
    }

    /// This node's block in use.
    pub fn node_subnet(&self) -> String {
        self.0.node.to_string()
    }

    /// The node's address on the bridge.
    pub fn gateway(&self) -> Ipv4Addr {
        self.0.node.at(1)
    }

    /// Makes the bridge, and puts the addresses there that the daemon itself answers on, so that pods and host reach
    /// it without translation.
    pub async fn serve_at(&self, addresses: &[Ipv4Addr]) -> Result<(), Error> {
        let bridge = self.0.base().await?;
        for address in addresses {
            let put = self.0.handle.address().add(bridge, IpAddr::V4(*address), 32).replace().execute().await;
            put.map_err(link::netlink("an address on the bridge"))?;
        }
        Ok(())
    }

    /// A namespace for a pod, from the pool or made now. The same pod gets the same again.
    pub async fn acquire(&self, uid: &str) -> Result<PodNet, Error> {
        if let Some(known) = self.0.of(uid) {
            return Ok(known);
        }
        self.0.base().await?;
        let ready = self.0.slots.lock().take_ready();
        let index = match ready {
            Some(index) => index,
            None => self.0.make().await?,
        };
        let leased = self.0.lease(index, Lease { uid: uid.to_owned(), attached: None, ports: Vec::new() });
        if let Err(error) = leased {
            self.0.slots.lock().put_ready(index);
            return Err(error);
        }
        self.0.refill.notify_one();
        Ok(self.0.pod_net(index, None))
    }

    /// Connects a namespace that somebody else made.
    pub async fn attach(&self, netns: &Path, uid: &str) -> Result<PodNet, Error> {
        if let Some(known) = self.0.of(uid) {
            return Ok(known);
        }
        self.0.base().await?;
        let index = self.0.slots.lock().reserve(self.0.node)?;
        let attached = Some(netns.to_owned());
        let lease = Lease { uid: uid.to_owned(), attached: attached.clone(), ports: Vec::new() };
        let made = self.0.connect(index, netns).await.and_then(|()| self.0.lease(index, lease));
        if let Err(error) = made {
            // what was made of it has an address that is another's next
            self.0.destroy(index, true).await;
            self.0.slots.lock().forget(index);
            return Err(error);
        }
        Ok(self.0.pod_net(index, attached))
    }

    /// Makes ports of the node lead into the pod; an empty list takes them back.
    pub async fn set_host_ports(&self, uid: &str, ports: Vec<HostPort>) -> Result<(), Error> {
        let found = self.0.slots.lock().find(uid).map(|(index, lease)| (index, lease.clone()));
        let Some((index, mut lease)) = found.filter(|(_, lease)| lease.ports != ports) else { return Ok(()) };
        let before = std::mem::replace(&mut lease.ports, ports);
        self.0.lease(index, lease.clone())?;
        let applied = self.0.apply_rules().await;
        if applied.is_err() {
            // who asks again must not hear that it is so already
            lease.ports = before;
            self.0.lease(index, lease)?;
        }
        applied
    }

    /// Takes the pod's address back. Unknown pods are fine.
    pub async fn release(&self, uid: &str) -> Result<(), Error> {
        let found = self.0.slots.lock().take_leased(uid);
        let Some((index, lease)) = found else { return Ok(()) };
        self.0.destroy(index, lease.attached.is_some()).await;
        self.0.slots.lock().forget(index);
        if lease.ports.is_empty() { Ok(()) } else { self.0.apply_rules().await }
    }

    /// Releases what belongs to pods that are not known any more.
    pub async fn recover(&self, known: &[String]) -> Result<(), Error> {
        let gone: Vec<String> = {
            let slots = self.0.slots.lock();
            slots
                .leased
                .values()
                .filter(|lease| !known.contains(&lease.uid))
                .map(|lease| lease.uid.clone())
                .collect()
        };
        for uid in gone {
            self.release(&uid).await?;
        }
        Ok(())
    }

    /// The network of a pod, if it has one.
    pub fn get(&self, uid: &str) -> Option<PodNet> {
        self.0.of(uid)
    }

    /// Removes bridge, namespaces, veths and rules.
    pub async fn cleanup(&self) -> Result<(), Error> {
        self.0.slots.lock().closed = true;
        // one that is being made for the pool is made to its end
        let _filled = self.0.filling.lock().await;
        let all: Vec<u32> = {
            let mut slots = self.0.slots.lock();
            let leased = std::mem::take(&mut slots.leased).into_keys();
            leased.chain(std::mem::take(&mut slots.ready)).collect()
        };
        for index in all {
            self.0.destroy(index, false).await;
        }
        for (index, name) in link::names(&self.0.handle).await {
            if link::is_of(&name, &self.0.config.bridge) {
                let _ = self.0.handle.link().del(index).execute().await;
            }
        }
        let _ = std::fs::remove_dir_all(self.0.config.run_dir.join("netns"));
        self.withdraw().await
    }

    /// Takes the rules back; the bridge and the pods' namespaces stay for the next start.
    pub async fn withdraw(&self) -> Result<(), Error> {
        rules::leave_firewall(&self.0.config.bridge).await;
        let table = &self.0.config.table;
        match rules::apply(&format!("table ip {table} {{ }}\ndelete table ip {table}\n")).await {
            Err(Error::NoNft) => Ok(()),
            other => other,
        }
    }
}

impl Inner {
    fn netns(&self, index: u32) -> PathBuf {
        self.config.run_dir.join("netns").join(index.to_string())
    }

    fn lease_file(&self, index: u32) -> PathBuf {
        self.config.run_dir.join("netns").join(format!("{index}.pod"))
    }

    fn veth(&self, index: u32) -> String {
        format!("{}v{index:x}", self.config.bridge)
    }

    fn pod_net(&self, index: u32, attached: Option<PathBuf>) -> PodNet {
        PodNet {
            netns: attached.unwrap_or_else(|| self.netns(index)),
            ips: vec![IpAddr::V4(self.node.at(index))],
            gateway: IpAddr::V4(self.node.at(1)),
        }
    }

    fn of(&self, uid: &str) -> Option<PodNet> {
        let slots = self.slots.lock();
        slots.find(uid).map(|(index, lease)| self.pod_net(index, lease.attached.clone()))
    }

    fn lease(&self, index: u32, lease: Lease) -> Result<(), Error> {
        slots::write(&self.lease_file(index), &lease)?;
        let mut slots = self.slots.lock();
        slots.forget(index);
        slots.leased.insert(index, lease);
        Ok(())
    }

    /// Bridge, forwarding and rules, once.
    async fn base(&self) -> Result<u32, Error> {
        let base = self.base.get_or_try_init(|| async {
            let index =
                link::bridge(&self.handle, &self.config.bridge, self.node.at(1), self.node.length).await?;
            let bridge = &self.config.bridge;
            let set = |path: String, value: &str| std::fs::write(&path, value).map_err(link::io(path));
            set("/proc/sys/net/ipv4/ip_forward".into(), "1")?;
            // a port of the node answers on 127.0.0.1 too
            set(format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"), "1")?;
            self.apply_rules().await?;
            rules::pass_firewall(bridge).await;
            Ok(index)
        });
        base.await.copied()
    }

    async fn apply_rules(&self) -> Result<(), Error> {
        // in order: a later state must not be overwritten by an earlier one
        let _one = self.rules.lock().await;
        let ports = {
            let slots = self.slots.lock();
            let with = slots.leased.iter().filter(|(_, lease)| !lease.ports.is_empty());
            with.map(|(index, lease)| (lease.uid.clone(), (self.node.at(*index), lease.ports.clone())))
                .collect()
        };
        let text = rules::render(&rules::Rules {
            table: &self.config.table,
            bridge: &self.config.bridge,
            pods: self.pods,
            node: self.node,
            ports: &ports,
        });
        rules::apply(&text).await
    }

    async fn make(&self) -> Result<u32, Error> {
        let index = self.slots.lock().reserve(self.node)?;
        let path = self.netns(index);
        let result = async {
            let made = tokio::task::spawn_blocking({
                let path = path.clone();
                move || link::make_namespace(&path)
            });
            made.await.map_err(|error| link::io("thread")(std::io::Error::other(error)))??;
            self.connect(index, &path).await
        }
        .await;
        if result.is_err() {
            link::remove_namespace(&path);
            self.slots.lock().forget(index);
        }
        // on success it stays reserved until it is leased or in the pool
        result.map(|()| index)
    }

    async fn connect(&self, index: u32, netns: &Path) -> Result<(), Error> {
        self.base().await?;
        // never closed
        let _talk = self.talks.acquire().await;
        let (address, gateway) = (self.node.at(index), self.node.at(1));
        let near = self.veth(index);
        link::veth(&self.handle, &near, netns).await?;
        link::configure(netns.to_owned(), address, gateway).await?;
        link::open(&self.handle, &near, address, gateway).await
    }

    async fn fill(&self) -> Result<(), Error> {
        let _one = self.filling.lock().await;
        loop {
            {
                let slots = self.slots.lock();
                if slots.closed || slots.ready.len() >= self.config.pool_size {
                    return Ok(());
                }
            }
            let index = self.make().await?;
            self.slots.lock().put_ready(index);
        }
    }

    /// The kernel removes a veth pair with its namespace, many of them at one go; one whose namespace is not
    /// ours to remove is taken away by itself.
    async fn destroy(&self, index: u32, attached: bool) {
        let _talk = self.talks.acquire().await;
        if attached && let Some(link) = link::index(&self.handle, &self.veth(index)).await {
            let _ = self.handle.link().del(link).execute().await;
        }
        link::remove_namespace(&self.netns(index));
        let _ = std::fs::remove_file(self.lease_file(index));
    }
}
