//! Tokens for tools: a ServiceAccount each, with the rights of a scope, in kube-system.
//!
//! Nothing of it is special: the token is one that the API server makes for any account, so it is good for kubectl as
//! well, dies with the account, and is checked at each use.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reach;
use super::reply::Refusal;

pub const NAMESPACE: &str = "kube-system";
const PREFIX: &str = "sampan-token-";
/// The label that an account has its scope in.
pub const SCOPE: &str = "sampan.dev/token-scope";
const EXPIRES: &str = "sampan.dev/token-expires";
const DAY: i64 = 24 * 3600;

/// What a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// See the cluster and its objects, Secrets excepted.
    #[default]
    Read,
    /// Change objects outside of the system's namespaces (`kube-…`), pull images, turn addons on and off. Whoever may
    /// make pods can take the node over, as with upstream's `edit`, unless Pod Security Admission keeps them from it.
    Operate,
    /// Everything.
    Admin,
}

/// A token to be made.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewToken {
    /// A DNS-1123 label.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// What it may do.
    #[serde(default)]
    pub scope: Scope,
    /// How long it is good, in seconds: 10 minutes to 10 years; without it 30 days.
    #[serde(default, deserialize_with = "super::routes::whole")]
    #[schemars(range(min = 600, max = 315_360_000))]
    pub expiration_seconds: Option<i64>,
}

/// A token, as it is listed: the token itself is shown when it is made, and never again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scope: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Until when it is good.
    pub expires: String,
    /// The token, when it was just made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl Scope {
    pub fn word(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Operate => "operate",
            Scope::Admin => "admin",
        }
    }

    /// The ClusterRoles that it is bound to.
    fn roles(self) -> &'static [&'static str] {
        match self {
            Scope::Read => &["view", "sampan:read"],
            // and `edit` in namespaces, by [`reach`]
            Scope::Operate => &["view", "sampan:operate"],
            Scope::Admin => &["cluster-admin"],
        }
    }
}

/// Our own roles, beside upstream's.
fn roles() -> [ClusterRole; 2] {
    let texts = |all: &[&str]| Some(all.iter().map(|text| (*text).to_owned()).collect());
    let urls = |paths: &[&str], verbs: &[&str]| PolicyRule {
        non_resource_urls: texts(paths),
        verbs: texts(verbs).unwrap_or_default(),
        ..PolicyRule::default()
    };
    let seen = || {
        let paths = [
            "openapi.json",
            "docs",
            "status",
            "components",
            "nodes",
            "profiles",
            "version",
            "events",
            "images",
            "simulate",
        ];
        let more = ["logs", "logs/*", "metrics/*", "operations", "operations/*", "addons", "addons/*"];
        let paths: Vec<String> = paths.iter().chain(&more).map(|path| format!("/sampan/v1/{path}")).collect();
        urls(&paths.iter().map(String::as_str).collect::<Vec<_>>(), &["get"])
    };
    let nodes = || PolicyRule {
        api_groups: texts(&["", "metrics.k8s.io", "metrics.sampan.dev"]),
        resources: texts(&["nodes", "namespaces", "persistentvolumes", "pods"]),
        verbs: texts(&["get", "list", "watch"]).unwrap_or_default(),
        ..PolicyRule::default()
    };
    let done = || urls(&["/sampan/v1/addons/*", "/sampan/v1/images/*"], &["post", "delete"]);
    let role = |name: &str, rules| ClusterRole {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        rules: Some(rules),
        ..ClusterRole::default()
    };
    [role("sampan:read", vec![seen(), nodes()]), role("sampan:operate", vec![seen(), nodes(), done()])]
}

fn refused(error: kube::Error) -> Refusal {
    match error {
        kube::Error::Api(status) if status.code == 404 => Refusal::no_token(&status.message),
        error => Refusal::internal(&error.to_string()),
    }
}

/// Makes a token.
///
/// # Errors
/// Name or time is not usable, or the name is taken.
pub async fn create(client: &Client, wanted: NewToken) -> Result<Token, Refusal> {
    let NewToken { name, scope, expiration_seconds } = wanted;
    check_name(&name)?;
    let seconds = expiration_seconds.unwrap_or(30 * DAY);
    if !(600..=3650 * DAY).contains(&seconds) {
        return Err(Refusal::invalid(
            "expirationSeconds",
            "has to be 600 (10 minutes) to 315360000 (10 years)",
        ));
    }
    ensure_roles(client).await?;
    let account = format!("{PREFIX}{name}");
    let now = Timestamp::now();
    let expires = Timestamp::from_second(now.as_second() + seconds)
        .map_err(|error| Refusal::internal(&error.to_string()))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let made = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(account.clone()),
            labels: Some(BTreeMap::from([(SCOPE.to_owned(), scope.word().to_owned())])),
            annotations: Some(BTreeMap::from([(EXPIRES.to_owned(), expires.to_string())])),
            ..ObjectMeta::default()
        },
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    match accounts.create(&PostParams::default(), &made).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => return Err(Refusal::token_exists(&name)),
        Err(error) => return Err(refused(error)),
    }
    let token = match granted(client, &accounts, &account, scope, seconds).await {
        Ok(token) => token,
        Err(refusal) => {
            // half a token is none
            let _ = remove(client, &name).await;
            return Err(refusal);
        }
    };
    let created = Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
    let expires = expires.to_string();
    Ok(Token { name, scope: scope.word().to_owned(), created, expires, token: Some(token) })
}

