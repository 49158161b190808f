//! Links, addresses and namespaces: the rim over netlink and mounts.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoPortKind, InfoVeth, LinkAttribute,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use crate::Error;
use crate::subnet::Subnet;

/// A pod's end of its pair.
const FAR: &str = "eth0";

pub(crate) fn netlink(what: &str) -> impl FnOnce(rtnetlink::Error) -> Error + '_ {
    move |error| Error::Netlink { what: what.to_owned(), message: error.to_string() }
}

pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |error| Error::Io { what, error }
}

/// Index of a link, if there is one of that name.
pub async fn index(handle: &Handle, name: &str) -> Option<u32> {
    let mut found = Box::pin(handle.link().get().match_name(name).execute());
    found.try_next().await.ok().flatten().map(|link| link.header.index)
}

/// Names of all links.
pub async fn names(handle: &Handle) -> Vec<(u32, String)> {
    let mut links = Box::pin(handle.link().get().execute());
    let mut all = Vec::new();
    while let Ok(Some(link)) = links.try_next().await {
        for attribute in link.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                all.push((link.header.index, name));
            }
        }
    }
    all
}

/// Blocks that the host uses: addresses and routes, but not through `own`, each with the index of its link (0: none).
pub async fn used(handle: &Handle, own: &str) -> Vec<(u32, Subnet)> {
    let own = index(handle, own).await;
    let mut all = Vec::new();
    let mut addresses = Box::pin(handle.address().get().execute());
    while let Ok(Some(message)) = addresses.try_next().await {
        for attribute in &message.attributes {
            if let AddressAttribute::Address(IpAddr::V4(address)) = attribute
                && Some(message.header.index) != own
            {
                all.push((message.header.index, Subnet::new(*address, message.header.prefix_len)));
            }
        }
    }
    let mut routes = Box::pin(handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute());
    while let Ok(Some(message)) = routes.try_next().await {
        let out = message.attributes.iter().find_map(|one| match one {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
        for attribute in &message.attributes {
            if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute
                && (own.is_none() || out != own)
            {
                let block = Subnet::new(*address, message.header.destination_prefix_length);
                all.push((out.unwrap_or_default(), block));
            }
        }
    }
    all
}

/// Makes the bridge, or takes the one that is there.
pub async fn bridge(handle: &Handle, name: &str, gateway: Ipv4Addr, length: u8) -> Result<u32, Error> {
    let index_ = match index(handle, name).await {
        Some(index) => index,
        None => {
            let made = handle.link().add(LinkBridge::new(name).up().build()).execute().await;
            made.map_err(netlink("creating the bridge"))?;
            let missing = || Error::Netlink { what: "bridge".into(), message: "it vanished".into() };
            index(handle, name).await.ok_or_else(missing)?
        }
    };
    let up = LinkUnspec::new_with_index(index_).up().build();
    handle.link().set(up).execute().await.map_err(netlink("bridge up"))?;
    let added = handle.address().add(index_, IpAddr::V4(gateway), length).replace().execute().await;
    added.map_err(netlink("address of the bridge"))?;
    Ok(index_)
}

/// A veth pair with its far end in a namespace as `eth0`, and its near end on the bridge: made where they
/// belong in one message, because a link that moves or is renamed later costs the kernel a grace period.
pub async fn veth(handle: &Handle, name: &str, netns: &Path, bridge: u32) -> Result<(), Error> {
    let file = File::open(netns).map_err(io(netns.display().to_string()))?;
    let far = LinkUnspec::new_with_name(FAR).setns_by_fd(file.as_raw_fd()).build();
    let near = || {
        let pair = LinkVeth::new(name, FAR).set_info_data(InfoData::Veth(InfoVeth::Peer(far.clone())));
        handle.link().add(pair.controller(bridge).build())
    };
    if let Err(error) = near().execute().await {
        // left by a namespace that a process still holds, or that the kernel has not yet cleared away
        let old = index(handle, name).await.ok_or_else(|| netlink("creating a veth pair")(error))?;
        let _ = handle.link().del(old).execute().await;
        near().execute().await.map_err(netlink("creating a veth pair"))?;
    }
    // the bridge speaks IPv6 to its neighbours, its ports need not
    let silent = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let silent =
        LinkUnspec::new_with_name(name).append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![silent]));
    handle.link().set(silent.build()).execute().await.map_err(netlink("veth without addresses"))?;
    // up now that it has its peer; a pod that reaches itself through a service comes back out of its own port
    let port = LinkMessageBuilder::<LinkBridgePort>::default().name(name.to_owned());
    let port = port.set_port_kind(InfoPortKind::Bridge).hairpin(true).up().build();
    handle.link().set_port(port).execute().await.map_err(netlink("veth on the bridge"))
}

/// Makes and pins an empty network namespace. Blocking.
pub fn make_namespace(path: &Path) -> Result<(), Error> {
    File::create(path).map_err(io(path.display().to_string()))?;
    let path_ = path.to_owned();
    let made = std::thread::spawn(move || -> nix::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some("/proc/thread-self/ns/net"), &path_, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    });
    let made = made.join().unwrap_or(Err(nix::errno::Errno::EIO));
    made.map_err(|errno| io(format!("network namespace {}", path.display()))(errno.into()))
}

/// Whether the path holds a namespace (and not the empty file that a reboot leaves).
pub fn is_namespace(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::NSFS_MAGIC)
}

/// Lets go of a namespace; the kernel removes it and its veth with the last process in it.
pub fn remove_namespace(path: &Path) {
    let _ = umount2(path, MntFlags::MNT_DETACH);
    let _ = std::fs::remove_file(path);
}

/// Addresses and routes inside: `lo` up, `eth0` with the pod's address and the way out. Runs on a thread of its
/// own, because it enters the namespace.
pub async fn configure(
    netns: PathBuf,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    length: u8,
) -> Result<(), Error> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = sender.send(inside(&netns, address, gateway, length));
    });
    receiver.await.unwrap_or_else(|_| Err(io("pod namespace")(std::io::Error::other("thread panicked"))))
}

fn inside(netns: &Path, address: Ipv4Addr, gateway: Ipv4Addr, length: u8) -> Result<(), Error> {
    let what = || netns.display().to_string();
    let file = File::open(netns).map_err(io(what()))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| io(what())(errno.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io(what()))?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(io(what()))?;
        let driver = tokio::spawn(connection);
        let result = inside_links(&handle, address, gateway, length).await;
        driver.abort();
        result
    })
}

async fn inside_links(
    handle: &Handle,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    length: u8,
) -> Result<(), Error> {
    let lo = LinkUnspec::new_with_name("lo").up().build();
    handle.link().set(lo).execute().await.map_err(netlink("loopback in the pod"))?;
    let missing = || Error::Netlink { what: FAR.into(), message: "it is not in the pod".into() };
    let eth0 = index(handle, FAR).await.ok_or_else(missing)?;
    let up = LinkUnspec::new_with_index(eth0).up().build();
    handle.link().set(up).execute().await.map_err(netlink("eth0 up in the pod"))?;
    let added = handle.address().add(eth0, IpAddr::V4(address), length).execute().await;
    added.map_err(netlink("address in the pod"))?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
    handle.route().add(route).execute().await.map_err(netlink("route in the pod"))
}
