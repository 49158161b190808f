//! Objects as YAML, for reading and for the editor. Only what JSON can say: no anchors, no tags. The API server reads YAML,
//! so the browser need not.

use serde_json::{Map, Value};

/// An object without what nobody reads: `managedFields`.
pub fn clean(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// As YAML, with a line's end at the end.
pub fn print(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => object(fields, 0, &mut out),
        Value::Array(items) if !items.is_empty() => array(items, 0, &mut out),
        other => {
            out.push_str(&scalar(other, 0));
            out.push('\n');
        }
    }
    out
}

fn object(fields: &Map<String, Value>, depth: usize, out: &mut String) {
    for (at, (name, value)) in fields.iter().enumerate() {
        if at > 0 || depth == 0 || out.ends_with('\n') {
            indent(depth, out);
        }
        out.push_str(&text(name, depth));
        out.push(':');
        below(value, depth, out);
    }
}

/// What stands behind a name: on the same line, or deeper. A list is as deep as its name, as kubectl writes it.
fn below(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            object(fields, depth + 1, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            array(items, depth, out);
        }
        other => {
            out.push(' ');
            out.push_str(&scalar(other, depth + 1));
            out.push('\n');
        }
    }
}

fn array(items: &[Value], depth: usize, out: &mut String) {
    for item in items {
        indent(depth, out);
        out.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => object(fields, depth + 1, out),
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                array(items, depth + 1, out);
            }
            other => {
                out.push_str(&scalar(other, depth + 1));
                out.push('\n');
            }
        }
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn scalar(value: &Value, depth: usize) -> String {
    match value {
        Value::String(text) if blocky(text) => block(text, depth),
        Value::String(own) => text(own, depth),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
        other => other.to_string(),
    }
}

/// Several lines read best as a block; one that starts with a space or has control letters cannot be one.
fn blocky(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\n'])
        && text.chars().all(|letter| letter == '\n' || letter == '\t' || !letter.is_control())
}

fn block(text: &str, depth: usize) -> String {
    let keep = match (text.ends_with("\n\n"), text.ends_with('\n')) {
        (true, _) => "+",
        (false, true) => "",
        (false, false) => "-",
    };
    let mut out = format!("|{keep}");
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(depth, &mut out);
            out.push_str(line);
        }
    }
    out
}

/// Plain where YAML would read the same text again, else quoted as JSON, which YAML reads.
fn text(text: &str, _depth: usize) -> String {
    if plain(text) { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

fn plain(text: &str) -> bool {
    let first = text.chars().next();
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "~", ".nan", ".inf", "-.inf"];
    // letters of the scripts in use; what is not among them is quoted, which is as good
    let letter = |letter: char| {
        letter.is_ascii_alphabetic()
            || matches!(letter, 'À'..='ɏ' | 'Ͱ'..='ӿ' | 'ぁ'..='ヿ' | '一'..='鿿' | '가'..='힣')
    };
    let inner = |own: char| letter(own) || own.is_ascii_digit() || "-_./:@+=,()<>!?*$;^~ ".contains(own);
    first.is_some_and(|first| letter(first) || first == '/' || (first.is_ascii_digit() && !numeric(text)))
        && text.chars().all(inner)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !words.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Something a reader may take for a number or a date.
fn numeric(text: &str) -> bool {
    text.chars().all(|letter| letter.is_ascii_hexdigit() || "xob_:-+.TZ ".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_read_as_kubectls() {
        let object = json!({"kind": "Pod", "metadata": {"name": "a", "labels": {}}, "spec": {"containers": [
            {"name": "c", "args": ["-x", "b: c"], "ports": [{"containerPort": 80}]}], "x": null}});
        let wanted = "kind: Pod\nmetadata:\n  name: a\n  labels: {}\nspec:\n  containers:\n  - name: c\n    args:\n    \
                      - \"-x\"\n    - \"b: c\"\n    ports:\n    - containerPort: 80\n  x: null\n";
        assert_eq!(print(&object), wanted);
    }

    #[test]
    fn texts_are_quoted_where_they_would_be_read_as_something_else() {
        for (text, wanted) in [
            ("yes", "\"yes\""),
            ("1", "\"1\""),
            ("1e3", "\"1e3\""),
            ("", "\"\""),
            ("a#b", "\"a#b\""),
            ("web:1.2", "web:1.2"),
            ("2024-01-01", "\"2024-01-01\""),
            ("#x", "\"#x\""),
            ("a\u{7}", "\"a\\u0007\""),
            ("网", "网"),
            ("a ", "\"a \""),
        ] {
            assert_eq!(print(&json!(text)), format!("{wanted}\n"));
        }
    }

    #[test]
    fn lines_are_a_block_that_keeps_their_end() {
        assert_eq!(print(&json!({"a": "x\n\ny\n"})), "a: |\n  x\n\n  y\n");
        assert_eq!(print(&json!({"a": "x\ny"})), "a: |-\n  x\n  y\n");
    }

    #[test]
    fn managed_fields_are_left_out() {
        assert_eq!(
            clean(&json!({"metadata": {"name": "a", "managedFields": [1]}})),
            json!({"metadata": {"name": "a"}})
        );
    }
}
