//! The networks that this host has already, by the names that its administrator knows them by.
//!
//! The pod network moves away from them by itself; this is for addresses that somebody asked for, which do not move.

use std::net::Ipv4Addr;

use sampan_pod_network::subnet::Subnet;

use crate::failure::{Failure, Kind};

/// Fails with [`Kind::PodNetwork`] if `wanted` overlaps a network of the host other than the one behind `bridge`.
pub fn check_free(wanted: &str, bridge: &str) -> Result<(), Failure> {
    let block: Subnet = wanted.parse().map_err(|error: String| Failure::new(Kind::Usage, error))?;
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mut networks = addresses();
    networks.extend(routes(&table));
    match overlapping(block, bridge, &networks) {
        Some((name, network)) => Err(taken(wanted, &format!("{network} of {name}"))),
        None => Ok(()),
    }
}

/// The failure for addresses that are in use.
pub fn taken(wanted: &str, by: &str) -> Failure {
    let message = format!("the pod network {wanted} overlaps {by}, a network of this host");
    Failure::new(Kind::PodNetwork, message)
}

/// The first network that shares an address with `wanted`. A default route shares all and means nothing.
fn overlapping<'a>(
    wanted: Subnet,
    bridge: &str,
    networks: &'a [(String, Subnet)],
) -> Option<&'a (String, Subnet)> {
    networks.iter().find(|(name, network)| name != bridge && network.length >= 8 && network.overlaps(&wanted))
}

/// Networks of the interfaces' addresses.
fn addresses() -> Vec<(String, Subnet)> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let network = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?.as_sockaddr_in()?.ip();
        let mask = interface.netmask?.as_sockaddr_in()?.ip();
        Some((interface.interface_name, subnet(address, mask)))
    };
    interfaces.filter_map(network).collect()
}

/// Destinations of a `/proc/net/route` table: numbers in the host's order, in hexadecimal.
fn routes(table: &str) -> Vec<(String, Subnet)> {
    let address = |hex: &str| Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()));
    let network = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (name, destination, mask) = (fields.first()?, fields.get(1)?, fields.get(7)?);
        Some(((*name).to_owned(), subnet(address(destination)?, address(mask)?)))
    };
    table.lines().skip(1).filter_map(network).collect()
}

fn subnet(address: Ipv4Addr, mask: Ipv4Addr) -> Subnet {
    let ones = u32::from(mask).leading_ones();
    // at most 32 of them
    Subnet::new(address, u8::try_from(ones).unwrap_or(32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
        sampan0\t0000F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_overlap_is_named_and_ones_own_bridge_is_none() {
        let networks = routes(TABLE);
        let found = |wanted: &str| {
            let wanted = wanted.parse().expect("block");
            overlapping(wanted, "sampan0", &networks).map(|(name, network)| format!("{network} {name}"))
        };
        assert_eq!(found("172.17.4.0/24").as_deref(), Some("172.17.0.0/16 eth0"));
        assert_eq!(found("10.244.0.0/16"), None);
        assert_eq!(found("10.9.0.0/16"), None);
    }
}
