//! From a container's spec to what the runtime is asked for. Pure but for reading ConfigMaps and Secrets.

pub mod amounts;
pub mod config;
pub mod dns;
pub mod downward;
pub mod env;
mod env_file;
pub mod expansion;
pub mod qos;
pub mod security;
