//! Answers in YAML as go-yaml writes them: keys in its order, quotes around every text that YAML 1.1 would read as
//! something else, lines folded after 80 columns. Ported from `sigs.k8s.io/yaml/goyaml.v2`.

mod plain;
mod scalar;

use std::cmp::Ordering;

use serde_json::Value;

use scalar::Scalar;

/// How far everything is moved in below what it belongs to.
const INDENT: usize = 2;

/// The document of a value.
pub fn write(value: &Value) -> String {
    let mut out = Writer { out: String::with_capacity(1024), column: 0 };
    match value {
        Value::Object(map) if !map.is_empty() => out.mapping(map, 0),
        Value::Array(list) if !list.is_empty() => out.sequence(list, 0),
        other => out.leaf(other, 0),
    }
    if out.column > 0 {
        out.line_end();
    }
    out.out
}

/// The text so far, and how many characters its last line has.
struct Writer {
    out: String,
    column: usize,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn put_char(&mut self, one: char) {
        self.out.push(one);
        self.column += 1;
    }

    fn line_end(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    /// Begins a line that is moved in so far.
    fn begin(&mut self, indent: usize) {
        if self.column > 0 {
            self.line_end();
        }
        for _ in 0..indent {
            self.put_char(' ');
        }
    }

    /// The entries, the first of them where the writer is.
    fn mapping(&mut self, map: &serde_json::Map<String, Value>, indent: usize) {
        let mut entries: Vec<(&String, &Value)> = map.iter().collect();
        entries.sort_by(|(one, _), (other, _)| natural(one, other));
        for (at, (key, value)) in entries.into_iter().enumerate() {
            if at > 0 {
                self.begin(indent);
            }
            Scalar::of(key).key(self, indent);
            self.put(":");
            match value {
                Value::Object(map) if !map.is_empty() => {
                    self.begin(indent + INDENT);
                    self.mapping(map, indent + INDENT);
                }
                // lists are no further in than their key
                Value::Array(list) if !list.is_empty() => {
                    self.begin(indent);
                    self.sequence(list, indent);
                }
                other => {
                    self.put(" ");
                    self.leaf(other, indent + INDENT);
                }
            }
        }
    }

    fn sequence(&mut self, list: &[Value], indent: usize) {
        for (at, item) in list.iter().enumerate() {
            if at > 0 {
                self.begin(indent);
            }
            self.put("- ");
            match item {
                Value::Object(map) if !map.is_empty() => self.mapping(map, indent + INDENT),
                Value::Array(list) if !list.is_empty() => self.sequence(list, indent + INDENT),
                other => self.leaf(other, indent + INDENT),
            }
        }
    }

    fn leaf(&mut self, value: &Value, indent: usize) {
        match value {
            Value::String(text) => Scalar::of(text).value(self, indent),
            Value::Object(_) => self.put("{}"),
            Value::Array(_) => self.put("[]"),
            Value::Number(number) => self.put(&number.to_string()),
            Value::Bool(yes) => self.put(if *yes { "true" } else { "false" }),
            Value::Null => self.put("null"),
        }
    }
}

/// go-yaml's order of keys: digits as numbers, before letters.
fn natural(one: &str, other: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let Some(at) = (0..a.len().min(b.len())).find(|at| a[*at] != b[*at]) else {
        return a.len().cmp(&b.len());
    };
    match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
        (true, true) => return a[at].cmp(&b[at]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // a number that began before the difference is not one with zeros in front
    let begun = a[..at].iter().rev().take_while(|one| one.is_ascii_digit()).any(|one| *one != '0');
    let first = u64::from((a[at] == '0' || b[at] == '0') && begun);
    let number = |text: &[char]| {
        let digits = text.iter().take_while(|one| one.is_ascii_digit());
        digits.fold((first, 0_usize), |(number, length), digit| {
            let digit = u64::from(digit.to_digit(10).unwrap_or(0));
            (number.wrapping_mul(10).wrapping_add(digit), length + 1)
        })
    };
    number(&a[at..]).cmp(&number(&b[at..])).then_with(|| a[at].cmp(&b[at]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_written_as_go_yaml_writes_them() {
        let object = json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {
                "name": "a", "resourceVersion": "280", "creationTimestamp": "2026-01-02T03:04:05Z",
                "managedFields": [{"fieldsV1": {"f:data": {".": {}, "k:{\"name\":\"x\"}": {}}}, "time": "2026-01-02T03:04:05Z"}],
            },
            "data": {"on": "yes", "text": "one\ntwo\n", "open": "one\ntwo", "empty": "", "port": "8080", "b": "x: y"},
            "list": [[1, 2], [], {"a": null, "b": [true]}], "none": {},
        });
        let expected = r#"apiVersion: v1
data:
  b: 'x: y'
  empty: ""
  "on": "yes"
  open: |-
    one
    two
  port: "8080"
  text: |
    one
    two
kind: ConfigMap
list:
- - 1
  - 2
- []
- a: null
  b:
  - true
metadata:
  creationTimestamp: "2026-01-02T03:04:05Z"
  managedFields:
  - fieldsV1:
      f:data:
        .: {}
        k:{"name":"x"}: {}
    time: "2026-01-02T03:04:05Z"
  name: a
  resourceVersion: "280"
none: {}
"#;
        assert_eq!(write(&object), expected);
    }

    #[test]
    fn long_lines_are_folded_at_spaces() {
        let word = "word ".repeat(20);
        let text =
            write(&json!({"description": word.trim_end(), "quoted": format!("a: {}", word.trim_end())}));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[1].starts_with("  word") && lines[2].starts_with("quoted: 'a: word"), "{text}");
        assert!(lines.iter().all(|line| line.len() < 90), "{text}");
    }

    #[test]
    fn keys_are_in_their_natural_order() {
        let sorted = ["", "1", "2", "10", "a-1", "a1", "a2", "a10", "ab", "b"];
        for pair in sorted.windows(2) {
            assert_eq!(natural(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_again_as_it_was() {
        let odd = [
            "", " a", "a ", "a\n", "\na", "a\n\n", "a\tb", "---", "- a", "#a", "a #b", "a: b", "'", "\"",
            "\\", "é\u{1}", "~", "1_000", "0x1f", ".5", "<<", "a\n b\n", " a\nb\n", "a \nb",
        ];
        for text in odd {
            let value = json!({"key": text, text: [text]});
            let written = write(&value);
            let read: Value =
                serde_yaml_ng::from_str(&written).unwrap_or_else(|why| panic!("{why}: {written}"));
            assert_eq!(read, value, "{written}");
        }
    }
}
