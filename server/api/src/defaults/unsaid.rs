//! What Go writes of a field although nobody said anything of it: `rules: null`, `source: {}`, `replicas: 0`.
//!
//! The field table says which these are ([`Field::zero`]); here they are put where they are missing, at all depths, as
//! decoding into Go's structs does. A struct behind a pointer stays away, and what would be below it.

use std::sync::{LazyLock, OnceLock};

use serde_json::{Map, Value};

use crate::fields::{self, Field, FieldType, Type, TypeRef};

type Object = Map<String, Value>;

/// The fields of one type that matter here.
struct Plan {
    /// Those that are never absent.
    zeros: Box<[&'static Field]>,
    /// Those that hold such, in order of their names.
    below: Box<[&'static Field]>,
}

static PLANS: LazyLock<Box<[OnceLock<Plan>]>> =
    LazyLock::new(|| (0..fields::count()).map(|_| OnceLock::new()).collect());

fn plan(ty: &'static Type) -> &'static Plan {
    PLANS[ty.reference().number()].get_or_init(|| Plan {
        zeros: ty.fields.iter().filter(|field| field.zero().is_some()).collect(),
        below: ty.fields.iter().filter(|field| holds_some(&field.ty, &mut Vec::new())).collect(),
    })
}

/// Whether something below is never absent; `above` are the types that lead here, as schemas hold schemas.
fn holds_some(ty: &FieldType, above: &mut Vec<TypeRef>) -> bool {
    match ty {
        FieldType::List(item) | FieldType::Map(item) => holds_some(item, above),
        FieldType::Object(reference) if !above.contains(reference) => {
            above.push(*reference);
            let mut fields = reference.get().fields.iter();
            let found = fields.any(|field| field.zero().is_some() || holds_some(&field.ty, above));
            above.pop();
            found
        }
        _ => false,
    }
}

/// Puts what is missing into an object of that schema (`io.k8s.api.core.v1.Pod`), and into all that it holds.
pub fn fill_object(object: &mut Value, schema: &str) {
    if let (Some(ty), Value::Object(object)) = (fields::type_of(schema), object) {
        fill(ty, object);
    }
}

fn fill(ty: &'static Type, object: &mut Object) {
    let Plan { zeros, below } = plan(ty);
    for (field, zero) in zeros.iter().filter_map(|field| Some((field, field.zero()?))) {
        if object.get(field.json).is_none_or(Value::is_null) {
            object.insert(field.json.to_owned(), zero.clone());
        }
    }
    if below.is_empty() {
        return;
    }
    for (name, value) in object.iter_mut().filter(|(_, value)| value.is_object() || value.is_array()) {
        if let Ok(at) = below.binary_search_by(|field| field.json.cmp(name)) {
            each_object(&below[at].ty, value, fill);
        }
    }
}

/// Takes out lists and maps that are empty, or makes null of them where Go always says something: what is read of
/// protobuf, in which upstream stores, has no empty ones.
pub fn forget_empty(object: &mut Value, schema: &str) {
    if let (Some(ty), Value::Object(object)) = (fields::type_of(schema), object) {
        forget(ty, object);
    }
}

fn forget(ty: &'static Type, object: &mut Object) {
    object.retain(|name, value| {
        let empty = match value {
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => return true,
        };
        let Some(field) = ty.field(name) else { return true };
        if !empty {
            each_object(&field.ty, value, forget);
            return true;
        }
        if !matches!(field.ty, FieldType::List(_) | FieldType::Map(_)) {
            return true;
        }
        *value = Value::Null;
        field.zero().is_some()
    });
}

/// Calls `act` with the objects that a value of that type is or holds at once.
fn each_object(ty: &FieldType, value: &mut Value, act: fn(&'static Type, &mut Object)) {
    match (ty, value) {
        (FieldType::Object(reference), Value::Object(object)) => act(reference.get(), object),
        (FieldType::List(item), Value::Array(items)) => {
            items.iter_mut().for_each(|value| each_object(item, value, act));
        }
        (FieldType::Map(item), Value::Object(map)) => {
            map.values_mut().for_each(|value| each_object(item, value, act));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(schema: &str, mut object: Value, act: fn(&mut Value, &str)) -> Value {
        act(&mut object, &format!("io.k8s.{schema}"));
        object
    }

    #[test]
    fn what_go_always_writes_is_there() {
        #[rustfmt::skip]
        let cases = [
            ("api.core.v1.ConfigMap", json!({}), json!({"metadata": {}})),
            ("api.rbac.v1.Role", json!({"rules": [{}]}), json!({"metadata": {}, "rules": [{"verbs": null}]})),
            ("api.rbac.v1.ClusterRole", json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "a"}, "rules": null})),
            ("api.core.v1.Event", json!({"involvedObject": {"kind": "Pod"}, "eventTime": null}),
             json!({"involvedObject": {"kind": "Pod"}, "eventTime": null, "metadata": {}, "source": {}, "firstTimestamp": null,
                    "lastTimestamp": null, "reportingComponent": "", "reportingInstance": ""})),
            ("api.core.v1.Pod", json!({"spec": {"containers": [{"env": [{"value": "b"}], "ports": [{}]}], "volumes": [{"secret": {}}]}}),
             json!({"metadata": {}, "status": {}, "spec": {
                "containers": [{"name": "", "resources": {}, "env": [{"name": "", "value": "b"}], "ports": [{"containerPort": 0}]}],
                "volumes": [{"name": "", "secret": {}}]}})),
            ("api.apps.v1.Deployment", json!({}),
             json!({"metadata": {}, "spec": {"selector": null, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": null}}}, "status": {}})),
            ("api.core.v1.ReplicationController", json!({}), json!({"metadata": {}, "spec": {}, "status": {"replicas": 0}})),
            ("api.core.v1.Node", json!({"status": {"nodeInfo": {"architecture": "amd64"}}}),
             json!({"metadata": {}, "spec": {}, "status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}, "nodeInfo": {
                "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
                "kubeletVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": ""}}})),
            ("apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition", json!({"spec": {"group": "a.io"}}),
             json!({"metadata": {}, "spec": {"group": "a.io", "names": {"kind": "", "plural": ""}, "scope": "", "versions": null},
                    "status": {"conditions": null, "acceptedNames": {"kind": "", "plural": ""}, "storedVersions": null}})),
            ("api.resource.v1.DeviceCapacity", json!({}), json!({"value": "0"})),
        ];
        for (schema, before, after) in cases {
            let filled = run(schema, before, fill_object);
            assert_eq!(filled, after, "{schema}");
            assert_eq!(run(schema, filled, fill_object), after, "{schema}: it settles");
        }
    }

    #[test]
    fn nothing_that_is_stored_is_empty_but_structs() {
        #[rustfmt::skip]
        let cases = [
            ("api.rbac.v1.Role", json!({"rules": []}), json!({"rules": null})),
            ("api.rbac.v1.Role", json!({"rules": [{"verbs": [], "apiGroups": []}]}), json!({"rules": [{"verbs": null}]})),
            ("api.discovery.v1.EndpointSlice", json!({"endpoints": [], "ports": []}), json!({"endpoints": null, "ports": null})),
            ("api.core.v1.Pod", json!({"spec": {"volumes": [], "containers": [], "securityContext": {}}, "status": {}}),
             json!({"spec": {"containers": null, "securityContext": {}}, "status": {}})),
            ("api.core.v1.Pod", json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "projected": {"sources": []}}]}}),
             json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "projected": {"sources": null}}]}})),
            ("api.networking.v1.NetworkPolicy", json!({"spec": {"podSelector": {"matchLabels": {}}, "ingress": [{"from": []}], "egress": []}}),
             json!({"spec": {"podSelector": {}, "ingress": [{}]}})),
            ("api.core.v1.ConfigMap", json!({"metadata": {"labels": {}}, "data": {}}), json!({"metadata": {}})),
            ("apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps", json!({"required": [], "default": [], "properties": {"a": {"enum": []}}}),
             json!({"default": [], "properties": {"a": {}}})),
        ];
        for (schema, before, after) in cases {
            assert_eq!(run(schema, before, forget_empty), after, "{schema}");
        }
    }
}
