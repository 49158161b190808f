//! What was read, until it is written as a whole.

use super::MOST_COPIES;

/// A part of an expression.
pub(super) struct Node {
    kind: Kind,
    /// How deep Go's tree of it is.
    height: usize,
    /// How often counted repetitions repeat what is innermost.
    copies: u32,
}

enum Kind {
    /// In Rust's syntax, to be repeated as it is.
    Atom(String),
    Concat(Vec<Node>),
    Alternate(Vec<Node>),
    Repeat(Box<Node>, String),
}

impl Node {
    pub(super) fn atom(text: impl Into<String>) -> Self {
        Self { kind: Kind::Atom(text.into()), height: 1, copies: 1 }
    }

    pub(super) fn concat(parts: Vec<Self>) -> Self {
        Self::joined(parts, Kind::Concat)
    }

    pub(super) fn alternate(parts: Vec<Self>) -> Self {
        Self::joined(parts, Kind::Alternate)
    }

    fn joined(mut parts: Vec<Self>, kind: fn(Vec<Self>) -> Kind) -> Self {
        if parts.len() == 1
            && let Some(only) = parts.pop()
        {
            return only;
        }
        let height = 1 + parts.iter().map(|part| part.height).max().unwrap_or(0);
        let copies = parts.iter().map(|part| part.copies).max().unwrap_or(1);
        Self { kind: kind(parts), height, copies }
    }

    /// In a group that Go remembers.
    pub(super) fn captured(mut self) -> Self {
        self.height += 1;
        self
    }

    /// `*`, `+` or `?`.
    pub(super) fn repeat(what: Self, operator: &str, lazy: bool) -> Self {
        let (height, copies) = (what.height + 1, what.copies);
        let operator = format!("{operator}{}", if lazy { "?" } else { "" });
        Self { kind: Kind::Repeat(Box::new(what), operator), height, copies }
    }

    /// `{least,most}`.
    pub(super) fn count(what: Self, least: u32, most: Option<u32>, lazy: bool) -> Self {
        let operator = most.map_or(format!("{{{least},}}"), |most| format!("{{{least},{most}}}"));
        let copies = match most {
            // what is not there at all may be as large as it likes
            Some(0) => 1,
            most => most.unwrap_or(least).max(1).saturating_mul(what.copies).min(MOST_COPIES + 1),
        };
        Self { copies, ..Self::repeat(what, &operator, lazy) }
    }

    pub(super) fn height(&self) -> usize {
        self.height
    }

    pub(super) fn copies(&self) -> u32 {
        self.copies
    }

    pub(super) fn write(&self) -> String {
        let mut out = String::new();
        self.write_to(&mut out);
        out
    }

    fn write_to(&self, out: &mut String) {
        match &self.kind {
            Kind::Atom(text) => out.push_str(text),
            Kind::Concat(parts) => parts.iter().for_each(|part| match part.kind {
                Kind::Alternate(_) => part.grouped(out),
                _ => part.write_to(out),
            }),
            Kind::Alternate(parts) => {
                for (i, part) in parts.iter().enumerate() {
                    if i > 0 {
                        out.push('|');
                    }
                    part.write_to(out);
                }
            }
            Kind::Repeat(what, operator) => {
                match what.kind {
                    Kind::Atom(_) => what.write_to(out),
                    _ => what.grouped(out),
                }
                out.push_str(operator);
            }
        }
    }

    fn grouped(&self, out: &mut String) {
        out.push_str("(?:");
        self.write_to(out);
        out.push(')');
    }
}
