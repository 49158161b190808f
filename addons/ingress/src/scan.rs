//! Looks at the bytes of HTTP/1 connections before the parser does, for what two parsers could read in two ways: both
//! lengths at once, a length twice, an unknown coding, lines that end in LF alone, folded lines. Such a request is
//! refused, so that nothing can be smuggled past us to an endpoint (RFC 9112, 6.3 and 11.2).
//!
//! ```text
//!  Head ──► Length(n) ──► Head          a head that is fine says how long the body is, which is skipped
//!    └────► Chunked ────► Head
//! ```
//!
//! It keeps a line at most, and parses nothing that the parser behind it does not parse again.

/// A header line that asks for trouble, or a head longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Ambiguous: the answer is 400.
    Ambiguous,
    /// Too long: the answer is 431.
    TooLong,
}

/// Where the scan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    Chunked(Chunk),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size { value: u64, digits: u8 },
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    Trailer,
}

/// What the head has said so far of the body.
#[derive(Clone, Copy, Debug, Default)]
struct Framing {
    /// Whether the request line is past.
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

/// The scan of one connection.
#[derive(Debug)]
pub struct Scan {
    state: State,
    framing: Framing,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Bytes of the head so far.
    head: usize,
    head_max: usize,
}

/// What the connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// A request that has not begun.
    Request,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
}

impl Scan {
    /// A fresh connection's.
    pub fn new(head_max: usize) -> Self {
        Self { state: State::Head, framing: Framing::default(), line: Vec::new(), head: 0, head_max }
    }

    /// What comes next.
    pub fn awaits(&self) -> Awaits {
        match self.state {
            State::Head if self.head == 0 => Awaits::Request,
            State::Head => Awaits::Head,
            _ => Awaits::Body,
        }
    }

    /// Looks at what has come.
    ///
    /// # Errors
    /// Why not to go on, and how many of the bytes are fine to pass on.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), (Refusal, usize)> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let taken = match self.state {
                State::Head => self.head(rest),
                State::Length(left) => Ok(self.body(left, rest.len())),
                State::Chunked(Chunk::Trailer) => self.trailer(rest),
                State::Chunked(chunk) => chunked(chunk, rest).map(|(next, taken)| {
                    self.state = State::Chunked(next);
                    taken
                }),
            };
            match taken {
                Ok(taken) => at += taken,
                // what came too long is passed on, so that the parser sees it as well
                Err(Refusal::TooLong) => return Err((Refusal::TooLong, bytes.len())),
                Err(refusal) => return Err((refusal, at)),
            }
        }
        Ok(())
    }

    fn body(&mut self, left: u64, here: usize) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(here);
        let left = left - taken as u64;
        self.state = if left == 0 { State::Head } else { State::Length(left) };
        taken
    }

    /// One line of the head, or its beginning; how many bytes that was.
    fn head(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let taken = self.line(bytes, |framing, line| framing.header(line))?;
        let Some((taken, whole)) = taken else { return Ok(bytes.len()) };
        if whole && self.framing.begun {
            self.begin_body();
        }
        Ok(taken)
    }

    fn begin_body(&mut self) {
        let framing = std::mem::take(&mut self.framing);
        self.head = 0;
        self.state = match framing.length {
            _ if framing.chunked => State::Chunked(Chunk::Size { value: 0, digits: 0 }),
            Some(length) if length > 0 => State::Length(length),
            _ => State::Head,
        };
    }

    fn trailer(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let fine = |_: &mut Framing, line: &[u8]| !line.starts_with(b" ") && !line.starts_with(b"\t");
        let Some((taken, whole)) = self.line(bytes, fine)? else { return Ok(bytes.len()) };
        if whole {
            (self.state, self.head) = (State::Head, 0);
        }
        Ok(taken)
    }

    /// Looks for the end of a line and judges the line; whether it was empty. `None`: it has not ended.
    fn line(
        &mut self,
        bytes: &[u8],
        judge: impl Fn(&mut Framing, &[u8]) -> bool,
    ) -> Result<Option<(usize, bool)>, Refusal> {
        let end = memchr::memchr(b'\n', bytes).map(|end| end + 1);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        self.head += part.len();
        if self.head > self.head_max {
            return Err(Refusal::TooLong);
        }
        if end.is_none() || !self.line.is_empty() {
            self.line.extend_from_slice(part);
        }
        let Some(end) = end else { return Ok(None) };
        let line = if self.line.is_empty() { part } else { &self.line };
        let line = line.strip_suffix(b"\r\n").ok_or(Refusal::Ambiguous)?;
        let empty = line.is_empty();
        if !empty && !judge(&mut self.framing, line) {
            return Err(Refusal::Ambiguous);
        }
        self.line.clear();
        Ok(Some((end, empty)))
    }
}

impl Framing {
    /// Takes a line of the head in; whether it is fine.
    fn header(&mut self, line: &[u8]) -> bool {
        if !self.begun {
            self.begun = true;
            return true;
        }
        // what a parser that knows folded lines would take for a part of the line before
        if matches!(line[0], b' ' | b'\t') {
            return false;
        }
        // names that are long enough and begin as the two that matter
        let long = matches!(line[0] | 0x20, b'c' | b't') && line.len() > b"content-length".len();
        !long || self.lengths(line)
    }

