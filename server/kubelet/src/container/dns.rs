//! resolv.conf and /etc/hosts of a pod: upstream's `pkg/kubelet/network/dns/dns.go` and `kubelet_pods.go`.

use std::path::Path;

use k8s_openapi::api::core::v1::{HostAlias, Pod, PodDNSConfig};

/// What upstream's validation lets a resolv.conf have: servers, search paths, and characters of those and of one.
const MOST_SERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
const LONGEST_SEARCH_LINE: usize = 2048;
const LONGEST_SEARCH: usize = 253;

/// Where systemd-resolved, whose stub no pod can reach, names the servers it asks.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Contents of a resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// `nameserver`.
    pub nameservers: Vec<String>,
    /// `search`.
    pub searches: Vec<String>,
    /// `options`.
    pub options: Vec<String>,
}

impl Resolver {
    /// The host's: of systemd-resolved's own servers when all others are on the host's loopback.
    pub fn of_host() -> Self {
        let read = |path: &str| std::fs::read_to_string(Path::new(path)).map(|text| Self::parse(&text));
        let usual = read("/etc/resolv.conf").unwrap_or_default();
        let loopback = |server: &String| server.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match usual.nameservers.iter().all(loopback) {
            true => read(RESOLVED).unwrap_or(usual),
            false => usual,
        }
    }

    /// Cuts off what resolvers do not take, and gives the texts of upstream's `DNSConfigForming` events.
    pub fn fit(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        if self.nameservers.len() > MOST_SERVERS {
            self.nameservers.truncate(MOST_SERVERS);
            told.push(format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
                self.nameservers.join(" ")
            ));
        }
        let wanted = self.searches.len();
        self.searches.truncate(MOST_SEARCHES);
        self.searches.retain(|search| search.len() <= LONGEST_SEARCH);
        while self.searches.join(" ").len() > LONGEST_SEARCH_LINE {
            self.searches.pop();
        }
        if self.searches.len() < wanted {
            told.push(format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
                self.searches.join(" ")
            ));
        }
        told
    }

    /// Reads a resolv.conf.
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.nameservers.extend(words.next().map(str::to_owned)),
                Some("search") => resolver.searches = words.map(without_dot).collect(),
                Some("options") => resolver.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        resolver
    }

    /// As a file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text += &format!("search {}\n", self.searches.join(" "));
        }
        for server in &self.nameservers {
            text += &format!("nameserver {server}\n");
        }
        if !self.options.is_empty() {
            text += &format!("options {}\n", self.options.join(" "));
        }
        text
    }
}

/// A search path without its last dot; the dot alone is the root.
fn without_dot(search: &str) -> String {
    let bare = search.strip_suffix('.').unwrap_or(search);
    if bare.is_empty() { search } else { bare }.to_owned()
}

/// The resolver of a pod. `cluster` lists the addresses of the cluster's DNS; without one, `ClusterFirst`
/// falls back to the host's servers, as upstream does.
pub fn resolver(pod: &Pod, host: &Resolver, cluster: &[String], domain: &str) -> Resolver {
    let spec = pod.spec.as_ref();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let host_network = spec.and_then(|s| s.host_network).unwrap_or(false);
    let policy = spec.and_then(|s| s.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let in_cluster = policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && !host_network);
    let mut resolver = match policy {
        "None" => Resolver::default(),
        _ if in_cluster && !cluster.is_empty() => {
            let mut searches: Vec<String> =
                [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()].into();
            for search in host.searches.iter().filter(|s| s.as_str() != ".") {
                if !searches.contains(search) {
                    searches.push(search.clone());
                }
            }
            Resolver { nameservers: cluster.to_vec(), searches, options: vec!["ndots:5".to_owned()] }
        }
        _ => host.clone(),
    };
    if let Some(config) = spec.and_then(|s| s.dns_config.as_ref()) {
        append(&mut resolver, config);
    }
    resolver
}

