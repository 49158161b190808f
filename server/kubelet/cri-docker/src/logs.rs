//! Logs in the kubelet's form: one writer per running container copies what the engine keeps.
//!
//! The engine stamps each line with the time it got it. A writer that starts again (after a restart of the
//! daemon) asks for what came after the last line it wrote, so that there is neither a hole nor a repeat.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use sampan_process::Tasks;
use tokio::sync::watch;

/// Bytes at the end of a log among which its last line is looked for.
const TAIL_BYTES: u64 = 64 << 10;

/// Longest wait for the last words of a container.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(2);

struct Writer {
    path: PathBuf,
    reopen: Arc<AtomicBool>,
    drained: watch::Receiver<bool>,
}

/// All writers, by container.
#[derive(Clone)]
pub struct Writers {
    docker: Docker,
    tasks: Tasks,
    writers: Arc<Mutex<HashMap<String, Writer>>>,
}

impl Writers {
    /// No writers yet.
    pub fn new(docker: Docker, tasks: Tasks) -> Self {
        Self { docker, tasks, writers: Arc::default() }
    }

    /// Copies a container's output to `path` until it ends; `fresh` starts at its beginning.
    pub fn follow(&self, container_id: &str, path: &Path, fresh: bool) {
        let (done, drained) = watch::channel(false);
        let reopen = Arc::new(AtomicBool::new(false));
        self.writers.lock().insert(
            container_id.to_owned(),
            Writer { path: path.to_owned(), reopen: reopen.clone(), drained },
        );
        let (docker, id, path) = (self.docker.clone(), container_id.to_owned(), path.to_path_buf());
        self.tasks.spawn_until_drain("docker-log", async move {
            let after = if fresh { None } else { last_time(&path) };
            let followed = copy(&docker, &id, &path, after, &reopen, true).await;
            // a stream that is followed may end before the engine has handed on the very last words
            let rest = copy(&docker, &id, &path, last_time(&path), &reopen, false).await;
            if let Err(error) = followed.and(rest) {
                tracing::warn!(container = id, %error, "log not written");
            }
            done.send_replace(true);
        });
    }

    /// The file was renamed: the next line goes to a fresh one, which is there from now on.
    pub fn reopen(&self, container_id: &str) -> std::io::Result<()> {
        let writers = self.writers.lock();
        let Some(writer) = writers.get(container_id) else { return Ok(()) };
        writer.reopen.store(true, Ordering::Relaxed);
        open(&writer.path).map(drop)
    }

    /// Waits until all that a stopped container said is written.
    pub async fn drained(&self, container_id: &str) {
        let drained = self.writers.lock().get(container_id).map(|writer| writer.drained.clone());
        if let Some(mut drained) = drained {
            // a writer that is gone has nothing more to write
            let _ = tokio::time::timeout(DRAIN, drained.wait_for(|done| *done)).await;
        }
    }

    /// The container is removed.
    pub fn forget(&self, container_id: &str) {
        self.writers.lock().remove(container_id);
    }
}

async fn copy(
    docker: &Docker,
    id: &str,
    path: &Path,
    after: Option<Timestamp>,
    reopen: &AtomicBool,
    follow: bool,
) -> std::io::Result<()> {
    let since = after.and_then(|time| i32::try_from(time.as_second()).ok()).unwrap_or(0);
    let options = LogsOptionsBuilder::default()
        .follow(follow)
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .since(since)
        .build();
    let mut lines = docker.logs(id, Some(options));
    let mut file = open(path)?;
    while let Some(chunk) = lines.next().await {
        let chunk = chunk.map_err(std::io::Error::other)?;
        if reopen.swap(false, Ordering::Relaxed) {
            file = open(path)?;
        }
        if let Some(line) = cri_line(chunk, after) {
            // a full disk loses lines, not the container's log from then on
            let _ = file.write_all(&line);
        }
    }
    Ok(())
}

fn open(path: &Path) -> std::io::Result<std::fs::File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::OpenOptions::new().create(true).append(true).open(path)
}

/// `TIME text` of the engine as `TIME stream F text`; nothing for what was written before.
fn cri_line(chunk: LogOutput, after: Option<Timestamp>) -> Option<Vec<u8>> {
    let (stream, message) = match chunk {
        LogOutput::StdErr { message } => ("stderr", message),
        LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
            ("stdout", message)
        }
    };
    let space = message.iter().position(|byte| *byte == b' ')?;
    let time = std::str::from_utf8(&message[..space]).ok()?;
    let parsed: Timestamp = time.parse().ok()?;
    if after.is_some_and(|after| parsed <= after) {
        return None;
    }
    let (text, flag) = match message[space + 1..].strip_suffix(b"\n") {
        Some(text) => (text.strip_suffix(b"\r").unwrap_or(text), 'F'),
        None => (&message[space + 1..], 'P'),
    };
    let mut line = format!("{time} {stream} {flag} ").into_bytes();
    line.extend_from_slice(text);
    line.push(b'\n');
    Some(line)
}

/// The time of the last whole line of a log, or of what it was before it was rotated.
fn last_time(path: &Path) -> Option<Timestamp> {
    let rotated = || {
        let name = format!("{}.", path.file_name()?.to_str()?);
        let entries = std::fs::read_dir(path.parent()?).ok()?.flatten();
        let older = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&name));
        older
            .max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).ok())
            .map(|entry| entry.path())
    };
    last_time_of(path).or_else(|| last_time_of(&rotated()?))
}

fn last_time_of(path: &Path) -> Option<Timestamp> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let text = String::from_utf8_lossy(&tail);
    text.lines().rev().find_map(|line| line.split(' ').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_get_the_kubelets_form_once() {
        let chunk = |text: &str| LogOutput::StdErr { message: text.to_owned().into() };
        let line = cri_line(chunk("2026-11-22T20:43:01.5Z hello world\r\n"), None);
        assert_eq!(line.as_deref(), Some(&b"2026-11-22T20:43:01.5Z stderr F hello world\n"[..]));
        let partial = cri_line(chunk("2026-11-22T20:43:01.5Z par"), None);
        assert_eq!(partial.as_deref(), Some(&b"2026-11-22T20:43:01.5Z stderr P par\n"[..]));
        let after = "2026-11-22T20:43:01.5Z".parse().ok();
        assert_eq!(cri_line(chunk("2026-11-22T20:43:01.5Z again\n"), after), None);
    }
}
