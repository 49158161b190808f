//! The `fieldPath` of a rule: `.a.b['c.d']`, a way down a schema by fields and map keys (`cel.ValidFieldPath`).

use super::schema::{Additional, Schema};

/// The path as errors show it (`a.b.c.d`, `a[key]`), or why it leads nowhere in `schema`.
pub fn field_path(path: &str, schema: &Schema) -> Result<String, String> {
    let mut tokens = tokens(path).into_iter();
    let (mut here, mut shown) = (schema, String::new());
    while let Some(token) = tokens.next() {
        let end = || "unexpected end of JSON path".to_owned();
        let name = match token {
            "." => tokens.next().ok_or_else(end)?.to_owned(),
            "[" => {
                let quoted = tokens.next().ok_or_else(end)?;
                let inner = quoted.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
                let inner = inner.ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                match tokens.next().ok_or_else(end)? {
                    "]" => unescape(inner)?,
                    other => return Err(format!("expected ] but got {other}")),
                }
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        here = step(here, &name, &mut shown).ok_or("does not refer to a valid field")?;
    }
    Ok(shown)
}

fn step<'a>(schema: &'a Schema, name: &str, shown: &mut String) -> Option<&'a Schema> {
    if !schema.properties.is_empty() {
        if !shown.is_empty() {
            shown.push('.');
        }
        shown.push_str(name);
        return schema.properties.get(name);
    }
    let Some(Additional::Of(of)) = &schema.additional else { return None };
    shown.push_str(&format!("[{name}]"));
    Some(of)
}

/// `.`, `[`, `]`, quoted texts with their quotes, and what is between.
fn tokens(path: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), path);
    while !rest.is_empty() {
        let length = match rest.as_bytes()[0] {
            b'.' | b'[' | b']' => 1,
            b'\'' => quoted(rest),
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        found.push(token);
        rest = after;
    }
    found
}

fn quoted(text: &str) -> usize {
    let bytes = text.as_bytes();
    let end = (1..bytes.len()).find(|&at| bytes[at] == b'\'' && bytes[at - 1] != b'\\');
    end.map_or(text.len(), |at| at + 1)
}

fn unescape(text: &str) -> Result<String, String> {
    let (mut plain, mut rest) = (String::new(), text.chars());
    while let Some(c) = rest.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        plain.push(match rest.next() {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some(same @ ('\'' | '\\')) => same,
            other => {
                let shown = other.map(String::from).unwrap_or_default();
                return Err(format!("invalid string literal: invalid escape char \\{shown}"));
            }
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ways_down_a_schema() {
        let schema = Schema::read(&json!({"type": "object", "properties": {
            "a": {"type": "object", "properties": {"b.c": {"type": "string"}, "it's": {"type": "string"}}},
            "m": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {}}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {}}}}}}));
        for (path, wanted) in [
            (".a", Ok("a")),
            (".a['b.c']", Ok("a.b.c")),
            (r".a['it\'s']", Ok("a.it's")),
            ("['a']", Ok("a")),
            (".m.k.x", Ok("m[k].x")),
            (".m['k.l'].x", Ok("m[k.l].x")),
            (".b", Err("does not refer to a valid field")),
            (".list[0]", Err("expected single quoted string but got 0")),
            (".list['0']", Err("does not refer to a valid field")),
            ("a", Err("expected [ or . but got: a")),
            (".", Err("unexpected end of JSON path")),
            ("..", Err("does not refer to a valid field")),
            (".a['b.c'", Err("unexpected end of JSON path")),
            (r".a['\q']", Err(r"invalid string literal: invalid escape char \q")),
        ] {
            let found = field_path(path, &schema);
            assert_eq!(found.as_deref().map_err(String::as_str), wanted, "{path}");
        }
    }
}
