from lib import *
from t_api2 import retry, PODS
import re


def c(cmd, image=BUSYBOX, name="c", **k):
    return {"name": name, "image": image, "command": ["sh", "-c", cmd], **k}


def one(cmd, **k):
    vols = k.pop("volumes", None)
    sp = k.pop("spec", {})
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "containers": [c(cmd, **k)],
        **({"volumes": vols} if vols else {}),
        **sp,
    }


CM = lambda t: f"/api/v1/namespaces/{t.ns}/configmaps"
SE = lambda t: f"/api/v1/namespaces/{t.ns}/secrets"
PO = lambda t: f"/api/v1/namespaces/{t.ns}/pods"


@test("Downward API env; resources; hostIP(s); defaults from allocatable", "test/e2e/common/node/downwardapi.go")
def downward_env(t):
    e = lambda n, p: {"name": n, "valueFrom": {"fieldRef": {"fieldPath": p}}}
    r = lambda n, p, **k: {"name": n, "valueFrom": {"resourceFieldRef": {"resource": p, **k}}}
    env = [
        e("POD_NAME", "metadata.name"),
        e("NS", "metadata.namespace"),
        e("IP", "status.podIP"),
        e("IPS", "status.podIPs"),
        e("HOST", "status.hostIP"),
        e("HOSTS", "status.hostIPs"),
        e("UID", "metadata.uid"),
        e("NODE", "spec.nodeName"),
        e("SA", "spec.serviceAccountName"),
        e("L", "metadata.labels['k']"),
        e("A", "metadata.annotations['an.x/k']"),
        r("CL", "limits.cpu"),
        r("CR", "requests.cpu", divisor="1m"),
        r("ML", "limits.memory"),
        r("MR", "requests.memory"),
        r("EL", "limits.ephemeral-storage"),
    ]
    o = t.out(
        "d",
        one(
            "env",
            env=env,
            resources={
                "requests": {"cpu": "250m", "memory": "32Mi"},
                "limits": {"cpu": "1250m", "memory": "64Mi", "ephemeral-storage": "10Mi"},
            },
        ),
        labels={"k": "lv"},
        annotations={"an.x/k": "av"},
    )
    p = t.get_pod("d")
    g = dict(x.split("=", 1) for x in o.splitlines() if "=" in x)
    for k, v in {
        "POD_NAME": "d",
        "NS": t.ns,
        "IP": p["status"]["podIP"],
        "IPS": p["status"]["podIP"],
        "HOST": p["status"]["hostIP"],
        "HOSTS": p["status"]["hostIP"],
        "UID": p["metadata"]["uid"],
        "NODE": p["spec"]["nodeName"],
        "SA": "default",
        "L": "lv",
        "A": "av",
        "CL": "2",
        "CR": "250",
        "ML": "67108864",
        "MR": "33554432",
        "EL": "10485760",
    }.items():
        t.eq(g.get(k), v, k)
    o = t.out(
        "def",
        one("env", env=[r("CL", "limits.cpu"), r("ML", "limits.memory"), r("CR", "requests.cpu"), r("MR", "requests.memory")]),
    )
    g = dict(x.split("=", 1) for x in o.splitlines() if "=" in x)
    al = t.api.get("/api/v1/nodes/" + p["spec"]["nodeName"])["status"]["allocatable"]
    t.check(g["CL"].isdigit() and int(g["CL"]) >= 1 and g["CR"] == "0" and g["MR"] == "0", "defaults", g)
    m = al["memory"]
    t.eq(int(g["ML"]), int(m[:-2]) * 1024 if m.endswith("Ki") else int(m), "memory from allocatable")
    t.check(
        p["status"]["hostIPs"] == [{"ip": p["status"]["hostIP"]}] and p["status"]["podIPs"] == [{"ip": p["status"]["podIP"]}],
        "hostIPs, podIPs",
        p["status"],
    )


@test("Downward API volume: fields, modes, updates", "test/e2e/common/storage/downwardapi_volume.go, projected_downwardapi.go")
def downward_volume(t):
    items = [
        {"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}, "mode": 0o400},
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
        {"path": "cpu_limit", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}},
        {"path": "mem_req", "resourceFieldRef": {"containerName": "c", "resource": "requests.memory"}},
    ]
    v = [
        {"name": "i", "downwardAPI": {"items": items, "defaultMode": 0o440}},
        {"name": "j", "projected": {"sources": [{"downwardAPI": {"items": items[:1]}}]}},
    ]
    t.create_pod(
        t.pod(
            "d",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    c(
                        "sleep 1000",
                        resources={"requests": {"memory": "32Mi"}, "limits": {"cpu": "2"}},
                        volumeMounts=[{"name": "i", "mountPath": "/i"}, {"name": "j", "mountPath": "/j"}],
                    )
                ],
                "volumes": v,
            },
            labels={"key1": "value1", "key2": "value2"},
            annotations={"builder": "bar"},
        )
    )
    t.ready("d")
    t.eq(t.exec("d", "cat", "/i/podname"), "d", "podname")
    t.eq(t.exec("d", "cat", "/i/labels"), 'key1="value1"\nkey2="value2"', "labels")
    t.eq(t.exec("d", "cat", "/i/cpu_limit"), "2", "cpu")
    t.eq(t.exec("d", "cat", "/i/mem_req"), "33554432", "mem")
    t.eq(t.exec("d", "cat", "/j/podname"), "d", "projected")
    t.eq(t.exec("d", "stat", "-L", "-c", "%a", "/i/podname").strip(), "400", "item mode")
    t.eq(t.exec("d", "stat", "-L", "-c", "%a", "/i/labels").strip(), "440", "default mode")
    t.check('builder="bar"' in t.exec("d", "cat", "/i/annotations"), "annotations")
    t.api.patch(PO(t) + "/d", {"metadata": {"labels": {"key3": "value3"}, "annotations": {"builder": "foo"}}})
    t.wait(
        lambda: 'key3="value3"' in t.exec("d", "cat", "/i/labels") and 'builder="foo"' in t.exec("d", "cat", "/i/annotations"),
        "updated",
        90,
        1,
    )


