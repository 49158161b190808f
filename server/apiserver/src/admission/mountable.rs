//! What a pod may use of secrets where its account lists those that it may:
//! `plugin/pkg/admission/serviceaccount`, `limitSecretReferences`.

use serde_json::Value;

use crate::value::{at, items, meta, text};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// Whether pods of the account may use no other secrets than it lists.
pub(super) fn limits(account: &Value) -> bool {
    let said = text(account, &["metadata", "annotations", ENFORCE]);
    // as Go's `strconv.ParseBool` reads it
    matches!(said, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// What is wrong with the secrets that a pod uses.
pub(super) fn check(account: &Value, pod: &Value) -> Result<(), String> {
    let listed = listed(account, "secrets");
    let of = meta(account, "name");
    for volume in items(at(pod, &["spec", "volumes"])) {
        let secret = text(volume, &["secret", "secretName"]);
        if !at(volume, &["secret"]).is_null() && !listed.contains(&secret) {
            return Err(format!("volume with {}", refused(secret, of)));
        }
    }
    containers(account, pod, "initContainers", "init container")?;
    containers(account, pod, "containers", "container")?;
    let pull = self::listed(account, "imagePullSecrets");
    for (index, secret) in items(at(pod, &["spec", "imagePullSecrets"])).iter().enumerate() {
        let name = text(secret, &["name"]);
        if !pull.contains(&name) {
            return Err(format!(
                "imagePullSecrets[{index}].name=\"{name}\" is not allowed because service account {of} does not reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}

/// What is wrong with the secrets that containers of a list use.
pub(super) fn containers(account: &Value, pod: &Value, list: &str, what: &str) -> Result<(), String> {
    let listed = listed(account, "secrets");
    let of = meta(account, "name");
    for container in items(at(pod, &["spec", list])) {
        let name = text(container, &["name"]);
        for env in items(at(container, &["env"])) {
            let key = at(env, &["valueFrom", "secretKeyRef"]);
            let secret = text(key, &["name"]);
            if !key.is_null() && !listed.contains(&secret) {
                let variable = text(env, &["name"]);
                return Err(format!(
                    "{what} {name} with envVar {variable} referencing {}",
                    refused(secret, of)
                ));
            }
        }
        for from in items(at(container, &["envFrom"])) {
            let reference = at(from, &["secretRef"]);
            let secret = text(reference, &["name"]);
            if !reference.is_null() && !listed.contains(&secret) {
                return Err(format!("{what} {name} with envFrom referencing {}", refused(secret, of)));
            }
        }
    }
    Ok(())
}

fn listed<'a>(account: &'a Value, field: &str) -> Vec<&'a str> {
    items(at(account, &[field])).iter().map(|secret| text(secret, &["name"])).collect()
}

fn refused(secret: &str, account: &str) -> String {
    format!(
        "secret.secretName=\"{secret}\" is not allowed because service account {account} does not reference that secret"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_listed_secrets_are_used() {
        let account = json!({
            "metadata": {"name": "a", "annotations": {ENFORCE: "true"}},
            "secrets": [{"name": "known"}], "imagePullSecrets": [{"name": "pull"}],
        });
        assert!(limits(&account) && !limits(&json!({"metadata": {"annotations": {ENFORCE: "yes"}}})));
        let env = |name: &str| json!([{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": name}}}]}]);
        let tail = "is not allowed because service account a does not reference that";
        for (spec, why) in [
            (json!({"containers": env("known"), "imagePullSecrets": [{"name": "pull"}]}), None),
            (json!({"volumes": [{"secret": {"secretName": "known"}}, {"emptyDir": {}}]}), None),
            (
                json!({"volumes": [{"secret": {"secretName": "x"}}]}),
                Some("volume with secret.secretName=\"x\""),
            ),
            (
                json!({"initContainers": env("x")}),
                Some("init container c with envVar E referencing secret.secretName=\"x\""),
            ),
            (
                json!({"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "x"}}]}]}),
                Some("container c with envFrom referencing secret.secretName=\"x\""),
            ),
        ] {
            let expect = why.map_or(Ok(()), |why| Err(format!("{why} {tail} secret")));
            assert_eq!(check(&account, &json!({"spec": spec})), expect, "{spec}");
        }
        let pull = json!({"spec": {"imagePullSecrets": [{"name": "known"}]}});
        assert_eq!(
            check(&account, &pull),
            Err(format!("imagePullSecrets[0].name=\"known\" {tail} imagePullSecret"))
        );
    }
}
