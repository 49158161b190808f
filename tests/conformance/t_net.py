from lib import *
from t_api2 import retry, PODS
from t_node import c, one, PO

SV = lambda t: f"/api/v1/namespaces/{t.ns}/services"


def svc(t, nm, **sp):
    r = t.api.post(
        SV(t), {"metadata": {"name": nm}, "spec": {"ports": [{"port": 80, "targetPort": 8080}], "selector": {"app": nm}, **sp}}
    )
    t.need(r.status == 201, "service", r)
    return r.json


def web(t, nm, labels, txt=None):
    t.create_pod(
        t.pod(
            nm,
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    c(f"mkdir -p /w && hostname > /w/index.html && httpd -f -p 8080 -h /w", ports=[{"containerPort": 8080}])
                ],
            },
            labels=labels,
        )
    )


def client(t):
    t.create_pod(t.pod("client", {"terminationGracePeriodSeconds": 0, "containers": [c("sleep 3600")]}))
    t.ready("client")


get = lambda t, u, n=1: [
    x
    for x in t.exec("client", "sh", "-c", f"for i in $(seq {n}); do wget -q -T 2 -O - {u} || echo FAIL; done").split("\n")
    if x
]


def slices(t, nm):
    return t.api.get(
        f"/apis/discovery.k8s.io/v1/namespaces/{t.ns}/endpointslices",
        params={"labelSelector": "kubernetes.io/service-name=" + nm},
    )["items"]


NF = "test/e2e/network/service.go"


@test("kubernetes Service; endpoints and slices of the API server; found in all namespaces", NF)
def svc_kubernetes(t):
    r = t.api.get("/api/v1/services")
    t.check(any(x["metadata"]["name"] == "kubernetes" and x["metadata"]["namespace"] == "default" for x in r["items"]), "found")
    s = t.api.get("/api/v1/namespaces/default/services/kubernetes").json
    t.check(
        s["spec"]["ports"][0]["port"] == 443
        and s["spec"]["ports"][0]["name"] == "https"
        and s["metadata"]["labels"] == {"component": "apiserver", "provider": "kubernetes"},
        "shape",
        s,
    )
    e = t.api.get("/api/v1/namespaces/default/endpoints/kubernetes")
    t.check(
        e.ok and len(e["subsets"]) == 1 and e["metadata"]["labels"].get("endpointslice.kubernetes.io/skip-mirror") == "true",
        "endpoints",
        e,
    )
    l = t.api.get(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        params={"labelSelector": "kubernetes.io/service-name=kubernetes"},
    )["items"]
    t.check(
        len(l) == 1
        and l[0]["endpoints"][0]["addresses"] == [e["subsets"][0]["addresses"][0]["ip"]]
        and l[0]["metadata"]["name"] == "kubernetes",
        "slice",
        l,
    )