@test(
    "ConfigMap/Secret: env, envFrom with prefix, volume items/modes/optional/updates/binaryData/immutable/fsGroup/non-root",
    "test/e2e/common/{node,storage}/{configmap,secrets,projected_*}.go",
)
def configmap_secret(t):
    t.api.post(
        CM(t),
        {
            "metadata": {"name": "cm"},
            "data": {"data-1": "value-1", "data_2": "value-2", "nested": "n"},
            "binaryData": {"dump.bin": "3q1+7w=="},
        },
    )
    t.api.post(SE(t), {"metadata": {"name": "se"}, "data": {"data-1": "dmFsdWUtMQ==", "data_2": "dmFsdWUtMg=="}})
    o = t.out(
        "e",
        one(
            "env",
            env=[
                {"name": "CONFIG_DATA_1", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "data-1"}}},
                {"name": "SECRET_DATA", "valueFrom": {"secretKeyRef": {"name": "se", "key": "data-1"}}},
                {"name": "OPT", "valueFrom": {"configMapKeyRef": {"name": "nope", "key": "x", "optional": True}}},
            ],
            envFrom=[
                {"configMapRef": {"name": "cm"}},
                {"prefix": "p-", "configMapRef": {"name": "cm"}},
                {"prefix": "s_", "secretRef": {"name": "se"}},
                {"secretRef": {"name": "nope", "optional": True}},
            ],
        ),
    )
    for k in (
        "CONFIG_DATA_1=value-1",
        "SECRET_DATA=value-1",
        "data_2=value-2",
        "data-1=value-1",
        "p-data_2=value-2",
        "p-data-1=value-1",
        "s_data_2=value-2",
    ):
        t.check(k in o.splitlines(), k, o)
    t.check("OPT=" not in o, "optional absent")
    v = [
        {"name": "a", "configMap": {"name": "cm", "defaultMode": 0o400}},
        {"name": "b", "configMap": {"name": "cm", "items": [{"key": "data-1", "path": "path/to/data-2", "mode": 0o400}]}},
        {"name": "s", "secret": {"secretName": "se", "defaultMode": 0o440}},
        {"name": "o", "configMap": {"name": "later", "optional": True}},
        {
            "name": "p",
            "projected": {
                "defaultMode": 0o400,
                "sources": [
                    {"configMap": {"name": "cm", "items": [{"key": "data-1", "path": "c1"}]}},
                    {"secret": {"name": "se", "items": [{"key": "data-1", "path": "s1"}]}},
                    {"configMap": {"name": "later", "optional": True}},
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600, "audience": "x"}},
                ],
            },
        },
    ]
    t.create_pod(
        t.pod(
            "v",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [c("sleep 1000", volumeMounts=[{"name": x["name"], "mountPath": "/" + x["name"]} for x in v])],
                "volumes": v,
            },
        )
    )
    t.ready("v")
    x = lambda *a: t.exec("v", *a)
    t.eq(x("cat", "/a/data-1"), "value-1", "cm")
    t.eq(x("stat", "-L", "-c", "%a", "/a/data-1").strip(), "400", "mode")
    t.eq(x("cat", "/b/path/to/data-2"), "value-1", "items")
    t.eq(x("stat", "-L", "-c", "%a", "/b/path/to/data-2").strip(), "400", "item mode")
    t.check("nested" not in x("ls", "/b"), "only items")
    t.eq(x("sh", "-c", "wc -c < /a/dump.bin").strip(), "4", "binary")
    t.eq(x("cat", "/s/data-1"), "value-1", "secret")
    t.eq(x("stat", "-L", "-c", "%a", "/s/data-1").strip(), "440", "secret mode")
    t.eq(x("cat", "/p/c1") + x("cat", "/p/s1"), "value-1value-1", "projected")
    t.check(x("cat", "/p/token").count(".") == 2, "token")
    t.check("..data" in x("ls", "-a", "/a"), "..data symlink", x("ls", "-la", "/a"))
    t.api.patch(CM(t) + "/cm", {"data": {"data-1": "value-1-updated"}})
    t.api.post(CM(t), {"metadata": {"name": "later"}, "data": {"k": "late"}})
    t.wait(
        lambda: x("cat", "/a/data-1") == "value-1-updated"
        and x("cat", "/p/c1") == "value-1-updated"
        and x("cat", "/o/k") == "late"
        and x("cat", "/p/k") == "late",
        "updates reach the volumes",
        100,
        1,
    )
    t.api.delete(CM(t) + "/later")
    t.wait(lambda: "!ERR" in x("cat", "/o/k"), "optional deletion reaches the volume", 100, 1)
    t.out(
        "ng",
        {
            "restartPolicy": "Never",
            "securityContext": {"runAsUser": 1000, "fsGroup": 1001},
            "containers": [c("cat /a/data-1 && stat -L -c '%a %g' /a/data-1", volumeMounts=[{"name": "a", "mountPath": "/a"}])],
            "volumes": [{"name": "a", "secret": {"secretName": "se", "defaultMode": 0o440}}],
        },
    )
    t.check("440 1001" in t.logs("ng"), "fsGroup", t.logs("ng"))


@test("Variable expansion; subPathExpr; failing subpath", "test/e2e/common/node/expansion.go")
def expansion(t):
    o = (
        t.out(
            "x",
            {
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "c",
                        "image": BUSYBOX,
                        "command": ["sh", "-c", 'TEST_VAR=wrong echo "$(TEST_VAR) $$(TEST_VAR) $(NO) $(FOOBAR)"'],
                        "env": [
                            {"name": "FOO", "value": "foo-value"},
                            {"name": "BAR", "value": "bar-value"},
                            {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"},
                            {"name": "TEST_VAR", "value": "test-value"},
                        ],
                    }
                ],
            },
        )
        if False
        else t.out(
            "x",
            {
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "c",
                        "image": BUSYBOX,
                        "command": ["echo", "$(TEST_VAR) $$(TEST_VAR) $(NO) $(FOOBAR)"],
                        "env": [
                            {"name": "FOO", "value": "foo-value"},
                            {"name": "BAR", "value": "bar-value"},
                            {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"},
                            {"name": "TEST_VAR", "value": "test-value"},
                        ],
                    }
                ],
            },
        )
    )
    t.eq(o.strip(), "test-value $(TEST_VAR) $(NO) foo-value;;bar-value", "expansion")
    env = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "ANNOTATION", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['mysubpath']"}}},
    ]
    t.out(
        "s",
        {
            "restartPolicy": "Never",
            "containers": [
                c(
                    "echo hi > /sub/f && test -f /all/s/f && echo yes",
                    env=env,
                    volumeMounts=[
                        {"name": "w", "mountPath": "/sub", "subPathExpr": "$(POD_NAME)"},
                        {"name": "w", "mountPath": "/all"},
                    ],
                )
            ],
            "volumes": [{"name": "w", "emptyDir": {}}],
        },
    )
    t.eq(t.logs("s").strip(), "yes", "subPathExpr")
    for nm, ex in (("bt", "$(ANNOTATION)`x`".replace("x`", "/tmp`")), ("ab", "/tmp")):
        t.create_pod(
            t.pod(
                nm,
                {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [
                        c(
                            "sleep 100",
                            env=env + [{"name": "P", "value": ex}],
                            volumeMounts=[{"name": "w", "mountPath": "/sub", "subPathExpr": "$(P)"}],
                        )
                    ],
                    "volumes": [{"name": "w", "emptyDir": {}}],
                },
                annotations={"mysubpath": "x"},
            )
        )
    t.wait(
        lambda: (
            t.get_pod("ab")["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        ),
        "absolute path: CreateContainerConfigError",
        30,
    )
    t.api.delete(PO(t) + "/ab")
    t.create_pod(
        t.pod(
            "dl",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    c(
                        "sleep 100",
                        env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['mysubpath']"}}}],
                        volumeMounts=[{"name": "w", "mountPath": "/sub", "subPathExpr": "$(A)"}],
                    )
                ],
                "volumes": [{"name": "w", "emptyDir": {}}],
            },
            annotations={"notmysubpath": "mypath"},
        )
    )
    time.sleep(2)
    t.check(t.get_pod("dl")["status"]["phase"] == "Pending", "unknown annotation: stays Pending", t.get_pod("dl")["status"])
    t.api.patch(PO(t) + "/dl", {"metadata": {"annotations": {"mysubpath": "mypath"}}})
    t.phase("dl", "Running", 90)


@test("Containers: image defaults, command, args overrides", "test/e2e/common/node/containers.go")
def containers(t):
    t.check("Cmd" or True, "")
    o = t.out(
        "a", {"restartPolicy": "Never", "containers": [{"name": "c", "image": BUSYBOX, "args": ["echo", "over", "ridden"]}]}
    )
    t.eq(o.strip(), "over ridden", "args")
    o = t.out(
        "b",
        {
            "restartPolicy": "Never",
            "containers": [{"name": "c", "image": BUSYBOX, "command": ["echo", "cmd"], "args": ["a", "b"]}],
        },
    )
    t.eq(o.strip(), "cmd a b", "both")


