//! Builds the demo's image: compiles `assets/demo/server.rs` to a static executable and packs it as an OCI
//! image archive, which `daemon::builtin` embeds. Same input, same bytes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let demo = Path::new("../assets/demo");
    for file in ["server.rs", "index.html"] {
        println!("cargo::rerun-if-changed={}", demo.join(file).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let executable = compile(&demo.join("server.rs"), &out)?;
    std::fs::write(out.join("demo-image.tar"), image(&std::fs::read(executable)?)?)?;
    Ok(())
}

/// The static executable, made by the same compiler that builds sampan.
fn compile(source: &Path, out: &Path) -> Result<PathBuf> {
    let executable = out.join("demo");
    let status = Command::new(std::env::var("RUSTC")?)
        .arg(source)
        .args(["--edition=2024", "--crate-name=demo", "--target"])
        .arg(std::env::var("TARGET")?)
        .args([
            "-Copt-level=s",
            "-Cpanic=abort",
            "-Clto=fat",
            "-Cstrip=symbols",
            "-Ctarget-feature=+crt-static",
        ])
        .arg("-o")
        .arg(&executable)
        .status()?;
    if !status.success() {
        return Err(
            "assets/demo/server.rs does not compile; the C library's static archive (libc6-dev) is needed"
                .into(),
        );
    }
    Ok(executable)
}

/// An OCI image layout with one layer, as an uncompressed tar archive.
fn image(executable: &[u8]) -> Result<Vec<u8>> {
    let layer = tar(&[("demo", executable, 0o755)])?;
    let config = serde_json::to_vec(&json!({
        "architecture": architecture()?, "os": "linux",
        "config": {
            "Entrypoint": ["/demo"], "User": "65532:65532", "WorkingDir": "/",
            "ExposedPorts": {"8080/tcp": {}},
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }))?;
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    let name = format!("sampan.local/demo:{}", env!("CARGO_PKG_VERSION"));
    entry["annotations"] = json!({
        "io.containerd.image.name": name, "org.opencontainers.image.ref.name": env!("CARGO_PKG_VERSION"),
    });
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", &digest(bytes)["sha256:".len()..]);
    // the form that Docker Engines before OCI layouts read
    let saved = json!([{"Config": blob(&config), "RepoTags": [name], "Layers": [blob(&layer)]}]);
    let saved = serde_json::to_vec(&saved)?;
    tar(&[
        ("manifest.json", &saved, 0o644),
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644),
        ("index.json", &index, 0o644),
        (&blob(&config), &config, 0o644),
        (&blob(&layer), &layer, 0o644),
        (&blob(&manifest), &manifest, 0o644),
    ])
}

fn architecture() -> Result<&'static str> {
    match std::env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(format!("no OCI name is known for architecture {other}").into()),
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn tar(files: &[(&str, &[u8], u32)]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, name, *bytes)?;
    }
    let mut bytes = archive.into_inner()?;
    bytes.flush()?;
    Ok(bytes)
}
