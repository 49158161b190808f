//! Fields of feature gates that are off in v1.36: what is written does not get them, unless the object has them already.
//! Upstream's `dropDisabledFields` of the strategies and of `pkg/api/*/util.go`.
//!
//! Gates that decide about values (such as `HPAScaleToZero`) are the validation's.

use sampan_api::kinds::Kind;
use serde_json::Value;

use super::is;
use crate::value::{at, items};

/// Fields by name; `*` is each item of a list or value of a map.
type Path = &'static [&'static str];

/// Where the paths of a gate begin.
enum Of {
    /// A kind, by group and name: at its root.
    Kind(&'static str, &'static str),
    /// Pods and templates of pods: at the pod's spec.
    PodSpec,
    /// A Workload: at each of its templates, which is compared with the one that was in its place.
    Template,
}

/// Fields that are in use together: where one is, all are kept.
struct Gated {
    gate: &'static str,
    of: Of,
    paths: &'static [Path],
    /// The field whose use keeps them, where not that of any does.
    kept_by: Option<Path>,
    /// An empty list is in use as well.
    even_empty: bool,
    /// Only a value that has this field is dropped.
    that_has: Option<&'static str>,
    /// The parent goes as well when nothing else is in it.
    with_parent: bool,
}

const PLAIN: Gated = Gated {
    gate: "",
    of: Of::PodSpec,
    paths: &[],
    kept_by: None,
    even_empty: false,
    that_has: None,
    with_parent: false,
};

const PODS: Of = Of::Kind("", "Pod");
const POD_GROUPS: Of = Of::Kind("scheduling.k8s.io", "PodGroup");
const LEASES: Of = Of::Kind("coordination.k8s.io", "Lease");
const SLICES: Of = Of::Kind("resource.k8s.io", "ResourceSlice");