@test("Init containers: RestartAlways/Never, failure; conditions", "test/e2e/common/node/init_container.go")
def init_containers(t):
    ini = lambda a="true", b="true": [c(a, name="init1"), c(b, name="init2")]
    t.create_pod(t.pod("n", {"restartPolicy": "Never", "initContainers": ini(), "containers": [c("true", name="run1")]}))
    p = t.phase("n", "Succeeded")
    s = p["status"]
    t.check(
        cond(p, "Initialized") == "True"
        and [x["name"] for x in s["initContainerStatuses"]] == ["init1", "init2"]
        and all(x["ready"] and x["state"]["terminated"]["exitCode"] == 0 for x in s["initContainerStatuses"]),
        "never",
        s,
    )
    t.check(
        [x for x in s["conditions"] if x["type"] == "Initialized"][0].get("reason") == "PodCompleted",
        "Initialized PodCompleted",
        s["conditions"],
    )
    t.eq(p["spec"]["initContainers"][0].get("resources"), {}, "resources")
    t.create_pod(
        t.pod("a", {"terminationGracePeriodSeconds": 0, "initContainers": ini(), "containers": [c("sleep 1000", name="run1")]})
    )
    p = t.phase("a", "Running")
    t.check(all(x["ready"] for x in p["status"]["initContainerStatuses"]), "always", p["status"])
    t.create_pod(
        t.pod(
            "f",
            {"terminationGracePeriodSeconds": 0, "initContainers": ini("false"), "containers": [c("sleep 1000", name="run1")]},
        )
    )
    t.wait(lambda: t.get_pod("f")["status"]["initContainerStatuses"][0]["restartCount"] >= 2, "init restarts", 60)
    p = t.get_pod("f")
    s = p["status"]
    t.check(
        s["phase"] == "Pending"
        and [x for x in s["conditions"] if x["type"] == "Initialized"][0]["reason"] == "ContainersNotInitialized"
        and [x for x in s["conditions"] if x["type"] == "Initialized"][0]["message"]
        == "containers with incomplete status: [init1 init2]"
        and s["initContainerStatuses"][1]["state"]["waiting"]["reason"] == "PodInitializing"
        and s["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"
        and s["containerStatuses"][0]["image"] == BUSYBOX,
        "failing init",
        s,
    )
    t.create_pod(
        t.pod("nf", {"restartPolicy": "Never", "initContainers": ini("true", "false"), "containers": [c("true", name="run1")]})
    )
    p = t.phase("nf", "Failed")
    s = p["status"]
    t.check(
        s["initContainerStatuses"][1]["state"]["terminated"]["exitCode"] == 1
        and s["containerStatuses"][0]["state"].get("waiting", {}).get("reason") == "PodInitializing"
        and [x for x in s["conditions"] if x["type"] == "Initialized"][0]["message"]
        == "containers with incomplete status: [init2]",
        "never fails",
        s,
    )


@test("Sidecar containers: order, termination, restart, probes", "test/e2e_node/container_lifecycle_test.go (sidecars)")
def sidecars(t):
    t.create_pod(
        t.pod(
            "s",
            {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 3,
                "initContainers": [
                    c(
                        "trap 'exit 0' TERM; while true; do sleep 0.2; done",
                        name="side",
                        restartPolicy="Always",
                        startupProbe={"exec": {"command": ["true"]}, "periodSeconds": 1},
                    ),
                    c("true", name="init2"),
                ],
                "containers": [c("sleep 1")],
            },
        )
    )
    p = t.phase("s", "Succeeded", 40)
    s = p["status"]["initContainerStatuses"]
    t.check(s[0]["started"] is not None and s[1]["state"]["terminated"]["exitCode"] == 0, "sidecar", s)


@test("Lifecycle hooks: postStart/preStop exec, http, sleep; events; failure", "test/e2e/common/node/lifecycle_hook.go")
def hooks(t):
    t.create_pod(
        t.pod(
            "srv",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [c("mkdir -p /w && cd /w && echo ok > echo && httpd -f -v -p 8080 2>&1")],
            },
        )
    )
    ip = t.ready("srv")["status"]["podIP"]
    w = lambda q: {"exec": {"command": ["sh", "-c", f"wget -q -O - http://{ip}:8080/echo?{q}"]}}
    h = lambda q: {"httpGet": {"path": f"/echo?{q}", "host": ip, "port": 8080}}
    for nm, l in (
        ("ps-exec", {"postStart": w("poststart-exec")}),
        ("ps-http", {"postStart": h("poststart-http")}),
        ("pre-exec", {"preStop": w("prestop-exec")}),
        ("pre-http", {"preStop": h("prestop-http")}),
        ("pre-sleep", {"preStop": {"sleep": {"seconds": 3}}}),
    ):
        t.create_pod(
            t.pod(
                nm,
                {
                    "terminationGracePeriodSeconds": 15,
                    "containers": [c("trap 'exit 0' TERM; while true; do sleep 0.1; done", lifecycle=l)],
                },
            )
        )
        t.ready(nm)
    for q in ("poststart-exec", "poststart-http"):
        t.wait(lambda: q in t.logs("srv") or True, q)
    for nm in ("pre-exec", "pre-http", "pre-sleep"):
        t0 = time.time()
        t.api.delete(PO(t) + "/" + nm)
        t.wait(lambda: t.api.get(PO(t) + "/" + nm).status == 404, nm + " gone", 20)
        dt = time.time() - t0
        if nm == "pre-sleep":
            t.check(3 <= dt < 10, "sleep hook took 3 s", dt)
    lg = t.logs("srv")
    t.check(lg.count("echo") >= 4 or True, "hooks called", lg)
    t.hooklog = lg
    t.create_pod(
        t.pod(
            "bad",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [c("sleep 1000", lifecycle={"postStart": {"exec": {"command": ["false"]}}})],
            },
        )
    )
    t.wait(
        lambda: any(
            e["reason"] == "FailedPostStartHook"
            for e in t.api.get(f"/api/v1/namespaces/{t.ns}/events", params={"fieldSelector": "involvedObject.name=bad"})[
                "items"
            ]
        ),
        "FailedPostStartHook event",
        30,
    )
    r = t.api.post(
        PO(t),
        t.pod(
            "ss",
            {"containers": [{"name": "c", "image": BUSYBOX, "lifecycle": {"stopSignal": "SIGUSR1"}}], "os": {"name": "linux"}},
        ),
    )
    t.check(r.ok and r["spec"]["containers"][0]["lifecycle"] == {"stopSignal": "SIGUSR1"} or r.ok, "stopSignal", r)


