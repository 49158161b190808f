//! Nobody may give what they do not have: `pkg/registry/rbac/{role,clusterrole,rolebinding,…}/policybased`.

use sampan_api::go::{Quote as _, quoted_list};
use sampan_api::status::ApiError;
use serde_json::Value;

use super::rules::{Rule, uncovered};
use super::{Attributes, Auth, MASTERS, UserInfo};
use crate::value::{at, text};

const API: &str = "rbac.authorization.k8s.io";

impl Auth {
    /// Whether `user` may write this role or binding. Other resources pass.
    pub fn check_escalation(
        &self,
        user: &UserInfo,
        resource: &str,
        namespace: &str,
        name: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        if user.in_group(MASTERS) {
            return Ok(());
        }
        let (rules, verb, what) = match resource {
            "roles" | "clusterroles" => {
                let unchanged = |key| old.is_some_and(|old| old.get(key) == object.get(key));
                if unchanged("rules") && unchanged("aggregationRule") {
                    return Ok(());
                }
                let everything =
                    at(object, &["aggregationRule"]).is_object() && !unchanged("aggregationRule");
                let rules = if everything { all() } else { Rule::parse_all(object) };
                (rules, "escalate", (resource, name))
            }
            "rolebindings" | "clusterrolebindings" => {
                let unchanged = |key| old.is_some_and(|old| old.get(key) == object.get(key));
                if unchanged("roleRef") && unchanged("subjects") {
                    return Ok(());
                }
                let (kind, role) = (text(object, &["roleRef", "kind"]), text(object, &["roleRef", "name"]));
                let plural = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
                let rules = self.index.role(kind, namespace, role);
                if rules.is_none() && !self.may(user, "bind", plural, namespace, role) {
                    return Err(ApiError::not_found(API, plural, role));
                }
                (rules.unwrap_or_default(), "bind", (plural, role))
            }
            _ => return Ok(()),
        };
        if self.may(user, verb, what.0, namespace, what.1) {
            return Ok(());
        }
        let missing = uncovered(&self.rules(user, namespace), &rules);
        if missing.is_empty() {
            return Ok(());
        }
        let mut missing: Vec<String> = missing.iter().map(Rule::compact).collect();
        missing.sort();
        let why = format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name.quoted(),
            quoted_list(&user.groups),
            missing.join("\n")
        );
        Err(ApiError::forbidden(API, resource, name, &why))
    }

    fn may(&self, user: &UserInfo, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let namespace = if resource == "clusterroles" && verb == "escalate" { "" } else { namespace };
        let attributes = Attributes {
            verb,
            group: API,
            version: "v1",
            resource,
            namespace,
            name,
            is_resource: true,
            ..Attributes::default()
        };
        self.authorize(user, &attributes).allowed()
    }
}

/// What one must have to make a role that selects others.
fn all() -> Vec<Rule> {
    let any = || vec!["*".to_owned()];
    let resources = Rule { verbs: any(), groups: any(), resources: any(), ..Rule::default() };
    vec![resources, Rule { verbs: any(), urls: any(), ..Rule::default() }]
}
