//! One decoder for each kind. Decoders are the largest generic code there is: every crate that decoded a kind for itself
//! would bring its own copy into the binary, several if it did so from texts, values and buffers.

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

/// What an informer can decode; [`crate::decoded`] implements it.
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
                $crate::serde_json::from_str(text)
            }
        }
    )+};
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
);
