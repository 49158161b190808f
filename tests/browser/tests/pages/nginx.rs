//! The dashboard behind Debian's nginx, under a path: the configuration is the README's.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sampan_test_browser::{Browser, relay::Relay};
use sampan_test_e2e::eventually;
use sampan_testkit::{Cluster, Options, Registry, free_port};
use url::Url;

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// The `location` of the README.
fn location() -> Result<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"))?;
    let block = readme.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next());
    Ok(block.context("README.md has no nginx block")?.to_owned())
}

/// The path below which it is.
pub const PATH: &str = "/ops/sampan/";

/// A cluster whose dashboard is behind nginx, with somebody in between who watches.
pub struct Behind {
    _nginx: Nginx,
    /// Between nginx and the daemon.
    pub relay: Relay,
    /// Its dashboard's address is nginx'.
    pub cluster: Cluster,
}

impl Behind {
    /// Starts all of it. What says nothing for 25 seconds is closed.
    pub async fn start(registry: &Registry) -> Result<Self> {
        let port = free_port();
        let start = [
            "--registry-mirror",
            &registry.url(),
            "--container-runtime",
            "embedded",
            "--dashboard-url",
            &format!("http://localhost:{port}{PATH}"),
        ];
        let cluster = Cluster::with(Options { start: start.map(str::to_owned).to_vec() })?;
        let address: serde_json::Value =
            serde_json::from_str(&cluster.sampan(&["dashboard", "-o", "json"])?)?;
        let own: Url = address["url"].as_str().context("url")?.parse()?;
        let relay = Relay::start(own.port().context("a port")?).await?;
        let folder = cluster.directory().join("nginx");
        std::fs::create_dir_all(&folder)?;
        let location = location()?.replace("127.0.0.1:6480", &format!("127.0.0.1:{}", relay.port));
        let configuration = format!(
            "daemon off; pid {0}/pid; error_log {0}/error.log; events {{}}\n\
             http {{ access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/f; \
             uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; proxy_read_timeout 25s; \
             server {{ listen 127.0.0.1:{port}; {location} }} }}\n",
            folder.display()
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, configuration)?;
        let nginx =
            Command::new("nginx").arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let behind = Self { _nginx: Nginx(nginx), relay, cluster };
        eventually("nginx", Duration::from_secs(20), || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok())
        })?;
        Ok(behind)
    }
}

/// Addresses stay below the path, whoever comes and goes; what is changed is changed.
pub async fn address(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let public = sampan_test_browser::address(cluster)?;
    ensure!(Url::parse(&public)?.path() == PATH, "{public}");
    browser.go("").await?;
    browser.see("main h1").await?;
    browser.see(".fresh.live").await?;
    ensure!(browser.client.current_url().await?.as_str() == public);
    browser.click_text("nav a", "Pod").await?;
    browser.read(".rows .name", "shell").await?;
    ensure!(browser.client.current_url().await?.path() == format!("{PATH}pods"));
    browser.client.refresh().await?;
    browser.read(".rows .name", "shell").await?;
    cluster.kubectl(&["create", "configmap", "passing"])?;
    browser.go("configmaps/default/passing").await?;
    browser.click_text(".actions button", "Delete").await?;
    browser.click("dialog[open] button.danger").await?;
    browser.see(".banner").await
}
