//! The platform of addons on the built binary: ingress with TLS and websockets, a package of one's own, the registry.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{SinkExt, StreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sampan_test_e2e::{apply, cluster, eventually, fetch, field, ready, registry};
use sampan_testkit::{Cluster, Image, free_port};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

/// `sampan … -o json`.
fn json(cluster: &Cluster, arguments: &[&str]) -> Result<Value> {
    let said = cluster.sampan(&[arguments, &["-o", "json"]].concat())?;
    serde_json::from_str(&said).with_context(|| format!("{arguments:?}: {said}"))
}

/// One addon of the list.
fn listed(cluster: &Cluster, name: &str) -> Result<Value> {
    let all = json(cluster, &["addons", "list"])?;
    let one = all.as_array().context("a list")?.iter().find(|addon| addon["name"] == name);
    one.cloned().with_context(|| format!("{name} is not in {all}"))
}

/// What a command that fails says, and its exit code.
fn refused(cluster: &Cluster, arguments: &[&str]) -> Result<(String, i32)> {
    let output = cluster.command().args(arguments).output()?;
    ensure!(!output.status.success(), "{arguments:?} succeeded");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((said, output.status.code().context("an exit code")?))
}

/// A certificate for a host, as files and as a Secret of the host's first label.
fn certificate(cluster: &Cluster, directory: &Path, name: &str, host: &str) -> Result<PathBuf> {
    let made = rcgen::generate_simple_self_signed([host.to_owned()])?;
    let (crt, key) = (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
    std::fs::write(&crt, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let files = [format!("--cert={}", crt.display()), format!("--key={}", key.display())];
    let secret = cluster.kubectl(&[
        "create",
        "secret",
        "tls",
        name,
        &files[0],
        &files[1],
        "--dry-run=client",
        "-o",
        "yaml",
    ])?;
    apply(cluster, &secret)?;
    Ok(crt)
}

/// A page through the ingress with curl, which believes only `authority`.
fn page(host: &str, port: u16, authority: &Path) -> Result<String> {
    let resolve = format!("{host}:{port}:127.0.0.1");
    let output = Command::new("curl")
        .args(["-sS", "-m", "5", "--resolve", &resolve, "--cacert"])
        .arg(authority)
        .arg(format!("https://{host}:{port}/"))
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A websocket server of this process at every address; it says everything back. Its port.
fn sockets() -> Result<u16> {
    let listener = std::net::TcpListener::bind("0.0.0.0:0")?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { continue };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        let _ = socket.send(message).await;
                    }
                }
            }
        });
    });
    Ok(port)
}

fn python() -> Result<PathBuf> {
    let tools =
        PathBuf::from(std::env::var("SAMPAN_TEST_TOOLS").context("SAMPAN_TEST_TOOLS: run `make test`")?);
    Ok(tools.join("venv/bin/python"))
}

/// The ingress with two hosts, as its clients know it.
struct Front {
    http: u16,
    https: u16,
    /// The certificate of `one.test`.
    one: PathBuf,
    /// The certificate of `*.two.test`.
    two: PathBuf,
    node: String,
    directory: tempfile::TempDir,
}

impl Front {
    /// Both hosts with their certificates, the redirect, the websocket, the status.
    fn serves(&self, cluster: &Cluster) -> Result<()> {
        for (host, authority) in [("one.test", &self.one), ("a.two.test", &self.two)] {
            let seen = eventually(host, SOON, || Ok(page(host, self.https, authority).ok()))?;
            ensure!(seen.contains("Welcome to nginx"), "{seen}");
        }
        // each host has its own certificate
        ensure!(page("one.test", self.https, &self.two).is_err());
        let redirect = Command::new("curl")
            .args(["-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"])
            .args(["-H", "Host: one.test", &format!("http://127.0.0.1:{}/x", self.http)])
            .output()?;
        let redirect = String::from_utf8_lossy(&redirect.stdout).into_owned();
        ensure!(redirect.starts_with("308 https://one.test"), "{redirect}");
        let client = Command::new(python()?)
            .arg("-c")
            .arg(include_str!("addons/socket.py"))
            .arg(self.https.to_string())
            .arg(&self.one)
            .output()?;
        let heard = String::from_utf8_lossy(&client.stdout).into_owned();
        ensure!(heard.trim() == "hello", "{heard}{}", String::from_utf8_lossy(&client.stderr));
        ensure!(field(cluster, "ingress/one", "{.status.loadBalancer.ingress[0].ip}")? == self.node);
        Ok(())
    }

