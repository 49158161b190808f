//! `templateGeneration`, a field that DaemonSets had before apps/v1: there it is an annotation, which the API server keeps.

use sampan_api::defaults::same_field;
use serde_json::Value;

use crate::value::{at, keep, object, set, text};

const SPEC: &str = "io.k8s.api.apps.v1.DaemonSetSpec";

const ANNOTATION: &[&str] = &["metadata", "annotations", "deprecated.daemonset.template.generation"];

fn say(new: &mut Value, generation: &str) {
    set(new, ANNOTATION, generation);
    object(new, &["metadata", "annotations"]).sort_keys();
}

/// What decoding makes of an object that does not say it: the field's zero.
pub fn decoded(new: &mut Value) {
    if at(new, ANNOTATION).is_null() {
        say(new, "0");
    }
}

/// A new one is of the first generation, whatever it says.
pub fn prepare_create(new: &mut Value) {
    say(new, "1");
}

/// Another template is another generation; nobody else changes it.
pub fn prepare_update(old: &Value, new: &mut Value) {
    if same_field(SPEC, "template", at(old, &["spec"]), at(new, &["spec"])) {
        // one that was stored before this was kept has none
        return match at(old, ANNOTATION).is_null() {
            true => say(new, "1"),
            false => keep(new, old, ANNOTATION),
        };
    }
    let generation = text(old, ANNOTATION).parse::<i64>().unwrap_or(1);
    say(new, &(generation + 1).to_string());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_generation_of_the_template_is_the_api_servers() {
        let set = |image: &str, annotations: Value| {
            json!({"metadata": {"annotations": annotations}, "spec": {"template": {"spec": {"containers": [
                {"name": "c", "image": image}]}}}})
        };
        let generation = |object: &Value| text(object, ANNOTATION).to_owned();
        let mut old = set("a", json!({"deprecated.daemonset.template.generation": "7"}));
        prepare_create(&mut old);
        assert_eq!(generation(&old), "1");
        for (image, wanted) in [("a", "1"), ("b", "2")] {
            let mut new = set(image, json!({}));
            decoded(&mut new);
            assert_eq!(generation(&new), "0");
            prepare_update(&old, &mut new);
            assert_eq!(generation(&new), wanted, "{image}");
        }
    }
}
