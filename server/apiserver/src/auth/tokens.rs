//! ServiceAccount tokens: made for a TokenRequest, and checked against the objects they are bound to.
//!
//! Ported from `pkg/serviceaccount/claims.go` and `pkg/registry/core/serviceaccount/storage/token.go`. A token
//! dies with its account, and with the pod, secret or node it is bound to: all are looked up by uid at each use.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sampan_api::go::{Quote as _, quoted_list};
use sampan_api::meta::{deletion_timestamp, group_version};
use sampan_api::status::{ApiError, FieldError};
use sampan_store::{Key, Store};
use serde_json::{Map, Value, json};

use super::known::{Cache, Known};
use super::legacy::Uses;
use super::{AUTHENTICATED, UserInfo, jwt};
use crate::pki::TokenKey;
use crate::value::{at, items, meta, set, strings, text};

/// Upstream's default lifetime.
const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
/// The lifetime that the ServiceAccount admission plugin asks for; such tokens live longer than they say, for
/// clients that never read the file again (`WarnOnlyBoundTokenExpirationPeriod`).
const PROJECTED_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;
/// A clock that runs behind may still use a fresh token.
const LEEWAY_SECONDS: i64 = 30;
/// How long tokens outlive what somebody holds back by a finalizer, from the time it was to be gone (`jwt.DefaultLeeway`).
const DELETED_SECONDS: i64 = 60;

/// Makes and checks tokens.
pub struct Tokens {
    store: Store,
    key: Arc<TokenKey>,
    issuer: String,
    uses: Uses,
    known: Cache,
}

/// A verified token.
pub struct Verified {
    /// Who it says.
    pub user: Arc<UserInfo>,
    /// For whom it is.
    pub audiences: Vec<String>,
}

impl Tokens {
    /// Tokens of `issuer` signed by `key`.
    pub fn new(store: Store, key: Arc<TokenKey>, issuer: impl Into<String>) -> Self {
        Self { store, key, issuer: issuer.into(), uses: Uses::default(), known: Cache::default() }
    }

    /// Uses of tokens that Secrets hold.
    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// The audiences of the API server itself.
    pub fn api_audiences(&self) -> Vec<String> {
        vec![self.issuer.clone()]
    }

    /// `/.well-known/openid-configuration`.
    pub fn discovery(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", self.issuer),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// `/openid/v1/jwks`.
    pub fn jwks(&self) -> Value {
        self.key.jwks()
    }

    fn object(&self, bucket: &str, name: &str) -> Option<Value> {
        let entry = self.store.get(&Key::new(bucket, name))?;
        serde_json::from_slice(&entry.value).ok()
    }

    /// Answers `create serviceaccounts/token`.
    pub fn request(
        &self,
        namespace: &str,
        name: &str,
        mut request: Value,
        now: Timestamp,
    ) -> Result<Value, ApiError> {
        let account = self
            .object("serviceaccounts", &format!("{namespace}/{name}"))
            .ok_or_else(|| ApiError::not_found("", "serviceaccounts", name))?;
        check_identity(&request, namespace, name, meta(&account, "uid"))?;
        let seconds = at(&request, &["spec", "expirationSeconds"]).as_i64().unwrap_or(DEFAULT_SECONDS);
        check_lifetime(seconds)?;
        let mut audiences = strings(at(&request, &["spec", "audiences"]));
        if audiences.is_empty() {
            audiences = self.api_audiences();
        }
        let mut private = Map::new();
        private.insert("namespace".into(), namespace.into());
        private.insert("serviceaccount".into(), json!({"name": name, "uid": meta(&account, "uid")}));
        self.bind(&request, namespace, name, &mut private)?;
        let issued = now.as_second();
        let mut end = issued + seconds;
        if seconds == PROJECTED_SECONDS && audiences == self.api_audiences() && private.contains_key("pod") {
            private.insert("warnafter".into(), end.into());
            end = issued + EXTENDED_SECONDS;
        }
        let claims = json!({
            "aud": audiences, "exp": end, "iat": issued, "iss": self.issuer, "jti": uuid::Uuid::new_v4().to_string(),
            "kubernetes.io": private, "nbf": issued, "sub": format!("system:serviceaccount:{namespace}:{name}"),
        });
        let token = jwt::sign(&self.key, &claims).map_err(ApiError::internal)?;
        let told = Timestamp::from_second(issued + seconds).map_err(ApiError::internal)?;
        set(&mut request, &["kind"], "TokenRequest");
        set(&mut request, &["apiVersion"], "authentication.k8s.io/v1");
        set(&mut request, &["metadata", "name"], name);
        set(&mut request, &["metadata", "namespace"], namespace);
        set(&mut request, &["metadata", "uid"], meta(&account, "uid"));
        set(&mut request, &["metadata", "creationTimestamp"], now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        set(&mut request, &["spec", "audiences"], audiences);
        set(&mut request, &["spec", "expirationSeconds"], seconds);
        let status =
            json!({"token": token, "expirationTimestamp": told.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
        set(&mut request, &["status"], status);
        Ok(request)
    }

    /// Adds the claim of the object that the token is to be bound to.
    fn bind(
        &self,
        request: &Value,
        namespace: &str,
        account: &str,
        claims: &mut Map<String, Value>,
    ) -> Result<(), ApiError> {
        let reference = at(request, &["spec", "boundObjectRef"]);
        if reference.is_null() {
            return Ok(());
        }
        let (kind, name, uid) =
            (text(reference, &["kind"]), text(reference, &["name"]), text(reference, &["uid"]));
        let (group, version) = group_version(text(reference, &["apiVersion"]));
        let (bucket, key) = match (group, kind) {
            ("", "Pod") => ("pods", format!("{namespace}/{name}")),
            ("", "Secret") => ("secrets", format!("{namespace}/{name}")),
            ("", "Node") => ("nodes", name.to_owned()),
            _ => {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={kind}"
                )));
            }
        };
        let object = self.object(bucket, &key).ok_or_else(|| ApiError::not_found("", bucket, name))?;
        let own = meta(&object, "uid");
        if !uid.is_empty() && uid != own {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. \
                 The object might have been deleted and then recreated"
            );
            return Err(ApiError::conflict("", kind, name, &why));
        }
        if kind == "Pod" {
            if text(&object, &["spec", "serviceAccountName"]) != account {
                let why = format!(
                    "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
                    account.quoted()
                );
                return Err(ApiError::bad_request(why));
            }
            let node = text(&object, &["spec", "nodeName"]);
            if !node.is_empty() {
                let uid = self.object("nodes", node).map(|n| meta(&n, "uid").to_owned()).unwrap_or_default();
                claims.insert("node".into(), json!({"name": node, "uid": uid}));
            }
        }
        claims.insert(kind.to_lowercase(), json!({"name": name, "uid": own}));
        Ok(())
    }

