//! Go's regular expressions: its parser (`regexp/syntax`, with the flags of `regexp.Compile`), whose refusals clients see,
//! ahead of Rust's engine.
//!
//! What Go accepts is written anew in Rust's syntax: every character escaped, classes and flags spelled out, so that
//! nothing of it depends on where the two languages part. Groups capture nothing: only matches are asked for.

mod class;
mod node;

use regex::{Regex, RegexBuilder};

use class::{Class, Item};
use node::Node;

/// Go's `ErrorCode`s.
mod says {
    pub const CLASS_RANGE: &str = "invalid character class range";
    pub const ESCAPE: &str = "invalid escape sequence";
    pub const NAME: &str = "invalid named capture";
    pub const PERL: &str = "invalid or unsupported Perl syntax";
    pub const NESTED: &str = "invalid nested repetition operator";
    pub const COUNT: &str = "invalid repeat count";
    pub const BRACKET: &str = "missing closing ]";
    pub const PAREN: &str = "missing closing )";
    pub const NOTHING: &str = "missing argument to repetition operator";
    pub const BACKSLASH: &str = "trailing backslash at end of expression";
    pub const UNEXPECTED: &str = "unexpected )";
    pub const DEEP: &str = "expression nests too deeply";
    pub const LARGE: &str = "expression too large";
}

/// Go's limit of a counted repetition, and of those inside of one another.
const MOST_COPIES: u32 = 1000;
/// Go's limit of nesting.
const DEEPEST: usize = 1000;
/// How many of Unicode's classes may be written: Rust's parser spells out each, for up to a tenth of a millisecond, before
/// its compiler's limit counts. Of the larger ones that limit has room for fewer.
const MOST_CLASSES: usize = 500;
/// What Rust's engine is given to descend into: its compiler recurses, and a thread's stack is small. Nobody nests as deep.
const NEST_LIMIT: u32 = 500;

/// Compiles `pattern`, or says what is wrong with it as Go does. What takes more than `size_limit` bytes is too large,
/// too, where Go may have been content.
pub fn compile(pattern: &str, size_limit: usize) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    let built = RegexBuilder::new(&translated).size_limit(size_limit).nest_limit(NEST_LIMIT).build();
    built.map_err(|_| wrong(says::LARGE, pattern))
}

/// `pattern` in Rust's syntax.
fn translate(pattern: &str) -> Result<String, String> {
    let mut parser = Parser {
        whole: pattern,
        flags: Flags::default(),
        open: vec![],
        branch: Branch::default(),
        classes: 0,
    };
    parser.parse()?;
    if !parser.open.is_empty() {
        return Err(wrong(says::PAREN, pattern));
    }
    let all = parser.branch.close();
    parser.limited(all).map(|all| all.write())
}

fn wrong(code: &str, what: &str) -> String {
    format!("error parsing regexp: {code}: `{what}`")
}

/// What stands in `from` ahead of its end `rest`.
fn ahead<'a>(from: &'a str, rest: &str) -> &'a str {
    from.get(..from.len() - rest.len()).unwrap_or(from)
}

#[derive(Clone, Copy, Default)]
struct Flags {
    /// `i`
    fold: bool,
    /// `m`
    lines: bool,
    /// `s`
    dot_all: bool,
    /// `U`
    lazy: bool,
}

/// What is being read between two parentheses.
#[derive(Default)]
struct Branch {
    alternatives: Vec<Node>,
    items: Vec<Node>,
}

impl Branch {
    fn bar(&mut self) {
        self.alternatives.push(Node::concat(std::mem::take(&mut self.items)));
    }

    fn close(&mut self) -> Node {
        self.bar();
        Node::alternate(std::mem::take(&mut self.alternatives))
    }
}

/// A group that is not closed yet: what stands ahead of it, and the flags that count again behind it.
struct Open {
    captures: bool,
    flags: Flags,
    outer: Branch,
}

struct Parser<'a> {
    whole: &'a str,
    flags: Flags,
    open: Vec<Open>,
    branch: Branch,
    /// Those that are expensive.
    classes: usize,
}

