//! A Lease of kube-system that says that this server is there (`pkg/controlplane/apiserver/server.go`,
//! `component-helpers/apimachinery/lease`), and the end of those whose servers are not (`apiserverleasegc`).
//!
//! It is made anew at each start, renewed while the server runs, and goes with it. Where other servers reach this one
//! (annotation `kubernetes.io/peer-advertise-address`) it does not say: no request is passed on to a peer.

use std::time::Duration;

use jiff::Timestamp;
use sampan_api::kinds;
use sampan_api::status::{ApiError, Reason};
use sampan_store::Entry;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::UserInfo;
use crate::registry::manage::SELF;
use crate::registry::{Call, DeleteOptions, Registry, Target, WriteOptions};
use crate::value::{at, remove, set, text};

const NAMESPACE: &str = "kube-system";
const LEASES: &str = "leases.coordination.k8s.io";
const LABEL: &str = "apiserver.kubernetes.io/identity";
const HOSTNAME: &str = "kubernetes.io/hostname";
/// The beginning of the name, whatever the server.
pub(crate) const PREFIX: &str = "kube-system/apiserver-";
/// Upstream's `IdentityLeaseRenewIntervalPeriod`.
const RENEW: Duration = Duration::from_secs(10);
/// Upstream's `IdentityLeaseDurationSeconds`.
const LIFE_SECONDS: i64 = 3600;
/// Upstream's `IdentityLeaseGCPeriod`.
const COLLECT: Duration = Duration::from_secs(3600);

/// What its deletion may take of the server's end.
const LAST: Duration = Duration::from_secs(1);

/// Who this server is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    hostname: String,
    id: String,
}

impl Identity {
    /// The server of a machine.
    pub(crate) fn of(hostname: &str) -> Self {
        Self { hostname: hostname.to_owned(), id: id(hostname) }
    }

    /// The name of its Lease.
    #[cfg(test)]
    pub(crate) fn name(&self) -> &str {
        &self.id
    }

    /// Keeps the Lease, and deletes what is left of others', until it is dropped.
    pub(crate) async fn follow(self, registry: Registry) {
        self.leave(&registry).await;
        let holder = format!("{}_{}", self.id, crate::value::uid());
        let mut collect = Instant::now();
        loop {
            if let Err(error) = self.renew(&registry, &holder).await {
                tracing::warn!(%error, lease = self.id, "the API server's identity is not renewed");
            }
            if Instant::now() >= collect {
                expire(&registry).await;
                collect = Instant::now() + COLLECT;
            }
            tokio::time::sleep(RENEW).await;
        }
    }

    /// Deletes the Lease: the server ends, or begins anew.
    pub(crate) async fn leave(&self, registry: &Registry) {
        match delete(registry, &self.id).await {
            Err(error) if error.reason != Reason::NotFound => {
                tracing::warn!(%error, lease = self.id, "the API server's identity is not deleted");
            }
            _ => {}
        }
    }

    /// As [`Identity::leave`], but who is asked at it by a webhook does not keep the server from its end. What is left then
    /// goes at the next start.
    pub(crate) async fn leave_soon(&self, registry: &Registry) {
        if tokio::time::timeout(LAST, self.leave(registry)).await.is_err() {
            tracing::warn!(lease = self.id, "the API server's identity is not deleted in time");
        }
    }

    async fn renew(&self, registry: &Registry, holder: &str) -> Result<(), ApiError> {
        let (user, target) = (caller(), target(&self.id)?);
        let call = Call::new(&user, WriteOptions::default()).tracked(SELF);
        let written = registry.modify(&call, &target, |old| {
            let mut new = old.clone();
            remove(&mut new, &["metadata", "resourceVersion"]);
            self.state(&mut new);
            Ok(new)
        });
        match written.await {
            Err(error) if error.reason == Reason::NotFound => {}
            other => return other.map(drop),
        }
        let mut new = json!({"metadata": {"name": self.id, "namespace": NAMESPACE}, "spec": {"holderIdentity": holder}});
        self.state(&mut new);
        registry.create(&call, &Target { name: String::new(), ..target }, new).await.map(drop)
    }

