//! Chromium, driven by its own chromedriver: what a person sees and does on the dashboard. See `tests/`.

pub mod measure;
pub mod relay;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use sampan_testkit::{Cluster, free_port};
use serde_json::{Value, json};
use url::{ParseError, Url};

/// How long a page may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a browser is set up.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// `en-US` or `zh-CN`.
    pub language: &'static str,
    /// The system is dark.
    pub dark: bool,
}

/// DevTools' number of the Control key.
pub const CONTROL: u32 = 2;

/// `lines` is the editor's content, in its shadow root.
const EDITOR: &str =
    "const lines = document.querySelector('.editor')?.shadowRoot?.querySelector('.cm-content');";

/// English, light.
pub const PLAIN: Look = Look { language: "en-US", dark: false };

/// A browser with one window; closed when dropped.
pub struct Browser {
    /// The session.
    pub client: Client,
    driver: Child,
    port: u16,
    session: String,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // a chromedriver that is killed leaves its browser behind
        let _ = end(self.port, &self.session);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// An address that signs in once: the one that was told by `--dashboard-url`, else this machine's.
pub fn entrance(cluster: &Cluster) -> Result<String> {
    let urls = cluster.sampan(&["dashboard", "--url"])?;
    // one for each address that the dashboard has; this machine's is the first
    Ok(urls.lines().last().context("an address")?.to_owned())
}

/// The dashboard's address, for who is not signed in.
pub fn address(cluster: &Cluster) -> Result<String> {
    Ok(entrance(cluster)?.split("signin?").next().unwrap_or_default().to_owned())
}

/// Ends a session, blocking: where it is dropped nothing can be awaited.
fn end(port: u16, session: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "DELETE /session/{session} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    )?;
    // the answer comes when the browser has ended
    stream.read(&mut [0; 512]).map(drop)
}

/// A command that WebDriver's standard does not have.
#[derive(Debug)]
struct Chromium {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Chromium {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    /// Starts one.
    pub async fn start(look: Look) -> Result<Self> {
        Self::with(look, &[]).await
    }

