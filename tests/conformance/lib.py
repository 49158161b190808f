"""Harness: replays of upstream's conformance tests against a running sampan. See run.py."""

import base64, json, os, random, string, sys, tempfile, threading, time, traceback, urllib.parse, subprocess, queue
import requests, urllib3, yaml

urllib3.disable_warnings()
KUBECONFIG = os.environ.get("KUBECONFIG", "/root/.kube/config")
CONTEXT = os.environ.get("CONF_CONTEXT", "sampan-conf")
KUBECTL = os.environ.get("KUBECTL", "kubectl")
BUSYBOX, NGINX = "busybox:latest", "nginx:alpine"


class Resp:
    def __init__(s, r):
        s.status, s.headers, s.text, s.content = r.status_code, r.headers, r.text, r.content
        try:
            s.json = r.json()
        except Exception:
            s.json = None
        s.ok = r.status_code < 300

    def __getitem__(s, k):
        return s.json[k]

    def __repr__(s):
        return f"{s.status} {s.text[:600]}"

    @property
    def msg(s):
        return (s.json or {}).get("message", s.text) if isinstance(s.json, dict) else s.text

    @property
    def reason(s):
        return (s.json or {}).get("reason") if isinstance(s.json, dict) else None


class Api:
    def __init__(s, token=None, headers=None):
        k = yaml.safe_load(open(KUBECONFIG))
        ctx = next(c for c in k["contexts"] if c["name"] == CONTEXT)["context"]
        cl = next(c for c in k["clusters"] if c["name"] == ctx["cluster"])["cluster"]
        us = next(c for c in k["users"] if c["name"] == ctx["user"])["user"]
        s.server = cl["server"].rstrip("/")
        s.ses = requests.Session()
        s.ses.trust_env = False

        def f(d, key):
            if key in d:
                return d[key]
            t = tempfile.NamedTemporaryFile(delete=False)
            t.write(base64.b64decode(d[key + "-data"]))
            t.close()
            return t.name

        s.ca = f(cl, "certificate-authority")
        s.ses.verify = s.ca
        s.h = dict(headers or {})
        if token:
            s.h["Authorization"] = "Bearer " + token
        else:
            s.cert = (f(us, "client-certificate"), f(us, "client-key"))
            s.ses.cert = s.cert
        s.ses.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=64))

    def req(s, m, path, body=None, ct="application/json", accept="application/json", headers=None, params=None, timeout=240):
        h = dict(s.h)
        h.update({"Accept": accept})
        data = None
        if body is not None:
            data = body if isinstance(body, (str, bytes)) else json.dumps(body)
            h["Content-Type"] = ct
            if isinstance(data, str):
                data = data.encode()
        h.update(headers or {})
        for k in range(4):
            try:
                return Resp(
                    s.ses.request(
                        m, s.server + path, data=data, headers=h, params=params, timeout=timeout, allow_redirects=False
                    )
                )
            except requests.exceptions.ConnectionError as e:  # a machine so busy that a handshake times out
                if k == 3 or not ("EOF" in str(e) or "Remote end closed" in str(e)):
                    raise
                time.sleep(1)

    def get(s, p, **k):
        return s.req("GET", p, **k)

    def post(s, p, b, **k):
        return s.req("POST", p, b, **k)

    def put(s, p, b, **k):
        return s.req("PUT", p, b, **k)

    def patch(s, p, b, ct="application/merge-patch+json", **k):
        return s.req("PATCH", p, b, ct=ct, **k)

    def smp(s, p, b, **k):
        return s.patch(p, b, ct="application/strategic-merge-patch+json", **k)

    def jp(s, p, b, **k):
        return s.patch(p, b, ct="application/json-patch+json", **k)

    def delete(s, p, b=None, **k):
        return s.req("DELETE", p, b, **k)

    def watch(s, path, **params):
        return Watch(s, path, params)


class Watch:
    def __init__(s, api, path, params):
        s.events, s.err, s.cv = [], None, threading.Condition()
        p = {"watch": "1"}
        p.update({k: v for k, v in params.items()})
        s.r = api.ses.get(api.server + path, params=p, headers=api.h, stream=True, timeout=(10, 600))
        s.status = s.r.status_code
        s.t = threading.Thread(target=s.run, daemon=True)
        s.t.start()

    def run(s):
        try:
            for line in s.r.iter_lines(chunk_size=1):
                if line:
                    with s.cv:
                        s.events.append(json.loads(line))
                        s.cv.notify_all()
        except Exception as e:
            s.err = e

    def until(s, pred, timeout=30):
        i, end = 0, time.time() + timeout * SLOW
        with s.cv:
            while True:
                while i < len(s.events):
                    e = s.events[i]
                    i += 1
                    if pred(e):
                        return e
                left = end - time.time()
                if left <= 0:
                    return None
                s.cv.wait(left)

    def types(s):
        return [e["type"] for e in s.events]

    def close(s):
        try:
            s.r.close()
        except Exception:
            pass


class Fail(Exception):
    pass


TESTS = []


