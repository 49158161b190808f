//! The shared suite on the embedded runtime, for real: needs root.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sampan_cri::suite::{Suite, wait_exit};
use sampan_cri::*;
use sampan_cri_oci::{Config, EmbeddedRuntime};

/// Tests share the machine's cgroups and time; one at a time.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Bench {
    runtime: EmbeddedRuntime,
    suite: Suite,
    config: Config,
    _directory: tempfile::TempDir,
}

fn busybox_layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, data: &[u8], mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        tar_append(&mut tar, &mut header, path, data);
    };
    add("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644);
    add("etc/group", b"root:x:0:\n", 0o644);
    add("mnt/.keep", b"", 0o644);
    let busybox = std::fs::read("/bin/busybox").expect("package busybox-static");
    add("bin/busybox", &busybox, 0o755);
    for name in "sh echo sleep cat hostname ls ps id grep kill touch wc true nc stty tty mount unshare printf"
        .split(' ')
    {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{name}"), "/bin/busybox").expect("tar");
    }
    tar.into_inner().expect("tar")
}

fn tar_append(tar: &mut tar::Builder<Vec<u8>>, header: &mut tar::Header, path: &str, data: &[u8]) {
    tar.append_data(header, path, data).expect("tar");
}

fn sha256(data: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn image_config(layer: &[u8]) -> Vec<u8> {
    let value = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Entrypoint": null},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(layer))]},
    });
    serde_json::to_vec(&value).expect("json")
}

/// As `docker save` writes it.
fn docker_archive(path: &Path, tag: &str) {
    let layer = busybox_layer();
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]);
    let mut tar = tar::Builder::new(std::fs::File::create(path).expect("archive"));
    for (name, data) in [
        ("layer.tar", layer.clone()),
        ("config.json", image_config(&layer)),
        ("manifest.json", serde_json::to_vec(&manifest).expect("json")),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &data[..]).expect("tar");
    }
    tar.finish().expect("tar");
}

fn config(directory: &Path) -> Config {
    assert!(nix::unistd::geteuid().is_root(), "these tests run containers: run them as root");
    let name = format!("test-{}", std::process::id());
    let host = vec![env!("CARGO_BIN_EXE_sampan-container-host").to_owned()];
    Config::new(directory.join("run"), directory.join("data"), &name, host)
}

async fn bench() -> Bench {
    let directory = tempfile::tempdir().expect("directory");
    let config = config(directory.path());
    let runtime = EmbeddedRuntime::new(config.clone()).await.expect("runtime");
    let archive = directory.path().join("busybox.tar");
    docker_archive(&archive, "busybox:test");
    let images = runtime.load_images(archive).await.expect("load");
    assert_eq!(images[0].image.repo_tags, ["docker.io/library/busybox:test"]);
    let suite = Suite {
        runtime: Arc::new(runtime.clone()),
        image: images[0].image.id.clone(),
        directory: directory.path().to_owned(),
    };
    Bench { runtime, suite, config, _directory: directory }
}

macro_rules! suite {
    ($($name:ident),*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let _one = ONE.lock().await;
            let bench = bench().await;
            // a failed check must not leave a host and its containers behind
            let suite = bench.suite;
            let result = tokio::spawn(async move { suite.$name().await }).await;
            bench.runtime.shutdown().await.expect("shutdown");
            if let Err(error) = result {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    )*};
}

suite!(lifecycle, outcomes, isolation, users_and_rights, limits, streams, shared_processes, forwarding);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_outlive_the_daemon() {
    let _one = ONE.lock().await;
    let bench = bench().await;
    let sandbox = bench.suite.sandbox("stay", |_| {}).await;
    let mut ids = Vec::new();
    for (name, script) in [("stays", "echo one; sleep 100"), ("ends", "read x; exit 9")] {
        let config = ContainerConfig { stdin: name == "ends", ..bench.suite.config(name, script) };
        let id = bench.runtime.create_container(&sandbox, config).await.expect("create");
        bench.runtime.start_container(&id).await.expect("start");
        ids.push(id);
    }
    // the daemon goes; while it is away one container is told to end
    let attach = AttachRequest { stdin: true, ..AttachRequest::default() };
    let mut attached = bench.runtime.attach(&ids[1], attach).await.expect("attach");
    let exit_file = bench.config.state_dir.join("containers").join(&ids[1]).join("exit.json");
    let Bench { runtime, suite, config, _directory } = bench;
    drop((runtime, suite));
    use tokio::io::AsyncWriteExt;
    attached.stdin.as_mut().expect("stdin").write_all(b"go\n").await.expect("write");
    drop(attached);
    let written = async {
        while !exit_file.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), written).await.expect("exit is noted");
    let again = EmbeddedRuntime::new(config).await.expect("reconnect");
    let status = again.container_status(&ids[0]).await.expect("found");
    assert_eq!(status.state, ContainerState::Running);
    let command = ["echo".to_owned(), "still".to_owned()];
    let out = again.exec_sync(&ids[0], &command, None).await.expect("exec");
    assert_eq!(out.stdout, b"still\n");
    assert_eq!(wait_exit(&again, &ids[1]).await.exit_code, 9);
    assert_eq!(again.list_pod_sandboxes().await.expect("list")[0].state, SandboxState::Ready);
    again.shutdown().await.expect("shutdown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_latency() {
    let _one = ONE.lock().await;
    let bench = bench().await;
    let sandbox = bench.suite.sandbox("fast", |_| {}).await;
    let (mut create, mut start, mut pod) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..20 {
        let begin = Instant::now();
        let other = bench.suite.sandbox(&format!("fast{turn}"), |_| {}).await;
        pod.push(begin.elapsed());
        bench.runtime.remove_pod_sandbox(&other).await.expect("remove");
        let begin = Instant::now();
        let config = bench.suite.config(&format!("c{turn}"), "true");
        let id = bench.runtime.create_container(&sandbox, config).await.expect("create");
        create.push(begin.elapsed());
        let begin = Instant::now();
        bench.runtime.start_container(&id).await.expect("start");
        start.push(begin.elapsed());
        assert_eq!(wait_exit(&bench.runtime, &id).await.exit_code, 0);
        bench.runtime.remove_container(&id).await.expect("remove");
    }
    for (what, mut times) in [("sandbox", pod), ("create", create), ("start", start)] {
        times.sort();
        println!("{what}: p50 {:?} p90 {:?}", times[10], times[18]);
    }
    bench.runtime.shutdown().await.expect("shutdown");
}