    /// Starts one with further arguments.
    pub async fn with(look: Look, more: &[&str]) -> Result<Self> {
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("LANGUAGE", look.language)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver; `.ci/setup test` installs it")?;
        let scheme = if look.dark { "dark" } else { "light" };
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            "--hide-scrollbars".into(),
            "--window-size=1280,800".into(),
            format!("--lang={}", look.language),
        ];
        arguments.extend(more.iter().map(|one| (*one).to_owned()));
        let capabilities = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments, "prefs": {"intl.accept_languages": look.language}},
        });
        let capabilities = capabilities.as_object().cloned().unwrap_or_default();
        let began = Instant::now();
        let client = loop {
            let mut session = ClientBuilder::new(HttpConnector::new());
            session.capabilities(capabilities.clone());
            match session.connect(&format!("http://127.0.0.1:{port}")).await {
                Ok(client) => break client,
                // it listens a moment after it starts
                Err(error) if began.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        let session = client.session_id().await?.context("a session")?;
        let browser = Self { client, driver, port, session };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        browser.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await?;
        Ok(browser)
    }

    /// Starts one and signs it in by `sampan dashboard --url`: through a proxy, if the cluster is behind one.
    pub async fn signed_in(cluster: &Cluster, look: Look) -> Result<Self> {
        let browser = Self::start(look).await?;
        browser.client.goto(&entrance(cluster)?).await?;
        browser.see("header.top").await?;
        Ok(browser)
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Result<Value> {
        let body = json!({"cmd": command, "params": parameters});
        Ok(self.client.issue_cmd(Chromium { path: "goog/cdp/execute", body }).await?)
    }

    /// What the console said since the last call, but for what is said of every page; refusals of the
    /// Content-Security-Policy are among it.
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let said =
            self.client.issue_cmd(Chromium { path: "se/log", body: json!({"type": "browser"}) }).await?;
        let bad = |one: &&Value| ["SEVERE", "WARNING"].contains(&one["level"].as_str().unwrap_or_default());
        Ok(said.as_array().into_iter().flatten().filter(bad).map(|one| one["message"].to_string()).collect())
    }

    /// Goes to a place of the dashboard, relative to its base, from within the page: it is not loaded anew.
    pub async fn go_on(&self, place: &str) -> Result<()> {
        let script = "const link = document.createElement('a'); link.href = new URL(arguments[0], document.baseURI).href;
            document.body.append(link); link.click(); link.remove()";
        self.run(script, json!([place])).await.map(drop)
    }

    /// Loads a place of the dashboard, relative to its base.
    pub async fn go(&self, place: &str) -> Result<()> {
        let url = self.run("return new URL(arguments[0], document.baseURI).href", json!([place])).await?;
        self.client.goto(url.as_str().context("an address")?).await?;
        Ok(())
    }

    /// Runs a function's body in the page; a promise is waited for.
    pub async fn run(&self, script: &str, arguments: Value) -> Result<Value> {
        let arguments = arguments.as_array().cloned().unwrap_or_default();
        Ok(self.client.execute(script, arguments).await?)
    }

    /// Waits until a selector finds something.
    pub async fn see(&self, selector: &str) -> Result<()> {
        self.until(
            &format!("an element {selector}"),
            "return document.querySelector(arguments[0]) != null",
            json!([selector]),
        )
        .await
        .map(drop)
    }

    /// Waits until a text is seen within a selector.
    pub async fn read(&self, selector: &str, text: &str) -> Result<()> {
        let script = "return [...document.querySelectorAll(arguments[0])].some(one => (one.innerText ?? one.textContent).includes(arguments[1]))";
        self.until(&format!("{text:?} in {selector}"), script, json!([selector, text])).await.map(drop)
    }

    /// Waits until a function's body answers something that is true, and gives it.
    pub async fn until(&self, what: &str, script: &str, arguments: Value) -> Result<Value> {
        let began = Instant::now();
        loop {
            let answer = self.run(script, arguments.clone()).await?;
            if !matches!(answer, Value::Null | Value::Bool(false)) {
                return Ok(answer);
            }
            if began.elapsed() > PATIENCE {
                let page = self.run("return document.body.innerText.slice(0, 3000)", json!([])).await?;
                let said = self.complaints().await.unwrap_or_default();
                bail!(
                    "{what}: not seen on {}:\n{}\n{said:?}",
                    self.client.current_url().await?,
                    page.as_str().unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks the first element that a selector finds.
    pub async fn click(&self, selector: &str) -> Result<()> {
        self.see(selector).await?;
        self.client
            .find(Locator::Css(selector))
            .await?
            .click()
            .await
            .with_context(|| format!("click {selector}"))
    }

    /// Clicks what has a text, once it works: a button waits for the permission it needs.
    pub async fn click_text(&self, selector: &str, text: &str) -> Result<()> {
        let script = "const one = [...document.querySelectorAll(arguments[0])].find(one => (one.innerText ?? one.textContent).includes(arguments[1]) && !one.disabled); one?.scrollIntoView({block: 'center'}); one?.click(); return Boolean(one)";
        self.until(&format!("{text:?} in {selector}, enabled"), script, json!([selector, text]))
            .await
            .map(drop)
    }

    /// Types into the element that a selector finds, in place of what is in it.
    pub async fn fill(&self, selector: &str, text: &str) -> Result<()> {
        self.see(selector).await?;
        let field = self.client.find(Locator::Css(selector)).await?;
        field.clear().await?;
        field.send_keys(text).await?;
        Ok(())
    }

    /// Chooses an option, by its value, of the list that a selector finds.
    pub async fn choose(&self, selector: &str, value: &str) -> Result<()> {
        let script = "const one = document.querySelector(arguments[0]); if (![...one?.options ?? []].some(option => option.value == arguments[1])) return false;
            one.value = arguments[1]; one.dispatchEvent(new Event('change', {bubbles: true})); return true";
        self.until(&format!("{value:?} in {selector}"), script, json!([selector, value])).await.map(drop)
    }

    /// Has files that pages hand over saved in a folder.
    pub async fn save_into(&self, folder: &Path) -> Result<()> {
        let parameters = json!({"behavior": "allow", "downloadPath": folder});
        self.devtools("Browser.setDownloadBehavior", parameters).await.map(drop)
    }

    /// The YAML in the editor, as its lines are drawn.
    pub async fn yaml(&self) -> Result<String> {
        let lines = format!(
            "{EDITOR} return lines && [...lines.children].map(line => line.innerText.replace(/\\n$/, '')).join('\\n')"
        );
        Ok(self.until("the editor", &lines, json!([])).await?.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until a text is drawn in the editor.
    pub async fn sees_yaml(&self, text: &str) -> Result<()> {
        let drawn = format!("{EDITOR} return Boolean(lines?.innerText.includes(arguments[0]))");
        self.until(&format!("{text:?} in the editor"), &drawn, json!([text])).await.map(drop)
    }

    /// Types into the editor, in place of what is in it. A text of several lines comes as one, as pasted.
    pub async fn write_yaml(&self, text: &str) -> Result<()> {
        self.until("the editor", &format!("{EDITOR} lines?.focus(); return Boolean(lines)"), json!([]))
            .await?;
        self.key("a", 65, CONTROL).await?;
        self.devtools("Input.insertText", json!({"text": text})).await.map(drop)
    }

    /// A key as the keyboard gives it, to whatever has the focus, in a shadow too. `modifiers` are those of DevTools.
    pub async fn key(&self, key: &str, code: u32, modifiers: u32) -> Result<()> {
        for kind in ["rawKeyDown", "keyUp"] {
            let event =
                json!({"type": kind, "key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers});
            self.devtools("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: &str) -> Result<()> {
        let active = self.client.active_element().await?;
        active.send_keys(keys).await?;
        Ok(())
    }

    /// Puts axe into the page and holds it to every rule: no violation of any impact.
    pub async fn is_accessible(&self, what: &str) -> Result<()> {
        // what slides in is fainter on its way
        let still = "return document.getAnimations().every(one => one.playState != 'running' || one.effect.getComputedTiming().iterations == Infinity)";
        self.until("nothing moves", still, json!([])).await?;
        let tools = std::env::var_os("SAMPAN_TEST_TOOLS")
            .map_or_else(|| PathBuf::from("target/tools"), PathBuf::from);
        let axe =
            std::fs::read_to_string(tools.join("axe.min.js")).context("axe; `.ci/setup test` fetches it")?;
        self.devtools("Runtime.evaluate", json!({"expression": axe})).await?;
        let script = "const done = arguments[arguments.length - 1]; axe.run(document).then(done, error => done({error: String(error)}));";
        let result = self.client.execute_async(script, Vec::new()).await?;
        ensure!(result["error"].is_null(), "{what}: {}", result["error"]);
        let violations: Vec<String> = result["violations"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| format!("{}: {} at {}", one["id"], one["help"], one["nodes"][0]["html"]))
            .collect();
        ensure!(violations.is_empty(), "{what}: {violations:#?}");
        Ok(())
    }

    /// A picture of the window, below `target/screenshots`.
    pub async fn picture(&self, name: &str) -> Result<()> {
        let folder = std::env::var_os("SAMPAN_SCREENSHOTS").map_or_else(
            || {
                std::env::current_exe()
                    .map(|test| test.ancestors().nth(3).map(|target| target.join("screenshots")))
            },
            |folder| Ok(Some(PathBuf::from(folder))),
        )?;
        let folder = folder.context("target")?;
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join(format!("{name}.png")), self.client.screenshot().await?)?)
    }
}
