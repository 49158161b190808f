//! Pods in all their aspects, checked with kubectl on one cluster: every aspect has pods of its own, all run
//! side by side.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use sampan_test_e2e::{cluster, eventually, field, registry};
use sampan_testkit::Cluster;
use serde_json::{Value, json};

#[path = "pods/beta.rs"]
mod beta;
#[path = "pods/evicted.rs"]
mod evicted;
#[path = "pods/limits.rs"]
mod limits;
#[path = "pods/refused.rs"]
mod refused;
#[path = "pods/volumes.rs"]
mod volumes;
use limits::*;
use refused::refused_on_the_node;
use volumes::*;

type Aspect = fn(&World) -> Result<()>;

const ASPECTS: &[(&str, Aspect)] = &[
    ("crash loop", crash_loop),
    ("init containers and sidecars", init_containers),
    ("failing init containers", failing_init),
    ("restart policies", restart_policies),
    ("liveness", liveness),
    ("startup and readiness", startup_and_readiness),
    ("network probes", network_probes),
    ("hooks", hooks),
    ("grace", grace),
    ("environment", environment),
    ("empty directories", empty_directories),
    ("host paths", host_paths),
    ("image volumes", image_volumes),
    ("shown objects", shown_objects),
    ("late objects", late_objects),
    ("tokens", tokens),
    ("resources", resources),
    ("out of memory", out_of_memory),
    ("rights", rights),
    ("names and files", names_and_files),
    ("host network", host_network),
    ("shared processes", shared_processes),
    ("termination messages", termination_messages),
    ("ephemeral containers", ephemeral_containers),
    ("deadline", deadline),
    ("logs", logs),
    ("images", images),
    ("mirror pods", mirror_pods),
    ("node", node),
    ("refused on the node", refused_on_the_node),
    ("restart rules", beta::restart_rules),
    ("variables of files", beta::variables_of_files),
    ("groups", beta::groups),
    ("handlers", beta::handlers),
    ("limits of the disk", evicted::limits_of_the_disk),
    ("critical pods", evicted::critical_pods),
    ("collected logs", evicted::collected_logs),
];

#[test]
fn pods() -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    let world = World { cluster: &cluster, seen: Mutex::default(), changed: Condvar::new() };
    let mut watches = [
        kubectl(&cluster, &["get", "pods", "--watch", "-o", "json"])?,
        kubectl(&cluster, &["get", "pods", "--watch", "--no-headers"])?,
        kubectl(&cluster, &["get", "events", "--watch", "-o", "json"])?,
    ];
    let [pods, rows, events] = watches.each_mut().map(|watch| watch.stdout.take().unwrap());
    let only = std::env::var("ASPECT").unwrap_or_default();
    let complaints: Vec<String> = std::thread::scope(|scope| {
        scope.spawn(|| world.read_pods(pods));
        scope.spawn(|| world.read_rows(rows));
        scope.spawn(|| world.read_events(events));
        let run = |(name, aspect): &(&'static str, Aspect)| {
            let (name, aspect, world) = (*name, *aspect, &world);
            scope.spawn(move || {
                let began = Instant::now();
                let result = aspect(world);
                println!("{name}: {:.1} s", began.elapsed().as_secs_f32());
                result.err().map(|error| format!("{name}: {error:#}"))
            })
        };
        let threads: Vec<_> = ASPECTS.iter().filter(|(name, _)| name.contains(&only)).map(run).collect();
        let complaints = threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
        for watch in &mut watches {
            watch.kill().unwrap();
            watch.wait().unwrap();
        }
        complaints
    });
    ensure!(complaints.is_empty(), "{}\n{}", complaints.join("\n"), cluster.sampan(&["logs", "kubelet"])?);
    nothing_is_left(&cluster)
}

/// The cluster, and what three watching kubectls have said about it: a hundred that ask again and again would
/// be what the machine is busy with.
struct World<'a> {
    cluster: &'a Cluster,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    /// All states of each pod, by name.
    pods: HashMap<String, Vec<Value>>,
    /// All contents of the STATUS column, by pod.
    columns: HashMap<String, Vec<String>>,
    /// Pod, reason and message.
    events: Vec<[String; 3]>,
}

