//! What pods got in the last releases: rules of restarts, variables out of files, groups, handlers.

use anyhow::{Result, ensure};
use sampan_test_e2e::{eventually, field};
use serde_json::{Value, json};

use super::{FOREVER, LIMIT, World, event, get, pod, sh, text, until, with};

fn status<'a>(of: &'a Value, list: &str, name: &str) -> &'a Value {
    let found = of[list].as_array().into_iter().flatten().find(|one| one["name"] == name);
    found.unwrap_or(&Value::Null)
}

pub(super) fn restart_rules(world: &World) -> Result<()> {
    let rule = |action: &str| json!([{"action": action, "exitCodes": {"operator": "In", "values": [42]}}]);
    let ruled = |script: &str, action: &str| {
        with(
            sh(script),
            json!({"restartPolicy": "Never", "restartPolicyRules": rule(action), "volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
        )
    };
    let once = "if [ -e /v/once ]; then sleep 1000; fi; touch /v/once; exit 42";
    let volumes = json!([{"name": "v", "emptyDir": {}}]);
    let spec = json!({"restartPolicy": "Never", "volumes": volumes, "containers": [ruled(once, "Restart")]});
    let all = json!({"restartPolicy": "Never", "volumes": volumes, "initContainers": [with(sh("true"), json!({"name": "init"}))],
        "containers": [ruled(once, "RestartAllContainers"), with(sh(FOREVER), json!({"name": "other"}))]});
    super::apply(world, &[pod("ruled", spec), pod("all-anew", all)])?;
    let again = |status: &Value| status["containerStatuses"][0]["restartCount"] == 1;
    until(world, "ruled", "started again by its rule", again)?;
    let anew = until(world, "all-anew", "started anew", |of| {
        ["c0", "other"].iter().all(|name| {
            let of = status(of, "containerStatuses", name);
            of["restartCount"] == 1 && of["state"]["running"].is_object()
        })
    })?;
    ensure!(status(&anew, "initContainerStatuses", "init")["restartCount"] == 1, "{anew:#}");
    let ended = &status(&anew, "containerStatuses", "other")["lastState"]["terminated"];
    ensure!(ended["reason"] == "RestartingAllContainers" && ended["exitCode"] == 137, "{anew:#}");
    ensure!(anew["conditions"].to_string().contains("AllContainersRestarting"), "{anew:#}");
    Ok(())
}

pub(super) fn variables_of_files(world: &World) -> Result<()> {
    let mount = json!({"volumeMounts": [{"name": "f", "mountPath": "/f"}]});
    let write =
        with(sh("printf \"A='one'\\nB='two\\nlines'\\n\" > /f/env; ln -s /etc/passwd /f/link"), mount);
    let write = with(write, json!({"name": "writer"}));
    let variable = |path: &str, key: &str, optional: bool| json!({"name": key, "valueFrom": {"fileKeyRef": {"volumeName": "f", "path": path, "key": key, "optional": optional}}});
    let reads = |env: Value| {
        json!({"restartPolicy": "Never", "volumes": [{"name": "f", "emptyDir": {}}], "initContainers": [write],
            "containers": [with(sh("echo $A:$B:${C-unset}"), json!({"env": env}))]})
    };
    let good =
        reads(json!([variable("env", "A", false), variable("env", "B", false), variable("env", "C", true)]));
    let missing = reads(json!([variable("env", "C", false)]));
    let astray = reads(json!([variable("link", "root", false)]));
    super::apply(
        world,
        &[pod("file-env", good), pod("file-env-missing", missing), pod("file-env-astray", astray)],
    )?;
    until(world, "file-env", "done", |status| status["phase"] == "Succeeded")?;
    let told = world.kubectl(&["logs", "file-env"])?;
    ensure!(told.trim() == "one:two lines:unset", "{told}");
    for (name, why) in [
        ("file-env-missing", "environment variable key \"C\" not found in file"),
        ("file-env-astray", "couldn't parse env file"),
    ] {
        let waits = until(world, name, "waiting", |status| {
            status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        })?;
        let message = text(&waits["containerStatuses"][0]["state"]["waiting"]["message"]);
        ensure!(message.starts_with(why), "{name}: {message}");
    }
    Ok(())
}

pub(super) fn groups(world: &World) -> Result<()> {
    let spec = |policy: Value| {
        let context =
            json!({"runAsUser": 0, "supplementalGroups": [60000], "supplementalGroupsPolicy": policy});
        json!({"securityContext": context, "containers": [sh(&format!("id -G; {FOREVER}"))]})
    };
    super::apply(
        world,
        &[pod("groups-strict", spec(json!("Strict"))), pod("groups-merged", spec(json!("Merge")))],
    )?;
    for name in ["groups-strict", "groups-merged"] {
        let status = until(world, name, "running", |status| status["phase"] == "Running")?;
        let user = &status["containerStatuses"][0]["user"]["linux"];
        let groups: Vec<String> =
            user["supplementalGroups"].as_array().into_iter().flatten().map(Value::to_string).collect();
        let told = eventually("its groups", LIMIT, || {
            let told = world.kubectl(&["logs", name])?;
            Ok((!told.is_empty()).then_some(told))
        })?;
        ensure!(user["uid"] == 0 && groups.contains(&"60000".to_owned()), "{name}: {user}");
        ensure!(told.split_whitespace().eq(groups.iter().map(String::as_str)), "{name}: {told} {groups:?}");
    }
    let node = field(world.cluster, "nodes", "{.items[0].status.features.supplementalGroupsPolicy}")?;
    ensure!(node == "true", "{node}");
    Ok(())
}

pub(super) fn handlers(world: &World) -> Result<()> {
    let class = |name: &str, handler: &str| json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": handler});
    super::apply(world, &[class("known", "runc"), class("unknown", "kata")])?;
    let spec = |class: &str| json!({"runtimeClassName": class, "containers": [sh(FOREVER)]});
    let own_users = json!({"hostUsers": false, "containers": [sh(FOREVER)]});
    super::apply(
        world,
        &[
            pod("handler-known", spec("known")),
            pod("handler-unknown", spec("unknown")),
            pod("own-users", own_users),
        ],
    )?;
    until(world, "handler-known", "running", |status| status["phase"] == "Running")?;
    let why =
        "Failed to create pod sandbox: failed to get sandbox runtime: no runtime for \"kata\" is configured";
    event(world, "handler-unknown", "FailedCreatePodSandBox", why)?;
    ensure!(get(world, "handler-unknown")?["status"]["phase"] == "Pending");
    let why = "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces";
    event(world, "own-users", "FailedCreatePodSandBox", why)?;
    Ok(())
}