def test(upstream, file, slow=False):
    def d(f):
        TESTS.append((f.__name__, upstream, file, f, slow))
        return f

    return d


class T:
    """One running test: its namespace, its checks."""

    def __init__(s, api, name):
        s.api, s.name, s.fails, s.ok, s.cleanups, s.ns_ = api, name, [], 0, [], None
        s.extra = []

    @property
    def ns(s):
        if s.ns_ is None:
            s.ns_ = s.new_ns()
        return s.ns_

    def new_ns(s, labels=None):
        n = f"c-{s.name[:30].replace('_','-')}-{rnd()}"
        r = s.api.post("/api/v1/namespaces", {"metadata": {"name": n, "labels": labels or {}}})
        s.need(r.status == 201, "namespace created", r)
        s.extra.append(n)
        wait(lambda: s.api.get(f"/api/v1/namespaces/{n}/serviceaccounts/default").ok, 10)
        return n

    def check(s, cond, what, got=None):
        if cond:
            s.ok += 1
        else:
            s.fails.append(what + ("" if got is None else f"  [got: {str(got)[:900]}]"))
        return bool(cond)

    def need(s, cond, what, got=None):
        if not s.check(cond, what, got):
            raise Fail(what)

    def eq(s, a, b, what):
        return s.check(a == b, f"{what}: expected {b!r}", repr(a))

    def wait(s, f, what, timeout=30, every=0.1):
        v = wait(f, timeout, every)
        s.check(v, what + f" (within {timeout}s)")
        return v

    def cleanup(s, f):
        s.cleanups.append(f)

    def run_cleanups(s):
        for f in reversed(s.cleanups):
            try:
                f()
            except Exception:
                pass
        for n in s.extra:
            s.api.delete(f"/api/v1/namespaces/{n}")

    # pods
    def pod(s, name, spec=None, **meta):
        p = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, **meta},
            "spec": spec
            or {
                "containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "3600"]}],
                "terminationGracePeriodSeconds": 0,
            },
        }
        return p

    def create_pod(s, p):
        r = s.api.post(f"/api/v1/namespaces/{s.ns}/pods", p)
        s.need(r.status == 201, f"pod {p['metadata'].get('name')} created", r)
        return r.json

    def get_pod(s, n):
        return s.api.get(f"/api/v1/namespaces/{s.ns}/pods/{n}").json

    def phase(s, n, ph, timeout=60):
        last = {}

        def f():
            last["p"] = s.get_pod(n)
            return (last["p"].get("status") or {}).get("phase") in (ph if isinstance(ph, tuple) else (ph,))

        if not wait(f, timeout):
            s.need(False, f"pod {n} reaches {ph}", json.dumps(last["p"].get("status")))
        return last["p"]

    def ready(s, n, timeout=60):
        last = {}

        def f():
            last["p"] = s.get_pod(n)
            return cond(last["p"], "Ready") == "True"

        if not wait(f, timeout):
            s.need(False, f"pod {n} Ready", json.dumps(last["p"].get("status")))
        return last["p"]

    def logs(s, n, **params):
        return s.api.get(f"/api/v1/namespaces/{s.ns}/pods/{n}/log", params=params, accept="*/*").text

    def out(s, name, spec, timeout=60, phase="Succeeded", container=None, **meta):
        """Runs a pod to its end; its log. (framework's TestContainerOutput)"""
        spec.setdefault("restartPolicy", "Never")
        s.create_pod(s.pod(name, spec, **meta))
        s.phase(name, ("Succeeded", "Failed"), timeout)
        p = s.get_pod(name)
        log = s.logs(name, **({"container": container} if container else {}))
        s.check(p["status"]["phase"] == phase, f"pod {name} phase {phase}", json.dumps(p["status"]) + log)
        return log

    def kubectl(s, *a, inp=None, ns=True, ok=True, timeout=240):
        c = [KUBECTL, "--context", CONTEXT] + (["-n", s.ns] if ns else []) + list(a)
        r = subprocess.run(c, input=inp, capture_output=True, text=True, timeout=timeout)
        if ok:
            s.check(r.returncode == 0, f"kubectl {' '.join(a)} succeeds", r.stdout + r.stderr)
        return r

    def exec(s, pod, *cmd, container=None, timeout=200):
        a = ["exec", pod] + (["-c", container] if container else []) + ["--"] + list(cmd)
        r = s.kubectl(*a, ok=False, timeout=timeout)
        return r.stdout if r.returncode == 0 else r.stdout + "!ERR " + r.stderr


def cond(o, t):
    for c in (o.get("status") or {}).get("conditions") or []:
        if c["type"] == t:
            return c["status"]


SLOW = float(os.environ.get("CONF_SLOW", "4"))


def wait(f, timeout=30, every=0.1):
    end = time.time() + timeout * SLOW
    while True:
        try:
            v = f()
        except (KeyError, TypeError, IndexError):
            v = None
        if v:
            return v
        if time.time() > end:
            return None
        time.sleep(every)


def rnd(n=5):
    return "".join(random.choice(string.ascii_lowercase) for _ in range(n))
