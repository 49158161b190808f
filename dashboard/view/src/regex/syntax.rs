//! What an expression means: a tree, or why it is none. The syntax is that of the crate `regex`, without classes of
//! Unicode, operations on classes, and the flag `x`; with classes of ASCII in brackets (`[[:alpha:]]`).

/// Letters from one to another, both among them.
pub type Range = (u32, u32);

/// Where something has to be, without being a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Of the text.
    Start,
    /// Of the text.
    End,
    /// Of the text or of a line.
    LineStart,
    /// Of the text or of a line.
    LineEnd,
    /// Between a letter of a word and another.
    Edge,
    /// Anywhere else.
    NoEdge,
}

/// What a pattern is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// One letter in one of the ranges.
    Letter(Vec<Range>),
    /// A place.
    At(Place),
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
/// What `[:name:]` stands for; the case does not matter.
const NAMED: [(&str, &[Range]); 14] = [
    ("alnum", &[(0x30, 0x39), (0x41, 0x5a), (0x61, 0x7a)]),
    ("alpha", &[(0x41, 0x5a), (0x61, 0x7a)]),
    ("ascii", &[(0, 0x7f)]),
    ("blank", &[(0x09, 0x09), (0x20, 0x20)]),
    ("cntrl", &[(0, 0x1f), (0x7f, 0x7f)]),
    ("digit", DIGIT),
    ("graph", &[(0x21, 0x7e)]),
    ("lower", &[(0x61, 0x7a)]),
    ("print", &[(0x20, 0x7e)]),
    ("punct", &[(0x21, 0x2f), (0x3a, 0x40), (0x5b, 0x60), (0x7b, 0x7e)]),
    ("space", SPACE),
    ("upper", &[(0x41, 0x5a)]),
    ("word", WORD),
    ("xdigit", &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]),
];
/// Groups within groups.
const DEPTH: usize = 50;

type Result<T> = std::result::Result<T, &'static str>;

/// The tree of a pattern.
///
/// # Errors
/// It is none: why.
pub fn parse(pattern: &str) -> Result<Node> {
    let mut parser = Parser { rest: pattern, depth: 0, lines: false, dot_all: false };
    let node = parser.any()?;
    if parser.rest.is_empty() { Ok(node) } else { Err("a group is closed that was not opened") }
}