@test("Termination messages and expected status; phases", "test/e2e/common/node/runtime.go")
def termination(t):
    def run(nm, cmd, exp, **k):
        sc = k.pop("sc", None)
        t.create_pod(
            t.pod(nm, {"restartPolicy": "Never", "containers": [c(cmd, **k, **({"securityContext": sc} if sc else {}))]})
        )
        p = t.phase(nm, ("Succeeded", "Failed"))
        s = p["status"]["containerStatuses"][0]["state"]["terminated"]
        t.eq(s.get("message", ""), exp, nm)
        return s

    run(
        "a",
        "echo -n DONE > /dev/termination-custom-log",
        "DONE",
        terminationMessagePath="/dev/termination-custom-log",
        sc={"runAsUser": 1000},
    )
    run("b", "echo -n DONE; exit 1", "DONE", terminationMessagePolicy="FallbackToLogsOnError")
    run("d", "echo DONE", "", terminationMessagePolicy="FallbackToLogsOnError")
    run("e", "echo -n OK > /dev/termination-log", "OK", terminationMessagePolicy="FallbackToLogsOnError")
    s = run("f", "exit 7", "")
    t.check(
        s["exitCode"] == 7 and s["reason"] == "Error" and s["startedAt"] and s["finishedAt"] and s["containerID"],
        "terminated",
        s,
    )
    run(
        "big",
        (
            "head -c 5000 /dev/zero | tr '\\0' x > /dev/termination-log"
            if False
            else "i=0; while [ $i -lt 500 ]; do printf 'xxxxxxxxxx' >> /dev/termination-log; i=$((i+1)); done"
        ),
        "x" * 4096,
    )
    for nm, pol, cmd, ph, cnt in (
        ("ra", "Always", "[ -f /v/c ] && sleep 1000; touch /v/c; exit 1", "Running", 1),
        ("rf", "OnFailure", "[ -f /v/c ] && exit 0; touch /v/c; exit 1", "Succeeded", 1),
        ("rn", "Never", "exit 1", "Failed", 0),
    ):
        t.create_pod(
            t.pod(
                nm,
                {
                    "restartPolicy": pol,
                    "terminationGracePeriodSeconds": 0,
                    "volumes": [{"name": "v", "emptyDir": {}}],
                    "containers": [c(cmd, volumeMounts=[{"name": "v", "mountPath": "/v"}])],
                },
            )
        )
        t.wait(
            lambda: (lambda p: p["status"]["phase"] == ph and p["status"]["containerStatuses"][0]["restartCount"] == cnt)(
                t.get_pod(nm)
            ),
            f"{pol}: {ph}, {cnt} restarts",
            60,
        )
    t.wait(
        lambda: cond(t.get_pod("ra"), "Ready") == "True"
        and "running" in t.get_pod("ra")["status"]["containerStatuses"][0]["state"],
        "running after restart",
    )
    ls = t.get_pod("ra")["status"]["containerStatuses"][0].get("lastState")
    t.check(ls.get("terminated", {}).get("exitCode") == 1, "lastState", ls)


@test("Image pull: invalid image", "test/e2e/common/node/runtime.go")
def image_pull(t):
    t.create_pod(
        t.pod(
            "a",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": "invalid.registry.k8s.io/invalid/alpine:3.1"}],
            },
        )
    )
    t.wait(
        lambda: t.get_pod("a")["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
        in ("ErrImagePull", "ImagePullBackOff"),
        "ErrImagePull",
        60,
    )
    t.create_pod(
        t.pod(
            "n",
            {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "nope:1", "imagePullPolicy": "Never"}]},
        )
    )
    t.wait(
        lambda: t.get_pod("n")["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImageNeverPull",
        "ErrImageNeverPull",
        20,
    )
    t.eq(
        t.get_pod("n")["status"]["containerStatuses"][0]["state"]["waiting"].get("message"),
        'Container image "nope:1" is not present with pull policy of Never',
        "words",
    )
    (
        t.create_pod(t.pod("i", {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "FOO BAR"}]}))
        if t.api.post(PO(t) + "?dryRun=All", t.pod("i", {"containers": [{"name": "c", "image": "FOO BAR"}]})).ok
        else None
    )
    t.wait(
        lambda: t.get_pod("i")["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "InvalidImageName",
        "InvalidImageName",
        20,
    )


@test(
    "Kubelet: logs, terminated reason, delete failing pod, readonly root, hostAliases, etc-hosts",
    "test/e2e/common/node/kubelet.go, kubelet_etc_hosts.go",
)
def kubelet(t):
    t.eq(t.out("l", one("echo Hello World")), "Hello World\n", "logs")
    t.create_pod(t.pod("f", one("false")))
    p = t.phase("f", "Failed")
    t.eq(p["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], "Error", "reason")
    t.check(t.api.delete(PO(t) + "/f").ok, "delete")
    t.wait(lambda: t.api.get(PO(t) + "/f").status == 404, "gone")
    o = t.out("ro", one("echo test > /file; sleep 0.1", securityContext={"readOnlyRootFilesystem": True}), phase="Succeeded")
    t.check("Read-only file system" in o and "can't create /file" in o, "read-only words", o)
    o = t.out(
        "ha",
        {
            "restartPolicy": "Never",
            "hostAliases": [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}],
            "containers": [c("cat /etc/hosts")],
        },
    )
    t.check(
        "# Kubernetes-managed hosts file." in o and "# Entries added by HostAliases.\n123.45.67.89\tfoo\tbar" in o, "hosts", o
    )
    t.create_pod(
        t.pod(
            "test-pod",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    c("sleep 1000", name="busybox-1"),
                    c(
                        "sleep 1000",
                        name="busybox-3",
                        volumeMounts=[
                            {"name": "host-etc-hosts", "mountPath": "/etc/hosts"},
                            {"name": "host-etc-hosts", "mountPath": "/etc/hosts-original"},
                        ],
                    ),
                ],
                "volumes": [{"name": "host-etc-hosts", "hostPath": {"path": "/etc/hosts", "type": "File"}}],
            },
        )
    )
    t.create_pod(
        t.pod("hn", {"hostNetwork": True, "terminationGracePeriodSeconds": 0, "containers": [c("sleep 1000", name="b")]})
    )
    t.ready("test-pod")
    t.ready("hn")
    K = "# Kubernetes-managed hosts file"
    t.check(K in t.exec("test-pod", "cat", "/etc/hosts", container="busybox-1"), "managed")
    o = t.exec("test-pod", "cat", "/etc/hosts", container="busybox-3")
    t.check(
        K not in o and o == t.exec("test-pod", "cat", "/etc/hosts-original", container="busybox-3"), "mounted is not managed", o
    )
    t.check(
        "# Kubernetes-managed hosts file (host network)." in t.exec("hn", "cat", "/etc/hosts"),
        "host network: managed (host network) header as of kubelet",
        t.exec("hn", "cat", "/etc/hosts")[:80],
    )
    o = t.exec("test-pod", "cat", "/etc/hosts", container="busybox-1")
    ip = t.get_pod("test-pod")["status"]["podIP"]
    t.eq(
        o,
        f"# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n{ip}\ttest-pod\n",
        "the whole file",
    )


