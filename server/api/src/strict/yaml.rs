//! What YAML has beyond JSON: merge keys, and the lines that upstream names for errors and duplicates.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::alias;
use super::parse::Twice;

/// Resolves `<<`: the entries of the mapping (or mappings) it names, under those that are there.
pub(super) fn merge_keys(map: &mut Map<String, Value>) {
    let Some(merged) = map.shift_remove("<<") else { return };
    let sources = match merged {
        Value::Array(list) => list,
        other => vec![other],
    };
    for source in sources {
        let Value::Object(source) = source else { continue };
        for (key, value) in source {
            map.entry(key).or_insert(value);
        }
    }
}

/// Problems that go-yaml's parser finds; all others are its scanner's, which has not counted the line yet.
const PARSERS: &[&str] = &[
    "did not find expected <document start>",
    "did not find expected <stream-start>",
    "did not find expected node content",
    "did not find expected key",
    "did not find expected '-' indicator",
    "did not find expected ',' or ']'",
    "did not find expected ',' or '}'",
    "found duplicate %",
    "found incompatible YAML document",
    "found undefined tag handle",
];

/// go-yaml's words for libyaml's: the line comes first, where it is not the first, and the context does not count.
pub(super) fn words(error: &str) -> String {
    if error.starts_with("repetition limit exceeded") {
        return alias::EXCESSIVE.to_owned();
    }
    let Some((problem, place)) = error.split_once(" at line ") else { return format!("yaml: {error}") };
    let digits: String = place.chars().take_while(char::is_ascii_digit).collect();
    let by_parser = PARSERS.iter().any(|begin| problem.starts_with(begin));
    match digits.parse::<usize>() {
        Ok(line) if line > 1 => format!("yaml: line {}: {problem}", line - usize::from(by_parser)),
        _ => format!("yaml: {problem}"),
    }
}

/// The line that an error of the reader names.
pub(super) fn line(said: &str) -> Option<usize> {
    let (_, place) = said.rsplit_once(" at line ")?;
    let digits: String = place.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// go-yaml's words for keys given twice.
pub(super) fn already_set(text: &str, keys: &[Twice]) -> String {
    let unknown = keys.iter().any(|twice| twice.line.is_none());
    let mut lines: HashMap<String, VecDeque<usize>> = HashMap::new();
    for (line, key) in if unknown { duplicate_lines(text) } else { vec![] } {
        lines.entry(key).or_default().push_back(line);
    }
    let mut out = "yaml: unmarshal errors:".to_owned();
    for Twice { key, line } in keys {
        let guessed = lines.get_mut(&key.text).and_then(VecDeque::pop_front);
        let line = line.or(guessed).unwrap_or(1);
        out.push_str(&format!("\n  line {line}: key {} already set in map", key.shown()));
    }
    out
}

/// Keys of block mappings that come a second time, with their line. The parser says *that* a key is there
/// twice, but not where if there are aliases; flow mappings and odd layouts are not followed here and fall back to line 1.
fn duplicate_lines(text: &str) -> Vec<(usize, String)> {
    let mut open: Vec<(usize, HashSet<&str>)> = Vec::new();
    let mut found = Vec::new();
    let mut scalar: Option<usize> = None;
    for (number, line) in text.lines().enumerate() {
        let body = line.trim_start_matches(' ');
        let mut indent = line.len() - body.len();
        if body.is_empty() || body.starts_with('#') {
            continue;
        }
        if scalar.is_some_and(|at| indent > at) {
            continue;
        }
        scalar = None;
        let mut rest = body;
        while let Some(item) = rest.strip_prefix("- ") {
            // a new item of a list: its mapping starts afresh
            let inner = item.trim_start_matches(' ');
            indent += rest.len() - inner.len();
            close(&mut open, indent);
            rest = inner;
        }
        let Some((key, value)) = split_key(rest) else { continue };
        close(&mut open, indent + 1);
        if value.starts_with(['|', '>']) {
            scalar = Some(indent);
        }
        match open.last_mut() {
            Some((at, keys)) if *at == indent => {
                if !keys.insert(key) {
                    found.push((number + 1, key.to_owned()));
                }
            }
            _ => open.push((indent, HashSet::from([key]))),
        }
    }
    found
}

/// Forgets the mappings that begin at `indent` or behind it.
fn close<K>(open: &mut Vec<(usize, K)>, indent: usize) {
    while open.last().is_some_and(|(at, _)| *at >= indent) {
        open.pop();
    }
}

fn split_key(text: &str) -> Option<(&str, &str)> {
    let (key, value) = match text.split_once(": ") {
        Some(pair) => pair,
        None => (text.trim_end().strip_suffix(':')?, ""),
    };
    Some((key.trim().trim_matches(['"', '\'']), value.trim_start()))
}
