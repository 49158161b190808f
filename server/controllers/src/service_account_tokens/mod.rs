//! Tokens in Secrets of type `kubernetes.io/service-account-token` (upstream's `tokens_controller.go`): fills them in for
//! their ServiceAccount, and cleans up: a Secret whose account is gone is deleted, an account forgets a Secret that is gone.
//!
//! The token is asked for from the API, bound to the Secret and for as long as the API allows (136 years), where upstream
//! signs one that names no end. Nothing makes such a Secret but a user: accounts get none of their own, as upstream since 1.24.
//! What is not here: the end of tokens that nobody uses ([`cleaner`]).

mod cleaner;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::watcher;
use sampan_reconcile::{Controller, Delta, Error, Informer, Key, Object, Sources};

pub(crate) use self::cleaner::LegacyTokenCleaner;
use crate::context::{BY_NAMESPACE, Context};
use crate::words::{annotation, name, namespace, uid};

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// The longest that the API gives.
const SECONDS: i64 = 1 << 32;

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// A Secret that is there.
    Secret(Key),
    /// A Secret that is gone, and whose it was.
    Gone { secret: Key, account: String, account_uid: String },
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(key) | Self::Gone { secret: key, .. } => key.fmt(f),
        }
    }
}

/// What a Secret lacks.
#[derive(Debug, PartialEq)]
struct Lacks {
    ca: bool,
    namespace: bool,
    token: bool,
}

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(TYPE)
}

/// Whether the Secret means this account: by name, and by uid if it says one.
fn is_of(secret: &Secret, account: &ServiceAccount) -> bool {
    let meta = &secret.metadata;
    annotation(meta, ACCOUNT) == account.metadata.name.as_deref()
        && annotation(meta, ACCOUNT_UID).is_none_or(|own| own.is_empty() || own == uid(&account.metadata))
}

/// `None` if it has everything.
fn lacks(secret: &Secret, ca: &str) -> Option<Lacks> {
    let value =
        |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map_or(&[][..], |bytes| &bytes.0);
    let lacks = Lacks {
        ca: !ca.is_empty() && value("ca.crt") != ca.as_bytes(),
        namespace: value("namespace").is_empty(),
        token: value("token").is_empty(),
    };
    (lacks.ca || lacks.namespace || lacks.token).then_some(lacks)
}

/// The account without a Secret that is gone; `None` if it does not name it or is another one.
fn forgets(account: &ServiceAccount, secret: &str, account_uid: &str) -> Option<ServiceAccount> {
    let names = |secrets: &Vec<_>| {
        secrets
            .iter()
            .any(|one: &k8s_openapi::api::core::v1::ObjectReference| one.name.as_deref() == Some(secret))
    };
    if !account.secrets.as_ref().is_some_and(names)
        || !(account_uid.is_empty() || account_uid == uid(&account.metadata))
    {
        return None;
    }
    let mut account = account.clone();
    account.secrets.iter_mut().for_each(|secrets| secrets.retain(|one| one.name.as_deref() != Some(secret)));
    Some(account)
}

fn gone(secret: &Secret) -> Work {
    let text = |key| annotation(&secret.metadata, key).unwrap_or_default().to_owned();
    Work::Gone { secret: secret.key(), account: text(ACCOUNT), account_uid: text(ACCOUNT_UID) }
}

/// The controller.
pub(crate) struct ServiceAccountTokens {
    context: Context,
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
    root_ca_pem: String,
}

impl ServiceAccountTokens {
    pub fn new(context: &Context, root_ca_pem: String) -> Self {
        let secrets =
            context.informers.with::<Secret>(watcher::Config::default().fields(&format!("type={TYPE}")));
        secrets.add_index(BY_NAMESPACE, |secret| secret.metadata.namespace.clone().into_iter().collect());
        Self { context: context.clone(), secrets, accounts: context.informers.of(), root_ca_pem }
    }

    /// The Secrets that hold tokens, by namespace as well.
    pub fn secrets(&self) -> Informer<Secret> {
        self.secrets.clone()
    }

    /// Secrets of an account that is gone, or another one now.
    fn left(&self, delta: &Delta<ServiceAccount>) -> Vec<Work> {
        let Some(old) = &delta.old else { return Vec::new() };
        if delta.new.as_ref().is_some_and(|new| new.metadata.uid == old.metadata.uid) {
            return Vec::new();
        }
        let all = self.secrets.by_index(BY_NAMESPACE, delta.key.namespace());
        all.iter().filter(|secret| is_of(secret, old)).map(|secret| Work::Secret(secret.key())).collect()
    }

    /// The account that a Secret means. One that no copy shows is asked for.
    async fn account(&self, secret: &Secret) -> Result<Option<Arc<ServiceAccount>>, Error> {
        let (at, name) =
            (namespace(&secret.metadata), annotation(&secret.metadata, ACCOUNT).unwrap_or_default());
        if let Some(account) = self.accounts.get(&Key::namespaced(at, name)).filter(|one| is_of(secret, one))
        {
            return Ok(Some(account));
        }
        let live = self.context.namespaced::<ServiceAccount>(at).get_opt(name).await?;
        Ok(live.filter(|live| is_of(secret, live)).map(Arc::new))
    }

