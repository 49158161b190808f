//! `ConversionReview`: what a conversion webhook is asked and what it may answer
//! (`apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go`).

use bytes::Bytes;
use sampan_api::go::Quote as _;
use sampan_api::status::FieldError;
use sampan_api::validation::{validate_annotations, validate_labels};
use serde_json::{Map, Value, json};

use crate::value::{at, meta, text};

const GROUP: &str = "apiextensions.k8s.io";

/// The version of reviews to use: the first of `offered` that is known.
pub(super) fn version(offered: &[String]) -> Result<&'static str, String> {
    let known = ["v1", "v1beta1"];
    let found = offered.iter().find_map(|one| known.into_iter().find(|known| known == one));
    found.ok_or_else(|| "no supported conversion review versions".into())
}

/// The question.
pub(super) fn request(version: &str, uid: &str, wanted: &str, objects: &[Value]) -> Bytes {
    let review = json!({
        "kind": "ConversionReview",
        "apiVersion": format!("{GROUP}/{version}"),
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
        "response": {"uid": "", "convertedObjects": null, "result": {"metadata": {}}},
    });
    review.to_string().into()
}

/// `apiextensions.k8s.io/v1, Kind=ConversionReview`
pub(super) fn described(object: &Value) -> String {
    format!("{}, Kind={}", text(object, &["apiVersion"]), text(object, &["kind"]))
}

/// The objects of an answer to the review `uid`, in the order they were asked in.
pub(super) fn objects(version: &str, uid: &str, mut told: Value) -> Result<Vec<Value>, String> {
    if version == "v1" {
        let (expected, got) = (format!("{GROUP}/v1, Kind=ConversionReview"), described(&told));
        if got != expected {
            return Err(format!("expected webhook response of {expected}, got {got}"));
        }
    }
    let response = at(&told, &["response"]);
    if !response.is_object() {
        return Err("no response provided".into());
    }
    let given = text(response, &["uid"]);
    if version == "v1" && given != uid {
        return Err(format!("expected response.uid={}, got {}", uid.quoted(), given.quoted()));
    }
    let (status, message) =
        (text(response, &["result", "status"]), text(response, &["result", "message"]).to_owned());
    if status != "Success" {
        return Err(match message.is_empty() {
            true => format!("response.result.status was '{status}', not 'Success'"),
            false => message,
        });
    }
    match told.pointer_mut("/response/convertedObjects").map(Value::take) {
        Some(Value::Array(list)) => Ok(list),
        _ => Ok(Vec::new()),
    }
}

/// Words for what is wrong with one converted object: upstream's differ by whether one was asked for or several.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Which of them.
    pub index: usize,
    /// Whether it is the only one.
    pub alone: bool,
}

impl Place {
    fn object(self) -> String {
        match self.alone {
            true => "object at index 0".into(),
            false => format!("converted object at index {}", self.index),
        }
    }

    fn whole(self) -> String {
        if self.alone { "object".into() } else { self.object() }
    }

    fn metadata(self) -> String {
        if self.alone { "metadata".into() } else { format!("metadata in object at index {}", self.index) }
    }
}

/// `converted` with the metadata of the object it was made of, but for its labels and annotations.
pub(super) fn accepted(
    original: &Value,
    mut converted: Value,
    wanted: &str,
    place: Place,
) -> Result<Value, String> {
    if !converted.is_object() || text(&converted, &["kind"]).is_empty() {
        let why = format!("Object 'Kind' is missing in '{converted}'");
        return Err(match place.alone {
            true => why,
            false => format!("returned invalid {}: {why}", place.object()),
        });
    }
    let got = text(&converted, &["apiVersion"]);
    if got != wanted {
        let why = format!("invalid groupVersion (expected {wanted}, received {got})");
        return Err(format!("returned invalid {}: {why}", place.object()));
    }
    let (expected, got) = (text(original, &["kind"]), text(&converted, &["kind"]));
    if got != expected {
        let why = format!("invalid kind (expected {expected}, received {got})");
        return Err(format!("returned invalid {}: {why}", place.object()));
    }
    for (field, name) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (expected, got) = (meta(original, field), meta(&converted, field));
        if got != expected {
            let why = format!("must have the same {name}: {expected} != {got}");
            return Err(format!("returned invalid {}: {why}", place.whole()));
        }
    }
    match restored(original, &converted) {
        Ok(metadata) => converted["metadata"] = metadata,
        Err(why) => return Err(format!("returned invalid {}: {why}", place.metadata())),
    }
    Ok(converted)
}

/// `restoreObjectMeta`: the original's metadata with the converted one's labels and annotations.
fn restored(original: &Value, converted: &Value) -> Result<Value, String> {
    let told = converted.get("metadata").ok_or("missing metadata in converted object")?;
    let told = told
        .as_object()
        .ok_or_else(|| format!("invalid metadata of type {} in converted object", go_type(told)))?;
    let mut metadata = at(original, &["metadata"]).as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        let Some(texts) = told.get(field).filter(|texts| !texts.is_null()) else {
            metadata.shift_remove(field);
            continue;
        };
        checked(field, texts, metadata.get(field))?;
        metadata.insert(field.into(), texts.clone());
    }
    Ok(metadata.into())
}

