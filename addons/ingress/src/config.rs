//! The configuration, and what it means for connections.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sampan_addon::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::annotations;

/// The addon's configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Addresses to listen on. Empty: all of the host's.
    pub addresses: Vec<IpAddr>,
    /// Plain HTTP.
    pub http: Port,
    /// HTTP over TLS.
    pub https: Port,
    /// The address that Ingresses show in their status. Empty: the first of `addresses`, or the node's.
    pub publish_address: Option<IpAddr>,
    /// Whether Ingresses that name no class are served.
    pub default_class: bool,
    /// Other class names that are served, for manifests written for another controller. One for which an IngressClass
    /// of another controller exists is left to that.
    pub class_aliases: Vec<String>,
    /// Secret `NAMESPACE/NAME` with the certificate for hosts that have none. Empty: one that signs itself.
    pub default_certificate: String,
    /// Addresses (`10.0.0.1`) and blocks (`10.0.0.0/8`) of proxies in front, whose X-Forwarded headers are believed.
    pub trusted_proxies: Vec<String>,
    /// Threads that serve. 0: one for each core.
    pub workers: usize,
    /// Largest body of a request, such as `8m`; `0`: any. An Ingress may say otherwise by annotation.
    pub body_size: String,
    /// Longest head of a request, in bytes.
    pub header_bytes: usize,
    /// Connections of clients at one time; more wait to be accepted.
    pub connections: usize,
    /// How long a client may take for the head of a request, in seconds.
    pub header_seconds: u64,
    /// How long a client may neither send nor take what it should, in seconds.
    pub client_seconds: u64,
    /// Bytes per second that a client has to send of a body, or take of an answer, while the ingress waits for it.
    pub client_bytes_per_second: u64,
    /// How long a connection may stay open without a request, in seconds.
    pub keep_alive_seconds: u64,
    /// How long a connection to an endpoint may take to open, in seconds. Also by annotation.
    pub connect_seconds: u64,
    /// How long an endpoint may be silent while an answer is due, in seconds. Also by annotation.
    pub read_seconds: u64,
    /// How long a websocket may be silent, in seconds. An Ingress's own read timeout comes first.
    pub tunnel_seconds: u64,
    /// How long requests may go on when the ingress is disabled or configured anew, in seconds.
    pub drain_seconds: u64,
}

/// Where a protocol is served.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Port {
    /// The TCP port. 0: not served.
    pub port: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            http: Port { port: 80 },
            https: Port { port: 443 },
            publish_address: None,
            default_class: true,
            class_aliases: vec!["nginx".into()],
            default_certificate: String::new(),
            trusted_proxies: Vec::new(),
            workers: 0,
            body_size: "0".into(),
            header_bytes: 32 << 10,
            connections: 16_384,
            header_seconds: 15,
            client_seconds: 60,
            client_bytes_per_second: 150,
            keep_alive_seconds: 75,
            connect_seconds: 5,
            read_seconds: 60,
            tunnel_seconds: 3600,
            drain_seconds: 10,
        }
    }
}

/// The longest of all times: a week.
pub const MOST_SECONDS: u64 = 7 * 24 * 3600;

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    first: IpAddr,
    length: u8,
}

impl Block {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse().ok()?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(most);
        (length <= most).then_some(Self { first, length })
    }

    /// Whether `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let shift = |most: u8| u32::from(most - self.length);
        match (self.first, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// What connections of clients are held to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest head, in bytes.
    pub header_bytes: usize,
    /// Longest time for a head.
    pub header: Duration,
    /// Longest wait for a client that should send or take.
    pub client: Duration,
    /// Least bytes per second of a client that is waited for.
    pub rate: u64,
    /// Longest time without a request.
    pub keep_alive: Duration,
    /// Longest silence of a websocket.
    pub tunnel: Duration,
    /// Longest time for what is under way when the end is near.
    pub drain: Duration,
}