impl std::ops::Deref for World<'_> {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

impl World<'_> {
    fn read_pods(&self, stream: ChildStdout) {
        for pod in serde_json::Deserializer::from_reader(stream).into_iter::<Value>().map_while(Result::ok) {
            let name = text(&pod["metadata"]["name"]);
            self.seen.lock().unwrap().pods.entry(name).or_default().push(pod);
            self.changed.notify_all();
        }
    }

    fn read_rows(&self, stream: ChildStdout) {
        for row in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut words = row.split_whitespace();
            let (name, status) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
            self.seen.lock().unwrap().columns.entry(name.to_owned()).or_default().push(status.to_owned());
            self.changed.notify_all();
        }
    }

    fn read_events(&self, stream: ChildStdout) {
        for event in serde_json::Deserializer::from_reader(stream).into_iter::<Value>().map_while(Result::ok)
        {
            let event =
                [text(&event["involvedObject"]["name"]), text(&event["reason"]), text(&event["message"])];
            self.seen.lock().unwrap().events.push(event);
            self.changed.notify_all();
        }
    }

    /// Waits until `find` finds something in what was seen.
    fn wait<T>(&self, find: impl Fn(&Seen) -> Option<T>) -> Option<T> {
        let late = Instant::now() + LIMIT;
        let mut seen = self.seen.lock().unwrap();
        loop {
            if let Some(found) = find(&seen) {
                return Some(found);
            }
            let left = late.checked_duration_since(Instant::now())?;
            seen = self.changed.wait_timeout(seen, left).unwrap().0;
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> Result<Child> {
    Ok(cluster.kubectl_command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)
}

/// Everything deleted: no mount and no directory of a pod stays.
fn nothing_is_left(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["delete", "pods", "--all", "--grace-period=1", "--timeout=60s"])?;
    eventually("no directories of pods", Duration::from_secs(10), || {
        let left = std::fs::read_dir(cluster.data_directory().join("kubelet/pods"))?.count();
        let logs = std::fs::read_dir(cluster.data_directory().join("pods-logs"))?.count();
        Ok((left == 0 && logs == 0).then_some(()))
    })?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let own = cluster.data_directory().display().to_string();
    let left: Vec<&str> =
        mounts.lines().filter(|line| line.contains(&own) && line.contains("/kubelet/pods/")).collect();
    ensure!(left.is_empty(), "mounts left: {left:#?}");
    Ok(())
}

const LIMIT: Duration = Duration::from_secs(45);

fn apply(cluster: &Cluster, objects: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let mut child = cluster
        .kubectl_command()
        .args(["create", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().unwrap().write_all(list.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A pod of busybox containers; whatever the containers leave out gets a default.
fn pod(name: &str, mut spec: Value) -> Value {
    for list in ["initContainers", "containers"] {
        for (index, container) in spec[list].as_array_mut().into_iter().flatten().enumerate() {
            let defaults = [
                ("image", json!("busybox")),
                ("imagePullPolicy", json!("IfNotPresent")),
                ("name", json!(format!("c{index}"))),
            ];
            for (key, value) in defaults {
                container.as_object_mut().unwrap().entry(key).or_insert(value);
            }
        }
    }
    let spec_map = spec.as_object_mut().unwrap();
    spec_map.retain(|_, value| !value.is_null());
    spec_map.entry("terminationGracePeriodSeconds").or_insert(json!(1));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}, "annotations": {"note": "first"}}, "spec": spec})
}

fn sh(script: &str) -> Value {
    json!({"command": ["sh", "-c", script]})
}

fn with(mut container: Value, more: Value) -> Value {
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    container
}

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 1 & wait; done";

fn get(cluster: &Cluster, pod: &str) -> Result<Value> {
    Ok(serde_json::from_str(&cluster.kubectl(&["get", "pod", pod, "-o", "json"])?)?)
}

/// Waits until the pod is as `fits` wants it: now, or at some time from now on.
fn until(cluster: &World, pod: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
    let known = cluster.seen.lock().unwrap().pods.get(pod).map_or(0, Vec::len);
    let fitting = |seen: &Seen| {
        let states = seen.pods.get(pod)?;
        states[known.saturating_sub(1)..]
            .iter()
            .map(|state| &state["status"])
            .find(|status| fits(status))
            .cloned()
    };
    cluster.wait(fitting).with_context(|| {
        let seen = cluster.seen.lock().unwrap();
        format!(
            "{pod}: not {what}: {:#}",
            seen.pods.get(pod).and_then(|all| all.last()).map_or(&Value::Null, |last| &last["status"])
        )
    })
}

fn phase(cluster: &World, pod: &str, wanted: &str) -> Result<Value> {
    until(cluster, pod, wanted, |status| status["phase"] == wanted)
}

/// Waits for an event of the pod with this reason whose text contains `text`.
fn event(cluster: &World, pod: &str, reason: &str, text: &str) -> Result<()> {
    let fits = |[about, why, message]: &[String; 3]| about == pod && why == reason && message.contains(text);
    cluster.wait(|seen| seen.events.iter().any(fits).then_some(())).with_context(|| {
        let seen = cluster.seen.lock().unwrap();
        let own: Vec<_> = seen.events.iter().filter(|event| event[0] == pod).collect();
        format!("no event {reason} {text:?}: {own:#?}")
    })
}

/// Waits until `kubectl get pods` has shown this status.
fn status_column(cluster: &World, pod: &str, wanted: &str) -> Result<()> {
    let shown = |seen: &Seen| seen.columns.get(pod)?.iter().any(|status| status == wanted).then_some(());
    cluster.wait(shown).with_context(|| {
        format!("{pod} never showed {wanted}: {:?}", cluster.seen.lock().unwrap().columns.get(pod))
    })
}

fn log(cluster: &Cluster, pod: &str, container: &str) -> Result<String> {
    cluster.kubectl(&["logs", pod, "-c", container])
}

fn exec(cluster: &Cluster, pod: &str, script: &str) -> Result<String> {
    cluster.kubectl(&["exec", pod, "--", "sh", "-c", script])
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_default().parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

fn crash_loop(cluster: &World) -> Result<()> {
    apply(cluster, &[pod("crash", json!({"containers": [sh("echo run; exit 3")]}))])?;
    let waiting = |text: &'static str| {
        move |status: &Value| {
            let wait = &status["containerStatuses"][0]["state"]["waiting"];
            wait["reason"] == "CrashLoopBackOff"
                && wait["message"].as_str().unwrap_or_default().contains(text)
        }
    };
    let first = until(
        cluster,
        "crash",
        "10 s",
        waiting("back-off 10s restarting failed container=c0 pod=crash_default("),
    )?;
    // the first restart is at once
    ensure!(first["containerStatuses"][0]["restartCount"] == 1, "{first:#}");
    ensure!(first["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3, "{first:#}");
    status_column(cluster, "crash", "CrashLoopBackOff")?;
    event(cluster, "crash", "BackOff", "Back-off restarting failed container c0 in pod crash_default(")?;
    ensure!(cluster.kubectl(&["logs", "crash", "--previous"])? == "run\n");
    let second = until(cluster, "crash", "20 s", waiting("back-off 20s restarting failed container=c0"))?;
    ensure!(second["containerStatuses"][0]["restartCount"] == 2, "{second:#}");
    let ended = time(&first["containerStatuses"][0]["lastState"]["terminated"]["finishedAt"]);
    let again = time(&second["containerStatuses"][0]["lastState"]["terminated"]["startedAt"]);
    let pause = again.duration_since(ended).as_secs();
    ensure!((9..=12).contains(&pause), "restarted after {pause} s");
    Ok(())
}

fn init_containers(cluster: &World) -> Result<()> {
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let side = with(
        sh(
            "echo side >> /v/f; trap 'echo side ends >> /v/f; cat /v/f; exit 0' TERM; while :; do sleep 1 & wait; done",
        ),
        mounts.clone(),
    );
    let side = with(
        side,
        json!({"name": "side", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["grep", "-q", "side", "/v/f"]}, "periodSeconds": 1}}),
    );
    let init = vec![
        with(sh("echo one >> /v/f"), mounts.clone()),
        side,
        with(sh("echo two >> /v/f"), with(mounts.clone(), json!({"name": "two"}))),
    ];
    let main = with(
        sh("echo main >> /v/f; cat /v/f; sleep 1; echo main ends >> /v/f"),
        with(mounts, json!({"name": "main"})),
    );
    let spec = json!({"initContainers": init, "containers": [main], "restartPolicy": "Never", "terminationGracePeriodSeconds": 10, "volumes": [{"name": "v", "emptyDir": {}}]});
    apply(cluster, &[pod("inits", spec)])?;
    let status = phase(cluster, "inits", "Succeeded")?;
    ensure!(log(cluster, "inits", "main")? == "one\nside\ntwo\nmain\n");
    let said = log(cluster, "inits", "side")?;
    ensure!(said == "one\nside\ntwo\nmain\nmain ends\nside ends\n", "{said:?}");
    let statuses = status["initContainerStatuses"].as_array().unwrap();
    ensure!(
        statuses.iter().all(|s| s["state"]["terminated"]["exitCode"] == 0 && s["restartCount"] == 0),
        "{status:#}"
    );
    status_column(cluster, "inits", "Completed")
}

fn failing_init(cluster: &World) -> Result<()> {
    let spec = |policy: &str| json!({"initContainers": [with(sh("echo no; exit 4"), json!({"name": "first"}))], "containers": [sh("true")], "restartPolicy": policy});
    apply(cluster, &[pod("init-never", spec("Never")), pod("init-always", spec("Always"))])?;
    let status = phase(cluster, "init-never", "Failed")?;
    ensure!(status["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing", "{status:#}");
    status_column(cluster, "init-never", "Init:Error")?;
    status_column(cluster, "init-always", "Init:CrashLoopBackOff")?;
    let status = get(cluster, "init-always")?["status"].take();
    ensure!(
        status["phase"] == "Pending" && status["initContainerStatuses"][0]["restartCount"] == 1,
        "{status:#}"
    );
    let initialized =
        status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Initialized").unwrap().clone();
    ensure!(
        initialized["reason"] == "ContainersNotInitialized"
            && initialized["message"] == "containers with incomplete status: [first]",
        "{initialized}"
    );
    Ok(())
}

fn restart_policies(cluster: &World) -> Result<()> {
    let spec = |policy: &str, code: u8| json!({"containers": [sh(&format!("exit {code}"))], "restartPolicy": policy});
    let pods = [
        pod("always", spec("Always", 0)),
        pod("fine", spec("OnFailure", 0)),
        pod("onfailure", spec("OnFailure", 1)),
        pod("never", spec("Never", 7)),
    ];
    apply(cluster, &pods)?;
    let restarted = |status: &Value| status["containerStatuses"][0]["restartCount"].as_i64() >= Some(1);
    let status = until(cluster, "always", "a restart", restarted)?;
    ensure!(status["containerStatuses"][0]["lastState"]["terminated"]["reason"] == "Completed", "{status:#}");
    until(cluster, "onfailure", "a restart", restarted)?;
    let status = phase(cluster, "fine", "Succeeded")?;
    ensure!(status["containerStatuses"][0]["restartCount"] == 0, "{status:#}");
    let status = phase(cluster, "never", "Failed")?;
    let ended = &status["containerStatuses"][0]["state"]["terminated"];
    ensure!(ended["exitCode"] == 7 && ended["reason"] == "Error", "{status:#}");
    status_column(cluster, "never", "Error")
}

fn liveness(cluster: &World) -> Result<()> {
    let probe = json!({"livenessProbe": {"exec": {"command": ["sh", "-c", "echo so dead; exit 1"]}, "periodSeconds": 1, "failureThreshold": 2}});
    apply(cluster, &[pod("sick", json!({"containers": [with(sh(FOREVER), probe)]}))])?;
    until(cluster, "sick", "a restart", |status| {
        status["containerStatuses"][0]["restartCount"].as_i64() >= Some(1)
    })?;
    event(cluster, "sick", "Unhealthy", "Liveness probe failed: so dead")?;
    event(cluster, "sick", "Killing", "Container c0 failed liveness probe, will be restarted")
}

fn startup_and_readiness(cluster: &World) -> Result<()> {
    // A busy machine takes more than the default second for a command: a probe that timed out would
    // restart the container, and that is not what is looked at here.
    let probes = json!({
        "startupProbe": {"exec": {"command": ["test", "-f", "/tmp/up"]}, "periodSeconds": 1, "timeoutSeconds": 20, "failureThreshold": 60},
        "livenessProbe": {"exec": {"command": ["test", "-f", "/tmp/up"]}, "periodSeconds": 1, "timeoutSeconds": 20, "failureThreshold": 1},
        "readinessProbe": {"exec": {"command": ["test", "-f", "/tmp/ready"]}, "periodSeconds": 1, "timeoutSeconds": 20, "failureThreshold": 1},
    });
    apply(cluster, &[pod("gates", json!({"containers": [with(sh(FOREVER), probes)]}))])?;
    let status = phase(cluster, "gates", "Running")?;
    ensure!(status["containerStatuses"][0]["started"] == false, "{status:#}");
    exec(cluster, "gates", "touch /tmp/up")?;
    let ready = |wanted: bool| {
        move |status: &Value| {
            status["containerStatuses"][0]["ready"] == wanted
                && status["containerStatuses"][0]["started"] == true
        }
    };
    until(cluster, "gates", "started, not ready", ready(false))?;
    exec(cluster, "gates", "touch /tmp/ready")?;
    until(cluster, "gates", "ready", ready(true))?;
    exec(cluster, "gates", "rm /tmp/ready")?;
    let status = until(cluster, "gates", "not ready", ready(false))?;
    let condition =
        status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap().clone();
    ensure!(
        condition["status"] == "False" && condition["message"] == "containers with unready status: [c0]",
        "{condition}"
    );
    ensure!(status["containerStatuses"][0]["restartCount"] == 0, "{status:#}");
    event(cluster, "gates", "Unhealthy", "Readiness probe failed: ")
}

fn network_probes(cluster: &World) -> Result<()> {
    let web = json!({"image": "nginx:alpine", "ports": [{"name": "web", "containerPort": 80}]});
    let get = json!({"readinessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1}, "livenessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1}});
    let lost = json!({"readinessProbe": {"httpGet": {"path": "/nowhere", "port": 80}, "periodSeconds": 1}});
    let shut = json!({"readinessProbe": {"tcpSocket": {"port": 81}, "periodSeconds": 1}});
    let no_grpc = json!({"readinessProbe": {"grpc": {"port": 81}, "periodSeconds": 1}});
    let one = |name: &str, probe: Value| pod(name, json!({"containers": [with(web.clone(), probe)]}));
    apply(
        cluster,
        &[one("web-ok", get), one("web-lost", lost), one("web-shut", shut), one("web-grpc", no_grpc)],
    )?;
    until(cluster, "web-ok", "ready", |status| status["containerStatuses"][0]["ready"] == true)?;
    event(
        cluster,
        "web-lost",
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 404",
    )?;
    event(cluster, "web-shut", "Unhealthy", "connect: connection refused")?;
    event(cluster, "web-grpc", "Unhealthy", "Readiness probe failed: timeout: failed to connect service")
}

fn hooks(cluster: &World) -> Result<()> {
    let directory = cluster.directory().join("hooks");
    let volume = json!([{"name": "v", "hostPath": {"path": directory, "type": "DirectoryOrCreate"}}]);
    let script = "trap 'echo term >> /v/f; exit 0' TERM; while :; do sleep 1 & wait; done";
    let lifecycle = json!({"postStart": {"exec": {"command": ["sh", "-c", "echo post >> /v/f"]}}, "preStop": {"exec": {"command": ["sh", "-c", "echo pre >> /v/f; sleep 1; echo pre ends >> /v/f"]}}});
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}], "lifecycle": lifecycle});
    let sleeper = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 2}}}});
    let broken = json!({"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "exit 9"]}}}});
    apply(
        cluster,
        &[
            pod(
                "hooked",
                json!({"containers": [with(sh(script), mounts)], "volumes": volume, "terminationGracePeriodSeconds": 20}),
            ),
            pod(
                "sleeper",
                json!({"containers": [with(sh(FOREVER), sleeper)], "terminationGracePeriodSeconds": 20}),
            ),
            pod("unhooked", json!({"containers": [with(sh(FOREVER), broken)]})),
        ],
    )?;
    phase(cluster, "hooked", "Running")?;
    cluster.kubectl(&["delete", "pod", "hooked"])?;
    let said = std::fs::read_to_string(directory.join("f"))?;
    ensure!(said == "post\npre\npre ends\nterm\n", "{said:?}");
    phase(cluster, "sleeper", "Running")?;
    let began = Instant::now();
    cluster.kubectl(&["delete", "pod", "sleeper"])?;
    let took = began.elapsed().as_secs_f32();
    ensure!((2.0..8.0).contains(&took), "preStop sleep took {took} s");
    event(cluster, "unhooked", "FailedPostStartHook", "PostStartHook failed")?;
    until(cluster, "unhooked", "a restart", |status| {
        status["containerStatuses"][0]["restartCount"].as_i64() >= Some(1)
    })
    .map(drop)
}

fn grace(cluster: &World) -> Result<()> {
    let stubborn = sh("trap '' TERM; while :; do sleep 1; done");
    apply(
        cluster,
        &[pod("stubborn", json!({"containers": [stubborn], "terminationGracePeriodSeconds": 3}))],
    )?;
    phase(cluster, "stubborn", "Running")?;
    cluster.kubectl(&["delete", "pod", "stubborn"])?;
    // the deletion's time is when the grace period ends
    let killed = |seen: &Seen| {
        seen.pods["stubborn"].iter().find_map(|pod| {
            let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            (ended["exitCode"] == 137).then(|| {
                time(&ended["finishedAt"]).duration_since(time(&pod["metadata"]["deletionTimestamp"]))
            })
        })
    };
    let late = cluster.wait(killed).context("not killed")?.as_secs();
    ensure!((-1..=2).contains(&late), "killed {late} s after the grace period");
    Ok(())
}

fn environment(cluster: &World) -> Result<()> {
    let env = json!([
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}},
        {"name": "FROM_MAP", "valueFrom": {"configMapKeyRef": {"name": "env-map", "key": "k"}}},
        {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "env-secret", "key": "k"}}},
        {"name": "NOT_THERE", "valueFrom": {"secretKeyRef": {"name": "env-secret", "key": "x", "optional": true}}},
        {"name": "JOINED", "value": "$(NAME)-$(P_k) $$(NAME) $(UNKNOWN)"},
    ]);
    let container = json!({
        "command": ["sh", "-c", "env; echo arg $0", "$(FROM_MAP)"], "env": env,
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "env-map"}}, {"secretRef": {"name": "missing", "optional": true}}],
        "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "10m", "memory": "32Mi"}},
    });
    apply(
        cluster,
        &[
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "env-map"}, "data": {"k": "map-value"}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "env-secret"}, "stringData": {"k": "secret-value"}}),
            pod("env", json!({"containers": [container], "restartPolicy": "Never"})),
        ],
    )?;
    let status = phase(cluster, "env", "Succeeded")?;
    let text = log(cluster, "env", "c0")?;
    let variables: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let node = field(cluster, "pod/env", "{.spec.nodeName}")?;
    let api = field(cluster, "service/kubernetes", "{.spec.clusterIP}")?;
    for (name, value) in [
        ("NAME", "env"),
        ("NODE", &node),
        ("IP", status["podIP"].as_str().unwrap_or_default()),
        ("LABEL", "env"),
        ("CPU", "2"),
        ("MEMORY", "32"),
        ("FROM_MAP", "map-value"),
        ("FROM_SECRET", "secret-value"),
        ("P_k", "map-value"),
        ("JOINED", "env-map-value $(NAME) $(UNKNOWN)"),
        ("KUBERNETES_SERVICE_HOST", &api),
        ("KUBERNETES_SERVICE_PORT", "443"),
        ("HOSTNAME", "env"),
    ] {
        ensure!(variables.get(name) == Some(&value), "{name}: {:?}, not {value:?}", variables.get(name));
    }
    ensure!(!variables.contains_key("NOT_THERE") && text.contains("arg map-value"), "{text}");
    Ok(())
}