async fn granted(
    client: &Client,
    accounts: &Api<ServiceAccount>,
    account: &str,
    scope: Scope,
    seconds: i64,
) -> Result<String, Refusal> {
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    for role in scope.roles() {
        bindings.create(&PostParams::default(), &binding(account, role)).await.map_err(refused)?;
    }
    if scope == Scope::Operate {
        reach::grant(client, account).await.map_err(refused)?;
    }
    let request = TokenRequest {
        spec: Some(TokenRequestSpec { expiration_seconds: Some(seconds), ..TokenRequestSpec::default() }),
        ..TokenRequest::default()
    };
    let answer =
        accounts.create_token_request(account, &PostParams::default(), &request).await.map_err(refused)?;
    answer
        .status
        .and_then(|status| status.token)
        .ok_or_else(|| Refusal::internal("the API server made no token"))
}

fn binding(account: &str, role: &str) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: ObjectMeta { name: Some(format!("{account}:{role}")), ..ObjectMeta::default() },
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "ClusterRole".to_owned(),
            name: role.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account.to_owned(),
            namespace: Some(NAMESPACE.to_owned()),
            ..Subject::default()
        }]),
    }
}

async fn ensure_roles(client: &Client) -> Result<(), Refusal> {
    let api: Api<ClusterRole> = Api::all(client.clone());
    for role in roles() {
        match api.create(&PostParams::default(), &role).await {
            // of an earlier version, perhaps
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let patch = Patch::Merge(serde_json::json!({"rules": role.rules}));
                api.patch(&role.name_any(), &PatchParams::default(), &patch).await.map_err(refused)?;
            }
            Err(error) => return Err(refused(error)),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// The tokens there are.
pub async fn list(client: &Client) -> Result<Vec<Token>, Refusal> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let all = accounts.list(&ListParams::default().labels(SCOPE)).await.map_err(refused)?;
    Ok(all.items.iter().filter_map(shown).collect())
}

fn shown(account: &ServiceAccount) -> Option<Token> {
    Some(Token {
        name: account.name_any().strip_prefix(PREFIX)?.to_owned(),
        scope: account.labels().get(SCOPE)?.clone(),
        created: account.creation_timestamp().map(|time| time.0.to_string()).unwrap_or_default(),
        expires: account.annotations().get(EXPIRES).cloned().unwrap_or_default(),
        token: None,
    })
}

/// Revokes a token: it is good for nothing from now on.
///
/// # Errors
/// There is none of that name.
pub async fn remove(client: &Client, name: &str) -> Result<(), Refusal> {
    check_name(name)?;
    let account = format!("{PREFIX}{name}");
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let gone = accounts.delete(&account, &DeleteParams::default()).await;
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    for scope in [Scope::Read, Scope::Operate, Scope::Admin] {
        for role in scope.roles() {
            match bindings.delete(&format!("{account}:{role}"), &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(refused(error)),
                Ok(_) => {}
            }
        }
    }
    reach::revoke(client, &account).await.map_err(refused)?;
    match gone {
        Err(kube::Error::Api(status)) if status.code == 404 => Err(Refusal::no_token(&format!(
            "there is no token {name:?}; `sampan token ls` shows those there are"
        ))),
        gone => gone.map(drop).map_err(refused),
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let ends =
        bytes.first().is_some_and(|byte| inner(*byte)) && bytes.last().is_some_and(|byte| inner(*byte));
    match ends && name.len() <= 40 && bytes.iter().all(|byte| inner(*byte) || *byte == b'-') {
        true => Ok(()),
        false => Err(Refusal::invalid(
            "name",
            "has to be 1 to 40 of a-z, 0-9 and '-', with a letter or digit at both ends",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for (name, good) in
            [("ci", true), ("ci-1", true), ("", false), ("-ci", false), ("CI", false), ("a/b", false)]
        {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn whoever_reads_changes_nothing() {
        let [read, operate] = roles();
        let verbs = |role: &ClusterRole| -> Vec<String> {
            role.rules.iter().flatten().flat_map(|rule| rule.verbs.clone()).collect()
        };
        assert!(verbs(&read).iter().all(|verb| ["get", "list", "watch"].contains(&verb.as_str())));
        let paths: Vec<String> = operate
            .rules
            .iter()
            .flatten()
            .filter_map(|rule| rule.non_resource_urls.clone())
            .flatten()
            .collect();
        for secret in ["/sampan/v1/kubeconfig", "/sampan/v1/tokens", "/sampan/v1/backup", "/sampan/v1/*"] {
            assert!(!paths.contains(&secret.to_owned()), "{secret}");
        }
    }
}