impl Config {
    /// What the schema cannot say.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |field: &str, problem: &str| {
            Err(Error::Config { field: field.to_owned(), problem: problem.to_owned() })
        };
        if self.http.port == self.https.port {
            return refuse("https.port", "has to be another than http.port");
        }
        if annotations::size(&self.body_size).is_none() {
            return refuse("bodySize", "is not a size such as 512k, 8m or 1g");
        }
        if self.header_bytes < 8 << 10 || self.header_bytes > 1 << 20 {
            return refuse("headerBytes", "has to be between 8192 and 1048576");
        }
        if self.connections == 0 || self.connections > 1 << 20 {
            return refuse("connections", "has to be between 1 and 1048576");
        }
        if self.workers > 256 {
            return refuse("workers", "has to be at most 256");
        }
        let times = [
            ("headerSeconds", self.header_seconds),
            ("clientSeconds", self.client_seconds),
            ("keepAliveSeconds", self.keep_alive_seconds),
            ("connectSeconds", self.connect_seconds),
            ("readSeconds", self.read_seconds),
            ("tunnelSeconds", self.tunnel_seconds),
        ];
        if let Some((field, _)) = times.iter().find(|(_, seconds)| !(1..=MOST_SECONDS).contains(seconds)) {
            return refuse(field, &format!("has to be between 1 and {MOST_SECONDS}"));
        }
        if self.drain_seconds > MOST_SECONDS {
            return refuse("drainSeconds", &format!("has to be at most {MOST_SECONDS}"));
        }
        if !self.default_certificate.is_empty() && self.default_secret().is_none() {
            return refuse("defaultCertificate", "is not NAMESPACE/NAME of a Secret");
        }
        self.trusted().map(drop)
    }

    /// Namespace and name of the Secret with the default certificate.
    pub fn default_secret(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.default_certificate.split_once('/')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains('/')).then_some((namespace, name))
    }

    /// The proxies that are believed.
    pub fn trusted(&self) -> Result<Vec<Block>, Error> {
        let parse = |(place, text): (usize, &String)| {
            Block::parse(text).ok_or_else(|| Error::Config {
                field: format!("trustedProxies[{place}]"),
                problem: format!("{text:?} is not an address or a block such as 10.0.0.0/8"),
            })
        };
        self.trusted_proxies.iter().enumerate().map(parse).collect()
    }

    /// Where a port is listened at: IPv6's any-address takes IPv4 as well.
    pub fn sockets(&self, port: u16) -> Vec<SocketAddr> {
        let any = [IpAddr::from([0_u16; 8])];
        let addresses = if self.addresses.is_empty() { &any[..] } else { &self.addresses };
        addresses.iter().filter(|_| port != 0).map(|address| SocketAddr::new(*address, port)).collect()
    }

    /// What connections are held to.
    pub fn limits(&self) -> Limits {
        Limits {
            header_bytes: self.header_bytes,
            header: Duration::from_secs(self.header_seconds),
            client: Duration::from_secs(self.client_seconds),
            rate: self.client_bytes_per_second,
            keep_alive: Duration::from_secs(self.keep_alive_seconds),
            tunnel: Duration::from_secs(self.tunnel_seconds),
            drain: Duration::from_secs(self.drain_seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_contain_their_addresses() {
        for (block, address, inside) in [
            ("10.0.0.0/8", "10.9.8.7", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("fd00::/8", "fd12::1", true),
            ("::/0", "1.2.3.4", false),
        ] {
            assert_eq!(
                Block::parse(block).unwrap().contains(address.parse().unwrap()),
                inside,
                "{block} {address}"
            );
        }
        for wrong in ["10.0.0.0/33", "x", "10.0.0.0/", "/8", "fd00::/129"] {
            assert_eq!(Block::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_field() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().map_err(|error| error.to_string())
        };
        assert_eq!(with(|_| {}), Ok(()));
        for (change, words) in [
            ((|c| c.https.port = 80) as fn(&mut Config), "https.port: has to be another"),
            (|c| c.body_size = "much".into(), "bodySize: is not a size"),
            (|c| c.header_bytes = 10, "headerBytes: has to be"),
            (|c| c.connections = usize::MAX, "connections: has to be between"),
            (|c| c.client_seconds = 0, "clientSeconds: has to be between 1"),
            (|c| c.read_seconds = u64::MAX, "readSeconds: has to be between 1"),
            (|c| c.drain_seconds = u64::MAX, "drainSeconds: has to be at most"),
            (
                |c| c.trusted_proxies = vec!["10.0.0.0/8".into(), "x".into()],
                "trustedProxies[1]: \"x\" is not",
            ),
            (|c| c.default_certificate = "name".into(), "defaultCertificate: is not NAMESPACE/NAME"),
        ] {
            let said = with(change).unwrap_err();
            assert!(said.starts_with(words), "{said}");
        }
    }

    #[test]
    fn every_address_has_each_port() {
        let mut config = Config::default();
        assert_eq!(config.sockets(80), ["[::]:80".parse().unwrap()]);
        config.addresses = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(config.sockets(81), ["127.0.0.1:81".parse().unwrap(), "[::1]:81".parse().unwrap()]);
        assert_eq!(config.sockets(0), []);
    }
}
