//! The everyday part of the syntax, of patterns that `regex-lite` has read: a tree, or nothing for what is not everyday.

/// Letters from one to another, both among them.
pub type Range = (u32, u32);

/// What a pattern is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// One letter in one of the ranges.
    Letter(Vec<Range>),
    /// The start of the text.
    Start,
    /// The end of the text.
    End,
    /// One after the other.
    All(Vec<Node>),
    /// One of them.
    Any(Vec<Node>),
    /// So many times, and at most so many.
    Repeat(Box<Node>, u32, Option<u32>),
}

const LAST: u32 = char::MAX as u32;
const DIGIT: &[Range] = &[(0x30, 0x39)];
const SPACE: &[Range] = &[(0x09, 0x0d), (0x20, 0x20)];
const WORD: &[Range] = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];
/// Groups within groups.
const DEPTH: usize = 20;

/// The tree of a pattern.
pub fn parse(pattern: &str) -> Option<Node> {
    let mut parser = Parser { rest: pattern, depth: 0 };
    let node = parser.any()?;
    parser.rest.is_empty().then_some(node)
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut letters = self.rest.chars();
        let next = letters.next();
        self.rest = letters.as_str();
        next
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn any(&mut self) -> Option<Node> {
        let mut any = vec![self.all()?];
        while self.eat("|") {
            any.push(self.all()?);
        }
        Some(if any.len() == 1 { any.remove(0) } else { Node::Any(any) })
    }

    fn all(&mut self) -> Option<Node> {
        let mut all = Vec::new();
        while self.peek().is_some_and(|letter| letter != '|' && letter != ')') {
            let atom = self.atom()?;
            all.push(self.repeated(atom)?);
        }
        Some(Node::All(all))
    }

    fn atom(&mut self) -> Option<Node> {
        Some(match self.next()? {
            '(' => {
                if self.rest.starts_with('?') && !self.eat("?:") {
                    return None;
                }
                self.depth += 1;
                let inner = if self.depth > DEPTH { None } else { self.any() }?;
                self.depth -= 1;
                return self.eat(")").then_some(inner);
            }
            '^' => Node::Start,
            '$' => Node::End,
            '.' => Node::Letter(negated(vec![(0x0a, 0x0a)])),
            '[' => Node::Letter(self.class()?),
            '\\' => Node::Letter(self.escape()?),
            '*' | '+' | '?' | '{' | '}' | ']' => return None,
            letter => Node::Letter(folded(vec![one(letter)])),
        })
    }

    fn repeated(&mut self, atom: Node) -> Option<Node> {
        let mut node = atom;
        while let Some(letter @ ('*' | '+' | '?' | '{')) = self.peek() {
            self.next();
            let (least, most) = match letter {
                '*' => (0, None),
                '+' => (1, None),
                '?' => (0, Some(1)),
                _ => self.counts()?,
            };
            // as few or as many: whether it is found is the same
            self.eat("?");
            node = Node::Repeat(Box::new(node), least, most);
        }
        Some(node)
    }

    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let end = self.rest.find('}')?;
        let counts = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        match counts.split_once(',') {
            None => counts.parse().ok().map(|exactly| (exactly, Some(exactly))),
            Some((least, "")) => Some((least.parse().ok()?, None)),
            Some((least, most)) => Some((least.parse().ok()?, Some(most.parse().ok()?))),
        }
    }

    /// Behind a backslash.
    fn escape(&mut self) -> Option<Vec<Range>> {
        Some(match self.next()? {
            'd' => DIGIT.to_vec(),
            's' => SPACE.to_vec(),
            'w' => WORD.to_vec(),
            'D' => negated(DIGIT.to_vec()),
            'S' => negated(SPACE.to_vec()),
            'W' => negated(WORD.to_vec()),
            'n' => vec![one('\n')],
            't' => vec![one('\t')],
            'r' => vec![one('\r')],
            // `\<` and `\>` are the ends of words
            letter if letter.is_ascii_punctuation() && !"<>".contains(letter) => vec![one(letter)],
            _ => return None,
        })
    }

    /// Behind an opening bracket.
    fn class(&mut self) -> Option<Vec<Range>> {
        let not = self.eat("^");
        let mut ranges = Vec::new();
        let mut first = true;
        loop {
            let part = match self.next()? {
                ']' if !first => break,
                // a bracket that is meant, a class in a class, and what can be done with two
                ']' | '[' | '&' | '~' => return None,
                '-' if !first && !self.rest.starts_with(']') => return None,
                '\\' => self.escape()?,
                letter => vec![one(letter)],
            };
            first = false;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.next();
                let to = match self.next()? {
                    '\\' => self.escape()?,
                    '[' | '-' => return None,
                    letter => vec![one(letter)],
                };
                let ([(from, same)], [(to, other)]) = (part.as_slice(), to.as_slice()) else { return None };
                if from != same || to != other || from > to {
                    return None;
                }
                ranges.push((*from, *to));
            } else {
                ranges.extend(part);
            }
        }
        let ranges = folded(ranges);
        Some(if not { negated(ranges) } else { ranges })
    }
}

fn one(letter: char) -> Range {
    (letter as u32, letter as u32)
}

/// With the other case of ASCII letters.
fn folded(mut ranges: Vec<Range>) -> Vec<Range> {
    const CASE: u32 = 0x20;
    for at in 0..ranges.len() {
        let (from, to) = ranges[at];
        for (first, last, other) in [(0x41, 0x5a, CASE), (0x61, 0x7a, CASE.wrapping_neg())] {
            let (low, high) = (from.max(first), to.min(last));
            if low <= high {
                ranges.push((low.wrapping_add(other), high.wrapping_add(other)));
            }
        }
    }
    ranges
}

/// All other letters.
fn negated(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let (mut others, mut from) = (Vec::new(), 0);
    for (low, high) in ranges {
        if from < low {
            others.push((from, low - 1));
        }
        from = from.max(high + 1);
    }
    if from <= LAST {
        others.push((from, LAST));
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_folded_and_negated() {
        assert_eq!(folded(vec![(0x59, 0x62)]), [(0x59, 0x62), (0x79, 0x7a), (0x41, 0x42)]);
        assert_eq!(folded(vec![one('-'), one('é')]), [one('-'), one('é')]);
        assert_eq!(negated(vec![(5, 6), (0, 2), (1, 3)]), [(4, 4), (7, LAST)]);
        assert_eq!(negated(vec![(0, LAST)]), []);
    }

    #[test]
    fn what_is_not_everyday_is_nothing() {
        for pattern in ["[a&&b]", "[]a]", "[a-\\d]", "a{b", "\\b", "(?i)a", "a)", "[a--b]", "\\pL"] {
            assert_eq!(parse(pattern), None, "{pattern}");
        }
        assert_eq!(parse("a{2,}"), {
            let letter = Node::Letter(vec![one('a'), one('A')]);
            Some(Node::All(vec![Node::Repeat(Box::new(letter), 2, None)]))
        });
    }
}
