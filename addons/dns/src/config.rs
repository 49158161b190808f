//! What can be configured, and what it comes to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sampan_addon::{Error, Site};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forward::{Bounds, Settings};
use crate::name::Name;
use crate::service::Terms;

/// The longest TTL of an answer of our own (CoreDNS's limit).
const MOST_TTL: u32 = 3600;
/// The largest cache, in entries of about half a KiB.
const MOST_ENTRIES: u32 = 1_000_000;

/// The configuration of the addon.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Resolvers for all names outside the cluster, such as `192.0.2.1` or `192.0.2.1:5353`, in the order in which they
    /// are asked. Empty: those of the host's /etc/resolv.conf, followed as it changes.
    pub upstreams: Vec<String>,
    /// Zones with resolvers of their own: the zone's name, and addresses as in `upstreams`.
    pub stub_zones: BTreeMap<String, Vec<String>>,
    /// Names with addresses that are answered before everything else.
    pub hosts: BTreeMap<String, Vec<String>>,
    /// For how many seconds clients may keep an answer about the cluster.
    pub ttl_seconds: u32,
    /// How many answers of upstream resolvers are kept; 0 keeps none. Each takes about half a KiB.
    pub cache_entries: u32,
    /// For how many seconds they are kept at most.
    pub cache_seconds: u32,
    /// For how many seconds it is kept at most that a name does not exist.
    pub negative_cache_seconds: u32,
    /// The zone of the cluster's names. Empty: the cluster's own, which the pods' search paths name.
    pub cluster_domain: String,
}

impl Default for Config {
    /// As kubeadm sets CoreDNS up.
    fn default() -> Self {
        Self {
            upstreams: Vec::new(),
            stub_zones: BTreeMap::new(),
            hosts: BTreeMap::new(),
            ttl_seconds: 30,
            cache_entries: 10_000,
            cache_seconds: 30,
            negative_cache_seconds: 30,
            cluster_domain: String::new(),
        }
    }
}

/// The configuration, read.
pub struct Read {
    /// What the cluster's answers are made with; the domain is the cluster's own if none is set.
    pub domain: Option<Name>,
    /// TTL of our own answers, in seconds.
    pub ttl: u32,
    /// Names with addresses.
    pub hosts: Vec<(Name, Vec<IpAddr>)>,
    /// How questions are forwarded.
    pub forward: Settings,
}

impl Config {
    /// Reads all of it.
    ///
    /// # Errors
    /// A field is not usable.
    pub fn read(&self) -> Result<Read, Error> {
        at_most("ttlSeconds", self.ttl_seconds, MOST_TTL)?;
        at_most("cacheEntries", self.cache_entries, MOST_ENTRIES)?;
        let domain = Some(&self.cluster_domain).filter(|text| !text.is_empty());
        let stubs = self.stub_zones.iter().map(|(zone, all)| {
            let field = format!("stubZones.{zone}");
            if all.is_empty() {
                return Err(wrong(&field, "names no resolver".into()));
            }
            let name = name(&field, zone)?;
            if name.labels() == 0 {
                return Err(wrong(&field, "is every zone: set upstreams".into()));
            }
            Ok((name, servers(&field, all)?))
        });
        let hosts = self.hosts.iter().map(|(host, all)| {
            let field = format!("hosts.{host}");
            Ok((name(&field, host)?, listed(&field, all, |text| text.parse().ok(), "an IP address")?))
        });
        Ok(Read {
            domain: domain.map(|text| zone("clusterDomain", text)).transpose()?,
            ttl: self.ttl_seconds,
            hosts: hosts.collect::<Result<_, _>>()?,
            forward: Settings {
                stubs: stubs.collect::<Result<_, _>>()?,
                upstreams: servers("upstreams", &self.upstreams)?,
                cache_entries: self.cache_entries as usize,
                bounds: Bounds {
                    positive: Duration::from_secs(self.cache_seconds.into()),
                    negative: Duration::from_secs(self.negative_cache_seconds.into()),
                },
            },
        })
    }
}

