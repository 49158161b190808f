//! Reads k8s-pb's source: tags, wire types and the Go markers that its doc comments keep.
//!
//! The crate has no descriptors, so that its text is the only place where these facts are. Lines are all
//! that is needed: the file is written by prost, one attribute and one field at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A protobuf message.
#[derive(Default, Debug, Clone)]
pub struct Message {
    pub markers: Markers,
    pub fields: Vec<Field>,
}

/// A field of a message.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub tag: u32,
    /// `message`, `string`, `map` …
    pub wire: String,
    /// The full name of the message it holds, if it holds one.
    pub message: Option<String>,
    pub markers: Markers,
}

/// Lines such as `+listType=map`, in order.
pub type Markers = Vec<(String, String)>;

/// The first value of a marker.
pub fn marker<'a>(markers: &'a Markers, name: &str) -> Option<&'a str> {
    markers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Every message by its schema name.
pub fn read() -> Result<BTreeMap<String, Message>> {
    let root = source("k8s-pb")?;
    let mut messages = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("mod.rs") {
                file(&root, &path, &mut messages)?;
            }
        }
    }
    Ok(messages)
}

/// Where cargo keeps the sources of a crate.
pub fn source(name: &str) -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = std::process::Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["metadata", "--format-version=1", "--manifest-path"])
        .arg(manifest)
        .output()
        .context("cannot run cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let package = packages.iter().find(|package| package["name"] == name).context("no such crate")?;
    let manifest = package["manifest_path"].as_str().context("a crate without a manifest")?;
    Ok(Path::new(manifest).parent().context("a manifest without a folder")?.join("src"))
}

fn file(root: &Path, path: &Path, messages: &mut BTreeMap<String, Message>) -> Result<()> {
    let module: Vec<String> = path
        .strip_prefix(root)?
        .parent()
        .map(|folder| folder.iter().map(|part| part.to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let text = std::fs::read_to_string(path)?;
    let mut lines = text.lines().map(str::trim);
    let (mut markers, mut attribute, mut current) = (Markers::new(), None, None::<String>);
    while let Some(line) = lines.next() {
        if let Some(doc) = line.strip_prefix("///") {
            markers.extend(read_marker(doc.trim()));
        } else if line.starts_with("#[prost(") {
            attribute = Some(line.to_owned());
        } else if let Some(rest) = line.strip_prefix("pub struct ") {
            let name = rest.split([' ', '{', ';']).next().unwrap_or_default();
            let name = full_name(&module, name);
            let fields = Vec::new();
            messages.insert(name.clone(), Message { markers: std::mem::take(&mut markers), fields });
            current = Some(name);
        } else if let (Some(rest), Some(prost)) = (line.strip_prefix("pub "), attribute.take()) {
            let mut declaration = rest.to_owned();
            while !declaration.ends_with(',') {
                declaration.push_str(lines.next().context("a field without an end")?);
            }
            let field = read_field(&module, &declaration, &prost, std::mem::take(&mut markers))?;
            let message = current.as_ref().and_then(|name| messages.get_mut(name));
            message.context("a field outside a message")?.fields.push(field);
        } else if !line.starts_with("#[") {
            markers.clear();
        }
    }
    Ok(())
}

fn read_marker(doc: &str) -> Option<(String, String)> {
    let marker = doc.strip_prefix('+')?;
    let (name, value) = marker.split_once('=').unwrap_or((marker, ""));
    Some((name.trim_start_matches("k8s:").to_owned(), value.trim().to_owned()))
}

fn read_field(module: &[String], declaration: &str, prost: &str, markers: Markers) -> Result<Field> {
    let (name, type_) = declaration.split_once(':').context("a field without a type")?;
    let wire = prost.trim_start_matches("#[prost(").split([',', ' ', '=']).next().unwrap_or_default();
    let tag = prost.split("tag = \"").nth(1).and_then(|rest| rest.split('"').next());
    let tag = tag.context("a field without a tag")?.parse()?;
    let has_message = wire == "message" || prost.contains("message\"");
    Ok(Field {
        name: name.trim_start_matches("r#").to_owned(),
        tag,
        wire: wire.to_owned(),
        message: has_message.then(|| resolve(module, type_)),
        markers,
    })
}

/// The schema name of the message in a Rust type such as `Option<super::super::core::v1::Pod>`.
fn resolve(module: &[String], type_: &str) -> String {
    let inner = type_.rsplit(['<', ',']).find(|part| part.chars().any(char::is_alphanumeric));
    let path = inner.unwrap_or(type_).trim().trim_end_matches(['>', ',', ' ']);
    let parts: Vec<&str> = path.split("::").collect();
    let supers = parts.iter().filter(|part| **part == "super").count();
    let mut full: Vec<String> = module[..module.len().saturating_sub(supers)].to_vec();
    full.extend(parts[supers..parts.len() - 1].iter().map(|part| (*part).to_owned()));
    full_name(&full, parts[parts.len() - 1])
}

fn full_name(module: &[String], name: &str) -> String {
    lookup_key(&format!("io.k8s.{}.{name}", module.join(".").replace('_', "-")))
}

/// prost respells acronyms (`PodDnsConfig`), so that names are compared in lower case.
pub fn lookup_key(name: &str) -> String {
    name.to_ascii_lowercase()
}
