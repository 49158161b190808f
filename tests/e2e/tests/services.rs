//! Services by address and by name, from pods and from the host, as curl, dig, kubectl and a Python client see them; and
//! claims on volumes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sampan_test_e2e::{apply, cluster, eventually, fetch, field, ready, registry};
use sampan_testkit::Cluster;

#[path = "services/node_port.rs"]
mod node_port;
use node_port::node_port;

const SOON: Duration = Duration::from_secs(20);
/// As long as a claim waits before it looks for room again, and some more.
const ROOM: Duration = Duration::from_secs(90);
const ECHO: &str = include_str!("services/echo.py");
const ASK: &str = include_str!("services/ask.py");
const LOOK: &str = include_str!("services/look.py");

/// A name of its own, in the Service `heads`, and a line in its hosts file.
const NAMED: &str =
    " hostname: named, subdomain: heads, hostAliases: [{ip: 10.1.2.3, hostnames: [foo.remote]}],";

/// The Python that has the client, and the directories of this machine that it lives in.
fn python() -> Result<(PathBuf, Vec<PathBuf>)> {
    let tools =
        PathBuf::from(std::env::var("SAMPAN_TEST_TOOLS").context("SAMPAN_TEST_TOOLS: run `make test`")?);
    let program = tools.canonicalize()?.join("venv/bin/python");
    let said = Command::new(&program).args(["-c", "import sys; print(sys.base_prefix)"]).output()?;
    let home = PathBuf::from(String::from_utf8(said.stdout)?.trim());
    let mut places: Vec<PathBuf> = ["/usr", "/lib", "/lib64"].map(PathBuf::from).to_vec();
    let more = [home, tools.canonicalize()?.join("venv")];
    places.extend(more.into_iter().filter(|place| !place.starts_with("/usr")));
    places.retain(|place| place.exists());
    Ok((program, places))
}

/// A small disk.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path, options: &str) -> Result<Self> {
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(options))?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// A pod of busybox that sees this machine's programs, with `command` as its work.
/// `more` is more of its spec, each with a comma behind it.
fn pod(name: &str, account: &str, more: &str, places: &[PathBuf], command: &[&str]) -> String {
    let volume = |(index, place): (usize, &PathBuf)| {
        format!("{{name: v{index}, hostPath: {{path: {}}}}}", place.display())
    };
    let mount = |(index, place): (usize, &PathBuf)| {
        format!("{{name: v{index}, mountPath: {}, readOnly: true}}", place.display())
    };
    let volumes: Vec<String> = places.iter().enumerate().map(volume).collect();
    let mounts: Vec<String> = places.iter().enumerate().map(mount).collect();
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}, heads: \"yes\"}}}}, spec: {{serviceAccountName: {account}, \
         terminationGracePeriodSeconds: 1,{more} volumes: [{}], containers: [{{name: main, image: busybox, command: {}, volumeMounts: [{}]}}]}}}}",
        volumes.join(", "),
        serde_json::json!(command),
        mounts.join(", ")
    )
}

/// What a shell in the pod `tools` says.
fn inside(cluster: &Cluster, script: &str) -> Result<String> {
    cluster.kubectl(&["exec", "tools", "--", "sh", "-c", script])
}

/// Asks in the pod until the answer has `wanted` in it.
fn says(cluster: &Cluster, script: &str, wanted: &str) -> Result<()> {
    let mut last = String::new();
    let said = eventually(script, SOON, || {
        last = inside(cluster, script).unwrap_or_else(|error| format!("{error:#}"));
        Ok(last.contains(wanted).then_some(()))
    });
    said.with_context(|| format!("wanted {wanted:?}, the last answer was {last:?}"))
}

fn build(cluster: &Cluster) -> Result<()> {
    let (python, places) = python()?;
    let python = python.display().to_string();
    apply(cluster, include_str!("services/world.yaml"))?;
    apply(cluster, &pod("tools", "looker", NAMED, &places, &["sleep", "1000000"]))?;
    apply(cluster, &pod("echo", "default", "", &places, &[&python, "-c", ECHO]))?;
    cluster.kubectl(&["rollout", "status", "deployment/api", "--timeout=60s"])?;
    ready(cluster, "tools")?;
    ready(cluster, "own-dns")?;
    ready(cluster, "echo")
}

/// The cluster's address of a service.
fn address(cluster: &Cluster, service: &str) -> Result<String> {
    field(cluster, &format!("service/{service}"), "{.spec.clusterIP}")
}

