//! What a browser sends: a cookie, an origin, a sub-protocol; without a browser.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use http::HeaderValue;
use sampan_testkit::Cluster;
use sampan_view::feed::{Ask, Kind, Tell};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// How long something may take that happens at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    /// In lower case.
    pub head: String,
    pub body: String,
    cookie: Option<String>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The cookie that is set, as it is sent back.
    pub fn cookie(&self) -> Result<String> {
        self.cookie.clone().context("no cookie")
    }
}

/// A browser that is signed in, or not.
#[derive(Clone, Default)]
pub struct Browser {
    pub port: u16,
    /// The dashboard's own host, without the port.
    pub name: String,
    pub cookie: Option<String>,
    pub bearer: Option<String>,
}

impl Browser {
    /// Signs in with a ticket of `sampan dashboard`.
    pub fn signed_in(cluster: &Cluster) -> Result<Self> {
        let url = cluster.sampan(&["dashboard", "--url"])?;
        let url = url.trim();
        let host = url.split('/').nth(2).context("a host")?;
        let (name, port) = host.split_once(':').context("a port")?;
        ensure!(name.ends_with(".localhost"), "{name}");
        let port = port.parse()?;
        let mut browser = Self { port, name: name.to_owned(), ..Self::default() };
        let answer = browser.get(url.split_once(&format!(":{port}")).context("a path")?.1)?;
        ensure!(answer.code == 303 && answer.head.contains("location: /\r"), "{answer:?}");
        browser.cookie = Some(answer.cookie()?);
        Ok(browser)
    }

    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, &[], "")
    }

    /// A request as a page of ours sends it.
    pub fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Result<Answer> {
        let own = format!("Origin: {}", self.origin());
        let mut all = vec![own.as_str(), "X-Sampan-Csrf: 1", "Content-Type: application/json"];
        all.extend_from_slice(headers);
        self.raw(method, path, &all, body)
    }

    /// Where its pages come from.
    pub fn origin(&self) -> String {
        format!("http://{}:{}", self.name, self.port)
    }

    /// A request with these headers alone, and cookie or token.
    pub fn raw(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Result<Answer> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "-m", "60", "-X", method, "--data-binary", body]);
        if method == "GET" {
            curl = Command::new("curl");
            curl.args(["-sS", "-i", "-m", "60"]);
        }
        for header in headers {
            curl.args(["-H", header]);
        }
        if let Some(cookie) = &self.cookie {
            curl.args(["-H", &format!("Cookie: {cookie}")]);
        }
        if let Some(token) = &self.bearer {
            curl.args(["-H", &format!("Authorization: Bearer {token}")]);
        }
        // curl takes every name below localhost for this machine, as browsers do
        let output = curl.arg(format!("{}{path}", self.origin())).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) =
            text.split_once("\r\n\r\n").with_context(|| format!("{method} {path}: {output:?}"))?;
        let code = head.split(' ').nth(1).context("a status line")?.parse()?;
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        let cookie = cookie.and_then(|line| line.split(';').next()).map(str::to_owned);
        Ok(Answer { code, head: format!("{}\r\n", head.to_ascii_lowercase()), body: body.to_owned(), cookie })
    }

    /// An answer without end, into a file.
    pub fn stream(&self, path: &str, file: &std::path::Path) -> Result<Child> {
        std::fs::write(file, "")?;
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-N", "-m", "60", "-o"]).arg(file);
        if let Some(cookie) = &self.cookie {
            curl.args(["-H", &format!("Cookie: {cookie}")]);
        }
        Ok(curl.arg(format!("{}{path}", self.origin())).spawn()?)
    }

    /// A websocket, from an origin.
    pub async fn socket(
        &self,
        path: &str,
        protocol: &str,
        origin: &str,
    ) -> Result<WebSocketStream<TcpStream>> {
        let mut request = format!("ws://{}:{}{path}", self.name, self.port).into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("origin", HeaderValue::from_str(origin)?);
        headers.insert("sec-websocket-protocol", HeaderValue::from_str(protocol)?);
        if let Some(cookie) = &self.cookie {
            headers.insert("cookie", HeaderValue::from_str(cookie)?);
        }
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        Ok(tokio_tungstenite::client_async(request, stream).await?.0)
    }

    /// The feed, as a page of ours opens it.
    pub async fn feed(&self, protocol: &str) -> Result<Feed> {
        Ok(Feed { socket: self.socket("/sampan/v1/feed", protocol, &self.origin()).await? })
    }
}

/// An open feed.
pub struct Feed {
    pub socket: WebSocketStream<TcpStream>,
}

impl Feed {
    pub async fn ask(&mut self, ask: &Ask) -> Result<()> {
        self.socket.send(Message::text(serde_json::to_string(ask)?)).await?;
        Ok(())
    }

    /// The next that is told.
    pub async fn next(&mut self) -> Result<Tell> {
        loop {
            let message =
                tokio::time::timeout(PATIENCE, self.socket.next()).await.context("nothing is told")?;
            match message.context("the feed ended")?? {
                Message::Binary(bytes) => return Ok(postcard::from_bytes(&bytes)?),
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(reason) => bail!("closed: {reason:?}"),
                _ => {}
            }
        }
    }

    /// Reads until something is told that `wanted` finds in it.
    pub async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Tell) -> Option<T>) -> Result<T> {
        let mut passed = Vec::new();
        let began = Instant::now();
        loop {
            // what is told of other things is no answer
            ensure!(began.elapsed() < 2 * PATIENCE, "{what}; told instead: {passed:?}");
            let tell = self.next().await.with_context(|| format!("{what}; told before: {passed:?}"))?;
            if let Some(found) = wanted(&tell) {
                return Ok(found);
            }
            passed.push(tell);
        }
    }
}

/// Asks for a list.
pub fn open(view: u32, group: &str, resource: &str, namespaces: &[&str]) -> Ask {
    Ask::Open {
        view,
        kind: Kind { group: group.into(), version: "v1".into(), resource: resource.into() },
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        label_selector: String::new(),
        field_selector: String::new(),
        filter: String::new(),
        summary: false,
        since: None,
    }
}