/// Labels and annotations have to be texts, and what is new among them sound.
fn checked(field: &str, texts: &Value, before: Option<&Value>) -> Result<(), String> {
    let Value::Object(map) = texts else {
        return Err(format!("invalid metadata.{field} of type {} in converted object", go_type(texts)));
    };
    if let Some((key, value)) = map.iter().find(|(_, value)| !value.is_string()) {
        return Err(format!(
            "metadata.{field}[{key}] must be a string, but is {} in converted object",
            go_type(value)
        ));
    }
    let nothing = Map::new();
    if map == before.and_then(Value::as_object).unwrap_or(&nothing) {
        return Ok(());
    }
    // upstream says "annotation" of annotations here
    let errors = match field {
        "labels" => validate_labels(Some(texts), "metadata.labels"),
        _ => validate_annotations(Some(texts), "metadata.annotation"),
    };
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.to_string()),
        many => {
            let all: Vec<String> = many.iter().map(FieldError::to_string).collect();
            Err(format!("[{}]", all.join(", ")))
        }
    }
}

/// What Go prints for `%T`.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_checked_in_upstreams_words() {
        let review = |response: Value| json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
        let success = json!({"status": "Success"});
        let cases = [
            (
                json!({}),
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got , Kind=",
            ),
            (review(json!(null)), "no response provided"),
            (review(json!({"uid": "x", "result": success})), "expected response.uid=\"u\", got \"x\""),
            (review(json!({"uid": "u"})), "response.result.status was '', not 'Success'"),
            (review(json!({"uid": "u", "result": {"status": "Failure", "message": "no way"}})), "no way"),
        ];
        for (told, why) in cases {
            assert_eq!(objects("v1", "u", told.clone()), Err(why.to_owned()), "{told}");
        }
        let told = review(json!({"uid": "u", "convertedObjects": [{"a": 1}], "result": success}));
        assert_eq!(objects("v1", "u", told), Ok(vec![json!({"a": 1})]));
        let old = json!({"response": {"result": success}});
        assert_eq!(objects("v1beta1", "u", old), Ok(Vec::new()), "held to neither kind nor uid");
        assert_eq!(version(&["v2".into()]), Err("no supported conversion review versions".into()));
        assert_eq!(version(&["v2".into(), "v1beta1".into(), "v1".into()]), Ok("v1beta1"));
    }

    #[test]
    fn only_labels_and_annotations_are_the_webhooks() {
        let metadata =
            json!({"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}});
        let original = json!({"apiVersion": "g/v1", "kind": "K", "metadata": metadata});
        let of = |change: Value| {
            let mut converted = json!({"apiVersion": "g/v2", "kind": "K", "metadata": metadata});
            for (path, value) in change.as_object().unwrap() {
                let path: Vec<&str> = path.split('.').collect();
                crate::value::set(&mut converted, &path, value.clone());
            }
            accepted(&original, converted, "g/v2", Place { index: 3, alone: false })
        };
        let kept = of(json!({"metadata.resourceVersion": "42", "metadata.finalizers": ["x"],
            "metadata.labels": {"c": "d"}, "metadata.annotations": {"e": "f"}, "metadata.generation": 5}));
        let expected = json!({"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7",
            "labels": {"c": "d"}, "annotations": {"e": "f"}});
        assert_eq!(kept.unwrap()["metadata"], expected);
        let object = "returned invalid converted object at index 3";
        let metadata = "returned invalid metadata in object at index 3";
        let cases = [
            (
                json!({"apiVersion": "g/v3"}),
                format!("{object}: invalid groupVersion (expected g/v2, received g/v3)"),
            ),
            (json!({"kind": "L"}), format!("{object}: invalid kind (expected K, received L)")),
            (json!({"metadata.name": "b"}), format!("{object}: must have the same name: a != b")),
            (json!({"metadata.uid": "v"}), format!("{object}: must have the same UID: u != v")),
            (json!({"metadata": 1}), format!("{object}: must have the same name: a != ")),
            (
                json!({"metadata.labels": [1]}),
                format!("{metadata}: invalid metadata.labels of type []interface {{}} in converted object"),
            ),
            (
                json!({"metadata.annotations": {"k": 1}}),
                format!(
                    "{metadata}: metadata.annotations[k] must be a string, but is int64 in converted object"
                ),
            ),
        ];
        for (change, why) in cases {
            assert_eq!(of(change.clone()), Err(why), "{change}");
        }
        let alone = accepted(
            &original,
            json!({"apiVersion": "g/v2", "kind": "K", "metadata": {"name": "b"}}),
            "g/v2",
            Place { index: 0, alone: true },
        );
        assert_eq!(alone, Err("returned invalid object: must have the same name: a != b".into()));
        assert!(
            of(json!({"metadata.labels": {"-": "x"}}))
                .unwrap_err()
                .starts_with(&format!("{metadata}: metadata.labels: Invalid value"))
        );
    }
}