    async fn delete(&self, secret: &Secret) -> Result<(), Error> {
        let (at, name) = (namespace(&secret.metadata), name(&secret.metadata));
        let preconditions = Preconditions { uid: secret.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        tracing::info!(namespace = at, secret = name, "deleting: its service account does not exist");
        match self.context.namespaced::<Secret>(at).delete(name, &params).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }

    async fn token(&self, secret: &Secret, account: &ServiceAccount) -> Result<Vec<u8>, Error> {
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            name: secret.metadata.name.clone(),
            uid: secret.metadata.uid.clone(),
        };
        let spec = TokenRequestSpec {
            expiration_seconds: Some(SECONDS),
            bound_object_ref: Some(bound),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let api = self.context.namespaced::<ServiceAccount>(namespace(&account.metadata));
        let answer =
            api.create_token_request(name(&account.metadata), &PostParams::default(), &request).await?;
        let token = answer.status.and_then(|status| status.token).map(String::into_bytes);
        token.ok_or_else(|| Error::Other("the API answered a token request without a token".to_owned()))
    }

    async fn fill(&self, secret: &Secret, account: &ServiceAccount, lacks: &Lacks) -> Result<(), Error> {
        let mut new = secret.clone();
        let at = namespace(&secret.metadata);
        let data = new.data.get_or_insert_default();
        if lacks.ca {
            data.insert("ca.crt".to_owned(), ByteString(self.root_ca_pem.clone().into_bytes()));
        }
        if lacks.namespace {
            data.insert("namespace".to_owned(), ByteString(at.as_bytes().to_vec()));
        }
        if lacks.token {
            data.insert("token".to_owned(), ByteString(self.token(secret, account).await?));
        }
        let annotations = new.metadata.annotations.get_or_insert_default();
        annotations.insert(ACCOUNT.to_owned(), name(&account.metadata).to_owned());
        annotations.insert(ACCOUNT_UID.to_owned(), uid(&account.metadata).to_owned());
        let api = self.context.namespaced::<Secret>(at);
        let written = api.replace(name(&secret.metadata), &PostParams::default(), &new).await?;
        self.secrets.reached(written.version()).await;
        Ok(())
    }
}

impl Controller for ServiceAccountTokens {
    type Key = Work;

    fn name(&self) -> &'static str {
        "serviceaccount-token-controller"
    }

    fn queue(&self) -> &'static str {
        "serviceaccount_tokens_service"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Work>) {
        sources.on(&self.secrets, |delta| match (&delta.old, &delta.new) {
            (_, Some(new)) if is_token(new) => vec![Work::Secret(delta.key.clone())],
            (Some(old), None) if is_token(old) => vec![gone(old)],
            _ => Vec::new(),
        });
        let this = self.clone();
        sources.on(&self.accounts, move |delta| this.left(delta));
    }

    async fn reconcile(&self, work: &Work) -> Result<Option<Duration>, Error> {
        match work {
            Work::Secret(key) => {
                let Some(secret) = self.secrets.get(key) else { return Ok(None) };
                match self.account(&secret).await? {
                    None => self.delete(&secret).await?,
                    Some(account) => {
                        if let Some(lacks) = lacks(&secret, &self.root_ca_pem) {
                            self.fill(&secret, &account, &lacks).await?;
                        }
                    }
                }
            }
            Work::Gone { secret, account, account_uid } => {
                let api = self.context.namespaced::<ServiceAccount>(secret.namespace());
                let Some(live) = api.get_opt(account).await? else { return Ok(None) };
                if let Some(new) = forgets(&live, &secret.name, account_uid) {
                    api.replace(account, &PostParams::default(), &new).await?;
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn secret(annotations: &Value, data: &[(&str, &str)]) -> Secret {
        let mut secret: Secret = serde_json::from_value(json!({"type": TYPE,
            "metadata": {"name": "s", "namespace": "a", "annotations": annotations}}))
        .unwrap();
        secret.data =
            Some(data.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))).collect());
        secret
    }

    fn account(name: &str, uid: &str) -> ServiceAccount {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "a", "uid": uid},
            "secrets": [{"name": "s"}, {"name": "t"}]}))
        .unwrap()
    }

    #[test]
    fn a_secret_means_an_account_by_name_and_by_uid_if_it_says_one() {
        let cases = [
            (json!({ACCOUNT: "x"}), true),
            (json!({ACCOUNT: "x", ACCOUNT_UID: ""}), true),
            (json!({ACCOUNT: "x", ACCOUNT_UID: "1"}), true),
            (json!({ACCOUNT: "x", ACCOUNT_UID: "2"}), false),
            (json!({ACCOUNT: "y"}), false),
            (json!({}), false),
        ];
        for (annotations, expected) in cases {
            assert_eq!(is_of(&secret(&annotations, &[]), &account("x", "1")), expected, "{annotations}");
        }
    }

    #[test]
    fn what_is_lacking() {
        let cases: [(&[(&str, &str)], _); 5] = [
            (&[], Some([true, true, true])),
            (&[("token", "t")], Some([true, true, false])),
            (&[("ca.crt", "OLD"), ("namespace", "a"), ("token", "t")], Some([true, false, false])),
            (&[("ca.crt", "PEM"), ("namespace", "a"), ("token", "")], Some([false, false, true])),
            (&[("ca.crt", "PEM"), ("namespace", "other"), ("token", "t")], None),
        ];
        for (data, expected) in cases {
            let lacks = lacks(&secret(&json!({}), data), "PEM").map(|one| [one.ca, one.namespace, one.token]);
            assert_eq!(lacks, expected, "{data:?}");
        }
        assert_eq!(lacks(&secret(&json!({}), &[("namespace", "a"), ("token", "t")]), ""), None);
    }

    #[test]
    fn an_account_forgets_only_what_it_names() {
        let left = |name, uid: &str| {
            let secrets = forgets(&account("x", "1"), name, uid)?.secrets.unwrap();
            Some(secrets.into_iter().filter_map(|one| one.name).collect::<Vec<_>>())
        };
        assert_eq!(left("s", "1"), Some(vec!["t".to_owned()]));
        assert_eq!(left("s", ""), Some(vec!["t".to_owned()]));
        assert_eq!(left("s", "2"), None);
        assert_eq!(left("u", "1"), None);
    }
}