impl<'a> Parser<'a> {
    fn parse(&mut self) -> Result<(), String> {
        let mut rest = self.whole;
        // where the repetition began that was read last, if nothing came after it
        let mut repeated = "";
        while let Some(c) = rest.chars().next() {
            let before = rest;
            let after = rest.get(c.len_utf8()..).unwrap_or_default();
            let repetition = match c {
                '*' | '+' | '?' => Some((None, after)),
                '{' => match counts(before) {
                    Some((least, most, after)) => {
                        Some((Some(checked(least, most, ahead(before, after))?), after))
                    }
                    // a brace like any other character
                    None => None,
                },
                _ => None,
            };
            (rest, repeated) = match repetition {
                Some((counted, after)) => (self.repeat(counted, before, after, repeated)?, before),
                None => (self.other(c, before, after)?, ""),
            };
        }
        Ok(())
    }

    /// Anything but a repetition.
    fn other(&mut self, c: char, before: &'a str, after: &'a str) -> Result<&'a str, String> {
        match c {
            '(' if after.starts_with('?') => return self.perl(before),
            '(' => self.begin(true),
            '|' => {
                self.branch.bar();
                // each alternative is judged by itself
                self.branch.alternatives.last().map_or(Ok(()), |last| self.judge(last))?;
            }
            ')' => self.end()?,
            '^' => self.push(Node::atom(if self.flags.lines { "(?m:^)" } else { "^" })),
            '$' => self.push(Node::atom(if self.flags.lines { "(?m:$)" } else { "$" })),
            '.' => self.push(Node::atom(if self.flags.dot_all { "(?s:.)" } else { "." })),
            '[' => {
                let (class, rest) = Class::parse(before)?;
                self.class(&class)?;
                return Ok(rest);
            }
            '\\' => return self.escape(before),
            c => self.literal(u32::from(c)),
        }
        Ok(after)
    }

    fn push(&mut self, node: Node) {
        self.branch.items.push(node);
    }

    fn literal(&mut self, code: u32) {
        self.push(Node::atom(class::literal(code, self.flags.fold)));
    }

    fn class(&mut self, class: &Class) -> Result<(), String> {
        self.classes += class.expensive(self.flags.fold);
        if self.classes > MOST_CLASSES {
            return Err(wrong(says::LARGE, self.whole));
        }
        self.push(Node::atom(class.write(self.flags.fold)));
        Ok(())
    }

    fn begin(&mut self, captures: bool) {
        let outer = std::mem::take(&mut self.branch);
        self.open.push(Open { captures, flags: self.flags, outer });
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(open) = self.open.pop() else { return Err(wrong(says::UNEXPECTED, self.whole)) };
        let inner = std::mem::replace(&mut self.branch, open.outer).close();
        let inner = self.limited(if open.captures { inner.captured() } else { inner })?;
        self.flags = open.flags;
        self.push(inner);
        Ok(())
    }

    fn judge(&self, node: &Node) -> Result<(), String> {
        if node.height() > DEEPEST { Err(wrong(says::DEEP, self.whole)) } else { Ok(()) }
    }

    fn limited(&self, node: Node) -> Result<Node, String> {
        self.judge(&node).map(|()| node)
    }

    /// Repeats what was read last, as often as `counted` says or the first character of `before` does.
    fn repeat(
        &mut self,
        counted: Option<(u32, Option<u32>)>,
        before: &'a str,
        after: &'a str,
        repeated: &'a str,
    ) -> Result<&'a str, String> {
        let (after, lazy) = match after.strip_prefix('?') {
            Some(after) => (after, !self.flags.lazy),
            None => (after, self.flags.lazy),
        };
        if !repeated.is_empty() {
            return Err(wrong(says::NESTED, ahead(repeated, after)));
        }
        let operator = ahead(before, after);
        let Some(what) = self.branch.items.pop() else { return Err(wrong(says::NOTHING, operator)) };
        let node = self.limited(match counted {
            None => Node::repeat(what, operator.get(..1).unwrap_or_default(), lazy),
            Some((least, most)) => Node::count(what, least, most, lazy),
        })?;
        let counts = counted.is_some_and(|(least, most)| least >= 2 || most.is_some_and(|most| most >= 2));
        if counts && node.copies() > MOST_COPIES {
            return Err(wrong(says::COUNT, operator));
        }
        self.push(node);
        Ok(after)
    }

    /// `(?P<name>`, `(?<name>`, `(?flags)` and `(?flags:`.
    fn perl(&mut self, text: &'a str) -> Result<&'a str, String> {
        let named = text.strip_prefix("(?P<").filter(|_| text.len() > 4);
        if let Some(name) = named.or_else(|| text.strip_prefix("(?<").filter(|_| text.len() > 3)) {
            let Some((name, rest)) = name.split_once('>') else { return Err(wrong(says::NAME, text)) };
            if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
                return Err(wrong(says::NAME, ahead(text, rest)));
            }
            self.begin(true);
            return Ok(rest);
        }
        let (mut flags, mut set, mut seen) = (self.flags, true, false);
        let mut rest = text.get(2..).unwrap_or_default();
        while let Some(c) = rest.chars().next() {
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            match c {
                'i' => flags.fold = set,
                'm' => flags.lines = set,
                's' => flags.dot_all = set,
                'U' => flags.lazy = set,
                '-' if set => (set, seen) = (false, false),
                ':' | ')' if set || seen => {
                    if c == ':' {
                        self.begin(false);
                    }
                    self.flags = flags;
                    return Ok(rest);
                }
                _ => break,
            }
            seen |= c != '-';
        }
        Err(wrong(says::PERL, ahead(text, rest)))
    }

    /// Behind a backslash, outside of a class.
    fn escape(&mut self, text: &'a str) -> Result<&'a str, String> {
        let after = text.get(2..).unwrap_or_default();
        let assertion = match text.as_bytes().get(1) {
            Some(b'A') => "\\A",
            Some(b'z') => "\\z",
            Some(b'b') => "(?-u:\\b)",
            Some(b'B') => "(?-u:\\B)",
            Some(b'C') => return Err(wrong(says::ESCAPE, "\\C")),
            Some(b'Q') => {
                let (literal, rest) = after.split_once("\\E").unwrap_or((after, ""));
                literal.chars().for_each(|c| self.literal(u32::from(c)));
                return Ok(rest);
            }
            _ => "",
        };
        if !assertion.is_empty() {
            self.push(Node::atom(assertion));
            return Ok(after);
        }
        if let Some((item, rest)) = Item::group(text)? {
            self.class(&Class::of(item))?;
            return Ok(rest);
        }
        let (code, rest) = class::escape(text)?;
        self.literal(code);
        Ok(rest)
    }
}

