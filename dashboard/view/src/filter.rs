//! The filter over a list: one line of terms, all of which have to hold.
//!
//! ```text
//! web            the text somewhere in name, namespace, status or a column (no matter the case)
//! "two words"    the same, with spaces in it
//! /^web-\d+$/    a regular expression over the same texts (no matter the case)
//! status:failed  how it is (failed, warning, progressing, healthy, done) or its reason (CrashLoopBackOff)
//! node:worker    the node that it runs on, or the start of its name
//! ns:default     the namespace
//! owner:web      the controlling object: its name or the start of it, its kind, or Kind/name
//! app=web        a label's value;  app!=web  another value or none;  label:app  any value
//! !term          whatever the term does not say;  status:a,b  either
//! ```

use std::fmt;

use crate::{Row, regex::Regex, row::plain};

/// What one term looks at.
#[derive(Clone, Debug)]
pub enum Test {
    /// The lower-case text is in one of the row's texts.
    Text(String),
    /// The expression is found in one of the row's texts.
    Regex(Regex),
    /// One of these, in lower case, is the health's word or the start of the reason.
    Status(Vec<String>),
    /// One of these is the start of the node's name.
    Node(Vec<String>),
    /// One of these is the namespace.
    Namespace(Vec<String>),
    /// One of these is the owner's kind, `kind/name`, or the start of its name; lower case.
    Owner(Vec<String>),
    /// The label has one of these values.
    Label(String, Vec<String>),
    /// The label is there.
    HasLabel(Vec<String>),
}

/// A term of a filter.
#[derive(Clone, Debug)]
pub struct Term {
    /// As it was written.
    pub text: String,
    /// It has to fail.
    pub not: bool,
    /// What has to hold.
    pub test: Test,
}

/// A filter; the empty one holds for every row.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// All of them have to hold.
    pub terms: Vec<Term>,
}

/// A term that says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// The term, as it was written.
    pub term: String,
    /// What is wrong with its regular expression.
    pub why: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.term, self.why)
    }
}

impl std::error::Error for FilterError {}

impl Filter {
    /// Reads a line. A term that is not finished yet (`status:`, `"two w`) does not hinder: a filter is read at each key.
    ///
    /// # Errors
    /// A regular expression is none.
    pub fn parse(line: &str) -> Result<Self, FilterError> {
        let terms = words(line).into_iter().map(|word| term(&word));
        Ok(Self { terms: terms.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect() })
    }

    /// Whether all terms hold for a row.
    pub fn holds(&self, row: &Row) -> bool {
        self.terms.iter().all(|term| term.test.holds(row) != term.not)
    }

    /// Whether it holds for no row that `wider` does not hold for, as far as is easily told: a line that was typed on.
    pub fn narrows(&self, wider: &Filter) -> bool {
        let implies = |own: &Term, other: &Term| match (&own.test, &other.test) {
            (Test::Text(own_text), Test::Text(text)) if !own.not && !other.not => {
                own_text.contains(text.as_str())
            }
            _ => own.text == other.text,
        };
        wider.terms.iter().all(|other| self.terms.iter().any(|own| implies(own, other)))
    }

    /// Whether it holds for every row.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

impl Test {
    /// Whether it holds for a row.
    pub fn holds(&self, row: &Row) -> bool {
        let starts = |all: &[String], text: &str| all.iter().any(|one| text.starts_with(one.as_str()));
        let label =
            |name: &str| row.labels.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        match self {
            Test::Text(text) => any_text(row, |own| contains(own, text)),
            Test::Regex(regex) => any_text(row, |own| regex.is_match(own)),
            Test::Status(all) => {
                let reason = row.reason.to_ascii_lowercase();
                all.iter().any(|one| {
                    row.health.word() == one || (!reason.is_empty() && reason.starts_with(one.as_str()))
                })
            }
            Test::Node(all) => starts(all, &row.node),
            Test::Namespace(all) => all.contains(&row.namespace),
            Test::Owner(all) => row.owner.as_ref().is_some_and(|owner| {
                let (kind, name) = (owner.kind.to_ascii_lowercase(), owner.name.to_ascii_lowercase());
                starts(all, &name) || all.contains(&kind) || all.contains(&format!("{kind}/{name}"))
            }),
            Test::Label(name, values) => {
                label(name).is_some_and(|own| values.iter().any(|value| value == own))
            }
            Test::HasLabel(names) => names.iter().any(|name| label(name).is_some()),
        }
    }
}

fn any_text(row: &Row, holds: impl Fn(&str) -> bool) -> bool {
    use crate::Cell;
    let cell = |cell: &Cell| match cell {
        Cell::Text(text) | Cell::Number(_, Some(text)) => holds(text),
        Cell::Number(number, None) => match digit(*number) {
            Some(digit) => holds(digit),
            None => holds(&plain(*number)),
        },
        Cell::Empty | Cell::Time(_) => false,
    };
    holds(&row.name) || holds(&row.namespace) || holds(&row.reason) || row.cells.iter().any(cell)
}

/// A number that is one digit, as most in lists are: without making a text.
fn digit(number: f64) -> Option<&'static str> {
    let at = number as usize;
    (at < 10 && at as f64 == number).then(|| &"0123456789"[at..=at])
}

