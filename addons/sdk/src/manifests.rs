//! Manifests that are embedded as YAML.

use serde::Deserialize;
use serde_json::Value;

use crate::Error;

/// The documents of a YAML text, in order; empty ones are left out.
///
/// # Errors
/// The text is not YAML, with the place.
pub fn manifests(text: &str) -> Result<Vec<Value>, Error> {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let read =
        documents.map(|document| Value::deserialize(document).map_err(|e| Error::Other(e.to_string())));
    read.filter(|value| !matches!(value, Ok(Value::Null))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_in_order() {
        let read = manifests("kind: A\n---\n# nothing\n---\nkind: B\n").unwrap_or_default();
        assert_eq!(read, [serde_json::json!({"kind": "A"}), serde_json::json!({"kind": "B"})]);
        assert!(manifests("a: [").is_err());
    }
}