fn shown_objects(cluster: &World) -> Result<()> {
    let volumes = json!([
        {"name": "map", "configMap": {"name": "shown", "defaultMode": 0o640}},
        {"name": "item", "configMap": {"name": "shown", "items": [{"key": "a", "path": "deep/a.txt", "mode": 0o400}]}},
        {"name": "secret", "secret": {"secretName": "shown", "defaultMode": 0o400}},
        {"name": "none", "configMap": {"name": "nowhere", "optional": true}},
        {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}, {"path": "notes", "fieldRef": {"fieldPath": "metadata.annotations"}}]}},
        {"name": "all", "projected": {"sources": [{"configMap": {"name": "shown"}}, {"secret": {"name": "shown", "items": [{"key": "s", "path": "from-secret"}]}}]}},
    ]);
    let names = ["map", "item", "secret", "none", "down", "all"];
    let mut mounts: Vec<Value> =
        names.iter().map(|name| json!({"name": name, "mountPath": format!("/{name}")})).collect();
    mounts.push(json!({"name": "map", "mountPath": "/only-a", "subPath": "a"}));
    apply(
        cluster,
        &[
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shown"}, "data": {"a": "one", "b": "two"}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shown"}, "stringData": {"s": "hidden"}}),
            pod(
                "shown",
                json!({"containers": [with(sh(FOREVER), json!({"volumeMounts": mounts}))], "volumes": volumes}),
            ),
        ],
    )?;
    phase(cluster, "shown", "Running")?;
    let text = exec(
        cluster,
        "shown",
        "cat /map/a /map/b /item/deep/a.txt /secret/s /only-a /all/a /all/from-secret; ls /none; stat -L -c ' %a' /map/a /item/deep/a.txt /secret/s; cat /down/labels",
    )?;
    ensure!(
        text == "onetwoonehiddenoneonehidden 640\n 400\n 400\napp=\"shown\"\n"
            || text == "onetwoonehiddenoneonehidden 640\n 400\n 400\napp=\"shown\"",
        "{text:?}"
    );
    ensure!(exec(cluster, "shown", "(echo x > /map/a) 2>&1; true")?.contains("Read-only"));
    cluster.kubectl(&["patch", "configmap", "shown", "-p", r#"{"data":{"a":"changed"}}"#])?;
    cluster.kubectl(&["annotate", "pod", "shown", "note=second", "--overwrite"])?;
    let began = Instant::now();
    eventually("the change in the volume", Duration::from_secs(10), || {
        let text = exec(cluster, "shown", "cat /map/a /all/a /item/deep/a.txt /down/notes; readlink /map/a")?;
        Ok((text.starts_with("changedchangedchanged")
            && text.contains("note=\"second\"")
            && text.ends_with("..data/a\n"))
        .then_some(()))
    })?;
    ensure!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    ensure!(exec(cluster, "shown", "cat /only-a")? == "one", "a subPath does not follow");
    Ok(())
}

fn late_objects(cluster: &World) -> Result<()> {
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let env = |kind: &str, name: &str, key: &str| json!({"env": [{"name": "X", "valueFrom": {kind: {"name": name, "key": key}}}]});
    let one = |name: &str, container: Value| pod(name, json!({"containers": [with(sh(FOREVER), container)]}));
    apply(
        cluster,
        &[
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "poor"}, "stringData": {"a": "b"}}),
            pod(
                "late",
                json!({"containers": [with(sh(FOREVER), mounts)], "volumes": [{"name": "v", "configMap": {"name": "late"}}]}),
            ),
            one("no-key", env("secretKeyRef", "poor", "k")),
            one("no-map", env("configMapKeyRef", "no-map", "k")),
        ],
    )?;
    event(
        cluster,
        "late",
        "FailedMount",
        "MountVolume.SetUp failed for volume \"v\" : configmap \"late\" not found",
    )?;
    status_column(cluster, "late", "ContainerCreating")?;
    status_column(cluster, "no-key", "CreateContainerConfigError")?;
    let message = |pod: &str| {
        field(cluster, &format!("pod/{pod}"), "{.status.containerStatuses[0].state.waiting.message}")
    };
    ensure!(message("no-key")? == "couldn't find key k in Secret default/poor", "{}", message("no-key")?);
    event(cluster, "no-key", "Failed", "Error: couldn't find key k in Secret default/poor")?;
    status_column(cluster, "no-map", "CreateContainerConfigError")?;
    ensure!(message("no-map")? == "configmap \"no-map\" not found", "{}", message("no-map")?);
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}});
    apply(cluster, &[map("late"), map("no-map")])?;
    phase(cluster, "late", "Running")?;
    phase(cluster, "no-map", "Running").map(drop)
}