@test("Services: basic and multiport endpoints from pods", NF)
def svc_endpoints(t):
    t.api.post(
        SV(t),
        {
            "metadata": {"name": "mp"},
            "spec": {
                "selector": {"foo": "bar"},
                "ports": [
                    {"name": "portname1", "port": 80, "targetPort": "c1"},
                    {"name": "portname2", "port": 81, "targetPort": "c2"},
                ],
            },
        },
    )
    E = lambda: {
        a["targetRef"]["name"]: sorted(p["port"] for p in s["ports"])
        for s in t.api.get(f"/api/v1/namespaces/{t.ns}/endpoints/mp").json.get("subsets", []) or []
        for a in s.get("addresses", [])
    }
    t.wait(lambda: t.api.get(f"/api/v1/namespaces/{t.ns}/endpoints/mp").ok and E() == {}, "empty endpoints exist")
    for i, n in ((1, "c1"), (2, "c2")):
        t.create_pod(
            t.pod(
                f"pod{i}",
                {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [c("sleep 1000", ports=[{"name": n, "containerPort": 99 + i}])],
                },
                labels={"foo": "bar"},
            )
        )
        t.wait(lambda: f"pod{i}" in E(), f"pod{i}", 30)
    t.eq(E(), {"pod1": [100], "pod2": [101]}, "each by its own port")
    sl = slices(t, "mp")
    t.eq(
        sorted((p["name"], p["port"]) for s in sl for p in s["ports"] if s["endpoints"]),
        [("portname1", 100), ("portname2", 101)],
        "slices by port",
    )
    t.check(
        all(
            s["metadata"]["labels"].get("endpointslice.kubernetes.io/managed-by") == "endpointslice-controller.k8s.io"
            and s["metadata"]["ownerReferences"][0]["kind"] == "Service"
            and s["metadata"]["generateName"] == "mp-"
            for s in sl
        ),
        "slice's metadata",
        sl and sl[0]["metadata"],
    )
    e = [x for s in sl for x in s["endpoints"]][0]
    t.check(
        e["conditions"] == {"ready": True, "serving": True, "terminating": False}
        and e["nodeName"]
        and e["targetRef"]["kind"] == "Pod"
        and e["targetRef"]["uid"],
        "endpoint",
        e,
    )
    for i in (1, 2):
        t.api.delete(PO(t) + f"/pod{i}")
    t.wait(lambda: E() == {}, "empty again")
    t.api.delete(SV(t) + "/mp")
    t.wait(
        lambda: not slices(t, "mp") and t.api.get(f"/api/v1/namespaces/{t.ns}/endpoints/mp").status == 404,
        "Endpoints and slices deleted with the Service",
        30,
    )


@test("Services: type changes ExternalName<->ClusterIP/NodePort", NF)
def svc_types(t):
    web(t, "p", {"app": "s"})
    t.ready("p")
    client(t)
    r = t.api.post(SV(t), {"metadata": {"name": "s"}, "spec": {"type": "ExternalName", "externalName": "foo.example.com"}})
    t.check(r.ok and not r["spec"].get("clusterIP") and "clusterIPs" not in r["spec"], "no cluster IP", r)
    for typ in ("ClusterIP", "NodePort"):
        o = t.api.get(SV(t) + "/s").json
        o["spec"].update(
            {
                "type": typ,
                "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
                "selector": {"app": "s"},
            }
        )
        o["spec"].pop("externalName", None)
        r = t.api.put(SV(t) + "/s", o)
        t.check(
            r.ok and r["spec"]["clusterIP"] and (typ == "ClusterIP" or r["spec"]["ports"][0].get("nodePort")), "to " + typ, r
        )
        t.check(get(t, "http://s") == ["p"], "reachable by name", get(t, "http://s"))
        if typ == "NodePort":
            ip = t.get_pod("p")["status"]["hostIP"]
            t.eq(get(t, f"http://{ip}:{r['spec']['ports'][0]['nodePort']}"), ["p"], "node port")
        o = r.json
        o["spec"].update({"type": "ExternalName", "externalName": "bar.example.com"})
        o["spec"]["clusterIP"] = ""
        o["spec"].pop("clusterIPs", None)
        r = t.api.put(SV(t) + "/s", o)
        t.check(
            r.ok and not r["spec"].get("clusterIP") and not (r["spec"].get("ports") or [{}])[0].get("nodePort"),
            "back to ExternalName releases",
            r,
        )
        o2 = t.exec("client", "nslookup", f"s.{t.ns}.svc.cluster.local")
        t.check("bar.example.com" in o2, "CNAME", o2)


