//! Blocks and port ranges as nft wants them: none may lie in another.

use std::net::{IpAddr, Ipv4Addr};

/// An IPv4 block as first and last address.
pub type Block = (u32, u32);

/// Reads CIDR notation; `None` for another family and for what is no block.
pub fn parse(text: &str) -> Option<Block> {
    let (address, length) = text.trim().split_once('/')?;
    let IpAddr::V4(address) = address.parse().ok()? else { return None };
    let length: u32 = length.parse().ok().filter(|length| *length <= 32)?;
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    let first = u32::from(address) & mask;
    Some((first, first | !mask))
}

/// Whether an address is in a block.
pub fn contains(block: Block, address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => (block.0..=block.1).contains(&u32::from(*four)),
        IpAddr::V6(_) => false,
    }
}

/// Ranges without overlap, sorted; those that touch become one.
pub fn unite<T: Copy + Ord + Into<u64>>(ranges: impl IntoIterator<Item = (T, T)>) -> Vec<(T, T)> {
    let mut sorted: Vec<(T, T)> = ranges.into_iter().collect();
    sorted.sort_unstable();
    let mut united: Vec<(T, T)> = Vec::new();
    for (first, last) in sorted {
        match united.last_mut() {
            Some(before) if first.into() <= before.1.into() + 1 => before.1 = before.1.max(last),
            _ => united.push((first, last)),
        }
    }
    united
}

/// Blocks without overlap as nft reads them.
pub fn merge(blocks: impl IntoIterator<Item = Block>) -> Vec<String> {
    unite(blocks)
        .into_iter()
        .map(|(first, last)| format!("{}-{}", Ipv4Addr::from(first), Ipv4Addr::from(last)))
        .collect()
}

/// Port ranges without overlap as nft reads them.
pub fn ports(ranges: impl IntoIterator<Item = (u16, u16)>) -> String {
    let text = |(first, last): (u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    unite(ranges).into_iter().map(text).collect::<Vec<_>>().join(", ")
}
