//! What every runtime has to do, as code: `cri-oci` and `cri-docker` run the same checks on the real thing.
//!
//! The image under test is a busybox at `/bin` with `sh`; it is loaded from an archive that the caller makes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::*;

/// A runtime and where to try it.
pub struct Suite {
    /// Under test.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Id of the busybox image.
    pub image: String,
    /// A directory for logs and volumes.
    pub directory: PathBuf,
}

/// Waits for an exit through events, as the kubelet does.
pub async fn wait_exit(runtime: &dyn ContainerRuntime, id: &str) -> Exit {
    let mut events = runtime.events();
    loop {
        if let ContainerState::Exited(exit) = runtime.container_status(id).await.expect("status").state {
            return exit;
        }
        let _ =
            tokio::time::timeout(Duration::from_secs(20), events.recv()).await.expect("an exit within 20 s");
    }
}

impl Suite {
    /// A sandbox with an empty network, changed by `change`.
    pub async fn sandbox(&self, name: &str, change: impl FnOnce(&mut SandboxConfig)) -> String {
        let mut config = SandboxConfig {
            pod: PodIdentity { namespace: "default".into(), name: name.into(), uid: format!("uid-{name}") },
            attempt: 0,
            hostname: name.into(),
            network: SandboxNetwork::Create,
            host_pid: false,
            host_ipc: false,
            share_process_namespace: false,
            sysctls: Default::default(),
            cgroup_parent: format!("kubepods/pod{name}"),
            resources: Resources::default(),
            log_directory: self.directory.join("logs").join(name),
            labels: [("app".to_owned(), name.to_owned())].into(),
            annotations: Default::default(),
        };
        change(&mut config);
        self.runtime.run_pod_sandbox(config).await.expect("sandbox").id
    }

    /// A container that runs `sh -c script`.
    pub fn config(&self, name: &str, script: &str) -> ContainerConfig {
        ContainerConfig {
            name: name.into(),
            image: self.image.clone(),
            command: vec!["sh".into(), "-c".into(), script.into()],
            log_path: format!("{name}/0.log").into(),
            ..ContainerConfig::default()
        }
    }

    async fn started(&self, sandbox: &str, config: ContainerConfig) -> String {
        let id = self.runtime.create_container(sandbox, config).await.expect("create");
        self.runtime.start_container(&id).await.expect("start");
        id
    }

    /// Runs to the end; exit and log text without stamps.
    async fn run(&self, sandbox: &str, config: ContainerConfig) -> (Exit, String) {
        let id = self.started(sandbox, config).await;
        let exit = wait_exit(&*self.runtime, &id).await;
        let log = self.runtime.container_status(&id).await.expect("status").log_path;
        let text = plain(&log);
        self.runtime.remove_container(&id).await.expect("remove");
        (exit, text)
    }

    /// All checks that need nothing but the runtime.
    pub async fn all(&self) {
        self.lifecycle().await;
        self.outcomes().await;
        self.isolation().await;
        self.users_and_rights().await;
        self.limits().await;
        self.streams().await;
        self.shared_processes().await;
        self.forwarding().await;
    }

