//! Paths that tell what there is: versions, groups, resources, the server's own version and its issuer's keys.

use serde_json::{Map, Value, json};

use crate::kinds::Group;

use super::META;
use super::paths::{camel, tag};
use super::schemas::Dialect;

const TYPES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// One path with GET, and the schema of its answer; a text if there is none.
pub(super) struct Place {
    /// The path, with a slash at its end.
    pub path: String,
    /// The schema.
    pub schema: Option<String>,
    description: &'static str,
    id: String,
    tag: String,
    consumes: &'static [&'static str],
    produces: &'static [&'static str],
}

fn place(path: String, schema: &str, description: &'static str, id: String, tag: String) -> Place {
    let schema = Some(format!("{META}.{schema}"));
    Place { path, schema, description, id, tag, consumes: &TYPES, produces: &TYPES }
}

/// `/api/v1/`, `/apis/apps/v1/`.
pub(super) fn of_version(group: &str, version: &str) -> Place {
    let path = format!("{}/{version}/", root(group));
    let id = format!("get{}APIResources", camel(group, version));
    place(path, "APIResourceList", "get available resources", id, tag(group, version))
}

/// `/apis/apps/`, and for the group without a name `/api/`.
pub(super) fn of_group(group: &str) -> Place {
    let path = format!("{}/", root(group));
    if group.is_empty() {
        let id = "getCoreAPIVersions".to_owned();
        return place(path, "APIVersions", "get available API versions", id, "core".to_owned());
    }
    let id = format!("get{}APIGroup", camel(group, ""));
    place(path, "APIGroup", "get information of a group", id, tag(group, ""))
}

fn root(group: &str) -> String {
    if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") }
}

/// Those that belong to no group.
pub(super) fn of_server() -> [Place; 4] {
    let text = |path: &str, description, id: &str, tag: &str, produces| Place {
        path: path.to_owned(),
        schema: None,
        description,
        id: id.to_owned(),
        tag: tag.to_owned(),
        consumes: &[],
        produces,
    };
    let groups = ("getAPIVersions".to_owned(), "apis".to_owned());
    [
        text(
            "/.well-known/openid-configuration/",
            "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
            "getServiceAccountIssuerOpenIDConfiguration",
            "WellKnown",
            &TYPES[..1],
        ),
        place("/apis/".to_owned(), "APIGroupList", "get available API versions", groups.0, groups.1),
        text(
            "/openid/v1/jwks/",
            "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            "getServiceAccountIssuerOpenIDKeyset",
            "openid",
            &["application/jwk-set+json"],
        ),
        Place {
            schema: Some("io.k8s.apimachinery.pkg.version.Info".to_owned()),
            consumes: &TYPES[..1],
            ..text(
                "/version/",
                "get the version information for this server",
                "getCodeVersion",
                "version",
                &TYPES[..1],
            )
        },
    ]
}

/// All of these groups, and the server's.
pub(super) fn all(groups: &[Group]) -> Vec<Place> {
    let of = |group: &Group| {
        let versions = group.versions.iter().map(|version| of_version(group.name, version));
        std::iter::once(of_group(group.name)).chain(versions).collect::<Vec<_>>()
    };
    groups.iter().flat_map(of).chain(of_server()).collect()
}

impl Place {
    /// The document's path below `/openapi/v3`, where there is one for this alone.
    pub(super) fn document(&self) -> &str {
        self.path.trim_matches('/')
    }

    /// What is at the path.
    pub(super) fn item(&self, dialect: Dialect) -> Value {
        let schema =
            self.schema.as_ref().map_or_else(|| json!({"type": "string"}), |name| dialect.reference(name));
        let mut get = json!({"description": self.description, "operationId": self.id, "tags": [self.tag]});
        let answer = match dialect {
            Dialect::V2 => {
                if !self.consumes.is_empty() {
                    get["consumes"] = json!(self.consumes);
                }
                get["produces"] = json!(self.produces);
                get["schemes"] = json!(["https"]);
                json!({"description": "OK", "schema": schema})
            }
            Dialect::V3 => {
                let content = self.produces.iter().map(|ty| ((*ty).to_owned(), json!({"schema": schema})));
                json!({"description": "OK", "content": content.collect::<Map<String, Value>>()})
            }
        };
        get["responses"] = json!({"200": answer, "401": {"description": "Unauthorized"}});
        json!({"get": get})
    }
}
