//! What the values of objects must satisfy: upstream's `pkg/apis/*/validation`, in its exact words.
//!
//! [`create`] and [`update`] see an object after [`crate::strict`] (types) and [`crate::defaults`], and give
//! every complaint, as upstream does, not just the first. Kinds without rules of their own here are checked
//! by schema: [`schema`] asks for the fields that the field table requires. Whether a reference leads
//! anywhere is never asked.

mod access;
mod affinity;
mod autoscaler;
mod cluster;
mod container;
mod core;
mod csi;
mod device_slices;
mod device_status;
mod devices;
mod diff;
mod dns;
mod endpoints;
mod env;
mod event;
mod fixed;
mod flow;
mod ingress;
mod iscsi;
mod job;
mod job_status;
mod limits;
mod load_balancer;
mod mounts;
mod network;
mod os;
mod pod;
mod pod_annotations;
mod pod_paths;
mod pod_resize;
mod pod_update;
mod pod_warnings;
mod probe;
mod projected;
mod ratchet;
mod restart;
mod schema;
mod security;
mod service;
mod service_addresses;
mod storage;
pub mod sysctl;
#[cfg(test)]
mod tests;
mod volume;
mod volume_sources;
mod warnings;
mod workload;

use serde_json::Value;

pub use storage::fill_data_sources;

use crate::kinds::Kind;
use crate::status::FieldError;
use crate::validation::{object_meta, object_meta_update, own_finalizers, rule_for};

/// What is wrong with a new object of `kind`.
pub fn create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    if let Some(custom) = kind.custom {
        let Some(version) = custom.version() else { return Vec::new() };
        let mut errors = crate::crd::create_errors(kind, version.schema(), object);
        errors.extend(crate::crd::scale_errors(version.about(), object));
        return errors;
    }
    if is_definition(kind) {
        return crate::crd::definition_errors(object);
    }
    if is_event(kind) {
        return event::create(kind, object);
    }
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    // reviews and their like are answered, not stored: they have no name
    let mut errors = match kind.virtual_ {
        true => Vec::new(),
        false => object_meta(metadata, kind.namespaced, rule_for(kind.group, kind.kind)),
    };
    if names_finalizers(kind) {
        errors.extend(own_finalizers(metadata));
    }
    body(kind, object, &Value::Null, &mut errors);
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::only_on_create(object, &mut errors),
        (NETWORKING, "Ingress") => ingress::only_on_create(object, &mut errors),
        ("", "Node") => core::node_networks(object, &mut errors),
        ("apps", "ControllerRevision") => workload::new_revision(object, &mut errors),
        ("apps", "StatefulSet") => workload::only_on_create(object, &mut errors),
        _ => {}
    }
    errors
}

/// Whether the kind's metadata are checked by `pkg/apis/core/validation`; the others' by apimachinery alone, which lets
/// finalizers have any name.
fn names_finalizers(kind: &Kind) -> bool {
    let others = matches!(
        (kind.group, kind.kind),
        ("apiextensions.k8s.io" | "apiregistration.k8s.io" | "admissionregistration.k8s.io", _)
            | ("coordination.k8s.io", _)
            | ("policy", "PodDisruptionBudget")
            | ("", "Event")
    );
    kind.custom.is_none() && !kind.virtual_ && !others
}

/// What is wrong with the metadata of a changed object, whatever of it changed.
pub fn changed_metadata(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let (new, old) = (access::get(new, "metadata"), access::get(old, "metadata"));
    let mut errors = object_meta_update(new, old);
    if names_finalizers(kind) {
        errors.extend(own_finalizers(new));
    }
    errors
}

/// What is wrong with `new` as a change of `old`.
pub fn update(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = changed(kind, new, old);
    if kind.custom.is_none() {
        ratchet::spare(kind, old, &mut errors);
    }
    errors
}

fn changed(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    if let Some(custom) = kind.custom {
        let Some(version) = custom.version() else { return Vec::new() };
        let mut errors = crate::crd::update_errors(version.schema(), new, old);
        errors.extend(crate::crd::scale_errors(version.about(), new));
        return errors;
    }
    let mut errors = changed_metadata(kind, new, old);
    if is_definition(kind) {
        crate::crd::definition_update_errors(new, old, &mut errors);
        return errors;
    }
    match (kind.group, kind.kind) {
        ("", "Pod") => return pod_update::update(new, old, errors),
        ("", "Service") => service::update(new, old, &mut errors),
        ("", "ConfigMap") => core::config_map_update(new, old, &mut errors),
        ("", "Secret") => core::secret_update(new, old, &mut errors),
        ("", "Node") => core::node_update(new, old, &mut errors),
        ("", "ResourceQuota") => limits::quota_update(new, old, &mut errors),
        ("", "PersistentVolume") => storage::volume_update(new, old, &mut errors),
        ("", "PersistentVolumeClaim") => storage::claim_update(new, old, &mut errors),
        ("storage.k8s.io", "StorageClass") => storage::class_update(new, old, &mut errors),
        ("discovery.k8s.io", "EndpointSlice") => access::immutable(new, old, "addressType", "", &mut errors),
        (NETWORKING, "IngressClass") => ingress::class_update(new, old, &mut errors),
        (NETWORKING, "IPAddress") => network::ip_address_update(new, old, &mut errors),
        (NETWORKING, "ServiceCIDR") => {
            network::service_cidr_update(new, old, &mut errors);
            return errors;
        }
        _ if is_event(kind) => {
            event::update(kind, new, old, &mut errors);
            return errors;
        }
        // what may not change comes after what is wrong as it is
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") | ("batch", "Job") => {
            body(kind, new, old, &mut errors);
            workload::update(kind.kind, new, old, &mut errors);
            return errors;
        }
        ("apps" | "batch", _) => workload::update(kind.kind, new, old, &mut errors),
        ("storage.k8s.io", "VolumeAttributesClass") => {
            fixed::update(kind.group, kind.kind, new, old, &mut errors)
        }
        _ => cluster::update(kind.group, kind.kind, new, old, &mut errors),
    }
    body(kind, new, old, &mut errors);
    errors
}

