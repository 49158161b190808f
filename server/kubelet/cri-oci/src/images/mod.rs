//! Images: names, layers on disk, and where they come from.
//!
//! ```text
//!  blobs/sha256/<hex>      configurations
//!  layers/<32 hex of diff id>/{fs,size}   unpacked once, shared by all images
//!  images/<hex>.json       one record per image id
//!  tmp/                    what a crash leaves; emptied at start
//! ```
//!
//! Everything appears by rename, so that a crash leaves either nothing or all of it. What no record names
//! (layers of a pull that failed) goes when the store opens.

pub mod archive;
pub mod diff_id;
pub mod docker;
pub mod pull;
pub mod reference;
pub mod store;
pub mod unpack;
mod zstd;

use serde::{Deserialize, Deserializer, Serialize};

use diff_id::DiffId;

/// What an image says about how to run it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `user[:group]`.
    #[serde(rename = "User", deserialize_with = "or_default")]
    pub user: String,
    /// `NAME=value`.
    #[serde(rename = "Env", deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// First words of the command.
    #[serde(rename = "Entrypoint", deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// Last words of the command.
    #[serde(rename = "Cmd", deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Where the command starts.
    #[serde(rename = "WorkingDir", deserialize_with = "or_default")]
    pub working_dir: String,
    /// Signal that asks it to stop.
    #[serde(rename = "StopSignal", deserialize_with = "or_default")]
    pub stop_signal: String,
}

/// The parts of an image's configuration file that are used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// How to run it.
    #[serde(default, deserialize_with = "or_default")]
    pub config: ImageConfig,
    /// Layers.
    pub rootfs: RootFs,
}

/// Layers by the digests of their uncompressed tars, lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Of layers.
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<DiffId>,
}

/// `null` is as good as absent: images are written by many tools.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}
