//! The revisions of a workload: earlier pod templates that it can go back to.

use serde_json::Value;

/// The annotation of a ReplicaSet with its revision.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
const CAUSE: &str = "kubernetes.io/change-cause";

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub number: u64,
    /// RFC 3339.
    pub created: String,
    /// What its author said.
    pub cause: String,
    pub template: Value,
}

/// The revisions of an object in the ReplicaSets or ControllerRevisions of its namespace, newest first.
pub fn revisions(owner: &Value, history: &[Value]) -> Vec<Revision> {
    let uid = &owner["metadata"]["uid"];
    let own = |one: &&Value| {
        let references = one["metadata"]["ownerReferences"].as_array();
        references.is_some_and(|all| all.iter().any(|one| one["uid"] == *uid && one["controller"] == true))
    };
    let mut all: Vec<Revision> = history.iter().filter(own).filter_map(revision).collect();
    all.sort_by_key(|one| std::cmp::Reverse(one.number));
    all
}

fn revision(object: &Value) -> Option<Revision> {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = object["revision"].as_u64();
    let number = number.or_else(|| metadata["annotations"][REVISION].as_str()?.parse().ok())?;
    let at = if object["revision"].is_null() { "/spec/template" } else { "/data/spec/template" };
    let mut template = object.pointer(at)?.clone();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    Some(Revision {
        number,
        created: text(&metadata["creationTimestamp"]),
        cause: text(&metadata["annotations"][CAUSE]),
        template: plain(&template),
    })
}

/// A pod template without what the controller puts into it.
pub fn plain(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    template
}

/// With the names of each object in one order: the API server keeps the order in which they were sent.
pub fn ordered(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            crate::sort::by(&mut names, |a, b| a.cmp(b));
            names.into_iter().map(|name| (name.clone(), ordered(&fields[name]))).collect()
        }
        Value::Array(items) => items.iter().map(ordered).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn revisions_are_its_own_newest_first() {
        let owner = json!({"metadata": {"uid": "d"}});
        let set = |uid: &str, number: &str, image: &str| {
            json!({"metadata": {"annotations": {REVISION: number, CAUSE: "because"}, "creationTimestamp": "t",
                "ownerReferences": [{"uid": uid, "controller": true}]},
                "spec": {"template": {"metadata": {"labels": {"app": "a", "pod-template-hash": "x"}}, "spec": image}}})
        };
        let found = revisions(&owner, &[set("d", "2", "two"), set("e", "9", "no"), set("d", "10", "ten")]);
        assert_eq!(found.iter().map(|one| one.number).collect::<Vec<_>>(), [10, 2]);
        assert_eq!(found[1].template, json!({"metadata": {"labels": {"app": "a"}}, "spec": "two"}));
        assert_eq!((found[0].cause.as_str(), found[0].created.as_str()), ("because", "t"));
    }

    #[test]
    fn the_order_of_names_is_no_difference() {
        let print = |text: &str| {
            let value: Value = serde_json::from_str(text).unwrap();
            crate::yaml::print(&ordered(&value))
        };
        let sent = print(
            r#"{"spec": {"containers": [{"name": "c", "image": "i"}]}, "metadata": {"labels": {"b": "1", "a": "2"}}}"#,
        );
        let kept = print(
            r#"{"metadata": {"labels": {"a": "2", "b": "1"}}, "spec": {"containers": [{"image": "i", "name": "c"}]}}"#,
        );
        assert_eq!(sent, kept);
        assert!(sent.starts_with("metadata:\n  labels:\n    a: \"2\"\n"), "{sent}");
    }

    #[test]
    fn controller_revisions_are_read_too() {
        let owner = json!({"metadata": {"uid": "s"}});
        let one = json!({"metadata": {"ownerReferences": [{"uid": "s", "controller": true}]}, "revision": 3,
            "data": {"spec": {"template": {"$patch": "replace", "spec": 1}}}});
        let found = revisions(&owner, &[one]);
        assert_eq!((found[0].number, &found[0].template), (3, &json!({"spec": 1})));
    }
}