/// A text in lower case; the browser has the tables for what is not ASCII.
#[cfg(target_arch = "wasm32")]
pub fn lower_case(text: &str) -> String {
    if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        js_sys::JsString::from(text).to_lower_case().into()
    }
}

/// A text in lower case.
#[cfg(not(target_arch = "wasm32"))]
pub fn lower_case(text: &str) -> String {
    text.to_lowercase()
}

/// Whether `text` has `part`, which is in lower case, in it. Without a copy where both are ASCII.
fn contains(text: &str, part: &str) -> bool {
    if !text.is_ascii() || !part.is_ascii() {
        return lower_case(text).contains(part);
    }
    let (text, part) = (text.as_bytes(), part.as_bytes());
    let Some((first, behind)) = part.split_first() else { return true };
    let Some(last) = text.len().checked_sub(part.len()) else { return false };
    let upper = first.to_ascii_uppercase();
    text[..=last].iter().enumerate().any(|(at, own)| {
        (own == first || *own == upper) && text[at + 1..at + part.len()].eq_ignore_ascii_case(behind)
    })
}

/// Splits at spaces outside of quotes and slashes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let start = rest.strip_prefix('!').unwrap_or(rest);
        let skipped = rest.len() - start.len();
        let end = match start.chars().next() {
            Some(quote @ ('"' | '/')) => skipped + closing(start, quote),
            _ => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        words.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    words
}