    fn lengths(&mut self, line: &[u8]) -> bool {
        let Some(colon) = memchr::memchr(b':', line) else { return true };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value);
            let first = self.length.is_none() && !self.chunked;
            self.length = length;
            return first && length.is_some();
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let first = self.length.is_none() && !self.chunked;
            self.chunked = true;
            return first && value.eq_ignore_ascii_case(b"chunked");
        }
        true
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let fine = !digits.is_empty() && digits.len() < 20 && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| fine)?.parse().ok()
}

/// One step through a chunked body; the next state, and how many bytes it took.
fn chunked(chunk: Chunk, bytes: &[u8]) -> Result<(Chunk, usize), Refusal> {
    let next = match (chunk, bytes[0]) {
        (Chunk::Size { value, digits: 0..15 }, byte) if byte.is_ascii_hexdigit() => grown(value, chunk, byte),
        (Chunk::Size { digits: 0, .. }, _) => return Err(Refusal::Ambiguous),
        (Chunk::Size { value, .. } | Chunk::Extension(value), b'\r') => Chunk::SizeLf(value),
        (Chunk::Size { value, .. }, b';' | b' ' | b'\t') => Chunk::Extension(value),
        (Chunk::Extension(value), byte) if byte != b'\n' => Chunk::Extension(value),
        (Chunk::SizeLf(0), b'\n') => Chunk::Trailer,
        (Chunk::SizeLf(value), b'\n') => Chunk::Data(value),
        (Chunk::Data(left), _) => {
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let left = left - taken as u64;
            return Ok((if left == 0 { Chunk::DataCr } else { Chunk::Data(left) }, taken));
        }
        (Chunk::DataCr, b'\r') => Chunk::DataLf,
        (Chunk::DataLf, b'\n') => Chunk::Size { value: 0, digits: 0 },
        _ => return Err(Refusal::Ambiguous),
    };
    Ok((next, 1))
}

fn grown(value: u64, chunk: Chunk, byte: u8) -> Chunk {
    let digits = if let Chunk::Size { digits, .. } = chunk { digits } else { 0 };
    let digit = char::from(byte).to_digit(16).unwrap_or(0);
    Chunk::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "POST / HTTP/1.1\r\nHost: a\r\n";

    /// What the scan says of a head's further lines, however they are cut into reads.
    fn scan(text: &str) -> Result<Awaits, Refusal> {
        let whole = run(text, text.len());
        for size in [1, 2, 3, 7] {
            assert_eq!(run(text, size), whole, "{text:?} in pieces of {size}");
        }
        whole
    }

    fn run(text: &str, size: usize) -> Result<Awaits, Refusal> {
        let mut scan = Scan::new(400);
        for piece in text.as_bytes().chunks(size) {
            scan.feed(piece).map_err(|(refusal, _)| refusal)?;
        }
        Ok(scan.awaits())
    }

    #[test]
    fn heads_and_bodies_follow_each_other() {
        for (rest, awaits) in [
            ("", Awaits::Head),
            ("\r\n", Awaits::Request),
            ("Content-Length: 3\r\n\r\nab", Awaits::Body),
            ("Content-Length: 3\r\n\r\nabc", Awaits::Request),
            ("Content-Length: 0\r\n\r\n", Awaits::Request),
            ("content-length:3\r\n\r\nabcGET / HTTP/1.1\r\n", Awaits::Head),
            ("Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n", Awaits::Body),
            ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Awaits::Request),
            ("Transfer-Encoding: chunked\r\n\r\nA;x=y\r\n0123456789\r\n0\r\nSum: 1\r\n\r\n", Awaits::Request),
            ("Cookie: a\r\nTe: trailers\r\nContent-Lengthy: x\r\n\r\n", Awaits::Request),
        ] {
            assert_eq!(scan(&format!("{HEAD}{rest}")), Ok(awaits), "{rest:?}");
        }
        assert_eq!(scan("\r\nGET / HTTP/1.1\r\n\r\n"), Ok(Awaits::Request));
    }

    #[test]
    fn what_two_parsers_could_read_in_two_ways_is_refused() {
        for rest in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            "Content-Length: 3\r\nContent-Length: 3\r\n",
            "Content-Length: 3\r\ncontent-length: 4\r\n",
            "Content-Length: +3\r\n",
            "Content-Length: 3, 3\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "X: a\n",
            "X: a\r\n b: c\r\n",
            "X: a\r\n\tTransfer-Encoding: chunked\r\n",
            "\n",
            "Transfer-Encoding: chunked\r\n\r\n3\nabc",
            "Transfer-Encoding: chunked\r\n\r\n;x\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n",
            "Transfer-Encoding: chunked\r\n\r\n-1\r\n",
            "Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\n",
            "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n",
        ] {
            assert_eq!(scan(&format!("{HEAD}{rest}")), Err(Refusal::Ambiguous), "{rest:?}");
        }
        assert_eq!(scan("GET / HTTP/1.1\nHost: a\r\n\r\n"), Err(Refusal::Ambiguous));
        assert_eq!(scan(&format!("{HEAD}X: {}\r\n", "y".repeat(400))), Err(Refusal::TooLong));
    }

    #[test]
    fn it_says_how_much_is_fine() {
        let mut scan = Scan::new(400);
        let text = b"GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n";
        assert_eq!(scan.feed(text), Err((Refusal::Ambiguous, 25)));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(0_u8..=255, 0..300), rest in "[0-9a-f;\r\n]{0,60}") {
            let _ = Scan::new(100).feed(&bytes);
            let _ = Scan::new(400).feed(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{rest}").as_bytes());
        }
    }
}
