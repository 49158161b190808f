//! Aspects of what a pod may use, be and say: limits, rights, names, ends, logs, images, the node.

use super::*;

pub(super) fn resources(cluster: &World) -> Result<()> {
    let limits =
        json!({"resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}});
    apply(cluster, &[pod("limits", json!({"containers": [with(sh(FOREVER), limits)]}))])?;
    let status = phase(cluster, "limits", "Running")?;
    ensure!(status["qosClass"] == "Burstable", "{status:#}");
    let id = status["containerStatuses"][0]["containerID"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    let pid = host_pid(&id)?;
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let read = |controller: &str, v1: &str, v2: &str| -> Result<String> {
        let v1_line = groups.lines().find(|line| {
            line.split(':').nth(1).is_some_and(|names| names.split(',').any(|n| n == controller))
        });
        let path = match v1_line {
            Some(line) => format!("/sys/fs/cgroup/{controller}{}/{v1}", line.splitn(3, ':').nth(2).unwrap()),
            None => format!(
                "/sys/fs/cgroup{}/{v2}",
                groups.lines().find_map(|line| line.strip_prefix("0::")).context("cgroup")?
            ),
        };
        Ok(std::fs::read_to_string(&path).with_context(|| path.clone())?.trim().to_owned())
    };
    ensure!(read("memory", "memory.limit_in_bytes", "memory.max")? == "67108864");
    let quota = read("cpu", "cpu.cfs_quota_us", "cpu.max")?;
    ensure!(quota == "50000" || quota == "50000 100000", "{quota}");
    Ok(())
}

/// The process of a container, by the marker that its host directory has in its mounts.
pub(super) fn host_pid(id: &str) -> Result<u32> {
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if groups.contains(id) {
            return Ok(pid);
        }
    }
    bail!("no process of container {id}")
}

pub(super) fn out_of_memory(cluster: &World) -> Result<()> {
    let limits = json!({"resources": {"limits": {"memory": "16Mi"}}});
    let eater = |name: &str, policy: &str| {
        pod(
            name,
            json!({"containers": [with(sh("echo eating; head -c 200m /dev/zero | tail; exit 5"), limits.clone())], "restartPolicy": policy}),
        )
    };
    let main = pod(
        "eater-main",
        json!({"containers": [with(json!({"command": ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]}), limits.clone())], "restartPolicy": "OnFailure"}),
    );
    apply(cluster, &[main, eater("eater", "Never")])?;
    let killed = |state: &Value| {
        state["terminated"]["reason"] == "OOMKilled" && state["terminated"]["exitCode"] == 137
    };
    let status = until(cluster, "eater-main", "a restart", |status| {
        status["containerStatuses"][0]["restartCount"].as_i64() >= Some(1)
    })?;
    ensure!(killed(&status["containerStatuses"][0]["lastState"]), "{status:#}");
    // a child was killed, the shell went on: upstream (cgroup v2 aside) still says so
    phase(cluster, "eater", "Failed").map(drop)
}

pub(super) fn rights(cluster: &World) -> Result<()> {
    let identity = "id -u; id -g; id -G; stat -c '%g %a' /d; cat /proc/self/status; touch /x; echo wrote $?; touch /d/f; stat -c %g /d/f; cat /s/s";
    let context = json!({"securityContext": {
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }, "volumeMounts": [{"name": "d", "mountPath": "/d"}, {"name": "s", "mountPath": "/s"}]});
    let adding = json!({"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}});
    apply(
        cluster,
        &[
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "rights"}, "stringData": {"s": "readable\n"}}),
            pod(
                "rights",
                json!({"containers": [with(sh(identity), context)], "restartPolicy": "Never",
            "securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "supplementalGroups": [4000]},
            "volumes": [{"name": "d", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "rights", "defaultMode": 0o400}}]}),
            ),
            pod(
                "adding",
                json!({"containers": [with(sh("cat /proc/self/status"), adding)], "restartPolicy": "Never"}),
            ),
            pod(
                "non-root",
                json!({"containers": [with(sh("true"), json!({"securityContext": {"runAsNonRoot": true}}))]}),
            ),
        ],
    )?;
    phase(cluster, "rights", "Succeeded")?;
    let text = log(cluster, "rights", "c0")?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(lines[0] == "1000" && lines[1] == "3000", "{text}");
    ensure!(
        ["3000", "2000", "4000"].iter().all(|group| lines[2].split(' ').any(|word| word == *group)),
        "{text}"
    );
    ensure!(lines[3] == "2000 2777", "{text}");
    for wanted in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "wrote 1",
        "\n2000\n",
        "readable",
    ] {
        ensure!(text.contains(wanted), "no {wanted:?} in {text}");
    }
    phase(cluster, "adding", "Succeeded")?;
    let text = log(cluster, "adding", "c0")?;
    ensure!(
        text.contains("CapEff:\t0000000000001000")
            && text.contains("Seccomp:\t0")
            && text.contains("NoNewPrivs:\t0"),
        "{text}"
    );
    status_column(cluster, "non-root", "CreateContainerConfigError")?;
    let message = field(cluster, "pod/non-root", "{.status.containerStatuses[0].state.waiting.message}")?;
    ensure!(
        message
            .starts_with("container has runAsNonRoot and image will run as root (pod: \"non-root_default("),
        "{message}"
    );
    ensure!(message.ends_with("container: c0)"), "{message}");
    Ok(())
}