/// Behind the quote that closes the one at the start; the whole text if none does.
fn closing(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quote == '/' => escaped = true,
            letter if letter == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The term of a word; none for what is not finished.
fn term(word: &str) -> Result<Option<Term>, FilterError> {
    let (not, body) = match word.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let (not, test) = match test(body).map_err(|why| FilterError { term: word.to_owned(), why })? {
        Some(Parsed::Is(test)) => (not, test),
        Some(Parsed::IsNot(test)) => (!not, test),
        None => return Ok(None),
    };
    Ok(Some(Term { text: word.to_owned(), not, test }))
}

enum Parsed {
    Is(Test),
    IsNot(Test),
}

fn test(body: &str) -> Result<Option<Parsed>, String> {
    if body.len() > 1 && body.starts_with('/') && body.ends_with('/') {
        return Regex::new(&body[1..body.len() - 1]).map(|regex| Some(Parsed::Is(Test::Regex(regex))));
    }
    if let Some(quoted) = body.strip_prefix('"') {
        return Ok(text(quoted.strip_suffix('"').unwrap_or(quoted)));
    }
    if let Some((name, value)) = body.split_once(':')
        && let Some(test) = named(name, value)
    {
        return Ok(test);
    }
    if let Some((name, value)) = body.split_once("!=").filter(|(name, _)| is_label(name)) {
        return Ok(Some(Parsed::IsNot(Test::Label(name.to_owned(), list(value)))));
    }
    match body.split_once('=').filter(|(name, _)| is_label(name)) {
        Some((name, value)) => {
            Ok(Some(Parsed::Is(Test::Label(name.to_owned(), list(value.strip_prefix('=').unwrap_or(value))))))
        }
        None => Ok(text(body)),
    }
}

fn text(text: &str) -> Option<Parsed> {
    (!text.is_empty()).then(|| Parsed::Is(Test::Text(lower_case(text))))
}

/// `status:` and its like: `None` for another name, `Some(None)` for one without a value yet.
fn named(name: &str, value: &str) -> Option<Option<Parsed>> {
    let make: fn(Vec<String>) -> Test = match name {
        "status" => |all| Test::Status(lower(all)),
        "node" => Test::Node,
        "ns" | "namespace" => Test::Namespace,
        "owner" => |all| Test::Owner(lower(all)),
        "label" => Test::HasLabel,
        _ => return None,
    };
    let all: Vec<String> = list(value).into_iter().filter(|one| !one.is_empty()).collect();
    Some((!all.is_empty()).then(|| Parsed::Is(make(all))))
}

fn lower(all: Vec<String>) -> Vec<String> {
    all.iter().map(|one| one.to_ascii_lowercase()).collect()
}

fn list(value: &str) -> Vec<String> {
    value.split(',').map(str::to_owned).collect()
}

fn is_label(name: &str) -> bool {
    let inner = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    !name.is_empty() && name.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cell, Health, Owner};

    fn crashing() -> Row {
        Row {
            namespace: "shop".into(),
            name: "web-1".into(),
            health: Health::Failed,
            reason: "CrashLoopBackOff".into(),
            node: "worker-2".into(),
            owner: Some(Owner { kind: "ReplicaSet".into(), name: "web".into(), uid: "u".into() }),
            labels: vec![("app".into(), "web".into()), ("app.kubernetes.io/part-of".into(), "Shop".into())],
            cells: vec![Cell::Text("10.244.0.7".into()), Cell::Number(12.0, Some("12 (5m ago)".into()))],
            ..Row::default()
        }
    }

    #[test]
    fn terms_hold() {
        let row = crashing();
        for (line, holds) in [
            ("", true),
            ("   ", true),
            ("WEB", true),
            ("10.244", true),
            ("12 ago", true),
            ("api", false),
            ("!api", true),
            ("!web", false),
            ("\"5m ago\"", true),
            ("\"5m  ago\"", false),
            ("\"5m a", true),
            ("/^WEB-\\d$/", true),
            ("/^eb/", false),
            ("!/^eb/", true),
            ("/a b|web/", true),
            ("/web", false),
            ("status:failed", true),
            ("status:crash", true),
            ("status:running,failed", true),
            ("status:healthy", false),
            ("!status:healthy", true),
            ("status:", true),
            ("node:worker", true),
            ("node:orker", false),
            ("ns:shop", true),
            ("ns:sho", false),
            ("owner:web", true),
            ("owner:replicaset", true),
            ("owner:ReplicaSet/web", true),
            ("owner:Deployment", false),
            ("app=web", true),
            ("app==web", true),
            ("app=api,web", true),
            ("app=we", false),
            ("app!=web", false),
            ("tier!=front", true),
            ("!app=web", false),
            ("!app!=web", true),
            ("app.kubernetes.io/part-of=Shop", true),
            ("label:app", true),
            ("label:tier", false),
            ("web status:failed app=web !node:worker-3", true),
            ("web status:failed app=web !node:worker-2", false),
            ("http://x", false),
        ] {
            let filter = Filter::parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(filter.holds(&row), holds, "{line}");
        }
    }

    #[test]
    fn a_line_that_was_typed_on_narrows() {
        for (own, wider, narrows) in [
            ("web-1", "web", true),
            ("web", "web-1", false),
            ("", "", true),
            ("web", "", true),
            ("", "web", false),
            ("!web-1", "!web", false),
            ("web !a", "!a", true),
            ("status:failed web", "we status:failed", true),
            ("status:failed,done", "status:failed", false),
            ("/web-1/", "/web/", false),
        ] {
            let filter = |line| Filter::parse(line).expect("a filter");
            assert_eq!(filter(own).narrows(&filter(wider)), narrows, "{own:?} {wider:?}");
        }
    }

    #[test]
    fn a_broken_expression_names_the_term() {
        let error = Filter::parse("web !/(/ x").expect_err("no expression");
        assert_eq!(error.term, "!/(/");
        assert!(!error.why.is_empty());
    }

    #[test]
    fn terms_keep_their_text_for_chips() {
        let filter = Filter::parse(" !status:failed  \"a b\" /x\\/ y/ ").expect("parses");
        let texts: Vec<&str> = filter.terms.iter().map(|term| term.text.as_str()).collect();
        assert_eq!(texts, ["!status:failed", "\"a b\"", "/x\\/ y/"]);
    }

    #[test]
    fn other_scripts_are_found_in_any_case() {
        let row = Row { name: "ÄPFEL-网关".into(), ..Row::default() };
        assert!(Filter::parse("äpfel").expect("parses").holds(&row));
        assert!(Filter::parse("网关").expect("parses").holds(&row));
    }
}
