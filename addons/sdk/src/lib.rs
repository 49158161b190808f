//! All that an addon author must read: the trait [`Addon`], what it is given ([`Context`]), what it says of itself
//! ([`About`], [`Reporter`]).
//!
//! ```text
//!  enable ─► check(config) ─► objects(config, site) are applied ─► run(context, drain) ─► Reporter: healthy
//!  disable ─► drain ─► run returns ─► disabled(config, context) ─► the objects are removed
//!  configure ─► drain ─► objects of the new configuration, those no longer there removed ─► run anew
//! ```
//!
//! An addon is native code in the daemon's process, speaks the Kubernetes API with a client of its own, and depends on
//! this crate alone, never on another addon. What it starts it starts through [`Context::tasks`]; what it panics of
//! or fails with is its own: it is started again with a growing pause, and nothing else of the daemon notices.

mod erased;
mod health;
mod host;
mod manifests;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use sampan_process::Tasks;
use sampan_reconcile::Informers;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use erased::{Native, schema_of};
pub use health::{Report, Reporter};
pub use host::{GroupHandler, Host, Served};
pub use manifests::manifests;
pub use sampan_process::Drain;

/// One sentence in both of sampan's languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// English.
    pub en: &'static str,
    /// 简体中文.
    pub zh: &'static str,
}

/// What an addon is, before it runs.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its name, as in `sampan addons enable NAME`: a DNS label.
    pub name: &'static str,
    /// One line for lists; `{http.port}` stands for what is configured there.
    pub summary: Text,
    /// Who mends it.
    pub maintainer: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Whether a new cluster has it enabled.
    pub default_on: bool,
    /// Names of addons without which it does nothing.
    pub needs: &'static [&'static str],
}

/// What the configuration of an addon has to be: plain data with defaults, described by its schema.
pub trait Configuration:
    Default + Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
}
impl<T: Default + Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static> Configuration
    for T
{
}

/// Why an addon could not go on, in words for the person who enabled it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of the configuration is not usable.
    #[error("{field}: {problem}")]
    Config {
        /// Path of the field, such as `upstreams[1]`.
        field: String,
        /// What is wrong and what would do.
        problem: String,
    },
    /// An address, a port or a file of the node is not to be had.
    #[error("{what}: {error}")]
    Io {
        /// What was being done, with the address or path.
        what: String,
        /// Why it failed.
        error: std::io::Error,
    },
    /// The Kubernetes API refused.
    #[error("{what}: {error}")]
    Api {
        /// What was being done, with the object's name.
        what: String,
        /// The answer.
        error: Box<kube::Error>,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Where an addon runs. Does not change while the daemon runs.
#[derive(Clone, Debug)]
pub struct Site {
    /// The profile's name.
    pub profile: String,
    /// The node's name.
    pub node_name: String,
    /// The node's addresses; the first is the one it is known by.
    pub node_ips: Vec<IpAddr>,
    /// The bridge of the pods.
    pub bridge: String,
    /// The node's address on the bridge: pods reach what listens there.
    pub gateway: Ipv4Addr,
    /// All pods of the cluster, such as `10.244.0.0/16`.
    pub pod_cidr: String,
    /// All Services of the cluster, such as `10.96.0.0/12`.
    pub service_cidr: String,
    /// The cluster DNS's address: the tenth of the Services', a local address of the node.
    pub dns_ip: Ipv4Addr,
    /// The zone of the cluster, `cluster.local`.
    pub cluster_domain: String,
}

/// What a running addon is given. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Speaks as `system:serviceaccount:kube-system:addon-NAME`, which is a cluster administrator.
    pub client: kube::Client,
    /// Decoded copies of the cluster's objects, shared with all of the daemon.
    pub informers: Informers,
    /// Where it runs.
    pub site: Site,
    /// A directory of its own (mode 0700); stays when the addon is disabled, goes with the cluster.
    pub data: PathBuf,
    /// Where it says how it is.
    pub health: Reporter,
    /// Where its tasks are spawned; ended with it.
    pub tasks: Tasks,
    /// What only the node's daemon can do for it.
    pub host: Arc<dyn Host>,
}

/// A native addon.
#[async_trait]
pub trait Addon: Send + Sync + 'static {
    /// Its configuration. `()` for none.
    type Config: Configuration;

    /// What it is.
    fn about(&self) -> About;

    /// Looks at what the schema cannot say. Pure.
    ///
    /// # Errors
    /// [`Error::Config`] with the field.
    fn check(&self, config: &Self::Config) -> Result<(), Error> {
        let _ = config;
        Ok(())
    }

    /// The cluster objects it owns: whole manifests with apiVersion, kind and name, in the order in which they are
    /// applied. Pure. Fields that are not set are the user's.
    ///
    /// # Errors
    /// As [`Addon::check`].
    fn objects(&self, config: &Self::Config, site: &Site) -> Result<Vec<Value>, Error> {
        let _ = (config, site);
        Ok(Vec::new())
    }

    /// The address that `sampan addons open` opens; `None`: there is nothing to look at.
    fn page(&self, config: &Self::Config, site: &Site) -> Option<String> {
        let _ = (config, site);
        None
    }

    /// Whether a configuration stays with which it serves in part only, instead of being taken back: what it then lacks is
    /// outside of the cluster, and may come by itself.
    fn waits_for_outside(&self) -> bool {
        false
    }

    /// Works until `drain`, after its objects are there. Says through [`Context::health`] when it is able to serve.
    ///
    /// # Errors
    /// Whatever ends it before the drain; it is started again after a pause.
    async fn run(&self, config: Self::Config, context: Context, drain: Drain) -> Result<(), Error>;

    /// Takes back what it left outside of its own objects (a status, an address of the node). Called once when it is
    /// disabled, after `run` has returned; not when the daemon stops or the configuration changes.
    ///
    /// # Errors
    /// Something is still there, in words that name it; the addon is disabled all the same.
    async fn disabled(&self, config: Self::Config, context: Context) -> Result<(), Error> {
        let _ = (config, context);
        Ok(())
    }
}
