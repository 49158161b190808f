//! The cluster's trust: a certificate authority made at the first start, and what it signs.
//!
//! ```text
//!  ca (10 years) ─┬─► serving certificate   names and addresses of this host; re-issued when they change
//!                 ├─► admin                 O=system:masters, CN=kubernetes-admin, for the kubeconfig
//!                 └─► whatever [`Pki::issue`] is asked for (nodes, components elsewhere)
//!  sa key ──────────► ServiceAccount tokens ([`TokenKey`])
//! ```
//!
//! Everything but the CA lives one year and is re-issued in place at two thirds of that life; the TLS
//! listener reads the serving certificate through an atomic pointer, so nothing restarts. Keys are files of
//! mode 0600 below `<data>/pki`, written to a temporary name and renamed. All keys are ECDSA P-256: making
//! one takes well under a millisecond.
//!
//! What is not here: who a certificate's subject may be (that is `auth`), and sockets (that is `rim`).

mod authority;
mod der;
mod files;
mod kubeconfig;
pub mod request;
mod serving;
mod token_key;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::ServerConfig;
use sampan_process::Tasks;
use tokio::sync::watch;

pub use authority::{Issued, Profile, Subject};
pub use kubeconfig::kubeconfig;
pub use token_key::{Jwk, TokenKey};

use authority::Authority;
pub(crate) use files::write_private;

use files::Folder;
use serving::Serving;

/// What the binary decides about certificates.
#[derive(Clone, Debug)]
pub struct Config {
    /// `<data>/pki`.
    pub folder: PathBuf,
    /// This node's name.
    pub node_name: String,
    /// The host's addresses at start; later ones come through [`Pki::set_addresses`].
    pub addresses: Vec<IpAddr>,
    /// The address of the `kubernetes` Service.
    pub service_ip: IpAddr,
    /// `cluster.local`.
    pub cluster_domain: String,
}

/// Why keys or certificates could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A file is there but says nothing usable.
    #[error(
        "{path} cannot be used: {why}; restore it from a backup, or remove the folder to make a new cluster identity"
    )]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The cryptography library refused.
    #[error("cannot make a certificate: {0}")]
    Crypto(String),
}

/// The cluster's keys and certificates. Cheap to clone.
#[derive(Clone)]
pub struct Pki(Arc<Inner>);

struct Inner {
    authority: Authority,
    folder: Folder,
    names: Vec<String>,
    fixed: Vec<IpAddr>,
    addresses: Mutex<BTreeSet<IpAddr>>,
    serving: Arc<Serving>,
    admin: ArcSwap<Issued>,
    token_key: Arc<TokenKey>,
    changed: watch::Sender<u64>,
}

const SERVING: &str = "apiserver";
const ADMIN: &str = "admin";
/// Longest sleep of the renewal task: the wall clock may jump, or the machine may have slept.
const LONGEST_SLEEP: Duration = Duration::from_secs(12 * 3600);

