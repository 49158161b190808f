//! IPv4 blocks and which of them are free: plain arithmetic.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 block such as `10.244.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    base: u32,
    /// Length of the prefix.
    pub length: u8,
}

impl Subnet {
    /// The block that holds `address`.
    pub fn new(address: Ipv4Addr, length: u8) -> Self {
        let mask = if length == 0 { 0 } else { u32::MAX << (32 - u32::from(length)) };
        Subnet { base: u32::from(address) & mask, length }
    }

    /// Addresses in the block.
    pub fn size(&self) -> u64 {
        1 << (32 - u32::from(self.length))
    }

    /// The `index`-th address.
    pub fn at(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base.wrapping_add(index))
    }

    /// Which address of the block this is.
    pub fn index(&self, address: Ipv4Addr) -> Option<u32> {
        let index = u32::from(address).checked_sub(self.base)?;
        (u64::from(index) < self.size()).then_some(index)
    }

    /// Whether both blocks share an address.
    pub fn overlaps(&self, other: &Subnet) -> bool {
        let end = |one: &Subnet| u64::from(one.base) + one.size();
        u64::from(self.base) < end(other) && u64::from(other.base) < end(self)
    }

    fn next(&self) -> Option<Subnet> {
        let base = u64::from(self.base) + self.size();
        u32::try_from(base).ok().map(|base| Subnet { base, length: self.length })
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.length)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not an IPv4 block such as 10.244.0.0/24");
        let (address, length) = text.split_once('/').ok_or_else(bad)?;
        let length: u8 = length.parse().ok().filter(|length| *length <= 32).ok_or_else(bad)?;
        Ok(Subnet::new(address.parse().map_err(|_| bad())?, length))
    }
}

/// The first of the host's blocks, each with the index of its link, that shares an address with `wanted`.
pub fn clash(wanted: &Subnet, used: &[(u32, Subnet)]) -> Option<(u32, Subnet)> {
    // a default route overlaps everything and means nothing
    used.iter().find(|(_, other)| other.length >= 8 && other.overlaps(wanted)).copied()
}

/// The pods' block, or the next one of its size in 10.0.0.0/8 that neither Services nor anything on the host uses.
pub fn free(wanted: Subnet, services: Subnet, used: &[(u32, Subnet)]) -> Option<Subnet> {
    let clash = |one: &Subnet| clash(one, used).is_some();
    if !clash(&wanted) {
        return Some(wanted);
    }
    let private = Subnet::new(Ipv4Addr::new(10, 0, 0, 0), 8);
    let fits = |one: &Subnet| !clash(one) && !one.overlaps(&services);
    let from = |start: Subnet| {
        std::iter::successors(Some(start), Subnet::next).take_while(|one| one.overlaps(&private))
    };
    from(wanted).find(fits).or_else(|| from(Subnet { base: private.base, length: wanted.length }).find(fits))
}

/// The node's block moved into the pods' block, if that had to move.
pub fn rebase(node: Subnet, from: Subnet, to: Subnet) -> Subnet {
    Subnet { base: to.base.wrapping_add(node.base.wrapping_sub(from.base)), length: node.length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().expect("subnet")
    }

    #[test]
    fn blocks_are_read_and_counted() {
        let node = subnet("10.244.3.7/24");
        assert_eq!(node.to_string(), "10.244.3.0/24");
        assert_eq!((node.size(), node.at(1).to_string()), (256, "10.244.3.1".to_owned()));
        assert_eq!(node.index(Ipv4Addr::new(10, 244, 3, 9)), Some(9));
        assert_eq!(node.index(Ipv4Addr::new(10, 244, 4, 0)), None);
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "x/8"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_clash_moves_the_pods() {
        let (wanted, services) = (subnet("10.244.0.0/16"), subnet("10.96.0.0/12"));
        for (used, expect) in [
            (&["192.168.1.0/24", "0.0.0.0/0"][..], "10.244.0.0/16"),
            (&["10.244.7.0/24"], "10.245.0.0/16"),
            (&["10.240.0.0/12"], "10.0.0.0/16"),
            (&["10.244.0.0/16", "10.245.0.1/32"], "10.246.0.0/16"),
        ] {
            let used: Vec<(u32, Subnet)> = used.iter().map(|one| (2, subnet(one))).collect();
            assert_eq!(free(wanted, services, &used), Some(subnet(expect)));
        }
        assert_eq!(free(wanted, services, &[(2, subnet("10.0.0.0/8"))]), None);
        let used = [(2, subnet("0.0.0.0/0")), (3, subnet("10.244.7.0/24"))];
        assert_eq!(clash(&wanted, &used), Some((3, subnet("10.244.7.0/24"))));
        assert_eq!(rebase(subnet("10.244.3.0/24"), wanted, subnet("10.250.0.0/16")), subnet("10.250.3.0/24"));
    }
}