const GATED: &[Gated] = &[
    Gated {
        gate: "ContainerStopSignals",
        paths: &[
            &["containers", "*", "lifecycle", "stopSignal"],
            &["initContainers", "*", "lifecycle", "stopSignal"],
            &["ephemeralContainers", "*", "lifecycle", "stopSignal"],
        ],
        with_parent: true,
        ..PLAIN
    },
    Gated {
        gate: "ClusterTrustBundleProjection",
        paths: &[&["volumes", "*", "projected", "sources", "*", "clusterTrustBundle"]],
        ..PLAIN
    },
    Gated {
        gate: "PodCertificateRequest",
        paths: &[&["volumes", "*", "projected", "sources", "*", "podCertificate"]],
        ..PLAIN
    },
    Gated { gate: "GenericWorkload", paths: &[&["schedulingGroup"]], ..PLAIN },
    Gated {
        gate: "ImageVolumeWithDigest",
        of: PODS,
        paths: &[
            &["status", "containerStatuses", "*", "volumeMounts", "*", "volumeStatus"],
            &["status", "initContainerStatuses", "*", "volumeMounts", "*", "volumeStatus"],
            &["status", "ephemeralContainerStatuses", "*", "volumeMounts", "*", "volumeStatus"],
        ],
        ..PLAIN
    },
    Gated {
        gate: "DRANodeAllocatableResources",
        of: PODS,
        paths: &[&["status", "nodeAllocatableResourceClaimStatuses"]],
        ..PLAIN
    },
    Gated {
        gate: "DRANodeAllocatableResources",
        of: SLICES,
        paths: &[
            &["spec", "devices", "*", "nodeAllocatableResourceMappings"],
            &["spec", "devices", "*", "basic", "nodeAllocatableResourceMappings"],
        ],
        ..PLAIN
    },
    Gated {
        gate: "DRAListTypeAttributes",
        of: SLICES,
        paths: &[
            &["spec", "devices", "*", "attributes", "*", "bools"],
            &["spec", "devices", "*", "attributes", "*", "ints"],
            &["spec", "devices", "*", "attributes", "*", "strings"],
            &["spec", "devices", "*", "attributes", "*", "versions"],
            &["spec", "devices", "*", "basic", "attributes", "*", "bools"],
            &["spec", "devices", "*", "basic", "attributes", "*", "ints"],
            &["spec", "devices", "*", "basic", "attributes", "*", "strings"],
            &["spec", "devices", "*", "basic", "attributes", "*", "versions"],
        ],
        even_empty: true,
        ..PLAIN
    },
    Gated {
        gate: "MaxUnavailableStatefulSet",
        of: Of::Kind("apps", "StatefulSet"),
        paths: &[&["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]],
        ..PLAIN
    },
    Gated {
        gate: "CrossNamespaceVolumeDataSource",
        of: Of::Kind("", "PersistentVolumeClaim"),
        paths: &[&["spec", "dataSourceRef"]],
        that_has: Some("namespace"),
        ..PLAIN
    },
    Gated {
        gate: "VolumeLimitScaling",
        of: Of::Kind("storage.k8s.io", "CSIDriver"),
        paths: &[&["spec", "preventPodSchedulingIfMissing"]],
        ..PLAIN
    },
    Gated { gate: "CoordinatedLeaderElection", of: LEASES, paths: &[&["spec", "strategy"]], ..PLAIN },
    Gated { gate: "CoordinatedLeaderElection", of: LEASES, paths: &[&["spec", "preferredHolder"]], ..PLAIN },
    Gated {
        gate: "TopologyAwareWorkloadScheduling",
        of: POD_GROUPS,
        paths: &[&["spec", "schedulingConstraints"]],
        ..PLAIN
    },
    Gated {
        gate: "DRAWorkloadResourceClaims",
        of: POD_GROUPS,
        paths: &[&["spec", "resourceClaims"], &["status", "resourceClaimStatuses"]],
        kept_by: Some(&["spec", "resourceClaims"]),
        ..PLAIN
    },
    Gated { gate: "WorkloadAwarePreemption", of: POD_GROUPS, paths: &[&["spec", "disruptionMode"]], ..PLAIN },
    Gated {
        gate: "WorkloadAwarePreemption",
        of: POD_GROUPS,
        paths: &[&["spec", "priorityClassName"]],
        ..PLAIN
    },
    Gated { gate: "WorkloadAwarePreemption", of: POD_GROUPS, paths: &[&["spec", "priority"]], ..PLAIN },
    Gated {
        gate: "TopologyAwareWorkloadScheduling",
        of: Of::Template,
        paths: &[&["schedulingConstraints"]],
        ..PLAIN
    },
    Gated { gate: "DRAWorkloadResourceClaims", of: Of::Template, paths: &[&["resourceClaims"]], ..PLAIN },
    Gated { gate: "WorkloadAwarePreemption", of: Of::Template, paths: &[&["disruptionMode"]], ..PLAIN },
    Gated { gate: "WorkloadAwarePreemption", of: Of::Template, paths: &[&["priorityClassName"]], ..PLAIN },
    Gated { gate: "WorkloadAwarePreemption", of: Of::Template, paths: &[&["priority"]], ..PLAIN },
];

const TEMPLATES: Path = &["spec", "podGroupTemplates"];

/// Takes from `new` the fields of gates that are off, unless `old` uses them.
pub(super) fn drop_disabled(kind: &Kind, old: Option<&Value>, new: &mut Value) {
    if kind.custom.is_some() {
        return;
    }
    for gated in GATED {
        match gated.of {
            Of::Kind(group, name) if is(kind, group, name) => gated.apply(old, new),
            Of::PodSpec => {
                let Some(path) = pod_spec(kind) else { continue };
                let Some(spec) = at_mut(new, path) else { continue };
                gated.apply(old.map(|old| at(old, path)), spec);
            }
            Of::Template if is(kind, "scheduling.k8s.io", "Workload") => {
                let before = old.map_or(&[][..], |old| items(at(old, TEMPLATES)));
                let Some(Value::Array(templates)) = at_mut(new, TEMPLATES) else { continue };
                for (index, template) in templates.iter_mut().enumerate() {
                    gated.apply(before.get(index), template);
                }
            }
            Of::Kind(..) | Of::Template => {}
        }
    }
}

/// Where a kind has the spec of its pods.
fn pod_spec(kind: &Kind) -> Option<Path> {
    Some(match (kind.group, kind.kind) {
        ("", "Pod") => &["spec"],
        ("", "PodTemplate") => &["template", "spec"],
        ("", "ReplicationController")
        | ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
        | ("batch", "Job") => &["spec", "template", "spec"],
        ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template", "spec"],
        _ => return None,
    })
}

impl Gated {
    fn apply(&self, old: Option<&Value>, new: &mut Value) {
        let drops = |value: &Value| self.that_has.is_none_or(|field| is_set(at(value, &[field])));
        if !self.paths.iter().any(|path| any(new, path, &|value| !value.is_null() && drops(value))) {
            return;
        }
        if old.is_some_and(|old| self.is_used(old)) {
            return;
        }
        tracing::debug!(gate = self.gate, "fields of a gate that is off are dropped");
        for path in self.paths {
            self.take(new, path);
        }
    }

    fn is_used(&self, old: &Value) -> bool {
        let used = |value: &Value| is_set(value) || self.even_empty && value.is_array();
        let paths = self.kept_by.as_ref().map_or(self.paths, std::slice::from_ref);
        paths.iter().any(|path| any(old, path, &used))
    }

    fn take(&self, value: &mut Value, path: &[&str]) {
        match path {
            [] => {}
            ["*", rest @ ..] => each_mut(value).for_each(|one| self.take(one, rest)),
            [last] => {
                if let Some(object) = value.as_object_mut() {
                    object.shift_remove(*last);
                }
            }
            [parent, last] if self.with_parent => {
                let Some(object) = value.as_object_mut() else { return };
                let Some(Value::Object(inner)) = object.get_mut(*parent) else { return };
                if inner.shift_remove(*last).is_some() && inner.is_empty() {
                    object.shift_remove(*parent);
                }
            }
            [field, rest @ ..] => {
                if let Some(inner) = value.get_mut(field) {
                    self.take(inner, rest);
                }
            }
        }
    }
}

fn any(value: &Value, path: &[&str], test: &dyn Fn(&Value) -> bool) -> bool {
    match path {
        [] => test(value),
        ["*", rest @ ..] => match value {
            Value::Array(list) => list.iter().any(|one| any(one, rest, test)),
            Value::Object(map) => map.values().any(|one| any(one, rest, test)),
            _ => false,
        },
        [field, rest @ ..] => value.get(field).is_some_and(|inner| any(inner, rest, test)),
    }
}

fn each_mut(value: &mut Value) -> Box<dyn Iterator<Item = &mut Value> + '_> {
    match value {
        Value::Array(list) => Box::new(list.iter_mut()),
        Value::Object(map) => Box::new(map.values_mut()),
        _ => Box::new(std::iter::empty()),
    }
}

fn at_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |here, field| here.get_mut(field))
}

/// Whether Go would see something else than the zero value; a pointer to `false` or 0 is something.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
