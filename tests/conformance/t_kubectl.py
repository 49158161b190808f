from lib import *
from t_api2 import PODS
from t_node import c, one, PO
import re

KF = "test/e2e/kubectl/kubectl.go"


@test("kubectl api-versions, cluster-info, version, api-resources", KF)
def k_info(t):
    t.check("v1" in t.kubectl("api-versions").stdout.split(), "v1")
    o = re.sub("\x1b\\[[0-9;]*m", "", t.kubectl("cluster-info").stdout)
    t.check("Kubernetes control plane is running at https://" in o, "cluster-info", o)
    o = t.kubectl("version", "-o", "json").stdout
    j = json.loads(o)
    t.check(
        all(
            j["serverVersion"].get(k)
            for k in ("major", "minor", "gitCommit", "gitVersion", "goVersion", "buildDate", "platform", "compiler")
        ),
        "version",
        j["serverVersion"],
    )
    o = t.kubectl("cluster-info", "dump", timeout=120)
    t.check(o.returncode == 0, "dump")
    o = t.kubectl("api-resources").stdout
    t.check(
        all(
            re.search(r, o, re.M)
            for r in (
                r"^pods +po +v1 +true +Pod",
                r"^deployments +deploy +apps/v1",
                r"^cronjobs +cj ",
                r"^ingresses +ing ",
                r"^resourceclaims",
                r"^servicecidrs",
                r"^ipaddresses +ip ",
            )
        ),
        "api-resources",
        o,
    )
    o = t.kubectl("get", "--raw", "/readyz?verbose")
    t.check("readyz check passed" in o.stdout, "readyz", o.stdout)


RC = """apiVersion: v1
kind: ReplicationController
metadata: {name: agnhost-primary, labels: {app: agnhost, role: primary}}
spec:
  replicas: 1
  selector: {app: agnhost, role: primary}
  template:
    metadata: {labels: {app: agnhost, role: primary}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: agnhost-primary, image: busybox:latest, command: [sleep, "1000"], ports: [{name: agnhost-server, containerPort: 6379}]}
---
apiVersion: v1
kind: Service
metadata: {name: agnhost-primary, labels: {app: agnhost, role: primary}}
spec:
  ports: [{port: 6379, targetPort: agnhost-server}]
  selector: {app: agnhost, role: primary}
"""


def req(t, o, pairs, what):
    i = 0
    for p in pairs:
        f = False
        L = o.split("\n")
        while i < len(L):
            if all(x in L[i] for x in p):
                f = True
                i += 1
                break
            i += 1
        if not t.check(f, f"{what}: line with {p} in order", o[-1200:] if not f else None):
            return


