//! The dashboard behind Debian's nginx, under a path: the configuration is the README's.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use sampan_test_browser::{Browser, PLAIN};
use sampan_testkit::{Cluster, free_port};
use serde_json::json;

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

/// Starts the cluster anew with its address behind nginx, and looks at its pages there.
pub async fn behind(cluster: &Cluster) -> Result<()> {
    let port = free_port();
    let public = format!("http://localhost:{port}/ops/sampan/");
    cluster.sampan(&["stop", "--keep-pods"])?;
    cluster.sampan(&["start", "--dashboard-url", &public])?;
    let address = cluster.sampan(&["dashboard", "-o", "json"])?;
    let address: serde_json::Value = serde_json::from_str(&address)?;
    let own = address["url"]
        .as_str()
        .context("url")?
        .split("signin?")
        .next()
        .unwrap_or_default()
        .trim_end_matches('/');
    let folder = cluster.directory().join("nginx");
    std::fs::create_dir_all(&folder)?;
    // a browser knows the dashboard's own name, nginx does not
    let at = format!("http://127.0.0.1:{}", own.rsplit(':').next().context("a port")?);
    let location = location()?.replace("http://127.0.0.1:6480", &at);
    let configuration = format!(
        "daemon off; pid {0}/pid; error_log {0}/error.log; events {{}}\n\
         http {{ access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/f; \
         uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; server {{ listen 127.0.0.1:{port}; {location} }} }}\n",
        folder.display()
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, configuration)?;
    let nginx =
        Command::new("nginx").arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let _nginx = Nginx(nginx);
    let ticket = address["publicUrls"][0].as_str().context("a public address")?;
    ensure!(ticket.starts_with(&public), "{ticket}");
    let browser = Browser::start(PLAIN).await?;
    browser.client.goto(ticket).await?;
    browser.see("main h1").await?;
    browser.see(".fresh.live").await?;
    ensure!(
        browser.client.current_url().await?.as_str() == public,
        "{}",
        browser.client.current_url().await?
    );
    browser.click_text("nav a", "Pod").await?;
    browser.read(".rows .name", "shell").await?;
    ensure!(browser.client.current_url().await?.path() == "/ops/sampan/pods");
    browser.client.refresh().await?;
    browser.read(".rows .name", "shell").await?;
    browser.go("pods/default/shell?tab=terminal").await?;
    let rows =
        "return [...document.querySelectorAll('.xterm-rows > div')].some(one => one.innerText.includes('#'))";
    browser.until("a prompt", rows, json!([])).await?;
    browser.go("pods/default/shell?tab=logs").await?;
    browser.read(".lines .log", "tick").await?;
    browser.go("configmaps/default/edited").await?;
    browser.click_text(".actions button", "Delete").await?;
    browser.click("dialog[open] button.danger").await?;
    browser.see(".banner").await?;
    let complaints = browser.complaints().await?;
    ensure!(complaints.is_empty(), "the console says: {complaints:#?}");
    Ok(())
}
