//! resolv.conf and /etc/hosts of a pod: upstream's `pkg/kubelet/network/dns/dns.go` and `kubelet_pods.go`.

use k8s_openapi::api::core::v1::{HostAlias, Pod, PodDNSConfig};

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
    /// Reads a resolv.conf.
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => resolver.nameservers.extend(words.next()),
                Some("search") => resolver.searches = words.collect(),
                Some("options") => resolver.options = words.collect(),
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
            searches.extend(host.searches.iter().filter(|s| s.as_str() != ".").cloned());
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
                 fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
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
    }
}