    /// States, events and idempotence.
    pub async fn lifecycle(&self) {
        let mut events = self.runtime.events();
        let sandbox = self.sandbox("life", |_| {}).await;
        let status = self.runtime.pod_sandbox_status(&sandbox).await.expect("status");
        assert_eq!(status.state, SandboxState::Ready);
        assert_eq!(status.labels["app"], "life");
        let id = self
            .runtime
            .create_container(&sandbox, self.config("c", "trap 'exit 3' TERM; echo up; sleep 100 & wait"))
            .await
            .expect("create");
        assert_eq!(self.runtime.container_status(&id).await.expect("status").state, ContainerState::Created);
        self.runtime.start_container(&id).await.expect("start");
        let running = self.runtime.container_status(&id).await.expect("status");
        assert_eq!(running.state, ContainerState::Running);
        assert!(running.started_at.is_some() && running.pid.is_some());
        let stats = self.runtime.container_stats().await.expect("stats");
        let stats = stats.iter().find(|one| one.container_id == id).expect("of a running container");
        assert!(stats.cpu_nanos > 0 && stats.memory_bytes > 0 && stats.pids > 0, "{stats:?}");
        assert!(stats.working_set_bytes <= stats.memory_bytes, "{stats:?}");
        self.wait_log(&running.log_path, "up").await;
        let fill = ["sh", "-c", "head -c 1048576 /dev/zero > /filled"].map(str::to_owned);
        self.runtime.exec_sync(&id, &fill, None).await.expect("exec");
        let written = self.runtime.container_written_bytes(&id).await.expect("size");
        assert!(written >= 1 << 20, "{written}");
        self.runtime.stop_container(&id, Duration::from_secs(10)).await.expect("stop");
        let ContainerState::Exited(exit) = self.runtime.container_status(&id).await.expect("status").state
        else {
            panic!("stopped")
        };
        assert_eq!(exit.exit_code, 3, "the stop signal is asked first");
        self.runtime.stop_container(&id, Duration::ZERO).await.expect("again");
        self.runtime.remove_container(&id).await.expect("remove");
        self.runtime.remove_container(&id).await.expect("again");
        assert!(self.runtime.container_status(&id).await.is_err());
        use ContainerEventKind::*;
        let mut kinds = Vec::new();
        while kinds.last() != Some(&Deleted) {
            let event = tokio::time::timeout(Duration::from_secs(10), events.recv())
                .await
                .expect("the events of a life");
            kinds.push(event.expect("event").kind);
        }
        assert_eq!(kinds, [Created, Started, Stopped, Deleted]);
        self.runtime.stop_pod_sandbox(&sandbox).await.expect("stop");
        assert_eq!(
            self.runtime.pod_sandbox_status(&sandbox).await.expect("status").state,
            SandboxState::NotReady
        );
        self.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
        self.runtime.remove_pod_sandbox(&sandbox).await.expect("again");
        assert!(self.runtime.list_pod_sandboxes().await.expect("list").iter().all(|one| one.id != sandbox));
    }

    /// Exit codes, start errors and logs.
    pub async fn outcomes(&self) {
        let sandbox = self.sandbox("ends", |_| {}).await;
        let (exit, text) = self.run(&sandbox, self.config("seven", "echo out; echo err >&2; exit 7")).await;
        assert_eq!(exit.exit_code, 7);
        assert!(text.contains("stdout F out") && text.contains("stderr F err"), "{text}");
        let (exit, text) = self.run(&sandbox, self.config("part", "printf tail; exit 6")).await;
        assert_eq!((exit.exit_code, text.as_str()), (6, "stdout P tail\n"));
        for (command, code, words) in [
            ("foo", 127, "exec: \"foo\": executable file not found in $PATH"),
            ("/etc/passwd", 126, "permission denied"),
        ] {
            let config = ContainerConfig { command: vec![command.into()], ..self.config("bad", "") };
            let id = self.runtime.create_container(&sandbox, config).await.expect("create");
            match self.runtime.start_container(&id).await {
                Err(RuntimeError::Start { message, exit_code }) => {
                    assert!(message.contains(words), "{message}");
                    assert_eq!(exit_code, code);
                }
                other => panic!("{command}: {other:?}"),
            }
            assert!(matches!(
                self.runtime.container_status(&id).await.expect("status").state,
                ContainerState::Exited(Exit { exit_code, .. }) if exit_code == code
            ));
        }
        let id = self.started(&sandbox, self.config("turn", "echo one; read x; sleep 100")).await;
        let log = self.runtime.container_status(&id).await.expect("status").log_path;
        self.wait_log(&log, "one").await;
        let rotated = log.with_extension("1");
        std::fs::rename(&log, &rotated).expect("rotate");
        self.runtime.reopen_container_log(&id).await.expect("reopen");
        assert!(log.exists() && rotated.exists());
        self.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
    }