/// A count as written; one that is far too large is `None`.
type Count = Option<u32>;

/// `{2}`, `{2,}` or `{2,3}` at the start of `text`, and what follows; anything else is no repetition.
fn counts(text: &str) -> Option<(Count, Option<Count>, &str)> {
    let (least, rest) = count(text.strip_prefix('{')?)?;
    let (most, rest) = match rest.strip_prefix(',') {
        None => (Some(least), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => count(rest).map(|(most, rest)| (Some(most), rest))?,
    };
    Some((least, most, rest.strip_prefix('}')?))
}

fn count(text: &str) -> Option<(Count, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits)?;
    let fine = !number.is_empty() && (number.len() == 1 || !number.starts_with('0'));
    fine.then(|| (number.parse().ok(), rest))
}

fn checked(least: Count, most: Option<Count>, what: &str) -> Result<(u32, Option<u32>), String> {
    let fits = |count: Count| count.filter(|count| *count <= MOST_COPIES);
    let bounds = match most {
        None => fits(least).map(|least| (least, None)),
        Some(most) => {
            fits(least).zip(fits(most)).filter(|(least, most)| least <= most).map(|(l, m)| (l, Some(m)))
        }
    };
    bounds.ok_or_else(|| wrong(says::COUNT, what))
}

#[cfg(test)]
mod tests;
