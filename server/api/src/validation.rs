//! What names, labels and metadata may look like.
//!
//! Ported from `k8s.io/apimachinery/pkg/util/validation`, `pkg/api/validate/content` and
//! `pkg/api/validation/objectmeta.go`, with their exact texts. Each `is_…` returns what is wrong in words,
//! and nothing when all is well. What a kind requires of its fields is in [`crate::validate`].

mod address;
mod meta;
mod names;
#[cfg(test)]
mod tests;
mod text;

pub use address::{
    is_canonical_cidr, is_canonical_ip, is_cidr, is_interface_address, is_ip, is_ipv6, is_non_special_ip,
    is_strict_subset,
};
pub use meta::{
    label_requirement_errors, object_meta, object_meta_update, own_finalizers, validate_annotations,
    validate_label_selector, validate_labels,
};
pub use names::{NameRule, generate_name, name_errors, rule_for};
pub use text::*;

/// Upstream's `FieldImmutableErrorMsg`.
pub const FIELD_IS_IMMUTABLE: &str = "field is immutable";
