//! Which zeros on the wire say something: the pointers among the scalar fields of `k8s.io/api`.

use serde_json::Value;

use crate::fields::Field;

/// Pointers to numbers in which zero differs from unset.
const NUMBERS: &[&str] = &[
    "activeDeadlineSeconds",
    "backoffLimit",
    "backoffLimitPerIndex",
    "completions",
    "defaultMode",
    "deletionGracePeriodSeconds",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "leaseDurationSeconds",
    "leaseTransitions",
    "maxFailedIndexes",
    "minReplicas",
    "mode",
    "parallelism",
    "partition",
    "priority",
    "progressDeadlineSeconds",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsUser",
    "stabilizationWindowSeconds",
    "startingDeadlineSeconds",
    "successfulJobsHistoryLimit",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
];

/// Pointers to booleans, and booleans that JSON always carries.
const BOOLEANS: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "allowVolumeExpansion",
    "allowed",
    "attachRequired",
    "automountServiceAccountToken",
    "blockOwnerDeletion",
    "controller",
    "enableServiceLinks",
    "hostUsers",
    "immutable",
    "nodeInclusionPolicy",
    "optional",
    "orphanDependents",
    "podInfoOnMount",
    "privileged",
    "ready",
    "readOnlyRootFilesystem",
    "requiresRepublish",
    "runAsNonRoot",
    "seLinuxMount",
    "serving",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "started",
    "storageCapacity",
    "suspend",
    "terminating",
];

/// Pointers to texts in which the empty one differs from unset.
const TEXTS: &[&str] = &["storageClassName", "volumeAttributesClassName", "hostnameOverride"];

/// Whether `value` is what Go writes for a field that is not set.
pub fn means_absent(field: &Field, value: &Value) -> bool {
    if field.required {
        return false;
    }
    let kept = |names: &[&str]| names.contains(&field.json);
    match value {
        Value::Bool(false) => !kept(BOOLEANS),
        Value::String(text) if text.is_empty() => !kept(TEXTS),
        // maxSurge and its like are pointers, targetPort is not
        Value::Number(number) if number.as_i64() == Some(0) => match field.ty {
            crate::fields::FieldType::IntOrString => field.json == "targetPort",
            _ => !kept(NUMBERS),
        },
        _ => false,
    }
}
