//! Logs as people wrote them: colours of terminals become classes, everything else a terminal would do is dropped. What a
//! log says is never markup.

/// A part of a line in one manner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub text: String,
    /// 0 to 7, and 8 to 15 for the bright ones.
    pub colour: Option<u8>,
    pub bold: bool,
}

/// The parts of a line.
pub fn spans(line: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut now = Span::default();
    let mut rest = line;
    while let Some(at) = rest.find('\u{1b}') {
        now.text.push_str(&visible(&rest[..at]));
        let (codes, after) = escape(&rest[at + 1..]);
        if let Some(codes) = codes {
            let next = manner(&now, codes);
            if !now.text.is_empty() {
                spans.push(std::mem::take(&mut now));
            }
            now = next;
        }
        rest = after;
    }
    now.text.push_str(&visible(rest));
    if !now.text.is_empty() || spans.is_empty() {
        spans.push(now);
    }
    spans
}

/// The line without any escapes.
pub fn plain(line: &str) -> String {
    if !line.contains(|letter: char| letter.is_control()) {
        return line.to_owned();
    }
    spans(line).into_iter().map(|span| span.text).collect()
}

/// Control letters are nothing to see; a tab is.
fn visible(text: &str) -> String {
    text.chars().filter(|letter| *letter == '\t' || !letter.is_control()).collect()
}

/// Codes of a colour sequence, if it is one, and what follows the escape.
fn escape(text: &str) -> (Option<&str>, &str) {
    let Some(body) = text.strip_prefix('[') else {
        if let Some(body) = text.strip_prefix(']') {
            let end = body.find(['\u{7}', '\u{1b}']).map_or(body.len(), |at| at + 1);
            let after = &body[end..];
            // ended by ESC and a backslash
            let ended = if body[..end].ends_with('\u{1b}') { after.strip_prefix('\\') } else { None };
            return (None, ended.unwrap_or(after));
        }
        let skip = text.chars().next().map_or(0, char::len_utf8);
        return (None, &text[skip..]);
    };
    match body.find(|letter: char| ('@'..='~').contains(&letter)) {
        Some(at) if body[at..].starts_with('m') => (Some(&body[..at]), &body[at + 1..]),
        Some(at) => (None, &body[at + 1..]),
        None => (None, ""),
    }
}

fn manner(now: &Span, codes: &str) -> Span {
    let mut next = Span { text: String::new(), ..now.clone() };
    let mut codes = codes.split([';', ':']).map(|code| code.parse::<u8>().unwrap_or(0));
    while let Some(code) = codes.next() {
        match code {
            0 => next = Span::default(),
            1 => next.bold = true,
            22 => next.bold = false,
            30..=37 => next.colour = Some(code - 30),
            90..=97 => next.colour = Some(code - 82),
            39 => next.colour = None,
            38 if codes.next() == Some(5) => next.colour = codes.next().filter(|colour| *colour < 16),
            _ => {}
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_kept_and_the_rest_dropped() {
        let span = |text: &str, colour, bold| Span { text: text.to_owned(), colour, bold };
        assert_eq!(
            spans("a\u{1b}[31mb\u{1b}[0mc"),
            [span("a", None, false), span("b", Some(1), false), span("c", None, false)]
        );
        assert_eq!(spans("\u{1b}[1;92mok"), [span("ok", Some(10), true)]);
        assert_eq!(spans("\u{1b}[38;5;4mx"), [span("x", Some(4), false)]);
        assert_eq!(spans(""), [span("", None, false)]);
    }

    #[test]
    fn hostile_lines_are_harmless() {
        for (line, text) in [
            ("\u{1b}[2J\u{1b}[Hx", "x"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://a\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}]0;\u{7}\\", "\\"),
            ("\u{1b}[", ""),
            ("\u{1b}", ""),
            ("a\u{0}\u{8}b", "ab"),
            ("\u{1b}网", ""),
            ("<script>\t", "<script>\t"),
            ("\u{1b}[999999m!", "!"),
        ] {
            assert_eq!(plain(line), text, "{line:?}");
        }
    }
}
