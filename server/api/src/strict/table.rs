//! The generated field table as a [`Node`].

use super::node::{Merge, Node, Shape};
use crate::fields::{self, Field, FieldType, Type};

/// A place in the field table.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    ty: FieldType,
    field: Option<&'static Field>,
}

impl Spot {
    /// The root of a built-in kind, by its schema name (`io.k8s.api.core.v1.Pod`).
    pub fn root(schema: &str) -> Option<Self> {
        fields::type_of(schema).map(Self::of)
    }

    /// A type of the table.
    pub fn of(ty: &'static Type) -> Self {
        let ty = ty.scalar.unwrap_or_else(|| FieldType::Object(ty.reference()));
        Self { ty, field: None }
    }

    /// The field's row, for a place that is a field.
    pub fn row(self) -> Option<&'static Field> {
        self.field
    }
    /// What is held there.
    pub fn ty(self) -> FieldType {
        self.ty
    }
}

impl Node for Spot {
    fn shape(self) -> Shape<Self> {
        let inner = |ty: &FieldType| Spot { ty: *ty, field: None };
        match &self.ty {
            FieldType::String | FieldType::Duration => Shape::Text,
            FieldType::Int32 => Shape::Int32,
            FieldType::Int64 => Shape::Int64,
            FieldType::Float => Shape::Float,
            FieldType::Bool => Shape::Bool,
            FieldType::Bytes => Shape::Bytes,
            FieldType::Time => Shape::Time,
            FieldType::MicroTime => Shape::MicroTime,
            FieldType::Quantity => Shape::Quantity,
            FieldType::IntOrString => Shape::IntOrString,
            FieldType::Object(reference) => match reference.get().scalar {
                Some(ty) => Spot { ty, field: None }.shape(),
                None => Shape::Object,
            },
            FieldType::List(item) => Shape::List(inner(item)),
            FieldType::Map(item) => Shape::Map(inner(item)),
            FieldType::RawExtension
            | FieldType::FieldsV1
            | FieldType::Json
            | FieldType::SchemaOrArray
            | FieldType::SchemaOrBool
            | FieldType::SchemaOrStrings => Shape::Any,
        }
    }

    fn field(self, json: &str) -> Option<Self> {
        let FieldType::Object(reference) = self.ty else { return None };
        let field = reference.get().field(json)?;
        Some(Spot { ty: field.ty, field: Some(field) })
    }

