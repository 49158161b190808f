//! Tokens of others: JWT issuers that a file names, upstream's structured authentication (`--authentication-config`).
//!
//! ```text
//!  bearer token ─► iss names an issuer? ─► its keys ─► signature, times, audience ─► rules and mappings ─► user
//!                                          └ fetched when a token is signed by a key that is not known
//! ```
//!
//! - [`config`]: the file. [`source`]: how keys are fetched. [`keys`]: public keys, and what they signed. [`mapping`]:
//!   claims to a user. [`reload`]: the file again when it changes.
//!
//! To look at a token takes no time; [`Issuers::prepare`] fetches before that what it takes. Keys are fetched when they
//! are first needed, and anew for a key that is not known.
//!
//! What is not here: claims that are distributed over several places, and egress selectors.

mod config;
mod keys;
mod mapping;
pub(crate) mod reload;
mod source;

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sampan_api::go::quoted_list;
use sampan_process::{Component, Drain, Tasks};
use serde_json::Value;

use self::keys::Keys;
use self::mapping::Mapping;
use self::source::Source;
use super::{AUTHENTICATED, UserInfo};
use crate::value::{at, strings, text};

/// A clock that runs behind may use a fresh token: go-oidc's leeway for `nbf`.
const LEEWAY_SECONDS: f64 = 300.0;

/// Everything that the file says.
pub struct Issuers {
    all: Vec<Issuer>,
    anonymous: Option<config::Anonymous>,
    /// The file's.
    content: String,
    /// Fetches of keys.
    tasks: Tasks,
}

impl Default for Issuers {
    fn default() -> Self {
        let tasks = Tasks::new(Component::ApiServer);
        Self { all: Vec::new(), anonymous: None, content: String::new(), tasks }
    }
}

struct Issuer {
    audiences: Vec<String>,
    mapping: Mapping,
    source: Arc<Source>,
}

/// A token's parts, none of them believed yet.
struct Parts<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    algorithm: String,
    key: String,
    /// Whether its header says that something has to be understood that is not (RFC 7515, 4.1.11).
    critical: bool,
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
        Ok(Self { all, anonymous: found.anonymous, content: content.to_owned(), ..Self::default() })
    }

    /// As they are, ending with `drain`.
    #[must_use]
    pub fn until(self, drain: Drain) -> Self {
        Self { tasks: Tasks::under(Component::ApiServer, drain), ..self }
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

    /// Fetches the keys that it takes to judge a token; not for one that no key makes good.
    pub async fn prepare(&self, token: &str, now: Timestamp) {
        let Some((issuer, parts)) = self.issuer(token) else { return };
        if issuer.admits(&parts, now).is_err() || parts.verify(&issuer.source.keys()).is_ok() {
            return;
        }
        issuer.source.refresh(&self.tasks).await;
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
        let issuer = self.all.iter().find(|issuer| issuer.source.url() == text(&parts.claims, &["iss"]))?;
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
            critical: header.get("crit").is_some(),
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
        })
    }

    /// Whether a key could have signed it.
    fn signable(&self) -> Result<(), String> {
        match self.critical {
            true => Err("failed to verify signature: unsupported crit header".into()),
            false => keys::supported(&self.algorithm),
        }
    }

    fn verify(&self, keys: &Keys) -> Result<(), String> {
        keys.verify(&self.algorithm, &self.key, self.signed.as_bytes(), &self.signature)
    }
}

impl Issuer {
    fn new(authenticator: &config::Authenticator) -> Result<Self, String> {
        let issuer = &authenticator.issuer;
        Ok(Self {
            audiences: issuer.audiences.clone(),
            mapping: Mapping::new(authenticator)?,
            source: Arc::new(Source::new(issuer)?),
        })
    }

    fn user(&self, parts: &Parts<'_>, now: Timestamp) -> Result<UserInfo, String> {
        self.admits(parts, now)?;
        parts.verify(&self.source.keys()).map_err(|why| format!("oidc: verify token: {why}"))?;
        let mut user = self.mapping.user(&parts.claims)?;
        if !user.in_group(AUTHENTICATED) {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        Ok(user)
    }

    /// Whether the token would be good if its signature were.
    fn admits(&self, parts: &Parts<'_>, now: Timestamp) -> Result<(), String> {
        parts.signable().map_err(|why| format!("oidc: verify token: {why}"))?;
        let claims = &parts.claims;
        let audiences = match at(claims, &["aud"]) {
            Value::String(one) => vec![one.clone()],
            all => strings(all),
        };
        if !audiences.iter().any(|one| self.audiences.contains(one)) {
            return Err(format!(
                "oidc: verify token: oidc: expected audience in {} got {}",
                quoted_list(&self.audiences),
                quoted_list(&audiences)
            ));
        }
        let (time, now) = (|claim: &str| at(claims, &[claim]).as_f64(), now.as_second() as f64);
        if time("exp").is_none_or(|end| now > end) {
            return Err("oidc: verify token: oidc: token is expired".into());
        }
        if time("nbf").is_some_and(|begin| now + LEEWAY_SECONDS < begin) {
            return Err("oidc: verify token: oidc: current time before the nbf (not before) time".into());
        }
        Ok(())
    }
}
