//! Lines of logs, the last hundred thousand, and which of them a filter lets through.

use std::collections::VecDeque;

use sampan_dashboard_logic::{ansi, lines};
use sampan_view::{Filter, Row, lower_case};

/// Lines kept.
pub const LINES: usize = 100_000;
/// Bytes of all of them: lines of megabytes leave room for fewer.
const BYTES: usize = 64 << 20;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Which source, for its colour.
    pub source: usize,
    /// As the kubelet stamped it.
    pub time: String,
    /// Which one of those stamped alike: what comes in one piece has one time.
    pub nth: usize,
    /// As it was written, with colours.
    pub text: String,
}

impl Line {
    /// What a link calls it: `TIME`, or `TIME~NTH`; empty without a time.
    pub fn key(&self) -> String {
        if self.nth == 0 { self.time.clone() } else { format!("{}~{}", self.time, self.nth) }
    }
}

/// What lines are let through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sieve {
    pub text: String,
    /// `error`, `warn`, …; empty for all.
    pub level: String,
}

#[derive(Default)]
pub struct Buffer {
    lines: VecDeque<Line>,
    bytes: usize,
    /// How many went at the front.
    gone: usize,
    sieve: Sieve,
    filter: Filter,
    /// Numbers of the lines let through, counted from the very first.
    passed: VecDeque<usize>,
}

impl Buffer {
    pub fn push(&mut self, source: usize, raw: &str) {
        let (time, text) = lines::stamped(raw);
        let last = self.lines.back().filter(|last| last.source == source && last.time == time);
        let nth = last.map_or(0, |last| if time.is_empty() { 0 } else { last.nth + 1 });
        let line = Line { source, time: time.to_owned(), nth, text: text.to_owned() };
        if self.passes(&line) {
            self.passed.push_back(self.gone + self.lines.len());
        }
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(first) = self.lines.pop_front() else { return };
            self.bytes -= first.text.len();
            self.gone += 1;
            if self.passed.front().is_some_and(|first| *first < self.gone) {
                self.passed.pop_front();
            }
        }
    }

    pub fn clear(&mut self) {
        *self = Self {
            sieve: std::mem::take(&mut self.sieve),
            filter: std::mem::take(&mut self.filter),
            ..Self::default()
        };
    }

    pub fn sift(&mut self, sieve: Sieve) {
        if sieve == self.sieve {
            return;
        }
        self.filter = Filter::parse(&sieve.text).unwrap_or_default();
        self.sieve = sieve;
        let passed =
            self.lines.iter().enumerate().filter(|(_, line)| self.passes(line)).map(|(at, _)| self.gone + at);
        self.passed = passed.collect();
    }

    /// `/expressions/` as in lists; anything else is a text somewhere in the line, for logs are full of `a=b` and `a:b`.
    fn passes(&self, line: &Line) -> bool {
        let Sieve { text, level } = &self.sieve;
        if text.is_empty() && level.is_empty() {
            return true;
        }
        let plain = ansi::plain(&line.text);
        if !level.is_empty() && self::level(&plain) != level {
            return false;
        }
        if text.starts_with('/') || text.starts_with("!/") {
            return self.filter.holds(&Row { name: plain, ..Row::default() });
        }
        lower_case(&plain).contains(&lower_case(text))
    }

    pub fn len(&self) -> usize {
        self.passed.len()
    }

    pub fn total(&self) -> usize {
        self.lines.len()
    }

    /// The lines let through from one to another, with their numbers.
    pub fn range(&self, first: usize, last: usize) -> Vec<(usize, Line)> {
        let last = last.min(self.passed.len());
        let numbers = self.passed.range(first.min(last)..last);
        numbers
            .filter_map(|number| Some((*number, self.lines.get(number.checked_sub(self.gone)?)?.clone())))
            .collect()
    }

    /// Where among those let through the line of a link is.
    pub fn place(&self, key: &str) -> Option<usize> {
        let time = key.split('~').next().unwrap_or_default();
        let own = |number: &usize| {
            let line = number.checked_sub(self.gone).and_then(|at| self.lines.get(at));
            line.is_some_and(|line| line.time == time && line.key() == key)
        };
        self.passed.iter().position(own)
    }

    /// All that is let through, for a file.
    pub fn text(&self) -> String {
        let lines = self.range(0, self.len());
        lines
            .iter()
            .map(|(_, line)| format!("{} {}\n", line.time, ansi::plain(&line.text)).trim_start().to_owned())
            .collect()
    }
}

/// What a line calls its level, in one of four words; empty if it does not.
pub fn level(line: &str) -> &'static str {
    let start: String = line.chars().take(200).collect::<String>().to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| start.contains(word));
    match () {
        () if has(&["error", "fatal", "panic", "crit"]) => "error",
        () if has(&["warn"]) => "warn",
        () if has(&["debug", "trace"]) => "debug",
        () if has(&["info", "notice"]) => "info",
        () => "",
    }
}
