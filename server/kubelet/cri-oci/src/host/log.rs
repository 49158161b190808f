//! Container logs in the CRI format: `2026-11-22T20:43:01.123456789Z stdout F text`.
//!
//! Ported behaviour: containerd `internal/cri/io/logger.go` (16 KiB parts, `P` for a part and for a last
//! line without its newline). A disk that is full loses lines, never a container.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Longest part of a line.
pub const MAX_LINE: usize = 16 * 1024;

/// Which output a line is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Cuts one stream into lines.
#[derive(Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Appends to `out` the log lines that `data` completes.
    pub fn push(&mut self, stream: Stream, at: &str, mut data: &[u8], out: &mut Vec<u8>) {
        while let Some(end) = data.iter().position(|byte| *byte == b'\n') {
            self.take(stream, at, &data[..end], out);
            write_line(stream, at, b'F', &self.rest, out);
            self.rest.clear();
            data = &data[end + 1..];
        }
        self.take(stream, at, data, out);
        if self.rest.is_empty() {
            // an idle container holds no buffer
            self.rest = Vec::new();
        }
    }

    /// At the end of the stream: what is left has no newline and is a part.
    pub fn finish(&mut self, stream: Stream, at: &str, out: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            write_line(stream, at, b'P', &self.rest, out);
            self.rest = Vec::new();
        }
    }

    fn take(&mut self, stream: Stream, at: &str, mut data: &[u8], out: &mut Vec<u8>) {
        while self.rest.len() + data.len() > MAX_LINE {
            let (part, more) = data.split_at(MAX_LINE - self.rest.len());
            self.rest.extend_from_slice(part);
            write_line(stream, at, b'P', &self.rest, out);
            self.rest.clear();
            data = more;
        }
        self.rest.extend_from_slice(data);
    }
}

fn write_line(stream: Stream, at: &str, tag: u8, text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(at.as_bytes());
    out.extend_from_slice(match stream {
        Stream::Stdout => b" stdout ",
        Stream::Stderr => b" stderr ",
    });
    out.push(tag);
    out.push(b' ');
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// `RFC3339Nano`, always with nine digits so that lines sort.
pub fn stamp(at: Timestamp) -> String {
    format!("{at:.9}")
}

/// A log file that is opened again after rotation.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Option<File>,
}

impl LogFile {
    /// Opens for appending. A log that cannot be opened is not a reason not to run.
    pub fn open(path: &Path) -> Self {
        let mut log = LogFile { path: path.to_owned(), file: None };
        log.reopen();
        log
    }

    /// Opens the path again: the old file was renamed away.
    pub fn reopen(&mut self) {
        if let Some(parent) = self.path.parent() {
            let _ = std::fs::create_dir_all(parent);
        }
        self.file = OpenOptions::new().create(true).append(true).open(&self.path).ok();
    }

    /// Writes whole lines; what a full disk refuses is lost.
    pub fn write(&mut self, lines: &[u8]) {
        if let Some(file) = &mut self.file
            && !lines.is_empty()
        {
            let _ = file.write_all(lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]], finish: bool) -> String {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.push(Stream::Stdout, "T", chunk, &mut out);
        }
        if finish {
            lines.finish(Stream::Stdout, "T", &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_cut_and_tagged() {
        assert_eq!(lines(&[b"a\nb\n"], true), "T stdout F a\nT stdout F b\n");
        assert_eq!(lines(&[b"a", b"b\n"], true), "T stdout F ab\n");
        assert_eq!(lines(&[b"\n"], true), "T stdout F \n");
        assert_eq!(lines(&[b"tail"], true), "T stdout P tail\n");
        assert_eq!(lines(&[b"tail"], false), "");
    }

    #[test]
    fn long_lines_become_parts() {
        let long = vec![b'x'; MAX_LINE + 3];
        let text = lines(&[&long, b"\n"], true);
        let parts: Vec<&str> = text.lines().collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].len(), "T stdout P ".len() + MAX_LINE);
        assert_eq!(parts[1], "T stdout F xxx");
        // exactly the limit is one full line
        let exact = vec![b'x'; MAX_LINE];
        assert_eq!(lines(&[&exact, b"\n"], true).lines().count(), 1);
    }

    #[test]
    fn stamps_have_nine_digits() {
        assert_eq!(stamp(Timestamp::from_second(0).unwrap()), "1970-01-01T00:00:00.000000000Z");
    }
}
