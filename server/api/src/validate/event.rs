//! Events, in both APIs: `pkg/apis/core/validation/events.go`. Errors name the fields of core's Event, whichever API the
//! event came through.

use serde_json::{Map, Value};

use super::access::*;
use crate::kinds::Kind;
use crate::status::FieldError;
use crate::validation::{
    FIELD_IS_IMMUTABLE, NameRule, is_dns1123_subdomain, is_qualified_name, object_meta, own_finalizers,
};

/// Most bytes of the instance, the action and the reason.
const WORD_MAX: usize = 128;
/// Most bytes of the message.
const MESSAGE_MAX: usize = 1024;

/// An event's fields under the names that core gives them.
struct Event<'a> {
    object: &'a Value,
    core: bool,
}

impl<'a> Event<'a> {
    fn new(kind: &Kind, object: &'a Value) -> Self {
        Self { object, core: kind.group.is_empty() }
    }

    fn get(&self, field: &'static str) -> &'a Value {
        let name = match (field, self.core) {
            ("reportingController", true) => "reportingComponent",
            ("involvedObject", false) => "regarding",
            ("message", false) => "note",
            ("source", false) => "deprecatedSource",
            ("firstTimestamp", false) => "deprecatedFirstTimestamp",
            ("lastTimestamp", false) => "deprecatedLastTimestamp",
            ("count", false) => "deprecatedCount",
            (name, _) => name,
        };
        get(self.object, name)
    }

    fn text(&self, field: &'static str) -> &'a str {
        self.get(field).as_str().unwrap_or_default()
    }

    fn is_new(&self) -> bool {
        !self.text("eventTime").is_empty()
    }
}

/// `ValidateEventCreate`, and the metadata's rules where it asks for them.
pub(super) fn create(kind: &Kind, object: &Value) -> Errors {
    let (event, metadata) = (Event::new(kind, object), get(object, "metadata"));
    let mut errors = Errors::new();
    legacy(&event, metadata, &mut errors);
    if event.core {
        if errors.is_empty() {
            errors = object_meta(metadata, true, NameRule::PathSegment);
        }
        return errors;
    }
    errors.extend(object_meta(metadata, true, NameRule::Subdomain));
    errors.extend(own_finalizers(metadata));
    series(&event, &mut errors);
    if !event.is_new() {
        errors.push(FieldError::required("eventTime", ""));
    }
    if !matches!(event.text("type"), "Normal" | "Warning") {
        let why = format!("has invalid value: {}", event.text("type"));
        errors.push(FieldError::invalid("type", "", why));
    }
    let source = event.get("source");
    let old_fields = [
        ("firstTimestamp", !event.text("firstTimestamp").is_empty()),
        ("lastTimestamp", !event.text("lastTimestamp").is_empty()),
        ("count", event.get("count").as_i64().is_some_and(|count| count != 0)),
        ("source", !text(source, "component").is_empty() || !text(source, "host").is_empty()),
    ];
    let set = old_fields.iter().filter(|(_, set)| *set);
    errors.extend(set.map(|(field, _)| FieldError::invalid(*field, "", "needs to be unset")));
    errors
}

/// `ValidateEventUpdate` but for the metadata.
pub(super) fn update(kind: &Kind, new: &Value, old: &Value, errors: &mut Errors) {
    let (event, before) = (Event::new(kind, new), Event::new(kind, old));
    legacy(&event, get(new, "metadata"), errors);
    if event.core {
        return;
    }
    if event.get("series") != before.get("series") {
        series(&event, errors);
    }
    for field in IMMUTABLE {
        let (after, was) = (shown(&event, field), shown(&before, field));
        if after != was {
            errors.push(FieldError::invalid(*field, after, FIELD_IS_IMMUTABLE));
        }
    }
}

/// In upstream's order, which asks for the reason twice.
const IMMUTABLE: &[&str] = &[
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "reason",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingController",
    "reportingInstance",
];

/// A field as Go prints it: what is absent is its type's zero, and internal types have no names but Go's.
fn shown(event: &Event<'_>, field: &'static str) -> Value {
    let value = event.get(field);
    match field {
        "involvedObject" => internal(value, OBJECT_REFERENCE),
        "related" if value.is_null() => "null".into(),
        "related" => internal(value, OBJECT_REFERENCE),
        "source" => internal(value, &[("component", "Component"), ("host", "Host")]),
        "count" => value.as_i64().unwrap_or(0).into(),
        "firstTimestamp" | "lastTimestamp" | "eventTime" => value.clone(),
        _ => value.as_str().unwrap_or_default().into(),
    }
}

const OBJECT_REFERENCE: &[(&str, &str)] = &[
    ("kind", "Kind"),
    ("namespace", "Namespace"),
    ("name", "Name"),
    ("uid", "UID"),
    ("apiVersion", "APIVersion"),
    ("resourceVersion", "ResourceVersion"),
    ("fieldPath", "FieldPath"),
];

fn internal(value: &Value, names: &[(&str, &str)]) -> Value {
    let fields = names.iter().map(|(name, go)| ((*go).to_owned(), text(value, name).into()));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// `validateV1EventSeries`.
fn series(event: &Event<'_>, errors: &mut Errors) {
    let series = event.get("series");
    if series.is_null() {
        return;
    }
    if int(series, "count").unwrap_or(0) < 2 {
        errors.push(FieldError::invalid("series.count", "", "should be at least 2"));
    }
    if text(series, "lastObservedTime").is_empty() {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
}

/// `legacyValidateEvent`: what any event has to be.
fn legacy(event: &Event<'_>, metadata: &Value, errors: &mut Errors) {
    let namespace = text(metadata, "namespace");
    let involved = text(event.get("involvedObject"), "namespace");
    let matches = match (event.is_new(), involved) {
        (false, "") => matches!(namespace, "" | "default"),
        (false, involved) => namespace == involved,
        (true, "") => matches!(namespace, "default" | "kube-system"),
        (true, _) => true,
    };
    if !matches {
        let why = "does not match event.namespace";
        errors.push(FieldError::invalid("involvedObject.namespace", involved, why));
    }
    if event.is_new() {
        let controller = event.text("reportingController");
        if controller.is_empty() {
            errors.push(FieldError::required("reportingController", ""));
        }
        invalid_each(errors, "reportingController", controller, is_qualified_name(controller));
        for field in ["reportingInstance", "action", "reason"] {
            if event.text(field).is_empty() {
                errors.push(FieldError::required(field, ""));
            }
            at_most(event, field, WORD_MAX, errors);
        }
        at_most(event, "message", MESSAGE_MAX, errors);
    }
    invalid_each(errors, "namespace", namespace, is_dns1123_subdomain(namespace));
}

fn at_most(event: &Event<'_>, field: &'static str, max: usize, errors: &mut Errors) {
    if event.text(field).len() > max {
        errors.push(FieldError::invalid(field, "", format!("can have at most {max} characters")));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kinds;
    use serde_json::json;

    fn text_of(errors: &[FieldError]) -> String {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    fn new_event() -> Value {
        json!({
            "metadata": {"name": "e", "namespace": "d", "resourceVersion": "1"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "a.io/c",
            "reportingInstance": "c-1", "action": "Looked", "reason": "Seen", "type": "Normal",
            "regarding": {"kind": "Pod", "namespace": "d", "name": "p"},
        })
    }

    fn with(mut object: Value, key: &str, value: Value) -> Value {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().shift_remove(key)),
            value => object[key] = value,
        }
        object
    }

    #[test]
    fn new_events_say_when_who_what_and_why() {
        let kind = kinds::by_kind("events.k8s.io", "v1", "Event").unwrap();
        let of = |key: &str, value: Value| text_of(&create(kind, &with(new_event(), key, value)));
        let long = "a".repeat(129);
        let cases = [
            ("note", json!("all is well"), ""),
            ("type", json!("Odd"), "type: Invalid value: \"\": has invalid value: Odd"),
            ("reason", json!(null), "reason: Required value"),
            ("action", json!(long), "action: Invalid value: \"\": can have at most 128 characters"),
            ("deprecatedCount", json!(1), "count: Invalid value: \"\": needs to be unset"),
            ("deprecatedSource", json!({"host": "n"}), "source: Invalid value: \"\": needs to be unset"),
            (
                "series",
                json!({"count": 1}),
                "series.count: Invalid value: \"\": should be at least 2; series.lastObservedTime: Required value",
            ),
            (
                "regarding",
                json!({"kind": "Node", "name": "n"}),
                "involvedObject.namespace: Invalid value: \"\": does not match event.namespace",
            ),
        ];
        for (key, value, expected) in cases {
            assert_eq!(of(key, value), expected, "{key}");
        }
        assert!(of("eventTime", json!(null)).ends_with("eventTime: Required value"));
    }

    #[test]
    fn events_of_the_older_api_are_in_the_namespace_of_what_they_are_about() {
        let kind = kinds::by_kind("", "v1", "Event").unwrap();
        let event = |namespace: &str, involved: &str| {
            let object = json!({
                "metadata": {"name": "e", "namespace": namespace}, "type": "Odd",
                "involvedObject": {"kind": "Pod", "namespace": involved},
            });
            text_of(&create(kind, &object))
        };
        let refused = |shown: &str| {
            format!("involvedObject.namespace: Invalid value: {shown:?}: does not match event.namespace")
        };
        assert_eq!(event("d", "d"), "");
        assert_eq!(event("default", ""), "");
        assert_eq!(event("d", ""), refused(""));
        assert_eq!(event("d", "other"), refused("other"));
    }

    #[test]
    fn of_a_new_event_only_the_series_changes() {
        let kind = kinds::by_kind("events.k8s.io", "v1", "Event").unwrap();
        let of = |key: &str, value: Value| {
            let (old, mut errors) = (new_event(), Errors::new());
            update(kind, &with(old.clone(), key, value), &old, &mut errors);
            text_of(&errors)
        };
        let series = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"});
        assert_eq!(of("series", series), "");
        assert_eq!(of("note", json!("x")), "message: Invalid value: \"x\": field is immutable");
        assert_eq!(
            of("related", json!({"kind": "Pod", "name": "q"})),
            "related: Invalid value: {\"Kind\":\"Pod\",\"Namespace\":\"\",\"Name\":\"q\",\"UID\":\"\",\"APIVersion\":\"\",\"ResourceVersion\":\"\",\"FieldPath\":\"\"}: field is immutable"
        );
    }
}
