//! One decoder for each kind. Decoders are the largest generic code there is: every crate that decoded a kind for itself
//! would bring its own copy into the binary, several if it did so from texts, values and buffers.

use std::borrow::Cow;

use k8s_openapi::api::apiserverinternal::v1alpha1::StorageVersion;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
    ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use serde::de::DeserializeOwned;

/// What an informer can decode; [`crate::decoded`] implements it. Managed fields, which no controller reads, are left out:
/// they are a third of many objects.
pub trait Decode: DeserializeOwned {
    /// Reads one object of JSON.
    ///
    /// # Errors
    /// The text is not of this shape.
    fn decode(text: &str) -> serde_json::Result<Self>;
}

/// Makes types that are `Deserialize` ones that an informer can decode.
#[macro_export]
macro_rules! decoded {
    ($($kind:ty),+ $(,)?) => {$(
        impl $crate::Decode for $kind {
            fn decode(text: &str) -> $crate::serde_json::Result<Self> {
                $crate::serde_json::from_str(&$crate::without_managed_fields(text))
            }
        }
    )+};
}

const MANAGED_FIELDS: &str = "\"managedFields\":";

/// An object's JSON without its managed fields, if it is compact; else the same. Quotes within texts are escaped, so that
/// the name in quotes is a field's.
pub fn without_managed_fields(text: &str) -> Cow<'_, str> {
    let Some(at) = text.find(MANAGED_FIELDS) else { return Cow::Borrowed(text) };
    let (before, value) = (&text[..at], &text[at + MANAGED_FIELDS.len()..]);
    // of the object itself, in its metadata; of objects within it they are what somebody keeps
    if !value.starts_with('[') || nesting(before).0 != 2 {
        return Cow::Borrowed(text);
    }
    let (open, length) = nesting(value);
    if open > 0 {
        return Cow::Borrowed(text);
    }
    let after = &value[length..];
    match (before.strip_suffix(','), after.strip_prefix(',')) {
        (Some(before), _) => Cow::Owned([before, after].concat()),
        (None, Some(after)) => Cow::Owned([before, after].concat()),
        (None, None) => Cow::Borrowed(text),
    }
}

/// How many objects and lists are open at the end of compact JSON, or where the first of them is closed; and how many bytes
/// that took.
fn nesting(text: &str) -> (usize, usize) {
    let (mut open, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => open += 1,
            b'}' | b']' if !quoted => {
                open = open.saturating_sub(1);
                if open == 0 {
                    return (0, at + 1);
                }
            }
            _ => {}
        }
    }
    (open, text.len())
}

decoded!(
    CSINode,
    CertificateSigningRequest,
    ClusterRole,
    ConfigMap,
    ControllerRevision,
    CronJob,
    DaemonSet,
    Deployment,
    DeviceClass,
    EndpointSlice,
    Endpoints,
    Event,
    HorizontalPodAutoscaler,
    IPAddress,
    Ingress,
    IngressClass,
    Job,
    Lease,
    LimitRange,
    Namespace,
    NetworkPolicy,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    PodDisruptionBudget,
    ReplicaSet,
    ReplicationController,
    ResourceClaim,
    ResourceClaimTemplate,
    ResourceQuota,
    ResourceSlice,
    RoleBinding,
    Secret,
    Service,
    ServiceAccount,
    ServiceCIDR,
    StatefulSet,
    StorageClass,
    StorageVersion,
);

#[cfg(test)]
mod tests {
    use super::without_managed_fields;

    #[test]
    fn managed_fields_are_left_out_wherever_they_are_in_the_metadata() {
        let fields = r#""managedFields":[{"manager":"a ]}\"","fieldsV1":{"f:x":{}}},{"manager":"b"}]"#;
        for (text, left) in [
            (
                format!(r#"{{"metadata":{{"name":"n",{fields}}},"spec":{{}}}}"#),
                r#"{"metadata":{"name":"n"},"spec":{}}"#,
            ),
            (
                format!(r#"{{"metadata":{{{fields},"name":"n"}},"spec":{{}}}}"#),
                r#"{"metadata":{"name":"n"},"spec":{}}"#,
            ),
            (
                format!(r#"{{"metadata":{{"a":"\\","b":"{{",{fields}}}}}"#),
                r#"{"metadata":{"a":"\\","b":"{"}}"#,
            ),
        ] {
            assert_eq!(without_managed_fields(&text), left);
        }
    }

    #[test]
    fn whatever_else_there_is_stays() {
        for text in [
            r#"{"metadata":{"name":"n"}}"#,
            r#"{"metadata":{"managedFields":null}}"#,
            r#"{"metadata":{"annotations":{"a":"\"managedFields\":[1]"}}}"#,
            r#"{"data":{"spec":{"metadata":{"x":"y","managedFields":[1]}}}}"#,
            r#"{"metadata":{"a":"b","managedFields":[1"#,
            r#""managedFields":[1]"#,
            "",
        ] {
            assert_eq!(without_managed_fields(text), text);
        }
    }
}
