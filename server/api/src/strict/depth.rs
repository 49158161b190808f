//! How deep brackets nest in YAML, told before it is read: for each token libyaml looks at every bracket that is open, so
//! three megabytes of them would take hours.

/// Open brackets that are read; the reader behind it gives up at 128.
const DEEPEST: usize = 512;

/// go-yaml's words for brackets nested too deep.
pub(super) fn fault(text: &str) -> Option<String> {
    if text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).take(DEEPEST + 1).count() <= DEEPEST {
        return None;
    }
    let mut scan = Scan::default();
    for (index, line) in text.lines().enumerate() {
        if scan.line(line) {
            let place = if index == 0 { String::new() } else { format!("line {}: ", index + 1) };
            return Some(format!("yaml: {place}exceeded max depth of 10000"));
        }
    }
    None
}

/// What is open at the beginning of a line.
#[derive(Default)]
struct Scan {
    brackets: usize,
    quote: Option<u8>,
    /// The indentation of the line that begins a block of text, whose lines are indented more.
    block: Option<usize>,
}

impl Scan {
    /// Follows a line; whether brackets are nested too deep in it.
    fn line(&mut self, line: &str) -> bool {
        let bytes = line.as_bytes();
        let indent = bytes.iter().take_while(|byte| **byte == b' ').count();
        if let Some(block) = self.block {
            if indent > block || indent == bytes.len() {
                return false;
            }
            self.block = None;
        }
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let starts = match at.checked_sub(1).map(|before| bytes[before]) {
                None | Some(b' ' | b'\t') => true,
                Some(b'[' | b'{' | b',' | b':') => self.brackets > 0,
                _ => false,
            };
            match (self.quote, byte) {
                (Some(b'"'), b'\\') => at += 1,
                (Some(b'\''), b'\'') if bytes.get(at + 1) == Some(&b'\'') => at += 1,
                (Some(quote), byte) if quote == byte => self.quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') if starts => self.quote = Some(byte),
                (None, b'#') if starts => break,
                (None, b'[' | b'{') if starts || self.brackets > 0 => self.brackets += 1,
                (None, b']' | b'}') => self.brackets = self.brackets.saturating_sub(1),
                (None, b'|' | b'>') if starts && self.brackets == 0 => {
                    self.block = Some(indent);
                    break;
                }
                _ => {}
            }
            if self.brackets > DEEPEST {
                return true;
            }
            at += 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_that_nest_are_told_from_those_in_texts() {
        let (deep, pairs) = ("[".repeat(DEEPEST + 1), "[]".repeat(DEEPEST));
        let cases = [
            (format!("a: {deep}"), true),
            (format!("{{\"a\":{deep}"), true),
            (format!("a:\n  b: {deep}"), true),
            (format!("a: [{pairs}]"), false),
            (format!("a: \"{deep}\""), false),
            (format!("a: '{deep}'"), false),
            (format!("a: 'it''s {deep}'"), false),
            (format!("a: b{deep}"), false),
            (format!("# {deep}"), false),
            (format!("a: |\n  {deep}\n\n  {deep}\nb: c"), false),
            (format!("a: |\n  text\nb: {deep}"), true),
        ];
        for (text, wanted) in cases {
            assert_eq!(fault(&text).is_some(), wanted, "{text}");
        }
        assert_eq!(
            fault(&format!("a:\n{deep}")).as_deref(),
            Some("yaml: line 2: exceeded max depth of 10000")
        );
    }
}
