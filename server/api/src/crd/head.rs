//! A definition without its schemas: what is read of every definition at start, and nothing more.

use serde::{Deserialize, Deserializer};

/// The definition.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Head {
    /// `metadata`.
    #[serde(default)]
    pub metadata: Metadata,
    /// `spec`.
    #[serde(default)]
    pub spec: Spec,
    /// `status`.
    #[serde(default)]
    pub status: Status,
}

/// What counts of `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // the names are upstream's
pub struct Metadata {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub uid: String,
    #[serde(default)]
    pub generation: i64,
    pub deletion_timestamp: Option<String>,
    #[serde(default)]
    pub finalizers: Vec<String>,
    annotations: Option<Annotations>,
}

/// The one that counts: others may be as large as the definition.
#[derive(Clone, Debug, Default, Deserialize)]
struct Annotations {
    #[serde(default, rename = "api-approved.kubernetes.io")]
    approved: String,
}

impl Metadata {
    /// Annotation `api-approved.kubernetes.io`, or "".
    pub(super) fn approval(&self) -> &str {
        self.annotations.as_ref().map_or("", |annotations| &annotations.approved)
    }
}

/// `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[allow(missing_docs)] // the names are upstream's
pub struct Spec {
    #[serde(default)]
    pub group: String,
    #[serde(default)]
    pub names: Names,
    #[serde(default)]
    pub scope: String,
    #[serde(default, deserialize_with = "or_default")]
    pub versions: Vec<VersionHead>,
    pub conversion: Option<Conversion>,
}

/// `spec.conversion`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Conversion {
    /// `None` or `Webhook`.
    #[serde(default)]
    pub strategy: String,
    /// Who converts, where the strategy is `Webhook`.
    pub webhook: Option<WebhookConversion>,
}

/// `spec.conversion.webhook`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // the names are upstream's
pub struct WebhookConversion {
    #[serde(default)]
    pub client_config: serde_json::Value,
    #[serde(default, deserialize_with = "or_default")]
    pub conversion_review_versions: Vec<String>,
}

/// `spec.names`, `status.acceptedNames`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // the names are upstream's
pub struct Names {
    #[serde(default)]
    pub plural: String,
    #[serde(default)]
    pub singular: String,
    #[serde(default)]
    pub short_names: Vec<String>,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub list_kind: String,
    #[serde(default)]
    pub categories: Vec<String>,
}

/// One of `spec.versions`, without its schema.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // the names are upstream's
pub struct VersionHead {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub served: bool,
    #[serde(default)]
    pub storage: bool,
    #[serde(default)]
    pub deprecated: bool,
    pub deprecation_warning: Option<String>,
    pub subresources: Option<Subresources>,
    #[serde(default)]
    pub additional_printer_columns: Vec<PrinterColumn>,
    #[serde(default)]
    pub selectable_fields: Vec<SelectableField>,
}

/// `subresources`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Subresources {
    /// `status: {}`.
    pub status: Option<serde::de::IgnoredAny>,
    /// `scale`.
    pub scale: Option<Scale>,
}

/// `subresources.scale`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // the names are upstream's
pub struct Scale {
    #[serde(default)]
    pub spec_replicas_path: String,
    #[serde(default)]
    pub status_replicas_path: String,
    pub label_selector_path: Option<String>,
}

/// One of `additionalPrinterColumns`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // the names are upstream's
pub struct PrinterColumn {
    #[serde(default)]
    pub name: String,
    #[serde(default, rename = "type")]
    pub ty: String,
    #[serde(default)]
    pub format: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub priority: i32,
    #[serde(default)]
    pub json_path: String,
}

/// One of `selectableFields`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelectableField {
    /// Such as `.spec.color`.
    #[serde(default)]
    pub json_path: String,
}

impl SelectableField {
    /// The label in a field selector: `spec.color`.
    pub fn label(&self) -> &str {
        self.json_path.trim_start_matches('.')
    }
}

/// `status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // the names are upstream's
pub struct Status {
    #[serde(default)]
    pub accepted_names: Names,
    #[serde(default, deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
    #[serde(default, deserialize_with = "or_default")]
    pub stored_versions: Vec<String>,
}

/// One of `status.conditions`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // the names are upstream's
pub struct Condition {
    #[serde(default, rename = "type")]
    pub ty: String,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub message: String,
}

/// Null is nothing.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Head {
    /// Reads a stored definition; its schemas are passed over.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whether the condition is `True`.
    pub fn is(&self, condition: &str) -> bool {
        self.status.conditions.iter().any(|c| c.ty == condition && c.status == "True")
    }

    /// Whether objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        self.spec.scope == "Namespaced"
    }

    /// Whether it is being deleted.
    pub fn deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Who converts objects from version to version; `None` where only their apiVersion differs.
    pub fn converter(&self) -> Option<&WebhookConversion> {
        let conversion = self.spec.conversion.as_ref()?;
        conversion.webhook.as_ref().filter(|_| conversion.strategy == "Webhook")
    }

    /// The version in which objects are stored.
    pub fn storage_version(&self) -> &str {
        self.spec.versions.iter().find(|v| v.storage).map_or("", |v| &v.name)
    }
}

impl VersionHead {
    /// Whether it has the subresource `status`.
    pub fn has_status(&self) -> bool {
        self.subresources.as_ref().is_some_and(|s| s.status.is_some())
    }

    /// Its subresource `scale`.
    pub fn scale(&self) -> Option<&Scale> {
        self.subresources.as_ref().and_then(|s| s.scale.as_ref())
    }
}
