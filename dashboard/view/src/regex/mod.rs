//! Regular expressions that are asked of half a million texts at each key.
//!
//! What people type into a filter (letters, classes, `.*`, `|`, `^`, `$`) becomes a table, with one look-up for each letter;
//! what does not (`\b`, lines, thousands of states) is walked through step by step. Our own, as all that is asked is
//! whether something is found: the smallest library for more is a twentieth of what the browser downloads.

mod automaton;
mod syntax;

use automaton::{Automaton, Steps};

/// An expression; the case of ASCII letters does not matter.
#[derive(Clone, Debug)]
pub struct Regex {
    steps: Steps,
    fast: Option<Automaton>,
}

impl Regex {
    /// Reads an expression.
    ///
    /// # Errors
    /// It is none: why.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let steps = Steps::new(&syntax::parse(pattern)?).ok_or("it is too large")?;
        let fast = Automaton::new(&steps);
        Ok(Self { steps, fast })
    }

    /// Whether it is found in a text.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        match &self.fast {
            Some(fast) => fast.is_match(text),
            None => self.steps.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_a_table() {
        for pattern in [
            "web",
            "^web-\\d+$",
            "a b|web",
            "web-(a|b)?-[0-9a-f]{5,10}",
            "10\\.244\\..*",
            "crash|image|err",
            "[^a-z]",
            "",
            "网关-[一-龟]",
            "a{3}",
            "x*?y+?",
            "[\\w.-]+@",
            "(?:one|two)three",
            "()|a",
        ] {
            assert!(Regex::new(pattern).expect(pattern).fast.is_some(), "{pattern}");
        }
        for pattern in ["\\bweb\\b", "(?m)^a", "(a.{30}){30}", "a.{12}b", "a{400}b{400}"] {
            assert!(Regex::new(pattern).expect(pattern).fast.is_none(), "{pattern}");
        }
        assert!(Regex::new("(").is_err());
        assert!(Regex::new("(a{1000}){1000}").is_err_and(|why| why.contains("too large")));
    }

    /// The same numbers in every run.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % sides
        }
        fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
            of[self.roll(of.len())]
        }
    }

    fn pattern(dice: &mut Dice, depth: usize) -> String {
        const ATOMS: &[&str] = &[
            "a",
            "B",
            "c",
            "k",
            ".",
            "\\d",
            "\\w",
            "\\s",
            "\\S",
            "[ab]",
            "[^a]",
            "[a-c1]",
            "[-b]",
            "[^\\d\\sB]",
            "\\.",
            "é",
            "[é-ü]",
            "1",
            "^",
            "$",
            "-",
            " ",
            "[\\]x]",
            "\\n",
            "[\\w-]",
            "\\D",
            "\\W",
            "_",
            "\\b",
            "\\B",
            "\\A",
            "\\z",
            "(?m)^",
            "(?m:$)",
            "(?s:.)",
            "(?P<n>a)",
            "[[:alpha:]_]",
            "[[:^digit:]]",
            "[]a]",
            "[^]a]",
            "\\x4b",
            "\\u{e9}",
            "]",
            "}",
        ];
        const AGAIN: &[&str] =
            &["", "", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "{0}", "{2,3}?"];
        let mut all = String::new();
        for _ in 0..dice.roll(4) {
            let atom = match depth > 0 && dice.roll(4) == 0 {
                true => format!("({}{})", dice.one(&["", "?:"]), pattern(dice, depth - 1)),
                false => dice.one(ATOMS).to_owned(),
            };
            all += &atom;
            all += dice.one(AGAIN);
            if dice.roll(6) == 0 {
                all.push('|');
            }
        }
        all
    }

    #[test]
    fn table_and_steps_say_what_the_expression_says() {
        const LETTERS: &[&str] =
            &["a", "b", "A", "C", "k", "1", "-", ".", " ", "é", "Ü", "\n", "_", "K", "x", "]", "aB", "}"];
        let (mut dice, mut fast, mut found, mut read) = (Dice(11), 0, 0, 0);
        for _ in 0..6_000 {
            let pattern = pattern(&mut dice, 2);
            let oracle = regex_lite::RegexBuilder::new(&pattern).case_insensitive(true).build();
            let regex = Regex::new(&pattern);
            // a name may stand but once there, which is of no use here
            if pattern.matches("(?P<n>").count() < 2 {
                assert_eq!(
                    regex.is_ok(),
                    oracle.is_ok(),
                    "{pattern:?}: {:?}, {:?}",
                    regex.err(),
                    oracle.err()
                );
            }
            let (Ok(regex), Ok(oracle)) = (regex, oracle) else { continue };
            read += 1;
            fast += usize::from(regex.fast.is_some());
            for _ in 0..12 {
                let text: String = (0..dice.roll(7)).map(|_| dice.one(LETTERS)).collect();
                let expected = oracle.is_match(&text);
                found += usize::from(expected);
                assert_eq!(regex.is_match(&text), expected, "{pattern:?} in {text:?}");
                assert_eq!(regex.steps.is_match(&text), expected, "{pattern:?} in {text:?}, step by step");
            }
        }
        assert!(
            fast > 2_000 && read - fast > 500 && found > 5_000,
            "{fast} tables of {read}, found {found} times: not much was compared"
        );
    }
}
