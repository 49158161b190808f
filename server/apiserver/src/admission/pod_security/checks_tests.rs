//! Each check by a table: metadata and spec in, `reason (detail)` out.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

/// What check `id` says as of `1.minor`; `-` for a check that does not exist yet.
fn verdict(id: &str, minor: u32, pod: &Value) -> String {
    let row = CHECKS.iter().find(|row| row.id == id).unwrap();
    let Some(check) = row.at(Version::Minor(minor)) else { return "-".into() };
    check(PodView::of(pod)).map_or(String::new(), |violation| details(&[violation]))
}

#[track_caller]
fn spec(id: &str, minor: u32, spec: Value, want: &str) {
    assert_eq!(verdict(id, minor, &json!({"spec": spec})), want);
}

/// One container `c` with this security context.
#[track_caller]
fn context(id: &str, minor: u32, security: Value, want: &str) {
    spec(id, minor, json!({"containers": [{"name": "c", "securityContext": security}]}), want);
}

#[track_caller]
fn annotations(id: &str, minor: u32, annotations: Value, want: &str) {
    let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "c"}]}});
    assert_eq!(verdict(id, minor, &pod), want);
}

#[test]
fn checks_are_told_in_upstreams_order() {
    let mut sorted: Vec<(bool, &str)> =
        CHECKS.iter().map(|row| (row.level == Level::Restricted, row.id)).collect();
    let is = sorted.clone();
    sorted.sort();
    assert_eq!(is, sorted);
    assert!(CHECKS.iter().all(|row| row.since.is_sorted_by_key(|(since, _)| *since)));
}

#[test]
fn host_namespaces() {
    let id = "hostNamespaces";
    spec(id, 0, json!({"hostNetwork": false}), "");
    spec(
        id,
        0,
        json!({"hostNetwork": true, "hostIPC": true, "hostPID": true}),
        "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)",
    );
}

#[test]
fn host_path_volumes() {
    let id = "hostPathVolumes";
    spec(id, 0, json!({"volumes": [{"name": "a", "emptyDir": {}}]}), "");
    let two = json!({"volumes": [{"name": "a", "hostPath": {}}, {"name": "b", "hostPath": {"path": "/"}}]});
    spec(id, 0, two, "hostPath volumes (volumes \"a\", \"b\")");
    spec(id, 0, json!({"volumes": [{"name": "a", "hostPath": {}}]}), "hostPath volumes (volume \"a\")");
}

#[test]
fn host_ports() {
    let id = "hostPorts";
    spec(id, 0, json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 0}]}]}), "");
    let one = json!({"containers": [{"name": "c", "ports": [{"hostPort": 80}]}]});
    spec(id, 0, one, "hostPort (container \"c\" uses hostPort 80)");
    let many = json!({
        "initContainers": [{"name": "i", "ports": [{"hostPort": 9}]}],
        "containers": [{"name": "c", "ports": [{"hostPort": 10}, {"hostPort": 9}]}],
    });
    spec(id, 0, many, "hostPort (containers \"i\", \"c\" use hostPorts 10, 9)");
}

#[test]
fn hosts_of_probes_and_hooks() {
    let id = "hostProbesAndHostLifecycle";
    let probe = json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "8.8.8.8"}}}]});
    spec(id, 33, probe.clone(), "-");
    spec(id, 34, probe, "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"8.8.8.8\")");
    spec(id, 34, json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"port": 1}}}]}), "");
    let hooks = json!({"containers": [
        {"name": "b", "lifecycle": {"preStop": {"tcpSocket": {"host": "x"}}}},
        {"name": "a", "startupProbe": {"tcpSocket": {"host": "y"}}},
    ]});
    spec(
        id,
        34,
        hooks,
        "probe or lifecycle host (containers \"a\", \"b\" use probe or lifecycle hosts \"x\", \"y\")",
    );
}

#[test]
fn host_process() {
    let id = "windowsHostProcess";
    let set = json!({"windowsOptions": {"hostProcess": true}});
    context(id, 0, json!({"windowsOptions": {"hostProcess": false}}), "");
    let both = json!({"securityContext": set, "containers": [{"name": "c", "securityContext": set}]});
    spec(
        id,
        0,
        both,
        "hostProcess (pod and container \"c\" must not set securityContext.windowsOptions.hostProcess=true)",
    );
}

#[test]
fn privileged() {
    let id = "privileged";
    context(id, 0, json!({"privileged": false}), "");
    let want = "privileged (container \"c\" must not set securityContext.privileged=true)";
    context(id, 0, json!({"privileged": true}), want);
    let ephemeral = json!({"ephemeralContainers": [{"name": "c", "securityContext": {"privileged": true}}]});
    spec(id, 0, ephemeral, want);
}

