//! Runs an exec or attach session between a runtime and whatever protocol carries it.

use bytes::Bytes;
use sampan_cri::{ExecSession, RuntimeError, TerminalSize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{Receiver, Sender};

/// Output of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
}

/// Which streams the client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// A session that is to be carried.
pub struct Opened {
    /// Its streams.
    pub session: ExecSession,
    /// Whether it is over when there is nothing more to be written to it: who is attached to a container that goes on reading
    /// from the next has said all. containerd's `ContainerIO.Attach`.
    pub ends_with_input: bool,
}

impl From<ExecSession> for Opened {
    fn from(session: ExecSession) -> Self {
        Self { session, ends_with_input: false }
    }
}

/// Carries a session to its end: the exit code, or `None` when the client went away first.
pub async fn run(
    opened: Opened,
    stdin: Receiver<Bytes>,
    resize: Receiver<TerminalSize>,
    output: Sender<Output>,
) -> Option<Result<i32, RuntimeError>> {
    let ExecSession { stdin: to, stdout, stderr, resize: sizes, exit } = opened.session;
    let ends_with_input = opened.ends_with_input && to.is_some();
    let out = pump_out(stdout, output.clone(), Output::Stdout);
    let err = pump_out(stderr, output.clone(), Output::Stderr);
    let input = async {
        pump_in(to, stdin).await;
        if !ends_with_input {
            std::future::pending::<()>().await;
        }
    };
    let sized = async {
        pump_sizes(sizes, resize).await;
        std::future::pending::<()>().await
    };
    let work = async { tokio::join!(out, err, exit).2 };
    tokio::select! {
        result = work => Some(result),
        () = input => Some(Ok(0)),
        () = sized => None,
        () = output.closed() => None,
    }
}

async fn pump_out(
    from: Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>,
    output: Sender<Output>,
    wrap: fn(Bytes) -> Output,
) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 || output.send(wrap(Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
            return;
        }
    }
}

async fn pump_in(to: Option<Box<dyn tokio::io::AsyncWrite + Send + Unpin>>, mut stdin: Receiver<Bytes>) {
    let Some(mut to) = to else { return };
    while let Some(data) = stdin.recv().await {
        if to.write_all(&data).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

async fn pump_sizes(sizes: Option<Sender<TerminalSize>>, mut resize: Receiver<TerminalSize>) {
    let Some(sizes) = sizes else { return };
    while let Some(size) = resize.recv().await {
        if sizes.send(size).await.is_err() {
            return;
        }
    }
}

/// A terminal size as clients send it: `{"Width":80,"Height":24}`.
pub fn size_of(message: &[u8]) -> Option<TerminalSize> {
    let value: Value = serde_json::from_slice(message).ok()?;
    let side = |name: &str| value.get(name).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
    Some(TerminalSize { width: side("Width")?, height: side("Height")? })
}

/// The `Status` that protocols from v4 on end with.
pub fn status(result: &Result<i32, RuntimeError>) -> Value {
    match result {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(error) => json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError",
            "message": format!("Internal error occurred: {error}"),
            "details": {"causes": [{"message": error.to_string()}]}, "code": 500,
        }),
    }
}

/// What the last message of a session says: a `Status`, or for older protocols the error's text, if any.
pub fn farewell(result: &Result<i32, RuntimeError>, with_status: bool) -> Option<Vec<u8>> {
    match (with_status, result) {
        (true, _) => Some(status(result).to_string().into_bytes()),
        (false, Ok(0)) => None,
        (false, Ok(code)) => {
            Some(format!("command terminated with non-zero exit code: exit status {code}").into_bytes())
        }
        (false, Err(error)) => Some(error.to_string().into_bytes()),
    }
}
