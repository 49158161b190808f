//! Tokens that Secrets of type `kubernetes.io/service-account-token` hold, which name no end: when each was used last is noted
//! on its Secret, since when that is so in a ConfigMap, and one whose Secret is marked as invalid is refused. What nobody
//! uses is then the controllers' to remove.
//!
//! Upstream's `pkg/serviceaccount/legacy.go` and `pkg/controlplane/controller/legacytokentracking`. Whether a token is good
//! otherwise is not judged here.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use sampan_api::kinds;
use sampan_api::status::{ApiError, Reason};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::UserInfo;
use crate::registry::manage::SELF;
use crate::registry::{Call, Registry, Target, WriteOptions};
use crate::value::{at, items, meta, remove, set, text};

const TYPE: &str = "kubernetes.io/service-account-token";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// Where it is said since when uses are noted.
const NAMESPACE: &str = "kube-system";
const MAP: &str = "kube-apiserver-legacy-service-account-token-tracking";
/// The least time between two makings of the ConfigMap.
const PAUSE: Duration = Duration::from_secs(30 * 60);
/// How many uses may wait to be noted; one that is lost is noted with the token's next.
const WAITING: usize = 64;

/// A day, as labels say it.
fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

fn is_day(text: &str) -> bool {
    text.parse::<jiff::civil::Date>().is_ok() && text.len() == "2026-01-01".len()
}

/// What a Secret says of the token that it holds.
#[derive(Debug, PartialEq)]
struct Found {
    /// Why it is refused.
    refused: Option<String>,
    /// Whether the account names the Secret, as accounts did for which one was made.
    generated: bool,
    /// Whether today's use is yet to be noted.
    unnoted: bool,
}

/// `None` if the Secret does not hold this token.
fn judge(secret: &Value, account: &Value, token: &str, now: Timestamp) -> Option<Found> {
    let held = STANDARD.decode(text(secret, &["data", "token"])).ok()?;
    if text(secret, &["type"]) != TYPE || held != token.as_bytes() {
        return None;
    }
    let name = meta(secret, "name");
    let label = |key: &str| text(secret, &["metadata", "labels", key]);
    let refused = (!label(INVALID_SINCE).is_empty()).then(|| {
        let (namespace, account) = (meta(secret, "namespace"), meta(account, "name"));
        format!(
            "the token in secret {namespace}/{name} for service account {namespace}/{account} has been marked invalid. \
             Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' \
             label from the secret to temporarily allow use of this token"
        )
    });
    let tomorrow = now.checked_add(SignedDuration::from_hours(24)).unwrap_or(now);
    let generated = items(at(account, &["secrets"])).iter().any(|one| text(one, &["name"]) == name);
    let unnoted = ![day(now), day(tomorrow)].iter().any(|day| day == label(LAST_USED));
    Some(Found { refused, generated, unnoted })
}

/// A use that is to be noted on a Secret.
pub(crate) struct Use {
    namespace: String,
    name: String,
    uid: String,
    day: String,
}

/// Uses on their way to their Secrets.
pub(crate) struct Uses {
    sender: mpsc::Sender<Use>,
    receiver: Mutex<Option<mpsc::Receiver<Use>>>,
}

impl Default for Uses {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

struct Metrics {
    generated: Counter,
    manual: Counter,
    refused: Counter,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics =
        Metrics { generated: Counter::default(), manual: Counter::default(), refused: Counter::default() };
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    // the encoder appends _total to counters
    registry.register(
        "serviceaccount_legacy_auto_token_uses",
        "Cumulative auto-generated legacy tokens used",
        metrics.generated.clone(),
    );
    registry.register(
        "serviceaccount_legacy_manual_token_uses",
        "Cumulative manually created legacy tokens used",
        metrics.manual.clone(),
    );
    registry.register(
        "serviceaccount_invalid_legacy_auto_token_uses",
        "Cumulative invalid auto-generated legacy tokens used",
        metrics.refused.clone(),
    );
    metrics
});

impl Uses {
    /// Notes that a token was shown, if `secret` holds it; says why it is refused, if it is.
    pub fn shown(&self, secret: &Value, account: &Value, token: &str, now: Timestamp) -> Result<(), String> {
        let Some(found) = judge(secret, account, token, now) else { return Ok(()) };
        let name = || meta(secret, "name").to_owned();
        if found.unnoted {
            let (namespace, uid) = (meta(secret, "namespace").to_owned(), meta(secret, "uid").to_owned());
            let _ = self.sender.try_send(Use { namespace, name: name(), uid, day: day(now) });
        }
        if let Some(why) = found.refused {
            METRICS.refused.inc();
            let place = || format!("{}/{}", name(), meta(secret, "namespace"));
            crate::audit::annotate("authentication.k8s.io/legacy-token-invalidated", place);
            return Err(why);
        }
        if found.generated {
            METRICS.generated.inc();
            crate::audit::annotate("authentication.k8s.io/legacy-token-autogenerated-secret", name);
            crate::pipeline::warnings::tell(
                "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.".to_owned(),
            );
        } else {
            METRICS.manual.inc();
            crate::audit::annotate("authentication.k8s.io/legacy-token-manual-secret", name);
        }
        Ok(())
    }

