//! What Go writes of a field although nobody said anything of it: `rules: null`, `source: {}`, `replicas: 0`.
//!
//! The field table says which these are ([`Field::zero`]); here they are put where they are missing, at all depths, as
//! decoding into Go's structs does. A struct behind a pointer stays away, and what would be below it.

use std::sync::{LazyLock, OnceLock};

use serde_json::{Map, Value};

use crate::fields::{self, Field, FieldType, Type, TypeRef};
use crate::quantity::Quantity;

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

/// What of upstream stores JSON: definitions of custom resources and registrations of servers, which are not its own API's.
const STORED_AS_JSON: [&str; 2] = ["io.k8s.apiextensions-apiserver.", "io.k8s.kube-aggregator."];

/// Takes out lists and maps that are empty, or makes null of them where Go always says something: what is read of
/// protobuf, in which upstream stores, has no empty ones. Of what it stores as JSON those stay that Go always says.
pub fn forget_empty(object: &mut Value, schema: &str) {
    if let (Some(ty), Value::Object(object)) = (fields::type_of(schema), object) {
        match STORED_AS_JSON.iter().any(|package| schema.starts_with(package)) {
            true => forget::<true>(ty, object),
            false => forget::<false>(ty, object),
        }
    }
}

/// What [`forget_empty`] leaves of an object, if it takes anything out.
pub fn without_empty(object: &Value, schema: &str) -> Option<Value> {
    forgets(fields::type_of(schema)?, object.as_object()?).then(|| {
        let mut object = object.clone();
        forget_empty(&mut object, schema);
        object
    })
}

/// Whether an empty list or map is there.
fn forgets(ty: &'static Type, object: &Object) -> bool {
    let mut holders = object.iter().filter(|(_, value)| value.is_object() || value.is_array());
    holders.any(|(name, value)| ty.field(name).is_some_and(|field| forgets_of(&field.ty, value)))
}

fn forgets_of(ty: &FieldType, value: &Value) -> bool {
    match (ty, value) {
        (FieldType::Object(reference), Value::Object(object)) => forgets(reference.get(), object),
        (FieldType::List(item), Value::Array(items)) => {
            items.is_empty() || items.iter().any(|value| forgets_of(item, value))
        }
        (FieldType::Map(item), Value::Object(map)) => {
            map.is_empty() || map.values().any(|value| forgets_of(item, value))
        }
        _ => false,
    }
}

