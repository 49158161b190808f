//! The machine's addresses, and word of their changes from the kernel.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use futures::{FutureExt, StreamExt};
use nix::net::if_::InterfaceFlags;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::{MulticastGroup, new_multicast_connection};
use sampan_apiserver::ApiServer;

/// All addresses of interfaces that are up, loopback's too; link-local ones are left out.
pub fn all() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address.filter(|_| interface.flags.contains(InterfaceFlags::IFF_UP))?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let linked = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let mut addresses: Vec<IpAddr> =
        interfaces.filter_map(address).filter(|address| !linked(address)).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// The address that the node is known by: the one that traffic to the world leaves from, else any that is not
/// loopback, else loopback.
pub fn main() -> IpAddr {
    let outward = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        // connecting a datagram socket asks the routing table and sends nothing
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
            .filter(|address| !address.is_unspecified() && !address.is_loopback())
    };
    let other = || all().into_iter().find(|address| address.is_ipv4() && !address.is_loopback());
    outward().or_else(other).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// Whether the kernel speaks of an address that [`all`] would list.
fn matters(payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
    let NetlinkPayload::InnerMessage(
        RouteNetlinkMessage::NewAddress(message) | RouteNetlinkMessage::DelAddress(message),
    ) = payload
    else {
        return false;
    };
    message.attributes.iter().any(|attribute| match attribute {
        AddressAttribute::Address(IpAddr::V6(address)) => !address.is_unicast_link_local(),
        AddressAttribute::Address(IpAddr::V4(_)) => true,
        _ => false,
    })
}

/// Puts every new address of the machine into the serving certificate as soon as the kernel tells of it.
pub async fn follow(server: ApiServer) {
    let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, _handle, mut messages) = match new_multicast_connection(&groups) {
        Ok(parts) => parts,
        Err(error) => {
            tracing::warn!(%error, "changes of addresses are not seen");
            return;
        }
    };
    tokio::spawn(connection);
    while let Some((message, _)) = messages.next().await {
        // each pod's link comes and goes with one that is only its own
        let mut news = matters(&message.payload);
        while let Some(Some((message, _))) = messages.next().now_or_never() {
            news |= matters(&message.payload);
        }
        if !news {
            continue;
        }
        match server.pki().set_addresses(all()) {
            Ok(true) => tracing::info!("the serving certificate has the machine's new addresses"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the serving certificate was not renewed"),
        }
    }
}