    /// Checks a token: signature, issuer, times, audiences, and that everything it names still lives.
    pub fn verify(&self, token: &str, wanted: &[String], now: Timestamp) -> Result<Verified, String> {
        if let Some(known) = self.known.get(token, &self.store, now) {
            let audiences = common(&known.audiences, wanted)?;
            return Ok(Verified { user: known.user.clone(), audiences });
        }
        let claims = jwt::verify(&self.key, token)?;
        if text(&claims, &["iss"]) != self.issuer {
            return Err("unexpected issuer".into());
        }
        let time = |claim: &str| at(&claims, &[claim]).as_i64();
        let second = now.as_second();
        let end = time("exp").filter(|end| second < *end).ok_or("service account token has expired")?;
        let begin = time("nbf").map_or(i64::MIN, |begin| begin - LEEWAY_SECONDS);
        if second < begin {
            return Err("service account token is not valid yet".into());
        }
        let all: Vec<String> =
            items(at(&claims, &["aud"])).iter().filter_map(|a| a.as_str()).map(str::to_owned).collect();
        let audiences = common(&all, wanted)?;
        let (user, Basis { objects, end: ends, .. }) = self.user(&claims, token, now)?;
        let user = Arc::new(user);
        // each use of one that a Secret holds is looked at: see `legacy`
        if at(&claims, &["kubernetes.io", "secret"]).is_null() {
            let known = Known { user: user.clone(), audiences: all, seconds: begin..end.min(ends), objects };
            self.known.put(token, Arc::new(known));
        }
        Ok(Verified { user, audiences })
    }