fn forget<const AS_JSON: bool>(ty: &'static Type, object: &mut Object) {
    object.retain(|name, value| {
        let empty = match value {
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => return true,
        };
        let Some(field) = ty.field(name) else { return true };
        if !empty {
            each_object(&field.ty, value, forget::<AS_JSON>);
            return true;
        }
        if !matches!(field.ty, FieldType::List(_) | FieldType::Map(_)) {
            return true;
        }
        if AS_JSON && field.zero().is_some() {
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

/// `apiequality.Semantic.DeepEqual` of two objects of that schema: nothing is the same as an empty list or map and as what Go
/// always writes, and amounts are compared by what they are. A struct behind a pointer differs from none.
pub fn same(schema: &str, one: &Value, other: &Value) -> bool {
    one == other || fields::type_of(schema).is_some_and(|ty| same_objects(ty, one, other))
}

/// As [`same`], of one field of two objects of that schema.
pub fn same_field(schema: &str, name: &str, one: &Value, other: &Value) -> bool {
    let (one, other) = (one.get(name), other.get(name));
    let field = fields::type_of(schema).and_then(|ty| ty.field(name));
    one == other || field.is_some_and(|field| same_fields(field, one, other))
}

fn same_objects(ty: &'static Type, one: &Value, other: &Value) -> bool {
    let (Value::Object(one), Value::Object(other)) = (one, other) else { return one == other };
    let same = |(name, value): (&String, &Value), beside: &Object| {
        let beside = beside.get(name);
        let as_said = || beside.unwrap_or(&Value::Null) == value;
        ty.field(name).map_or_else(as_said, |field| same_fields(field, Some(value), beside))
    };
    one.iter().all(|field| same(field, other))
        && other.iter().filter(|(name, _)| !one.contains_key(*name)).all(|field| same(field, one))
}

fn same_fields(field: &Field, one: Option<&Value>, other: Option<&Value>) -> bool {
    let nothing = field.zero().unwrap_or(&Value::Null);
    let (one, other) = (one.filter(|one| !one.is_null()), other.filter(|other| !other.is_null()));
    same_values(&field.ty, one.unwrap_or(nothing), other.unwrap_or(nothing))
}

fn same_values(ty: &FieldType, one: &Value, other: &Value) -> bool {
    if one == other {
        return true;
    }
    match ty {
        FieldType::List(item) => {
            let (one, other) = (one.as_array(), other.as_array());
            let (one, other) = (one.map_or(&[][..], Vec::as_slice), other.map_or(&[][..], Vec::as_slice));
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| same_values(item, one, other))
        }
        FieldType::Map(item) => {
            let count = |map: &Value| map.as_object().map_or(0, Map::len);
            let held = |(key, one): (&String, &Value)| {
                other.get(key).is_some_and(|other| same_values(item, one, other))
            };
            count(one) == count(other) && one.as_object().into_iter().flatten().all(held)
        }
        FieldType::Quantity => match (Quantity::from_value(one), Quantity::from_value(other)) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        },
        FieldType::Object(reference) => match (&reference.get().scalar, one, other) {
            (Some(scalar), ..) => same_values(scalar, one, other),
            (None, Value::Object(_), Value::Object(_)) => same_objects(reference.get(), one, other),
            _ => false,
        },
        _ => false,
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
            ("apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
             json!({"spec": {"versions": [], "names": {"shortNames": []}}, "status": {"conditions": [], "storedVersions": []}}),
             json!({"spec": {"versions": [], "names": {}}, "status": {"conditions": [], "storedVersions": []}})),
            ("kube-aggregator.pkg.apis.apiregistration.v1.APIService", json!({"metadata": {"labels": {}}, "status": {"conditions": []}}),
             json!({"metadata": {}, "status": {}})),
        ];
        for (schema, before, after) in cases {
            assert_eq!(
                without_empty(&before, &format!("io.k8s.{schema}")).unwrap_or(before.clone()),
                after,
                "{schema}"
            );
            assert_eq!(run(schema, before, forget_empty), after, "{schema}");
        }
        let settled =
            json!({"metadata": {}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}, "status": {}});
        assert_eq!(without_empty(&settled, "io.k8s.api.core.v1.Pod"), None);
    }

    #[test]
    fn what_upstream_takes_for_the_same_is_the_same() {
        let spec = |spec: Value| json!({"metadata": {}, "spec": spec});
        let from = |source: Value| {
            spec(json!({"containers": [{"env": [{"valueFrom": {"resourceFieldRef": source}}]}]}))
        };
        #[rustfmt::skip]
        let cases = [
            (json!({}), json!({"metadata": {"labels": {}}}), true),
            (json!({"metadata": {"labels": null}}), json!({"metadata": {"annotations": {}}}), true),
            (json!({"metadata": {"labels": {"a": "b"}}}), json!({}), false),
            (spec(json!({"volumes": []})), spec(json!({"nodeSelector": {}})), true),
            (spec(json!({"containers": []})), spec(json!({"containers": null})), true),
            (spec(json!({"containers": [{"name": "a"}]})), spec(json!({"containers": [{"name": "b"}]})), false),
            (spec(json!({"containers": [{"name": "a"}]})), spec(json!({"containers": []})), false),
            (spec(json!({"securityContext": {}})), spec(json!({})), false),
            (spec(json!({"securityContext": {"sysctls": []}})), spec(json!({"securityContext": {}})), true),
            (spec(json!({"volumes": [{"name": "v", "emptyDir": {}}]})), spec(json!({"volumes": [{"name": "v"}]})), false),
            (spec(json!({"overhead": {"cpu": "1000m"}})), spec(json!({"overhead": {"cpu": "1"}})), true),
            (spec(json!({"overhead": {"cpu": "1000m"}})), spec(json!({"overhead": {"cpu": "2"}})), false),
            (spec(json!({"overhead": {"cpu": "1"}})), spec(json!({"overhead": {"memory": "1"}})), false),
            (from(json!({"resource": "limits.cpu"})), from(json!({"resource": "limits.cpu", "divisor": "0"})), true),
            (from(json!({"resource": "limits.cpu"})), from(json!({"resource": "limits.cpu", "divisor": "1"})), false),
            (spec(json!({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {}}}}}]})),
             spec(json!({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": {}, "spec": {"resources": {}}}}}]})), true),
        ];
        for (one, other, expected) in cases {
            let schema = "io.k8s.api.core.v1.PodTemplateSpec";
            assert_eq!(same(schema, &one, &other), expected, "{one} {other}");
            assert_eq!(same(schema, &other, &one), expected, "{other} {one}");
            let field = same_field(schema, "spec", &one, &other);
            assert!(field || !expected || one.get("spec").is_none(), "{one} {other}");
        }
    }
}