impl Read {
    /// What the answers are made with at a site.
    ///
    /// # Errors
    /// The site's domain is no name.
    pub fn terms(&self, site: &Site) -> Result<Terms, Error> {
        let domain = match &self.domain {
            Some(domain) => domain.clone(),
            None => name("clusterDomain", &site.cluster_domain)?,
        };
        Ok(Terms { domain, ttl: self.ttl })
    }
}

fn wrong(field: &str, problem: String) -> Error {
    Error::Config { field: field.to_owned(), problem }
}

fn at_most(field: &str, value: u32, most: u32) -> Result<(), Error> {
    if value > most { Err(wrong(field, format!("is at most {most}"))) } else { Ok(()) }
}

/// A name that pods could have in their search paths: of labels as Kubernetes has them.
fn zone(field: &str, text: &str) -> Result<Name, Error> {
    let inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let label = |label: &str| {
        label.starts_with(inner)
            && label.ends_with(inner)
            && label.chars().all(|letter| inner(letter) || letter == '-')
    };
    match text.trim_end_matches('.').split('.').all(label) {
        true => name(field, text),
        false => {
            Err(wrong(field, format!("{text:?} is not of a-z, 0-9, '-' and '.', such as cluster.local")))
        }
    }
}

fn name(field: &str, text: &str) -> Result<Name, Error> {
    Name::parse(text).map_err(|problem| wrong(field, problem))
}

fn listed<T>(
    field: &str,
    all: &[String],
    parse: impl Fn(&str) -> Option<T>,
    wanted: &str,
) -> Result<Vec<T>, Error> {
    let one = |(place, text): (usize, &String)| {
        parse(text).ok_or_else(|| wrong(&format!("{field}[{place}]"), format!("{text:?} is not {wanted}")))
    };
    all.iter().enumerate().map(one).collect()
}

fn servers(field: &str, all: &[String]) -> Result<Vec<SocketAddr>, Error> {
    let parse = |text: &str| {
        let plain = text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
        plain.or_else(|| text.parse().ok()).filter(|server| server.port() != 0)
    };
    listed(field, all, parse, "an address such as 192.0.2.1 or 192.0.2.1:5353")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        for (config, words) in [
            (
                json!({"upstreams": ["1.1.1.1", "dns.example"]}),
                "upstreams[1]: \"dns.example\" is not an address",
            ),
            (json!({"upstreams": ["1.1.1.1:0"]}), "upstreams[0]: \"1.1.1.1:0\" is not"),
            (json!({"stubZones": {"a b": ["1.1.1.1"]}}), "stubZones.a b: \"a b\" is not a DNS name"),
            (json!({"stubZones": {"a.b": []}}), "stubZones.a.b: names no resolver"),
            (json!({"stubZones": {".": ["1.1.1.1"]}}), "stubZones..: is every zone: set upstreams"),
            (json!({"hosts": {"a.b": ["10.0.0.300"]}}), "hosts.a.b[0]: \"10.0.0.300\" is not an IP address"),
            (json!({"ttlSeconds": 3601}), "ttlSeconds: is at most 3600"),
            (json!({"cacheEntries": 1_000_001}), "cacheEntries: is at most 1000000"),
            (json!({"clusterDomain": "cluster..local"}), "clusterDomain: "),
            (json!({"clusterDomain": "Foo_"}), "clusterDomain: \"Foo_\" is not of a-z"),
        ] {
            let read = serde_json::from_value::<Config>(config).unwrap().read();
            let error = read.err().unwrap().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }

    #[test]
    fn addresses_may_have_ports() {
        let config = json!({"upstreams": ["192.0.2.1", "192.0.2.1:5353", "::1", "[::1]:54"], "stubZones": {"B.c": ["10.0.0.1"]}});
        let read = serde_json::from_value::<Config>(config).unwrap().read().unwrap();
        let texts: Vec<String> = read.forward.upstreams.iter().map(SocketAddr::to_string).collect();
        assert_eq!(texts, ["192.0.2.1:53", "192.0.2.1:5353", "[::1]:53", "[::1]:54"]);
        assert_eq!(read.forward.stubs[0].0.to_string(), "b.c");
    }
}
