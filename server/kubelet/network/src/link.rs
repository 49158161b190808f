//! Links, addresses and namespaces: the rim over netlink and mounts.

use std::collections::HashSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoVeth, LinkAttribute,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteScope};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};

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

/// Whether a link belongs to the pod network of a bridge: it is that or a pod's near end, which has its slot in hex.
pub fn is_of(name: &str, bridge: &str) -> bool {
    let rest = name.strip_prefix(bridge).filter(|_| !bridge.is_empty());
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix('v').is_some_and(|slot| u32::from_str_radix(slot, 16).is_ok())
    })
}

/// Blocks that the host uses: addresses and routes, but not of the pod network of the bridge `own`, each with the index
/// of its link (0: none).
pub async fn used(handle: &Handle, own: &str) -> Vec<(u32, Subnet)> {
    let names = names(handle).await.into_iter();
    let own: HashSet<u32> = names.filter(|(_, name)| is_of(name, own)).map(|(index, _)| index).collect();
    let mut all = Vec::new();
    let mut addresses = Box::pin(handle.address().get().execute());
    while let Ok(Some(message)) = addresses.try_next().await {
        for attribute in &message.attributes {
            if let AddressAttribute::Address(IpAddr::V4(address)) = attribute
                && !own.contains(&message.header.index)
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
                && out.is_none_or(|out| !own.contains(&out))
            {
                let block = Subnet::new(*address, message.header.destination_prefix_length);
                all.push((out.unwrap_or_default(), block));
            }
        }
    }
    all
}

/// Makes the bridge, or takes the one that is there; the address that it had in another block goes.
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
    let mut addresses = Box::pin(handle.address().get().set_link_index_filter(index_).execute());
    while let Ok(Some(message)) = addresses.try_next().await {
        let own = AddressAttribute::Address(IpAddr::V4(gateway));
        // a /32 is one that the daemon serves
        if message.header.prefix_len == length && length < 32 && !message.attributes.contains(&own) {
            let _ = handle.address().del(message).execute().await;
        }
    }
    Ok(index_)
}

/// A veth pair with its far end in a namespace as `eth0`: made where it belongs in one message, because a link that
/// moves or is renamed later costs the kernel a grace period. The near end is no port of the bridge but a link of its
/// own; [`open`] sets it up.
pub async fn veth(handle: &Handle, name: &str, netns: &Path) -> Result<(), Error> {
    let file = File::open(netns).map_err(io(netns.display().to_string()))?;
    let far = LinkUnspec::new_with_name(FAR).setns_by_fd(file.as_raw_fd()).build();
    let near = || {
        let pair = LinkVeth::new(name, FAR).set_info_data(InfoData::Veth(InfoVeth::Peer(far.clone())));
        handle.link().add(pair.build())
    };
    if let Err(error) = near().execute().await {
        // left by a namespace that a process still holds, or that the kernel has not yet cleared away
        match index(handle, name).await {
            Some(old) => drop(handle.link().del(old).execute().await),
            // it is gone by now, or that was not why
            None => tracing::debug!(name, %error, "a veth pair is tried again"),
        }
        near().execute().await.map_err(netlink("creating a veth pair"))?;
    }
    Ok(())
}

/// Sets the near end up and routes the pod's address, and nothing else, to it; the node calls itself `gateway` there.
/// After the far end is up: who comes last can send at once, while the kernel lets the other wait until a worker has
/// seen the carrier. What is sent before is lost, and lost for a second.
pub async fn open(handle: &Handle, name: &str, address: Ipv4Addr, gateway: Ipv4Addr) -> Result<(), Error> {
    // no address of its own makes it speak to its neighbour
    let silent = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let silent =
        LinkUnspec::new_with_name(name).append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![silent]));
    handle.link().set(silent.up().build()).execute().await.map_err(netlink("veth up"))?;
    // a port of the node answers on 127.0.0.1 too, and its answers come from here
    let localnet = format!("/proc/sys/net/ipv4/conf/{name}/route_localnet");
    std::fs::write(&localnet, "1").map_err(io(localnet))?;
    let missing = || Error::Netlink { what: name.to_owned(), message: "it vanished".into() };
    let near = index(handle, name).await.ok_or_else(missing)?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32);
    let route = route.pref_source(gateway).scope(RouteScope::Link).output_interface(near).build();
    handle.route().add(route).replace().execute().await.map_err(netlink("route to the pod"))
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
pub async fn configure(netns: PathBuf, address: Ipv4Addr, gateway: Ipv4Addr) -> Result<(), Error> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = sender.send(inside(&netns, address, gateway));
    });
    receiver.await.unwrap_or_else(|_| Err(io("pod namespace")(std::io::Error::other("thread panicked"))))
}

fn inside(netns: &Path, address: Ipv4Addr, gateway: Ipv4Addr) -> Result<(), Error> {
    let what = || netns.display().to_string();
    let file = File::open(netns).map_err(io(what()))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| io(what())(errno.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io(what()))?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(io(what()))?;
        let driver = tokio::spawn(connection);
        let result = inside_links(&handle, address, gateway).await;
        driver.abort();
        result
    })
}

async fn inside_links(handle: &Handle, address: Ipv4Addr, gateway: Ipv4Addr) -> Result<(), Error> {
    let lo = LinkUnspec::new_with_name("lo").up().build();
    handle.link().set(lo).execute().await.map_err(netlink("loopback in the pod"))?;
    let missing = || Error::Netlink { what: FAR.into(), message: "it is not in the pod".into() };
    let eth0 = index(handle, FAR).await.ok_or_else(missing)?;
    let up = LinkUnspec::new_with_index(eth0).up().build();
    handle.link().set(up).execute().await.map_err(netlink("eth0 up in the pod"))?;
    let added = handle.address().add(eth0, IpAddr::V4(address), 32).execute().await;
    added.map_err(netlink("address in the pod"))?;
    // nobody but the node is on the pod's link
    let neighbour = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(gateway, 32);
    let neighbour = neighbour.scope(RouteScope::Link).output_interface(eth0).build();
    handle.route().add(neighbour).execute().await.map_err(netlink("gateway in the pod"))?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
    handle.route().add(route).execute().await.map_err(netlink("route in the pod"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_links_are_known_by_name() {
        for (name, own) in [
            ("b0", true),
            ("b0v1", true),
            ("b0va", true),
            ("b0vff", true),
            ("b0v", false),
            ("b0vx", false),
            ("b1", false),
        ] {
            assert_eq!(is_of(name, "b0"), own, "{name}");
        }
    }
}
