//! Where an issuer's keys come from: its discovery document, and the key set that this names.
//!
//! Anyone can make a token that no key verifies, so fetching is bounded: one fetch at a time, whose outcome all take who
//! came meanwhile, and none until [`PAUSE`] after the last one, however that ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http::{Request, Uri};
use http_body_util::BodyExt;
use parking_lot::{Mutex, RwLock};
use rustls::ClientConfig;
use sampan_api::go::Quote as _;
use sampan_process::Tasks;
use serde_json::Value;
use tokio::time::Instant;

use super::config;
use super::keys::Keys;
use crate::outbound::{Destination, client_config};
use crate::value::text;

/// How long fetching an issuer's keys may take: upstream's client timeout.
const FETCHING: Duration = Duration::from_secs(30);
/// The least time between the end of a fetch and the next one.
pub(super) const PAUSE: Duration = Duration::from_secs(10);
/// The longest document that is read.
const LONGEST: usize = 1 << 20;

/// One issuer's keys.
pub(super) struct Source {
    url: String,
    discovery: String,
    tls: Arc<ClientConfig>,
    keys: RwLock<Arc<Keys>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    going: Option<Shared<BoxFuture<'static, ()>>>,
    rests_until: Option<Instant>,
}

impl Source {
    pub fn new(issuer: &config::Issuer) -> Result<Self, String> {
        let discovery = match issuer.discovery_url.as_str() {
            "" => format!("{}/.well-known/openid-configuration", issuer.url.trim_end_matches('/')),
            given => given.to_owned(),
        };
        Ok(Self {
            url: issuer.url.clone(),
            discovery,
            tls: Arc::new(client_config(&config::trust(issuer), None)?),
            keys: RwLock::default(),
            state: Mutex::default(),
        })
    }

    /// Who signs its tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The keys, as they were fetched last; none before that.
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.read().clone()
    }

    /// Fetches the keys anew, or waits for the fetch that is going on; does neither while it is to rest.
    pub async fn refresh(self: &Arc<Self>, tasks: &Tasks) {
        if let Some(fetch) = self.fetching(tasks) {
            fetch.await;
        }
    }

    fn fetching(self: &Arc<Self>, tasks: &Tasks) -> Option<Shared<BoxFuture<'static, ()>>> {
        let mut state = self.state.lock();
        if let Some(going) = state.going.as_ref().filter(|going| going.peek().is_none()) {
            return Some(going.clone());
        }
        if state.rests_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        // whoever asked may go away: the fetch is for others as well
        let source = self.clone();
        let task = tasks.spawn_until_drain("issuer keys", async move { source.fetch_once().await });
        let going = task.map(drop).boxed().shared();
        state.going = Some(going.clone());
        Some(going)
    }

    async fn fetch_once(&self) {
        match tokio::time::timeout(FETCHING, self.fetch()).await {
            Ok(Ok(keys)) => {
                let unusable = keys.unusable();
                if unusable > 0 {
                    tracing::warn!(
                        issuer = self.url,
                        unusable,
                        "oidc authenticator: keys that cannot be used"
                    );
                }
                *self.keys.write() = Arc::new(keys);
            }
            Ok(Err(why)) => tracing::warn!(issuer = self.url, why, "oidc authenticator: no keys"),
            Err(_) => tracing::warn!(issuer = self.url, "oidc authenticator: no keys in time"),
        }
        let mut state = self.state.lock();
        state.going = None;
        state.rests_until = Some(Instant::now() + PAUSE);
    }

    async fn fetch(&self) -> Result<Keys, String> {
        let found = self.get(&self.discovery).await?;
        let told = text(&found, &["issuer"]);
        if told != self.url {
            let wanted = &self.url;
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {} got {}",
                wanted.quoted(),
                told.quoted()
            ));
        }
        Ok(Keys::read(&self.get(text(&found, &["jwks_uri"])).await?))
    }

    async fn get(&self, address: &str) -> Result<Value, String> {
        let failed = |why: String| format!("Get {}: {why}", address.quoted());
        let uri: Uri = address.parse().map_err(|why| failed(format!("{why}")))?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let host = host.ok_or_else(|| failed("https is wanted".into()))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let place = Destination::tls(host, uri.port_u16().unwrap_or(443), host, self.tls.clone());
        let place = place.map_err(failed)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request =
            Request::get(path).header("host", place.authority()).header("accept", "application/json");
        let request = request.body(Bytes::new()).map_err(|why| failed(why.to_string()))?;
        let response = place.send(request).await.map_err(failed)?;
        let status = response.status();
        let mut stream = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = stream.frame().await {
            let frame = frame.map_err(|why| failed(why.to_string()))?;
            body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if body.len() > LONGEST {
                return Err(failed(format!("more than {LONGEST} bytes")));
            }
        }
        if !status.is_success() {
            return Err(failed(format!(
                "{status}: {}",
                String::from_utf8_lossy(&body[..body.len().min(256)])
            )));
        }
        serde_json::from_slice(&body).map_err(|why| failed(why.to_string()))
    }
}
