//! A stream of bytes cut into lines.

/// Bytes of a line that are kept; of what comes after them only the number is told.
const LONGEST: usize = 16_384;

/// The line that has not ended yet.
#[derive(Clone, Debug)]
pub struct Lines {
    rest: Vec<u8>,
    /// Bytes of it that were not kept.
    over: usize,
    longest: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self { rest: Vec::new(), over: 0, longest: LONGEST }
    }
}

impl Lines {
    /// Keeps lines whole, of whatever length: for what is read by a program.
    pub fn whole() -> Self {
        Self { longest: usize::MAX, ..Self::default() }
    }

    /// Takes a piece of the stream and gives the lines that end in it.
    pub fn push(&mut self, piece: &[u8], mut each: impl FnMut(&str)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let kept = text.len().min(self.longest - self.rest.len());
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

/// Where a stream of stamped lines broke off: which lines of the stream that goes on from there are known already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// Of the last line, as it was stamped; empty before the first.
    pub time: String,
    /// How many lines in a row had that time.
    alike: usize,
    /// How many of them have not come again yet.
    again: usize,
    catching_up: bool,
}

impl Place {
    /// Takes the time of the next line; whether the line is new.
    pub fn step(&mut self, time: &str) -> bool {
        if self.catching_up {
            let known = match time.cmp(self.time.as_str()) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => {
                    self.again.checked_sub(1).inspect(|left| self.again = *left).is_some()
                }
                std::cmp::Ordering::Greater => false,
            };
            if known {
                return false;
            }
            self.catching_up = false;
        }
        if time != self.time {
            (self.time, self.alike) = (time.to_owned(), 0);
        }
        self.alike += 1;
        true
    }

    /// The stream broke: what comes next begins at [`Self::time`] or before.
    pub fn go_back(&mut self) {
        self.catching_up = !self.time.is_empty();
        self.again = self.alike;
    }
}

/// The time that the kubelet put before a line, and the line.
pub fn stamped(raw: &str) -> (&str, &str) {
    match raw.split_once(' ') {
        Some((time, text)) if time.len() >= 20 && time.as_bytes()[10] == b'T' => (time, text),
        _ => ("", raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_breaks_goes_on_with_the_first_line_that_is_new() {
        let mut place = Place::default();
        let mut new = |place: &mut Place, times: &[&str]| -> Vec<bool> {
            times.iter().map(|time| place.step(time)).collect()
        };
        assert_eq!(new(&mut place, &["1", "2", "2"]), [true; 3]);
        place.go_back();
        // one piece of three lines, of which two had come
        assert_eq!(new(&mut place, &["1", "2", "2", "2", "3"]), [false, false, false, true, true]);
        place.go_back();
        place.go_back();
        assert_eq!(new(&mut place, &["3", "4"]), [false, true]);
        // the file was turned meanwhile: nothing of what was known comes again
        place.go_back();
        assert_eq!(new(&mut place, &["5", "4"]), [true, true]);
        let mut fresh = Place::default();
        fresh.go_back();
        assert_eq!(new(&mut fresh, &["1", "1"]), [true; 2]);
    }

    #[test]
    fn a_line_without_a_time_is_all_text() {
        assert_eq!(stamped("2026-11-29T08:00:00.1Z a b"), ("2026-11-29T08:00:00.1Z", "a b"));
        for raw in ["", "unable to retrieve container logs", "a b"] {
            assert_eq!(stamped(raw), ("", raw));
        }
    }

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
    fn what_a_program_reads_is_not_cut() {
        let (mut lines, mut all) = (Lines::whole(), Vec::new());
        let long = format!("{{\"说\":\"{}\"}}\n", "文".repeat(20_000));
        for piece in long.as_bytes().chunks(7) {
            lines.push(piece, |line| all.push(line.to_owned()));
        }
        assert_eq!(all, [long.trim_end()]);
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
