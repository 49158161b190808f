//! Bootstrap tokens: Secrets of kube-system of type `bootstrap.kubernetes.io/token`. Those that are over go ([`TokenCleaner`]),
//! and `cluster-info` is signed with those that are good for it ([`BootstrapSigner`]), so that whoever knows a token can tell
//! the cluster's certificate authority from another one. As upstream's `pkg/controller/bootstrap`.
//!
//! What is not here: who a token is when it is shown (the API server's), and `cluster-info` itself, which it makes as well.

mod cleaner;
mod signer;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher;
use sampan_reconcile::{Error, Informer};

pub(crate) use self::cleaner::TokenCleaner;
pub(crate) use self::signer::BootstrapSigner;
use crate::context::Context;
use crate::words::{name, namespace};

const TYPE: &str = "bootstrap.kubernetes.io/token";
const NAMESPACE: &str = "kube-system";
const NAME_PREFIX: &str = "bootstrap-token-";

/// The Secrets that hold bootstrap tokens.
pub(crate) fn tokens(context: &Context) -> Informer<Secret> {
    let only = watcher::Config::default().fields(&format!("type={TYPE}"));
    context.informers.within(NAMESPACE, only)
}

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(TYPE) && namespace(&secret.metadata) == NAMESPACE
}

/// What a Secret says under `key`; nothing if it does not.
fn value<'a>(secret: &'a Secret, key: &str) -> &'a [u8] {
    secret.data.as_ref().and_then(|data| data.get(key)).map_or(&[], |bytes| &bytes.0)
}

/// When a token ends.
#[derive(Debug, PartialEq)]
enum End {
    Never,
    At(Timestamp),
    /// It has ended, or nobody can read when.
    Past,
}

impl End {
    fn of(secret: &Secret, now: Timestamp) -> Self {
        let text = value(secret, "expiration");
        if text.is_empty() {
            return Self::Never;
        }
        match std::str::from_utf8(text).ok().and_then(rfc_3339) {
            Some(at) if at > now => Self::At(at),
            _ => Self::Past,
        }
    }

    /// How long until then, if it comes.
    fn remaining(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::At(at) => Some(at.duration_since(now).unsigned_abs()),
            Self::Never | Self::Past => None,
        }
    }
}