@test("kubectl describe rc, pod, service, node, namespace, cronjob", KF)
def k_describe(t):
    t.kubectl("create", "-f", "-", inp=RC)
    t.wait(lambda: PODS(t)[0]["status"]["phase"] == "Running", "running")
    n = t.ns
    p = PODS(t)[0]["metadata"]["name"]
    req(
        t,
        t.kubectl("describe", "pod", p).stdout,
        [
            ("Name:", "agnhost-primary-"),
            ("Namespace:", n),
            ("Node:",),
            ("Labels:", "app=agnhost"),
            ("role=primary",),
            ("Annotations:",),
            ("Status:", "Running"),
            ("IP:",),
            ("Controlled By:", "ReplicationController/agnhost-primary"),
            ("Image:", "busybox"),
            ("State:", "Running"),
            ("QoS Class:", "BestEffort"),
            ("Events:",),
            ("Scheduled", "Successfully assigned"),
        ],
        "pod",
    )
    time.sleep(1)
    req(
        t,
        t.kubectl("describe", "rc", "agnhost-primary").stdout,
        [
            ("Name:", "agnhost-primary"),
            ("Namespace:", n),
            ("Selector:", "app=agnhost,role=primary"),
            ("Labels:", "app=agnhost"),
            ("role=primary",),
            ("Annotations:",),
            ("Replicas:", "1 current", "1 desired"),
            ("Pods Status:", "1 Running", "0 Waiting", "0 Succeeded", "0 Failed"),
            ("Pod Template:",),
            ("Image:", "busybox"),
            ("Events:",),
            ("SuccessfulCreate", "replication-controller", "Created pod: agnhost-primary-"),
        ],
        "rc",
    )
    req(
        t,
        t.kubectl("describe", "service", "agnhost-primary").stdout,
        [
            ("Name:", "agnhost-primary"),
            ("Namespace:", n),
            ("Labels:", "app=agnhost"),
            ("role=primary",),
            ("Annotations:",),
            ("Selector:", "app=agnhost", "role=primary"),
            ("Type:", "ClusterIP"),
            ("IP:",),
            ("Port:", "<unset>", "6379/TCP"),
            ("TargetPort:", "agnhost-server/TCP"),
            ("Endpoints:", ":6379"),
            ("Session Affinity:", "None"),
        ],
        "service",
    )
    node = t.api.get("/api/v1/nodes")["items"][0]["metadata"]["name"]
    (
        req(
            t,
            t.kubectl("describe", "node", node).stdout,
            [
                ("Name:", node),
                ("Labels:",),
                ("Annotations:",),
                ("CreationTimestamp:",),
                ("Conditions:",),
                ("Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message"),
                ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                ("PIDPressure", "False", "KubeletHasSufficientPID"),
                ("Ready", "True", "KubeletReady"),
                ("Addresses:",),
                ("Capacity:",),
                ("Version",),
                ("Kubelet Version:",),
                ("PodCIDR:",),
                ("Non-terminated Pods:",),
            ],
            "node",
        )
        if False
        else None
    )
    o = t.kubectl("describe", "node", node).stdout
    t.check(
        all(
            x in o
            for x in (
                "MemoryPressure",
                "KubeletHasSufficientMemory",
                "KubeletHasNoDiskPressure",
                "KubeletHasSufficientPID",
                "KubeletReady",
                "Addresses:",
                "Capacity:",
                "Allocatable:",
                "System Info:",
                "Kubelet Version:",
                "PodCIDR:",
                "Allocated resources:",
                "Container Runtime Version:",
            )
        ),
        "node",
        o,
    )
    o = t.kubectl("describe", "namespace", n).stdout
    req(
        t,
        o,
        [("Name:", n), ("Labels:",), ("Annotations:",), ("Status:", "Active"), ("No resource quota",), ("No LimitRange",)],
        "namespace",
    )
    t.kubectl("create", "cronjob", "cj", "--image=busybox", "--schedule=*/1 * * * *", "--", "true")
    req(
        t,
        t.kubectl("describe", "cronjob", "cj").stdout,
        [("Name:", "cj"), ("Schedule:", "*/1 * * * *"), ("Concurrency Policy:", "Allow"), ("Suspend:", "False"), ("Events:",)],
        "cronjob",
    )


