//! Who asks: client certificate, bearer token (ServiceAccount or bootstrap), or nobody.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::request::Parts;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use sampan_api::status::ApiError;
use sampan_store::{Key, Store};
use serde_json::Value;
use x509_parser::prelude::{FromDer, Validity, X509Certificate};

use super::{AUTHENTICATED, Auth, UserInfo, jwt, metrics};
use crate::value::{at, meta, text};
use crate::{Certificates, Peer};

const WEBSOCKET_TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

impl Auth {
    /// The user of the request's credentials; `None` without any, 401 for bad ones.
    pub(super) fn authenticate(&self, head: &Parts, peer: &Peer) -> Result<Option<Arc<UserInfo>>, ApiError> {
        let certificates = match peer {
            Peer::Loopback(user) => return Ok(Some(user.clone())),
            Peer::Tls { certificates, .. } => certificates,
        };
        let certified = certificates.first().map(|_| certificate_user(certificates));
        let token = match (certified, bearer(head)) {
            (Some(Some(user)), _) => return Ok(Some(user)),
            (Some(None), None) => return Err(ApiError::unauthorized()),
            (None, None) => return Ok(None),
            (_, Some(token)) => token,
        };
        let found = self.token_user(&token, &self.tokens.api_audiences());
        found.map(|(user, _)| Some(user)).map_err(|why| {
            tracing::debug!(%why, "bearer token refused");
            ApiError::unauthorized()
        })
    }

    /// The user of a bearer token, and the audiences it is good for among `wanted`.
    pub(super) fn token_user(
        &self,
        token: &str,
        wanted: &[String],
    ) -> Result<(Arc<UserInfo>, Vec<String>), String> {
        let now = Timestamp::now();
        let user = match self.issuers().user(token, now) {
            Some(user) => user?,
            None if jwt::looks_like(token) => {
                return self.tokens.verify(token, wanted, now).map(|v| (v.user, v.audiences));
            }
            None => bootstrap_user(&self.store, token, now).ok_or("unknown token")?,
        };
        // these say nothing of the API server's audiences: they are good for all of them
        let own = self.tokens.api_audiences();
        let common: Vec<String> = wanted.iter().filter(|audience| own.contains(audience)).cloned().collect();
        match common.is_empty() {
            true => Err("the token is for no audience that was asked for".into()),
            false => Ok((Arc::new(user), common)),
        }
    }
}

/// Whether the connection itself says who asks, so that nobody looks at tokens.
pub(super) fn is_certified(peer: &Peer) -> bool {
    match peer {
        Peer::Loopback(_) => true,
        Peer::Tls { certificates, .. } => certificates.user().is_some_and(Certified::is_valid),
    }
}

fn certificate_user(certificates: &Certificates) -> Option<Arc<UserInfo>> {
    let certified = certificates.user().filter(|certified| certified.is_valid())?;
    metrics::shown(certified.validity.not_after.timestamp());
    Some(certified.user.clone())
}

/// What a certificate says of who shows it.
#[derive(Debug)]
pub(crate) struct Certified {
    user: Arc<UserInfo>,
    validity: Validity,
}

impl Certified {
    fn is_valid(&self) -> bool {
        self.validity.is_valid()
    }

    /// CN is the user, O are the groups: `x509.CommonNameUserConversion`. The chain was verified by the handshake.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let user = Arc::new(subject_user(certificate, &parsed)?);
        Some(Self { user, validity: parsed.validity().clone() })
    }
}

fn subject_user(certificate: &CertificateDer<'_>, parsed: &X509Certificate<'_>) -> Option<UserInfo> {
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    groups.push(AUTHENTICATED.to_owned());
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let extra =
        [("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("X509SHA256={hex}")])];
    Some(UserInfo { name, uid: String::new(), groups, extra: extra.into() })
}

/// The bearer token that the request shows.
pub(super) fn bearer(head: &Parts) -> Option<String> {
    let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok());
    if let Some((scheme, token)) = header("authorization").and_then(|v| v.trim().split_once(' '))
        && scheme.eq_ignore_ascii_case("bearer")
        && !token.trim().is_empty()
    {
        return Some(token.trim().to_owned());
    }
    // browsers cannot set headers on a websocket: upstream's `websocket.NewProtocolAuthenticator`
    let protocols = header("sec-websocket-protocol")?.split(',').map(str::trim);
    let encoded = protocols.into_iter().find_map(|p| p.strip_prefix(WEBSOCKET_TOKEN))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

/// `plugin/pkg/auth/authenticator/token/bootstrap`.
fn bootstrap_user(store: &Store, token: &str, now: Timestamp) -> Option<UserInfo> {
    let (id, secret) = token.split_once('.')?;
    let plain =
        |text: &str, n| text.len() == n && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !plain(id, 6) || !plain(secret, 16) {
        return None;
    }
    let entry = store.get(&Key::new("secrets", format!("kube-system/bootstrap-token-{id}")))?;
    let object: Value = serde_json::from_slice(&entry.value).ok()?;
    let data = |key: &str| {
        let bytes = STANDARD.decode(at(&object, &["data", key]).as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let usable = text(&object, &["type"]) == "bootstrap.kubernetes.io/token"
        && at(&object, &["metadata", "deletionTimestamp"]).is_null()
        && meta(&object, "name") == format!("bootstrap-token-{id}")
        && data("token-id")? == id
        && same(&data("token-secret")?, secret)
        && data("usage-bootstrap-authentication")? == "true"
        && data("expiration")
            .filter(|at| !at.is_empty())
            .is_none_or(|at| at.parse::<Timestamp>().is_ok_and(|at| at > now));
    if !usable {
        return None;
    }
    let mut groups = vec!["system:bootstrappers".to_owned()];
    let more = data("auth-extra-groups").unwrap_or_default();
    groups.extend(more.split(',').filter(|g| g.starts_with("system:bootstrappers:")).map(str::to_owned));
    groups.push(AUTHENTICATED.to_owned());
    Some(UserInfo { name: format!("system:bootstrap:{id}"), groups, ..UserInfo::default() })
}

/// Equality that takes no longer the more bytes agree.
fn same(a: &str, b: &str) -> bool {
    let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest(a).as_ref() == digest(b).as_ref()
}
