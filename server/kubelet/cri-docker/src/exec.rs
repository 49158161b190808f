//! Commands in containers, and joining a container's own streams.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder, ResizeExecOptionsBuilder,
    WaitContainerOptions,
};
use futures::{FutureExt, Stream, StreamExt};
use sampan_cri::*;
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};

use crate::{DockerRuntime, convert};

/// Bytes in flight between the engine and a reader.
const PIPE_BYTES: usize = 64 << 10;
/// Most output that is collected of a command.
const COLLECT_BYTES: usize = 16 << 20;

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;
type Input = Pin<Box<dyn AsyncWrite + Send>>;

impl DockerRuntime {
    async fn begin(&self, container_id: &str, request: &ExecRequest) -> Result<(String, Output, Input)> {
        let options = CreateExecOptions {
            cmd: Some(request.command.clone()),
            tty: Some(request.tty),
            attach_stdin: Some(request.stdin),
            attach_stdout: Some(request.stdout || request.tty),
            attach_stderr: Some(request.stderr && !request.tty),
            ..Default::default()
        };
        let created = self.docker.create_exec(container_id, options).await;
        let id = created
            .map_err(|error| match convert::is_gone(&error) {
                true => RuntimeError::NotFound { kind: "container", id: container_id.to_owned() },
                false => convert::error(error),
            })?
            .id;
        let start = StartExecOptions { detach: false, tty: request.tty, output_capacity: None };
        match self.docker.start_exec(&id, Some(start)).await.map_err(convert::error)? {
            StartExecResults::Attached { output, input } => Ok((id, output, input)),
            StartExecResults::Detached => {
                Err(RuntimeError::Internal("the engine detached from the command".into()))
            }
        }
    }

    pub(crate) async fn run_command(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Option<Duration>,
    ) -> Result<ExecOutput> {
        let request =
            ExecRequest { command: command.to_vec(), stdout: true, stderr: true, ..Default::default() };
        let (id, output, _input) = self.begin(container_id, &request).await?;
        let collected = match timeout {
            Some(limit) => tokio::time::timeout(limit, collect(output)).await,
            None => Ok(collect(output).await),
        };
        let Ok((stdout, stderr)) = collected else {
            self.kill_exec(&id).await;
            return Err(RuntimeError::DeadlineExceeded { command: command.join(" ") });
        };
        let exit_code = self.exit_code(&id).await?;
        not_started(exit_code, &stdout)?;
        Ok(ExecOutput { stdout, stderr, exit_code })
    }

    /// The engine cannot kill a command, but its process is one of this machine's.
    async fn kill_exec(&self, id: &str) {
        let pid = self.docker.inspect_exec(id).await.ok().and_then(|exec| exec.pid).filter(|pid| *pid > 0);
        if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) {
            // gone already is as good
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }

    async fn exit_code(&self, id: &str) -> Result<i32> {
        exit_code(&self.docker, id).await
    }

    pub(crate) async fn session(&self, container_id: &str, request: ExecRequest) -> Result<ExecSession> {
        let (id, output, input) = self.begin(container_id, &request).await?;
        let (resize, mut sizes) = mpsc::channel::<TerminalSize>(8);
        let (docker, exec) = (self.docker.clone(), id.clone());
        let resizing = async move {
            while let Some(size) = sizes.recv().await {
                let options =
                    ResizeExecOptionsBuilder::default().h(size.height.into()).w(size.width.into()).build();
                // a command that has just ended has no terminal
                let _ = docker.resize_exec(&exec, options).await;
            }
        };
        tokio::spawn(resizing);
        let (streams, drained) =
            Streams::pump(output, request.stdout || request.tty, request.stderr && !request.tty);
        let docker = self.docker.clone();
        let exit = async move {
            // a sender dropped is output at its end
            let _ = drained.await;
            exit_code(&docker, &id).await
        };
        Ok(streams.session(request.stdin.then_some(input), request.tty.then_some(resize), exit.boxed()))
    }

