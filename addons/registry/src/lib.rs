//! The native addon registry: an OCI distribution registry in the daemon.
//!
//! ```text
//!  docker push localhost:5000/app ──► Server ──► Uploads (hashed while written) ──► Store: blobs by digest
//!  a pod's image localhost:5000/app ──┘   └────► Mirrors: what is not here, of a registry behind it
//! ```
//!
//! The embedded runtime keeps of an image what it runs: its configuration and its layers unpacked, and not the layers as
//! they are pushed. There is nothing to share with its content store, and this store is a directory of its own.

mod error;
mod listen;
mod manifest;
mod mirror;
mod name;
mod route;
mod server;
mod store;
mod sweep;
mod uploads;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use sampan_addon::{About, Addon, Context, Drain, Error, Site, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use mirror::Mirrors;
use name::Name;
use server::Server;
use store::Store;

/// The addon.
pub struct Registry;

/// A registry that this one stands before.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Proxy {
    /// Its name in images, such as `docker.io`.
    pub registry: String,
    /// Where it is, such as `https://registry-1.docker.io`.
    pub url: String,
    /// Whether it is asked for repositories that are not here and name no registry, as a mirror of Docker Engine or of
    /// `--registry-mirror` has to. At most one.
    pub fallback: bool,
}

/// Its configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Address and port to listen on, without TLS and without asking who comes: keep it on loopback.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Registries whose images are fetched through this one and kept.
    pub proxy: Vec<Proxy>,
    /// Days after which a fetched image goes that nobody has asked for: 1 to 3650.
    pub proxy_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 5000).into(), proxy: Vec::new(), proxy_days: 30 }
    }
}

#[async_trait]
impl Addon for Registry {
    type Config = Config;

    fn about(&self) -> About {
        About {
            name: "registry",
            summary: Text {
                en: "An image registry at localhost:5000, to push to and run from",
                zh: "位于 localhost:5000 的镜像仓库,可推送并直接运行",
            },
            maintainer: "sampan",
            version: env!("CARGO_PKG_VERSION"),
            default_on: false,
            needs: &[],
        }
    }

    fn check(&self, config: &Config) -> Result<(), Error> {
        if !(1..=3650).contains(&config.proxy_days) {
            let problem = format!("has to be 1 to 3650, not {}", config.proxy_days);
            return Err(Error::Config { field: "proxyDays".into(), problem });
        }
        let mut fallbacks = 0;
        for (place, proxy) in config.proxy.iter().enumerate() {
            let wrong = |field: &str, problem: &str| {
                Err(Error::Config { field: format!("proxy[{place}].{field}"), problem: problem.into() })
            };
            if Name::parse(&proxy.registry).is_none() || proxy.registry.contains('/') {
                return wrong("registry", "has to be a registry's name without a port, such as docker.io");
            }
            if config.proxy[..place].iter().any(|other| other.registry == proxy.registry) {
                return wrong("registry", "is there twice");
            }
            let web = proxy.url.starts_with("https://") || proxy.url.starts_with("http://");
            if !web || reqwest::Url::parse(&proxy.url).is_err() {
                return wrong("url", "has to be an address such as https://registry-1.docker.io");
            }
            fallbacks += usize::from(proxy.fallback);
            if fallbacks > 1 {
                return wrong("fallback", "is for one registry alone");
            }
        }
        Ok(())
    }

    /// Where the registry is, for tools that build images (KEP-1755).
    fn objects(&self, config: &Config, _: &Site) -> Result<Vec<Value>, Error> {
        let host = match config.listen.ip().is_loopback() {
            true => format!("localhost:{}", config.listen.port()),
            false => config.listen.to_string(),
        };
        Ok(vec![json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "local-registry-hosting", "namespace": "kube-public"},
            "data": {"localRegistryHosting.v1": format!("host: \"{host}\"\n")}})])
    }

    async fn run(&self, config: Config, context: Context, drain: Drain) -> Result<(), Error> {
        let data = context.data.clone();
        let what = format!("the registry's directory {}", data.display());
        let store = Store::open(&data).map_err(|error| Error::Io { what, error })?;
        let configured: Vec<(String, String, bool)> =
            config.proxy.iter().map(|one| (one.registry.clone(), one.url.clone(), one.fallback)).collect();
        let mirrors = Mirrors::new(&configured).map_err(Error::Other)?;
        let copies = Duration::from_secs(u64::from(config.proxy_days) * 24 * 3600);
        let server = Server::new(store, mirrors, copies, config.listen.ip().is_loopback());
        let listener = listen::bind(config.listen).await?;
        context.health.healthy();
        tokio::join!(listen::serve(listener, server.clone(), &context, drain.clone()), sweep(&server, drain));
        Ok(())
    }
}

/// Sweeps at the start, after each deletion, and when something left over has become old enough.
async fn sweep(server: &Server, drain: Drain) {
    loop {
        let next = server.sweep().await;
        let old_enough = async {
            match next {
                // a moment later than exact, that it is not too early by rounding
                Some(rest) => tokio::time::sleep(rest + Duration::from_secs(1)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = drain.wait() => return,
            () = server.useless.notified() => {}
            () = old_enough => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sampan_addon::Native;

    #[test]
    fn the_configuration_is_checked_by_field() {
        let registry: &dyn Native = &Registry;
        let proxy = |registry: &str, url: &str| json!({"registry": registry, "url": url, "fallback": true});
        let docker = || proxy("docker.io", "https://registry-1.docker.io");
        assert!(registry.configuration(&json!({"listen": "127.0.0.1:5001", "proxy": [docker()]})).is_ok());
        for (config, words) in [
            (json!({"listen": "here"}), "listen: invalid socket address"),
            (json!({"proxyDays": 0}), "proxyDays: has to be 1 to 3650, not 0"),
            (json!({"proxy": [proxy("a/b", "https://x")]}), "proxy[0].registry: has to be"),
            (json!({"proxy": [proxy("a.b", "ftp://x")]}), "proxy[0].url: has to be"),
            (json!({"proxy": [docker(), docker()]}), "proxy[1].registry: is there twice"),
            (json!({"proxy": [docker(), proxy("quay.io", "https://quay.io")]}), "proxy[1].fallback"),
        ] {
            let error = registry.configuration(&config).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