fn addresses(cluster: &Cluster) -> Result<()> {
    let (python, _) = python()?;
    says(cluster, &format!("curl -sS -m 3 http://{}", address(cluster, "api")?), "api-")?;
    let quoted = ASK.replace('\'', "'\\''");
    let echo = address(cluster, "echo")?;
    let script = format!("printf '%s' '{quoted}' > /tmp/ask.py && {} /tmp/ask.py {echo}", python.display());
    says(cluster, &script, "tcp one\nudp two")?;
    // nobody is behind it: refused (curl 7), not a timeout (28)
    says(cluster, &format!("curl -sS -m 10 http://{} 2>&1 || true", address(cluster, "nobody")?), "curl: (7)")
}

/// The cluster's names, as a resolver with a search path and as dig see them.
fn names(cluster: &Cluster) -> Result<()> {
    let (python, _) = python()?;
    for host in ["api", "api.default", "api.default.svc.cluster.local", "elsewhere"] {
        says(cluster, &format!("curl -sS -m 3 http://{host} 2>&1 || true"), "api-")?;
    }
    says(cluster, &format!("{} /tmp/ask.py echo", python.display()), "tcp one\nudp two")?;
    let (api, kubernetes) = (address(cluster, "api")?, address(cluster, "kubernetes")?);
    for (question, answer) in [
        ("/usr/bin/nslookup kubernetes.default", kubernetes.as_str()),
        ("busybox nslookup kubernetes.default.svc.cluster.local", &kubernetes),
        ("dig +search +short kubernetes.default", &kubernetes),
        ("dig +tcp +short api.default.svc.cluster.local", &api),
        ("dig +short _http._tcp.api.default.svc.cluster.local SRV", "80 api.default.svc.cluster.local."),
        (&format!("dig +short -x {api}"), "api.default.svc.cluster.local."),
        ("dig +short elsewhere.default.svc.cluster.local CNAME", "api.default.svc.cluster.local."),
        ("dig no-such.default.svc.cluster.local", "NXDOMAIN"),
        ("dig +short named.heads.default.svc.cluster.local", "10."),
        ("hostname -f", "named.heads.default.svc.cluster.local"),
        ("cat /etc/hosts", "foo.remote"),
        ("cat /etc/resolv.conf", "options ndots:5"),
    ] {
        says(cluster, question, answer)?;
    }
    let ips = field(cluster, "pods", "{.items[?(@.metadata.labels.app==\"api\")].status.podIP}")?;
    ips.split_whitespace()
        .try_for_each(|ip| says(cluster, "dig +short heads.default.svc.cluster.local", ip))?;
    let own = "search corp.example\nnameserver 192.0.2.53\noptions ndots:2";
    ensure!(cluster.kubectl(&["exec", "own-dns", "--", "cat", "/etc/resolv.conf"])?.contains(own));
    Ok(())
}

/// A claim that waits for its pod, data that outlives the pod, a volume that grows, and goes with the claim.
fn storage(cluster: &Cluster) -> Result<()> {
    let keep = || {
        apply(cluster, include_str!("services/keeper.yaml"))?;
        ready(cluster, "keeper")?;
        cluster.kubectl(&["exec", "keeper", "--", "cat", "/data/lines"])
    };
    apply(cluster, include_str!("services/claim.yaml"))?;
    eventually("the claim waits", SOON, || {
        let said = cluster.kubectl(&["describe", "pvc", "data"])?;
        Ok(said.contains("WaitForFirstConsumer").then_some(()))
    })?;
    ensure!(field(cluster, "pvc/data", "{.status.phase}")? == "Pending");
    let first = keep()?;
    ensure!(field(cluster, "pvc/data", "{.status.phase}")? == "Bound");
    cluster.kubectl(&["delete", "pod", "keeper"])?;
    let second = keep()?;
    ensure!(second.starts_with(&first) && second.lines().count() == 2, "{first:?} then {second:?}");
    // of the pod's group
    let listed = cluster.kubectl(&["exec", "keeper", "--", "ls", "-ln", "/data/lines"])?;
    ensure!(listed.contains(" 1234 "), "{listed}");
    let larger = r#"{"spec": {"resources": {"requests": {"storage": "32Mi"}}}}"#;
    cluster.kubectl(&["patch", "pvc", "data", "-p", larger])?;
    eventually("the claim has grown", SOON, || {
        Ok((field(cluster, "pvc/data", "{.status.capacity.storage}")? == "32Mi").then_some(()))
    })?;
    let volume = field(cluster, "pvc/data", "{.spec.volumeName}")?;
    let path = PathBuf::from(field(cluster, &format!("pv/{volume}"), "{.spec.local.path}")?);
    ensure!(path.join("lines").exists(), "{}", path.display());
    cluster.kubectl(&["delete", "pvc", "data", "--wait=false"])?;
    ensure!(field(cluster, "pvc/data", "{.status.phase}")? == "Bound", "in use: protected");
    cluster.kubectl(&["delete", "pod", "keeper"])?;
    eventually("the volume is reclaimed", SOON, || {
        let left = cluster.kubectl(&["get", "pv,pvc", "-A", "-o", "name"])?;
        Ok((!left.contains(&volume) && !left.contains("claim/data") && !path.exists()).then_some(()))
    })
}

