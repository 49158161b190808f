//! Server-side apply: who manages which field, and merging what several managers want.
//!
//! Everything here is a pure function of plain values; the clock is the caller's. What it does not do: decode
//! bodies, convert versions (see [`manager::Versions`]), default, admit, validate or write.
//!
//! ```text
//! shape     how a place of a schema is merged: scalar, atomic, map, list (atomic, set, by keys)
//!  └ table  … of the built-in types, from the generated field table
//! element   one step of a path: f:name, k:{…}, v:…, i:0
//! set       a set of paths, with FieldsV1 as its text
//! validate  a value against its shape, in structured-merge's words
//! compare   what an update added, changed and removed
//! merge     an applied configuration into the live object
//! remove    fields out of a value
//! managed   metadata.managedFields, decoded and encoded
//! manager   the two operations: update (any other write) and apply
//! scale     managed fields of an object as those of its Scale, and back
//! reset     what each kind's strategy takes back, which nobody can own
//! ```
//!
//! Ported from `sigs.k8s.io/structured-merge-diff/v6` and `apimachinery/pkg/util/managedfields`. A custom
//! resource takes part by implementing [`shape::Schema`] for the nodes of its structural schema.

pub mod compare;
pub mod conflict;
mod element;
mod items;
mod last_applied;
pub mod managed;
pub mod manager;
mod merge;
mod remove;
pub mod reset;
pub mod scale;

mod set;
pub mod shape;
mod table;
#[cfg(test)]
mod tests;
mod to_set;
mod validate;
mod value;

pub use element::PathElement;
pub use merge::merge;
pub use remove::{extract, remove};
pub use set::Set;
pub use shape::Shape;
pub use to_set::to_set;
pub use validate::validate;
pub(crate) use value::plain;