/// Whether a letter is of a word.
pub fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
    /// `(?m)`
    lines: bool,
    /// `(?s)`
    dot_all: bool,
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

    /// What stands before `end`, which is taken too.
    fn before(&mut self, end: char) -> Result<&str> {
        let (text, rest) = self.rest.split_once(end).ok_or("something is not closed")?;
        self.rest = rest;
        Ok(text)
    }

    fn any(&mut self) -> Result<Node> {
        let mut any = vec![self.all()?];
        while self.eat("|") {
            any.push(self.all()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Node::Any(any) })
    }

    fn all(&mut self) -> Result<Node> {
        let mut all = Vec::new();
        while self.peek().is_some_and(|letter| letter != '|' && letter != ')') {
            if let Some(atom) = self.atom()? {
                all.push(self.repeated(atom)?);
            } else if matches!(self.peek(), Some('*' | '+' | '?' | '{')) {
                return Err("there is nothing to repeat");
            }
        }
        Ok(Node::All(all))
    }

    /// None for flags, which are no part of the tree.
    fn atom(&mut self) -> Result<Option<Node>> {
        Ok(Some(match self.next().ok_or("something is missing")? {
            '(' => return self.group(),
            '^' => Node::At(if self.lines { Place::LineStart } else { Place::Start }),
            '$' => Node::At(if self.lines { Place::LineEnd } else { Place::End }),
            '.' if self.dot_all => Node::Letter(vec![(0, LAST)]),
            '.' => Node::Letter(negated(vec![(0x0a, 0x0a)])),
            '[' => Node::Letter(self.class()?),
            '\\' => match self.place() {
                Some(place) => Node::At(place),
                None => Node::Letter(folded(self.escape()?)),
            },
            '*' | '+' | '?' | '{' => return Err("there is nothing to repeat"),
            letter => Node::Letter(folded(vec![one(letter)])),
        }))
    }

    /// Behind an opening parenthesis.
    fn group(&mut self) -> Result<Option<Node>> {
        let flags = (self.lines, self.dot_all);
        if self.eat("?P<") || self.eat("?<") {
            let name = self.before('>')?;
            let well = |letter: char| letter.is_alphanumeric() || "_.[]".contains(letter);
            if name.is_empty()
                || name.starts_with(|letter: char| letter.is_numeric())
                || !name.chars().all(well)
            {
                return Err("a group has no such name");
            }
        } else if self.eat("?") && !self.flags()? {
            return Ok(None);
        }
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("too many groups are in one another");
        }
        let inner = self.any()?;
        self.depth -= 1;
        (self.lines, self.dot_all) = flags;
        if self.eat(")") { Ok(Some(inner)) } else { Err("a group is not closed") }
    }

    /// Flags, which hold from here to the end of the group around them; whether a group of their own begins. The case of
    /// letters never matters, and neither does how much is taken.
    fn flags(&mut self) -> Result<bool> {
        let mut on = true;
        loop {
            match self.next() {
                Some('m') => self.lines = on,
                Some('s') => self.dot_all = on,
                Some('i') if on => {}
                Some('u' | 'U') => {}
                Some('-') if on => on = false,
                Some(')') => return Ok(false),
                Some(':') => return Ok(true),
                _ => return Err("there is no such flag"),
            }
        }
    }

    fn repeated(&mut self, atom: Node) -> Result<Node> {
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
        Ok(node)
    }

    fn counts(&mut self) -> Result<(u32, Option<u32>)> {
        let counts = self.before('}')?;
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| "{} wants numbers");
        let (least, most) = match counts.split_once(',') {
            None => (number(counts)?, Some(number(counts)?)),
            Some((least, most)) if most.trim().is_empty() => (number(least)?, None),
            Some((least, most)) => (number(least)?, Some(number(most)?)),
        };
        if most.is_some_and(|most| most < least) {
            Err("{} wants the lower number first")
        } else {
            Ok((least, most))
        }
    }

    /// Behind a backslash.
    fn place(&mut self) -> Option<Place> {
        let place = match self.peek()? {
            'A' => Place::Start,
            'z' => Place::End,
            // `\b{start}` and the like are other places
            'b' if !self.rest[1..].strip_prefix('{').is_some_and(|rest| {
                rest.starts_with(|letter: char| letter.is_alphabetic() || letter == '-')
            }) =>
            {
                Place::Edge
            }
            'B' => Place::NoEdge,
            _ => return None,
        };
        self.next();
        Some(place)
    }

    /// Behind a backslash.
    fn escape(&mut self) -> Result<Vec<Range>> {
        Ok(match self.next().ok_or("a backslash stands at the end")? {
            'd' => DIGIT.to_vec(),
            's' => SPACE.to_vec(),
            'w' => WORD.to_vec(),
            'D' => negated(DIGIT.to_vec()),
            'S' => negated(SPACE.to_vec()),
            'W' => negated(WORD.to_vec()),
            'n' => vec![one('\n')],
            't' => vec![one('\t')],
            'r' => vec![one('\r')],
            'a' => vec![one('\u{7}')],
            'f' => vec![one('\u{c}')],
            'v' => vec![one('\u{b}')],
            letter @ ('x' | 'u' | 'U') => {
                let digits = if self.eat("{") {
                    self.before('}')?
                } else {
                    let count = [('x', 2), ('u', 4), ('U', 8)].iter().find(|(own, _)| *own == letter);
                    let (digits, rest) = self
                        .rest
                        .split_at_checked(count.map_or(2, |(_, count)| *count))
                        .ok_or("a number is missing")?;
                    self.rest = rest;
                    digits
                };
                let letter = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                vec![one(letter.ok_or("there is no letter of this number")?)]
            }
            // `\<` and `\>` are the ends of words
            letter if letter.is_ascii_punctuation() && !"<>".contains(letter) => vec![one(letter)],
            _ => return Err("nothing is written with this backslash"),
        })
    }

    /// Behind an opening bracket.
    fn class(&mut self) -> Result<Vec<Range>> {
        let not = self.eat("^");
        let mut ranges = Vec::new();
        let mut first = true;
        loop {
            if ["&&", "--", "~~"].iter().any(|two| self.rest.starts_with(two)) {
                return Err("nothing is done with two classes");
            }
            let part = match self.next().ok_or("a class is not closed")? {
                ']' if !first => break,
                '[' => self.named()?,
                '\\' => self.escape()?,
                letter => vec![one(letter)],
            };
            first = false;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && !self.rest.starts_with("--") {
                self.next();
                let to = match self.next().ok_or("a class is not closed")? {
                    '\\' => self.escape()?,
                    letter => vec![one(letter)],
                };
                let ([(from, same)], [(to, other)]) = (part.as_slice(), to.as_slice()) else {
                    return Err("a class goes from one letter to another");
                };
                if from != same || to != other || from > to {
                    return Err("a class goes from one letter to a later one");
                }
                ranges.push((*from, *to));
            } else {
                ranges.extend(part);
            }
        }
        let ranges = folded(ranges);
        Ok(if not { negated(ranges) } else { ranges })
    }

    /// Behind an opening bracket within a class.
    fn named(&mut self) -> Result<Vec<Range>> {
        const NONE: &str = "there is no such class";
        if !self.eat(":") {
            return Err("a class stands in a class");
        }
        let not = self.eat("^");
        let name = self.before(':')?;
        let (_, ranges) = NAMED.iter().find(|(own, _)| *own == name).ok_or(NONE)?;
        let ranges = folded(ranges.to_vec());
        if self.eat("]") { Ok(if not { negated(ranges) } else { ranges }) } else { Err(NONE) }
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
    fn what_is_no_expression_says_why() {
        for (pattern, why) in [
            ("[a&&b]", "two classes"),
            ("[a-\\d]", "to a later one"),
            ("[b-a]", "to a later one"),
            ("[a[b]]", "in a class"),
            ("[[:what:]]", "no such class"),
            ("[a", "not closed"),
            ("a{b", "not closed"),
            ("a{b}", "numbers"),
            ("a{3,2}", "lower number first"),
            ("*", "nothing to repeat"),
            ("(?m)*", "nothing to repeat"),
            ("a)", "not opened"),
            ("(a", "not closed"),
            ("(?x)a", "flag"),
            ("(?P<1>a)", "name"),
            ("(?=a)", "flag"),
            ("\\pL", "backslash"),
            ("\\b{start}a", "backslash"),
            ("a\\", "at the end"),
            ("\\x{110000}", "number"),
        ] {
            assert!(parse(pattern).is_err_and(|said| said.contains(why)), "{pattern}: {:?}", parse(pattern));
        }
        assert!(parse(&"(".repeat(DEPTH + 1)).is_err_and(|said| said.contains("in one another")));
        assert_eq!(parse("a{2,}"), {
            let letter = Node::Letter(vec![one('a'), one('A')]);
            Ok(Node::All(vec![Node::Repeat(Box::new(letter), 2, None)]))
        });
        assert_eq!(parse("\\x61"), parse("\\u{61}"));
    }
}