    /// Namespaces, root, mounts, names.
    pub async fn isolation(&self) {
        let sandbox = self
            .sandbox("inside", |config| {
                config.sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "7".into());
            })
            .await;
        let volume = self.directory.join("volume");
        std::fs::create_dir_all(&volume).expect("volume");
        std::fs::write(volume.join("hello"), "from the node").expect("file");
        let script = "hostname; cat /v/hello; echo; echo x > /v/no || echo readonly; pwd; echo $A; \
                      cat /proc/sys/net/ipv4/ip_unprivileged_port_start; echo $$; touch /root-file && echo writable; \
                      ls /dev/shm | wc -l; cat /proc/kcore | wc -c; grep -c . /proc/mounts > /dev/null && echo mounts";
        let config = ContainerConfig {
            env: vec![("A".into(), "b c".into())],
            working_dir: Some("/made/for/me".into()),
            mounts: vec![Mount {
                container_path: "/v".into(),
                host_path: volume,
                readonly: true,
                propagation: Propagation::Private,
            }],
            ..self.config("in", script)
        };
        let (exit, text) = self.run(&sandbox, config).await;
        let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("stdout F ")).collect();
        assert_eq!(exit.exit_code, 0, "{text}");
        assert_eq!(
            lines,
            [
                "inside",
                "from the node",
                "readonly",
                "/made/for/me",
                "b c",
                "7",
                "1",
                "writable",
                "0",
                "0",
                "mounts"
            ],
            "{text}"
        );
        let mut locked = self.config("ro", "touch /x || echo no");
        locked.security.readonly_rootfs = true;
        assert!(self.run(&sandbox, locked).await.1.contains("stdout F no"));
        self.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
    }

    /// Users, groups, capabilities, seccomp.
    pub async fn users_and_rights(&self) {
        let sandbox = self.sandbox("rights", |_| {}).await;
        let mut config = self
            .config("user", "id -u; id -g; id -G; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status");
        config.security.run_as_user = Some(1000);
        config.security.run_as_group = Some(3000);
        config.security.supplemental_groups = vec![2000];
        config.security.no_new_privs = true;
        let (_, text) = self.run(&sandbox, config).await;
        for words in [
            "F 1000\n",
            "F 3000\n",
            "F 3000 2000\n",
            "CapEff:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(text.contains(words), "{words:?} in {text}");
        }
        let (_, text) = self
            .run(
                &sandbox,
                self.config(
                    "root",
                    "grep -E 'CapEff|Seccomp:' /proc/self/status; unshare -m true || echo refused",
                ),
            )
            .await;
        assert!(text.contains("CapEff:\t00000000a80425fb") && text.contains("Seccomp:\t2"), "{text}");
        assert!(text.contains("refused"), "{text}");
        let mut config =
            self.config("all", "grep Seccomp: /proc/self/status; mount -t tmpfs x /mnt && echo mounted");
        config.security.privileged = true;
        let id = self.runtime.create_container(&sandbox, config).await.expect("create");
        match self.runtime.start_container(&id).await {
            // runc gives all capabilities or none, and this machine's root may lack some
            Err(RuntimeError::Start { message, .. })
                if message.contains("unable to apply caps") && !root_is_whole() => {}
            started => {
                started.expect("start");
                wait_exit(&*self.runtime, &id).await;
                let text = plain(&self.runtime.container_status(&id).await.expect("status").log_path);
                assert!(text.contains("Seccomp:\t0") && text.contains("mounted"), "{text}");
            }
        }
        let mut config = self.config("name", "true");
        config.security.run_as_username = Some("nosuch".into());
        // who looks into the image only when it starts says it then
        let refused = match self.runtime.create_container(&sandbox, config).await {
            Ok(id) => self.runtime.start_container(&id).await.expect_err("refused"),
            Err(error) => error,
        };
        assert!(refused.to_string().contains("unable to find user nosuch"), "{refused}");
        self.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
    }

    /// Memory, its updates, and the killer.
    pub async fn limits(&self) {
        let sandbox = self.sandbox("limits", |_| {}).await;
        let mut config = self.config("oom", "x=a; while true; do x=$x$x; done");
        config.resources.memory_limit_bytes = Some(16 << 20);
        config.resources.oom_score_adj = Some(500);
        let (exit, _) = self.run(&sandbox, config).await;
        assert_eq!((exit.exit_code, exit.oom_killed), (137, true));
        let id = self.started(&sandbox, self.config("grow", "sleep 100")).await;
        let resized = async |memory: i64| {
            let resources =
                Resources { memory_limit_bytes: Some(memory), cpu_shares: Some(512), ..Resources::default() };
            self.runtime.update_pod_sandbox_resources(&sandbox, resources.clone()).await.expect("update pod");
            self.runtime.update_container_resources(&id, resources).await.expect("update");
            let stats = self.runtime.container_stats().await.expect("stats");
            stats.iter().find(|stats| stats.container_id == id).and_then(|stats| stats.memory_limit_bytes)
        };
        assert_eq!(resized(64 << 20).await, Some(64 << 20), "raised");
        assert_eq!(resized(32 << 20).await, Some(32 << 20), "lowered");
        let memory = self.runtime.pod_sandbox_memory(&sandbox).await.expect("memory");
        let own = memory.containers[&id];
        assert!(own > 0 && memory.pod_bytes >= own, "{memory:?}");
        self.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
    }

    /// exec, exec with a terminal, time limits, attach.
    pub async fn streams(&self) {
        let words = |list: &[&str]| -> Vec<String> { list.iter().map(|one| (*one).to_owned()).collect() };
        let sandbox = self.sandbox("streams", |_| {}).await;
        let config = ContainerConfig { stdin: true, ..self.config("cat", "read line; echo got $line; cat") };
        let id = self.started(&sandbox, config).await;
        let out = self
            .runtime
            .exec_sync(&id, &words(&["sh", "-c", "echo o; echo e >&2; hostname; exit 5"]), None)
            .await
            .expect("exec");
        assert_eq!(
            (out.stdout.as_slice(), out.stderr.as_slice(), out.exit_code),
            (&b"o\nstreams\n"[..], &b"e\n"[..], 5)
        );
        let late =
            self.runtime.exec_sync(&id, &words(&["sleep", "100"]), Some(Duration::from_millis(200))).await;
        assert!(matches!(late, Err(RuntimeError::DeadlineExceeded { .. })));
        let bad = self.runtime.exec_sync(&id, &words(&["nope"]), None).await;
        assert!(matches!(bad, Err(RuntimeError::Start { exit_code: 127, .. })), "{bad:?}");

        let request =
            ExecRequest { command: words(&["cat"]), tty: false, stdin: true, stdout: true, stderr: true };
        let mut session = self.runtime.exec(&id, request).await.expect("exec");
        let mut stdin = session.stdin.take().expect("stdin");
        stdin.write_all(b"through").await.expect("write");
        drop(stdin);
        let mut text = String::new();
        session.stdout.take().expect("stdout").read_to_string(&mut text).await.expect("read");
        assert_eq!((text.as_str(), session.exit.await.expect("exit")), ("through", 0));

        let script = "trap 'stty size; exit 4' WINCH; tty; while :; do read x; done";
        let request = ExecRequest {
            command: words(&["sh", "-c", script]),
            tty: true,
            stdin: true,
            stdout: true,
            stderr: false,
        };
        let mut session = self.runtime.exec(&id, request).await.expect("exec tty");
        let mut stdout = session.stdout.take().expect("stdout");
        read_until(&mut stdout, "/dev/pts/").await;
        session
            .resize
            .take()
            .expect("resize")
            .send(TerminalSize { width: 91, height: 17 })
            .await
            .expect("send");
        session.stdin.take().expect("stdin").write_all(b"\n").await.expect("write");
        read_until(&mut stdout, "17 91").await;
        assert_eq!(session.exit.await.expect("exit"), 4);

        let request = AttachRequest { stdin: true, stdout: true, stderr: true };
        let mut attached = self.runtime.attach(&id, request).await.expect("attach");
        attached.stdin.as_mut().expect("stdin").write_all(b"hello\nmore\n").await.expect("write");
        let mut stdout = attached.stdout.take().expect("stdout");
        read_until(&mut stdout, "got hello\nmore\n").await;
        let log = self.runtime.container_status(&id).await.expect("status").log_path;
        self.wait_log(&log, "got hello").await;
        self.runtime.stop_container(&id, Duration::ZERO).await.expect("stop");
        assert_eq!(attached.exit.await.expect("exit"), 137);

        let tty =
            ContainerConfig { stdin: true, tty: true, ..self.config("tty", "tty; read x; echo said $x") };
        let id = self.started(&sandbox, tty).await;
        let mut attached = self
            .runtime
            .attach(&id, AttachRequest { stdin: true, stdout: true, stderr: false })
            .await
            .expect("attach");
        attached.stdin.as_mut().expect("stdin").write_all(b"yes\n").await.expect("write");
        read_until(attached.stdout.as_mut().expect("stdout"), "said yes").await;
        assert_eq!(attached.exit.await.expect("exit"), 0);
        self.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
    }

    /// One PID namespace for a pod.
    pub async fn shared_processes(&self) {
        let sandbox = self.sandbox("shared", |config| config.share_process_namespace = true).await;
        let a = self.started(&sandbox, self.config("a", "sleep 1234")).await;
        let (_, text) = self.run(&sandbox, self.config("b", "ps")).await;
        assert!(text.contains("sleep 1234"), "{text}");
        let (_, text) = self
            .run(&sandbox, {
                let mut config = self.config("debug", "echo $$; ps");
                config.security.target_container_id = Some(a.clone());
                config
            })
            .await;
        assert!(text.contains("sleep 1234"), "{text}");
        self.runtime.stop_container(&a, Duration::ZERO).await.expect("stop");
        self.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
    }

    /// Connections into the pod.
    pub async fn forwarding(&self) {
        let sandbox = self.sandbox("ports", |_| {}).await;
        let id = self
            .started(
                &sandbox,
                self.config("serve", "echo up; echo answer | nc -l -p 8080 127.0.0.1; sleep 100"),
            )
            .await;
        let listening = "while ! grep -q 1F90 /proc/net/tcp; do :; done".to_owned();
        let wait = ["sh".to_owned(), "-c".to_owned(), listening];
        self.runtime.exec_sync(&id, &wait, Some(Duration::from_secs(10))).await.expect("listening");
        let mut io = self.runtime.port_forward(&sandbox, 8080).await.expect("connected");
        let mut text = [0u8; 7];
        io.read_exact(&mut text).await.expect("read");
        assert_eq!(&text, b"answer\n");
        assert!(self.runtime.port_forward(&sandbox, 9).await.is_err());
        self.runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
    }

    async fn wait_log(&self, path: &Path, words: &str) {
        let found = async {
            while !std::fs::read_to_string(path).unwrap_or_default().contains(words) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), found).await.expect("words in the log within 10 s");
    }
}

async fn read_until(from: &mut (dyn tokio::io::AsyncRead + Send + Unpin), words: &str) {
    let mut seen = Vec::new();
    let reading = async {
        let mut chunk = [0u8; 1024];
        while !String::from_utf8_lossy(&seen).replace('\r', "").contains(words) {
            match from.read(&mut chunk).await.expect("read") {
                0 => panic!("ended before {words:?}: {:?}", String::from_utf8_lossy(&seen)),
                count => seen.extend_from_slice(&chunk[..count]),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("words within 10 s");
}

/// Whether root on this machine holds every capability of the kernel.
fn root_is_whole() -> bool {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let effective =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    let last: Option<u32> = read("/proc/sys/kernel/cap_last_cap").trim().parse().ok();
    last.is_some_and(|last| effective.is_some_and(|effective| effective.count_ones() > last))
}

/// A log without its time stamps.
fn plain(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once(' ')).map(|(_, rest)| format!("{rest}\n")).collect()
}