@test("Services: session affinity, switching, NodePort", NF)
def svc_affinity(t):
    for i in range(3):
        web(t, f"w{i}", {"app": "aff"})
    for i in range(3):
        t.ready(f"w{i}")
    client(t)
    s = svc(t, "aff", type="NodePort", sessionAffinity="ClientIP")
    t.eq(s["spec"]["sessionAffinityConfig"], {"clientIP": {"timeoutSeconds": 10800}}, "default timeout")
    t.wait(lambda: len(slices(t, "aff")[0]["endpoints"]) == 3, "three")
    time.sleep(0.5)
    ip, np, host = s["spec"]["clusterIP"], s["spec"]["ports"][0]["nodePort"], t.get_pod("client")["status"]["hostIP"]
    for u in (f"http://{ip}", f"http://{host}:{np}"):
        h = get(t, u, 15)
        t.check(len(h) == 15 and len(set(h)) == 1, "affinity " + u, h)
    r = t.api.patch(SV(t) + "/aff", {"spec": {"sessionAffinity": "None"}})
    t.check(r.ok and "sessionAffinityConfig" not in r["spec"], "None: config cleared", r)
    time.sleep(0.5)
    h = get(t, f"http://{ip}", 30)
    t.check(len(set(h)) > 1, "spread", h)
    t.api.patch(SV(t) + "/aff", {"spec": {"sessionAffinity": "ClientIP"}})
    time.sleep(0.5)
    h = get(t, f"http://{ip}", 15)
    t.check(len(set(h)) == 1 and len(h) == 15, "affinity again", h)


@test("Services: same port TCP and UDP", NF)
def svc_protocols(t):
    t.create_pod(
        t.pod(
            "m",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    c(
                        "mkdir -p /w && echo tcp > /w/index.html && httpd -p 80 -h /w && while true; do echo udp | nc -u -l -p 80 -w 1; done"
                    )
                ],
            },
            labels={"app": "mp"},
        )
    )
    t.ready("m")
    client(t)
    r = t.api.post(
        SV(t),
        {
            "metadata": {"name": "mp"},
            "spec": {
                "selector": {"app": "mp"},
                "ports": [
                    {"name": "tcp-port", "port": 80, "protocol": "TCP"},
                    {"name": "udp-port", "port": 80, "protocol": "UDP"},
                ],
            },
        },
    )
    t.check(r.ok, "service", r)
    ip = r["spec"]["clusterIP"]
    t.wait(lambda: get(t, f"http://{ip}") == ["tcp"], "tcp")
    o = t.api.get(SV(t) + "/mp").json
    o["spec"]["ports"] = [{"name": "udp-port", "port": 80, "protocol": "UDP"}]
    r = t.api.put(SV(t) + "/mp", o)
    t.check(r.ok, "only UDP", r)
    t.wait(lambda: get(t, f"http://{ip}") != ["tcp"], "tcp is refused", 10)
    r = t.api.smp(SV(t) + "/mp", {"spec": {"ports": [{"port": 80, "protocol": "TCP", "name": "tcp-port"}]}})
    t.check(r.ok, "strategic patch by port (upstream merges by port)", r)