/// A disk that a pod fills: the pod is told, claims wait with a reason, and go on when there is room again.
fn full_volume(cluster: &Cluster) -> Result<()> {
    let disk = cluster.directory().join("disk");
    std::fs::create_dir_all(&disk)?;
    let mounted = Mounted::new(&disk, "size=8m")?;
    let path = format!("path={}", disk.display());
    cluster.sampan(&["addons", "configure", "storage", "--set", &path])?;
    apply(cluster, include_str!("services/filler.yaml"))?;
    ready(cluster, "filler")?;
    let fill = "dd if=/dev/zero of=/data/all bs=1M 2>&1; true";
    let said = cluster.kubectl(&["exec", "filler", "--", "sh", "-c", fill])?;
    ensure!(said.contains("No space left on device"), "{said}");
    apply(cluster, include_str!("services/waits.yaml"))?;
    eventually("the claim is told", SOON, || {
        let said = cluster.kubectl(&["describe", "pvc", "more"])?;
        Ok((said.contains("ProvisioningFailed") && said.contains("free")).then_some(()))
    })?;
    let listed = cluster.sampan(&["addons", "list"])?;
    let line = listed.lines().find(|line| line.contains("storage")).context("storage is not listed")?;
    ensure!(line.contains("degraded"), "{line}");
    cluster.kubectl(&["exec", "filler", "--", "rm", "/data/all"])?;
    eventually("there is room again", ROOM, || {
        Ok((field(cluster, "pvc/more", "{.status.phase}")? == "Bound").then_some(()))
    })?;
    ready(cluster, "waits")?;
    cluster.kubectl(&["delete", "pod/filler", "pod/waits", "pvc/small", "pvc/more"])?;
    eventually("the volumes are gone", SOON, || {
        Ok(std::fs::read_dir(&disk)?.next().is_none().then_some(()))
    })?;
    cluster.sampan(&["addons", "configure", "storage", "--unset", "path"])?;
    drop(mounted);
    Ok(())
}

/// Whoever answers in so many requests.
fn answers(cluster: &Cluster, host: &str, requests: usize) -> Result<BTreeSet<String>> {
    let address = address(cluster, host)?;
    let script = format!("for i in $(seq {requests}); do curl -sS -m 3 http://{address} || true; done");
    Ok(inside(cluster, &script)?.lines().map(str::to_owned).collect())
}

fn spreading(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["scale", "deployment/api", "--replicas=5"])?;
    cluster.kubectl(&["rollout", "status", "deployment/api", "--timeout=60s"])?;
    eventually("all five answer", SOON, || Ok((answers(cluster, "api", 60)?.len() == 5).then_some(())))?;
    let sticky = answers(cluster, "sticky", 20)?;
    ensure!(sticky.len() == 1, "affinity: {sticky:?}");
    cluster.kubectl(&["scale", "deployment/api", "--replicas=2"])?;
    cluster.kubectl(&["rollout", "status", "deployment/api", "--timeout=60s"])?;
    eventually("two answer", SOON, || Ok((answers(cluster, "api", 30)?.len() == 2).then_some(())))
}

