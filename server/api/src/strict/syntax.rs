//! What is wrong with a text that is no JSON, in Go's words: the scanner of `encoding/json`, for texts that were refused
//! already.

/// Go's own limit.
const MAX_DEPTH: usize = 10_000;
/// Ours, which is serde's: who gets the value walks it on stacks that do not grow.
const OUR_DEPTH: usize = 127;

/// Inside of what, and at what of it.
#[derive(Clone, Copy)]
enum Within {
    Key,
    Value,
    Element,
}

/// What has to come.
#[derive(Clone, Copy)]
enum Want {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    /// What follows a key or value.
    Next,
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    deepest: usize,
}

/// The first fault of `body`; `None` if Go would find none.
pub fn fault(body: &[u8]) -> Option<String> {
    Scan { bytes: body, at: 0, deepest: MAX_DEPTH }.check().err()
}

/// What Go would say of sound JSON if its limit were ours; `None` for what is not that deep.
pub(super) fn too_deep(body: &[u8]) -> Option<String> {
    Scan { bytes: body, at: 0, deepest: OUR_DEPTH }.check().err()
}

/// Sound JSON with escapes of U+FFFD, as Go reads them, for those of surrogates that have no other half; `None` if all have.
pub(super) fn paired(text: &str) -> Option<String> {
    let (mut out, mut rest, mut changed) = (String::new(), text, false);
    while let Some((before, escape)) = rest.find('\\').map(|at| rest.split_at(at)) {
        out.push_str(before);
        let length = match (surrogate(escape), escape.get(6..).and_then(surrogate)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(_), _) => 6,
            (None, _) => 2,
        };
        let (escape, after) = escape.split_at(length);
        let alone = length == 6;
        out.push_str(if alone { "\\ufffd" } else { escape });
        (changed, rest) = (changed || alone, after);
    }
    changed.then(|| out + rest)
}

/// The half of a character that `text` begins with the escape of.
fn surrogate(text: &str) -> Option<u16> {
    let code = u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
    (0xd800..=0xdfff).contains(&code).then_some(code)
}

fn wrong(c: u8, context: &str) -> String {
    format!("invalid character {} {context}", quoted(c))
}

fn end() -> String {
    "unexpected end of JSON input".to_owned()
}