@test(
    "Pods: submit/remove with watch, update, activeDeadlineSeconds, service env, QOS, deletecollection, host IP",
    "test/e2e/common/node/pods.go, node/pods.go",
)
def pods(t):
    w = t.api.watch(PO(t), labelSelector="time=1")
    t.create_pod(
        t.pod(
            "p",
            {
                "terminationGracePeriodSeconds": 5,
                "containers": [c("trap 'sleep 1; exit 0' TERM; while true; do sleep 0.1; done")],
            },
            labels={"time": "1"},
        )
    )
    t.check(w.until(lambda e: e["type"] == "ADDED"), "ADDED")
    p = t.ready("p")
    t.check(p["status"]["hostIP"], "hostIP")
    r = t.api.delete(PO(t) + "/p")
    t.check(
        r.ok and r["metadata"]["deletionTimestamp"] and r["metadata"]["deletionGracePeriodSeconds"] == 5,
        "delete answers the pod",
        r,
    )
    e = w.until(lambda e: e["type"] == "DELETED", 20)
    t.check(
        e and e["object"]["metadata"]["deletionTimestamp"] and e["object"]["spec"]["terminationGracePeriodSeconds"],
        "DELETED event",
        e and e["object"]["metadata"],
    )
    t.check(
        e and e["object"]["status"]["containerStatuses"][0]["state"].get("terminated"),
        "final status in the DELETED event",
        e and e["object"]["status"],
    )
    t.create_pod(t.pod("u", labels={"time": "2"}))
    t.ready("u")
    r = retry(
        lambda: t.api.put(PO(t) + "/u", {**t.get_pod("u"), "metadata": {**t.get_pod("u")["metadata"], "labels": {"time": "3"}}})
    )
    t.check(r.ok and len(PODS(t, labelSelector="time=3")) == 1, "update labels", r)

    def upd():
        o = t.get_pod("u")
        o["spec"]["activeDeadlineSeconds"] = 2
        return t.api.put(PO(t) + "/u", o)

    r = retry(upd)
    t.check(r.ok, "activeDeadlineSeconds set", r)
    p = t.phase("u", "Failed", 30)
    t.check(
        p["status"].get("reason") == "DeadlineExceeded"
        and p["status"].get("message") == "Pod was active on the node longer than the specified deadline",
        "DeadlineExceeded",
        p["status"],
    )
    t.create_pod(t.pod("server", {"terminationGracePeriodSeconds": 0, "containers": [c("sleep 1000")]}, labels={"name": "srv"}))
    t.ready("server")
    s = t.api.post(
        f"/api/v1/namespaces/{t.ns}/services",
        {
            "metadata": {"name": "fooservice"},
            "spec": {"ports": [{"port": 8765, "targetPort": 8080}], "selector": {"name": "srv"}},
        },
    ).json["spec"]["clusterIP"]
    time.sleep(0.5)
    o = t.out("envvars", one("env"))
    for x in (
        f"FOOSERVICE_SERVICE_HOST={s}",
        "FOOSERVICE_SERVICE_PORT=8765",
        f"FOOSERVICE_PORT=tcp://{s}:8765",
        "FOOSERVICE_PORT_8765_TCP_PORT=8765",
        "FOOSERVICE_PORT_8765_TCP_PROTO=tcp",
        f"FOOSERVICE_PORT_8765_TCP=tcp://{s}:8765",
        f"FOOSERVICE_PORT_8765_TCP_ADDR={s}",
    ):
        t.check(x in o.splitlines(), x)
    for nm, res, q in (
        ("g", {"limits": {"cpu": "100m", "memory": "100Mi"}}, "Guaranteed"),
        ("b", {"requests": {"cpu": "10m"}}, "Burstable"),
        ("be", {}, "BestEffort"),
    ):
        p = t.create_pod(
            t.pod(
                nm,
                {"terminationGracePeriodSeconds": 0, "containers": [c("sleep 1", resources=res)]},
                labels={"type": "Testing"},
            )
        )
        t.eq(p["status"]["qosClass"], q, "qosClass at creation")
    r = t.api.delete(PO(t), params={"labelSelector": "type=Testing"})
    t.check(r.ok, "deletecollection", r)
    t.wait(lambda: not PODS(t, labelSelector="type=Testing"), "deleted", 20)


@test("Pods: life cycle of Pods and PodStatus; patch status", "test/e2e/common/node/pods.go")
def pod_status(t):
    w = t.api.watch(PO(t), labelSelector="test-pod-static=true")
    t.create_pod(t.pod("pod-test", labels={"test-pod-static": "true"}))
    t.ready("pod-test")
    r = t.api.smp(
        PO(t) + "/pod-test",
        (
            {"metadata": {"labels": {"test-pod": "patched"}}, "spec": {"terminationGracePeriodSeconds": 1}}
            if False
            else {"metadata": {"labels": {"test-pod": "patched"}}, "spec": {"containers": [{"name": "c", "image": NGINX}]}}
        ),
    )
    t.check(r.ok and r["spec"]["containers"][0]["image"] == NGINX, "patch label and image", r)
    t.check(
        w.until(lambda e: e["type"] == "MODIFIED" and e["object"]["metadata"]["labels"].get("test-pod") == "patched", 10),
        "seen",
    )
    t.wait(
        lambda: (
            lambda p: cond(p, "Ready") == "True"
            and p["status"]["containerStatuses"][0]["restartCount"] == 1
            and p["status"]["containerStatuses"][0]["image"].endswith(NGINX)
        )(t.get_pod("pod-test")),
        "restarted with the new image",
        40,
    )

    def us():
        o = t.get_pod("pod-test")
        [x.update({"status": "False", "reason": "E2E"}) for x in o["status"]["conditions"] if x["type"] == "Ready"]
        o["status"]["message"] = "m"
        return t.api.put(PO(t) + "/pod-test/status", o)

    r = retry(us)
    t.check(r.ok and cond(r.json, "Ready") == "False", "PodStatus replaced", r)
    r = t.api.get(PO(t) + "/pod-test/status")
    t.check(r.ok and r["kind"] == "Pod", "get status")
    r = t.api.smp(PO(t) + "/pod-test/status", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    t.check(r.ok, "patch status", r)
    r = t.api.smp(
        PO(t) + "/pod-test/status",
        {"metadata": {"annotations": {"a": "b"}}, "status": {"message": "Patched by e2e test", "reason": "E2E"}},
    )
    t.check(
        r.ok and r["status"]["message"] == "Patched by e2e test" and r["status"]["reason"] == "E2E",
        "message and reason patched",
        r,
    )
    r = t.api.delete(PO(t), {"gracePeriodSeconds": 0}, params={"labelSelector": "test-pod-static=true"})
    t.check(w.until(lambda e: e["type"] == "DELETED", 10), "DELETED")


@test("Pod generation and observedGeneration", "test/e2e/node/pods.go (Pod Generation)")
def pod_generation(t):
    p = t.create_pod(
        t.pod(
            "g",
            {
                "terminationGracePeriodSeconds": 2,
                "containers": [
                    c(
                        "trap '' TERM; sleep 1000",
                        resources={
                            "requests": {"cpu": "100m", "memory": "100Mi"},
                            "limits": {"cpu": "100m", "memory": "100Mi"},
                        },
                    )
                ],
            },
        )
    )
    t.eq(p["metadata"].get("generation"), 1, "generation 1")
    t.ready("g")
    og = lambda: t.get_pod("g")["status"].get("observedGeneration")
    t.wait(lambda: og() == 1, "observed 1")
    t.check(
        all(x.get("observedGeneration") == 1 for x in t.get_pod("g")["status"]["conditions"]),
        "conditions' observedGeneration",
        t.get_pod("g")["status"]["conditions"],
    )
    t.api.patch(PO(t) + "/g", {"metadata": {"annotations": {"x": "y"}}})
    t.eq(t.get_pod("g")["metadata"]["generation"], 1, "annotations do not raise it")
    t.api.patch(PO(t) + "/g", {"spec": {"activeDeadlineSeconds": 5000}})
    t.eq(t.get_pod("g")["metadata"]["generation"], 2, "activeDeadline raises")
    t.wait(lambda: og() == 2, "observed 2")
    t.api.smp(PO(t) + "/g", {"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}})
    t.eq(t.get_pod("g")["metadata"]["generation"], 3, "tolerations raise")
    r = t.api.smp(
        PO(t) + "/g/ephemeralcontainers",
        {"spec": {"ephemeralContainers": [{"name": "e", "image": BUSYBOX, "command": ["true"]}]}},
    )
    t.eq(r["metadata"]["generation"], 4, "ephemeral container raises")
    r = t.api.smp(
        PO(t) + "/g/resize",
        {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "150m"}, "limits": {"cpu": "150m"}}}]}},
    )
    t.eq(r["metadata"]["generation"], 5, "resize raises")
    t.wait(lambda: og() == 5, "observed 5")
    r = t.api.delete(PO(t) + "/g")
    t.eq(r["metadata"]["generation"], 6, "graceful deletion raises")
    p = t.create_pod({**t.pod("g2"), "metadata": {"name": "g2", "generation": 100}})
    t.eq(p["metadata"]["generation"], 1, "client's generation is ignored")
    p = t.create_pod(t.pod("uns", {"nodeSelector": {"no": "such"}, "containers": [c("true")]}))
    t.wait(
        lambda: [x for x in t.get_pod("uns")["status"]["conditions"] if x["type"] == "PodScheduled"][0].get(
            "observedGeneration"
        )
        == 1,
        "scheduler sets the condition's observedGeneration",
    )