    fn name(self) -> &'static str {
        match self.ty {
            FieldType::Object(reference) => {
                let name = reference.get().name;
                name.rsplit_once('.').map_or(name, |(_, last)| last)
            }
            _ => "",
        }
    }

    fn package(self) -> &'static str {
        let FieldType::Object(reference) = self.ty else { return "v1" };
        reference.get().package().rsplit('.').next().unwrap_or("v1")
    }

    fn go_type(self) -> Option<&'static str> {
        self.field.and_then(|field| field.go_type)
    }

    fn embedded(self) -> Option<&'static str> {
        self.field.and_then(|field| field.embedded)
    }

    fn keeps_zero(self) -> bool {
        self.field.is_none_or(|field| match field.ty {
            // maxSurge and its like are pointers, targetPort is not
            FieldType::IntOrString => field.json != "targetPort",
            _ => field.keeps_zero || field.required,
        })
    }

    fn omits_empty(self, owner: &str) -> bool {
        self.field.is_some_and(|field| match field.ty {
            _ if field.required || field.zero().is_some() => false,
            FieldType::Map(_) => true,
            // an empty list of these asks for fields to be followed no more
            FieldType::List(_) if field.json == "managedFields" => false,
            // of other types some tell an empty list from none: an autoscaler's policies, a slice's devices
            FieldType::List(_) => {
                matches!(owner, "ObjectMeta" | "PodSpec" | "Container" | "EphemeralContainer")
            }
            _ => false,
        })
    }

    fn merge(self) -> Merge<'static> {
        let Some(field) = self.field else { return Merge::default() };
        Merge {
            merge: field.has_strategy("merge"),
            replace: field.has_strategy("replace"),
            retain_keys: field.has_strategy("retainKeys"),
            key: field.merge_key,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::conform::conform;
    use super::*;

    #[test]
    fn types_have_the_names_that_go_gives_them() {
        let (pod, scaler) = ("io.k8s.api.core.v1.Pod", "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler");
        let capabilities = |add| json!({"spec": {"containers": [{"name": "c", "securityContext": {"capabilities": {"add": add}}}]}});
        let field = "json: cannot unmarshal number into Go struct field";
        let inner = "Capabilities.spec.containers.securityContext.capabilities.add";
        let quantities =
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        #[rustfmt::skip]
        let cases = [
            (pod, json!({"spec": {"restartPolicy": 5}}), format!("{field} PodSpec.spec.restartPolicy of type v1.RestartPolicy")),
            (pod, capabilities(json!([1])), format!("{field} {inner} of type v1.Capability")),
            (pod, capabilities(json!(1)), format!("{field} {inner} of type []v1.Capability")),
            (pod, json!({"metadata": {"uid": 1}}), format!("{field} ObjectMeta.metadata.uid of type types.UID")),
            (pod, json!({"metadata": {"creationTimestamp": 1}}), format!("{field} ObjectMeta.metadata.creationTimestamp of type string")),
            (pod, json!({"spec": {"volumes": [{"hostPath": {"type": 3}}]}}), format!("{field} HostPathVolumeSource.spec.volumes.VolumeSource.hostPath.type of type v1.HostPathType")),
            (pod, json!({"spec": {"containers": [{"livenessProbe": {"httpGet": {"port": 1.5}}}]}}), "json: cannot unmarshal number 1.5 into Go struct field HTTPGetAction.spec.containers.livenessProbe.ProbeHandler.httpGet.port of type int32".to_owned()),
            (pod, json!({"spec": {"overhead": {"cpu": true}}}), quantities.to_owned()),
            (pod, json!({"spec": {"overhead": 5}}), format!("{field} PodSpec.spec.overhead of type v1.ResourceList")),
            (scaler, json!({"spec": 1}), format!("{field} HorizontalPodAutoscaler.spec of type v2.HorizontalPodAutoscalerSpec")),
        ];
        for (schema, mut value, why) in cases {
            let root = Spot::root(schema).expect("a schema");
            assert_eq!(conform(&mut value, root), Err(why), "{value}");
        }
    }

    #[test]
    fn what_is_empty_is_left_out_where_go_leaves_it_out() {
        let cases = [
            (
                "io.k8s.api.core.v1.Pod",
                json!({"metadata": {"labels": {}, "annotations": {"a": ""}, "finalizers": []},
                    "spec": {"nodeSelector": {}, "volumes": [], "containers": [
                        {"name": "c", "args": [], "env": [], "resources": {"limits": {}}, "securityContext": {}}]}}),
                json!({"metadata": {"annotations": {"a": ""}},
                    "spec": {"containers": [{"name": "c", "resources": {}, "securityContext": {}}]}}),
            ),
            (
                "io.k8s.api.core.v1.Pod",
                json!({"spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]}}),
                json!({"spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]}}),
            ),
            (
                "io.k8s.api.networking.v1.NetworkPolicy",
                json!({"spec": {"podSelector": {"matchLabels": {}}, "ingress": [{}]}}),
                json!({"spec": {"podSelector": {}, "ingress": [{}]}}),
            ),
            ("io.k8s.api.core.v1.ConfigMap", json!({"data": {}, "binaryData": {}}), json!({})),
        ];
        for (schema, mut value, expected) in cases {
            let root = Spot::root(schema).expect("a schema");
            assert_eq!(conform(&mut value, root), Ok(vec![]), "{schema}");
            assert_eq!(value, expected, "{schema}");
        }
    }
}
