//! Go's `%q` (`strconv.Quote`).

use std::fmt::{self, Display, Formatter, Write as _};
use std::sync::LazyLock;

use regex::Regex;

/// Go's `unicode.IsPrint`, but for spaces: only that of ASCII prints.
static PRINTS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\pL\pM\pN\pP\pS ]$").ok());

/// A text that is shown in quotes.
pub struct Quoted<'a>(&'a str);

/// Whatever is a text.
pub trait Quote {
    /// As Go's `%q` writes it.
    fn quoted(&self) -> Quoted<'_>;
}

impl Quote for str {
    fn quoted(&self) -> Quoted<'_> {
        Quoted(self)
    }
}

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = self.0;
        let mut from = 0;
        f.write_char('"')?;
        for (at, c) in text.char_indices() {
            if prints(c) && !matches!(c, '"' | '\\') {
                continue;
            }
            f.write_str(&text[from..at])?;
            from = at + c.len_utf8();
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\u{7}' => f.write_str("\\a")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{c}' => f.write_str("\\f")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\u{b}' => f.write_str("\\v")?,
                c if c.is_ascii() => write!(f, "\\x{:02x}", u32::from(c))?,
                c if c <= '\u{ffff}' => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "\\U{:08x}", u32::from(c))?,
            }
        }
        f.write_str(&text[from..])?;
        f.write_char('"')
    }
}

fn prints(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    PRINTS.as_ref().is_none_or(|prints| prints.is_match(c.encode_utf8(&mut [0; 4])))
}

/// `["a" "b"]`: Go's `%q` of a list.
pub fn quoted_list<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = texts.into_iter().map(|text| text.as_ref().quoted().to_string()).collect();
    format!("[{}]", all.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_go_quotes_them() {
        let cases = [
            ("", r#""""#),
            ("a b'c", r#""a b'c""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\u{0}\u{1}\u{7}\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}", r#""\x00\x01\a\b\t\n\v\f\r\x1f\x7f""#),
            ("é日本😀e\u{301}\u{301}", "\"é日本😀e\u{301}\u{301}\""),
            ("\u{301}", "\"\u{301}\""),
            (
                "\u{80}\u{a0}\u{ad}\u{200b}\u{2028}\u{3000}\u{feff}",
                r#""\u0080\u00a0\u00ad\u200b\u2028\u3000\ufeff""#,
            ),
            ("\u{e000}\u{e0001}\u{10ffff}", r#""\ue000\U000e0001\U0010ffff""#),
        ];
        for (text, want) in cases {
            assert_eq!(text.quoted().to_string(), want);
        }
    }

    #[test]
    fn lists_have_spaces_between() {
        assert_eq!(quoted_list(["a", "b\n"]), r#"["a" "b\n"]"#);
        assert_eq!(quoted_list(Vec::<String>::new()), "[]");
    }
}