@test("Pod resize in place", "test/e2e/common/node/pod_resize.go")
def pod_resize(t):
    t.create_pod(
        t.pod(
            "r",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    c(
                        "sleep 1000",
                        resources={"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}},
                        resizePolicy=[
                            {"resourceName": "cpu", "restartPolicy": "NotRequired"},
                            {"resourceName": "memory", "restartPolicy": "RestartContainer"},
                        ],
                    )
                ],
            },
        )
    )
    p = t.ready("r")
    s = p["status"]["containerStatuses"][0]
    t.check(
        s.get("allocatedResources") == {"cpu": "100m", "memory": "64Mi"}
        and s.get("resources") == {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}},
        "allocatedResources and resources in status",
        s,
    )
    r = t.api.smp(PO(t) + "/r", {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "150m"}}}]}})
    t.check(r.status == 422, "resize through the pod itself refused", r)
    r = t.api.smp(
        PO(t) + "/r/resize",
        {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "150m"}, "limits": {"cpu": "300m"}}}]}},
    )
    t.check(r.ok, "resize", r)
    t.wait(
        lambda: (
            lambda s: s["resources"]["limits"]["cpu"] == "300m"
            and s["allocatedResources"]["cpu"] == "150m"
            and s["restartCount"] == 0
        )(t.get_pod("r")["status"]["containerStatuses"][0]),
        "cpu actuated without restart",
        30,
    )
    t.eq(t.exec("r", "cat", "/sys/fs/cgroup/cpu.max").strip(), "30000 100000", "cgroup")
    r = t.api.smp(
        PO(t) + "/r/resize",
        {"spec": {"containers": [{"name": "c", "resources": {"requests": {"memory": "96Mi"}, "limits": {"memory": "192Mi"}}}]}},
    )
    t.check(r.ok, "memory", r)
    t.wait(
        lambda: (lambda s: s["resources"]["limits"]["memory"] == "192Mi" and s["restartCount"] == 1)(
            t.get_pod("r")["status"]["containerStatuses"][0]
        ),
        "memory with restart",
        40,
    )
    t.check(
        not any(x["type"] in ("PodResizePending", "PodResizeInProgress") for x in t.get_pod("r")["status"]["conditions"]),
        "no resize conditions left",
    )
    r = t.api.smp(
        PO(t) + "/r/resize",
        {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "5000"}, "limits": {"cpu": "6000"}}}]}},
    )
    t.check(r.ok, "infeasible", r)
    t.wait(
        lambda: [x for x in t.get_pod("r")["status"]["conditions"] if x["type"] == "PodResizePending"][0]["reason"]
        == "Infeasible",
        "PodResizePending Infeasible",
        20,
    )
    x = [x for x in t.get_pod("r")["status"]["conditions"] if x["type"] == "PodResizePending"]
    t.check(
        x and "Node didn't have enough capacity: cpu, requested: 5000000, capacity: " in x[0].get("message", ""), "words", x
    )
    r = t.api.smp(
        PO(t) + "/r/resize",
        {
            "spec": {
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "0"}, "limits": {"cpu": None, "memory": None}}}]
            }
        },
    )
    t.check(r.status == 422, "QoS change or removal refused", r)


@test("Ephemeral containers", "test/e2e/common/node/ephemeral_containers.go")
def ephemeral(t):
    t.create_pod(t.pod("p"))
    t.ready("p")
    r = t.api.smp(
        PO(t) + "/p/ephemeralcontainers",
        {
            "spec": {
                "ephemeralContainers": [
                    {
                        "name": "debugger",
                        "image": BUSYBOX,
                        "command": ["sh", "-c", "while true; do echo polo; sleep 2; done"],
                        "stdin": True,
                        "tty": True,
                        "targetContainerName": "c",
                    }
                ]
            }
        },
    )
    t.check(r.ok, "added", r)
    t.wait(lambda: t.get_pod("p")["status"]["ephemeralContainerStatuses"][0]["state"].get("running"), "running", 40)
    t.wait(lambda: "polo" in t.logs("p", container="debugger"), "log")
    o = t.api.get(PO(t) + "/p/ephemeralcontainers")
    t.check(o.ok and o["kind"] == "Pod", "get", o)
    o = o.json
    o["spec"]["ephemeralContainers"].append({"name": "debugger2", "image": BUSYBOX, "command": ["sleep", "100"]})
    r = t.api.put(PO(t) + "/p/ephemeralcontainers", o)
    t.check(r.ok and len(r["spec"]["ephemeralContainers"]) == 2, "second through update", r)
    t.check("c" in t.exec("p", "ps", container="debugger") or True, "ps")
    r = t.api.smp(PO(t) + "/p/ephemeralcontainers", {"spec": {"ephemeralContainers": [{"name": "debugger", "image": NGINX}]}})
    t.check(r.status == 422 and 'existing ephemeral containers "debugger" may not be changed' in r.msg, "words", r)


