//! What a pod's spec may say: each family of rules by what breaks it, and by what does not.

use serde_json::{Value, json};

use super::super::{create, update};
use super::{changed, kind, shown, valid};

fn pod(pointer: &str, value: Value) -> String {
    shown(create(kind("Pod"), &changed("Pod", pointer, value)))
}

fn check(at: &str, cases: Vec<(&str, Value, &str)>) {
    for (pointer, value, expected) in cases {
        let expected = expected.replace('@', at);
        assert_eq!(pod(pointer, value.clone()), expected, "{pointer} {value}");
    }
}

const MAIN: &str = "/spec/containers";

#[test]
fn restart_rules_have_a_policy_an_action_and_codes() {
    let rules = |rule: Value| json!([rule]);
    let codes = json!({"operator": "In", "values": [1]});
    let with = |policy: Option<&str>, rules: Value| {
        let mut container = valid("Pod")["spec"]["containers"][0].clone();
        if let Some(policy) = policy {
            container["restartPolicy"] = policy.into();
        }
        container["restartPolicyRules"] = rules;
        json!([container])
    };
    let right = json!({"action": "Restart", "exitCodes": codes});
    check(
        "spec.containers[0]",
        vec![
            (MAIN, with(Some("Never"), rules(right.clone())), ""),
            (
                MAIN,
                with(Some("Never"), rules(json!({"action": "RestartAllContainers", "exitCodes": codes}))),
                "",
            ),
            (
                MAIN,
                with(None, rules(right.clone())),
                "@.restartPolicy: Required value: must specify restartPolicy when restart rules are used",
            ),
            (
                MAIN,
                with(Some("Never"), json!(vec![right; 21])),
                "@.restartPolicyRules: Too many: 21: must have at most 20 items",
            ),
            (
                MAIN,
                with(Some("Never"), rules(json!({"action": "Stop"}))),
                "@.restartPolicyRules[0].action: Unsupported value: \"Stop\": supported values: \"Restart\", \"RestartAllContainers\"; @.restartPolicyRules[0].exitCodes: Required value: must be specified",
            ),
            (
                MAIN,
                with(Some("Never"), rules(json!({"action": "Restart", "exitCodes": {"operator": "Is"}}))),
                "@.restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Is\": supported values: \"In\", \"NotIn\"",
            ),
        ],
    );
}

#[test]
fn variables_come_from_one_place_that_there_is() {
    let from = |source: Value| json!([{"name": "V", "valueFrom": source}]);
    let field = |path: &str| from(json!({"fieldRef": {"apiVersion": "v1", "fieldPath": path}}));
    let env = "/spec/containers/0/env";
    check(
        "spec.containers[0].env[0].valueFrom",
        vec![
            (env, field("status.podIP"), ""),
            (env, field("metadata.labels['a.b/c']"), ""),
            (
                env,
                field("status.phase"),
                "@.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
            ),
            (
                env,
                field("spec.image"),
                "@.fieldRef.fieldPath: Invalid value: \"spec.image\": error converting fieldPath: field label not supported: spec.image",
            ),
            (
                env,
                from(json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "3m"}})),
                "@.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource",
            ),
            (
                env,
                from(json!({"fileKeyRef": {"volumeName": "v", "path": "a/../b", "key": "K"}})),
                "@.fileKeyRef.path: Invalid value: \"a/../b\": must not contain '..'; @.fileKeyRef.volumeName: Not found: \"v\"",
            ),
        ],
    );
}