    /// Another certificate is served as soon as it is there.
    fn renews(&mut self, cluster: &Cluster) -> Result<()> {
        self.one = certificate(cluster, self.directory.path(), "one", "one.test")?;
        eventually("the new certificate", SOON, || Ok(page("one.test", self.https, &self.one).ok()))?;
        Ok(())
    }
}

fn ingress(cluster: &Cluster) -> Result<Front> {
    let (http, https, sockets) = (free_port(), free_port(), sockets()?);
    let ports = [format!("http.port={http}"), format!("https.port={https}")];
    // a Service that has the port at the node's address is led there before any socket: it is named
    cluster.kubectl(&["create", "service", "loadbalancer", "taker", &format!("--tcp={http}:80")])?;
    eventually("an address", SOON, || {
        let address = field(cluster, "service/taker", "{.status.loadBalancer.ingress[0].ip}")?;
        Ok((!address.is_empty()).then_some(()))
    })?;
    cluster.sampan(&["addons", "enable", "ingress", "--set", &ports[0], "--set", &ports[1]])?;
    let health = listed(cluster, "ingress")?["health"].clone();
    let reason = health["reason"].as_str().unwrap_or_default();
    ensure!(
        health["state"] == "degraded" && reason.ends_with("leads to the Service default/taker"),
        "{health}"
    );
    cluster.kubectl(&["delete", "service", "taker"])?;
    eventually("all ports", SOON, || {
        Ok((listed(cluster, "ingress")?["health"]["state"] == "healthy").then_some(()))
    })?;
    let node = field(cluster, "nodes", "{.items[0].status.addresses[?(@.type==\"InternalIP\")].address}")?;
    let directory = tempfile::tempdir()?;
    let one = certificate(cluster, directory.path(), "one", "one.test")?;
    let two = certificate(cluster, directory.path(), "two", "*.two.test")?;
    let sites = include_str!("addons/sites.yaml").replace("SOCKETS", &sockets.to_string());
    apply(cluster, &sites.replace("NODE", &node))?;
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    let mut front = Front { http, https, one, two, node, directory };
    front.serves(cluster)?;
    front.renews(cluster)?;
    Ok(front)
}

fn ingress_gone(cluster: &Cluster) -> Result<()> {
    let before = json(cluster, &["addons", "configure", "ingress"])?;
    let port = before["set"]["https"]["port"].as_u64().with_context(|| format!("no port in {before}"))?;
    // a port that somebody has is refused, and what was is again
    let taken = std::net::TcpListener::bind("0.0.0.0:0")?;
    let set = format!("http.port={}", taken.local_addr()?.port());
    let (said, _) = refused(cluster, &["addons", "configure", "ingress", "--set", &set])?;
    ensure!(said.contains("is taken by"), "{said}");
    let after = json(cluster, &["addons", "configure", "ingress"])?;
    ensure!(after["set"] == before["set"] && after["status"]["health"]["state"] == "healthy", "{after}");
    cluster.sampan(&["addons", "disable", "ingress"])?;
    ensure!(std::net::TcpStream::connect(("127.0.0.1", u16::try_from(port)?)).is_err(), "still listening");
    let left = cluster.kubectl(&[
        "get",
        "all,ingressclass,serviceaccount,clusterrole,clusterrolebinding",
        "-A",
        "-l",
        "sampan.dev/addon=ingress",
        "-o",
        "name",
    ])?;
    ensure!(left.is_empty(), "{left}");
    eventually("no mirror pod", SOON, || {
        let pods = cluster.kubectl(&["get", "pods", "-n", "kube-system", "-o", "name"])?;
        Ok((!pods.contains("ingress-")).then_some(()))
    })
}