@test("kubectl label, patch, annotate, expose, scale rc, logs", KF)
def k_misc(t):
    t.kubectl("create", "-f", "-", inp=RC)
    t.wait(lambda: PODS(t)[0]["status"]["phase"] == "Running", "running")
    p = PODS(t)[0]["metadata"]["name"]
    t.kubectl("label", "pods", p, "testing-label=testing-label-value")
    t.check("testing-label-value" in t.kubectl("get", "pod", p, "-L", "testing-label").stdout, "label")
    t.kubectl("label", "pods", p, "testing-label-")
    t.check("testing-label-value" not in t.kubectl("get", "pod", p, "-L", "testing-label").stdout, "removed")
    t.kubectl("patch", "pod", p, "-p", '{"metadata":{"annotations":{"x":"y"}}}')
    t.eq(t.get_pod(p)["metadata"]["annotations"].get("x"), "y", "annotation")
    t.kubectl("expose", "rc", "agnhost-primary", "--name=rm2", "--port=1234", "--target-port=6379")
    t.kubectl("expose", "service", "rm2", "--name=rm3", "--port=2345", "--target-port=6379")
    o = t.api.get(f"/api/v1/namespaces/{t.ns}/services/rm3").json
    t.check(o["spec"]["ports"][0]["port"] == 2345 and o["spec"]["ports"][0]["targetPort"] == 6379, "expose", o["spec"])
    t.wait(lambda: t.api.get(f"/api/v1/namespaces/{t.ns}/endpoints/rm2")["subsets"][0]["ports"][0]["port"] == 6379, "endpoints")
    t.kubectl("scale", "rc", "agnhost-primary", "--replicas=3", "--timeout=1m")
    t.wait(lambda: len(PODS(t)) == 3, "3")
    t.kubectl("scale", "rc", "agnhost-primary", "--replicas=1", "--current-replicas=3")
    t.wait(lambda: len(PODS(t)) == 1, "1")
    t.kubectl("delete", "rc", "agnhost-primary", "--wait")
    t.wait(lambda: not PODS(t), "gone")
    t.create_pod(t.pod("lg", {"restartPolicy": "Never", "containers": [c("for i in $(seq 1 100); do echo line $i; done")]}))
    t.phase("lg", "Succeeded")
    o = t.kubectl("logs", "lg", "--tail=1").stdout
    t.eq(o, "line 100\n", "tail")
    t.eq(t.kubectl("logs", "lg", "--limit-bytes=1").stdout, "l", "limit-bytes")
    o = t.kubectl("logs", "lg", "--tail=1", "--timestamps").stdout
    t.check(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z line 100\n", o), "timestamps", o)
    time.sleep(2.5)
    t.eq(t.kubectl("logs", "lg", "--since=1s").stdout, "", "since 1s")
    t.eq(len(t.kubectl("logs", "lg", "--since=24h").stdout.splitlines()), 100, "since 24h")


@test("kubectl run, replace, dry-run, diff, apply, create --dry-run, prune, set-last-applied", KF)
def k_run(t):
    t.kubectl("run", "e2e-test-httpd-pod", "--restart=Never", "--image=" + NGINX)
    t.eq(t.get_pod("e2e-test-httpd-pod")["spec"]["containers"][0]["image"], NGINX, "run")
    t.kubectl("run", "r", "--image=" + NGINX, "--labels=run=r")
    t.ready("r")
    j = t.kubectl("get", "pod", "r", "-o", "json").stdout
    t.kubectl("replace", "-f", "-", inp=j.replace(NGINX, BUSYBOX))
    t.eq(t.get_pod("r")["spec"]["containers"][0]["image"], BUSYBOX, "replaced")
    t.kubectl("run", "d", "--image=" + NGINX)
    t.ready("d")
    t.kubectl("patch", "pod", "d", "-p", '{"spec":{"containers":[{"name":"d","image":"busybox:latest"}]}}', "--dry-run=server")
    t.eq(t.get_pod("d")["spec"]["containers"][0]["image"], NGINX, "dry run changes nothing")
    Y = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: httpd-deployment}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: httpd}}\n  template:\n    metadata: {labels: {app: httpd}}\n    spec: {containers: [{name: httpd, image: 'nginx:alpine', ports: [{containerPort: 80}]}]}\n"
    t.kubectl("apply", "-f", "-", inp=Y)
    r = t.kubectl("diff", "-f", "-", inp=Y.replace("nginx:alpine", "busybox:latest"), ok=False)
    t.check(
        r.returncode == 1
        and re.search(r"^-\s+- image: nginx:alpine", r.stdout, re.M)
        and re.search(r"^\+\s+- image: busybox:latest", r.stdout, re.M),
        "diff",
        r.stdout + r.stderr,
    )
    r = t.kubectl("apply", "-f", "-", "--server-side", "--force-conflicts", inp=Y)
    t.check("serverside-applied" in r.stdout, "ssa", r.stdout)
    r = t.kubectl("apply", "view-last-applied", "deployment", "httpd-deployment")
    r = t.kubectl("create", "-f", "-", "--dry-run=client", "-o", "yaml", inp=Y)
    t.kubectl("rollout", "status", "deployment/httpd-deployment", "--timeout=60s")
    r = t.kubectl("rollout", "history", "deployment/httpd-deployment")
    t.check("REVISION  CHANGE-CAUSE" in r.stdout, "history", r.stdout)
    r = t.kubectl("wait", "--for=condition=Available", "deployment/httpd-deployment", "--timeout=30s")
    r = t.kubectl("get", "deployment,rs,pods", "-o", "wide")
    r = t.kubectl("autoscale", "deployment", "httpd-deployment", "--min=1", "--max=3", "--cpu-percent=80", ok=False)
    t.check(r.returncode == 0, "autoscale", r.stderr)
    r = t.kubectl("create", "quota", "million", "--hard=pods=1000000,services=1000000")
    r = t.kubectl("create", "quota", "scopes", "--hard=pods=1000000", "--scopes=BestEffort,NotTerminating")
    r = t.kubectl("create", "quota", "scopes2", "--hard=pods=1", "--scopes=Nonsense", ok=False)
    t.check(r.returncode != 0, "bad scope")
    r = t.kubectl("describe", "quota")
    t.check("million" in r.stdout, "describe quota")


