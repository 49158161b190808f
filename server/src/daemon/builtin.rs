//! The image that the binary carries: the demo's web server, and Docker sandboxes' pause process.

use sampan_cri::Runtime;

use crate::profile::Profile;

/// The image's name.
pub const NAME: &str = concat!("sampan.local/demo:", env!("CARGO_PKG_VERSION"));
/// An OCI archive, made by `build.rs`.
const ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo-image.tar"));

/// Puts the image into the runtime unless it is there.
pub async fn load(runtime: &Runtime, profile: &Profile) -> Result<(), sampan_cri::RuntimeError> {
    if runtime.image_status(NAME).await?.is_some() {
        return Ok(());
    }
    let path = profile.run.join("builtin-image.tar");
    let written = tokio::fs::write(&path, ARCHIVE).await;
    written.map_err(|error| sampan_cri::RuntimeError::Internal(format!("{}: {error}", path.display())))?;
    let loaded = runtime.load_images(path.clone()).await;
    let _ = tokio::fs::remove_file(&path).await;
    loaded.map(drop)
}
