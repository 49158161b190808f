//! A native addon to copy: answers HTTP with the number of pods, behind a Service. See `addons/README.md`.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use sampan_addon::{About, Addon, Context, Drain, Error, Site, Text, manifests};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The addon.
pub struct Example;

/// What can be configured; the comments are the schema's descriptions.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// TCP port on the node's address on the pods' bridge.
    pub port: u16,
    /// What stands before the number.
    pub greeting: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { port: 8099, greeting: "Pods: ".to_owned() }
    }
}

#[async_trait]
impl Addon for Example {
    type Config = Config;

    fn about(&self) -> About {
        let summary =
            Text { en: "Answers HTTP with the number of pods", zh: "以 HTTP 返回 Pod 的数量" };
        About {
            name: "example",
            summary,
            maintainer: "sampan",
            version: "1.0.0",
            default_on: false,
            needs: &[],
        }
    }

    fn check(&self, config: &Config) -> Result<(), Error> {
        let problem = || Error::Config { field: "port".to_owned(), problem: "is 1 to 65535".to_owned() };
        (config.port > 0).then_some(()).ok_or_else(problem)
    }

    fn objects(&self, config: &Config, site: &Site) -> Result<Vec<Value>, Error> {
        let text = include_str!("objects.yaml").replace("GATEWAY", &site.gateway.to_string());
        manifests(&text.replace("PORT", &config.port.to_string()))
    }

    fn page(&self, config: &Config, site: &Site) -> Option<String> {
        Some(format!("http://{}:{}/", site.gateway, config.port))
    }

    async fn run(&self, config: Config, context: Context, drain: Drain) -> Result<(), Error> {
        let address = (context.site.gateway, config.port);
        let failed = |error| Error::Io { what: format!("listening on {}:{}", address.0, address.1), error };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let pods = context.informers.of::<Pod>();
        context.health.healthy();
        loop {
            tokio::select! {
                () = drain.wait() => return Ok(()),
                accepted = listener.accept() => {
                    let text = format!("{}{}\n", config.greeting, pods.len());
                    context.tasks.spawn_until_drain("answer", answer(accepted.map_err(failed)?.0, text));
                }
            }
        }
    }
}

async fn answer(mut stream: TcpStream, text: String) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    // whoever asked may have gone
    if stream.read(&mut [0; 4096]).await.is_ok() {
        let _ = stream.write_all((head + &text).as_bytes()).await;
    }
}
