//! Pods, and the pod templates of everything that makes pods.

use serde_json::{Map, Value};

use super::{Object, agree, child, is_empty, items, made, set, set_pointer, text};

/// `SetDefaults_Pod`: what a pod gets that a template does not, then the spec's.
pub(super) fn pod(object: &mut Object) {
    if let Some(status) = child(object, "status") {
        agree(status, "podIP", "podIPs", Some("ip"));
    }
    let Some(spec) = made(object, "spec") else { return };
    for list in ["containers", "initContainers"] {
        items(spec, list).for_each(requests_from_limits);
    }
    if spec.get("resources").is_some() {
        requests_from_limits(spec);
    }
    set_pointer(spec, "enableServiceLinks", true);
    // conversion's, of pods alone: a template keeps what it says
    let grace = "terminationGracePeriodSeconds";
    if spec.get(grace).and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        spec.insert(grace.to_owned(), 1.into());
    }
    pod_spec(spec);
}

fn requests_from_limits(holder: &mut Object) {
    let Some(resources) = child(holder, "resources") else { return };
    let Some(limits) = child(resources, "limits").cloned() else { return };
    let Some(requests) = made(resources, "requests") else { return };
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// `spec.template` (or `template`) of a workload.
pub(super) fn template(holder: &mut Object) {
    if let Some(spec) = child(holder, "template").and_then(|template| made(template, "spec")) {
        pod_spec(spec);
    }
}

/// `SetDefaults_PodSpec` and all that is inside.
pub fn pod_spec(spec: &mut Object) {
    set(spec, "restartPolicy", "Always");
    set_pointer(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "dnsPolicy", "ClusterFirst");
    set_pointer(spec, "securityContext", Map::new());
    set(spec, "schedulerName", "default-scheduler");
    service_account(spec);
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool) == Some(true);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        items(spec, list).for_each(|c| container(c, host_network && list != "ephemeralContainers"));
    }
    items(spec, "volumes").for_each(volume);
}

/// The deprecated alias says the same as `serviceAccountName`, as upstream's conversion has it.
fn service_account(spec: &mut Object) {
    let alias = text(spec, "serviceAccount").to_owned();
    if !alias.is_empty() {
        set(spec, "serviceAccountName", alias);
    }
    let name = text(spec, "serviceAccountName").to_owned();
    if !name.is_empty() {
        spec.insert("serviceAccount".to_owned(), name.into());
    }
}

fn container(container: &mut Object, host_network: bool) {
    for port in items(container, "ports") {
        set(port, "protocol", "TCP");
        if host_network && port.get("hostPort").is_none_or(|p| p.as_i64() == Some(0)) {
            let number = port.get("containerPort").cloned().unwrap_or_default();
            port.insert("hostPort".to_owned(), number);
        }
    }
    set_pointer(container, "resources", Map::new());
    let policy = image_pull_policy(text(container, "image"));
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    set(container, "imagePullPolicy", policy);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = child(container, name) {
            set_probe(probe);
        }
    }
    if let Some(lifecycle) = child(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(get) = child(lifecycle, hook).and_then(|hook| child(hook, "httpGet")) {
                http_get(get);
            }
        }
    }
    for env in items(container, "env") {
        if let Some(from) = child(env, "valueFrom") {
            field_ref(from);
            if let Some(key) = child(from, "fileKeyRef") {
                set_pointer(key, "optional", false);
            }
        }
    }
}

/// `Always` for the tag `latest`, also where no tag and no digest is given.
pub fn image_pull_policy(image: &str) -> &'static str {
    let (name, digest) = match image.split_once('@') {
        Some((name, _)) => (name, true),
        None => (image, false),
    };
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((_, "latest")) => "Always",
        None if !digest => "Always",
        _ => "IfNotPresent",
    }
}

fn set_probe(probe: &mut Object) {
    for (key, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.get(key).is_none_or(|v| v.is_null() || v.as_i64() == Some(0)) {
            probe.insert(key.to_owned(), value.into());
        }
    }
    if let Some(get) = child(probe, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = child(probe, "grpc") {
        set_pointer(grpc, "service", "");
    }
}

fn http_get(get: &mut Object) {
    set(get, "path", "/");
    set(get, "scheme", "HTTP");
}

fn field_ref(holder: &mut Object) {
    if let Some(reference) = child(holder, "fieldRef") {
        set(reference, "apiVersion", "v1");
    }
}

fn volume(volume: &mut Object) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".to_owned(), Map::new().into());
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = child(volume, source) {
            set_pointer(source, "defaultMode", 420);
        }
    }
    if let Some(downward) = child(volume, "downwardAPI") {
        items(downward, "items").for_each(field_ref);
    }
    if let Some(projected) = child(volume, "projected") {
        items(projected, "sources").for_each(projection);
    }
    if let Some(image) = child(volume, "image") {
        let policy = image_pull_policy(text(image, "reference"));
        set(image, "pullPolicy", policy);
    }
    if let Some(template) = child(volume, "ephemeral").and_then(|e| child(e, "volumeClaimTemplate"))
        && let Some(spec) = child(template, "spec")
    {
        set_pointer(spec, "volumeMode", "Filesystem");
    }
    remote_volume(volume);
}

fn projection(source: &mut Object) {
    if let Some(token) = child(source, "serviceAccountToken") {
        set_pointer(token, "expirationSeconds", 3600);
    }
    if let Some(downward) = child(source, "downwardAPI") {
        items(downward, "items").for_each(field_ref);
    }
}

/// Sources that volumes of pods and PersistentVolumes share.
pub(super) fn remote_volume(volume: &mut Object) {
    if let Some(host_path) = child(volume, "hostPath") {
        set_pointer(host_path, "type", "");
    }
    if let Some(iscsi) = child(volume, "iscsi") {
        set(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = child(volume, "rbd") {
        set(rbd, "pool", "rbd");
        set(rbd, "user", "admin");
        set(rbd, "keyring", "/etc/ceph/keyring");
    }
    if let Some(disk) = child(volume, "azureDisk") {
        set_pointer(disk, "cachingMode", "ReadWrite");
        set_pointer(disk, "kind", "Shared");
        set_pointer(disk, "fsType", "ext4");
        set_pointer(disk, "readOnly", false);
    }
    if let Some(scale_io) = child(volume, "scaleIO") {
        set(scale_io, "storageMode", "ThinProvisioned");
        set(scale_io, "fsType", "xfs");
    }
}

/// The labels of `spec.template`, where it has any.
pub(super) fn template_labels(object: &mut Object) -> Option<Value> {
    let template = child(object, "spec").and_then(|spec| child(spec, "template"))?;
    let labels = child(template, "metadata")?.get("labels").cloned();
    labels.filter(|labels| !is_empty(Some(labels)))
}
