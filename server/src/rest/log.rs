//! What components and native addons said: the end of a file, and what is said from then on.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::Path;

use bytes::Bytes;
use futures::StreamExt;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use sampan_apiserver::ResponseBody;
use sampan_process::logs;
use tokio::sync::broadcast::error::RecvError;

use super::reply::{self, Refusal};

const TEXT: &str = "text/plain; charset=utf-8";

/// The last lines of a log; with `follow` the answer goes on.
pub async fn answer(
    directory: &Path,
    name: &str,
    tail: usize,
    follow: bool,
) -> Result<Response<ResponseBody>, Refusal> {
    if follow && let Some(logs) = logs::global() {
        let (text, lines) = logs.read(name);
        let first = Bytes::copy_from_slice(last_lines(&text, tail));
        let later = futures::stream::unfold(lines, |mut lines| async {
            match lines.recv().await {
                Ok(line) => Some((line.text, lines)),
                // so much was said that some of it is only in the file
                Err(RecvError::Lagged(count)) => {
                    Some((Bytes::from(format!("… {count} lines left out\n")), lines))
                }
                Err(RecvError::Closed) => None,
            }
        });
        let all = futures::stream::once(async { first }).chain(later);
        let body = StreamBody::new(all.map(|text| Ok::<_, Infallible>(Frame::data(text))));
        return Ok(reply::of(200, TEXT, body.map_err(|never| match never {}).boxed_unsync()));
    }
    let text = match tokio::fs::read(directory.join(format!("{name}.log"))).await {
        Ok(text) => text,
        // it has said nothing yet
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Refusal::internal(&error.to_string())),
    };
    Ok(reply::text(TEXT, Bytes::copy_from_slice(last_lines(&text, tail))))
}

/// The end of a text, from the start of a line on.
fn last_lines(text: &[u8], lines: usize) -> &[u8] {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let start = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    match lines {
        0 => &[],
        lines => &text[start.take(lines).nth(lines - 1).unwrap_or(0)..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_whole_lines() {
        let text = b"one\ntwo\nthree\n";
        for (lines, tail) in
            [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (3, "one\ntwo\nthree\n"), (9, "one\ntwo\nthree\n")]
        {
            assert_eq!(last_lines(text, lines), tail.as_bytes(), "{lines}");
        }
        assert_eq!(last_lines(b"", 5), b"");
        assert_eq!(last_lines(b"half", 1), b"half");
    }
}
