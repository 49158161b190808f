//! Tokens of others: JWT issuers that a file names, upstream's structured authentication (`--authentication-config`).
//!
//! ```text
//!  bearer token ─► iss names an issuer? ─► its keys ─► signature, times, audience ─► rules and mappings ─► user
//!                                          └ fetched when a token is signed by a key that is not known
//! ```
//!
//! - [`config`]: the file. [`keys`]: public keys, and what they signed. [`mapping`]: claims to a user.
//!
//! To look at a token takes no time; [`Issuers::prepare`] fetches before that what it takes. Keys are fetched when they
//! are first needed, and anew for a key that is not known, by one request at a time.
//!
//! What is not here: claims that are distributed over several places, and egress selectors.

mod config;
mod keys;
mod mapping;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::BodyExt;
use jiff::Timestamp;
use parking_lot::RwLock;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::sync::Mutex;

use self::keys::Keys;
use self::mapping::Mapping;
use super::{AUTHENTICATED, UserInfo};
use crate::outbound::{Destination, client_config};
use crate::value::{at, strings, text};

/// How long fetching an issuer's keys may take: upstream's client timeout.
const FETCHING: Duration = Duration::from_secs(30);
/// The longest document that is read.
const LONGEST: usize = 1 << 20;
/// A clock that runs behind may use a fresh token: go-oidc's leeway for `nbf`.
const LEEWAY_SECONDS: f64 = 300.0;

/// Everything that the file says.
#[derive(Default)]
pub struct Issuers {
    all: Vec<Issuer>,
    anonymous: Option<config::Anonymous>,
}

struct Issuer {
    url: String,
    discovery: String,
    audiences: Vec<String>,
    mapping: Mapping,
    tls: Arc<ClientConfig>,
    keys: RwLock<Arc<Keys>>,
    fetching: Mutex<()>,
}

/// A token's parts, none of them believed yet.
struct Parts<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    algorithm: String,
    key: String,
    claims: Value,
}

impl Issuers {
    /// Reads the file. `own` are the API server's own issuers, whose tokens are not for others to judge. Errors name the
    /// file's field.
    pub fn open(file: &Path, own: &[String]) -> Result<Self, String> {
        let content = std::fs::read_to_string(file).map_err(|why| why.to_string())?;
        Self::read(&content, own)
    }

    /// As [`Issuers::open`], of the file's content.
    pub fn read(content: &str, own: &[String]) -> Result<Self, String> {
        let found = config::read(content, own)?;
        let all = found.jwt.iter().map(Issuer::new).collect::<Result<_, _>>()?;
        Ok(Self { all, anonymous: found.anonymous })
    }

    /// Whether requests without credentials may ask for `path`; `None` if the file does not say.
    pub fn anonymous(&self, path: &str) -> Option<bool> {
        let anonymous = self.anonymous.as_ref()?;
        let conditions = &anonymous.conditions;
        let fits = conditions.is_empty() || conditions.iter().any(|condition| condition.path == path);
        Some(anonymous.enabled && fits)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Fetches the keys that it takes to judge a token.
    pub async fn prepare(&self, token: &str) {
        let Some((issuer, parts)) = self.issuer(token) else { return };
        if parts.verify(&issuer.keys.read()).is_ok() {
            return;
        }
        let _turn = issuer.fetching.lock().await;
        // another may have fetched them meanwhile
        if parts.verify(&issuer.keys.read()).is_ok() {
            return;
        }
        match tokio::time::timeout(FETCHING, issuer.fetch()).await {
            Ok(Ok(keys)) => *issuer.keys.write() = Arc::new(keys),
            Ok(Err(why)) => tracing::warn!(issuer = issuer.url, why, "oidc authenticator: no keys"),
            Err(_) => tracing::warn!(issuer = issuer.url, "oidc authenticator: no keys in time"),
        }
    }

    /// The user of a token; `None` if it is of no issuer that is named here.
    pub fn user(&self, token: &str, now: Timestamp) -> Option<Result<UserInfo, String>> {
        let (issuer, parts) = self.issuer(token)?;
        Some(issuer.user(&parts, now))
    }

    fn issuer<'a>(&self, token: &'a str) -> Option<(&Issuer, Parts<'a>)> {
        if self.all.is_empty() {
            return None;
        }
        let parts = Parts::of(token)?;
        let issuer = self.all.iter().find(|issuer| issuer.url == text(&parts.claims, &["iss"]))?;
        Some((issuer, parts))
    }
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Value = serde_json::from_slice(&decode(header)?).ok()?;
        Some(Self {
            signed,
            signature: decode(signature)?,
            algorithm: text(&header, &["alg"]).to_owned(),
            key: text(&header, &["kid"]).to_owned(),
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
        })
    }

    fn verify(&self, keys: &Keys) -> Result<(), String> {
        keys.verify(&self.algorithm, &self.key, self.signed.as_bytes(), &self.signature)
    }
}

impl Issuer {
    fn new(authenticator: &config::Authenticator) -> Result<Self, String> {
        let issuer = &authenticator.issuer;
        let discovery = match issuer.discovery_url.as_str() {
            "" => format!("{}/.well-known/openid-configuration", issuer.url.trim_end_matches('/')),
            given => given.to_owned(),
        };
        Ok(Self {
            url: issuer.url.clone(),
            discovery,
            audiences: issuer.audiences.clone(),
            mapping: Mapping::new(authenticator)?,
            tls: Arc::new(client_config(&config::trust(issuer), None)?),
            keys: RwLock::default(),
            fetching: Mutex::default(),
        })
    }

    async fn fetch(&self) -> Result<Keys, String> {
        let found = self.get(&self.discovery).await?;
        let told = text(&found, &["issuer"]);
        if told != self.url {
            let wanted = &self.url;
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {wanted:?} got {told:?}"
            ));
        }
        Ok(Keys::read(&self.get(text(&found, &["jwks_uri"])).await?))
    }

    async fn get(&self, address: &str) -> Result<Value, String> {
        let failed = |why: String| format!("Get {address:?}: {why}");
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

    fn user(&self, parts: &Parts<'_>, now: Timestamp) -> Result<UserInfo, String> {
        parts.verify(&self.keys.read()).map_err(|why| format!("oidc: verify token: {why}"))?;
        let claims = &parts.claims;
        let audiences = match at(claims, &["aud"]) {
            Value::String(one) => vec![one.clone()],
            all => strings(all),
        };
        if !audiences.iter().any(|one| self.audiences.contains(one)) {
            let wanted = &self.audiences;
            return Err(format!(
                "oidc: verify token: oidc: expected audience in {wanted:?} got {audiences:?}"
            ));
        }
        let (time, now) = (|claim: &str| at(claims, &[claim]).as_f64(), now.as_second() as f64);
        if time("exp").is_none_or(|end| now > end) {
            return Err("oidc: verify token: oidc: token is expired".into());
        }
        if time("nbf").is_some_and(|begin| now + LEEWAY_SECONDS < begin) {
            return Err("oidc: verify token: oidc: current time before the nbf (not before) time".into());
        }
        let mut user = self.mapping.user(claims)?;
        if !user.in_group(AUTHENTICATED) {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        Ok(user)
    }
}