/// Directories of a pod's cgroup, and processes in those below it that end in `at`.
fn pod_cgroup(config: &Config, pod: &str, at: &str) -> (usize, usize) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    let mounts = mounts.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        fields[2].starts_with("cgroup").then(|| fields[1].to_owned())
    });
    let root = config.cgroup_root.trim_start_matches('/');
    let directories: Vec<_> = mounts
        .map(|mount| Path::new(&mount).join(root).join(format!("kubepods/pod{pod}")))
        .filter(|directory| directory.exists())
        .collect();
    let lines = |directory: &std::path::PathBuf| {
        let text = std::fs::read_to_string(directory.join(at).join("cgroup.procs")).unwrap_or_default();
        text.lines().count()
    };
    (directories.len(), directories.iter().map(lines).max().unwrap_or(0))
}

fn sandbox_config(suite: &Suite, pod: &str) -> SandboxConfig {
    SandboxConfig {
        pod: PodIdentity { namespace: "default".into(), name: pod.into(), uid: format!("uid-{pod}") },
        attempt: 0,
        hostname: pod.into(),
        network: SandboxNetwork::Create,
        host_pid: false,
        host_ipc: false,
        share_process_namespace: true,
        sysctls: Default::default(),
        cgroup_parent: format!("kubepods/pod{pod}"),
        resources: Resources::default(),
        log_directory: suite.directory.join("logs").join(pod),
        labels: Default::default(),
        annotations: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_that_fails_leaves_nothing() {
    let _one = ONE.lock().await;
    let bench = bench().await;
    let (runtime, config) = (&bench.runtime, &bench.config);
    let sandboxes = || std::fs::read_dir(config.run_dir.join("sandboxes")).expect("directory").count();
    // the shared init has a cgroup of its own
    let good = runtime.run_pod_sandbox(sandbox_config(&bench.suite, "good")).await.expect("sandbox");
    assert_eq!(pod_cgroup(config, "good", "").1, 0);
    assert_eq!(pod_cgroup(config, "good", "init").1, 1);
    runtime.remove_pod_sandbox(&good.id).await.expect("remove");
    assert_eq!((pod_cgroup(config, "good", "").0, sandboxes()), (0, 0));
    // before the init starts
    let mut bad = sandbox_config(&bench.suite, "bad");
    bad.sysctls.insert("kernel.core_pattern".into(), "x".into());
    let error = runtime.run_pod_sandbox(bad).await.expect_err("the node's").to_string();
    assert!(error.contains("\"kernel.core_pattern\" is not namespaced"), "{error}");
    assert_eq!((pod_cgroup(config, "bad", "").0, sandboxes()), (0, 0));
    // and after it: the record cannot be written
    let records = config.state_dir.join("sandboxes");
    std::fs::remove_dir_all(&records).expect("remove");
    std::fs::write(&records, "").expect("write");
    let late = sandbox_config(&bench.suite, "late");
    let error = runtime.run_pod_sandbox(late).await.expect_err("no record").to_string();
    assert!(error.contains("sandbox record"), "{error}");
    assert_eq!((pod_cgroup(config, "late", "").0, sandboxes()), (0, 0));
    runtime.shutdown().await.expect("shutdown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_in_use_is_not_removed() {
    let _one = ONE.lock().await;
    let bench = bench().await;
    let runtime = &bench.runtime;
    let sandbox = bench.suite.sandbox("user", |_| {}).await;
    let mut config = bench.suite.config("c", "true");
    config.image = "busybox:test".into();
    let id = runtime.create_container(&sandbox, config).await.expect("create");
    for name in ["busybox:test", &bench.suite.image] {
        let error = runtime.remove_image(name).await.expect_err("in use").to_string();
        assert!(error.contains("is in use by container c of pod default/user"), "{error}");
    }
    runtime.start_container(&id).await.expect("start");
    assert_eq!(wait_exit(runtime, &id).await.exit_code, 0);
    assert!(runtime.remove_image("busybox:test").await.is_err(), "one that has ended may be looked at");
    runtime.remove_container(&id).await.expect("remove");
    runtime.remove_image("busybox:test").await.expect("unused");
    assert!(runtime.list_images().await.expect("list").is_empty());
    runtime.shutdown().await.expect("shutdown");
}

/// On cgroup v1 by the devices controller, on v2 by a program: run it in a mount namespace without v1's
/// hierarchies to see the latter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_of_the_node_are_out_of_reach() {
    let _one = ONE.lock().await;
    let bench = bench().await;
    let runtime = &bench.runtime;
    let sandbox = bench.suite.sandbox("devices", |_| {}).await;
    let mut seen = Vec::new();
    for privileged in [false, true] {
        let mut config = bench.suite.config(&format!("c{privileged}"), "sleep 100");
        config.security.privileged = privileged;
        let id = runtime.create_container(&sandbox, config).await.expect("create");
        runtime.start_container(&id).await.expect("start");
        let script = "echo x > /dev/null && /bin/busybox head -c 1 /dev/urandom > /dev/null && echo usual;
            /bin/busybox mknod /node c 1 11 && echo made;
            (: < /node) 2>&1";
        let command = ["sh", "-c", script].map(str::to_owned);
        let out = runtime.exec_sync(&id, &command, None).await.expect("exec");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(text.starts_with("usual\nmade\n"), "{text}");
        seen.push(text.contains("Operation not permitted"));
    }
    runtime.shutdown().await.expect("shutdown");
    assert_eq!(seen, [true, false], "refused to all but the privileged");
}

/// Ends the registry with the test.
struct Registry(std::process::Child);

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn registry(directory: &Path) -> (Registry, String) {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
    let file = directory.join("registry.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n",
        directory.join("registry").display()
    );
    std::fs::write(&file, text).expect("config");
    let child = std::process::Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("package docker-registry");
    let begin = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begin.elapsed().as_secs() < 20, "the registry answers within 20 s");
        std::thread::yield_now();
    }
    (Registry(child), format!("127.0.0.1:{port}"))
}