fn tokens(cluster: &World) -> Result<()> {
    let volume = json!([{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "someone", "expirationSeconds": 900}}]}}]);
    let mounts = json!({"volumeMounts": [{"name": "t", "mountPath": "/t"}]});
    apply(cluster, &[pod("token", json!({"containers": [with(sh(FOREVER), mounts)], "volumes": volume}))])?;
    phase(cluster, "token", "Running")?;
    let directory = "/var/run/secrets/kubernetes.io/serviceaccount";
    let text = exec(
        cluster,
        "token",
        &format!(
            "cat {directory}/namespace; echo; head -1 {directory}/ca.crt; cat {directory}/token; echo; cat /t/t"
        ),
    )?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(lines[0] == "default" && lines[1] == "-----BEGIN CERTIFICATE-----", "{text}");
    let claims = |token: &str| -> Result<Value> {
        let part = token.split('.').nth(1).context("a JWT")?;
        Ok(serde_json::from_slice(&base64(part))?)
    };
    let own = claims(lines[2])?;
    ensure!(
        own["sub"] == "system:serviceaccount:default:default"
            && own["kubernetes.io"]["pod"]["name"] == "token",
        "{own:#}"
    );
    let other = claims(lines[3])?;
    ensure!(
        other["aud"] == json!(["someone"])
            && other["exp"].as_i64().unwrap() - other["iat"].as_i64().unwrap() == 900,
        "{other:#}"
    );
    let output = cluster
        .kubectl_command()
        .args(["--token", lines[2], "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])
        .output()?;
    ensure!(!output.stdout.is_empty(), "{output:?}");
    Ok(())
}

/// base64url without padding.
fn base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' | b'+' => 62,
        _ => 63,
    };
    let bits = text.bytes().filter(|byte| *byte != b'=').fold(
        (Vec::new(), 0_u32, 0),
        |(mut out, bits, count), byte| {
            let (bits, count) = (bits << 6 | u32::from(value(byte)), count + 6);
            if count < 8 {
                return (out, bits, count);
            }
            out.push((bits >> (count - 8)) as u8);
            (out, bits & ((1 << (count - 8)) - 1), count - 8)
        },
    );
    bits.0
}