fn append(resolver: &mut Resolver, config: &PodDNSConfig) {
    let add = |list: &mut Vec<String>, more: &Option<Vec<String>>| {
        for item in more.iter().flatten() {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
    };
    add(&mut resolver.nameservers, &config.nameservers);
    add(&mut resolver.searches, &config.searches);
    for option in config.options.iter().flatten() {
        let name = option.name.as_deref().unwrap_or_default();
        let text = option.value.as_ref().map_or(name.to_owned(), |value| format!("{name}:{value}"));
        resolver.options.retain(|o| o.split(':').next() != Some(name));
        resolver.options.push(text);
    }
}

/// The managed /etc/hosts.
pub fn hosts(
    host_file: Option<&str>,
    ips: &[String],
    hostname: &str,
    fqdn: Option<&str>,
    aliases: &[HostAlias],
) -> String {
    let mut text = match host_file {
        Some(own) => format!("# Kubernetes-managed hosts file (host network).\n{own}"),
        None => {
            let mut text = String::from(
                "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                 fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
            );
            for ip in ips {
                match fqdn {
                    Some(fqdn) => text += &format!("{ip}\t{fqdn}\t{hostname}\n"),
                    None => text += &format!("{ip}\t{hostname}\n"),
                }
            }
            text
        }
    };
    if !aliases.is_empty() {
        text += "\n# Entries added by HostAliases.\n";
        for alias in aliases {
            text += &format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t"));
        }
    }
    text
}

/// Host name inside the pod and, with a subdomain, its full name.
pub fn host_name(pod: &Pod, node: &str, domain: &str) -> (String, Option<String>) {
    let spec = pod.spec.as_ref();
    if let Some(name) = spec.and_then(|s| s.hostname_override.clone()) {
        return (name, None);
    }
    if spec.and_then(|s| s.host_network).unwrap_or(false) {
        return (node.to_owned(), None);
    }
    let own = pod.metadata.name.as_deref().unwrap_or_default();
    let hostname = spec.and_then(|s| s.hostname.clone()).unwrap_or_else(|| {
        // a host name has at most 63 characters
        own.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).to_owned()
    });
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let fqdn = spec
        .and_then(|s| s.subdomain.as_ref())
        .map(|sub| format!("{hostname}.{sub}.{namespace}.svc.{domain}"));
    let as_fqdn = spec.and_then(|s| s.set_hostname_as_fqdn).unwrap_or(false);
    match (&fqdn, as_fqdn) {
        (Some(full), true) => (full.clone(), fqdn),
        _ => (hostname, fqdn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;

    #[test]
    fn cluster_first_searches_the_namespace_then_the_host() {
        let mut pod = Pod { spec: Some(PodSpec::default()), ..Pod::default() };
        pod.metadata.namespace = Some("ns".to_owned());
        let host = Resolver::parse("nameserver 9.9.9.9\nsearch lan\noptions timeout:1\n");
        let cluster = ["10.96.0.10".to_owned()];
        let text = resolver(&pod, &host, &cluster, "cluster.local").text();
        assert_eq!(
            text,
            "search ns.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.96.0.10\noptions ndots:5\n"
        );
        assert_eq!(resolver(&pod, &host, &[], "cluster.local"), host);
        let same = Resolver::parse("search svc.cluster.local. lan. .\n");
        assert_eq!(resolver(&pod, &same, &cluster, "cluster.local").searches[2..], ["cluster.local", "lan"]);
    }

    #[test]
    fn what_resolvers_do_not_take_is_cut_off_and_said() {
        let texts = |name: &str, count: usize| (0..count).map(|number| format!("{name}{number}")).collect();
        let mut resolver =
            Resolver { nameservers: texts("10.0.0.", 4), searches: texts("s", 33), options: Vec::new() };
        let told = resolver.fit();
        let [servers, searches] = &told[..] else { panic!("{told:?}") };
        assert!(servers.ends_with("the applied nameserver line is: 10.0.0.0 10.0.0.1 10.0.0.2"), "{servers}");
        assert!(searches.ends_with(" s30 s31"), "{searches}");
        assert!(resolver.fit().is_empty());

        resolver.searches = vec!["x".repeat(254), "a".into()];
        assert!(resolver.fit()[0].ends_with("the applied search line is: a"));
        resolver.searches = (0..9).map(|_| "y".repeat(240)).collect();
        assert_eq!((resolver.fit().len(), resolver.searches.len()), (1, 8));
    }
}
