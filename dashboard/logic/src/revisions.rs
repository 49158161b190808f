//! The revisions of a workload's pod template: ReplicaSets keep a Deployment's, ControllerRevisions those of the others.

use serde_json::{Value, json};

/// A template that was used once.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub number: u64,
    pub template: Value,
    /// RFC 3339.
    pub created: String,
    /// `kubernetes.io/change-cause`; empty if nobody said.
    pub cause: String,
    /// The template is the one in use.
    pub current: bool,
}

const NUMBER: &str = "deployment.kubernetes.io/revision";
const CAUSE: &str = "kubernetes.io/change-cause";

/// The revisions of `owner` among `items` (ReplicaSets or ControllerRevisions), the newest first.
pub fn of(owner: &Value, items: &[Value]) -> Vec<Revision> {
    let uid = &owner["metadata"]["uid"];
    let owned = |item: &&Value| {
        item["metadata"]["ownerReferences"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["uid"] == *uid && one["controller"] == true))
    };
    let mut all: Vec<_> =
        items.iter().filter(owned).filter_map(|item| read(item, &owner["spec"]["template"])).collect();
    all.sort_by_key(|one| std::cmp::Reverse(one.number));
    all
}

fn read(item: &Value, now: &Value) -> Option<Revision> {
    let metadata = &item["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (number, mut template) = match item["revision"].as_u64() {
        Some(number) => (number, item["data"]["spec"]["template"].clone()),
        None => (metadata["annotations"][NUMBER].as_str()?.parse().ok()?, item["spec"]["template"].clone()),
    };
    // what keeping it added
    template.as_object_mut()?.remove("$patch");
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    let (created, cause) = (text(&metadata["creationTimestamp"]), text(&metadata["annotations"][CAUSE]));
    Some(Revision { number, current: same(&template, now), template, created, cause })
}

/// `creationTimestamp: null` and the like say nothing.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => one
            .keys()
            .chain(other.keys())
            .all(|name| same(one.get(name).unwrap_or(&Value::Null), other.get(name).unwrap_or(&Value::Null))),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        _ => one == other,
    }
}

/// The JSON patch that puts a template in use again, if the object is still as it was seen.
pub fn patch(owner: &Value, revision: &Revision) -> Value {
    json!([{"op": "test", "path": "/metadata/resourceVersion", "value": owner["metadata"]["resourceVersion"]},
        {"op": "replace", "path": "/spec/template", "value": revision.template}])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(image: &str) -> Value {
        json!({"metadata": {"labels": {"app": "a"}, "creationTimestamp": null}, "spec": {"containers": [{"name": "c", "image": image}]}})
    }

    fn owner() -> Value {
        json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"template": {"metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "c", "image": "two"}]}}}})
    }

    fn set(number: &str, image: &str, uid: &str) -> Value {
        let mut template = template(image);
        template["metadata"]["labels"]["pod-template-hash"] = "h".into();
        json!({"metadata": {"creationTimestamp": "t", "annotations": {NUMBER: number, CAUSE: "why"},
            "ownerReferences": [{"uid": uid, "controller": true}]}, "spec": {"template": template}})
    }

    #[test]
    fn replica_sets_are_a_deployments_revisions() {
        let all = of(
            &owner(),
            &[set("1", "one", "u"), set("10", "two", "u"), set("3", "x", "other"), set("", "x", "u")],
        );
        let told: Vec<_> = all.iter().map(|one| (one.number, one.current, one.cause.as_str())).collect();
        assert_eq!(told, [(10, true, "why"), (1, false, "why")]);
        let patch = patch(&owner(), &all[1]);
        assert_eq!((&patch[0]["value"], &patch[1]["value"]), (&json!("7"), &template("one")));
    }

    #[test]
    fn controller_revisions_are_the_others() {
        let mut kept = template("two");
        kept["$patch"] = "replace".into();
        let item = json!({"metadata": {"ownerReferences": [{"uid": "u", "controller": true}]}, "revision": 2, "data": {"spec": {"template": kept}}});
        let all = of(&owner(), &[item]);
        assert_eq!((all[0].number, all[0].current, &all[0].template), (2, true, &template("two")));
    }
}