fn is_definition(kind: &Kind) -> bool {
    (kind.group, kind.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition")
}

fn is_event(kind: &Kind) -> bool {
    matches!((kind.group, kind.kind), ("" | "events.k8s.io", "Event"))
}

/// What is wrong with `new` as a change of the `status` subresource.
pub fn update_status(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    if let Some(custom) = kind.custom {
        let Some(version) = custom.version() else { return Vec::new() };
        let mut errors = crate::crd::status_errors(version.schema(), new, old);
        errors.extend(crate::crd::scale_status_errors(version.about(), new));
        return errors;
    }
    let mut errors = changed_metadata(kind, new, old);
    match (kind.group, kind.kind) {
        ("", "Pod") => pod_update::status(new, old, &mut errors),
        ("", "Service") => service::status(new, old, &mut errors),
        ("", "ResourceQuota") => limits::quota_status(new, &mut errors),
        ("", "PersistentVolumeClaim") => storage::claim_status(new, &mut errors),
        (NETWORKING, "Ingress") => ingress::status(new, old, &mut errors),
        ("batch", "Job") => job_status::update(new, old, &mut errors),
        ("policy", "PodDisruptionBudget") => cluster::disruption_status(new, &mut errors),
        (DEVICES, "ResourceClaim") if kind.version != "v1beta1" => devices::status(new, old, &mut errors),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::status(new, &mut errors),
        ("apps" | "batch", _) | ("", "ReplicationController") => workload::status(new, old, &mut errors),
        _ => {}
    }
    errors
}

const DEVICES: &str = "resource.k8s.io";
const NETWORKING: &str = "networking.k8s.io";

/// Rules for the object as it is; a few of them let pass what `old` had already.
fn body(kind: &Kind, object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::pod(object, errors),
        ("", "Service") => service::service(object, old, errors),
        ("", "ResourceQuota") => limits::quota(object, errors),
        ("", "LimitRange") => limits::limit_range(object, errors),
        ("", "Endpoints") => endpoints::endpoints(object, old, errors),
        ("", "PersistentVolume") => storage::volume(object, errors),
        ("", "PersistentVolumeClaim") => storage::claim(access::get(object, "spec"), errors),
        ("storage.k8s.io", "StorageClass") => storage::class(object, errors),
        ("discovery.k8s.io", "EndpointSlice") => endpoints::slice(object, errors),
        (NETWORKING, "Ingress") => ingress::ingress(object, old, errors),
        (NETWORKING, "IngressClass") => ingress::class(object, errors),
        (NETWORKING, "NetworkPolicy") => network::policy(object, old, errors),
        (NETWORKING, "IPAddress") => network::ip_address(object, errors),
        (NETWORKING, "ServiceCIDR") => network::service_cidr(object, errors),
        ("", "PodTemplate") => workload::template(access::get(object, "template"), "template", errors),
        ("", "ReplicationController") => workload::workload("ReplicationController", object, errors),
        ("", "ConfigMap") => core::config_map(object, errors),
        ("", "Secret") => core::secret(object, errors),
        ("", "Node") => core::node(object, errors),
        ("node.k8s.io", "RuntimeClass") => fixed::runtime_class(object, errors),
        ("batch", "Job") => job::job(object, old, errors),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::autoscaler(object, old, errors),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flow::schema(object, errors),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => {
            flow::priority_level(object, errors)
        }
        ("batch", "CronJob") => workload::cron_job(object, old, errors),
        ("apps" | "batch", _) => workload::workload(kind.kind, object, errors),
        (group, name) => {
            // v1beta1 has another shape; what a claim asks for stays
            let asked = old.is_null() || matches!(name, "DeviceClass" | "ResourceSlice");
            let of_devices = group == DEVICES && kind.version != "v1beta1" && asked;
            let devices = of_devices && devices::validate(name, object, errors);
            let done = devices || group == "storage.k8s.io" && csi::validate(name, object, errors);
            if !done && !cluster::validate(group, name, object, errors) {
                schema::required(kind.schema, object, errors);
            }
        }
    }
}

pub use pod_resize::resize as pod_resize;
pub use pod_update::ephemeral_containers;
pub use schema::required as schema_required;
pub use service_addresses::cluster_ips as service_cluster_ips;
pub use warnings::{deprecation, warnings};