    /// What each renewal says.
    fn state(&self, lease: &mut Value) {
        set(lease, &["metadata", "labels", LABEL], SELF);
        set(lease, &["metadata", "labels", HOSTNAME], self.hostname.as_str());
        set(lease, &["spec", "leaseDurationSeconds"], LIFE_SECONDS);
        set(lease, &["spec", "renewTime"], Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
    }
}

/// The name of a server: `apiserver-` and a hash of its machine's name and its own.
fn id(hostname: &str) -> String {
    let mut hash = Sha256::new();
    for part in [hostname, SELF] {
        hash.update(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        hash.update(part);
    }
    format!("apiserver-{}", base32(&hash.finalize()[..16]))
}

/// RFC 4648's alphabet in lower case, without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |index: usize| bytes.get(index / 8).map_or(0, |byte| byte >> (7 - index % 8) & 1);
    let digit = |first: usize| (first..first + 5).fold(0, |digit, index| digit << 1 | bit(index));
    (0..bytes.len() * 8).step_by(5).map(|first| char::from(ALPHABET[usize::from(digit(first))])).collect()
}

fn caller() -> UserInfo {
    UserInfo::new("system:apiserver", &["system:masters"])
}

fn target(name: &str) -> Result<Target, ApiError> {
    let kind =
        kinds::by_resource("coordination.k8s.io", "v1", "leases").ok_or_else(ApiError::unknown_resource)?;
    Ok(Target::new(kind, NAMESPACE, name))
}

async fn delete(registry: &Registry, name: &str) -> Result<(), ApiError> {
    let user = caller();
    let call = Call::new(&user, WriteOptions::default());
    registry.delete(&call, &target(name)?, &DeleteOptions::default()).await.map(drop)
}

/// Deletes the Leases of servers that have not been heard of for as long as their Leases last.
async fn expire(registry: &Registry) {
    let now = Timestamp::now();
    for entry in registry.store.list(LEASES).prefix("kube-system/").filter(|entry| is_identity(entry)) {
        let Ok(lease) = serde_json::from_slice::<Value>(&entry.value) else { continue };
        let name = text(&lease, &["metadata", "name"]);
        if !is_expired(&lease, now) {
            continue;
        }
        match delete(registry, name).await {
            Err(error) if error.reason != Reason::NotFound => {
                tracing::warn!(%error, lease = name, "the identity of an API server that is gone is not deleted");
            }
            _ => {}
        }
    }
}

fn is_identity(entry: &Entry) -> bool {
    entry.columns.labels.iter().any(|(key, value)| &**key == LABEL && &**value == SELF)
}

/// One that says not how long it lasts, or since when, is over.
fn is_expired(lease: &Value, now: Timestamp) -> bool {
    let renewed = text(lease, &["spec", "renewTime"]).parse::<Timestamp>().ok();
    let life = at(lease, &["spec", "leaseDurationSeconds"]).as_i64();
    let end = renewed.zip(life).map(|(renewed, life)| renewed.as_second().saturating_add(life));
    end.is_none_or(|end| end < now.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_upstreams_name() {
        assert_eq!(id("node-1"), "apiserver-lgabes5ywnaqeagh5dny4zlzs4");
        assert_eq!(id("kind-control-plane"), "apiserver-c7uylvfxlbqccnk6myfkwetzze");
    }

    #[test]
    fn digits_of_five_bits() {
        for (bytes, text) in [("", ""), ("f", "my"), ("fo", "mzxq"), ("foobar", "mzxw6ytboi")] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_lease_is_over_when_it_was_not_renewed_in_time() {
        let now = Timestamp::from_second(1_800_000_000).unwrap_or_default();
        let lease = |ago: i64, life: Value| {
            let renewed = Timestamp::from_second(1_800_000_000 - ago).unwrap_or_default();
            json!({"spec": {"renewTime": renewed.to_string(), "leaseDurationSeconds": life}})
        };
        let cases = [
            (lease(10, json!(3600)), false),
            (lease(3600, json!(3600)), false),
            (lease(3601, json!(3600)), true),
            (lease(10, Value::Null), true),
            (json!({"spec": {"leaseDurationSeconds": 3600}}), true),
            (json!({}), true),
        ];
        for (lease, expected) in cases {
            assert_eq!(is_expired(&lease, now), expected, "{lease}");
        }
    }
}