pub(super) fn names_and_files(cluster: &World) -> Result<()> {
    let aliases = json!([{"ip": "1.2.3.4", "hostnames": ["far", "away"]}]);
    apply(
        cluster,
        &[pod(
            "named",
            json!({"containers": [sh(FOREVER)], "hostname": "own", "subdomain": "sub", "hostAliases": aliases, "dnsConfig": {"options": [{"name": "ndots", "value": "3"}]}}),
        )],
    )?;
    let status = phase(cluster, "named", "Running")?;
    let text = exec(cluster, "named", "hostname; cat /etc/hostname /etc/hosts")?;
    let ip = status["podIP"].as_str().unwrap();
    ensure!(text.starts_with("own\nown\n"), "{text}");
    ensure!(
        text.contains("# Kubernetes-managed hosts file.") && text.contains("1.2.3.4\tfar\taway"),
        "{text}"
    );
    ensure!(text.contains(&format!("{ip}\town.sub.default.svc.cluster.local\town")), "{text}");
    ensure!(exec(cluster, "named", "cat /etc/resolv.conf")?.contains("ndots:3"));
    Ok(())
}

pub(super) fn host_network(cluster: &World) -> Result<()> {
    apply(cluster, &[pod("on-host", json!({"containers": [sh(FOREVER)], "hostNetwork": true}))])?;
    let status = phase(cluster, "on-host", "Running")?;
    ensure!(status["podIP"] == status["hostIP"], "{status:#}");
    let inside = exec(cluster, "on-host", "hostname; cat /proc/net/dev")?;
    let interfaces = std::fs::read_to_string("/proc/net/dev")?;
    let own = interfaces.lines().nth(2).and_then(|line| line.split(':').next()).unwrap().trim().to_owned();
    ensure!(inside.contains(&own), "{inside}");
    Ok(())
}

pub(super) fn shared_processes(cluster: &World) -> Result<()> {
    let two = with(sh("exec sleep 4321"), json!({"name": "two"}));
    apply(
        cluster,
        &[
            pod("shared", json!({"containers": [sh(FOREVER), two.clone()], "shareProcessNamespace": true})),
            pod("apart", json!({"containers": [sh(FOREVER), two]})),
        ],
    )?;
    let seen = |pod: &str| -> Result<bool> {
        until(cluster, pod, "both", |status| {
            status["containerStatuses"].as_array().is_some_and(|list| list.iter().all(|s| s["ready"] == true))
        })?;
        Ok(cluster.kubectl(&["exec", pod, "-c", "c0", "--", "ps"])?.contains("sleep 4321"))
    };
    ensure!(seen("shared")?, "not shared");
    ensure!(!seen("apart")?, "shared without being asked");
    Ok(())
}

pub(super) fn termination_messages(cluster: &World) -> Result<()> {
    let spec = |container: Value| json!({"containers": [container], "restartPolicy": "Never"});
    let fallback = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    apply(
        cluster,
        &[
            pod(
                "last-words",
                spec(with(
                    sh("echo not this; printf 'last words' > /tmp/words"),
                    json!({"terminationMessagePath": "/tmp/words"}),
                )),
            ),
            pod("last-log", spec(with(sh("echo from the log; exit 1"), fallback.clone()))),
            pod("no-words", spec(with(sh("echo from the log"), fallback))),
        ],
    )?;
    let message = |pod: &str, end: &str| -> Result<Value> {
        Ok(phase(cluster, pod, end)?["containerStatuses"][0]["state"]["terminated"]["message"].take())
    };
    ensure!(message("last-words", "Succeeded")? == "last words");
    ensure!(message("last-log", "Failed")? == "from the log\n");
    ensure!(message("no-words", "Succeeded")?.is_null());
    Ok(())
}

