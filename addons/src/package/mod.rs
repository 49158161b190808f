//! Packages: folders with an `addon.yaml` and manifests.
//!
//! Everything here is a function of the files: what a package says of itself, its values, its manifests with the values
//! in them. Each problem names file and line. How the files are fetched is in `source`; where they are kept and how
//! manifests are applied is the manager's.

mod files;
pub(crate) mod schema;
mod source;
mod substitute;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use files::DESCRIPTION;
pub use files::Files;
pub use source::Source;

use crate::error::Error;
use crate::object::identity;

/// What every `addon.yaml` says it is.
const API_VERSION: &str = "sampan.dev/v1";
/// Names that values cannot have: they are said by other parts of the description.
const RESERVED: [&str; 3] = ["images", "name", "namespace"];
/// Names that a package cannot have: the daemon's own components log under them.
const COMPONENTS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
    "sampan",
];

/// One line in both languages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// English.
    pub en: String,
    /// 简体中文; English if it is not given.
    #[serde(default)]
    pub zh: String,
}

/// The contents of `addon.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Description {
    api_version: String,
    #[serde(default)]
    kind: Option<String>,
    /// A DNS label.
    pub name: String,
    pub summary: Summary,
    pub maintainer: String,
    pub version: String,
    /// Other addons.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Where manifests go that name no namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Name → reference with tag or digest, for `${images.NAME}`.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// Name → schema with default.
    #[serde(default)]
    pub values: Map<String, Value>,
    /// Files, in the order in which they are applied.
    pub manifests: Vec<String>,
    /// What has to hold once everything is ready.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// What `sampan addons open` opens.
    #[serde(default)]
    pub page: Option<String>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// A post-install check: exactly one of `http` and `field`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    /// In words, for when it fails.
    pub name: String,
    #[serde(default)]
    pub http: Option<HttpCheck>,
    #[serde(default)]
    pub field: Option<FieldCheck>,
}

/// A GET through the API server's proxy to a Service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpCheck {
    pub service: String,
    #[serde(default)]
    pub namespace: String,
    /// Number or name.
    pub port: Value,
    #[serde(default = "root_path")]
    pub path: String,
    #[serde(default = "ok_status")]
    pub status: u16,
}

fn root_path() -> String {
    "/".to_owned()
}

fn ok_status() -> u16 {
    200
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FieldCheck {
    pub api_version: String,
    pub kind: String,
    #[serde(default)]
    pub namespace: String,
    pub name: String,
    /// Dotted, such as `status.phase`.
    pub path: String,
    pub value: Value,
}

/// A manifest with its file and line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    pub origin: String,
    pub value: Value,
}

/// A package whose description is in order.
#[derive(Clone, Debug)]
pub struct Package {
    pub(crate) description: Description,
    files: Files,
}