fn configuration(cluster: &Cluster) -> Result<()> {
    let (said, code) = refused(cluster, &["addons", "enable", "ingres"])?;
    ensure!(said.contains("ADDON_NOT_FOUND") && said.contains("ingress"), "{code}: {said}");
    let (said, _) = refused(cluster, &["addons", "configure", "dns", "--set", "ttlSeconds=-1"])?;
    ensure!(said.contains("ADDON_CONFIGURATION") && said.contains("ttlSeconds"), "{said}");
    cluster.sampan(&["addons", "configure", "dns", "--set", "ttlSeconds=7"])?;
    let details = json(cluster, &["addons", "configure", "dns"])?;
    ensure!(details["configuration"]["ttlSeconds"] == 7 && details["schema"]["properties"].is_object());
    Ok(())
}

/// A package is added, works, is broken by somebody, says why, is mended.
fn package(cluster: &Cluster) -> Result<()> {
    let folder = cluster.directory().join("hello");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("addon.yaml"), include_str!("addons/hello.yaml"))?;
    std::fs::write(folder.join("web.yaml"), include_str!("addons/web.yaml"))?;
    cluster.sampan(&["addons", "add", &folder.display().to_string()])?;
    cluster.sampan(&["addons", "enable", "hello", "--set", "replicas=2"])?;
    package_is_well(cluster)?;
    ensure!(json(cluster, &["addons", "images", "hello"])?["nginx"] == "nginx:alpine");
    cluster.kubectl(&[
        "set",
        "image",
        "-n",
        "hello",
        "deployment/hello",
        "web=no.such.registry.invalid/x:1",
    ])?;
    let health = eventually("it says that it is broken", Duration::from_secs(60), || {
        let health = listed(cluster, "hello")?["health"].clone();
        Ok((health["state"] != "healthy" && health["reason"].to_string().contains("hello")).then_some(health))
    })?;
    ensure!(health["next"].as_str().is_some_and(|next| !next.is_empty()), "{health}");
    // what it owns is put right when it is applied again
    cluster.sampan(&["addons", "enable", "hello"])?;
    package_is_well(cluster)
}

/// The installed package is healthy, and its page answers.
fn package_is_well(cluster: &Cluster) -> Result<()> {
    eventually("the package is well", Duration::from_secs(60), || {
        let addon = listed(cluster, "hello")?;
        Ok((addon["enabled"] == true && addon["health"]["state"] == "healthy").then_some(()))
    })?;
    let of_it = |object: &str, path: &str| {
        cluster.kubectl(&["get", "-n", "hello", object, "-o", &format!("jsonpath={path}")])
    };
    let replicas = of_it("deployment/hello", "{.status.readyReplicas}")?;
    ensure!(replicas == "2", "{replicas}");
    let address = of_it("service/hello", "{.spec.clusterIP}")?;
    let seen = eventually("its page", SOON, || Ok(fetch(&format!("{address}:80")).ok()))?;
    ensure!(seen.contains("Welcome to nginx"), "{seen}");
    Ok(())
}

fn package_gone(cluster: &Cluster) -> Result<()> {
    cluster.sampan(&["addons", "remove", "hello"])?;
    // its own objects are gone by now; what those made follows
    let owned = ["-l", "sampan.dev/addon=hello"];
    let left = cluster.kubectl(&[&["get", "namespaces,deployments,services", "-A"], &owned[..]].concat())?;
    ensure!(!left.contains("hello"), "{left}");
    let (said, _) = refused(cluster, &["addons", "enable", "hello"])?;
    ensure!(said.contains("ADDON_NOT_FOUND"), "{said}");
    Ok(())
}

/// The registry of the cluster at a port, and how many images were pushed to it.
struct Shelf {
    port: u16,
    pushed: usize,
}