    /// The user, and the objects at the revisions that were looked at.
    fn user(&self, claims: &Value, token: &str, now: Timestamp) -> Result<(UserInfo, Basis), String> {
        let private = at(claims, &["kubernetes.io"]);
        let namespace = text(private, &["namespace"]);
        let (name, uid) =
            (text(private, &["serviceaccount", "name"]), text(private, &["serviceaccount", "uid"]));
        let subject = format!("system:serviceaccount:{namespace}:{name}");
        if text(claims, &["sub"]) != subject {
            return Err("token subject does not match its claims".into());
        }
        let mut user = account_user(namespace, name, uid);
        let mut basis = Basis { objects: Vec::new(), end: i64::MAX, now };
        let account = self.alive("serviceaccounts", &format!("{namespace}/{name}"), uid, &mut basis)?;
        let id = format!("JTI={}", text(claims, &["jti"]));
        user.extra.insert("authentication.kubernetes.io/credential-id".into(), vec![id]);
        for (claim, bucket) in [("pod", "pods"), ("secret", "secrets"), ("node", "nodes")] {
            let bound = at(private, &[claim]);
            if bound.is_null() {
                continue;
            }
            let (name, uid) = (text(bound, &["name"]), text(bound, &["uid"]));
            let key = if claim == "node" { name.to_owned() } else { format!("{namespace}/{name}") };
            // a pod's token names its node for information; only a token bound to a node dies with it
            if claim != "node" || private.get("pod").is_none() {
                let object = self.alive(bucket, &key, uid, &mut basis)?;
                if claim == "secret" {
                    self.uses.shown(&object, &account, token, now)?;
                }
            }
            if claim != "secret" {
                for (what, value) in [("name", name), ("uid", uid)] {
                    user.extra.insert(
                        format!("authentication.kubernetes.io/{claim}-{what}"),
                        vec![value.to_owned()],
                    );
                }
            }
        }
        Ok((user, basis))
    }

    /// The object if it is the one with this uid and was not to be gone long ago, noted in `basis`.
    fn alive(&self, bucket: &str, name: &str, uid: &str, basis: &mut Basis) -> Result<Value, String> {
        let missing = || format!("{bucket} {name:?} of the token not found");
        let entry = self.store.get(&Key::new(bucket, name)).ok_or_else(missing)?;
        let object: Value = serde_json::from_slice(&entry.value).map_err(|_| missing())?;
        if meta(&object, "uid") != uid {
            return Err(format!("{bucket} {name:?} is another one than the token was made for"));
        }
        if let Some(deleted) = deletion_timestamp(&object).and_then(|time| time.parse::<Timestamp>().ok()) {
            // times are stored in seconds: from this one on each use is looked at
            basis.end = basis.end.min(deleted.as_second().saturating_add(DELETED_SECONDS));
            if basis.now.duration_since(deleted) > SignedDuration::from_secs(DELETED_SECONDS) {
                return Err(match bucket {
                    "serviceaccounts" => format!("service account {name} has been deleted"),
                    _ => "service account token has been invalidated".to_owned(),
                });
            }
        }
        basis.objects.push((entry.key.clone(), entry.revision));
        Ok(object)
    }
}

/// What a token rests on.
struct Basis {
    /// Objects, at the revisions that were looked at.
    objects: Vec<(Key, u64)>,
    /// The first second since 1970 at which one of them may be too long deleted.
    end: i64,
    /// When they are looked at.
    now: Timestamp,
}

/// Those of a token's audiences that are `wanted`, of which there must be one.
fn common(audiences: &[String], wanted: &[String]) -> Result<Vec<String>, String> {
    let common: Vec<String> = audiences.iter().filter(|a| wanted.contains(a)).cloned().collect();
    match common.is_empty() {
        true => Err(format!(
            "token audiences {} is invalid for the target audiences {}",
            quoted_list(audiences),
            quoted_list(wanted)
        )),
        false => Ok(common),
    }
}

/// A request that says for which account it is has to say so of the one in its path.
fn check_identity(request: &Value, namespace: &str, name: &str, uid: &str) -> Result<(), ApiError> {
    let asked =
        |field: &str, is: &str| Some(meta(request, field)).filter(|said| !said.is_empty() && *said != is);
    for (field, is) in [("name", name), ("namespace", namespace)] {
        if let Some(said) = asked(field, is) {
            let why = format!("must match the service account {field} if specified");
            let error = FieldError::invalid(format!("metadata.{field}"), said, why);
            return Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", name, vec![error]));
        }
    }
    match asked("uid", uid) {
        Some(said) => {
            let why = format!(
                "the UID in the token request ({said}) does not match the UID of the service account ({uid})"
            );
            Err(ApiError::conflict("authentication.k8s.io", "TokenRequest", name, &why))
        }
        None => Ok(()),
    }
}

fn check_lifetime(seconds: i64) -> Result<(), ApiError> {
    let why = match seconds {
        s if s < MIN_SECONDS => "may not specify a duration less than 10 minutes",
        s if s > MAX_SECONDS => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(()),
    };
    let error = FieldError::invalid("spec.expirationSeconds", seconds, why);
    Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", "", vec![error]))
}

/// A service account as a user.
pub fn account_user(namespace: &str, name: &str, uid: &str) -> UserInfo {
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        AUTHENTICATED.to_owned(),
    ];
    UserInfo {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: uid.to_owned(),
        groups: groups.to_vec(),
        ..UserInfo::default()
    }
}