impl Package {
    /// Reads and checks a package; its manifests as far as they can be without the user's values.
    ///
    /// # Errors
    /// [`Error::Package`] with file and line.
    pub fn read(files: Files) -> Result<Self, Error> {
        let text = text_of(&files, DESCRIPTION)?;
        let description: Description = serde_yaml_ng::from_str(text).map_err(|error| {
            let place = error.location().map(|at| format!(":{}", at.line())).unwrap_or_default();
            Error::Package(format!("{DESCRIPTION}{place}: {}", without_place(&error.to_string())))
        })?;
        check(&description).map_err(|problem| Error::Package(format!("{DESCRIPTION}: {problem}")))?;
        let package = Self { description, files };
        for file in &package.description.manifests {
            package.documents(file)?;
        }
        if let Ok(values) = package.configuration(&Map::new()) {
            package.manifests(&values)?;
        }
        Ok(package)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// The same package under another name.
    pub fn renamed(mut self, name: &str) -> Result<Self, Error> {
        name.clone_into(&mut self.description.name);
        check(&self.description).map_err(Error::Package)?;
        Ok(self)
    }

    /// The JSON schema of its values.
    pub(crate) fn schema(&self) -> Value {
        schema::schema(&self.description.values)
    }

    /// The values with their defaults.
    ///
    /// # Errors
    /// [`Error::Config`] with the value's path.
    pub(crate) fn configuration(&self, given: &Map<String, Value>) -> Result<Value, Error> {
        schema::fill(&self.description.values, given)
            .map_err(|(field, problem)| Error::Config { field, problem })
    }

    /// What `${…}` means, for values as [`Package::configuration`] gives them.
    fn names(&self, values: &Value) -> Value {
        let mut names = values.clone();
        if let Some(map) = names.as_object_mut() {
            let images = self.description.images.iter();
            map.insert(
                "images".into(),
                images
                    .map(|(name, image)| (name.clone(), image.clone().into()))
                    .collect::<Map<_, _>>()
                    .into(),
            );
            map.insert("name".into(), self.description.name.clone().into());
            map.insert("namespace".into(), self.description.namespace.clone().into());
        }
        names
    }

    /// The manifests with these values, in order.
    ///
    /// # Errors
    /// [`Error::Package`] with file and line.
    pub(crate) fn manifests(&self, values: &Value) -> Result<Vec<Manifest>, Error> {
        let names = self.names(values);
        let mut manifests = Vec::new();
        for file in &self.description.manifests {
            for document in self.documents(file)? {
                manifests.push(self.manifest(file, &document, &names)?);
            }
        }
        Ok(manifests)
    }

    fn manifest(&self, file: &str, document: &Document<'_>, names: &Value) -> Result<Manifest, Error> {
        let value = substitute::substitute(&document.value, names).map_err(|(problem, reference)| {
            let line = document.text.lines().position(|line| line.contains(&reference)).unwrap_or(0);
            Error::Package(format!("{file}:{}: {problem}", document.starts + line))
        })?;
        let origin = format!("{file}:{}", document.first);
        identity(&value).map_err(|problem| Error::Package(format!("{origin}: {problem}")))?;
        for image in images_in(&value) {
            if !self.description.images.values().any(|listed| *listed == image) {
                let problem = format!("the image {image:?} is not among the images of {DESCRIPTION}");
                return Err(Error::Package(format!("{origin}: {problem}")));
            }
        }
        Ok(Manifest { origin, value })
    }

    fn documents(&self, file: &str) -> Result<Vec<Document<'_>>, Error> {
        let text = text_of(&self.files, file)?;
        split(text)
            .into_iter()
            .filter_map(|(starts, text)| Document::read(file, starts, text).transpose())
            .collect()
    }

    /// The address of its page with these values.
    pub(crate) fn page(&self, values: &Value) -> Option<String> {
        let page = Value::String(self.description.page.clone()?);
        substitute::substitute(&page, &self.names(values)).ok()?.as_str().map(str::to_owned)
    }

    /// The checks with these values; those that cannot be filled in fail by name.
    pub(crate) fn checks(&self, values: &Value) -> Result<Vec<Check>, Error> {
        let names = self.names(values);
        let filled = |check: &Check| {
            let value = serde_json::to_value(check).map_err(|error| error.to_string())?;
            let value = substitute::substitute(&value, &names).map_err(|(problem, _)| problem)?;
            let mut check: Check = serde_json::from_value(value).map_err(|error| error.to_string())?;
            let namespace = &self.description.namespace;
            let fill = |said: &mut String| {
                if said.is_empty() {
                    namespace.clone_into(said)
                }
            };
            check.http.iter_mut().for_each(|http| fill(&mut http.namespace));
            check.field.iter_mut().for_each(|field| fill(&mut field.namespace));
            Ok(check)
        };
        let named = |check: &Check| {
            filled(check).map_err(|problem: String| {
                Error::Package(format!("{DESCRIPTION}: check {:?}: {problem}", check.name))
            })
        };
        self.description.checks.iter().map(named).collect()
    }
}

/// One YAML document of a file.
struct Document<'a> {
    value: Value,
    text: &'a str,
    /// The line that `text` starts in.
    starts: usize,
    /// The first line that says something.
    first: usize,
}