    pub(crate) async fn join(&self, container_id: &str, request: AttachRequest) -> Result<ExecSession> {
        let container = self.docker.inspect_container(container_id, None).await.map_err(convert::error)?;
        let tty = container.config.and_then(|config| config.tty).unwrap_or(false);
        let options = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdin(request.stdin)
            .stdout(request.stdout || tty)
            .stderr(request.stderr && !tty)
            .build();
        let attached =
            self.docker.attach_container(container_id, Some(options)).await.map_err(convert::error)?;
        let (resize, mut sizes) = mpsc::channel::<TerminalSize>(8);
        let (docker, id) = (self.docker.clone(), container_id.to_owned());
        tokio::spawn(async move {
            while let Some(size) = sizes.recv().await {
                let options = ResizeContainerTTYOptionsBuilder::default()
                    .h(size.height.into())
                    .w(size.width.into())
                    .build();
                let _ = docker.resize_container_tty(&id, options).await;
            }
        });
        let (streams, drained) =
            Streams::pump(attached.output, request.stdout || tty, request.stderr && !tty);
        let (docker, id) = (self.docker.clone(), container_id.to_owned());
        let exit = async move {
            let _ = drained.await;
            let mut ends = docker.wait_container(&id, None::<WaitContainerOptions>);
            match ends.next().await {
                Some(Ok(end)) => Ok(i32::try_from(end.status_code).unwrap_or(-1)),
                // bollard makes an error of every code but 0
                Some(Err(Error::DockerContainerWaitError { code, .. })) => {
                    Ok(i32::try_from(code).unwrap_or(-1))
                }
                Some(Err(error)) => Err(convert::error(error)),
                None => Ok(0),
            }
        };
        Ok(streams.session(request.stdin.then_some(attached.input), tty.then_some(resize), exit.boxed()))
    }
}

/// The engine says on standard output why a command could not run.
fn not_started(exit_code: i32, stdout: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(stdout);
    match text.starts_with("OCI runtime exec failed: ") && matches!(exit_code, 126..=128) {
        true => Err(convert::start_error(text.trim_end().to_owned())),
        false => Ok(()),
    }
}

async fn exit_code(docker: &bollard::Docker, id: &str) -> Result<i32> {
    let exec = docker.inspect_exec(id).await.map_err(convert::error)?;
    Ok(exec.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1))
}

async fn collect(mut output: Output) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(Ok(chunk)) = output.next().await {
        let (target, bytes) = match chunk {
            LogOutput::StdErr { message } => (&mut stderr, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                (&mut stdout, message)
            }
        };
        let room = COLLECT_BYTES.saturating_sub(target.len()).min(bytes.len());
        target.extend_from_slice(&bytes[..room]);
    }
    (stdout, stderr)
}

/// Standard input; dropping it is end-of-file, as with a pipe. A terminal has no such end: the engine would take
/// it as the end of the output too.
struct Stdin {
    input: Option<Input>,
    tty: bool,
}

impl Stdin {
    fn inner(&mut self) -> std::io::Result<Pin<&mut (dyn AsyncWrite + Send + 'static)>> {
        self.input.as_mut().map(Pin::as_mut).ok_or_else(|| std::io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncWrite for Stdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.inner()?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.inner()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.tty {
            return self.poll_flush(context);
        }
        self.inner()?.poll_shutdown(context)
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        if let (Some(mut input), Ok(runtime), false) = (self.input.take(), runtime, self.tty) {
            runtime.spawn(async move { input.shutdown().await });
        }
    }
}

/// The reader's ends of a command's output.
struct Streams {
    stdout: Option<DuplexStream>,
    stderr: Option<DuplexStream>,
}

impl Streams {
    /// Sorts the engine's one stream into two; the receiver resolves when all was handed on.
    fn pump(mut output: Output, stdout: bool, stderr: bool) -> (Self, oneshot::Receiver<()>) {
        let pipe = |wanted: bool| wanted.then(|| tokio::io::duplex(PIPE_BYTES)).unzip();
        let ((out, mut to_out), (err, mut to_err)) = (pipe(stdout), pipe(stderr));
        let (done, drained) = oneshot::channel();
        tokio::spawn(async move {
            while let Some(Ok(chunk)) = output.next().await {
                let (target, bytes) = match chunk {
                    LogOutput::StdErr { message } => (&mut to_err, message),
                    LogOutput::StdOut { message }
                    | LogOutput::Console { message }
                    | LogOutput::StdIn { message } => (&mut to_out, message),
                };
                if let Some(pipe) = target
                    && pipe.write_all(&bytes).await.is_err()
                {
                    *target = None; // nobody reads it any more
                }
            }
            drop((to_out, to_err));
            let _ = done.send(());
        });
        (Self { stdout: out, stderr: err }, drained)
    }

    fn session(
        self,
        stdin: Option<Input>,
        resize: Option<mpsc::Sender<TerminalSize>>,
        exit: futures::future::BoxFuture<'static, Result<i32>>,
    ) -> ExecSession {
        ExecSession {
            stdin: stdin.map(|stdin| Box::new(Stdin { input: Some(stdin), tty: resize.is_some() }) as _),
            stdout: self.stdout.map(|stdout| Box::new(stdout) as _),
            stderr: self.stderr.map(|stderr| Box::new(stderr) as _),
            resize,
            exit,
        }
    }
}
