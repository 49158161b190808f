//! Volumes: claims are bound to volumes, both stay as long as they are in use, and what pods ask for inline is claimed.
//!
//! Nobody here makes, grows or deletes storage: an external provisioner does, told by annotations and phases.

mod binder;
mod claim;
mod ephemeral;
mod expand;
mod matching;
mod protection;
mod volume;
mod words;

pub(crate) use binder::Binder;
pub(crate) use ephemeral::EphemeralVolumes;
pub(crate) use expand::Expansion;
pub(crate) use protection::{ClaimProtection, VolumeProtection};
