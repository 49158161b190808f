//! The store through its public door.
#![allow(clippy::unwrap_used, missing_docs)]

mod basics;
mod full;
mod help;
mod life;
mod model;
mod opening;
mod watching;