#[test]
fn capabilities() {
    let id = "capabilities_baseline";
    context(id, 0, json!({"capabilities": {"add": ["CHOWN", "KILL"]}}), "");
    context(
        id,
        0,
        json!({"capabilities": {"add": ["SYS_ADMIN", "NET_RAW", "CHOWN"]}}),
        "non-default capabilities (container \"c\" must not include \"NET_RAW\", \"SYS_ADMIN\" in securityContext.capabilities.add)",
    );
    let id = "capabilities_restricted";
    context(id, 21, json!({}), "-");
    context(id, 22, json!({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}), "");
    context(
        id,
        22,
        json!({"capabilities": {"drop": ["KILL"], "add": ["CHOWN"]}}),
        "unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]; \
         container \"c\" must not include \"CHOWN\" in securityContext.capabilities.add)",
    );
    let windows = json!({"os": {"name": "windows"}, "containers": [{"name": "c"}]});
    spec(
        id,
        24,
        windows.clone(),
        "unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"])",
    );
    spec(id, 25, windows, "");
}

#[test]
fn app_armor() {
    let id = "appArmorProfile";
    context(id, 0, json!({"appArmorProfile": {"type": "RuntimeDefault"}}), "");
    let key = "container.apparmor.security.beta.kubernetes.io/c";
    for fine in ["", "runtime/default", "localhost/mine"] {
        annotations(id, 0, json!({key: fine}), "");
    }
    context(
        id,
        0,
        json!({"appArmorProfile": {"type": "Unconfined"}}),
        "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")",
    );
    annotations(
        id,
        0,
        json!({key: "unconfined"}),
        "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
         \"container.apparmor.security.beta.kubernetes.io/c=\"unconfined\"\")",
    );
    let both = json!({
        "metadata": {"annotations": {key: "x"}}, "spec": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
    });
    assert_eq!(
        verdict(id, 0, &both),
        "forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to \
         \"Unconfined\", \"container.apparmor.security.beta.kubernetes.io/c=\"x\"\")"
    );
}

#[test]
fn selinux() {
    let id = "seLinuxOptions";
    context(id, 0, json!({"seLinuxOptions": {"type": "container_kvm_t", "level": "x"}}), "");
    context(
        id,
        30,
        json!({"seLinuxOptions": {"type": "container_engine_t"}}),
        "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"container_engine_t\")",
    );
    context(id, 31, json!({"seLinuxOptions": {"type": "container_engine_t"}}), "");
    spec(
        id,
        0,
        json!({
            "securityContext": {"seLinuxOptions": {"type": "foo", "user": "u"}},
            "containers": [{"name": "c", "securityContext": {"seLinuxOptions": {"type": "bar", "role": "r"}}}],
        }),
        "seLinuxOptions (pod and container \"c\" set forbidden securityContext.seLinuxOptions: \
         types \"bar\", \"foo\"; user may not be set; role may not be set)",
    );
}

#[test]
fn proc_mount() {
    let want = "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")";
    context("procMount", 0, json!({"procMount": "Default"}), "");
    context("procMount", 0, json!({"procMount": "Unmasked"}), want);
    let own = json!({"hostUsers": false, "containers": [{"name": "c", "securityContext": {"procMount": "Unmasked"}}]});
    spec("procMount", 34, own.clone(), want);
    spec("procMount", 35, own.clone(), "");
    spec("procMount_restricted", 34, own.clone(), "-");
    spec("procMount_restricted", 35, own, want);
}

#[test]
fn seccomp() {
    let id = "seccompProfile_baseline";
    let key = "container.seccomp.security.alpha.kubernetes.io/c";
    annotations(id, 18, json!({key: "docker/default"}), "");
    annotations(
        id,
        18,
        json!({key: "unconfined", "seccomp.security.alpha.kubernetes.io/pod": "x"}),
        "seccompProfile (forbidden annotations container.seccomp.security.alpha.kubernetes.io/c=\"unconfined\", \
         seccomp.security.alpha.kubernetes.io/pod=\"x\")",
    );
    annotations(id, 19, json!({key: "unconfined"}), "");
    let unconfined = json!({"seccompProfile": {"type": "Unconfined"}});
    let want =
        "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")";
    context(id, 19, json!({}), "");
    context(id, 19, unconfined.clone(), want);
    let id = "seccompProfile_restricted";
    context(id, 18, json!({}), "-");
    context(id, 19, unconfined, want);
    context(id, 19, json!({"seccompProfile": {"type": "Localhost"}}), "");
    let silent = json!({"containers": [{"name": "c"}, {"name": "d"}]});
    let want = "seccompProfile (pod or containers \"c\", \"d\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    spec(id, 19, silent, want);
    let by_pod = json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}, "containers": [{"name": "c"}]});
    spec(id, 19, by_pod, "");
    spec(id, 25, json!({"os": {"name": "windows"}, "containers": [{"name": "c"}]}), "");
}

