//! Regular expressions that are asked of half a million texts at each key.
//!
//! `regex-lite` says what an expression means and whether it is one. It is small, and slow: it goes through a text with
//! a list of places. What people type into a filter (letters, classes, `.*`, `|`, `^`, `$`) becomes a table here, with
//! one look-up for each letter; for what does not (`\b`, flags, thousands of states) `regex-lite` is asked.

mod automaton;
mod syntax;

use automaton::Automaton;

/// An expression; the case of ASCII letters does not matter.
#[derive(Clone, Debug)]
pub struct Regex {
    slow: regex_lite::Regex,
    fast: Option<Automaton>,
}

impl Regex {
    /// Reads an expression.
    ///
    /// # Errors
    /// It is none: why.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let slow = regex_lite::RegexBuilder::new(pattern).case_insensitive(true).build();
        let slow = slow.map_err(|error| error.to_string())?;
        Ok(Self { slow, fast: syntax::parse(pattern).and_then(|node| Automaton::new(&node)) })
    }

    /// Whether it is found in a text.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        match &self.fast {
            Some(fast) => fast.is_match(text),
            None => self.slow.is_match(text),
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
        for pattern in ["\\bweb\\b", "(?m)^a", "(?P<n>a)", "(a.{30}){30}", "a.{12}b", "[[:alpha:]]", "\\x41"]
        {
            assert!(Regex::new(pattern).expect(pattern).fast.is_none(), "{pattern}");
        }
        assert!(Regex::new("(").is_err());
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
    fn the_table_says_what_the_expression_says() {
        const LETTERS: &[&str] =
            &["a", "b", "A", "C", "k", "1", "-", ".", " ", "é", "Ü", "\n", "_", "K", "x", "]", "aB"];
        let (mut dice, mut fast, mut found) = (Dice(11), 0, 0);
        for _ in 0..4_000 {
            let pattern = pattern(&mut dice, 2);
            let Ok(regex) = Regex::new(&pattern) else { continue };
            fast += usize::from(regex.fast.is_some());
            for _ in 0..12 {
                let text: String = (0..dice.roll(7)).map(|_| dice.one(LETTERS)).collect();
                let expected = regex.slow.is_match(&text);
                found += usize::from(expected);
                assert_eq!(regex.is_match(&text), expected, "{pattern:?} in {text:?}");
            }
        }
        assert!(fast > 3_000 && found > 5_000, "{fast} tables, found {found} times: not much was compared");
    }
}
