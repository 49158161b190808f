//! What whoever may read it can know of the cluster: ConfigMap `cluster-info` in kube-public, whose `kubeconfig` names the
//! certificate authority and the address, and no user (`cmd/kubeadm/app/phases/bootstraptoken/clusterinfo`).
//!
//! Made at the start where it is missing. What somebody else has written there stays; what an earlier start wrote follows
//! the port. Controllers sign it with bootstrap tokens. Who may read it is not said here: kubeadm lets everybody.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sampan_api::kinds;
use sampan_api::status::{ApiError, Reason};
use serde_json::{Value, json};

use crate::UserInfo;
use crate::registry::manage::SELF;
use crate::registry::{Call, Registry, Target, WriteOptions};
use crate::value::{at, remove, set};

const NAMESPACE: &str = "kube-public";
const NAME: &str = "cluster-info";
const KEY: &str = "kubeconfig";
/// Where the API listens, but for the port.
const HOST: &str = "https://127.0.0.1:";

/// A kubeconfig of one cluster, named "", to the letter as client-go writes it.
fn kubeconfig(ca_pem: &str, server: &str) -> String {
    let ca = STANDARD.encode(ca_pem);
    format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {ca}\n    server: {server}\n  name: \"\"\n\
         contexts: null\ncurrent-context: \"\"\nkind: Config\nusers: null\n"
    )
}

/// Whether this is ours, of this port or another one.
fn is_ours(text: &str, ca_pem: &str) -> bool {
    let server = text.lines().find_map(|line| line.strip_prefix("    server: "));
    server.is_some_and(|server| server.starts_with(HOST) && kubeconfig(ca_pem, server) == text)
}

/// What the ConfigMap, or its absence (null), is to say; `None` if it stays as it is.
fn plan(map: &Value, ca_pem: &str, port: u16) -> Option<String> {
    let wanted = kubeconfig(ca_pem, &format!("{HOST}{port}"));
    let ours = match at(map, &["data", KEY]) {
        Value::Null => true,
        Value::String(text) => *text != wanted && is_ours(text, ca_pem),
        _ => false,
    };
    (ours && at(map, &["immutable"]) != &Value::Bool(true)).then_some(wanted)
}

/// Makes it, or its key, where it is missing. The API listens at `port`.
pub(crate) async fn ensure(registry: &Registry, ca_pem: &str, port: u16) -> Result<(), ApiError> {
    let kind = kinds::by_resource("", "v1", "configmaps").ok_or_else(ApiError::unknown_resource)?;
    let target = Target::new(kind, NAMESPACE, NAME);
    let user = UserInfo::new("system:apiserver", &["system:masters"]);
    let call = Call::new(&user, WriteOptions::default()).tracked(SELF);
    let map = registry.object(&target).ok().map(|(map, _)| map);
    let Some(wanted) = plan(map.as_ref().unwrap_or(&Value::Null), ca_pem, port) else { return Ok(()) };
    if map.is_some() {
        let written = registry.modify(&call, &target, |old| {
            let mut new = old.clone();
            remove(&mut new, &["metadata", "resourceVersion"]);
            set(&mut new, &["data", KEY], wanted.as_str());
            Ok(new)
        });
        return written.await.map(drop);
    }
    let body = json!({"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": {KEY: wanted}});
    match registry.create(&call, &Target::new(kind, NAMESPACE, ""), body).await {
        Err(error) if error.reason != Reason::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubeconfig_is_client_gos() {
        // as `clientcmd.Write` of v0.36 writes it
        let expected = r#"apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: UEVNCg==
    server: https://127.0.0.1:6443
  name: ""
contexts: null
current-context: ""
kind: Config
users: null
"#;
        assert_eq!(kubeconfig("PEM\n", "https://127.0.0.1:6443"), expected);
    }

    #[test]
    fn what_is_missing_is_written_and_what_others_wrote_stays() {
        let (now, before) =
            (kubeconfig("PEM", "https://127.0.0.1:6443"), kubeconfig("PEM", "https://127.0.0.1:16443"));
        let (elsewhere, other) =
            (kubeconfig("PEM", "https://example.com:16443"), kubeconfig("CA", "https://127.0.0.1:16443"));
        let cases = [
            (Value::Null, true),
            (json!({"data": null}), true),
            (json!({"data": {"other": "x"}}), true),
            (json!({"data": {KEY: before}}), true),
            (json!({"data": {KEY: now}}), false),
            (json!({"data": {KEY: elsewhere}}), false),
            (json!({"data": {KEY: other}}), false),
            (json!({"data": {KEY: format!("{before}# mine\n")}}), false),
            (json!({"data": {KEY: ""}}), false),
            (json!({"data": {"other": "x"}, "immutable": true}), false),
            (json!({"data": {KEY: before}, "immutable": true}), false),
        ];
        for (map, written) in cases {
            assert_eq!(plan(&map, "PEM", 6443), written.then(|| now.clone()), "{map}");
        }
    }
}