pub(super) fn ephemeral_containers(cluster: &World) -> Result<()> {
    apply(cluster, &[pod("debugged", json!({"containers": [sh("exec sleep 8765")]}))])?;
    phase(cluster, "debugged", "Running")?;
    cluster.kubectl(&[
        "debug",
        "debugged",
        "--image=busybox",
        "--image-pull-policy=IfNotPresent",
        "--target=c0",
        "-c",
        "look",
        "--",
        "sh",
        "-c",
        "ps; echo looked",
    ])?;
    let ended =
        |status: &Value| status["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0;
    let status = until(cluster, "debugged", "the debugger's end", ended)?;
    let text = log(cluster, "debugged", "look")?;
    ensure!(text.contains("sleep 8765") && text.ends_with("looked\n"), "{text}");
    ensure!(
        status["phase"] == "Running" && status["containerStatuses"][0]["restartCount"] == 0,
        "{status:#}"
    );
    Ok(())
}

pub(super) fn deadline(cluster: &World) -> Result<()> {
    apply(cluster, &[pod("late-pod", json!({"containers": [sh(FOREVER)], "activeDeadlineSeconds": 20}))])?;
    let status = phase(cluster, "late-pod", "Failed")?;
    ensure!(
        status["reason"] == "DeadlineExceeded"
            && status["message"] == "Pod was active on the node longer than the specified deadline",
        "{status:#}"
    );
    event(
        cluster,
        "late-pod",
        "DeadlineExceeded",
        "Pod was active on the node longer than the specified deadline",
    )?;
    status_column(cluster, "late-pod", "DeadlineExceeded")
}

pub(super) fn logs(cluster: &World) -> Result<()> {
    let two = with(sh("echo second"), json!({"name": "two"}));
    apply(
        cluster,
        &[pod(
            "talker",
            json!({"containers": [sh("echo old; sleep 6; for i in 1 2 3; do echo line $i; done; echo wrong >&2"), two], "restartPolicy": "Never"}),
        )],
    )?;
    phase(cluster, "talker", "Succeeded")?;
    let logs = |arguments: &[&str]| cluster.kubectl(&[&["logs", "talker"], arguments].concat());
    let whole = logs(&["-c", "c0"])?;
    ensure!(whole == "old\nline 1\nline 2\nline 3\nwrong\n", "{whole:?}");
    ensure!(logs(&["-c", "c0", "--tail=2"])? == "line 3\nwrong\n");
    ensure!(logs(&["-c", "c0", "--limit-bytes=6"])? == "old\nli");
    let times = logs(&["-c", "c0", "--timestamps", "--tail=1"])?;
    let (stamp, rest) = times.split_once(' ').unwrap();
    ensure!(rest == "wrong\n" && stamp.parse::<Timestamp>().is_ok(), "{times}");
    let first: Timestamp = logs(&["-c", "c0", "--timestamps"])?.split(' ').next().unwrap().parse()?;
    let since = (first + jiff::SignedDuration::from_secs(2)).to_string();
    let recent = logs(&["-c", "c0", &format!("--since-time={since}")])?;
    ensure!(recent == "line 1\nline 2\nline 3\nwrong\n", "{recent:?}");
    ensure!(logs(&["-c", "c0", "--since=1h"])? == whole);
    let all = logs(&["--all-containers"])?;
    ensure!(all.contains("second\n") && all.contains("line 3\n"), "{all}");
    let prefixed = logs(&["--all-containers", "--prefix"])?;
    ensure!(prefixed.contains("[pod/talker/two] second"), "{prefixed}");
    let none = cluster.kubectl_command().args(["logs", "talker", "-c", "c0", "--previous"]).output()?;
    let words = String::from_utf8_lossy(&none.stderr).into_owned();
    ensure!(words.contains("previous terminated container \"c0\" in pod \"talker\" not found"), "{words}");
    Ok(())
}

pub(super) fn images(cluster: &World) -> Result<()> {
    let one = |name: &str, image: &str, policy: &str| {
        pod(
            name,
            json!({"containers": [with(sh("true"), json!({"image": image, "imagePullPolicy": policy}))]}),
        )
    };
    apply(
        cluster,
        &[
            one("no-image", "library/nothing:1", "IfNotPresent"),
            one("never-pull", "library/nothing:1", "Never"),
            one("bad-name", "Bad//Name", "IfNotPresent"),
        ],
    )?;
    event(
        cluster,
        "no-image",
        "Failed",
        "Failed to pull image \"library/nothing:1\": rpc error: code = NotFound desc = failed to pull and unpack image",
    )?;
    event(cluster, "no-image", "Failed", "Error: ErrImagePull")?;
    event(cluster, "no-image", "BackOff", "Back-off pulling image \"library/nothing:1\"")?;
    event(cluster, "no-image", "Failed", "Error: ImagePullBackOff")?;
    status_column(cluster, "no-image", "ImagePullBackOff")?;
    status_column(cluster, "never-pull", "ErrImageNeverPull")?;
    event(
        cluster,
        "never-pull",
        "ErrImageNeverPull",
        "Container image \"library/nothing:1\" is not present with pull policy of Never",
    )?;
    status_column(cluster, "bad-name", "InvalidImageName")?;
    let why = "Failed to apply default image tag \"Bad//Name\": couldn't parse image name \"Bad//Name\": invalid reference format: repository name (/Name) must be lowercase";
    event(cluster, "bad-name", "InspectFailed", why)?;
    event(cluster, "bad-name", "Failed", "Error: InvalidImageName")?;
    let waiting = cluster.kubectl_command().args(["logs", "no-image"]).output()?;
    let words = String::from_utf8_lossy(&waiting.stderr).into_owned();
    ensure!(
        words.contains(
            "container \"c0\" in pod \"no-image\" is waiting to start: trying and failing to pull image"
        ),
        "{words}"
    );
    Ok(())
}

pub(super) fn mirror_pods(cluster: &World) -> Result<()> {
    let node = cluster.kubectl(&["get", "node", "-o", "name"])?.trim().trim_start_matches("node/").to_owned();
    let name = format!("kube-scheduler-{node}");
    let in_system = |arguments: &[&str]| cluster.kubectl(&[&["-n", "kube-system"], arguments].concat());
    let described = in_system(&["describe", "pod", &name])?;
    ensure!(
        described.contains("Controlled By:")
            && described.contains(&format!("Node/{node}"))
            && described.contains("Priority Class Name:  system-node-critical"),
        "{described}"
    );
    let path = "jsonpath={.metadata.uid}";
    let before = in_system(&["get", "pod", &name, "-o", path])?;
    in_system(&["delete", "pod", &name, "--wait=false"])?;
    eventually("the mirror pod again", LIMIT, || {
        Ok(in_system(&["get", "pod", &name, "-o", path]).ok().filter(|uid| *uid != before).map(drop))
    })?;
    eventually("Running again", LIMIT, || {
        Ok(in_system(&["get", "pod", &name])
            .ok()
            .filter(|text| text.contains("1/1") && text.contains("Running"))
            .map(drop))
    })?;
    let refused =
        cluster.kubectl_command().args(["-n", "kube-system", "exec", &name, "--", "true"]).output()?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && words.contains("there is no container to enter"), "{words}");
    let since = in_system(&["logs", &name, "--since-time=2000-01-01T00:00:00Z"])?;
    ensure!(!since.is_empty());
    let future = in_system(&[
        "logs",
        &name,
        &format!("--since-time={}", Timestamp::now() + jiff::SignedDuration::from_hours(1)),
    ])?;
    ensure!(future.is_empty(), "{future}");
    Ok(())
}

