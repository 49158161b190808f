//! Questions about authentication and authorization, answered by what answers requests, so that they agree.

use sampan_api::status::ApiError;
use serde_json::{Map, Value, json};

use super::{Attributes, Auth, Decision, UserInfo, asked};
use crate::value::{at, now, set, strings, text};

pub(super) const GROUP: &str = "authorization.k8s.io";

impl Auth {
    /// Answers the creation of a review of `kind` in `namespace` (empty for the cluster's) by `user`.
    pub fn answer(
        &self,
        user: &UserInfo,
        kind: &str,
        namespace: &str,
        mut review: Value,
    ) -> Result<Value, ApiError> {
        match kind {
            "SelfSubjectReview" => {
                set(&mut review, &["metadata"], json!({"creationTimestamp": now()}));
                set(&mut review, &["status"], json!({"userInfo": user_value(user)}));
            }
            "TokenReview" => self.token_review(&mut review)?,
            "SelfSubjectAccessReview" => {
                asked::check(kind, namespace, &review)?;
                self.access_review(user, &mut review);
            }
            "SubjectAccessReview" | "LocalSubjectAccessReview" => {
                asked::check(kind, namespace, &review)?;
                self.access_review(&subject(&review), &mut review);
            }
            "SelfSubjectRulesReview" => self.rules_review(user, &mut review)?,
            _ => return Err(ApiError::unknown_resource()),
        }
        Ok(review)
    }

    fn token_review(&self, review: &mut Value) -> Result<(), ApiError> {
        let token = text(review, &["spec", "token"]).to_owned();
        if token.is_empty() {
            return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
        }
        let mut wanted = strings(at(review, &["spec", "audiences"]));
        if wanted.is_empty() {
            wanted = self.tokens.api_audiences();
        }
        let status = match self.token_user(&token, &wanted) {
            Ok((user, audiences)) => {
                json!({"authenticated": true, "user": user_value(&user), "audiences": audiences})
            }
            // upstream shows its authenticators' errors, too
            Err(why) => json!({"user": {}, "error": format!("[invalid bearer token, {why}]")}),
        };
        set(review, &["status"], status);
        Ok(())
    }

    fn access_review(&self, user: &UserInfo, review: &mut Value) {
        let spec = at(review, &["spec"]);
        let (resource, path) = (at(spec, &["resourceAttributes"]), at(spec, &["nonResourceAttributes"]));
        let status = self.access(user, resource, path);
        set(review, &["status"], status);
    }

    fn access(&self, user: &UserInfo, resource: &Value, path: &Value) -> Value {
        let field = |key: &str| text(resource, &[key]);
        let wildcard = |text| if text == "*" { "" } else { text };
        let attributes = match path.is_null() {
            true => Attributes {
                verb: field("verb"),
                group: field("group"),
                version: field("version"),
                resource: field("resource"),
                subresource: field("subresource"),
                namespace: wildcard(field("namespace")),
                name: field("name"),
                field_selector: text(resource, &["fieldSelector", "rawSelector"]),
                label_selector: text(resource, &["labelSelector", "rawSelector"]),
                is_resource: true,
                ..Attributes::default()
            },
            false => Attributes {
                verb: text(path, &["verb"]),
                path: text(path, &["path"]),
                ..Attributes::default()
            },
        };
        let (allowed, why) = match self.authorize(user, &attributes) {
            Decision::Allow(why) => (true, why),
            Decision::Deny(why) => (false, why),
        };
        let mut status = Map::new();
        status.insert("allowed".into(), allowed.into());
        if !why.is_empty() {
            status.insert("reason".into(), why.into());
        }
        status.into()
    }

    fn rules_review(&self, user: &UserInfo, review: &mut Value) -> Result<(), ApiError> {
        let namespace = text(review, &["spec", "namespace"]).to_owned();
        if namespace.is_empty() {
            return Err(ApiError::bad_request("no namespace on request"));
        }
        let rules = self.rules(user, &namespace);
        let (paths, resources): (Vec<Value>, Vec<Value>) = {
            let (paths, resources): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| !rule.urls.is_empty());
            (paths.iter().map(|r| r.to_value()).collect(), resources.iter().map(|r| r.to_value()).collect())
        };
        // the Node authorizer decides by objects and has no list of rules
        let incomplete = user.node_name().is_some();
        let mut status =
            json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": incomplete});
        if incomplete {
            status["evaluationError"] = "node authorizer does not support user rule resolution".into();
        }
        set(review, &["status"], status);
        Ok(())
    }
}

/// The subject of a review's spec.
fn subject(review: &Value) -> UserInfo {
    let spec = at(review, &["spec"]);
    let extra = at(spec, &["extra"]).as_object().into_iter().flatten();
    let extra = extra.map(|(key, values)| (key.clone(), strings(values))).collect();
    let (name, uid) = (text(spec, &["user"]).to_owned(), text(spec, &["uid"]).to_owned());
    UserInfo { name, uid, groups: strings(at(spec, &["groups"])), extra }
}

/// `authentication.k8s.io/v1` UserInfo.
pub fn user_value(user: &UserInfo) -> Value {
    let mut value = Map::new();
    value.insert("username".into(), user.name.as_str().into());
    if !user.uid.is_empty() {
        value.insert("uid".into(), user.uid.as_str().into());
    }
    value.insert("groups".into(), json!(user.groups));
    if !user.extra.is_empty() {
        value.insert("extra".into(), json!(user.extra));
    }
    value.into()
}
