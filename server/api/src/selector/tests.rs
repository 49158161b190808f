use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn labels_match_or_not() {
    let labels = [("app", "web"), ("tier", "front"), ("n", "5"), ("empty", "")];
    let cases = [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app=db", false),
        ("app!=db", true),
        ("missing!=x", true),
        ("app", true),
        ("!app", false),
        ("! missing", true),
        ("missing", false),
        ("app in (web,db)", true),
        ("app in (db)", false),
        ("app notin (db , x),tier = front", true),
        ("missing notin (a)", true),
        ("n>4,n<6", true),
        ("n>5", false),
        ("app>1", false),
        ("empty=", true),
        ("empty=,app", true),
        ("app in ()", false),
        ("empty in (,a)", true),
        ("in=x", false),
        ("in in (in)", false),
    ];
    for (text, expected) in cases {
        let selector = Selector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(selector.matches(&labels), expected, "{text}");
    }
}

#[test]
fn errors_are_upstreams() {
    let cases = [
        ("a=b,", "found '', expected: identifier after ','"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a=(", "unable to parse requirement: found '(', expected: identifier"),
        ("!=a", "found '!=', expected: !, identifier, or 'end of string'"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Selector::parse(text).unwrap_err(), expected, "{text}");
    }
    let error = Selector::parse("a=-").unwrap_err();
    assert!(
        error.starts_with(
            "unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label must be"
        ),
        "{error}"
    );
}

#[test]
fn objects_are_selectors() {
    let labels = json!({"app": "web", "tier": "front"});
    let cases = [
        (json!(null), false),
        (json!({}), true),
        (json!({"matchLabels": {"app": "web"}}), true),
        (json!({"matchLabels": {"app": "db"}}), false),
        (json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}), true),
        (json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), false),
    ];
    for (selector, expected) in cases {
        assert_eq!(Selector::from_object(Some(&selector)).unwrap().matches(&labels), expected, "{selector}");
    }
    let bad = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
    assert_eq!(
        Selector::from_object(Some(&bad)).unwrap_err(),
        "\"Near\" is not a valid label selector operator"
    );
}

#[test]
fn selectors_print_as_upstream() {
    for (text, printed) in [
        ("b=1,a in (y,x)", "a in (x,y),b=1"),
        ("!a,b", "!a,b"),
        ("a notin (b),c!=d,e==f", "a notin (b),c!=d,e==f"),
    ] {
        assert_eq!(Selector::parse(text).unwrap().to_string(), printed);
    }
}

#[test]
fn fields_match_or_not() {
    let fields = [("metadata.name", "a"), ("status.phase", "Running"), ("odd", "x,y=z\\")];
    for (text, expected) in [
        ("", true),
        ("metadata.name=a", true),
        ("metadata.name==a,status.phase!=Failed", true),
        ("status.phase!=Running", false),
        ("spec.nodeName=", true),
        ("spec.nodeName!=", false),
        (r"odd=x\,y\=z\\", true),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap().matches(&fields), expected, "{text}");
    }
}

#[test]
fn field_errors_are_upstreams() {
    for (text, expected) in [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=\q", r"invalid field selector: invalid escape sequence: \q"),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap_err(), expected);
    }
}

proptest! {
    #[test]
    fn parsing_never_panics(text in ".{0,40}") {
        let _ = Selector::parse(&text);
        let _ = FieldSelector::parse(&text);
    }

    #[test]
    fn near_selectors_never_panic(text in "[ab!=<>(), in]{0,24}") {
        if let Ok(selector) = Selector::parse(&text) {
            let printed = selector.to_string();
            prop_assert_eq!(Selector::parse(&printed).map(|s| s.to_string()), Ok(printed));
        }
    }

    #[test]
    fn escaped_values_come_back(value in ".{0,20}") {
        let selector = FieldSelector::parse(&format!("f={}", field::escape(&value))).unwrap();
        prop_assert_eq!(selector.exact("f"), Some(value.as_str()));
    }
}
