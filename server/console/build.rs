//! The folder of the built dashboard is there even where nobody built it: then the pages say so.

use std::path::Path;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/dashboard");
    if let Err(error) = std::fs::create_dir_all(&folder) {
        println!("cargo:warning=assets/dashboard: {error}");
    }
    println!("cargo:rerun-if-changed={}", folder.display());
}
