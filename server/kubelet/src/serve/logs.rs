//! Container logs: reading the CRI format with kubectl's options, and following it by inotify.
//!
//! Ported from upstream's `pkg/kubelet/kuberuntime/logs/logs.go`. A line is
//! `2026-11-22T20:43:01.123456789Z stdout F text`; `P` marks a part of a longer line.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc::Sender;

use crate::housekeeping::rotated;

/// Which part of a log is wanted, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Go on until the container ends.
    pub follow: bool,
    /// The run before this one.
    pub previous: bool,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail: Option<usize>,
    /// Only lines since then.
    pub since: Option<Timestamp>,
    /// At most so many bytes.
    pub limit: Option<usize>,
    /// Only this stream: `stdout` or `stderr`.
    pub stream: Option<String>,
}

impl Options {
    /// Options from a query; an error is a bad request.
    pub fn parse(query: &[(String, String)], now: Timestamp) -> Result<Self, String> {
        let get = |name: &str| {
            query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
        };
        let on = |name: &str| get(name).is_some_and(|v| v == "true" || v == "1");
        let number = |name: &str| -> Result<Option<i64>, String> {
            get(name)
                .map(|v| v.parse::<i64>().map_err(|_| format!("invalid value for {name}: {v:?}")))
                .transpose()
        };
        let since = match (number("sinceSeconds")?, get("sinceTime")) {
            (Some(_), Some(_)) => {
                return Err("at most one of `sinceTime` or `sinceSeconds` may be specified".to_owned());
            }
            (Some(seconds), None) => Some(now - jiff::SignedDuration::from_secs(seconds)),
            (None, Some(time)) => {
                Some(time.parse().map_err(|_| format!("invalid value for sinceTime: {time:?}"))?)
            }
            (None, None) => None,
        };
        let size = |n: Option<i64>| n.and_then(|n| usize::try_from(n).ok());
        Ok(Self {
            follow: on("follow"),
            previous: on("previous"),
            timestamps: on("timestamps"),
            tail: size(number("tailLines")?),
            since,
            limit: size(number("limitBytes")?),
            stream: match get("stream") {
                Some("Stdout") => Some("stdout".to_owned()),
                Some("Stderr") => Some("stderr".to_owned()),
                _ => None,
            },
        })
    }
}

/// One line of the file, taken apart.
struct Line<'a> {
    time: &'a [u8],
    stream: &'a [u8],
    partial: bool,
    text: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
    let text = parts.next().unwrap_or_default();
    Some(Line {
        time,
        stream,
        partial: tag.first() == Some(&b'P'),
        text: text.strip_suffix(b"\n").unwrap_or(text),
    })
}

/// Turns lines of files into what the client gets.
struct Renderer {
    options: Options,
    /// The last line was a part: no time before the next.
    within: bool,
    left: usize,
}

impl Renderer {
    fn new(options: &Options) -> Self {
        Self { left: options.limit.unwrap_or(usize::MAX), options: options.clone(), within: false }
    }

    /// `None`: the line is not wanted.
    fn render(&mut self, raw: &[u8]) -> Option<Bytes> {
        let line = parse(raw)?;
        if self.options.stream.as_ref().is_some_and(|wanted| wanted.as_bytes() != line.stream) {
            return None;
        }
        if let Some(since) = self.options.since {
            let time: Timestamp = std::str::from_utf8(line.time).ok()?.parse().ok()?;
            if time < since {
                return None;
            }
        }
        let mut out = Vec::with_capacity(raw.len());
        if self.options.timestamps && !self.within {
            out.extend_from_slice(line.time);
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if !line.partial {
            out.push(b'\n');
        }
        self.within = line.partial;
        Some(out.into())
    }

    /// Cuts a line to what the limit leaves.
    fn cut(&mut self, mut line: Bytes) -> Bytes {
        line.truncate(self.left);
        self.left -= line.len();
        line
    }
}

/// The last lines of a log, without the format's prefixes.
pub fn tail_text(path: &Path, lines: usize) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let mut renderer = Renderer::new(&Options::default());
    let mut last: VecDeque<Bytes> = VecDeque::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| renderer.render(line)) {
        last.push_back(line);
        if last.len() > lines {
            last.pop_front();
        }
    }
    last.into_iter().collect::<Vec<_>>().concat()
}

/// Sends the log at `path` to `out`. `ended` resolves once the container writes no more.
pub async fn send(
    path: PathBuf,
    options: Options,
    out: Sender<Bytes>,
    ended: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    // before the first read, so that no change is missed
    let watch = if options.follow { Some(Watch::new(&path)?) } else { None };
    let mut renderer = Renderer::new(&options);
    let mut file = Tail::open(&path).await?;
    let mut files = rotated(&path);
    files.retain(|old| old.extension().is_none_or(|e| e != "gz"));
    let mut backlog = VecDeque::new();
    for old in files {
        let mut old = Tail::open(&old).await?;
        collect(&mut old, &mut renderer, options.tail, &mut backlog, &out).await?;
    }
    collect(&mut file, &mut renderer, options.tail, &mut backlog, &out).await?;
    for line in backlog {
        if renderer.left == 0 || out.send(renderer.cut(line)).await.is_err() {
            return Ok(());
        }
    }
    match watch {
        Some(watch) => follow(path, file, renderer, watch, out, ended).await,
        None => Ok(()),
    }
}

