//! A pod as the checks see it, and how they word what they find.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::value::{at, items, text};

/// Metadata and spec of a pod, or of a template of pods.
#[derive(Clone, Copy)]
pub(super) struct PodView<'a> {
    pub metadata: &'a Value,
    pub spec: &'a Value,
}

impl<'a> PodView<'a> {
    /// Of a pod, or a template.
    pub fn of(pod: &'a Value) -> Self {
        Self { metadata: at(pod, &["metadata"]), spec: at(pod, &["spec"]) }
    }

    /// All containers, in upstream's order: `visitor.go`.
    pub fn containers(self) -> impl Iterator<Item = &'a Value> {
        let list = move |name: &str| items(at(self.spec, &[name]));
        list("initContainers").iter().chain(list("containers")).chain(list("ephemeralContainers"))
    }

    /// Names of the containers of which `wrong` holds.
    pub fn named(self, wrong: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|c| wrong(c)).map(|c| text(c, &["name"])).collect()
    }

    /// The pod's own security context.
    pub fn security(self) -> &'a Value {
        at(self.spec, &["securityContext"])
    }

    /// Text of an annotation.
    pub fn annotation(self, key: &str) -> Option<&'a str> {
        at(self.metadata, &["annotations", key]).as_str()
    }

    /// Whether the pod says that it is for Windows: rules of Linux do not hold then, since 1.25.
    pub fn windows(self) -> bool {
        text(self.spec, &["os", "name"]) == "windows"
    }

    /// Whether root inside is nobody outside: KEP-127.
    pub fn in_user_namespace(self) -> bool {
        at(self.spec, &["hostUsers"]) == &Value::Bool(false)
    }
}

/// Why a pod is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub reason: String,
    pub detail: String,
}

impl Violation {
    pub fn new(reason: impl Into<String>, detail: impl Into<String>) -> Option<Self> {
        Some(Self { reason: reason.into(), detail: detail.into() })
    }
}

/// `a, b`, each in quotes.
pub(super) fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("\"{}\"", name.as_ref())).collect();
    names.join(", ")
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// The word for `count` things.
pub(super) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `pod`, `container "a"`, or both: who set something.
pub(super) fn setters(pod: bool, names: &[&str]) -> String {
    let mut all: Vec<String> = pod.then(|| "pod".to_owned()).into_iter().collect();
    if !names.is_empty() {
        all.push(containers(names));
    }
    all.join(" and ")
}

/// Sorted, each once.
pub(super) type Set<'a> = BTreeSet<&'a str>;