#[test]
fn sysctls() {
    let id = "sysctls";
    let with = |names: &[&str]| json!({"securityContext": {"sysctls": names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>()}});
    for (name, since) in [
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_rmem", 32),
    ] {
        spec(id, since - 1, with(&[name]), &format!("forbidden sysctls ({name})"));
        spec(id, since, with(&[name, "kernel.shm_rmid_forced"]), "");
    }
    spec(id, 36, with(&["kernel.b", "kernel.a"]), "forbidden sysctls (kernel.b, kernel.a)");
}

#[test]
fn escalation() {
    let id = "allowPrivilegeEscalation";
    context(id, 7, json!({}), "-");
    context(id, 8, json!({"allowPrivilegeEscalation": false}), "");
    let want = "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false)";
    context(id, 8, json!({}), want);
    context(id, 8, json!({"allowPrivilegeEscalation": true}), want);
    let windows = json!({"os": {"name": "windows"}, "containers": [{"name": "c"}]});
    spec(id, 24, windows.clone(), want);
    spec(id, 25, windows, "");
}

#[test]
fn volumes() {
    let id = "restrictedVolumes";
    spec(id, 0, json!({"volumes": [{"name": "a", "image": {}}, {"name": "b", "csi": {}}]}), "");
    spec(
        id,
        0,
        json!({"volumes": [{"name": "a", "nfs": {}}, {"name": "b", "hostPath": {}}, {"name": "c", "secret": {}}]}),
        "restricted volume types (volumes \"a\", \"b\" use restricted volume types \"hostPath\", \"nfs\")",
    );
    spec(
        id,
        0,
        json!({"volumes": [{"name": "a"}]}),
        "restricted volume types (volume \"a\" uses restricted volume type \"unknown\")",
    );
}

#[test]
fn non_root() {
    let id = "runAsNonRoot";
    let container = |value: Value| json!({"name": "c", "securityContext": value});
    spec(id, 0, json!({"securityContext": {"runAsNonRoot": true}, "containers": [container(json!({}))]}), "");
    context(id, 0, json!({"runAsNonRoot": true}), "");
    context(
        id,
        0,
        json!({}),
        "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)",
    );
    spec(
        id,
        0,
        json!({"securityContext": {"runAsNonRoot": false}, "containers": [container(json!({"runAsNonRoot": false}))]}),
        "runAsNonRoot != true (pod and container \"c\" must not set securityContext.runAsNonRoot=false)",
    );
    let own = json!({"hostUsers": false, "containers": [container(json!({"runAsNonRoot": false}))]});
    spec(
        id,
        34,
        own.clone(),
        "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false)",
    );
    spec(id, 35, own, "");
}

#[test]
fn user() {
    let id = "runAsUser";
    context(id, 22, json!({"runAsUser": 0}), "-");
    context(id, 23, json!({}), "");
    context(id, 23, json!({"runAsUser": 1}), "");
    context(id, 23, json!({"runAsUser": 0}), "runAsUser=0 (container \"c\" must not set runAsUser=0)");
    let own = json!({"hostUsers": false, "securityContext": {"runAsUser": 0}});
    spec(id, 34, own.clone(), "runAsUser=0 (pod must not set runAsUser=0)");
    spec(id, 35, own, "");
}

#[test]
fn stricter_checks_replace_those_of_the_baseline() {
    let ids = |level, version| {
        let pod = json!({"hostUsers": false, "spec": {
            "volumes": [{"name": "a", "hostPath": {}}],
            "containers": [{"name": "c", "securityContext": {
                "capabilities": {"add": ["SYS_ADMIN"]}, "procMount": "Unmasked", "seccompProfile": {"type": "Unconfined"},
            }}],
        }});
        reasons(&violations(Standard { level, version }, PodView::of(&pod)))
    };
    assert_eq!(ids(Level::Privileged, Version::Latest), "");
    assert_eq!(
        ids(Level::Baseline, Version::Latest),
        "non-default capabilities, hostPath volumes, procMount, seccompProfile"
    );
    assert_eq!(
        ids(Level::Restricted, Version::Minor(18)),
        "non-default capabilities, procMount, allowPrivilegeEscalation != false, restricted volume types, runAsNonRoot != true"
    );
    let newest = "allowPrivilegeEscalation != false, unrestricted capabilities, procMount, restricted volume types, \
                  runAsNonRoot != true, seccompProfile";
    assert_eq!(ids(Level::Restricted, Version::Latest), newest);
    assert_eq!(ids(Level::Restricted, Version::Minor(99)), newest);
}
