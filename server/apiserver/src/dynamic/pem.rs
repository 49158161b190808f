//! PEM as Go's `encoding/pem` reads it: what is no block is passed over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What stands between two lines of dashes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// `CERTIFICATE`
    pub label: String,
    /// Whether lines of headers stood ahead of the bytes.
    pub headers: bool,
    pub bytes: Vec<u8>,
}

/// The first block of `text`, and what follows it.
pub(super) fn decode(text: &[u8]) -> Option<(Block, &[u8])> {
    let mut at = 0;
    let mut begun: Option<(&str, usize)> = None;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let line = line.trim_ascii_end();
        if let Some(label) = marked(line, "-----BEGIN ") {
            begun = Some((label, at));
        } else if line.starts_with("-----END ") {
            let end = marked(line, "-----END ");
            let inner = begun.take().filter(|(label, _)| end == Some(*label));
            // where the line began
            let before = text.get(..at)?;
            let before = before.strip_suffix(b"\n").unwrap_or(before);
            let from = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
            let block = inner.and_then(|(label, start)| block(label, text.get(start..from)?));
            if let Some(block) = block {
                return Some((block, text.get(at..)?));
            }
        }
    }
    None
}

fn marked<'a>(line: &'a str, begin: &str) -> Option<&'a str> {
    line.strip_prefix(begin)?.strip_suffix("-----")
}

fn block(label: &str, inner: &[u8]) -> Option<Block> {
    let text = std::str::from_utf8(inner).ok()?;
    let headers = text.lines().take_while(|line| line.contains(':')).count();
    let body: String = text.lines().skip(headers).flat_map(|line| line.chars()).collect();
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(body).ok()?;
    Some(Block { label: label.to_owned(), headers: headers > 0, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_as_go_reads_them() {
        let cases = [
            ("", None),
            ("x\n", None),
            ("-----BEGIN A-----\nYWJj\n-----END A-----\nx", Some(("A", false, "abc", "x"))),
            ("x\n-----BEGIN A-----\r\nYW\r\nJj\r\n-----END A-----", Some(("A", false, "abc", ""))),
            ("-----BEGIN A-----\nk: v\n\nYWJj\n-----END A-----\n", Some(("A", true, "abc", ""))),
            ("-----BEGIN A-----\n\n-----END A-----\n", Some(("A", false, "", ""))),
            ("-----BEGIN A-----\n!\n-----END A-----\n", None),
            ("-----BEGIN A-----\nYWJj\n-----END B-----\n", None),
            ("-----BEGIN A-----\nYWJj\n", None),
            (
                "-----BEGIN A-----\n!\n-----END A-----\n-----BEGIN B-----\nYWJj\n-----END B-----\n",
                Some(("B", false, "abc", "")),
            ),
        ];
        for (text, want) in cases {
            let got = decode(text.as_bytes());
            let want = want.map(|(label, headers, bytes, rest)| {
                (Block { label: label.to_owned(), headers, bytes: bytes.into() }, rest.as_bytes())
            });
            assert_eq!(got, want, "{text}");
        }
    }
}
