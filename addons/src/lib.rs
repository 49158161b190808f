//! The platform of addons: pluggable capabilities of a running cluster.
//!
//! Two sorts share everything but where their code is. **Native** addons are crates of this binary ([`natives()`] is the
//! list), whose manual is the README of their folder. **Packages** are folders with an `addon.yaml` and manifests, that
//! somebody added. Both are listed, enabled, configured, watched and disabled by the same verbs ([`Request`]).
//!
//! - What the user decided is in the cluster's database, a ConfigMap for each addon (`record`).
//! - `manager` makes the cluster agree with it; `merge` and `plan` decide, `objects` writes.
//! - `runner` runs a native addon and starts it again when it fails; it can take nothing else down.
//! - `health` reads from the cluster how an addon is; nothing is remembered of it.
//! - `verbs` is what the control socket asks for; `package` is the format, and where packages come from.
//!
//! This crate speaks the Kubernetes API like any client. It knows no addon by name but in the list.

mod definition;
mod error;
mod fields;
mod health;
mod kept;
mod manager;
mod merge;
mod natives;
mod object;
mod objects;
pub mod package;
mod plan;
mod record;
mod request;
mod runner;
mod set;
mod settle;
mod turns;
mod verbs;
mod watched;

pub use error::{Error, ErrorKind};
pub use fields::{Field, fields};
pub use health::{Condition, State};
pub use manager::{Addons, ClientFor, Config};
pub use natives::natives;
pub use object::{OWNER, Reference};
pub use request::{Details, Request, Sort, Status, Step};
pub use verbs::Progress;
