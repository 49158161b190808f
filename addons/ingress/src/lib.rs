//! The native addon ingress.

mod annotations;
mod backend;
mod certificate;
mod class;
mod compile;
mod config;
mod index;
mod path;
mod table;

pub use config::{Config, Port};
