//! What an informer needs to know of an object: its key and its resourceVersion.

use std::fmt;

use crate::decode::Decode;

/// Namespace and name: what identifies an object among those of its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace; `None` for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl Key {
    /// The key of a namespaced object.
    pub fn namespaced(namespace: &str, name: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), name: name.to_owned() }
    }

    /// The key of a cluster-scoped object.
    pub fn cluster(name: &str) -> Self {
        Self { namespace: None, name: name.to_owned() }
    }

    /// The namespace, or an empty string.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Anything an [`crate::Informer`] can hold. All of Kubernetes' types are; a room that wants to keep less of an
/// object than its type does declares a smaller one.
pub trait Object: Decode + Clone + Send + Sync + 'static {
    /// Whether what nobody reads for a while is kept as its text: for types that keep the whole of an object.
    const AS_TEXT: bool = false;
    /// Namespace and name.
    fn key(&self) -> Key;
    /// The object's resourceVersion; 0 if it has none.
    fn version(&self) -> u64;
    /// Drops what nobody in this process reads.
    fn trim(&mut self) {}
}

impl<K> Object for K
where
    K: kube::Resource + Decode + Clone + Send + Sync + 'static,
{
    const AS_TEXT: bool = true;

    fn key(&self) -> Key {
        let meta = self.meta();
        Key { namespace: meta.namespace.clone(), name: meta.name.clone().unwrap_or_default() }
    }

    fn version(&self) -> u64 {
        parse_version(self.meta().resource_version.as_deref())
    }

    fn trim(&mut self) {
        self.meta_mut().managed_fields = None;
    }
}

/// A resourceVersion as the number that it is; 0 for none.
pub(crate) fn parse_version(version: Option<&str>) -> u64 {
    version.and_then(|v| v.parse().ok()).unwrap_or(0)
}