impl Shelf {
    /// An image that is pushed runs without a load step, and so do those that were.
    fn serves(&mut self, cluster: &Cluster) -> Result<()> {
        let address = format!("127.0.0.1:{}", self.port);
        self.pushed += 1;
        let text = format!("pushed as {}\n", self.pushed);
        sampan_testkit::push(&address, &Image::nginx(&text)?, "app", &self.pushed.to_string())?;
        for tag in 1..=self.pushed {
            let (image, pod) = (format!("localhost:{}/app:{tag}", self.port), format!("pushed-{tag}"));
            cluster.kubectl(&["delete", "pod", &pod, "--ignore-not-found", "--grace-period=1"])?;
            cluster.kubectl(&["run", &pod, "--image", &image, "--image-pull-policy=Always"])?;
            ready(cluster, &pod)?;
            let ip = field(cluster, &format!("pod/{pod}"), "{.status.podIP}")?;
            let seen = eventually("its page", SOON, || Ok(fetch(&format!("{ip}:80")).ok()))?;
            ensure!(seen.contains(&format!("pushed as {tag}")), "{seen}");
        }
        Ok(())
    }
}

fn registry_of_the_cluster(cluster: &Cluster) -> Result<Shelf> {
    let mut shelf = Shelf { port: free_port(), pushed: 0 };
    let listen = format!("listen=127.0.0.1:{}", shelf.port);
    cluster.sampan(&["addons", "enable", "registry", "--set", &listen])?;
    shelf.serves(cluster)?;
    cluster.sampan(&["addons", "disable", "registry"])?;
    Ok(shelf)
}

/// `kubectl top` of the node and of pods.
fn metrics(cluster: &Cluster) -> Result<()> {
    eventually("kubectl top pod", Duration::from_secs(60), || {
        let output = cluster.kubectl_command().args(["top", "pod"]).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.success() && said.contains("web-") && said.contains("Mi")).then_some(()))
    })?;
    eventually("kubectl top node", Duration::from_secs(60), || {
        let output = cluster.kubectl_command().args(["top", "node"]).output()?;
        Ok((output.status.success() && String::from_utf8_lossy(&output.stdout).contains('%')).then_some(()))
    })
}

fn killed(cluster: &Cluster) -> Result<()> {
    kill(Pid::from_raw(cluster.pid()?), Signal::SIGKILL)?;
    Ok(())
}

fn walk(runtime: &str) -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, runtime)?;
    configuration(&cluster)?;
    let mut front = ingress(&cluster)?;
    package(&cluster)?;
    let mut shelf = registry_of_the_cluster(&cluster)?;
    metrics(&cluster)?;
    // killed in the middle of an enable: what was begun is finished or taken away, and can be asked for again
    let child = cluster.command().args(["addons", "enable", "registry"]).spawn()?;
    killed(&cluster)?;
    child.wait_with_output()?;
    cluster.up()?;
    eventually("a settled registry", SOON, || {
        let addon = listed(&cluster, "registry")?;
        let (enabled, state) = (addon["enabled"] == true, addon["health"]["state"].clone());
        Ok(((enabled && state == "healthy") || (!enabled && state == "off")).then_some(()))
    })?;
    cluster.sampan(&["addons", "enable", "registry"])?;
    // and killed with everything on: all of it comes again, and nobody asks for it
    for again in [false, true] {
        if again {
            killed(&cluster)?;
            cluster.up()?;
        }
        ensure!(json(&cluster, &["addons", "configure", "dns"])?["configuration"]["ttlSeconds"] == 7);
        for name in ["ingress", "registry"] {
            eventually(name, SOON, || {
                Ok((listed(&cluster, name)?["health"]["state"] == "healthy").then_some(()))
            })?;
        }
        front.serves(&cluster)?;
        front.renews(&cluster)?;
        package_is_well(&cluster)?;
        shelf.serves(&cluster)?;
        metrics(&cluster)?;
    }
    package_gone(&cluster)?;
    ingress_gone(&cluster)
}

#[test]
fn addons_of_the_embedded_runtime() -> Result<()> {
    walk("embedded")
}

#[test]
fn addons_of_docker() -> Result<()> {
    sampan_test_e2e::docker_engine()?;
    walk("docker")
}
