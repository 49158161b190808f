//! What YAML has beyond JSON: merge keys, and the lines that upstream names for errors and duplicates.

use serde_json::{Map, Value};

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
    let mut lines = if unknown { duplicate_lines(text) } else { vec![] };
    let mut out = "yaml: unmarshal errors:".to_owned();
    for Twice { key, line } in keys {
        let guessed = || {
            let at = lines.iter().position(|(_, found)| *found == key.text)?;
            Some(lines.remove(at).0)
        };
        let line = line.or_else(guessed).unwrap_or(1);
        out.push_str(&format!("\n  line {line}: key {} already set in map", key.shown()));
    }
    out
}

/// Keys of block mappings that come a second time, with their line. The parser says *that* a key is there
/// twice, but not where if there are aliases; flow mappings and odd layouts are not followed here and fall back to line 1.
fn duplicate_lines(text: &str) -> Vec<(usize, String)> {
    let mut open: Vec<(usize, Vec<String>)> = Vec::new();
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
            open.retain(|(at, _)| *at < indent);
            rest = inner;
        }
        let Some((key, value)) = split_key(rest) else { continue };
        open.retain(|(at, _)| *at <= indent);
        if value.starts_with(['|', '>']) {
            scalar = Some(indent);
        }
        match open.last_mut() {
            Some((at, keys)) if *at == indent && keys.iter().any(|k| k == key) => {
                found.push((number + 1, key.to_owned()));
            }
            Some((at, keys)) if *at == indent => keys.push(key.to_owned()),
            _ => open.push((indent, vec![key.to_owned()])),
        }
    }
    found
}

fn split_key(text: &str) -> Option<(&str, &str)> {
    let (key, value) = match text.split_once(": ") {
        Some(pair) => pair,
        None => (text.trim_end().strip_suffix(':')?, ""),
    };
    Some((key.trim().trim_matches(['"', '\'']), value.trim_start()))
}