pub(super) fn node(cluster: &World) -> Result<()> {
    let list: Value = serde_json::from_str(&cluster.kubectl(&["get", "nodes", "-o", "json"])?)?;
    let status = &list["items"][0]["status"];
    let cpus = std::thread::available_parallelism()?.to_string();
    ensure!(status["capacity"]["cpu"] == cpus && status["capacity"]["pods"] == "110", "{status:#}");
    let total = std::fs::read_to_string("/proc/meminfo")?;
    let total = total.lines().next().unwrap().split_whitespace().nth(1).unwrap().to_owned();
    ensure!(status["capacity"]["memory"] == format!("{total}Ki"), "{status:#}");
    let is = |kind: &str, wanted: &str| {
        status["conditions"].as_array().unwrap().iter().any(|c| c["type"] == kind && c["status"] == wanted)
    };
    ensure!(
        is("Ready", "True")
            && is("DiskPressure", "False")
            && is("MemoryPressure", "False")
            && is("PIDPressure", "False"),
        "{status:#}"
    );
    let name = list["items"][0]["metadata"]["name"].as_str().unwrap();
    let renewed = || -> Result<Timestamp> {
        Ok(cluster
            .kubectl(&["get", "lease", "-n", "kube-node-lease", name, "-o", "jsonpath={.spec.renewTime}"])?
            .parse()?)
    };
    let first = renewed()?;
    let second = eventually("a renewal of the lease", Duration::from_secs(15), || {
        Ok(Some(renewed()?).filter(|at| *at != first))
    })?;
    let pause = second.duration_since(first).as_secs();
    ensure!((9..=12).contains(&pause), "renewed after {pause} s");
    eventually("images in the node's status", LIMIT, || {
        let names = cluster.kubectl(&["get", "node", name, "-o", "jsonpath={.status.images[*].names}"])?;
        Ok(names.contains("busybox").then_some(()))
    })
}
