//! A stream of bytes cut into lines.

/// Bytes of a line that are kept; of what comes after them only the number is told.
const LONGEST: usize = 16_384;

/// The line that has not ended yet.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
    /// Bytes of it that were not kept.
    over: usize,
}

impl Lines {
    /// Takes a piece of the stream and gives the lines that end in it.
    pub fn push(&mut self, piece: &[u8], mut each: impl FnMut(&str)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let kept = text.len().min(LONGEST - self.rest.len());
            self.rest.extend_from_slice(&text[..kept]);
            self.over += text.len() - kept;
            if ends {
                self.give(&mut each);
            }
        }
    }

    /// The stream is over: what came since the last end is a line too.
    pub fn end(mut self, mut each: impl FnMut(&str)) {
        if !self.rest.is_empty() {
            self.give(&mut each);
        }
    }

    fn give(&mut self, each: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.rest);
        let text = text.strip_suffix('\r').unwrap_or(&text);
        match self.over {
            0 => each(text),
            over => each(&format!("{text} … (+{over} B)")),
        }
        self.rest.clear();
        self.over = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| all.push(line.to_owned()));
        }
        lines.end(|line| all.push(line.to_owned()));
        all
    }

    #[test]
    fn lines_are_whole_however_their_pieces_come() {
        assert_eq!(
            cut(&[
                b"a\nb",
                b"c\r\n",
                b"\n",
                "文".as_bytes().split_at(1).0,
                "文\nlast".as_bytes().split_at(1).1
            ]),
            ["a", "bc", "", "文", "last"]
        );
        assert_eq!(cut(&[b"\xff\xfe\n"]), ["\u{fffd}\u{fffd}"]);
    }

    #[test]
    fn a_line_of_ten_megabytes_is_cut_and_says_so() {
        let piece = vec![b'x'; 1 << 20];
        let mut pieces: Vec<&[u8]> = vec![&piece; 10];
        pieces.push(b"end\nnext\n");
        let lines = cut(&pieces);
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("xxx") && lines[0].ends_with(" … (+10469379 B)"),
            "{}",
            &lines[0][16_380..]
        );
        assert_eq!(lines[1], "next");
    }
}
