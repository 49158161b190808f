//! The words of the Kubernetes API: kinds, schemas, selectors, patches, quantities, `Status`.
//!
//! Pure values and functions: no I/O, no clock, no tokio, so that it also builds for WebAssembly. The API
//! server, the controllers, the dashboard and the tests all speak through this crate.
//!
//! - [`crd`]: custom resources: definitions, structural schemas, and what is done with them.
//! - [`declared`]: features that nodes say they have.
//! - [`kinds`]: every resource that v1.36 serves, one row each.
//! - [`go`]: what Go's standard library says and accepts.
//! - [`fields`]: every field of every built-in type, generated, one row each; strict decoding, pruning,
//!   strategic merge patch, OpenAPI and protobuf are driven by it.
//! - [`status`]: errors as upstream words them.
//! - [`parts`]: a few parts of a large object, read without the rest.
//! - [`patch`]: JSON patch, merge patch, strategic merge patch.
//! - [`apply`]: server-side apply and managed fields.
//! - [`proto`]: protobuf bodies into JSON values.
//! - [`quota`]: what objects count for in a ResourceQuota.
//! - [`selector`], [`quantity`], [`validation`], [`strict`]: what their names say.

pub mod apply;
pub mod crd;
pub mod cron;
pub mod declared;
pub mod defaults;
pub mod discovery;
pub mod fields;
pub mod go;
pub mod kinds;
pub mod meta;
pub mod openapi;
pub mod parts;
pub mod patch;
pub mod proto;
pub mod quantity;
pub mod quota;
pub mod selector;
pub mod status;
pub mod strict;
pub mod table;
pub mod validate;
pub mod validation;
