#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::template::{Bound, fill, matches};
use super::{Conversation, compare, note, print};

#[test]
fn a_file_comes_out_as_it_went_in() {
    let text = "# Title\n\nWords.\n\n## First\n\nMore words.\n\n> POST /a?b=c\n> Content-Type: x\n\n{\"a\":\n1}\n\n< 201 Created\n\
                < Content-Type: y\n\n{\"b\": 2}\n\n> GET /a\n\n< 200 OK\n\n?> GET /b\n> Accept: z\n";
    let read = Conversation::read(text).unwrap();
    assert_eq!(read.write(), text);
    let [first, second, third] = &read.steps[..] else { panic!("{read:?}") };
    assert_eq!(
        (first.words.as_str(), first.request.body.as_str()),
        ("## First\n\nMore words.", "{\"a\":\n1}")
    );
    assert_eq!(first.answer.as_ref().unwrap().header("content-type"), Some("y"));
    assert_eq!((second.request.line.as_str(), second.until, third.until), ("GET /a", false, true));
    assert!(third.answer.is_none());
    for wrong in ["< 200 OK\n", "## Words\n", "> GET /\n> no header\n"] {
        assert!(Conversation::read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_name_stands_for_what_it_was_bound_to() {
    let uid = "0b7bbf0c-3f4e-4d1b-9b0e-0a3c1c1f2d11";
    let other = "1b7bbf0c-3f4e-4d1b-9b0e-0a3c1c1f2d11";
    let mut bound = Bound::new();
    for (template, text, expected) in [
        ("plain", "plain", true),
        ("plain", "plainer", false),
        ("{{uid}}", uid, true),
        ("{{uid}}", "no uid", false),
        ("{{uid:a}}", uid, true),
        ("{{uid:a}}", other, false),
        ("is {{uid:a}}, not {{uid:b}}.", &format!("is {uid}, not {other}."), true),
        ("{{uid:c}}{{uid:c}}", &format!("{uid}{other}"), false),
        ("{{version:v}}", "12", true),
        ("{{version:v}}", "123", false),
        ("{{time}}", "2026-01-01T00:00:00Z", true),
        ("{{time}}", "2026-01-01T00:00:00.000000Z", false),
        ("{{microtime}}", "2026-01-01T00:00:00.000000Z", true),
        ("a-{{suffix}}", "a-xk4jz", true),
        ("a-{{suffix}}", "a-xk4jzz", false),
        ("from {{any}} to {{any}}", "from here to there", true),
        ("from {{any}} to {{any}}", "from here", false),
    ] {
        assert_eq!(matches(template, text, &mut bound).unwrap(), expected, "{template} {text}");
    }
    assert_eq!(fill("/{{uid:a}}?v={{version:v}}", &bound).unwrap(), format!("/{uid}?v=12"));
    assert!(!bound.contains_key("uid:c"), "a text that does not fit binds nothing");
    assert!(fill("{{uid:nobody}}", &bound).is_err());
    assert!(matches("{{unknown}}", "x", &mut bound).is_err());
    assert!(matches("{{uid", "x", &mut bound).is_err());
}

#[test]
fn differences_are_told_by_their_place() {
    let cases: [(Value, Value, &[&str]); 9] = [
        (json!({"a": 1, "b": [1]}), json!({"b": [1], "a": 1}), &[]),
        (json!({"a": 1}), json!({"a": 2}), &[".a: wanted 1, got 2"]),
        (json!({"a": {"b": 1}}), json!({"a": {}}), &[".a.b: missing: 1"]),
        (json!({"a": [1]}), json!({"a": [1, 2], "c": 3}), &[".a[1]: not wanted: 2", ".c: not wanted: 3"]),
        (json!({"a": "{{number:n}}", "b": "{{number:n}}"}), json!({"a": 1, "b": 1}), &[]),
        (
            json!({"a": "{{version:x}}", "b": "{{version:x}}"}),
            json!({"a": "1", "b": "2"}),
            &[".b: wanted \"{{version:x}}\" (\"1\"), got \"2\""],
        ),
        (json!(["{{others}}", 2, "{{others}}"]), json!([1, 2, 3]), &[]),
        (json!(["{{others}}", 2]), json!([1, 2, 3]), &[": 1 more than wanted"]),
        (json!({"a": 1, "{{others}}": ""}), json!({"a": 1, "b": 2}), &[]),
    ];
    for (wanted, got, expected) in cases {
        assert_eq!(compare::values(&wanted, &got, &mut Bound::new()).unwrap(), expected, "{wanted} {got}");
    }
    let mut bound = Bound::from([("uid:a".to_owned(), "x".to_owned())]);
    let keyed = json!({"k:{{uid:a}}": {}});
    assert!(compare::values(&keyed, &json!({"k:x": {}}), &mut bound).unwrap().is_empty());
}

#[test]
fn what_changes_each_time_is_written_by_name() {
    let uid = "0b7bbf0c-3f4e-4d1b-9b0e-0a3c1c1f2d11";
    let got = json!({"metadata": {"uid": uid, "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "of": {"resourceVersion": "7"}, "said": "2026-02-02T00:00:00Z", "message": format!("not {uid}!"),
        format!("k:{uid}"): {}, "continue": "abc"});
    let mut bound = Bound::new();
    let noted = note::value(&got, "2026-02-02T00:00:00Z", &mut bound);
    assert_eq!(
        noted,
        json!({"metadata": {"uid": "{{uid:1}}", "resourceVersion": "{{version:1}}", "creationTimestamp": "{{time}}"},
            "of": {"resourceVersion": "{{version}}"}, "said": "2026-02-02T00:00:00Z", "message": "not {{uid:1}}!",
            "k:{{uid:1}}": {}, "continue": "{{token:1}}"})
    );
    assert!(compare::values(&noted, &got, &mut bound).unwrap().is_empty(), "{noted}");
}

#[test]
fn what_fits_into_a_line_is_in_a_line() {
    let long = "x".repeat(90);
    let value = json!({"kind": "A", "metadata": {"name": "a"}, "long": {"x": long, "y": [1, {"z": 2}]}});
    let wide = format!("  \"long\": {{\n    \"x\": \"{long}\",\n    \"y\": [1, {{\"z\": 2}}]\n  }}\n");
    assert_eq!(
        print::json(&value),
        format!("{{\n  \"kind\": \"A\",\n  \"metadata\": {{\"name\": \"a\"}},\n{wide}}}")
    );
}
