//! `ServiceAccount`: every pod runs as one, with its token mounted; `plugin/pkg/admission/serviceaccount`.

use std::time::Duration;

use futures::future::BoxFuture;
use rand::RngExt;
use sampan_api::go::Quote as _;
use sampan_api::status::{ApiError, Reason};
use sampan_store::Key;
use serde_json::{Map, Value, json};

use super::{creates_pod, kept, mountable, push};
use crate::registry::{Operation, Plugin, Review, WaitingPlugin};
use crate::value::{at, items, meta, set, text};

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PREFIX: &str = "kube-api-access-";
/// The lifetime whose tokens upstream extends; see `auth::tokens`.
const TOKEN_SECONDS: i64 = 3607;
const MIRROR: &str = "kubernetes.io/config.mirror";
/// `k8s.io/apimachinery/pkg/util/rand`: no vowels, nothing that reads as something else.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// How long a pod waits for its namespace's default account: upstream looks ten times, 100 to 200 ms apart.
const PATIENCE_MS: std::ops::Range<u64> = 900..1800;

/// The first pod of a new namespace may come before the account that a controller makes there.
pub(super) struct DefaultAccount;

impl WaitingPlugin for DefaultAccount {
    fn admit<'a>(
        &'a self,
        review: &'a Review<'a>,
        pod: &'a mut Value,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        let pod = &*pod;
        let names = ["serviceAccountName", "serviceAccount"].map(|field| text(pod, &["spec", field]));
        let name = names.into_iter().find(|name| !name.is_empty());
        let mirror = !at(pod, &["metadata", "annotations", MIRROR]).is_null();
        let concerned = creates_pod(review) && !mirror && name.is_none_or(|name| name == "default");
        Box::pin(async move {
            if concerned {
                default_account(review).await;
            }
            Ok(())
        })
    }
}

/// Resolves when the account is there, or it is not worth waiting any longer.
async fn default_account(review: &Review<'_>) {
    let name = format!("{}/default", review.namespace);
    let key = Key::new("serviceaccounts", name.as_str());
    let before = review.store.revision();
    if review.store.get(&key).is_some() {
        return;
    }
    let Ok(mut changes) = review.store.watch("serviceaccounts", &name, before) else { return };
    let patience = rand::rng().random_range(PATIENCE_MS);
    let made = async {
        while review.store.get(&key).is_none() {
            let Some(Ok(_)) = changes.next().await else { return };
        }
    };
    _ = tokio::time::timeout(Duration::from_millis(patience), made).await;
}

pub(super) struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn admit(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !creates_pod(review) {
            return Ok(());
        }
        if !at(pod, &["metadata", "annotations", MIRROR]).is_null() {
            return Ok(());
        }
        if text(pod, &["spec", "serviceAccountName"]).is_empty() {
            let old = text(pod, &["spec", "serviceAccount"]);
            let name = if old.is_empty() { "default".to_owned() } else { old.to_owned() };
            set(pod, &["spec", "serviceAccountName"], name);
        }
        let name = text(pod, &["spec", "serviceAccountName"]).to_owned();
        set(pod, &["spec", "serviceAccount"], name.as_str());
        let namespace = review.namespace;
        let account = kept::look_up(review.store, "serviceaccounts", &format!("{namespace}/{name}"))
            .ok_or_else(|| {
                let why = format!(
                    "error looking up service account {namespace}/{name}: serviceaccount {} not found",
                    name.quoted()
                );
                ApiError::forbidden("", "pods", meta(pod, "name"), &why)
            })?;
        if automounts(&account, pod) {
            mount(pod);
        }
        let secrets = at(&account, &["imagePullSecrets"]);
        if items(at(pod, &["spec", "imagePullSecrets"])).is_empty() && !items(secrets).is_empty() {
            set(pod, &["spec", "imagePullSecrets"], secrets.clone());
        }
        Ok(())
    }

    fn validate(&self, review: &Review<'_>, pod: &Value) -> Result<(), ApiError> {
        let ephemeral = adds_ephemeral(review);
        if !ephemeral && !creates_pod(review) {
            return Ok(());
        }
        if !ephemeral && !at(pod, &["metadata", "annotations", MIRROR]).is_null() {
            return mirror(pod);
        }
        let name = text(pod, &["spec", "serviceAccountName"]);
        let account = kept::look_up(review.store, "serviceaccounts", &format!("{}/{name}", review.namespace));
        match account.filter(|account| mountable::limits(account)) {
            // upstream's refusal of an ephemeral container has no status of its own
            Some(account) if ephemeral => {
                mountable::containers(&account, pod, "ephemeralContainers", "ephemeral container")
                    .map_err(|why| ApiError::new(Reason::Unknown, why))
            }
            Some(account) => mountable::check(&account, pod)
                .map_err(|why| ApiError::forbidden("", "pods", meta(pod, "name"), &why)),
            None => Ok(()),
        }
    }
}

fn adds_ephemeral(review: &Review<'_>) -> bool {
    let pod = review.kind.group.is_empty() && review.kind.plural == "pods";
    pod && review.operation == Operation::Update && review.subresource == "ephemeralcontainers"
}

/// A mirror pod stands for what a node runs by itself: it has no rights in the cluster.
fn mirror(pod: &Value) -> Result<(), ApiError> {
    let refused = |why: &str| Err(ApiError::forbidden("", "pods", meta(pod, "name"), why));
    if !text(pod, &["spec", "serviceAccountName"]).is_empty() {
        return refused("a mirror pod may not reference service accounts");
    }
    let tokens = |volume: &Value| {
        items(at(volume, &["projected", "sources"]))
            .iter()
            .any(|s| !at(s, &["serviceAccountToken"]).is_null())
    };
    match items(at(pod, &["spec", "volumes"])).iter().any(tokens) {
        true => refused("a mirror pod may not use ServiceAccountToken volume projections"),
        false => Ok(()),
    }
}

/// The pod's own word counts before its account's.
fn automounts(account: &Value, pod: &Value) -> bool {
    let asked = at(pod, &["spec", "automountServiceAccountToken"]).as_bool();
    asked.or(at(account, &["automountServiceAccountToken"]).as_bool()).unwrap_or(true)
}

/// Mounts the token where no container has something there already.
fn mount(pod: &mut Value) {
    let existing = items(at(pod, &["spec", "volumes"]))
        .iter()
        .map(|v| text(v, &["name"]))
        .find(|n| n.starts_with(PREFIX));
    let existing = existing.map(str::to_owned);
    let name = existing.clone().unwrap_or_else(|| format!("{PREFIX}{}", suffix()));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        let Some(containers) =
            pod.get_mut("spec").and_then(|s| s.get_mut(list)).and_then(Value::as_array_mut)
        else {
            continue;
        };
        for container in containers {
            let mounted =
                items(at(container, &["volumeMounts"])).iter().any(|m| text(m, &["mountPath"]) == MOUNT);
            if !mounted && container.is_object() {
                push(
                    container,
                    &["volumeMounts"],
                    json!({"name": name, "readOnly": true, "mountPath": MOUNT}),
                );
                used = true;
            }
        }
    }
    if used && existing.is_none() {
        push(pod, &["spec", "volumes"], volume(&name));
    }
}

fn suffix() -> String {
    let mut random = rand::rng();
    (0..5).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

fn volume(name: &str) -> Value {
    let mut root = Map::new();
    root.insert("name".into(), "kube-root-ca.crt".into());
    root.insert("items".into(), json!([{"key": "ca.crt", "path": "ca.crt"}]));
    json!({"name": name, "projected": {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": root},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ],
        "defaultMode": 420,
    }})
}
