//! Texts: which of YAML's ways of writing one it takes, and writing it so (go-yaml's `emitterc.go`).

use super::{INDENT, Writer, plain};

/// Lines are folded at the first space after so many columns.
const WIDTH: usize = 80;
/// Keys that are longer have a line of their own.
const KEY_MAX: usize = 128;

/// A text, and what it may be written as.
pub(super) struct Scalar<'t> {
    text: &'t str,
    /// Plainly it would be something else.
    ambiguous: bool,
    plain: bool,
    single: bool,
    block: bool,
}

impl<'t> Scalar<'t> {
    /// `yaml_emitter_analyze_scalar`.
    pub fn of(text: &'t str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let (first, last) = (chars.first().copied(), chars.last().copied());
        let pair = |one: char, other: char| chars.windows(2).any(|two| two[0] == one && two[1] == other);
        let special = chars.iter().any(|one| !is_printable(*one));
        let (break_space, space_break) = (pair('\n', ' '), pair(' ', '\n'));
        let edges = [first, last].iter().flatten().any(|one| matches!(one, ' ' | '\n'));
        let plain = !edges && !special && !text.contains('\n') && !has_indicator(&chars);
        Self {
            text,
            ambiguous: plain::is_other(text),
            plain,
            single: !break_space && !space_break && !special,
            block: !text.is_empty() && last != Some(' ') && !space_break && !special,
        }
    }

    /// As a value; folded lines begin at `indent`.
    pub fn value(&self, out: &mut Writer, indent: usize) {
        let lines = self.text.contains('\n');
        if lines && self.block {
            self.literal(out, indent);
        } else if lines || self.ambiguous || !self.plain && !self.single {
            self.double(out, Some(indent));
        } else {
            self.folded(out, indent, if self.plain { "" } else { "'" });
        }
    }

    /// As a key of a mapping that is moved in by `indent`. A long one has a mark before it and a line of its own.
    pub fn key(&self, out: &mut Writer, indent: usize) {
        let long = self.text.len() > KEY_MAX;
        if long {
            out.put("? ");
        }
        if self.text.contains('\n') || self.ambiguous || !self.plain && !self.single {
            self.double(out, None);
        } else if self.plain {
            out.put(self.text);
        } else {
            out.put(&format!("'{}'", self.text.replace('\'', "''")));
        }
        if long {
            out.begin(indent);
        }
    }

    /// Plain or in single quotes, which a quote within doubles.
    fn folded(&self, out: &mut Writer, indent: usize, quote: &str) {
        out.put(quote);
        let chars: Vec<char> = self.text.chars().collect();
        let mut spaces = false;
        for (at, one) in chars.iter().enumerate() {
            let next = chars.get(at + 1);
            let inner = quote.is_empty() || at > 0 && next.is_some();
            if *one == ' ' && !spaces && out.column > WIDTH && inner && next != Some(&' ') {
                out.begin(indent);
            } else {
                out.put_char(*one);
                if *one == '\'' && !quote.is_empty() {
                    out.put_char('\'');
                }
            }
            spaces = *one == ' ';
        }
        out.put(quote);
    }

    /// In double quotes, with escapes; on one line without an indent.
    fn double(&self, out: &mut Writer, indent: Option<usize>) {
        out.put("\"");
        let chars: Vec<char> = self.text.chars().collect();
        let mut spaces = false;
        for (at, one) in chars.iter().enumerate() {
            let next = chars.get(at + 1);
            match indent {
                Some(indent) if *one == ' ' && !spaces && out.column > WIDTH && at > 0 && next.is_some() => {
                    out.begin(indent);
                    if next == Some(&' ') {
                        out.put_char('\\');
                    }
                }
                _ => escaped(*one, out),
            }
            spaces = *one == ' ';
        }
        out.put("\"");
    }

    /// `|`, and the lines as they are.
    fn literal(&self, out: &mut Writer, indent: usize) {
        out.put("|");
        if self.text.starts_with([' ', '\n']) {
            out.put(&INDENT.to_string());
        }
        match self.text.strip_suffix('\n') {
            None => out.put("-"),
            Some(rest) if rest.is_empty() || rest.ends_with('\n') => out.put("+"),
            Some(_) => {}
        }
        out.line_end();
        let body = self.text.strip_suffix('\n').unwrap_or(self.text);
        for (at, line) in body.split('\n').enumerate() {
            if at > 0 {
                out.line_end();
            }
            if !line.is_empty() {
                for _ in 0..indent {
                    out.put_char(' ');
                }
                out.put(line);
            }
        }
        // what follows begins a line of its own
        if out.column == 0 {
            out.line_end();
        }
    }
}

/// Whether a character, where it is, begins something else in a block.
fn has_indicator(chars: &[char]) -> bool {
    let begins = |text: &str| chars.iter().copied().take(3).eq(text.chars());
    if begins("---") || begins("...") {
        return true;
    }
    let blank = |at: usize| chars.get(at).is_none_or(|one| matches!(one, ' ' | '\t'));
    chars.iter().enumerate().any(|(at, one)| match (at, one) {
        (
            0,
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`',
        ) => true,
        (0, '?' | '-') => blank(at + 1),
        (_, ':') => blank(at + 1),
        (_, '#') => matches!(chars.get(at.wrapping_sub(1)), Some(' ' | '\t' | '\n')),
        _ => false,
    })
}

fn is_printable(one: char) -> bool {
    matches!(one, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
        && !matches!(one, '\u{2028}' | '\u{2029}')
}

fn escaped(one: char, out: &mut Writer) {
    let short = match one {
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{a0}' => "\\_",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        other if is_printable(other) => return out.put_char(other),
        other => {
            let code = u32::from(other);
            let text = match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            };
            return out.put(&text);
        }
    };
    out.put(short);
}
