//! Names and addresses of the configuration.
//!
//! Ported behaviour: CoreDNS `plugin/hosts/hosts.go`: they go before everything else, and a name that is there has no
//! other types.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::name::{Name, Question};
use crate::section::{Builder, Section, kind};
use crate::zone::Found;

#[derive(Default)]
struct Entry {
    a: Option<Section>,
    aaaa: Option<Section>,
}

/// The entries.
#[derive(Default)]
pub struct Hosts {
    names: HashMap<Box<[u8]>, Entry>,
    pointers: HashMap<IpAddr, Section>,
}

impl Hosts {
    /// From pairs of a name and its addresses; TTL in seconds.
    pub fn new(entries: &[(Name, Vec<IpAddr>)], ttl: u32) -> Self {
        let mut pointers: HashMap<IpAddr, Builder> = HashMap::new();
        let mut names = HashMap::new();
        for (name, ips) in entries {
            let (mut a, mut aaaa) = (Builder::default(), Builder::default());
            for ip in ips {
                if ip.is_ipv4() {
                    a.address(ttl, *ip)
                } else {
                    aaaa.address(ttl, *ip)
                }
                pointers.entry(*ip).or_default().name(kind::PTR, ttl, name);
            }
            names.insert(name.wire().into(), Entry { a: a.finish(), aaaa: aaaa.finish() });
        }
        let pointers = pointers.into_iter().filter_map(|(ip, builder)| Some((ip, builder.finish()?)));
        Self { names, pointers: pointers.collect() }
    }

    /// Looks a question up; [`Found::Elsewhere`] if it is not of an entry.
    pub fn find(&self, question: &Question) -> Found<'_> {
        if self.names.is_empty() {
            return Found::Elsewhere;
        }
        match self.names.get(question.tail(0)) {
            Some(entry) => {
                let section = match question.kind {
                    kind::A => entry.a.as_ref(),
                    kind::AAAA => entry.aaaa.as_ref(),
                    _ => None,
                };
                section.map_or(Found::NoData, Found::Records)
            }
            None if question.kind == kind::PTR => {
                let pointer = question.reversed().and_then(|ip| self.pointers.get(&ip));
                pointer.map_or(Found::Elsewhere, Found::Records)
            }
            None => Found::Elsewhere,
        }
    }
}