/// A time as Go's `time.RFC3339` reads it: `2026-01-02T03:04:05Z`, with an offset instead of the `Z` and a fraction of the
/// second at will, and no shorter.
fn rfc_3339(text: &str) -> Option<Timestamp> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let like = |(is, shape): (u8, &u8)| match shape {
        b'0' => is.is_ascii_digit(),
        other => is == *other,
    };
    let (time, rest) = text.split_at_checked(SHAPE.len())?;
    let zone = rest.trim_start_matches(['.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    let named = matches!(zone.as_bytes(), [b'Z'] | [b'+' | b'-', _, _, b':', _, _]);
    let shaped = time.bytes().zip(SHAPE).all(like) && named;
    text.parse().ok().filter(|_| shaped)
}

/// A token's id and its secret, if `cluster-info` is to be signed with it: upstream's `validateSecretForSigning`.
fn for_signing(secret: &Secret, now: Timestamp) -> Option<(&str, &[u8])> {
    let id = name(&secret.metadata).strip_prefix(NAME_PREFIX)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let key = value(secret, "token-secret");
    let good = is_token(secret)
        && id.len() == 6
        && id.bytes().all(plain)
        && value(secret, "token-id") == id.as_bytes()
        && !key.is_empty()
        && value(secret, "usage-bootstrap-signing") == b"true"
        && End::of(secret, now) != End::Past;
    good.then_some((id, key))
}

/// What has changed or gone meanwhile comes again by itself.
fn meanwhile_is_fine(result: kube::Result<()>) -> Result<(), Error> {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    /// A token's Secret with these data.
    pub(super) fn secret(name: &str, data: &[(&str, &str)]) -> Secret {
        let mut secret: Secret = serde_json::from_value(json!({"type": TYPE,
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": "u"}}))
        .unwrap();
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        secret.data = Some(data.iter().map(|(key, text)| ((*key).to_owned(), bytes(text))).collect());
        secret
    }

    #[test]
    fn a_token_ends_when_it_says() {
        let now = "2026-06-01T10:00:00Z".parse().unwrap();
        let at = |text: &str| End::At(text.parse().unwrap());
        let cases = [
            ("", End::Never),
            ("2026-06-01T10:00:01Z", at("2026-06-01T10:00:01Z")),
            ("2026-06-01T10:00:00.5Z", at("2026-06-01T10:00:00.5Z")),
            ("2026-06-01T13:00:00+02:00", at("2026-06-01T11:00:00Z")),
            ("2026-06-01T10:00:00Z", End::Past),
            ("2026-06-01T11:30:00+02:00", End::Past),
            // nobody can read these, nor can Go
            ("2027-06-01", End::Past),
            ("2027-06-01 10:00:00Z", End::Past),
            ("2027-06-01t10:00:00z", End::Past),
            ("2027-06-01T10:00Z", End::Past),
            ("2027-06-01T10:00:00", End::Past),
            ("2027-06-01T10:00:00Z[UTC]", End::Past),
            ("2027-13-01T10:00:00Z", End::Past),
            ("tomorrow", End::Past),
            ("2027-06-01T10:00:0ü", End::Past),
        ];
        for (text, expected) in cases {
            let secret = secret("bootstrap-token-abcdef", &[("expiration", text)]);
            assert_eq!(End::of(&secret, now), expected, "{text}");
        }
        assert_eq!(at("2026-06-01T10:00:01.5Z").remaining(now), Some(Duration::from_millis(1500)));
        assert_eq!((End::Never.remaining(now), End::Past.remaining(now)), (None, None));
    }

    #[test]
    fn only_a_whole_and_valid_token_signs() {
        const ID: (&str, &str) = ("token-id", "abcdef");
        const SECRET: (&str, &str) = ("token-secret", "s3cret");
        const SIGNS: (&str, &str) = ("usage-bootstrap-signing", "true");
        let now = "2026-06-01T10:00:00Z".parse().unwrap();
        let named = "bootstrap-token-abcdef";
        #[allow(clippy::type_complexity)] // a table of cases
        let cases: [(&str, &[(&str, &str)], bool); 11] = [
            (named, &[ID, SECRET, SIGNS], true),
            (named, &[ID, SECRET, SIGNS, ("expiration", "2026-06-01T10:00:01Z")], true),
            (named, &[ID, SECRET, SIGNS, ("expiration", "2026-06-01T10:00:00Z")], false),
            (named, &[ID, SECRET, SIGNS, ("expiration", "soon")], false),
            (named, &[SECRET, SIGNS], false),
            (named, &[ID, SIGNS], false),
            (named, &[ID, SECRET], false),
            (named, &[ID, SECRET, ("usage-bootstrap-signing", "True")], false),
            ("bootstrap-token-ghijkl", &[ID, SECRET, SIGNS], false),
            ("bootstrap-token-ABCDEF", &[("token-id", "ABCDEF"), SECRET, SIGNS], false),
            ("token-abcdef", &[ID, SECRET, SIGNS], false),
        ];
        for (name, data, signs) in cases {
            let secret = secret(name, data);
            let expected = signs.then_some(("abcdef", &b"s3cret"[..]));
            assert_eq!(for_signing(&secret, now), expected, "{name} {data:?}");
        }
        let mut other = secret(named, &[ID, SECRET, SIGNS]);
        other.type_ = Some("Opaque".to_owned());
        assert_eq!(for_signing(&other, now), None);
        let mut elsewhere = secret(named, &[ID, SECRET, SIGNS]);
        elsewhere.metadata.namespace = Some("default".to_owned());
        assert_eq!(for_signing(&elsewhere, now), None);
    }
}
