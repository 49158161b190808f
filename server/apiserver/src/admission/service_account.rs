//! `ServiceAccount`: every pod runs as one, with its token mounted; `plugin/pkg/admission/serviceaccount`.

use rand::RngExt;
use sampan_api::go::Quote as _;
use sampan_api::status::ApiError;
use serde_json::{Map, Value, json};

use super::{creates_pod, kept, push};
use crate::registry::{Plugin, Review};
use crate::value::{at, items, meta, set, text};

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PREFIX: &str = "kube-api-access-";
/// The lifetime whose tokens upstream extends; see `auth::tokens`.
const TOKEN_SECONDS: i64 = 3607;
const MIRROR: &str = "kubernetes.io/config.mirror";
/// `k8s.io/apimachinery/pkg/util/rand`: no vowels, nothing that reads as something else.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

pub(super) struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn admit(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !creates_pod(review) {
            return Ok(());
        }
        if !at(pod, &["metadata", "annotations", MIRROR]).is_null() {
            return mirror(pod);
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
