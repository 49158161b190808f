//! The messages of `locales/*.json` in one order, for the build script, which gives each key its number, and for
//! `pack`, which lays out the texts in the order of the numbers.

use std::{collections::BTreeMap, error::Error, fs, path::Path};

/// Key, such as `nav.pods`, and text.
pub type Messages = BTreeMap<String, String>;

pub fn read(path: &Path) -> Result<Messages, Box<dyn Error + Send + Sync>> {
    let named = |error: &dyn Error| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| named(&error))?;
    let value = serde_json::from_str(&text).map_err(|error| named(&error))?;
    let mut all = Messages::new();
    collect(&value, "", &mut all).map_err(|key| format!("{}: {key} is no text", path.display()))?;
    Ok(all)
}

fn collect(value: &serde_json::Value, at: &str, all: &mut Messages) -> Result<(), String> {
    match value {
        serde_json::Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            let dot = if at.is_empty() { "" } else { "." };
            collect(field, &format!("{at}{dot}{name}"), all)
        }),
        serde_json::Value::String(text) => {
            all.insert(at.to_owned(), text.clone());
            Ok(())
        }
        _ => Err(at.to_owned()),
    }
}