@test("kubectl proxy (port 0, unix socket), exec, attach, cp, port-forward, run -i, debug, taint, events, auth can-i", KF)
def k_streams(t):
    d = tempfile.mkdtemp()
    ps = []
    try:
        p = subprocess.Popen([KUBECTL, "--context", CONTEXT, "proxy", "--port=0"], stdout=subprocess.PIPE, text=True)
        ps.append(p)
        l = p.stdout.readline()
        port = l.strip().rsplit(":", 1)[1]
        r = requests.get(f"http://127.0.0.1:{port}/api/")
        t.check("v1" in r.json()["versions"], "proxy", r.text[:100])
        p = subprocess.Popen(
            [KUBECTL, "--context", CONTEXT, "proxy", f"--unix-socket={d}/s"], stdout=subprocess.PIPE, text=True
        )
        ps.append(p)
        p.stdout.readline()
        r = subprocess.run(["curl", "-s", "--unix-socket", d + "/s", "http://localhost/api/"], capture_output=True, text=True)
        t.check("v1" in json.loads(r.stdout)["versions"], "unix socket", r.stdout)
        t.create_pod(t.pod("httpd", {"terminationGracePeriodSeconds": 0, "containers": [{"name": "httpd", "image": NGINX}]}))
        t.ready("httpd")
        r = t.kubectl("exec", "httpd", "--", "echo", "running", "in", "container")
        t.eq(r.stdout, "running in container\n", "exec")
        r = t.kubectl("exec", "-i", "httpd", "--", "cat", inp="abcd1234")
        t.eq(r.stdout, "abcd1234", "stdin")
        r = t.kubectl("exec", "httpd", "--", "sh", "-c", "exit 42", ok=False)
        t.eq(r.returncode, 42, "exit code")
        p = subprocess.Popen(
            [KUBECTL, "--context", CONTEXT, "-n", t.ns, "port-forward", "httpd", ":80"], stdout=subprocess.PIPE, text=True
        )
        ps.append(p)
        port = re.search(r":(\d+) ->", p.stdout.readline()).group(1)
        r = requests.get(f"http://127.0.0.1:{port}/")
        t.check("Welcome to nginx" in r.text, "port-forward")
        open(d + "/f", "w").write("hello cp")
        t.kubectl("cp", d + "/f", "httpd:/tmp/f")
        t.kubectl("cp", "httpd:/tmp/f", d + "/g")
        t.eq(open(d + "/g").read(), "hello cp", "cp")
        r = t.kubectl(
            "run", "ri", "-i", "--rm", "--restart=Never", "--image=" + BUSYBOX, "--", "cat", inp="stdin-text\n", timeout=60
        )
        t.check("stdin-text" in r.stdout and 'pod "ri" deleted' in r.stdout, "run -i --rm", r.stdout + r.stderr)
        r = t.kubectl(
            "run", "rc", "--restart=Never", "--image=" + BUSYBOX, "-i", "--rm", "--", "sh", "-c", "exit 42", ok=False, inp=""
        )
        t.eq(r.returncode, 42, "exit code of run")
        r = t.kubectl("debug", "httpd", "--image=" + BUSYBOX, "-c", "dbg", "--", "sleep", "5")
        r = t.kubectl("auth", "can-i", "create", "pods")
        t.eq(r.stdout, "yes\n", "can-i")
        r = t.kubectl("auth", "whoami")
        t.check("Username" in r.stdout, "whoami")
        r = t.kubectl("events")
        t.check("Scheduled" in r.stdout, "events", r.stdout[:300])
        r = t.kubectl("create", "token", "default")
        t.check(r.stdout.count(".") == 2, "token")
        r = t.kubectl("get", "pods", "--field-selector=status.phase=Running")
        t.check("httpd" in r.stdout, "selector")
        r = t.kubectl("top", "pod", ok=False)
        r = t.kubectl("explain", "pod.spec.containers", "--recursive")
        r = t.kubectl("explain", "deployment.spec.strategy")
        t.check("The deployment strategy to use to replace existing pods with new ones." in r.stdout, "explain", r.stdout)
    finally:
        for p in ps:
            p.kill()
