//! JSON that reads well: what fits into a line is in a line.

use serde_json::Value;

/// How wide a line may be.
const WIDTH: usize = 110;

/// The value, without a newline at its end.
pub(super) fn json(value: &Value) -> String {
    let mut out = String::new();
    put(value, 0, 0, &mut out);
    out
}

/// `column`: where the value begins, `indent`: that of the line it begins in.
fn put(value: &Value, indent: usize, column: usize, out: &mut String) {
    let line = in_line(value);
    let nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    // objects that are named by their kind are the subject: never in a line
    let subject = value.get("kind").is_some() && value.get("metadata").is_some();
    if !nested || (column + line.chars().count() < WIDTH && !subject) {
        return out.push_str(&line);
    }
    let inner = indent + 2;
    let begin = |out: &mut String, at: usize| {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        out.push_str(&" ".repeat(inner));
    };
    let end = |out: &mut String, close: char| {
        out.push('\n');
        out.push_str(&" ".repeat(indent));
        out.push(close);
    };
    match value {
        Value::Object(map) => {
            out.push('{');
            for (at, (key, value)) in map.iter().enumerate() {
                begin(out, at);
                let key = Value::from(key.as_str()).to_string();
                out.push_str(&format!("{key}: "));
                put(value, inner, inner + key.chars().count() + 2, out);
            }
            end(out, '}');
        }
        Value::Array(list) => {
            out.push('[');
            for (at, value) in list.iter().enumerate() {
                begin(out, at);
                put(value, inner, inner, out);
            }
            end(out, ']');
        }
        _ => {}
    }
}

fn in_line(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pair = |(key, value): (&String, &Value)| {
                format!("{}: {}", Value::from(key.as_str()), in_line(value))
            };
            format!("{{{}}}", map.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(in_line).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