impl<'a> Document<'a> {
    /// Reads a document; `None` if nothing is in it.
    fn read(file: &str, starts: usize, text: &'a str) -> Result<Option<Self>, Error> {
        let value: Value = serde_yaml_ng::from_str(text).map_err(|error| {
            let line = starts + error.location().map_or(0, |at| at.line().saturating_sub(1));
            Error::Package(format!("{file}:{line}: {}", without_place(&error.to_string())))
        })?;
        let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        let first = starts + text.lines().position(says).unwrap_or(0);
        Ok((!value.is_null()).then_some(Self { value, text, starts, first }))
    }
}

/// An error's words without the line in its own document, which is not the file's.
fn without_place(error: &str) -> &str {
    error.split_once(" at line ").map_or(error, |(words, _)| words)
}

/// The documents of a YAML file with the number of the line in which each starts.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut starts, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let mark = line.strip_prefix("---").map(|rest| rest.trim());
        if mark.is_some_and(|rest| rest.is_empty() || rest.starts_with('#')) {
            documents.push((starts, &text[start..at]));
            (start, starts) = (at + line.len(), number + 2);
        }
        at += line.len();
    }
    documents.push((starts, &text[start..]));
    documents
}

fn text_of<'a>(files: &'a Files, name: &str) -> Result<&'a str, Error> {
    let bytes = files.get(name).ok_or_else(|| Error::Package(format!("there is no file {name} in it")))?;
    std::str::from_utf8(bytes).map_err(|_| Error::Package(format!("{name}: is not UTF-8 text")))
}

/// What an addon may be called.
pub(crate) fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    matches!(bytes.len(), 1..=50)
        && inner(bytes[0])
        && inner(bytes[bytes.len() - 1])
        && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
}

fn check(description: &Description) -> Result<(), String> {
    let Description { api_version, kind, name, namespace, images, values, manifests, checks, .. } =
        description;
    if api_version != API_VERSION || kind.as_deref().is_some_and(|kind| kind != "Addon") {
        return Err(format!("apiVersion has to be {API_VERSION} (and kind, if given, Addon)"));
    }
    if !is_label(name) || COMPONENTS.contains(&name.as_str()) {
        return Err(format!("name {name:?}: a name is up to 50 of a-z, 0-9 and '-', and not a component's"));
    }
    if !is_label(namespace) {
        return Err(format!("namespace {namespace:?} is not the name of a namespace"));
    }
    let Summary { en, zh } = &description.summary;
    if [en, zh, &description.maintainer, &description.version]
        .iter()
        .any(|text| text.chars().any(char::is_control))
    {
        return Err("summary, maintainer and version are one line each".to_owned());
    }
    if manifests.is_empty() {
        return Err("manifests is empty".to_owned());
    }
    if let Some((name, image)) = images.iter().find(|(_, image)| !is_pinned(image)) {
        return Err(format!("images.{name}: {image:?} has neither a digest nor a tag other than latest"));
    }
    if let Some(name) = RESERVED.iter().find(|name| values.contains_key(**name)) {
        return Err(format!("values.{name}: the name is taken: ${{{name}}} means something already"));
    }
    if let Some(check) = checks.iter().find(|check| check.http.is_some() == check.field.is_some()) {
        return Err(format!("check {:?} has to have one of http and field", check.name));
    }
    schema::check_schema(values)
}

/// Whether an image's name means the same image tomorrow, as far as names can.
fn is_pinned(image: &str) -> bool {
    if image.is_empty() || image.contains(char::is_whitespace) {
        return false;
    }
    if let Some((_, digest)) = image.split_once('@') {
        return digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()));
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest")
}

/// The images of all containers in a manifest, wherever its pods are described.
fn images_in(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| match (key.as_str(), value) {
                ("containers" | "initContainers" | "ephemeralContainers", Value::Array(list)) => {
                    list.iter().filter_map(|one| one["image"].as_str()).map(str::to_owned).collect()
                }
                _ => images_in(value),
            })
            .collect(),
        Value::Array(list) => list.iter().flat_map(images_in).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
