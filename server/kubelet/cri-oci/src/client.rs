//! The daemon's side of the container host: finds it or starts it, asks, and passes its news on.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use parking_lot::Mutex;
use sampan_cri::RuntimeError;
use tokio::sync::{mpsc, oneshot};

use crate::host::protocol::{self, Answer, Ended, Item, Reply, Request, StartContainer, Verb};

type Told = (Reply, Vec<OwnedFd>);

/// News of the host.
pub trait Listener: Send + Sync {
    /// A container ended.
    fn exited(&self, id: &str, ended: Ended);
    /// The host itself is gone.
    fn host_died(&self);
}

/// How to start a host.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Program, with the words before the socket's path (`sampan`, `container-host`).
    pub command: Vec<String>,
    /// Its socket.
    pub socket: PathBuf,
    /// Its cgroup.
    pub cgroup: String,
}

struct Shared {
    calls: Mutex<HashMap<u64, mpsc::UnboundedSender<Told>>>,
    execs: Mutex<HashMap<u64, oneshot::Sender<i32>>>,
}

/// A connection to the host.
pub struct HostClient {
    socket: OwnedFd,
    shared: Arc<Shared>,
    next: AtomicU64,
}

impl HostClient {
    /// Connects, starting the host if there is none. Blocking.
    pub fn connect(launch: &Launch) -> Result<(Self, Arc<OwnedFd>), RuntimeError> {
        let socket = open(&launch.socket).or_else(|_| {
            start(launch)?;
            open(&launch.socket).map_err(|error| down(&format!("{}: {error}", launch.socket.display())))
        })?;
        let reader = Arc::new(socket.try_clone().map_err(|error| down(&error.to_string()))?);
        let shared = Arc::new(Shared { calls: Mutex::default(), execs: Mutex::default() });
        // names of execs must not meet those of an earlier daemon
        let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let client = HostClient { socket, shared, next: AtomicU64::new(first.as_micros() as u64) };
        Ok((client, reader))
    }

    /// Reads answers and news until the host is gone, on a thread of its own.
    pub fn listen(&self, reader: Arc<OwnedFd>, listener: Arc<dyn Listener>) {
        let shared = self.shared.clone();
        let read = move || {
            while let Ok(Some((answer, fds))) = protocol::receive::<Answer>(reader.as_raw_fd()) {
                dispatch(&shared, &*listener, answer, fds);
            }
            shared.calls.lock().clear();
            shared.execs.lock().clear();
            listener.host_died();
        };
        // a thread that cannot be started would leave every call hanging
        if std::thread::Builder::new()
            .name("container-host".into())
            .stack_size(512 * 1024)
            .spawn(read)
            .is_err()
        {
            self.hang_up();
        }
    }

    /// Ends the connection; the host goes on.
    pub fn hang_up(&self) {
        let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn ask(&self, verb: Verb, fds: &[RawFd]) -> Result<(u64, mpsc::UnboundedReceiver<Told>), RuntimeError> {
        let call = self.number();
        let (sender, receiver) = mpsc::unbounded_channel();
        self.shared.calls.lock().insert(call, sender);
        if let Err(error) = protocol::send(self.socket.as_raw_fd(), &Request { call, verb }, fds) {
            self.shared.calls.lock().remove(&call);
            return Err(down(error.desc()));
        }
        Ok((call, receiver))
    }

    /// Asks one question.
    pub async fn call(&self, verb: Verb, fds: &[RawFd]) -> Result<Told, RuntimeError> {
        let (call, mut answers) = self.ask(verb, fds)?;
        let answer = answers.recv().await;
        self.shared.calls.lock().remove(&call);
        match answer {
            Some((Reply::Failed { message, exit_code }, _)) => {
                Err(RuntimeError::Start { message, exit_code })
            }
            Some(told) => Ok(told),
            None => Err(down("it ended during a call")),
        }
    }

    /// Says something whose answer does not matter.
    pub fn tell(&self, verb: Verb) {
        if let Ok((call, _)) = self.ask(verb, &[]) {
            self.shared.calls.lock().remove(&call);
        }
    }

    /// All containers the host knows.
    pub async fn list(&self) -> Result<Vec<Item>, RuntimeError> {
        let (call, mut answers) = self.ask(Verb::List, &[])?;
        let mut items = Vec::new();
        let result = loop {
            match answers.recv().await {
                Some((Reply::Item(item), _)) => items.push(item),
                Some(_) => break Ok(items),
                None => break Err(down("it ended during a call")),
            }
        };
        self.shared.calls.lock().remove(&call);
        result
    }

    /// Runs a prepared container; its process.
    pub async fn start(&self, start: StartContainer) -> Result<(i32, jiff::Timestamp), RuntimeError> {
        match self.call(Verb::Start(Box::new(start)), &[]).await?.0 {
            Reply::Started { pid, at } => Ok((pid, at)),
            other => Err(RuntimeError::Internal(format!("container host said {other:?}"))),
        }
    }

    /// Runs a command; its name, the terminal if it has one, and its exit code to come.
    pub async fn exec(
        &self,
        id: &str,
        command: &[String],
        tty: bool,
        fds: &[RawFd],
    ) -> Result<(u64, Option<OwnedFd>, oneshot::Receiver<i32>), RuntimeError> {
        let exec = self.number();
        let (sender, receiver) = oneshot::channel();
        self.shared.execs.lock().insert(exec, sender);
        let verb = Verb::Exec { id: id.to_owned(), exec, command: command.to_vec(), tty };
        match self.call(verb, fds).await {
            Ok((Reply::Started { .. }, fds)) => Ok((exec, fds.into_iter().next(), receiver)),
            Ok(_) => {
                self.shared.execs.lock().remove(&exec);
                Err(RuntimeError::NotFound { kind: "container", id: id.to_owned() })
            }
            Err(error) => {
                self.shared.execs.lock().remove(&exec);
                Err(error)
            }
        }
    }
}

impl Drop for HostClient {
    fn drop(&mut self) {
        self.hang_up();
    }
}

fn dispatch(shared: &Shared, listener: &dyn Listener, answer: Answer, fds: Vec<OwnedFd>) {
    match answer.reply {
        Reply::Exited { id, ended } => listener.exited(&id, ended),
        Reply::ExecExited { exec, code } => {
            if let Some(waiting) = shared.execs.lock().remove(&exec) {
                let _ = waiting.send(code);
            }
        }
        reply => {
            if let Some(waiting) = shared.calls.lock().get(&answer.call) {
                let _ = waiting.send((reply, fds));
            }
        }
    }
}

fn down(text: &str) -> RuntimeError {
    RuntimeError::Unavailable(format!("container host: {text}"))
}

fn open(path: &std::path::Path) -> nix::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// The started process ends once the host, its child, listens.
fn start(launch: &Launch) -> Result<(), RuntimeError> {
    let (program, words) = launch.command.split_first().ok_or_else(|| down("no program configured"))?;
    let output = Command::new(program)
        .args(words)
        .arg(&launch.socket)
        .arg(&launch.cgroup)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| down(&format!("{program}: {error}")))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(down(String::from_utf8_lossy(&output.stderr).trim())),
    }
}
