//! Sessions: the streams of a command or a container, and what ends with them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use sampan_cri::{ExecRequest, ExecSession, Result, RuntimeError};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

use crate::client::HostClient;
use crate::host::protocol::Verb;
use crate::runtime::internal;
use crate::streams::{self, Terminal};

/// Most that `exec_sync` keeps of each stream.
const MAX_OUTPUT: usize = 16 << 20;

type Output = Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>;

/// Reads to the end; beyond the limit it drops what it reads, so that the command never blocks on a full pipe.
pub async fn collect(from: Output, into: Arc<parking_lot::Mutex<Vec<u8>>>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer).await
        && count > 0
    {
        let mut into = into.lock();
        let room = MAX_OUTPUT.saturating_sub(into.len());
        into.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// A pipe's end, or a terminal.
pub fn attached_stdin(fd: OwnedFd, tty: bool) -> Result<Box<dyn tokio::io::AsyncWrite + Send + Unpin>> {
    if tty {
        return Ok(Box::new(Terminal::new(fd).map_err(internal("terminal"))?));
    }
    crate::host::epoll::nonblocking(fd.as_raw_fd());
    Ok(Box::new(tokio::net::unix::pipe::Sender::from_owned_fd(fd).map_err(internal("pipe"))?))
}

/// Hangs up on a command whose session is dropped before it ended.
struct HangUp {
    host: Arc<HostClient>,
    exec: u64,
    ended: bool,
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if !self.ended {
            // a deadline's victim must die even if it ignores the hang-up
            self.host.tell(Verb::KillExec { exec: self.exec, signal: libc::SIGHUP });
            self.host.tell(Verb::KillExec { exec: self.exec, signal: libc::SIGKILL });
        }
    }
}

fn exit_of(
    host: Arc<HostClient>,
    exec: u64,
    code: oneshot::Receiver<i32>,
) -> futures::future::BoxFuture<'static, Result<i32>> {
    let guard = HangUp { host, exec, ended: false };
    Box::pin(async move {
        // the whole guard moves in here, so that dropping this future hangs up
        let mut guard = guard;
        let code = code.await;
        guard.ended = true;
        code.map_err(|_| RuntimeError::Unavailable("container host ended".into()))
    })
}

pub async fn exec_terminal(host: Arc<HostClient>, id: &str, request: &ExecRequest) -> Result<ExecSession> {
    let (exec, master, code) = host.exec(id, &request.command, true, &[]).await?;
    let master = master.ok_or_else(|| RuntimeError::Internal("no terminal arrived".into()))?;
    let again = || master.try_clone().map_err(internal("terminal"));
    let terminal = |fd| Terminal::new(fd).map_err(internal("terminal"));
    let mut session = ExecSession {
        stdin: None,
        stdout: None,
        stderr: None,
        resize: Some(streams::resizer(again()?)),
        exit: exit_of(host, exec, code),
    };
    if request.stdin {
        session.stdin = Some(Box::new(terminal(again()?)?));
    }
    session.stdout = Some(Box::new(terminal(again()?)?));
    Ok(session)
}

pub async fn exec_pipes(host: Arc<HostClient>, id: &str, request: &ExecRequest) -> Result<ExecSession> {
    let null = || -> Result<OwnedFd> {
        let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
        Ok(file.map_err(internal("/dev/null"))?.into())
    };
    let mut stdin: Option<Box<dyn tokio::io::AsyncWrite + Send + Unpin>> = None;
    let mut outputs: [Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>; 2] = [None, None];
    let mut theirs = Vec::new();
    if request.stdin {
        let (ours, end) = streams::writer().map_err(internal("pipe"))?;
        stdin = Some(Box::new(ours));
        theirs.push(end);
    } else {
        theirs.push(null()?);
    }
    for (slot, wanted) in outputs.iter_mut().zip([request.stdout, request.stderr]) {
        if wanted {
            let (ours, end) = streams::reader().map_err(internal("pipe"))?;
            *slot = Some(Box::new(ours));
            theirs.push(end);
        } else {
            theirs.push(null()?);
        }
    }
    let raw: Vec<i32> = theirs.iter().map(AsRawFd::as_raw_fd).collect();
    let (exec, _, code) = host.exec(id, &request.command, false, &raw).await?;
    let [stdout, stderr] = outputs;
    Ok(ExecSession { stdin, stdout, stderr, resize: None, exit: exit_of(host, exec, code) })
}
