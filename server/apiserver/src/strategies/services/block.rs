//! Blocks of addresses that Services get theirs from.

use std::net::Ipv4Addr;

use sampan_api::go::Quote as _;

/// An IPv4 block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceBlock {
    network: u32,
    length: u8,
}

impl ServiceBlock {
    /// The block of prefix length `length` that holds `address`.
    pub fn new(address: Ipv4Addr, length: u8) -> Self {
        let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length.into())).unwrap_or(0);
        Self { network: u32::from(address) & mask, length }
    }

    /// The `index`-th address.
    pub fn at(self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.network.wrapping_add(index))
    }

    /// Whether Services may have `address`: within the block, neither its first nor its last
    /// (`PrefixContainsIP` of `pkg/api/servicecidr`).
    pub fn offers(self, address: Ipv4Addr) -> bool {
        let index = u32::from(address).wrapping_sub(self.network);
        (1..=self.hosts()).contains(&index)
    }

    /// How many addresses it has to offer; those are the first to the `hosts`-th.
    fn hosts(self) -> u32 {
        u32::MAX.checked_shr(self.length.into()).unwrap_or(0).saturating_sub(1)
    }

    /// How many of the first addresses are kept for whoever names one (KEP-3070): a sixteenth, at least 16, at
    /// most 256.
    fn band(self) -> u32 {
        let size = self.hosts().saturating_add(2);
        if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }
    }

    /// All it has to offer in the order in which they are given out: from a place that `random` chooses in the
    /// upper part, then from one in the band.
    pub fn in_turn(self, random: u32) -> impl Iterator<Item = Ipv4Addr> {
        let (hosts, band) = (self.hosts(), self.band().min(self.hosts()));
        let around = move |first: u32, count: u32| {
            (0..count).map(move |i| self.at(first + (random % count + i) % count))
        };
        around(band + 1, hosts - band).chain(around(1, band))
    }
}

impl std::fmt::Display for ServiceBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.length)
    }
}

impl std::str::FromStr for ServiceBlock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{} is not an IPv4 block such as 10.96.0.0/12", text.quoted());
        let (address, length) = text.split_once('/').ok_or_else(bad)?;
        let length: u8 = length.parse().ok().filter(|length| (1..=32).contains(length)).ok_or_else(bad)?;
        Ok(Self::new(address.parse().map_err(|_| bad())?, length))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn block(text: &str) -> ServiceBlock {
        text.parse().unwrap()
    }

    #[test]
    fn neither_the_first_nor_the_last_address_is_offered() {
        let offers = |text: &str, address: &str| block(text).offers(address.parse().unwrap());
        for (text, address, expected) in [
            ("10.96.0.0/12", "10.96.0.0", false),
            ("10.96.0.0/12", "10.96.0.1", true),
            ("10.96.0.0/12", "10.111.255.254", true),
            ("10.96.0.0/12", "10.111.255.255", false),
            ("10.96.0.0/12", "10.112.0.1", false),
            ("10.96.0.0/12", "10.95.255.255", false),
            ("10.0.0.0/30", "10.0.0.2", true),
            ("10.0.0.0/30", "10.0.0.3", false),
            ("10.0.0.0/31", "10.0.0.1", false),
            ("10.0.0.7/32", "10.0.0.7", false),
            ("128.0.0.0/1", "255.255.255.254", true),
        ] {
            assert_eq!(offers(text, address), expected, "{address} of {text}");
        }
    }

    #[test]
    fn the_band_comes_last_and_every_address_once() {
        for (text, hosts, band) in [
            ("10.0.0.0/28", 14, 0),
            ("10.0.0.0/27", 30, 16),
            ("10.0.0.0/24", 254, 16),
            ("10.0.0.0/20", 4094, 256),
        ] {
            for random in [0, 7, u32::MAX] {
                let all: Vec<u32> = block(text).in_turn(random).map(|a| u32::from(a) - 0x0a00_0000).collect();
                assert_eq!(all.len(), hosts, "{text}");
                let (upper, lower) = all.split_at(hosts - band);
                assert!(
                    upper.iter().all(|i| *i > band as u32) && lower.iter().all(|i| *i <= band as u32),
                    "{text}"
                );
                let mut sorted = all.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(1..=hosts as u32), "{text}");
            }
        }
        assert_eq!(block("10.0.0.0/31").in_turn(5).count(), 0);
    }

    #[test]
    fn blocks_are_read_and_written() {
        assert_eq!(block("10.96.3.4/12").to_string(), "10.96.0.0/12");
        for bad in ["", "10.96.0.0", "10.96.0.0/0", "10.96.0.0/33", "fd00::/64", "x/8"] {
            assert!(bad.parse::<ServiceBlock>().is_err(), "{bad}");
        }
    }
}