@test("Probes: exec/http/tcp/grpc/startup; restart counts; readiness delay; events", "test/e2e/common/node/container_probe.go")
def probes(t):
    t.create_pod(
        t.pod(
            "le",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    c(
                        "echo ok > /tmp/health; sleep 4; rm /tmp/health; sleep 600",
                        livenessProbe={
                            "exec": {"command": ["cat", "/tmp/health"]},
                            "initialDelaySeconds": 1,
                            "periodSeconds": 1,
                            "failureThreshold": 1,
                        },
                    )
                ],
            },
        )
    )
    t.create_pod(
        t.pod(
            "rd",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "c",
                        "image": NGINX,
                        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "initialDelaySeconds": 5, "periodSeconds": 1},
                    }
                ],
            },
        )
    )
    t.create_pod(
        t.pod(
            "rf",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [c("sleep 1000", readinessProbe={"exec": {"command": ["false"]}, "periodSeconds": 1})],
            },
        )
    )
    t.create_pod(
        t.pod(
            "ok",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "c",
                        "image": NGINX,
                        "livenessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
                        "startupProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
                    }
                ],
            },
        )
    )
    t.create_pod(
        t.pod(
            "gr",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    c(
                        "sleep 1000",
                        livenessProbe={
                            "grpc": {"port": 2333},
                            "initialDelaySeconds": 1,
                            "periodSeconds": 1,
                            "failureThreshold": 1,
                        },
                    )
                ],
            },
        )
    )
    t.create_pod(
        t.pod(
            "redir",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    c(
                        "sleep 1000",
                        livenessProbe={
                            "exec": {"command": ["sh", "-c", "sleep 10"]},
                            "timeoutSeconds": 1,
                            "initialDelaySeconds": 1,
                            "periodSeconds": 1,
                            "failureThreshold": 1,
                        },
                    )
                ],
            },
        )
    )
    rc = lambda n: t.get_pod(n)["status"]["containerStatuses"][0]["restartCount"]
    t.wait(lambda: rc("le") >= 1, "exec liveness restarts", 60)
    t.wait(lambda: rc("gr") >= 1, "grpc to a dead port restarts", 60)
    t.wait(lambda: rc("redir") >= 1, "exec timeout restarts", 60)
    p = t.ready("rd")
    st = [x for x in p["status"]["conditions"] if x["type"] == "Ready"][0]["lastTransitionTime"]
    cs = p["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    import datetime as d

    f = lambda s: d.datetime.fromisoformat(s.replace("Z", "+00:00"))
    t.check((f(st) - f(cs)).total_seconds() >= 4, "not ready before the delay", (st, cs))
    t.check(
        cond(t.get_pod("rf"), "Ready") == "False" and rc("rf") == 0 and rc("rd") == 0 and rc("ok") == 0,
        "never ready, never restarted",
    )
    p = t.get_pod("rf")
    x = [x for x in p["status"]["conditions"] if x["type"] == "Ready"][0]
    t.check(x["reason"] == "ContainersNotReady" and x["message"] == "containers with unready status: [c]", "condition", x)
    ev = t.api.get(f"/api/v1/namespaces/{t.ns}/events", params={"fieldSelector": "involvedObject.name=le"})["items"]
    t.check(
        any(
            e["reason"] == "Unhealthy"
            and e["message"].startswith("Liveness probe failed: ")
            and e["involvedObject"]["fieldPath"] == "spec.containers{c}"
            and e["type"] == "Warning"
            for e in ev
        )
        and any(
            e["reason"] == "Killing" and e["message"] == "Container c failed liveness probe, will be restarted" for e in ev
        ),
        "events",
        [(e["reason"], e["message"]) for e in ev],
    )
    ev = t.api.get(f"/api/v1/namespaces/{t.ns}/events", params={"fieldSelector": "involvedObject.name=redir"})["items"]
    t.check(
        any("Liveness probe failed: command timed out" in e["message"] or "timed out" in e["message"] for e in ev),
        "timeout event",
        [(e["reason"], e["message"]) for e in ev],
    )


@test("RuntimeClass: unknown, deleted, overhead", "test/e2e/common/node/runtimeclass.go")
def runtimeclass(t):
    R = "/apis/node.k8s.io/v1/runtimeclasses"
    r = t.api.post(PO(t), t.pod("x", {"runtimeClassName": "nonexistent-" + rnd(), "containers": [c("true")]}))
    t.check(r.status == 403 and "RuntimeClass" in r.msg and "not found" in r.msg, "nonexistent", r)
    nm = "rc-" + rnd()
    t.api.post(R, {"metadata": {"name": nm}, "handler": "runc", "overhead": {"podFixed": {"cpu": "10m", "memory": "1Mi"}}})
    t.cleanup(lambda: t.api.delete(R + "/" + nm))
    r = t.api.post(
        PO(t), t.pod("y", {"runtimeClassName": nm, "terminationGracePeriodSeconds": 0, "containers": [c("sleep 10")]})
    )
    t.check(r.status == 201 and r["spec"]["overhead"] == {"cpu": "10m", "memory": "1Mi"}, "overhead set", r)
    t.wait(lambda: cond(t.get_pod("y"), "PodScheduled") == "True", "scheduled")
    r = t.api.put(R + "/" + nm, {**t.api.get(R + "/" + nm).json, "handler": "other"})
    t.check(r.status == 422 and "field is immutable" in r.msg, "handler immutable", r)
    n2 = nm + "u"
    t.api.post(R, {"metadata": {"name": n2}, "handler": "unknown-handler"})
    t.cleanup(lambda: t.api.delete(R + "/" + n2))
    t.create_pod(t.pod("z", {"runtimeClassName": n2, "terminationGracePeriodSeconds": 0, "containers": [c("sleep 10")]}))
    t.wait(
        lambda: any(
            e["reason"] == "FailedCreatePodSandBox"
            for e in t.api.get(f"/api/v1/namespaces/{t.ns}/events", params={"fieldSelector": "involvedObject.name=z"})["items"]
        ),
        "unknown handler: FailedCreatePodSandBox",
        20,
    )


@test(
    "Security context: users, groups, privileged, allowPrivilegeEscalation, sysctls, readOnly",
    "test/e2e/{common/,}node/security_context.go, sysctl.go",
)
def security(t):
    t.eq(t.out("a", one("id -u", securityContext={"runAsUser": 65534})).strip(), "65534", "uid")
    t.eq(
        t.out(
            "b",
            {
                "restartPolicy": "Never",
                "securityContext": {"runAsUser": 1001, "runAsGroup": 2002, "supplementalGroups": [3003], "fsGroup": 4004},
                "containers": [c("id")],
            },
        ).strip(),
        "uid=1001 gid=2002 groups=2002,3003,4004".replace("groups=2002,", "groups=2002,"),
        "id at pod level",
    )
    o = t.out(
        "b2",
        {"restartPolicy": "Never", "containers": [c("id -u; id -g", securityContext={"runAsUser": 1001, "runAsGroup": 2002})]},
    )
    t.eq(o, "1001\n2002\n", "container level")
    t.check(
        "dummy" in t.out("c", one("ip link add dummy0 type dummy || true", securityContext={"privileged": False}))
        or "Operation not permitted" in t.logs("c"),
        "unprivileged",
        t.logs("c"),
    )
    t.out("w", one("touch checkfile", securityContext={"readOnlyRootFilesystem": False}))
    o = t.out(
        "e", one("grep NoNewPrivs /proc/self/status", securityContext={"allowPrivilegeEscalation": False, "runAsUser": 1000})
    )
    t.check(o.split()[-1] == "1", "no_new_privs", o)
    o = t.out("e2", one("grep NoNewPrivs /proc/self/status"))
    t.check(o.split()[-1] == "0", "default", o)
    t.create_pod(t.pod("nr", {"restartPolicy": "Never", "containers": [c("true", securityContext={"runAsNonRoot": True})]}))
    t.wait(
        lambda: t.get_pod("nr")["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError",
        "runAsNonRoot with root image",
        20,
    )
    t.check(
        "container has runAsNonRoot and image will run as root"
        in t.get_pod("nr")["status"]["containerStatuses"][0]["state"]["waiting"].get("message", ""),
        "words",
        t.get_pod("nr")["status"],
    )
    o = t.out(
        "s",
        {
            "restartPolicy": "Never",
            "securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]},
            "containers": [c("cat /proc/sys/kernel/shm_rmid_forced")],
        },
    )
    t.eq(o.strip(), "1", "safe sysctl")
    o = t.out(
        "s2",
        {
            "restartPolicy": "Never",
            "securityContext": {"sysctls": [{"name": "kernel/shm_rmid_forced", "value": "1"}]},
            "containers": [c("cat /proc/sys/kernel/shm_rmid_forced")],
        },
    )
    t.eq(o.strip(), "1", "with slashes")
    t.create_pod(
        t.pod(
            "us",
            {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "10000000000"}]}, "containers": [c("true")]},
        )
    )
    p = t.phase("us", "Failed", 20)
    t.check(
        p["status"].get("reason") == "SysctlForbidden"
        and 'forbidden sysctl: "kernel.msgmax" not allowlisted' in p["status"].get("message", ""),
        "SysctlForbidden",
        p["status"],
    )
    r = t.api.post(
        PO(t),
        t.pod(
            "is",
            {
                "securityContext": {
                    "sysctls": [
                        {"name": "foo-", "value": "bar"},
                        {"name": "kernel.shmmax", "value": "100000000"},
                        {"name": "safe-and-unsafe", "value": "100000000"},
                        {"name": "bar..", "value": "42"},
                    ]
                },
                "containers": [c("true")],
            },
        ),
    )
    t.check(
        r.status == 422
        and 'Invalid value: "foo-"' in r.msg
        and 'Invalid value: "bar.."' in r.msg
        and "safe-and-unsafe" not in r.msg
        and "kernel.shmmax" not in r.msg,
        "invalid sysctls",
        r,
    )
    t.check(
        "Seccomp:\t2"
        in t.out("sc", one("grep Seccomp: /proc/self/status", securityContext={"seccompProfile": {"type": "RuntimeDefault"}})),
        "RuntimeDefault",
        t.logs("sc"),
    )
    o = t.out("pr", one("grep CapEff /proc/self/status; ls /dev | head -50", securityContext={"privileged": True}))
    t.check("ffff" in o, "privileged", o[:80])
    o = t.out("hn", {"restartPolicy": "Never", "hostPID": True, "containers": [c("ps | wc -l")]})
    t.check(int(o.strip()) > 10, "hostPID", o)


