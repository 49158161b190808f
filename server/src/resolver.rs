//! The host's own resolver, told where the cluster's names are.

use std::net::Ipv4Addr;
use std::path::Path;

use tokio::process::Command;

use crate::failure::{Failure, Kind};
use crate::profile::{Profile, Settings};
use crate::{daemon, services};

/// What the host's resolver has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The link that the server is on.
    pub link: String,
    /// The cluster's DNS server.
    pub server: Ipv4Addr,
    /// The zone that it answers for.
    pub domain: String,
}

impl Site {
    /// Of a profile that was started at least once.
    pub fn of(profile: &Profile, settings: &Settings) -> Result<Self, Failure> {
        let link = daemon::network_config(profile, settings).bridge;
        let server = services::block(settings)?.at(services::DNS);
        Ok(Self { link, server, domain: "cluster.local".to_owned() })
    }

    /// The line for dnsmasq.
    pub fn line(&self) -> String {
        format!("server=/{}/{}", self.domain, self.server)
    }

    /// Tells systemd-resolved, or takes it back.
    pub async fn tell(&self, on: bool) -> Result<(), Failure> {
        for arguments in self.words(on) {
            let output = Command::new("resolvectl").args(&arguments).output().await?;
            if !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr);
                let message = format!("resolvectl {}: {}", arguments.join(" "), why.trim());
                return Err(Failure::new(Kind::HostMissing, message));
            }
        }
        Ok(())
    }

    /// The arguments of resolvectl, a command each. `~` makes the domain one for routing only.
    fn words(&self, on: bool) -> Vec<Vec<String>> {
        let (link, server) = (self.link.as_str(), self.server.to_string());
        let domain = format!("~{}", self.domain);
        let commands: &[&[&str]] = match on {
            true => &[
                &["dns", link, &server],
                &["domain", link, &domain],
                &["default-route", link, "no"],
                &["dnssec", link, "no"],
            ],
            false => &[&["revert", link]],
        };
        commands.iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect()).collect()
    }
}

/// Whether systemd-resolved is this host's resolver.
pub fn is_resolved() -> bool {
    Path::new("/run/systemd/resolve/resolv.conf").exists() && crate::rights::find_tool("resolvectl").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clusters_names_are_sent_there() {
        let server = Ipv4Addr::new(10, 96, 0, 10);
        let site = Site { link: "sampan0".into(), server, domain: "cluster.local".into() };
        let words: Vec<String> = site.words(true).iter().map(|words| words.join(" ")).collect();
        assert_eq!(words[..2], ["dns sampan0 10.96.0.10", "domain sampan0 ~cluster.local"]);
        assert!(words.contains(&"default-route sampan0 no".to_owned()));
        assert_eq!(site.words(false), [["revert", "sampan0"]]);
        assert_eq!(site.line(), "server=/cluster.local/10.96.0.10");
    }
}
