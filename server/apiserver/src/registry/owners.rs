//! Owners that an object names twice: `dedupOwnerReferences` of `endpoints/handlers/rest.go`.

use sampan_api::defaults::same;
use serde_json::Value;

use crate::pipeline::warnings;
use crate::value::{at, text};

const SCHEMA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference";

/// Takes references out that say the same as one before them, and warns of them. Whoever patches is warned of what has
/// come of it only.
pub(super) fn dedup(object: &mut Value, admitted: bool) {
    let list = at(object, &["metadata", "ownerReferences"]);
    let Some(references) = list.as_array().filter(|list| list.len() > 1) else { return };
    let (mut kept, mut twice) = (Vec::<Value>::new(), Vec::new());
    for one in references {
        match kept.iter().any(|other| same(SCHEMA, one, other)) {
            true => twice.push(text(one, &["uid"]).to_owned()),
            false => kept.push(one.clone()),
        }
    }
    if twice.is_empty() {
        return;
    }
    let when = if admitted { " after mutating admission happens" } else { "" };
    warnings::tell(format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        twice.join(", ")
    ));
    crate::value::set(object, &["metadata", "ownerReferences"], kept);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_says_the_same_goes() {
        let owner = |uid: &str, rest: Value| {
            let mut owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": uid});
            owner.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            owner
        };
        let (plain, other) = (owner("1", json!({})), owner("1", json!({"controller": true})));
        let another = owner("2", json!({}));
        let references = json!([plain, other, plain, another, other]);
        let mut object = json!({"metadata": {"ownerReferences": references}});
        dedup(&mut object, false);
        assert_eq!(object["metadata"]["ownerReferences"], json!([plain, other, another]));
    }
}
