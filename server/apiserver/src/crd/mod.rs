//! Custom resources: which definitions are served, and what becomes of them.
//!
//! A version of a definition gets a row of the kinds table ([`rows`]), so that one registry, one list, watch, patch and
//! table path serve it as any built-in kind; what it means is `sampan_api::crd`. [`Customs`] keeps the rows in step with
//! the store's definitions: whoever asks compares snapshots first, so that a definition written by one request counts for
//! the next. [`rules`] are the CEL rules of their schemas, [`convert`] asks the webhooks that convert versions. [`controller`] tells their conditions and empties those that are deleted.

mod cleanup;
mod controller;
pub(crate) mod convert;
mod definition;
mod fields;
mod openapi;
mod rows;
pub(crate) mod rules;
mod shape;
mod table;

pub(crate) use controller::follow;
pub(crate) use definition::{before_delete, prepare_create, prepare_update};
pub(crate) use fields::CustomVersions;
pub(crate) use shape::{decode, patched, selected, to_version};
pub(crate) use table::{Customs, Group};

/// The store's bucket of definitions.
pub(crate) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
