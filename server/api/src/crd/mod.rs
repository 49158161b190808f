//! Custom resources: what `apiextensions.k8s.io/v1` definitions mean.
//!
//! Pure, as everything in this crate: a definition's [`Head`] (what discovery and serving need, read without its
//! schemas), its [`Schema`]s, compiled when first used, and what is done with a schema: decoding, pruning, defaults,
//! validation, tables. Which definitions there are, and who tells their conditions, is the API server's business.
//!
//! Ported from `k8s.io/apiextensions-apiserver/pkg/apiserver` (`schema`, `validation`) and `pkg/apis/apiextensions`.

mod apply;
mod approval;
mod coerce;
mod columns;
mod custom;
mod decode;
mod default;
mod definition;
mod definition_schema;
mod embedded;
mod field_path;
mod formats;
mod head;
mod lists;
mod names;
pub mod path;
mod places;
mod prune;
mod scale;
mod schema;
mod structural;
mod uri;
mod validate;

#[cfg(test)]
mod tests;

pub use apply::Root;
pub use approval::condition as approval_condition;
pub use coerce::{coerce, tidy};
pub use columns::{cells, column_definitions, scale_cells, scale_column_definitions};
pub use custom::{Custom, Version};
pub use decode::{conform, decode, patch};
pub use default::default;
pub use definition::{create as definition_errors, update as definition_update_errors};
pub use field_path::field_path;
pub use head::{
    Condition, Conversion, Head, Names, PrinterColumn, Scale, SelectableField, Spec, Status, Subresources,
    VersionHead, WebhookConversion,
};
pub use names::{compare_versions, conditions as name_conditions};
pub use places::as_upstream as placed_errors;
pub use prune::prune;
pub use scale::{scale_errors, scale_status_errors};
pub use schema::{Additional, ListType, Schema, Type};
pub use validate::{create_errors, status_errors, unchanged, update_errors};

/// The finalizer that keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
