//! What the signed-in user may do, asked of the API server. Nothing is allowed until it says so: an answer that did not come
//! is none.

use leptos::{prelude::*, task::spawn_local};
use serde_json::json;

use super::api::Call;

/// A permission, as a role would name it.
#[derive(Clone, Debug, PartialEq)]
pub struct Permission {
    pub verb: &'static str,
    pub group: String,
    pub resource: String,
    pub subresource: &'static str,
    pub namespace: String,
}

/// Whether the user has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Right {
    Asked,
    Yes,
    /// The permission's name.
    No(String),
    /// The permission's name, and why nobody knows.
    Unknown(String, String),
}

impl Permission {
    /// `create pods/exec`, `patch deployments.apps`.
    fn name(&self) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        let dot = if self.group.is_empty() { "" } else { "." };
        format!("{} {}{slash}{}{dot}{}", self.verb, self.resource, self.subresource, self.group)
    }

    /// Asks; the answer comes by itself.
    pub fn ask(self) -> RwSignal<Right> {
        let right = RwSignal::new(Right::Asked);
        spawn_local(async move { drop(right.try_set(self.right().await)) });
        right
    }

    async fn right(&self) -> Right {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {
            "resourceAttributes": {"verb": self.verb, "group": self.group, "resource": self.resource,
                "subresource": self.subresource, "namespace": self.namespace}}});
        let path = "k8s/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        match Call::new("POST", path).json(&review).value().await {
            Ok(answer) if answer["status"]["allowed"] == true => Right::Yes,
            Ok(_) => Right::No(self.name()),
            Err(failure) => Right::Unknown(self.name(), failure.message),
        }
    }
}

impl Right {
    pub fn is_yes(&self) -> bool {
        *self == Right::Yes
    }

    /// What a button says that does not work.
    pub fn why(&self) -> Option<String> {
        match self {
            Right::Asked | Right::Yes => None,
            Right::No(permission) => Some(tr!(act.forbidden, permission = permission.clone())),
            Right::Unknown(permission, why) => {
                Some(tr!(rights.unknown, permission = permission.clone(), why = why.clone()))
            }
        }
    }
}