    /// Writes uses down until nobody is left who could tell of one. To be called once.
    pub fn note(&self, registry: Registry) -> impl Future<Output = ()> + use<> {
        let receiver = self.receiver.lock().take();
        async move {
            let Some(mut receiver) = receiver else { return };
            while let Some(used) = receiver.recv().await {
                if let Err(error) = label(&registry, &used).await {
                    let Use { namespace, name, .. } = &used;
                    tracing::warn!(%error, namespace, name, "the last use of a service account's token could not be noted");
                }
            }
        }
    }
}

fn caller() -> UserInfo {
    UserInfo::new("system:apiserver", &["system:masters"])
}

async fn label(registry: &Registry, used: &Use) -> Result<(), ApiError> {
    let kind = kinds::by_resource("", "v1", "secrets").ok_or_else(ApiError::unknown_resource)?;
    let target = Target::new(kind, &used.namespace, &used.name);
    let user = caller();
    let call = Call::new(&user, WriteOptions::default()).tracked(SELF);
    let written = registry.modify(&call, &target, |old| {
        let mut new = old.clone();
        remove(&mut new, &["metadata", "resourceVersion"]);
        if meta(old, "uid") == used.uid {
            set(&mut new, &["metadata", "labels", LAST_USED], used.day.as_str());
        }
        Ok(new)
    });
    match written.await {
        Err(error) if error.reason != Reason::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Keeps the ConfigMap that says since when uses are noted, until the store closes.
pub(crate) async fn follow(registry: Registry) {
    let mut rests_until = Instant::now();
    loop {
        let from = registry.store.revision();
        match ensure(&registry, Timestamp::now(), Instant::now() >= rests_until).await {
            Ok(true) => rests_until = Instant::now() + PAUSE,
            Ok(false) => {}
            Err(error) => {
                // nothing else would ask for another try
                rests_until = Instant::now() + PAUSE;
                tracing::warn!(%error, "since when uses of service accounts' tokens are noted is not to be seen")
            }
        }
        let Ok(mut changes) = registry.store.watch("configmaps", &format!("{NAMESPACE}/{MAP}"), from) else {
            continue;
        };
        tokio::select! {
            change = changes.next() => if change.is_none() { return },
            // what was deleted too soon after it was made
            () = tokio::time::sleep_until(rests_until), if rests_until > Instant::now() => {}
        }
    }
}

/// Makes the ConfigMap if it `may`, or mends its day; whether it was made.
async fn ensure(registry: &Registry, now: Timestamp, may: bool) -> Result<bool, ApiError> {
    let kind = kinds::by_resource("", "v1", "configmaps").ok_or_else(ApiError::unknown_resource)?;
    let target = Target::new(kind, NAMESPACE, MAP);
    let user = caller();
    let call = Call::new(&user, WriteOptions::default()).tracked(SELF);
    match registry.object(&target) {
        Ok((map, _)) if is_day(text(&map, &["data", "since"])) => Ok(false),
        Ok(_) => {
            let written = registry.modify(&call, &target, |old| {
                let mut new = old.clone();
                remove(&mut new, &["metadata", "resourceVersion"]);
                set(&mut new, &["data", "since"], day(now));
                Ok(new)
            });
            written.await.map(|_| false)
        }
        Err(_) if !may => Ok(false),
        Err(_) => {
            let body =
                json!({"metadata": {"name": MAP, "namespace": NAMESPACE}, "data": {"since": day(now)}});
            match registry.create(&call, &Target::new(kind, NAMESPACE, ""), body).await {
                Err(error) if error.reason != Reason::AlreadyExists => Err(error),
                made => Ok(made.is_ok()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_secret_says_of_its_token() {
        let now: Timestamp = "2026-03-01T23:59:00Z".parse().unwrap();
        let account = |secrets: Value| json!({"metadata": {"name": "robot"}, "secrets": secrets});
        let secret = |labels: Value| {
            json!({"type": TYPE, "metadata": {"name": "key", "namespace": "a", "labels": labels},
                "data": {"token": STANDARD.encode("jwt")}})
        };
        let found = |generated, unnoted| Some(Found { refused: None, generated, unnoted });
        let cases = [
            (secret(json!({})), account(json!([])), found(false, true)),
            (
                secret(json!({LAST_USED: "2026-02-28"})),
                account(json!([{"name": "other"}])),
                found(false, true),
            ),
            (secret(json!({LAST_USED: "2026-03-01"})), account(json!([{"name": "key"}])), found(true, false)),
            // another server's clock is ahead
            (secret(json!({LAST_USED: "2026-03-02"})), account(json!([])), found(false, false)),
            (json!({"type": "Opaque", "data": {"token": STANDARD.encode("jwt")}}), account(json!([])), None),
            (json!({"type": TYPE, "data": {"token": STANDARD.encode("other")}}), account(json!([])), None),
        ];
        for (secret, account, expected) in cases {
            assert_eq!(judge(&secret, &account, "jwt", now), expected, "{secret} {account}");
        }
        let marked = judge(&secret(json!({INVALID_SINCE: "2026-02-01"})), &account(json!([])), "jwt", now);
        let why = marked.unwrap().refused.unwrap();
        assert!(
            why.starts_with(
                "the token in secret a/key for service account a/robot has been marked invalid. Use"
            ),
            "{why}"
        );
    }

    #[test]
    fn days() {
        for (text, expected) in [("2026-03-01", true), ("2026-3-1", false), ("yesterday", false), ("", false)]
        {
            assert_eq!(is_day(text), expected, "{text}");
        }
    }
}