fn from_the_host(cluster: &Cluster) -> Result<()> {
    let node = field(cluster, "nodes", "{.items[0].status.addresses[?(@.type==\"InternalIP\")].address}")?;
    let port = field(cluster, "service/node", "{.spec.ports[0].nodePort}")?;
    let balanced = eventually("an address of the load balancer", SOON, || {
        let ip = field(cluster, "service/balanced", "{.status.loadBalancer.ingress[0].ip}")?;
        Ok((!ip.is_empty()).then_some(ip))
    })?;
    let address = field(cluster, "service/api", "{.spec.clusterIP}")?;
    for target in [
        format!("{node}:{port}"),
        format!("127.0.0.1:{port}"),
        format!("{balanced}:8088"),
        format!("{address}:80"),
    ] {
        eventually(&target, SOON, || Ok(fetch(&target).ok().filter(|text| text.contains("api-"))))?;
    }
    Ok(())
}

/// The Python client with the mounted token, at the address that every pod is told, and by name.
fn the_api_from_a_pod(cluster: &Cluster) -> Result<()> {
    let (python, _) = python()?;
    for host in [address(cluster, "kubernetes")?, "kubernetes.default.svc".to_owned()] {
        let script = format!(
            "printf '%s' '{}' > /tmp/look.py && KUBERNETES_SERVICE_HOST={host} {} /tmp/look.py",
            LOOK.replace('\'', "'\\''"),
            python.display()
        );
        let said = inside(cluster, &script)?;
        for line in [format!("host https://{host}:443").as_str(), "'tools'", "secrets 403", "elsewhere 403"] {
            ensure!(said.contains(line), "{line} is not in {said}");
        }
    }
    Ok(())
}

/// Whether the pod `tools` reaches the service `api`.
fn reaches(cluster: &Cluster) -> Result<bool> {
    let script = format!("curl -sS -m 3 http://{} 2>&1 || true", address(cluster, "api")?);
    Ok(inside(cluster, &script)?.contains("api-"))
}

/// Default-deny with one allowance, from a pod that is and one that is not allowed; then egress.
fn policies(cluster: &Cluster) -> Result<()> {
    let reaching = |wanted: bool| {
        eventually(&format!("reaching: {wanted}"), SOON, || Ok((reaches(cluster)? == wanted).then_some(())))
    };
    reaching(true)?;
    apply(cluster, include_str!("services/policy.yaml"))?;
    reaching(false)?;
    cluster.kubectl(&["label", "pod", "tools", "friend=yes"])?;
    reaching(true)?;
    // the allowance is for one port of one app
    let echo = address(cluster, "echo")?;
    let knock = format!("{} /tmp/ask.py {echo} 2>&1 || true", python()?.0.display());
    ensure!(inside(cluster, &knock)?.contains("timed out"));
    // probes of the kubelet come from the node and pass
    cluster.kubectl(&["rollout", "status", "deployment/api", "--timeout=30s"])?;
    apply(cluster, include_str!("services/egress.yaml"))?;
    reaching(false)?;
    says(cluster, "dig +short api.default.svc.cluster.local", &address(cluster, "api")?)?;
    for name in ["deny", "allow-friend", "dns-only"] {
        cluster.kubectl(&["delete", "networkpolicy", name])?;
    }
    cluster.kubectl(&["label", "pod", "tools", "friend-"])?;
    reaching(true)
}

/// `kubectl top` of the node and of pods.
fn metrics(cluster: &Cluster) -> Result<()> {
    eventually("kubectl top pod", Duration::from_secs(60), || {
        let output = cluster.kubectl_command().args(["top", "pod"]).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.success() && said.contains("tools") && said.contains("Mi")).then_some(()))
    })?;
    let node = cluster.kubectl(&["top", "node"])?;
    ensure!(node.contains('%'), "{node}");
    Ok(())
}

fn walk(runtime: &str) -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, runtime)?;
    build(&cluster)?;
    addresses(&cluster)?;
    names(&cluster)?;
    spreading(&cluster)?;
    from_the_host(&cluster)?;
    the_api_from_a_pod(&cluster)?;
    policies(&cluster)?;
    metrics(&cluster)?;
    node_port(&cluster)?;
    storage(&cluster)?;
    full_volume(&cluster)?;
    kill(Pid::from_raw(cluster.pid()?), Signal::SIGKILL)?;
    cluster.up()?;
    addresses(&cluster)?;
    names(&cluster)?;
    spreading(&cluster)?;
    from_the_host(&cluster)?;
    the_api_from_a_pod(&cluster)?;
    policies(&cluster)?;
    node_port(&cluster)?;
    storage(&cluster)
}

#[test]
fn services_of_the_embedded_runtime() -> Result<()> {
    walk("embedded")
}

#[test]
fn services_of_docker() -> Result<()> {
    sampan_test_e2e::docker_engine()?;
    walk("docker")
}