/// A byte as Go's `strconv.Quote` writes the character of its number, in single quotes.
fn quoted(c: u8) -> String {
    let inner = match c {
        b'\'' => "\\'".to_owned(),
        b'\\' => "\\\\".to_owned(),
        0x07 => "\\a".to_owned(),
        0x08 => "\\b".to_owned(),
        b'\t' => "\\t".to_owned(),
        b'\n' => "\\n".to_owned(),
        0x0b => "\\v".to_owned(),
        0x0c => "\\f".to_owned(),
        b'\r' => "\\r".to_owned(),
        0x00..=0x1f | 0x7f => format!("\\x{c:02x}"),
        0x80..=0xa0 | 0xad => format!("\\u{:04x}", u16::from(c)),
        _ => char::from(c).to_string(),
    };
    format!("'{inner}'")
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next byte; inside of something short, the end reads as a space.
    fn take(&mut self) -> u8 {
        let c = self.peek().unwrap_or(b' ');
        self.at += 1;
        c
    }

    fn check(mut self) -> Result<(), String> {
        let (mut stack, mut want) = (Vec::new(), Want::Value);
        loop {
            while self.peek().is_some_and(|c| matches!(c, b' ' | b'\t' | b'\r' | b'\n')) {
                self.at += 1;
            }
            let Some(c) = self.peek() else {
                return if stack.is_empty() && matches!(want, Want::Next) { Ok(()) } else { Err(end()) };
            };
            want = match want {
                Want::ValueOrEnd if c == b']' => self.close(&mut stack),
                Want::KeyOrEnd if c == b'}' => self.close(&mut stack),
                Want::Value | Want::ValueOrEnd => self.value(c, &mut stack)?,
                Want::Key | Want::KeyOrEnd if c == b'"' => self.string()?,
                Want::Key | Want::KeyOrEnd => {
                    return Err(wrong(c, "looking for beginning of object key string"));
                }
                Want::Next => self.next(c, &mut stack)?,
            };
            if stack.len() > self.deepest {
                return Err(wrong(c, "exceeded max depth"));
            }
        }
    }

    fn close(&mut self, stack: &mut Vec<Within>) -> Want {
        self.at += 1;
        stack.pop();
        Want::Next
    }

    fn value(&mut self, c: u8, stack: &mut Vec<Within>) -> Result<Want, String> {
        match c {
            b'{' => {
                self.at += 1;
                stack.push(Within::Key);
                Ok(Want::KeyOrEnd)
            }
            b'[' => {
                self.at += 1;
                stack.push(Within::Element);
                Ok(Want::ValueOrEnd)
            }
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            c => Err(wrong(c, "looking for beginning of value")),
        }
    }

    fn next(&mut self, c: u8, stack: &mut Vec<Within>) -> Result<Want, String> {
        let Some(within) = stack.last_mut() else { return Err(wrong(c, "after top-level value")) };
        match (*within, c) {
            (Within::Value, b'}') | (Within::Element, b']') => return Ok(self.close(stack)),
            _ => self.at += 1,
        }
        match (*within, c) {
            (Within::Key, b':') => {
                *within = Within::Value;
                Ok(Want::Value)
            }
            (Within::Value, b',') => {
                *within = Within::Key;
                Ok(Want::Key)
            }
            (Within::Element, b',') => Ok(Want::Value),
            (Within::Key, _) => Err(wrong(c, "after object key")),
            (Within::Value, _) => Err(wrong(c, "after object key:value pair")),
            (Within::Element, _) => Err(wrong(c, "after array element")),
        }
    }

    fn string(&mut self) -> Result<Want, String> {
        self.at += 1;
        loop {
            let Some(c) = self.peek() else { return Err(end()) };
            self.at += 1;
            match c {
                b'"' => return Ok(Want::Next),
                b'\\' => self.escape()?,
                0x00..=0x1f => return Err(wrong(c, "in string literal")),
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.take() {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(()),
            b'u' => {
                let other = (0..4).map(|_| self.take()).find(|c| !c.is_ascii_hexdigit());
                other.map_or(Ok(()), |c| Err(wrong(c, "in \\u hexadecimal character escape")))
            }
            c => Err(wrong(c, "in string escape code")),
        }
    }

    fn number(&mut self) -> Result<Want, String> {
        let mut first = self.take();
        if first == b'-' {
            first = self.take();
            if !first.is_ascii_digit() {
                return Err(wrong(first, "in numeric literal"));
            }
        }
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
        }
        Ok(Want::Next)
    }

    fn digit(&mut self, context: &str) -> Result<(), String> {
        let c = self.take();
        if !c.is_ascii_digit() {
            return Err(wrong(c, context));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &str) -> Result<Want, String> {
        for wanted in word.bytes() {
            let c = self.take();
            if c != wanted {
                return Err(wrong(c, &format!("in literal {word} (expecting '{}')", char::from(wanted))));
            }
        }
        Ok(Want::Next)
    }
}

#[cfg(test)]
mod tests {
    use super::{fault, paired, too_deep};

    /// What Go 1.26 says of each.
    #[test]
    fn faults_are_told_in_gos_words() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "unexpected end of JSON input"),
            (b"{", "unexpected end of JSON input"),
            (b"{\"a\":", "unexpected end of JSON input"),
            (b"nonsense", "invalid character 'o' in literal null (expecting 'u')"),
            (b"nil", "invalid character 'i' in literal null (expecting 'u')"),
            (b"{a: 1}", "invalid character 'a' looking for beginning of object key string"),
            (b"{\"a\" 1}", "invalid character '1' after object key"),
            (b"{\"a\": 1 \"b\": 2}", "invalid character '\"' after object key:value pair"),
            (b"{\"a\": 1,}", "invalid character '}' looking for beginning of object key string"),
            (b"[1 2]", "invalid character '2' after array element"),
            (b"[1,]", "invalid character ']' looking for beginning of value"),
            (b"[", "unexpected end of JSON input"),
            (b"\"abc", "unexpected end of JSON input"),
            (b"\"a\\", "invalid character ' ' in string escape code"),
            (b"\"a\\x\"", "invalid character 'x' in string escape code"),
            (b"\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"),
            (b"\"\\u12", "invalid character ' ' in \\u hexadecimal character escape"),
            (b"\"a\nb\"", "invalid character '\\n' in string literal"),
            (b"-", "invalid character ' ' in numeric literal"),
            (b"-a", "invalid character 'a' in numeric literal"),
            (b"01", "invalid character '1' after top-level value"),
            (b"1.", "invalid character ' ' after decimal point in numeric literal"),
            (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
            (b"1e", "invalid character ' ' in exponent of numeric literal"),
            (b"1e+", "invalid character ' ' in exponent of numeric literal"),
            (b"tru", "invalid character ' ' in literal true (expecting 'e')"),
            (b"trux", "invalid character 'x' in literal true (expecting 'e')"),
            (b"fals!", "invalid character '!' in literal false (expecting 'e')"),
            (b"nuli", "invalid character 'i' in literal null (expecting 'l')"),
            (b"{} x", "invalid character 'x' after top-level value"),
            (b"{}}", "invalid character '}' after top-level value"),
            (b"{'a': 1}", "invalid character '\\'' looking for beginning of object key string"),
            (b"\x00", "invalid character '\\x00' looking for beginning of value"),
            (b"\xe9", "invalid character 'é' looking for beginning of value"),
            (b"\xc3\xa9", "invalid character 'Ã' looking for beginning of value"),
            (b"]", "invalid character ']' looking for beginning of value"),
            (b"{\"a\": \\}", "invalid character '\\\\' looking for beginning of value"),
            (b"{\"a\":1]", "invalid character ']' after object key:value pair"),
            (b"\x7f", "invalid character '\\x7f' looking for beginning of value"),
            (b"[1}", "invalid character '}' after array element"),
        ];
        for (text, why) in cases {
            assert_eq!(fault(text).as_deref(), Some(*why), "{}", String::from_utf8_lossy(text));
        }
        for good in
            ["{}", " [1, -0.5e+3, \"a\\u00e9\", true, false, null, {\"a\": [[], {}]}]\n", "0", "\"\u{7f}\""]
        {
            assert_eq!(fault(good.as_bytes()), None, "{good}");
        }
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let why = Some("invalid character '[' exceeded max depth".to_owned());
        assert_eq!((fault(deep(10_000).as_bytes()), fault(deep(10_001).as_bytes())), (None, why.clone()));
        assert_eq!((too_deep(deep(127).as_bytes()), too_deep(deep(128).as_bytes())), (None, why));
    }

    #[test]
    fn surrogates_without_their_other_half_are_replaced() {
        let cases = [
            (r#"{"\ud800": "a\uDFFFb"}"#, Some(r#"{"\ufffd": "a\ufffdb"}"#)),
            (r#"["\ud83d\ude00\ud83d"]"#, Some(r#"["\ud83d\ude00\ufffd"]"#)),
            (r#""\ud800\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
            (r#""\ud800\u0041é\n""#, Some(r#""\ufffd\u0041é\n""#)),
            (r#""\\ud800 \\\ud800""#, Some(r#""\\ud800 \\\ufffd""#)),
            (r#""\ud83d\ude00 \u0041""#, None),
            (r#""\\ud800""#, None),
            ("{}", None),
        ];
        for (text, expected) in cases {
            assert_eq!(paired(text).as_deref(), expected, "{text}");
        }
    }
}
