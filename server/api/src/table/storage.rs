//! Volumes, claims, classes and drivers.

use jiff::Timestamp;
use serde_json::Value;

use super::access::{boolean, has, list, name, strings, text, text_or};
use super::age::age;
use super::{AGE, Column, NAME, Printer, boolean as flag, integer, printer, text as column, wide};

static VOLUME: &[Column] = &[
    NAME,
    column("Capacity", "capacity is the description of the persistent volume's resources and capacity."),
    column("Access Modes", "accessModes contains all ways the volume can be mounted."),
    column(
        "Reclaim Policy",
        "persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim.",
    ),
    column("Status", "phase indicates if a volume is available, bound to a claim, or released by a claim."),
    column(
        "Claim",
        "claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim.",
    ),
    column("StorageClass", "StorageClass of the pv"),
    column("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
    column(
        "Reason",
        "reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy display in the CLI.",
    ),
    AGE,
    wide(
        "VolumeMode",
        "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state.",
    ),
];

static CLAIM: &[Column] = &[
    NAME,
    column("Status", "phase represents the current phase of PersistentVolumeClaim."),
    column("Volume", "volumeName is the binding reference to the PersistentVolume backing this claim."),
    column("Capacity", "capacity represents the actual resources of the underlying volume."),
    column("Access Modes", "accessModes contains the actual access modes the volume backing the PVC has."),
    column("StorageClass", "StorageClass of the pvc"),
    column("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
    AGE,
    wide("VolumeMode", "volumeMode defines what type of volume is required by the claim."),
];

static CLASS: &[Column] = &[
    NAME,
    column("Provisioner", "provisioner indicates the type of the provisioner."),
    column(
        "ReclaimPolicy",
        "reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes of this storage class.",
    ),
    column(
        "VolumeBindingMode",
        "volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound.",
    ),
    column(
        "AllowVolumeExpansion",
        "allowVolumeExpansion shows whether the storage class allow volume expand.",
    ),
    AGE,
];

static ATTRIBUTES_CLASS: &[Column] = &[NAME, column("DriverName", "Name of the CSI driver"), AGE];

static ATTACHMENT: &[Column] = &[
    NAME,
    column("Attacher", "attacher indicates the name of the volume driver that MUST handle this request."),
    column("PV", "persistentVolumeName represents the name of the persistent volume to attach."),
    column("Node", "nodeName represents the node that the volume should be attached to."),
    flag("Attached", "attached indicates the volume is successfully attached."),
    AGE,
];

static NODE: &[Column] = &[
    NAME,
    integer("Drivers", "drivers is a list of information of all CSI Drivers existing on a node."),
    AGE,
];

static DRIVER: &[Column] = &[
    NAME,
    flag("AttachRequired", "attachRequired indicates this CSI volume driver requires an attach operation."),
    flag(
        "PodInfoOnMount",
        "podInfoOnMount indicates this CSI volume driver requires additional pod information during mount operations.",
    ),
    flag(
        "StorageCapacity",
        "storageCapacity indicates that the CSI volume driver wants pod scheduling to consider the storage capacity that the driver deployment will report.",
    ),
    column(
        "TokenRequests",
        "tokenRequests indicates the CSI driver needs pods' service account tokens it is mounting volume for to do necessary authentication.",
    ),
    flag(
        "RequiresRepublish",
        "requiresRepublish indicates the CSI driver wants `NodePublishVolume` being periodically called to reflect any possible change in the mounted volume.",
    ),
    column("Modes", "volumeLifecycleModes defines what kind of volumes this CSI volume driver supports."),
    AGE,
];

static CAPACITY: &[Column] = &[
    NAME,
    column(
        "StorageClassName",
        "storageClassName represents the name of the StorageClass that the reported capacity applies to.",
    ),
    column("Capacity", "capacity is the value reported by the CSI driver in its GetCapacityResponse."),
];

pub(super) const PRINTERS: &[Printer] = &[
    printer("persistentvolumes", VOLUME, volume),
    printer("persistentvolumeclaims", CLAIM, claim),
    printer("storageclasses.storage.k8s.io", CLASS, class),
    Printer {
        bucket: "volumeattributesclasses.storage.k8s.io",
        columns: ATTRIBUTES_CLASS,
        cells: attributes_class,
        reads: &[],
    },
    printer("volumeattachments.storage.k8s.io", ATTACHMENT, attachment),
    printer("csinodes.storage.k8s.io", NODE, node),
    printer("csidrivers.storage.k8s.io", DRIVER, driver),
    printer("csistoragecapacities.storage.k8s.io", CAPACITY, capacity),
];

fn access_modes(object: &Value, pointer: &str) -> String {
    let modes = strings(object, pointer);
    // upstream's order, whatever the object's
    [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ]
    .into_iter()
    .filter(|(mode, _)| modes.contains(mode))
    .map(|(_, short)| short)
    .collect::<Vec<_>>()
    .join(",")
}

fn phase(object: &Value) -> &str {
    match has(object, "/metadata/deletionTimestamp") {
        true => "Terminating",
        false => text(object, "/status/phase"),
    }
}

/// The class, from the annotation that came before the field if it is there.
fn storage_class(object: &Value) -> &str {
    let annotation = text(object, "/metadata/annotations/volume.beta.kubernetes.io~1storage-class");
    if annotation.is_empty() { text(object, "/spec/storageClassName") } else { annotation }
}

fn volume(object: &Value, now: Timestamp) -> Vec<Value> {
    let claim = match has(object, "/spec/claimRef") {
        true => {
            format!("{}/{}", text(object, "/spec/claimRef/namespace"), text(object, "/spec/claimRef/name"))
        }
        false => String::new(),
    };
    vec![
        name(object),
        text_or(object, "/spec/capacity/storage", "0").into(),
        access_modes(object, "/spec/accessModes").into(),
        text(object, "/spec/persistentVolumeReclaimPolicy").into(),
        phase(object).into(),
        claim.into(),
        storage_class(object).into(),
        text_or(object, "/spec/volumeAttributesClassName", "<unset>").into(),
        text(object, "/status/reason").into(),
        age(object, now),
        text_or(object, "/spec/volumeMode", "<unset>").into(),
    ]
}

fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let volume = text(object, "/spec/volumeName");
    let (capacity, modes) = match volume {
        "" => ("", String::new()),
        _ => (text_or(object, "/status/capacity/storage", "0"), access_modes(object, "/status/accessModes")),
    };
    vec![
        name(object),
        phase(object).into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        storage_class(object).into(),
        text_or(object, "/spec/volumeAttributesClassName", "<unset>").into(),
        age(object, now),
        text_or(object, "/spec/volumeMode", "<unset>").into(),
    ]
}

fn class(object: &Value, now: Timestamp) -> Vec<Value> {
    let is_default = ["storageclass.kubernetes.io", "storageclass.beta.kubernetes.io"]
        .into_iter()
        .any(|prefix| text(object, &format!("/metadata/annotations/{prefix}~1is-default-class")) == "true");
    let suffix = if is_default { " (default)" } else { "" };
    vec![
        format!("{}{suffix}", text(object, "/metadata/name")).into(),
        text(object, "/provisioner").into(),
        text_or(object, "/reclaimPolicy", "Delete").into(),
        text_or(object, "/volumeBindingMode", "Immediate").into(),
        boolean(object, "/allowVolumeExpansion").into(),
        age(object, now),
    ]
}

fn attributes_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text(object, "/driverName").into(), age(object, now)]
}

fn attachment(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        text(object, "/spec/attacher").into(),
        text(object, "/spec/source/persistentVolumeName").into(),
        text(object, "/spec/nodeName").into(),
        boolean(object, "/status/attached").into(),
        age(object, now),
    ]
}

fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), list(object, "/spec/drivers").len().into(), age(object, now)]
}

fn driver(object: &Value, now: Timestamp) -> Vec<Value> {
    let flag = |member: &str| Value::from(boolean(object, &format!("/spec/{member}")));
    let attach = object.pointer("/spec/attachRequired").and_then(Value::as_bool).unwrap_or(true);
    let audiences: Vec<&str> =
        list(object, "/spec/tokenRequests").iter().map(|request| text(request, "/audience")).collect();
    let modes = strings(object, "/spec/volumeLifecycleModes").join(",");
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    vec![
        name(object),
        attach.into(),
        flag("podInfoOnMount"),
        flag("storageCapacity"),
        or(audiences.join(","), "<unset>").into(),
        flag("requiresRepublish"),
        or(modes, "<none>").into(),
        age(object, now),
    ]
}

fn capacity(object: &Value, _now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        text(object, "/storageClassName").into(),
        text_or(object, "/capacity", "<unset>").into(),
    ]
}
