//! Gives each message of locales/ a function, or, if it has gaps to fill, a struct with a field for each: a key that does
//! not exist, or a gap that is not filled, does not compile. What one language lacks fails the build, because nobody
//! reads a warning and a page half in English is worse than a red build.
//!
//! The texts themselves are no part of the program: the page fetches those of the language in use (`page/boot.js`).
use std::{collections::BTreeMap, env, error::Error, fmt::Write, fs, path::Path};

#[path = "locales/flat.rs"]
mod flat;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=locales");
    let english = flat::read(Path::new("locales/en.json"))?;
    let chinese = flat::read(Path::new("locales/zh-CN.json"))?;
    same(&english, &chinese)?;
    let mut modules = BTreeMap::<&str, String>::new();
    for (number, (key, text)) in english.iter().enumerate() {
        let (module, name) = key.split_once('.').ok_or_else(|| format!("{key} stands in no group"))?;
        let code = modules.entry(module).or_default();
        match gaps(text).as_slice() {
            [] => writeln!(code, "pub fn {name}() -> &'static str {{ crate::text::message({number}) }}")?,
            gaps => filled(code, name, number, gaps)?,
        }
    }
    let mut whole = format!("pub const COUNT: usize = {};\n", english.len());
    for (module, code) in modules {
        writeln!(whole, "#[allow(non_camel_case_types)]\npub mod {module} {{\n{code}}}")?;
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("messages.rs"), whole)?;
    Ok(())
}

fn filled(code: &mut String, name: &str, number: usize, gaps: &[&str]) -> Result<()> {
    let fields: String =
        gaps.iter().fold(String::new(), |all, gap| all + &format!("pub {gap}: &'a dyn std::fmt::Display, "));
    let pairs: String =
        gaps.iter().fold(String::new(), |all, gap| all + &format!("(\"{gap}\", self.{gap}), "));
    writeln!(code, "pub struct {name}<'a> {{ {fields} }}")?;
    writeln!(
        code,
        "impl {name}<'_> {{ pub fn text(&self) -> String {{ crate::text::fill({number}, &[{pairs}]) }} }}"
    )?;
    Ok(())
}

/// The names in a text's `{{ gaps }}`, each once.
fn gaps(text: &str) -> Vec<&str> {
    let mut names: Vec<_> = text
        .split("{{")
        .skip(1)
        .filter_map(|rest| rest.split_once("}}"))
        .map(|(name, _)| name.trim())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn same(english: &flat::Messages, chinese: &flat::Messages) -> Result<()> {
    let lacks = |language: &str, one: &flat::Messages, other: &flat::Messages| {
        let missing = one.keys().filter(|key| !other.contains_key(*key));
        missing.map(|key| format!("{language} lacks {key}")).collect::<Vec<_>>()
    };
    let mut wrong = lacks("zh-CN", english, chinese);
    wrong.extend(lacks("en", chinese, english));
    let differ =
        |(key, text): &(&String, &String)| chinese.get(*key).is_some_and(|other| gaps(other) != gaps(text));
    wrong.extend(english.iter().filter(differ).map(|(key, _)| format!("{key} has other gaps in zh-CN")));
    if wrong.is_empty() { Ok(()) } else { Err(format!("messages: {}", wrong.join(", ")).into()) }
}