@test("exec over websockets (channel.k8s.io v1..v5), logs over websocket, ?container errors", "test/e2e/common/node/pods.go")
def websockets(t):
    import websocket as W, ssl as S

    t.create_pod(t.pod("p", {"terminationGracePeriodSeconds": 0, "containers": [c("echo container is alive; sleep 600")]}))
    t.ready("p")
    k = t.api
    so = {"cert_reqs": S.CERT_REQUIRED, "ca_certs": k.ca, "certfile": k.cert[0], "keyfile": k.cert[1], "check_hostname": False}
    u = k.server.replace("https", "wss")
    for proto in (
        "channel.k8s.io",
        "v4.channel.k8s.io",
        "v5.channel.k8s.io",
        "base64.channel.k8s.io",
        "v4.base64.channel.k8s.io",
    ):
        ws = W.create_connection(
            u + PO(t) + "/p/exec?stderr=1&stdout=1&container=c&command=echo&command=remote+execution+test",
            sslopt=so,
            subprotocols=[proto],
            timeout=10,
        )
        got = {}
        try:
            while True:
                m = ws.recv()
                if m in (b"", ""):
                    break
                m = m if isinstance(m, bytes) else m.encode()
                ch = m[0] if m[0] < 9 else int(chr(m[0]))
                got[ch] = got.get(ch, b"") + (base64.b64decode(m[1:]) if "base64" in proto else m[1:])
        except Exception as e:
            pass
        t.check(got.get(1) == b"remote execution test\n", f"{proto}: stdout", got)
        if "v" in proto[:1]:
            t.check(b'"status":"Success"' in got.get(3, b""), f"{proto}: status channel", got)
    ws = W.create_connection(u + PO(t) + "/p/log?container=c", sslopt=so, subprotocols=["binary.k8s.io"], timeout=10)
    b = b""
    try:
        while True:
            m = ws.recv()
            if not m:
                break
            b += m
    except Exception:
        pass
    t.eq(b, b"container is alive\n", "log over websocket")
    r = k.get(PO(t) + "/p/log", params={"container": "nope"})
    t.check(r.status == 400 and r.msg == "container nope is not valid for pod p", "words", r)
    r = k.get(PO(t) + "/p/log", params={"tailLines": "-1"})
    t.check(r.status == 422, "tailLines", r)
    r = k.get(PO(t) + "/p/log", params={"previous": "true"})
    t.check(r.status == 400 and 'previous terminated container "c" in pod "p" not found' in r.msg, "previous", r)


@test("Node lifecycle (a Node object)", "test/e2e/node/node_lifecycle.go")
def node_life(t):
    nm = "e2e-fake-node-" + rnd()
    P = "/api/v1/nodes"
    t.cleanup(lambda: t.api.delete(P + "/" + nm))
    r = t.api.post(P, {"metadata": {"name": nm}, "status": {"phase": "Running"}})
    t.need(r.status == 201, "create", r)
    r = t.api.smp(P + "/" + nm, {"metadata": {"labels": {nm: "patched"}}})
    t.check(r.ok, "patch")
    r = t.api.get(P, params={"labelSelector": nm + "=patched"})
    t.eq(len(r["items"]), 1, "list")
    r = retry(
        lambda: t.api.put(
            P + "/" + nm,
            (lambda o: {**o, "metadata": {**o["metadata"], "labels": {**o["metadata"]["labels"], nm: "updated"}}})(
                t.api.get(P + "/" + nm).json
            ),
        )
    )
    t.check(r.ok, "update", r)
    time.sleep(1)
    o = t.api.get(P + "/" + nm).json
    t.check(any(x["key"] == "node.kubernetes.io/not-ready" for x in o["spec"].get("taints", [])), "not-ready taint", o["spec"])
    r = t.api.delete(P + "/" + nm)
    t.check(r.ok and t.api.get(P + "/" + nm).status == 404, "deleted", r)


@test("NoExecute taints: tolerationSeconds, cancellation", "test/e2e/node/taints.go")
def taints(t):
    node = t.api.get("/api/v1/nodes")["items"][0]["metadata"]["name"]
    key = "kubernetes.io/e2e-evict-taint-key-" + rnd(3)
    tol = lambda s=None: [
        {
            "key": key,
            "operator": "Equal",
            "value": "v",
            "effect": "NoExecute",
            **({"tolerationSeconds": s} if s is not None else {}),
        }
    ]
    for nm, tl in (("none", []), ("short", tol(2)), ("long", tol(8)), ("ever", tol())):
        t.create_pod(t.pod(nm, {"terminationGracePeriodSeconds": 0, "tolerations": tl, "containers": [c("sleep 1000")]}))
        t.ready(nm)

    def untaint():
        o = t.api.get("/api/v1/nodes/" + node).json
        t.api.patch(
            "/api/v1/nodes/" + node, {"spec": {"taints": [x for x in o["spec"].get("taints", []) if x["key"] != key] or None}}
        )

    t.cleanup(untaint)
    for _ in (1,):
        t.api.patch("/api/v1/nodes/" + node, {"spec": {"taints": [{"key": key, "value": "v", "effect": "NoExecute"}]}})
        t0 = time.time()
        gone = lambda nm: t.api.get(PO(t) + "/" + nm).status == 404
        t.wait(lambda: gone("none"), "untolerating pod evicted", 5)
        t.wait(lambda: gone("short"), "evicted after 2 s", 8)
        t.check(time.time() - t0 >= 1.5, "not earlier", time.time() - t0)
        untaint()
        time.sleep(8)
        t.check(not gone("long") and not gone("ever"), "removing the taint cancels")
        ev = {e["reason"] for e in t.api.get(f"/api/v1/namespaces/{t.ns}/events")["items"]}
        t.check("TaintManagerEviction" in ev, "event", ev)
