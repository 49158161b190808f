"""The images of upstream's conformance suite, made of a Debian root and of what `build` built: a registry on loopback.

registry.py DIR PORT
"""

import hashlib
import http.server
import io
import json
import os
import re
import subprocess
import sys
import tarfile

DIR, PORT = sys.argv[1], int(sys.argv[2])
ROOT = f"{DIR}/root"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
manifests, blobs = {}, {}


def read(path):
    with open(path, "rb") as file:
        return file.read()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layer:
    """One layer: files are given by their paths."""

    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w")

    def add(self, path, data=b"", mode=0o644, kind=tarfile.REGTYPE, link=""):
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.linkname, info.size = kind, mode, link, len(data)
        self.tar.addfile(info, io.BytesIO(data))
        return self

    def directory(self, path, mode=0o755):
        return self.add(path, mode=mode, kind=tarfile.DIRTYPE)

    def link(self, path, to):
        return self.add(path, mode=0o777, kind=tarfile.SYMTYPE, link=to)

    def done(self):
        self.tar.close()
        return self.bytes.getvalue()


def image(names, layers, config):
    text = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Env": [PATH], **config},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
    }).encode()
    kind = "application/vnd.oci.image"
    part = lambda media, data: {"mediaType": f"{kind}.{media}", "digest": digest(data), "size": len(data)}
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json", "config": part("config.v1+json", text),
        "layers": [part("layer.v1.tar", layer) for layer in layers],
    }).encode()
    blobs.update({digest(data): data for data in [text, *layers]})
    for name in names:
        repository, tag = name.rsplit(":", 1)
        manifests[repository, tag] = manifests[repository, digest(manifest)] = manifest


def busybox():
    """busybox for everything but the shell: its own one drops variables whose names no shell can write."""
    layer = Layer()
    for name in ["bin", "dev", "etc", "home", "lib", "lib/x86_64-linux-gnu", "lib64", "proc", "root", "run", "sbin", "sys",
                 "usr", "usr/bin", "usr/sbin", "var", "var/run", "var/www"]:
        layer.directory(name)
    layer.directory("tmp", 0o1777)
    libraries = {"/lib/x86_64-linux-gnu/libnss_files.so.2", "/lib/x86_64-linux-gnu/libnss_dns.so.2"}
    for program in ["busybox", "bash"]:
        layer.add(f"bin/{'sh' if program == 'bash' else program}", read(f"{ROOT}/bin/{program}"), 0o755)
        needs = subprocess.run(["chroot", ROOT, "ldd", f"/bin/{program}"], capture_output=True, text=True, check=True)
        libraries.update(re.findall(r"(/\S+)", needs.stdout))
    for path in sorted(libraries):
        layer.add(path.lstrip("/"), read(inside(path)), 0o755)
    applets = subprocess.run(["chroot", ROOT, "/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for name in applets.stdout.split():
        if name not in ("busybox", "sh"):
            layer.link(f"bin/{name}", "busybox")
    layer.add("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n")
    layer.add("etc/group", b"root:x:0:\nnobody:x:65534:\n")
    return layer.done()


def inside(path):
    """A path of the root, its links followed inside of it."""
    for _ in range(8):
        full = ROOT + path
        if not os.path.islink(full):
            real = os.path.realpath(full)
            return real if real.startswith(ROOT) else ROOT + real
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(full)))
    return ROOT + path


def make():
    tests = f"{DIR}/src/test/images"
    debian, small = read(f"{DIR}/root.tar"), busybox()
    accounts, groups = (read(f"{ROOT}/etc/{name}") for name in ("passwd", "group"))
    agnhost = (
        Layer().add("agnhost", read(f"{DIR}/bin/agnhost"), 0o755).link("agnhost-2", "agnhost").directory("uploads")
        .directory("var/registry").add("localhost.crt", read(f"{tests}/agnhost/porter/localhost.crt"))
        .add("localhost.key", read(f"{tests}/agnhost/porter/localhost.key"))
        .add("etc/passwd", accounts + b"user-defined-in-image:x:1000:1000::/home/user:/bin/sh\n")
        .add("etc/group", groups + b"user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n")
        .done()
    )
    image(["e2e-test-images/agnhost:2.63.0", "e2e-test-images/agnhost:2.55"], [debian, agnhost],
          {"Entrypoint": ["/agnhost"], "Cmd": ["pause"], "ExposedPorts": {"80/tcp": {}}})
    image(["pause:3.10.2"], [agnhost], {"Entrypoint": ["/agnhost", "pause"]})
    image(["e2e-test-images/busybox:1.37.0-1", "e2e-test-images/busybox:1.36.1-1"], [small], {"Cmd": ["sh"]})
    image(["e2e-test-images/nonroot:1.5"], [small], {"User": "1234", "Cmd": ["sh"]})
    image([f"e2e-test-images/{name}" for name in ("perl:5.26", "ipc-utils:1.4", "glibc-dns-testing:2.0.0")], [debian], {"Cmd": ["sh"]})
    for version in ["1.15-4", "1.27-0"]:
        settings = (b"worker_processes 1; daemon off; error_log /dev/stderr; pid /run/nginx.pid;\nevents {}\n"
                    b"http { access_log /dev/stdout; server { listen 80; root /usr/share/nginx/html; } }\n")
        layer = Layer().add("etc/nginx/nginx.conf", settings)
        layer.add("usr/share/nginx/html/index.html", b"<h1>Welcome to nginx!</h1>")
        image([f"e2e-test-images/nginx:{version}"], [debian, layer.done()], {"Entrypoint": ["/usr/sbin/nginx"]})
    for name in ["nautilus", "kitten"]:
        layer = Layer().add("etc/os-release", b'NAME="Alpine Linux"\n')
        for file in [f"{name}.jpg", "data.json"]:
            layer.add(file, read(f"{tests}/{name}/html/{file}"))
        image([f"e2e-test-images/{name}:1.8"], [debian, agnhost, layer.done()],
              {"Entrypoint": ["/agnhost"], "Cmd": ["test-webserver"]})
    layer = Layer().add("usr/local/bin/nnp", read(f"{DIR}/bin/nnp"), 0o4755)
    image(["e2e-test-images/nonewprivs:1.4"], [debian, layer.done()], {"Cmd": ["nnp"]})
    layer = Layer().add("sample-apiserver", read(f"{DIR}/bin/sample-apiserver"), 0o755)
    image(["e2e-test-images/sample-apiserver:1.29.2"], [debian, layer.done()], {"Entrypoint": ["/sample-apiserver"]})
    layer = Layer().link("usr/local/bin/etcd", "/usr/bin/etcd")
    image(["etcd:3.6.8-0"], [debian, layer.done()], {"Cmd": ["etcd"]})


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, body):
        place = re.match(r"^/v2/(.+)/(manifests|blobs)/([^?]+)", self.path)
        if place is None:
            kind, data = "application/json", b"{}" if self.path.rstrip("/") == "/v2" else None
        elif place[2] == "manifests":
            kind, data = "application/vnd.oci.image.manifest.v1+json", manifests.get((place[1], place[3]))
        else:
            kind, data = "application/octet-stream", blobs.get(place[3])
        found = data is not None
        data = data if found else b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", kind if found else "application/json")
        self.send_header("Content-Length", str(len(data)))
        if found and place is not None:
            self.send_header("Docker-Content-Digest", digest(data))
        self.end_headers()
        if body:
            self.wfile.write(data)


make()
print(f"{len(manifests)} manifests on 127.0.0.1:{PORT}", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
