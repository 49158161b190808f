use super::*;
use serde_json::json;

#[test]
fn an_object_is_encoded_with_a_gap_for_its_revision() {
    let cases = [
        (
            json!({"spec": {"a": "b\"c"}, "metadata": {"labels": {}, "resourceVersion": "7", "uid": "u", "name": "n"}, "apiVersion": "v1", "kind": "Pod"}),
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"n","uid":"u","resourceVersion":"42","labels":{}},"spec":{"a":"b\"c"}}"#,
        ),
        (json!({"data": {}}), r#"{"metadata":{"resourceVersion":"42"},"data":{}}"#),
        (
            json!({"metadata": {"annotations": {"a": "é"}}}),
            r#"{"metadata":{"resourceVersion":"42","annotations":{"a":"é"}}}"#,
        ),
        (json!(null), r#"{"metadata":{"resourceVersion":"42"}}"#),
    ];
    for (object, expected) in cases {
        let (mut bytes, at) = encode(&object);
        assert_eq!(&bytes[at - 1..=at], b"\"\"");
        bytes.splice(at..at, *b"42");
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}

#[test]
fn readers_answer_with_nothing_for_what_is_not_there() {
    let object = json!({"metadata": {"name": 5, "finalizers": "x", "labels": []}});
    assert_eq!((name(&object), namespace(&object), generation(&object)), ("", "", 0));
    assert_eq!(finalizers(&object).count(), 0);
    assert!(
        labels(&object).is_none() && deletion_timestamp(&object).is_none() && controller(&object).is_none()
    );
}

#[test]
fn writers_make_what_is_missing() {
    let mut object = json!({});
    set_name(&mut object, "a");
    set_label(&mut object, "k", "v");
    set_annotation(&mut object, "k", "v");
    assert!(add_finalizer(&mut object, "f/a") && !add_finalizer(&mut object, "f/a"));
    assert_eq!(
        object,
        json!({"metadata": {"name": "a", "labels": {"k": "v"}, "annotations": {"k": "v"}, "finalizers": ["f/a"]}})
    );
    assert!(remove_finalizer(&mut object, "f/a") && !remove_finalizer(&mut object, "f/a"));
    assert!(object["metadata"].get("finalizers").is_none());
    set_namespace(&mut object, "d");
    set_namespace(&mut object, "");
    assert!(object["metadata"].get("namespace").is_none());
}