@test("Services: status lifecycle; deletecollection; patch", NF)
def svc_status(t):
    w = t.api.watch(SV(t), labelSelector="test-service-static=true")
    r = t.api.post(
        SV(t),
        {
            "metadata": {"name": "test-service", "labels": {"test-service-static": "true"}},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": "example.com/internal-vip",
                "ports": [{"name": "http", "port": 80, "targetPort": 80}],
            },
        },
    )
    t.need(r.ok, "made", r)
    t.check(w.until(lambda e: e["type"] == "ADDED"), "added")
    P = SV(t) + "/test-service"
    r = t.api.get(P + "/status")
    t.check(r.ok and r["status"] == {"loadBalancer": {}}, "get status", r)
    r = t.api.patch(
        P + "/status",
        {
            "metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
        },
    )
    t.check(
        r.ok
        and r["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
        and r["metadata"]["annotations"]["patchedstatus"] == "true",
        "patch status (ipMode VIP)",
        r,
    )

    def us():
        o = t.api.get(P).json
        o["status"]["conditions"] = [
            {
                "type": "StatusUpdate",
                "status": "True",
                "reason": "E2E",
                "message": "Set from e2e test",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ]
        return t.api.put(P + "/status", o)

    r = retry(us)
    t.check(r.ok and r["status"]["conditions"][0]["type"] == "StatusUpdate", "update", r)
    r = t.api.smp(P, {"metadata": {"labels": {"test-service": "patched"}}})
    t.check(r.ok, "patch")
    t.api.delete(P)
    t.check(w.until(lambda e: e["type"] == "DELETED", 10), "deleted")
    for n, l in (("a", "yes"), ("b", "yes"), ("c", "no")):
        t.api.post(SV(t), {"metadata": {"name": n, "labels": {"e2e": l}}, "spec": {"ports": [{"port": 80}]}})
    r = t.api.delete(SV(t), params={"labelSelector": "e2e=yes"})
    t.check(r.ok and [x["metadata"]["name"] for x in t.api.get(SV(t))["items"]] == ["c"], "deletecollection", r)


@test("Endpoints life cycle and mirroring", "test/e2e/network/service.go, endpointslicemirroring.go")
def endpoints(t):
    E = f"/api/v1/namespaces/{t.ns}/endpoints"
    w = t.api.watch(E, labelSelector="test-endpoint-static=true")
    r = t.api.post(
        E,
        {
            "metadata": {"name": "testservice", "labels": {"test-endpoint-static": "true"}},
            "subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}],
        },
    )
    t.need(r.ok, "made", r)
    o = r.json
    o["metadata"]["labels"]["test-service"] = "updated"
    r = t.api.put(E + "/testservice", o)
    t.check(r.ok, "update")
    r = t.api.smp(
        E + "/testservice",
        {
            "metadata": {"labels": {"test-service": "patched"}},
            "subsets": [
                {"addresses": [{"ip": "10.0.0.25"}], "ports": [{"name": "http-test", "port": 8080, "protocol": "TCP"}]}
            ],
        },
    )
    t.check(
        r.ok
        and r["subsets"]
        == [{"addresses": [{"ip": "10.0.0.25"}], "ports": [{"name": "http-test", "port": 8080, "protocol": "TCP"}]}],
        "strategic patch replaces subsets (atomic)",
        r,
    )
    r = t.api.delete(E, params={"labelSelector": "test-endpoint-static=true"})
    t.check(w.until(lambda e: e["type"] == "DELETED", 5), "deleted", r)
    r0 = t.api.post(
        SV(t),
        {
            "metadata": {"name": "example-custom-endpoints"},
            "spec": {"ports": [{"name": "example", "port": 80, "protocol": "TCP"}]},
        },
    )
    r = t.api.post(
        E,
        {
            "metadata": {"name": "example-custom-endpoints", "labels": {"a": "b"}},
            "subsets": [{"ports": [{"name": "example", "port": 80, "protocol": "TCP"}], "addresses": [{"ip": "10.1.2.3"}]}],
        },
    )
    t.check(
        "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice" in r.headers.get("Warning", ""),
        "deprecation warning",
        r.headers.get("Warning"),
    )
    t.wait(lambda: len(slices(t, "example-custom-endpoints")) == 1, "mirrored")
    s = slices(t, "example-custom-endpoints")
    s = s[0] if s else {}
    t.check(
        s
        and s["ports"] == [{"name": "example", "protocol": "TCP", "port": 80}]
        and s["endpoints"][0]["addresses"] == ["10.1.2.3"]
        and s["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == "endpointslicemirroring-controller.k8s.io"
        and s["metadata"]["labels"].get("a") == "b"
        and s["metadata"]["ownerReferences"][0]["kind"] == "Endpoints",
        "mirror's shape",
        s,
    )
    o = t.api.get(E + "/example-custom-endpoints").json
    o["subsets"][0]["addresses"][0]["ip"] = "10.2.3.4"
    t.api.put(E + "/example-custom-endpoints", o)
    t.wait(lambda: slices(t, "example-custom-endpoints")[0]["endpoints"][0]["addresses"] == ["10.2.3.4"], "update mirrored")
    t.api.delete(E + "/example-custom-endpoints")
    t.wait(lambda: not slices(t, "example-custom-endpoints"), "deleted")


@test("EndpointSlice with a custom slice; pods without selector", "test/e2e/network/endpointslice.go")
def endpointslice(t):
    web(t, "p", {"app": "custom"})
    ip = t.ready("p")["status"]["podIP"]
    client(t)
    s = t.api.post(SV(t), {"metadata": {"name": "manual"}, "spec": {"ports": [{"port": 80, "name": "http"}]}}).json
    t.api.post(
        f"/apis/discovery.k8s.io/v1/namespaces/{t.ns}/endpointslices",
        {
            "metadata": {
                "name": "m1",
                "labels": {"kubernetes.io/service-name": "manual", "endpointslice.kubernetes.io/managed-by": "e2e-test"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [ip]}],
        },
    )
    t.wait(lambda: get(t, "http://manual") == ["p"], "reachable", 10)


@test(
    "DNS: services, headless, pods by hostname/subdomain, ExternalName, partial names, dnsConfig, /etc/hosts",
    "test/e2e/network/dns.go",
)
def dns(t):
    client(t)
    n = t.ns
    ns = lambda name, typ="a": t.exec("client", "nslookup", f"-type={typ}", name)
    s = svc(t, "test-service-2", ports=[{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}])
    t.api.post(
        SV(t),
        {
            "metadata": {"name": "hl"},
            "spec": {"clusterIP": "None", "selector": {"dns": "1"}, "ports": [{"name": "http", "port": 80}]},
        },
    )
    t.create_pod(
        t.pod(
            "dns-querier",
            {
                "hostname": "dns-querier-2",
                "subdomain": "hl",
                "terminationGracePeriodSeconds": 0,
                "containers": [c("sleep 1000")],
            },
            labels={"dns": "1"},
        )
    )
    ip = t.ready("dns-querier")["status"]["podIP"]
    time.sleep(0.5)
    for nm in ("test-service-2", f"test-service-2.{n}", f"test-service-2.{n}.svc", f"test-service-2.{n}.svc.cluster.local"):
        o = t.exec("client", "wget", "-q", "-T", "2", "-O", "-", f"http://{nm}:81")
        o = t.exec("client", "ping", "-c", "1", nm) if False else t.exec("client", "nslookup", nm)
        t.check(s["spec"]["clusterIP"] in o, nm, o)
    t.check(ip in ns(f"hl.{n}.svc.cluster.local"), "headless A", ns(f"hl.{n}.svc.cluster.local"))
    o = ns(f"_http._tcp.hl.{n}.svc.cluster.local", "srv")
    t.check(f"dns-querier-2.hl.{n}.svc.cluster.local" in o, "SRV", o)
    o = ns(f"_http._tcp.test-service-2.{n}.svc.cluster.local", "srv")
    t.check(f"test-service-2.{n}.svc.cluster.local" in o, "SRV of a ClusterIP", o)
    t.check(ip in ns(f"dns-querier-2.hl.{n}.svc.cluster.local"), "pod by hostname and subdomain")
    o = t.exec("dns-querier", "cat", "/etc/hosts")
    t.check(f"{ip}\tdns-querier-2.hl.{n}.svc.cluster.local\tdns-querier-2" in o, "/etc/hosts with FQDN", o)
    t.eq(
        t.exec("dns-querier", "hostname", "-f").strip() if False else t.exec("dns-querier", "hostname").strip(),
        "dns-querier-2",
        "hostname",
    )
    o = ns(".".join(reversed(s["spec"]["clusterIP"].split("."))) + ".in-addr.arpa", "ptr")
    t.check(f"test-service-2.{n}.svc.cluster.local" in o, "PTR", o)
    o = ns(ip.replace(".", "-") + f".{n}.pod.cluster.local")
    t.check(ip in o, "pod A record", o)
    t.check("!ERR" not in t.exec("client", "nslookup", "kubernetes.default.svc.cluster.local"), "kubernetes.default")
    t.api.post(SV(t), {"metadata": {"name": "en"}, "spec": {"type": "ExternalName", "externalName": "foo.example.com"}})
    time.sleep(0.3)
    o = ns(f"en.{n}.svc.cluster.local", "cname")
    t.check("foo.example.com" in o, "CNAME", o)
    t.api.patch(SV(t) + "/en", {"spec": {"externalName": "bar.example.com"}})
    time.sleep(0.3)
    o = ns(f"en.{n}.svc.cluster.local", "cname")
    t.check("bar.example.com" in o, "changed", o)
    t.create_pod(
        t.pod(
            "dc",
            {
                "dnsPolicy": "None",
                "dnsConfig": {
                    "nameservers": ["1.1.1.1"],
                    "searches": ["resolv.conf.local"],
                    "options": [{"name": "ndots", "value": "3"}, {"name": "edns0"}],
                },
                "terminationGracePeriodSeconds": 0,
                "containers": [c("sleep 1000")],
            },
        )
    )
    t.ready("dc")
    o = t.exec("dc", "cat", "/etc/resolv.conf")
    t.eq(o, "nameserver 1.1.1.1\nsearch resolv.conf.local\noptions ndots:3 edns0\n", "resolv.conf")
    o = t.exec("client", "cat", "/etc/resolv.conf")
    t.check(
        o.startswith("search " + n + ".svc.cluster.local svc.cluster.local cluster.local") and "options ndots:5" in o,
        "ClusterFirst",
        o,
    )
    t.create_pod(
        t.pod(
            "fq",
            {
                "setHostnameAsFQDN": True,
                "hostname": "fq",
                "subdomain": "hl",
                "terminationGracePeriodSeconds": 0,
                "containers": [c("sleep 1000")],
            },
        )
    )
    t.ready("fq")
    t.eq(t.exec("fq", "hostname").strip(), f"fq.hl.{n}.svc.cluster.local", "setHostnameAsFQDN")


@test("HostPort: same port, different hostIP/protocol; NodePort reachability; intra-pod", "test/e2e/network/hostport.go")
def hostport(t):
    node = t.api.get("/api/v1/nodes")["items"][0]
    nm = node["metadata"]["name"]
    ip = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"][0]
    for i, (h, pr) in enumerate((("127.0.0.1", "TCP"), (ip, "TCP"), (ip, "UDP"))):
        t.create_pod(
            t.pod(
                f"pod{i}",
                {
                    "nodeSelector": {"kubernetes.io/hostname": nm},
                    "terminationGracePeriodSeconds": 0,
                    "containers": [
                        c(
                            "mkdir -p /w && hostname > /w/hostname && httpd -f -p 8080 -h /w",
                            ports=[{"hostPort": 54323, "containerPort": 8080, "protocol": pr, "hostIP": h}],
                        )
                    ],
                },
            )
        )
    for i in range(3):
        t.ready(f"pod{i}")
    t.create_pod(t.pod("h", {"hostNetwork": True, "terminationGracePeriodSeconds": 0, "containers": [c("sleep 1000")]}))
    t.ready("h")
    t.eq(t.exec("h", "wget", "-q", "-T", "3", "-O", "-", "http://127.0.0.1:54323/hostname").strip(), "pod0", "127.0.0.1")
    t.eq(t.exec("h", "wget", "-q", "-T", "3", "-O", "-", f"http://{ip}:54323/hostname").strip(), "pod1", "the node's address")


@test("Proxy: pod and service, verbs, paths; node logs", "test/e2e/network/proxy.go")
def proxy(t):
    t.create_pod(
        t.pod(
            "agnhost",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": NGINX, "ports": [{"containerPort": 80}]}],
            },
            labels={"test": "response"},
        )
    )
    t.ready("agnhost")
    t.api.post(
        SV(t),
        {
            "metadata": {"name": "test-service"},
            "spec": {"ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}], "selector": {"test": "response"}},
        },
    )
    time.sleep(0.5)
    for b in (PO(t) + "/agnhost/proxy", SV(t) + "/test-service/proxy"):
        r = t.api.get(b)
        t.check(
            r.status == 301 and r.headers["Location"].endswith("/proxy/"),
            "GET without slash redirects",
            (r.status, dict(r.headers)),
        )
        for m in ("GET", "HEAD"):
            r = t.api.req(m, b + "/", accept="*/*")
            t.check(r.status == 200 and (m == "HEAD" or "Welcome to nginx" in r.text), m + " " + b, r)
        for m in ("DELETE", "OPTIONS", "PATCH", "POST", "PUT"):
            r = t.api.req(m, b + "/", body="x" if m != "DELETE" else None, ct="text/plain", accept="*/*")
            t.check(r.status == 405 and "nginx" in r.text, m + " reaches the backend (its 405)", r)
        r = t.api.get(b + "/some/path/with/GET")
        t.check(r.status == 404 and "nginx" in r.text, "path", r)
    for b in (PO(t) + "/http:agnhost:80/proxy/", SV(t) + "/http:test-service:80/proxy/", SV(t) + "/test-service:80/proxy/"):
        r = t.api.get(b, accept="*/*")
        t.check(r.status == 200, b, r)
    node = t.api.get("/api/v1/nodes")["items"][0]["metadata"]["name"]
    r = t.api.get(f"/api/v1/nodes/{node}/proxy/logs/", accept="*/*")
    t.check(r.status == 200, "nodes/proxy/logs/", r)
    r = t.api.get(f"/api/v1/nodes/{node}:10250/proxy/logs/", accept="*/*")
    t.check(r.status == 200, "with the port", r)
    for p in (
        "pods",
        "healthz",
        "metrics",
        "stats/summary",
        "configz",
        "metrics/cadvisor",
        "metrics/resource",
        "metrics/probes",
    ):
        r = t.api.get(f"/api/v1/nodes/{node}/proxy/{p}", accept="*/*")
        t.check(r.status == 200, "nodes/proxy/" + p, r)


@test("Service latency (fifty Services with one pod)", "test/e2e/network/service_latency.go")
def svc_latency(t):
    t.create_pod(t.pod("p", labels={"name": "svc-latency-rc"}))
    t.ready("p")
    ds = []
    for i in range(50):
        w = t.api.watch(f"/api/v1/namespaces/{t.ns}/endpoints", fieldSelector=f"metadata.name=l{i}")
        t0 = time.time()
        svc(t, f"l{i}", selector={"name": "svc-latency-rc"})
        t.check(w.until(lambda e: e["object"].get("subsets"), 10), "endpoints")
        ds.append(time.time() - t0)
        w.close()
    t.check(sorted(ds)[45] < 1, "90 %", sorted(ds)[45])


@test("EndpointSlice: several ports and IPs in several slices", "test/e2e/network/endpointslice.go")
def endpointslice_multi(t):
    t.create_pod(
        t.pod(
            "s1",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [c("mkdir -p /w && hostname > /w/index.html && httpd -p 8090 -h /w && httpd -f -p 9090 -h /w")],
            },
        )
    )
    t.create_pod(
        t.pod(
            "s2",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [c("mkdir -p /w && hostname > /w/index.html && httpd -f -p 8090 -h /w")],
            },
        )
    )
    ip1 = t.ready("s1")["status"]["podIP"]
    ip2 = t.ready("s2")["status"]["podIP"]
    client(t)
    for nm, x in (
        ("one", ((ip1, 8090, "port80"), (ip1, 9090, "port81"))),
        ("two", ((ip1, 8090, "port80"), (ip2, 8090, "port81"))),
    ):
        s = t.api.post(
            SV(t),
            {"metadata": {"name": nm}, "spec": {"ports": [{"name": "port80", "port": 80}, {"name": "port81", "port": 81}]}},
        ).json
        for ip, p, pn in x:
            r = t.api.post(
                f"/apis/discovery.k8s.io/v1/namespaces/{t.ns}/endpointslices",
                {
                    "metadata": {
                        "generateName": "e2e-custom-slice",
                        "labels": {"kubernetes.io/service-name": nm, "endpointslice.kubernetes.io/managed-by": "e2e-test"},
                    },
                    "addressType": "IPv4",
                    "ports": [{"name": pn, "port": p, "protocol": "TCP"}],
                    "endpoints": [{"addresses": [ip], "conditions": {"ready": True}}],
                },
            )
            t.check(r.ok, "slice", r)
        t.wait(lambda: get(t, f"http://{s['spec']['clusterIP']}:80") == ["s1"], nm + " 80", 10)
        t.wait(lambda: get(t, f"http://{s['spec']['clusterIP']}:81") == ["s1" if nm == "one" else "s2"], nm + " 81", 10)
