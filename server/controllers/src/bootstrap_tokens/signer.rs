//! `bootstrap-signer-controller` (upstream's `bootstrapsigner.go` and `cluster-bootstrap/token/jws`): ConfigMap `cluster-info`
//! of kube-public has, for each token that is good for it, the signature of its `kubeconfig` under `jws-kubeconfig-ID`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::PostParams;
use kube::runtime::watcher;
use ring::hmac;
use sampan_reconcile::{Controller, Error, Informer, Key, Sources};

use super::{End, for_signing, is_token, meanwhile_is_fine};
use crate::context::Context;
use crate::words::resource_version;

const NAMESPACE: &str = "kube-public";
const NAME: &str = "cluster-info";
const CONTENT: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

/// A JWS whose content is left out (RFC 7515, appendix F): `HEADER..SIGNATURE`, by HMAC-SHA-256. `id` is of letters and digits.
fn sign(content: &str, id: &str, secret: &[u8]) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{id}"}}"#));
    let whole = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), whole.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The ConfigMap with the signatures of these tokens (secrets by id) and no others. `None` if it is so already, if there is
/// nothing to sign, or if it may not be changed.
fn plan(map: &ConfigMap, tokens: &BTreeMap<&str, &[u8]>) -> Option<ConfigMap> {
    let data = map.data.as_ref().filter(|_| map.immutable != Some(true))?;
    let content = data.get(CONTENT)?;
    let mut wanted = data.clone();
    wanted.retain(|key, _| !key.starts_with(SIGNATURE_PREFIX));
    let signed =
        |(id, secret): (&&str, &&[u8])| (format!("{SIGNATURE_PREFIX}{id}"), sign(content, id, secret));
    wanted.extend(tokens.iter().map(signed));
    (wanted != *data).then(|| ConfigMap { data: Some(wanted), ..map.clone() })
}

/// The controller.
pub(crate) struct BootstrapSigner {
    context: Context,
    tokens: Informer<Secret>,
    maps: Informer<ConfigMap>,
}

impl BootstrapSigner {
    /// `tokens`: those of [`super::tokens`].
    pub fn new(context: &Context, tokens: Informer<Secret>) -> Self {
        let only = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let maps = context.informers.within(NAMESPACE, only);
        Self { context: context.clone(), tokens, maps }
    }

    async fn write(&self, map: &ConfigMap) -> Result<(), Error> {
        let api = self.context.namespaced::<ConfigMap>(NAMESPACE);
        match api.replace(NAME, &PostParams::default(), map).await {
            Ok(written) => {
                self.maps.reached(resource_version(&written.metadata)).await;
                Ok(())
            }
            Err(error) => meanwhile_is_fine(Err(error)),
        }
    }
}

impl Controller for BootstrapSigner {
    type Key = Key;

    fn name(&self) -> &'static str {
        "bootstrap-signer-controller"
    }

    fn queue(&self) -> &'static str {
        "bootstrap_signer_queue"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        let info = Key::namespaced(NAMESPACE, NAME);
        let of_map = info.clone();
        sources.on(&self.maps, move |delta| {
            delta.new.iter().filter(|_| delta.key == of_map).map(|_| of_map.clone()).collect()
        });
        sources.on(&self.tokens, move |delta| match delta.states().any(|secret| is_token(secret)) {
            true => vec![info.clone()],
            false => Vec::new(),
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(map) = self.maps.get(key) else { return Ok(None) };
        let (secrets, now) = (self.tokens.list(), sampan_reconcile::now());
        let signing = secrets.iter().filter_map(|secret| for_signing(secret, now)).collect();
        if let Some(signed) = plan(&map, &signing) {
            self.write(&signed).await?;
        }
        // a token that ends signs no more, whether it is removed then or not
        let ends = secrets.iter().filter(|secret| for_signing(secret, now).is_some());
        Ok(ends.filter_map(|secret| End::of(secret, now).remaining(now)).min())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn signatures_are_upstreams() {
        // those of upstream's `jws_test.go`
        let content = "Hello from the other side. I must have called a thousand times.";
        let cases = [
            (content, "my voice is my passcode", "VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"),
            ("", "my voice is my passcode", "7Ui1ALizW4jXphVUB7xUqC9vLYLL9RZeOFfVLoB7Tgk"),
            (content, "", "UfkqvDGiIFxrMnFseDj9LYJOLNrvjW8aHhF71mvvAs8"),
        ];
        for (content, secret, signature) in cases {
            let expected = format!("eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..{signature}");
            assert_eq!(sign(content, "joshua", secret.as_bytes()), expected);
        }
    }

    fn map(data: serde_json::Value) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": NAME, "resourceVersion": "7"}, "data": data}))
            .unwrap()
    }

    #[test]
    fn the_map_has_the_signatures_of_the_tokens_that_there_are() {
        let signed = |content: &str, id: &str| sign(content, id, b"secret");
        let (abc, def) = (signed("C", "abcdef"), signed("C", "defabc"));
        let check = |data: serde_json::Value, ids: &[&str], expected: Option<serde_json::Value>| {
            let tokens = ids.iter().map(|id| (*id, &b"secret"[..])).collect();
            assert_eq!(plan(&map(data.clone()), &tokens), expected.map(map), "{data} {ids:?}");
        };
        let one = json!({"kubeconfig": "C", "jws-kubeconfig-abcdef": abc});
        let both = json!({"kubeconfig": "C", "jws-kubeconfig-abcdef": abc, "jws-kubeconfig-defabc": def});
        check(json!({"kubeconfig": "C"}), &[], None);
        check(json!({"kubeconfig": "C"}), &["abcdef"], Some(one.clone()));
        check(one.clone(), &["abcdef"], None);
        check(one.clone(), &["abcdef", "defabc"], Some(both.clone()));
        check(both, &["abcdef"], Some(one.clone()));
        check(
            json!({"kubeconfig": "C", "other": "x", "jws-kubeconfig-abcdef": abc}),
            &[],
            Some(json!({"kubeconfig": "C", "other": "x"})),
        );
        // a wrong signature, and another content than was signed
        check(json!({"kubeconfig": "C", "jws-kubeconfig-abcdef": "x"}), &["abcdef"], Some(one));
        let other = json!({"kubeconfig": "D", "jws-kubeconfig-abcdef": signed("D", "abcdef")});
        check(json!({"kubeconfig": "D", "jws-kubeconfig-abcdef": abc}), &["abcdef"], Some(other));
        // there is nothing to sign
        check(json!({"other": "x", "jws-kubeconfig-abcdef": abc}), &["defabc"], None);
        check(json!(null), &["abcdef"], None);
    }

    #[test]
    fn a_map_that_may_not_be_changed_is_left_alone() {
        let mut map = map(json!({"kubeconfig": "C"}));
        map.immutable = Some(true);
        assert_eq!(plan(&map, &[("abcdef", &b"secret"[..])].into()), None);
    }
}
