//! What a claim is to be filled from (`pkg/api/persistentvolumeclaim/util.go`).

use sampan_api::validate::fill_data_sources;
use serde_json::Value;

use crate::value::{at, remove, text};

const SOURCE: &[&str] = &["spec", "dataSource"];
const REFERENCE: &[&str] = &["spec", "dataSourceRef"];

/// The older field and the newer one say the same. Alone, and in a claim that had no source, the older one names a claim or
/// a snapshot, or nothing.
pub(super) fn data_sources(old: Option<&Value>, new: &mut Value) {
    let is_new = !old.is_some_and(|old| !at(old, SOURCE).is_null() || !at(old, REFERENCE).is_null());
    if is_new && at(new, REFERENCE).is_null() && !is_claim_or_snapshot(at(new, SOURCE)) {
        remove(new, SOURCE);
    }
    if let Some(spec) = new.get_mut("spec") {
        fill_data_sources(spec);
    }
}

fn is_claim_or_snapshot(source: &Value) -> bool {
    matches!(
        (text(source, &["apiGroup"]), text(source, &["kind"])),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_older_field_and_the_newer_one_say_the_same() {
        let claim = json!({"kind": "PersistentVolumeClaim", "name": "a"});
        let other = json!({"apiGroup": "b.io", "kind": "Backup", "name": "a"});
        let far = json!({"kind": "PersistentVolumeClaim", "name": "a", "namespace": "n"});
        let near = json!({"kind": "PersistentVolumeClaim", "name": "a", "namespace": ""});
        let spec = |source: &Value, reference: &Value| {
            let mut spec = json!({});
            for (field, value) in [("dataSource", source), ("dataSourceRef", reference)] {
                if !value.is_null() {
                    spec[field] = value.clone();
                }
            }
            json!({"spec": spec})
        };
        let none = Value::Null;
        // what was there, what is said, what comes of it
        let cases = [
            (None, spec(&claim, &none), spec(&claim, &claim)),
            (None, spec(&none, &other), spec(&other, &other)),
            (None, spec(&none, &far), spec(&none, &far)),
            (None, spec(&none, &near), spec(&claim, &near)),
            (None, spec(&other, &none), spec(&none, &none)),
            (Some(spec(&none, &none)), spec(&other, &none), spec(&none, &none)),
            (Some(spec(&other, &other)), spec(&other, &none), spec(&other, &other)),
            (None, spec(&none, &none), spec(&none, &none)),
            (None, spec(&claim, &other), spec(&claim, &other)),
        ];
        for (old, mut new, expected) in cases {
            data_sources(old.as_ref(), &mut new);
            assert_eq!(new, expected, "{old:?}");
        }
    }
}
