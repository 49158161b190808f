//! The addresses that may be given away. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// Most addresses of a pool: each in use is one on the bridge, and a search looks at all.
const SIZE_MAX: u64 = 65_536;
/// Length of the block that is taken from the pods' when none is configured.
const DEFAULT_LENGTH: u8 = 28;

/// Addresses from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    last: u32,
}

/// Ranges of addresses, in the order in which they are given away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool(Vec<Range>);

impl Pool {
    /// Reads entries like `10.1.2.0/28`, `10.1.2.3-10.1.2.9` and `10.1.2.3`. A block of /30 or larger is without its
    /// first and last address, which hosts read as the network's and as broadcast.
    ///
    /// # Errors
    /// Which entry, by its place, and what is wrong with it.
    pub fn parse(entries: &[String]) -> Result<Self, (usize, String)> {
        let mut ranges: Vec<Range> = Vec::new();
        let mut size = 0;
        for (place, entry) in entries.iter().enumerate() {
            let fail = |problem: String| (place, problem);
            let range = range(entry.trim()).map_err(fail)?;
            if let Some(other) = ranges.iter().find(|one| one.first <= range.last && range.first <= one.last)
            {
                return Err(fail(format!("{range} and {other} have addresses in common")));
            }
            size += u64::from(range.last - range.first) + 1;
            if size > SIZE_MAX {
                return Err(fail(format!("is more than {SIZE_MAX} addresses together with those before it")));
            }
            ranges.push(range);
        }
        Ok(Pool(ranges))
    }

    /// The end of the pods' block, which is the last to be given to nodes; nothing if that is smaller than a /24,
    /// for then this node's pods have all of it.
    pub fn default_of(pod_cidr: &str) -> Self {
        let Some(pods) = block(pod_cidr).ok().filter(|(_, length)| *length < 24) else {
            return Pool::default();
        };
        let last = pods.0 | mask(pods.1);
        let first = last & !mask(DEFAULT_LENGTH);
        Pool(vec![Range { first: first + 1, last: last - 1 }])
    }

    /// Whether it holds `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return false };
        let number = u32::from(address);
        self.0.iter().any(|range| range.first <= number && number <= range.last)
    }

    /// All addresses, in order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.0.iter().flat_map(|range| range.first..=range.last).map(|number| Ipv4Addr::from(number).into())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", Ipv4Addr::from(self.first), Ipv4Addr::from(self.last))
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("which is empty");
        }
        for (place, range) in self.0.iter().enumerate() {
            write!(f, "{}{range}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

fn range(entry: &str) -> Result<Range, String> {
    if entry.contains('/') {
        let (address, length) = block(entry)?;
        let (first, last) = (address & !mask(length), address | mask(length));
        return Ok(if length > 30 {
            Range { first, last }
        } else {
            Range { first: first + 1, last: last - 1 }
        });
    }
    let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
    let (first, last) = (u32::from(address(first)?), u32::from(address(last)?));
    if last < first {
        return Err(format!("{entry} ends before it begins"));
    }
    Ok(Range { first, last })
}

fn block(text: &str) -> Result<(u32, u8), String> {
    let (number, length) = text.split_once('/').unwrap_or((text, "32"));
    let number = u32::from(address(number)?);
    let length: Option<u8> = length.parse().ok().filter(|length| (1..=32).contains(length));
    let length = length.ok_or_else(|| format!("{text} is not a block such as 10.1.2.0/28"))?;
    Ok((number, length))
}

fn address(text: &str) -> Result<Ipv4Addr, String> {
    let text = text.trim();
    let address: Ipv4Addr = text.parse().map_err(|_| format!("{text:?} is not an IPv4 address"))?;
    match address.is_loopback()
        || address.is_multicast()
        || address.is_unspecified()
        || address.is_broadcast()
    {
        true => Err(format!("{address} cannot be an address of a Service")),
        false => Ok(address),
    }
}

/// The bits that differ within a block.
fn mask(length: u8) -> u32 {
    u32::MAX.checked_shr(length.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entries: &[&str]) -> Result<Pool, (usize, String)> {
        Pool::parse(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn entries_are_blocks_ranges_and_addresses() {
        let pool = read(&["10.1.2.0/30", "10.1.3.7-10.1.3.8", "10.1.4.1", "10.1.5.4/31"]).unwrap();
        let all: Vec<String> = pool.addresses().map(|one| one.to_string()).collect();
        assert_eq!(all, ["10.1.2.1", "10.1.2.2", "10.1.3.7", "10.1.3.8", "10.1.4.1", "10.1.5.4", "10.1.5.5"]);
        assert!(pool.contains("10.1.3.8".parse().unwrap()) && !pool.contains("10.1.2.0".parse().unwrap()));
        assert!(!pool.contains("::1".parse().unwrap()));
    }

    #[test]
    fn wrong_entries_are_named() {
        for (entries, place, words) in [
            (&["10.0.0.0/33"][..], 0, "is not a block"),
            (&["10.0.0.0/0"], 0, "is not a block"),
            (&["10.0.0.1", "x"], 1, "\"x\" is not an IPv4 address"),
            (&["10.0.0.9-10.0.0.1"], 0, "ends before it begins"),
            (
                &["10.0.0.0/28", "10.0.0.3"],
                1,
                "10.0.0.3-10.0.0.3 and 10.0.0.1-10.0.0.14 have addresses in common",
            ),
            (&["10.0.0.0/8"], 0, "is more than 65536"),
            (&["127.0.0.1"], 0, "cannot be"),
            (&["fd00::/120"], 0, "is not an IPv4 address"),
        ] {
            let (at, problem) = read(entries).unwrap_err();
            assert!(at == place && problem.contains(words), "{entries:?}: {at} {problem}");
        }
    }

    #[test]
    fn the_default_is_the_end_of_the_pods_block() {
        assert_eq!(Pool::default_of("10.244.0.0/16").to_string(), "10.244.255.241-10.244.255.254");
        assert_eq!(Pool::default_of("10.8.0.0/24"), Pool::default());
        assert_eq!(Pool::default_of("?"), Pool::default());
        assert_eq!(Pool::default().to_string(), "which is empty");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(entry in ".{0,40}", digits in "[0-9./ -]{0,30}") {
            let _ = Pool::parse(&[entry, digits.clone()]);
            let _ = Pool::default_of(&digits);
        }
    }
}
