//! Generates the messages' keys from locales/: a key that one language lacks fails the build, because
//! nobody reads a warning and a page half in English is worse than a red build.
use std::{env, error::Error, path::PathBuf};

use leptos_i18n_build::{Config, ParseOptions, TranslationsInfos};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    same_keys()?;
    let options = ParseOptions::new().interpolate_display(true);
    let config = Config::new("en")?.add_locale("zh-CN")?.parse_options(options);
    let translations = TranslationsInfos::parse(config)?;
    translations.rerun_if_locales_changed();
    translations.emit_diagnostics();
    translations.generate_i18n_module(PathBuf::from(env::var("OUT_DIR")?).join("i18n"))?;
    Ok(())
}

/// leptos_i18n falls back to English with a warning; here it is an error.
fn same_keys() -> Result<(), Box<dyn Error>> {
    let english = keys("locales/en.json")?;
    let chinese = keys("locales/zh-CN.json")?;
    let mut missing: Vec<_> =
        english.iter().filter(|key| !chinese.contains(key)).map(|key| format!("zh-CN: {key}")).collect();
    missing.extend(chinese.iter().filter(|key| !english.contains(key)).map(|key| format!("en: {key}")));
    if missing.is_empty() { Ok(()) } else { Err(format!("missing messages: {}", missing.join(", ")).into()) }
}

fn keys(path: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let mut found = Vec::new();
    collect(
        &serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?,
        String::new(),
        &mut found,
    );
    Ok(found)
}

fn collect(value: &serde_json::Value, at: String, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                collect(field, format!("{at}.{name}"), found);
            }
        }
        _ => found.push(at),
    }
}