#[test]
fn mounts_and_devices_do_not_meet() {
    let claim = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
    let with = |volume: &Value, mounts: Value, devices: Value| {
        let mut spec = valid("Pod")["spec"].clone();
        spec["volumes"] = json!([volume]);
        spec["containers"][0]["volumeMounts"] = mounts;
        spec["containers"][0]["volumeDevices"] = devices;
        spec
    };
    let none = json!([]);
    let empty = json!({"name": "v", "emptyDir": {}});
    check(
        "spec.containers[0]",
        vec![
            ("/spec", with(&claim, none.clone(), json!([{"name": "v", "devicePath": "/dev/x"}])), ""),
            (
                "/spec",
                with(&empty, none.clone(), json!([{"name": "v", "devicePath": "/dev/x"}])),
                "@.volumeDevices[0].name: Invalid value: \"v\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            ),
            (
                "/spec",
                with(
                    &empty,
                    json!([{"name": "v", "mountPath": "/x", "mountPropagation": "Bidirectional"}]),
                    none.clone(),
                ),
                "@.volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
            ),
            (
                "/spec",
                with(&empty, json!([{"name": "v", "mountPath": "/x", "recursiveReadOnly": "Enabled"}]), none),
                "@.volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
            ),
        ],
    );
}

#[test]
fn every_source_of_a_volume_has_what_it_needs() {
    let volume = |source: Value| {
        let mut volume = json!({"name": "v"});
        volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        json!([volume])
    };
    let at = "/spec/volumes";
    let twice = json!({"sources": [{"secret": {"name": "a", "items": [{"key": "k", "path": "p"}]}},
        {"secret": {"name": "b", "items": [{"key": "k", "path": "p"}]}}]});
    check(
        "spec.volumes[0]",
        vec![
            (at, volume(json!({"nfs": {"server": "s", "path": "/p"}})), ""),
            (
                at,
                volume(json!({"nfs": {"server": "s", "path": "p"}})),
                "@.nfs.path: Invalid value: \"p\": must be an absolute path",
            ),
            (
                at,
                volume(json!({"iscsi": {"targetPortal": "p", "iqn": "iqn.2001-04.com.example:a", "lun": 0}})),
                "",
            ),
            (
                at,
                volume(json!({"iscsi": {"targetPortal": "p", "iqn": "eui.1", "lun": 256}})),
                "@.iscsi.iqn: Invalid value: \"eui.1\": must be valid format; @.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
            ),
            (
                at,
                volume(json!({"csi": {"driver": "a_b"}})),
                "@.csi.driver: Invalid value: \"a_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ),
            (
                at,
                volume(json!({"emptyDir": {}, "csi": {"driver": "d"}})),
                "@.csi: Forbidden: may not specify more than 1 volume type",
            ),
            (
                at,
                volume(json!({"projected": twice})),
                "@.projected: Invalid value: \"b\": conflicting duplicate paths",
            ),
            (
                at,
                volume(json!({"downwardAPI": {"items": [{"path": "../p"}]}})),
                "@.downwardAPI.path: Invalid value: \"../p\": must not contain '..'; @.downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
            ),
            (at, volume(json!({"ephemeral": {}})), "@.ephemeral.volumeClaimTemplate: Required value"),
        ],
    );
}

#[test]
fn users_profiles_and_systems_fit_together() {
    let container = "/spec/containers/0/securityContext";
    let own = "/spec/securityContext";
    check(
        "securityContext",
        vec![
            (container, json!({"windowsOptions": {"runAsUserName": "DOMAIN\\user"}}), ""),
            (
                container,
                json!({"windowsOptions": {"runAsUserName": "a\\b\\c"}}),
                "spec.containers[0].@.windowsOptions.runAsUserName: Invalid value: \"a\\\\b\\\\c\": runAsUserName cannot contain more than one backslash",
            ),
            (
                container,
                json!({"procMount": "Unmasked"}),
                "spec.containers[0].@.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
            ),
            (
                own,
                json!({"runAsUser": 2_147_483_648_u32}),
                "spec.@.runAsUser: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive",
            ),
            (
                own,
                json!({"appArmorProfile": {"type": "Localhost"}}),
                "spec.@.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost",
            ),
            (
                own,
                json!({"windowsOptions": {"hostProcess": true}}),
                "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
            ),
        ],
    );
    let mut spec = valid("Pod")["spec"].clone();
    spec["os"] = json!({"name": "windows"});
    spec["hostPID"] = json!(true);
    spec["containers"][0]["securityContext"] = json!({"privileged": true});
    let why = "Forbidden: cannot be set for a windows pod";
    assert_eq!(
        pod("/spec", spec),
        format!("spec.hostPID: {why}; spec.containers[0].securityContext.privileged: {why}")
    );
}

#[test]
fn names_places_and_gates_are_well_formed() {
    let spread = |more: Value| {
        let mut one = json!({"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"});
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([one])
    };
    check(
        "spec",
        vec![
            ("/spec/dnsConfig", json!({"searches": ["_a.b", "."]}), ""),
            (
                "/spec/dnsConfig",
                json!({"options": [{"value": "1"}]}),
                "@.dnsConfig.options[0]: Required value: must not be empty",
            ),
            (
                "/spec/schedulingGates",
                json!([{"name": "a"}, {"name": "a"}]),
                "@.schedulingGates[1]: Duplicate value: \"a\"",
            ),
            ("/spec/hostnameOverride", json!("a.b"), ""),
            ("/spec/resourceClaims", json!([{"name": "c", "resourceClaimName": "r"}]), ""),
            (
                "/spec/resourceClaims",
                json!([{"name": "c"}]),
                "@.resourceClaims[0]: Invalid value: {\"name\":\"c\"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            (
                "/spec/topologySpreadConstraints",
                spread(json!({"minDomains": 1})),
                "@.topologySpreadConstraints[0].minDomains: Invalid value: 1: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            ),
            (
                "/spec/topologySpreadConstraints",
                spread(json!({"matchLabelKeys": ["a"]})),
                "@.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
            ),
            (
                "/spec/containers/0/lifecycle",
                json!({"preStop": {"sleep": {"seconds": 31}}}),
                "@.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
            ),
            (
                "/spec/containers/0/resources",
                json!({"limits": {"hugepages-2Mi": "3Mi"}, "requests": {"hugepages-2Mi": "3Mi"}}),
                "@.containers[0].resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi; @.containers[0].resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi; @.containers[0].resources: Forbidden: HugePages require cpu or memory",
            ),
            (
                "/metadata/annotations",
                json!({"controller.kubernetes.io/pod-deletion-cost": "+1"}),
                "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer",
            ),
        ],
    );
}

#[test]
fn what_stood_before_may_stand() {
    let broken = changed(
        "Pod",
        "/spec/containers/0/resources",
        json!({"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"},
        "requests": {"hugepages-2Mi": "3Mi", "cpu": "1"}}),
    );
    let mut new = broken.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(shown(update(kind("Pod"), &new, &broken)), "");
    let old = valid("Pod");
    assert!(shown(update(kind("Pod"), &new, &old)).contains("is not positive integer multiple"));
}

#[test]
fn a_pod_that_waits_may_only_be_narrowed() {
    let mut old = changed("Pod", "/spec/schedulingGates", json!([{"name": "g"}]));
    old["spec"]["nodeSelector"] = json!({"a": "b"});
    let mut new = old.clone();
    new["spec"]["nodeSelector"]["c"] = json!("d");
    assert_eq!(shown(update(kind("Pod"), &new, &old)), "");
    new["spec"]["nodeSelector"] = json!({"c": "d"});
    let why = "spec.nodeSelector: Invalid value: {\"c\":\"d\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)";
    assert_eq!(shown(update(kind("Pod"), &new, &old)), why);
}