impl Pki {
    /// Loads what is there and makes what is missing, due, or for other names than wanted.
    pub fn open(config: Config) -> Result<Self, Error> {
        let now = Timestamp::now();
        let folder = Folder::open(&config.folder)?;
        let (authority, fresh) = Authority::load_or_create(&folder, now)?;
        let token_key = Arc::new(TokenKey::load_or_create(&folder)?);
        let names = serving_names(&config);
        let fixed = vec![config.service_ip, Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let addresses: BTreeSet<IpAddr> = config.addresses.iter().copied().collect();
        let wanted = serving_subject(&names, &fixed, &addresses);
        let serving = usable(&authority, &folder, SERVING, &wanted, now, fresh)?;
        let admin = usable(&authority, &folder, ADMIN, &admin_subject(), now, fresh)?;
        Ok(Self(Arc::new(Inner {
            serving: Arc::new(Serving::new(serving, &authority.certificate())?),
            admin: ArcSwap::from_pointee(admin),
            addresses: Mutex::new(addresses),
            changed: watch::Sender::new(0),
            authority,
            folder,
            names,
            fixed,
            token_key,
        })))
    }

    /// The CA's certificate as PEM: `ca.crt` of kubeconfigs and of `kube-root-ca.crt`.
    pub fn ca_pem(&self) -> &str {
        self.0.authority.pem()
    }

    /// The admin's current certificate and key.
    pub fn admin(&self) -> Arc<Issued> {
        self.0.admin.load_full()
    }

    /// Signs a request in PEM; see [`request`].
    pub fn sign(
        &self,
        pem: &[u8],
        usages: &[String],
        seconds: i64,
        now: Timestamp,
    ) -> Result<String, String> {
        self.0.authority.sign(pem, usages, seconds, now)
    }

    /// The current serving certificate and key.
    pub fn serving(&self) -> Arc<Issued> {
        self.0.serving.current()
    }

    /// The key that signs ServiceAccount tokens.
    pub fn token_key(&self) -> Arc<TokenKey> {
        self.0.token_key.clone()
    }

    /// Wakes whenever a certificate was re-issued (the kubeconfig's owner then rewrites it).
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// A certificate for `subject`, made now and kept nowhere.
    pub fn issue(&self, subject: &Subject) -> Result<Issued, Error> {
        self.0.authority.issue(subject, Timestamp::now())
    }

    /// TLS as the API server speaks it: current serving certificate, any client certificate. Whether the CA
    /// vouches for it is [`Pki::client_verifier`]'s to say, after the handshake: a stranger gets a 401, not an alert.
    pub fn server_config(&self) -> Result<ServerConfig, Error> {
        serving::server_config(self.0.serving.clone(), &self.0.authority.certificate())
    }

    /// Says whose client certificates are the CA's.
    pub fn client_verifier(&self) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Error> {
        serving::client_verifier(&self.0.authority.certificate())
    }

    /// Tells the host's present addresses; the serving certificate follows at once if they are news.
    pub fn set_addresses(&self, addresses: Vec<IpAddr>) -> Result<bool, Error> {
        let wanted: BTreeSet<IpAddr> = addresses.into_iter().collect();
        let before = {
            let mut known = self.0.addresses.lock();
            if *known == wanted {
                return Ok(false);
            }
            std::mem::replace(&mut *known, wanted)
        };
        let renewed = self.renew_serving(Timestamp::now());
        if renewed.is_err() {
            // still news when they are told again
            *self.0.addresses.lock() = before;
        }
        renewed.map(|()| true)
    }

    /// Re-issues what is due at `now`. Returns when the next one will be.
    pub fn renew(&self, now: Timestamp) -> Result<Timestamp, Error> {
        if self.serving().due() <= now {
            self.renew_serving(now)?;
        }
        if self.admin().due() <= now {
            let admin = self.0.authority.issue(&admin_subject(), now)?;
            admin.store(&self.0.folder, ADMIN)?;
            self.0.admin.store(Arc::new(admin));
            self.changed(ADMIN);
        }
        Ok(self.serving().due().min(self.admin().due()))
    }

    /// Keeps certificates fresh until the drain.
    pub fn keep_fresh(&self, tasks: &Tasks) {
        let pki = self.clone();
        tasks.spawn_until_drain("renew certificates", async move {
            loop {
                let pause = match pki.renew(Timestamp::now()) {
                    Ok(next) => until(next),
                    Err(error) => {
                        tracing::error!(error = %chain(&error), "cannot renew certificates");
                        Duration::from_secs(60)
                    }
                };
                tokio::time::sleep(pause).await;
            }
        });
    }

    fn renew_serving(&self, now: Timestamp) -> Result<(), Error> {
        let subject = serving_subject(&self.0.names, &self.0.fixed, &self.0.addresses.lock().clone());
        let issued = self.0.authority.issue(&subject, now)?;
        issued.store(&self.0.folder, SERVING)?;
        self.0.serving.replace(issued, &self.0.authority.certificate())?;
        self.changed(SERVING);
        Ok(())
    }

    fn changed(&self, what: &str) {
        tracing::info!(certificate = what, "certificate re-issued");
        self.0.changed.send_modify(|n| *n += 1);
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn until(due: Timestamp) -> Duration {
    let seconds = due.as_second().saturating_sub(Timestamp::now().as_second()).max(1);
    Duration::from_secs(seconds.unsigned_abs()).min(LONGEST_SLEEP)
}

fn serving_names(config: &Config) -> Vec<String> {
    let service = "kubernetes.default.svc";
    let mut names: Vec<String> =
        ["localhost", "kubernetes", "kubernetes.default", service].map(str::to_owned).to_vec();
    names.push(format!("{service}.{}", config.cluster_domain));
    if !names.contains(&config.node_name) {
        names.push(config.node_name.clone());
    }
    names
}

fn serving_subject(names: &[String], fixed: &[IpAddr], addresses: &BTreeSet<IpAddr>) -> Subject {
    let all: BTreeSet<IpAddr> = fixed.iter().chain(addresses).copied().collect();
    Subject {
        common_name: "kube-apiserver".into(),
        organizations: Vec::new(),
        names: names.to_vec(),
        addresses: all.into_iter().collect(),
        profile: Profile::Server,
    }
}

fn admin_subject() -> Subject {
    Subject::client("kubernetes-admin", &["system:masters"])
}

/// The stored certificate if it is good for `wanted`, else a new one.
fn usable(
    authority: &Authority,
    folder: &Folder,
    name: &str,
    wanted: &Subject,
    now: Timestamp,
    fresh: bool,
) -> Result<Issued, Error> {
    let stored = if fresh { None } else { Issued::load(folder, name)? };
    match stored {
        Some(stored) if stored.good_for(wanted) && stored.due() > now => Ok(stored),
        _ => {
            let issued = authority.issue(wanted, now)?;
            issued.store(folder, name)?;
            Ok(issued)
        }
    }
}

/// Whether `path` can be read by others than its owner; for the tests and the security report.
pub fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|m| m.permissions().mode().trailing_zeros() >= 6)
}

#[cfg(test)]
mod tests;