/// Reads a file to its end: into the backlog if only a tail of it is wanted, else straight out.
async fn collect(
    file: &mut Tail,
    renderer: &mut Renderer,
    tail: Option<usize>,
    backlog: &mut VecDeque<Bytes>,
    out: &Sender<Bytes>,
) -> io::Result<()> {
    while let Some(raw) = file.line().await? {
        let Some(line) = renderer.render(&raw) else { continue };
        match tail {
            None => {
                if renderer.left == 0 || out.send(renderer.cut(line)).await.is_err() {
                    return Ok(());
                }
            }
            // the limit counts from the first line of the tail on
            Some(lines) => {
                backlog.push_back(line);
                if backlog.len() > lines {
                    backlog.pop_front();
                }
            }
        }
    }
    Ok(())
}

async fn follow(
    path: PathBuf,
    mut file: Tail,
    mut renderer: Renderer,
    watch: Watch,
    out: Sender<Bytes>,
    ended: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let mut ended = std::pin::pin!(ended);
    let mut over = false;
    loop {
        loop {
            while let Some(raw) = file.line().await? {
                if let Some(line) = renderer.render(&raw)
                    && (renderer.left == 0 || out.send(renderer.cut(line)).await.is_err())
                {
                    return Ok(());
                }
            }
            // rotated: the old file is read to its end before the new one
            if !file.moved(&path).await {
                break;
            }
            file = Tail::open(&path).await?;
        }
        if over {
            return Ok(());
        }
        tokio::select! {
            () = &mut ended => over = true,
            () = out.closed() => return Ok(()),
            changed = watch.changed() => changed?,
        }
    }
}

/// A file that is read line by line while it grows.
struct Tail {
    reader: BufReader<tokio::fs::File>,
    inode: u64,
    pending: Vec<u8>,
}

impl Tail {
    async fn open(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let file = tokio::fs::File::open(path).await?;
        let inode = file.metadata().await?.ino();
        Ok(Self { reader: BufReader::with_capacity(64 << 10, file), inode, pending: Vec::new() })
    }

    /// The next whole line; `None` at the present end.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.reader.read_until(b'\n', &mut self.pending).await?;
        if self.pending.last() != Some(&b'\n') {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.pending)))
    }

    /// Whether another file is at the path now.
    async fn moved(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        tokio::fs::metadata(path).await.is_ok_and(|meta| meta.ino() != self.inode)
    }
}

/// Changes in a log's directory.
struct Watch(AsyncFd<Fd>);

struct Fd(Inotify);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watch {
    // the replacement is unsafe to call, which this crate may not; `Fd` owns its descriptor and never changes it
    #[expect(deprecated)]
    fn new(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        inotify.add_watch(path.parent().unwrap_or(path), flags)?;
        Ok(Self(AsyncFd::new(Fd(inotify))?))
    }

    async fn changed(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        while self.0.get_ref().0.read_events().is_ok() {}
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::sync::mpsc::{Receiver, channel};

    const LOG: &str = "2026-01-01T00:00:01.000000001Z stdout F one\n\
        2026-01-01T00:00:02.000000001Z stderr P tw\n2026-01-01T00:00:02.000000002Z stderr F o\n\
        2026-01-01T00:00:03.000000001Z stdout F three\n";

    async fn all(mut from: Receiver<Bytes>) -> String {
        let mut text = Vec::new();
        while let Some(bytes) = from.recv().await {
            text.extend_from_slice(&bytes);
        }
        String::from_utf8(text).unwrap()
    }

    async fn read(options: Options) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (out, from) = channel(8);
        let (result, text) = tokio::join!(send(path, options, out, std::future::pending()), all(from));
        result.unwrap();
        text
    }

    #[tokio::test]
    async fn options_choose_lines() {
        assert_eq!(read(Options::default()).await, "one\ntwo\nthree\n");
        assert_eq!(read(Options { tail: Some(1), ..Options::default() }).await, "three\n");
        assert_eq!(read(Options { tail: Some(0), ..Options::default() }).await, "");
        assert_eq!(read(Options { limit: Some(5), ..Options::default() }).await, "one\nt");
        assert_eq!(read(Options { limit: Some(3), tail: Some(1), ..Options::default() }).await, "thr");
        let since = Some("2026-01-01T00:00:02.5Z".parse().unwrap());
        assert_eq!(read(Options { since, ..Options::default() }).await, "three\n");
        let times = read(Options { timestamps: true, tail: Some(1), ..Options::default() }).await;
        assert_eq!(times, "2026-01-01T00:00:03.000000001Z three\n");
        assert_eq!(read(Options { stream: Some("stderr".to_owned()), ..Options::default() }).await, "two\n");
    }

    #[tokio::test]
    async fn following_crosses_a_rotation_and_ends_with_the_container() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (out, mut from) = channel(8);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let options = Options { follow: true, tail: Some(1), ..Options::default() };
        let sender = tokio::spawn(send(path.clone(), options, out, async { _ = ended.await }));
        assert_eq!(from.recv().await.unwrap(), "three\n");
        std::fs::rename(&path, directory.path().join("0.log.20260101-000004")).unwrap();
        std::fs::write(&path, "2026-01-01T00:00:05.000000001Z stdout F five\n").unwrap();
        assert_eq!(from.recv().await.unwrap(), "five\n");
        end.send(()).unwrap();
        assert_eq!(from.recv().await, None);
        sender.await.unwrap().unwrap();
    }
}