async fn push(host: &str) {
    use oci_client::client::{ClientConfig, ClientProtocol, Config as Blob, ImageLayer};
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client =
        oci_client::Client::new(ClientConfig { protocol: ClientProtocol::Http, ..Default::default() });
    let reference = oci_client::Reference::with_tag(host.into(), "library/box".into(), "v1".into());
    let layer = busybox_layer();
    let config = Blob::oci_v1(image_config(&layer), None);
    let layers = [ImageLayer::oci_v1(layer, None)];
    let auth = oci_client::secrets::RegistryAuth::Anonymous;
    client.push(&reference, &layers, config, &auth, None).await.expect("push");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_pulled_shared_and_removed() {
    let _one = ONE.lock().await;
    let directory = tempfile::tempdir().expect("directory");
    let (_registry, host) = registry(directory.path());
    push(&host).await;
    let mut config = config(directory.path());
    config.registry_mirrors.insert("docker.io".into(), vec![format!("http://{host}")]);
    let runtime = EmbeddedRuntime::new(config).await.expect("runtime");
    let name = format!("{host}/library/box:v1");
    let (a, b) = tokio::join!(runtime.pull_image(&name, vec![]), runtime.pull_image(&name, vec![]));
    let image = a.expect("pull");
    assert_eq!(image, b.expect("the same pull"));
    assert_eq!(image.repo_tags, std::slice::from_ref(&name));
    assert!(image.repo_digests[0].starts_with(&format!("{host}/library/box@sha256:")));
    let mirrored = runtime.pull_image("box:v1", vec![]).await.expect("through the mirror");
    assert_eq!(mirrored.id, image.id);
    assert!(mirrored.repo_tags.contains(&"docker.io/library/box:v1".to_owned()));
    let nope = format!("{host}/library/nope");
    let error = runtime.pull_image(&nope, vec![]).await.expect_err("absent").to_string();
    assert!(error.starts_with(&format!("failed to pull and unpack image \"{nope}:latest\": failed to resolve reference \"{nope}:latest\": {nope}:latest: not found")), "{error}");
    assert!(matches!(runtime.pull_image("Bad", vec![]).await, Err(RuntimeError::InvalidImageName { .. })));
    assert!(matches!(runtime.image_status("Bad").await, Err(RuntimeError::InvalidImageName { .. })));
    assert!(runtime.image_fs_info().await.expect("info").used_bytes > 0);
    assert_eq!(
        runtime.image_status(&image.repo_digests[0]).await.expect("status").expect("there").id,
        image.id
    );
    runtime.remove_image(&image.id).await.expect("remove");
    runtime.remove_image(&image.id).await.expect("again");
    assert!(runtime.list_images().await.expect("list").is_empty());
    assert_eq!(runtime.image_fs_info().await.expect("info").used_bytes, 0);
    runtime.shutdown().await.expect("shutdown");
}
