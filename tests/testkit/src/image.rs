//! Images built from what Debian's packages put on this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Programs that busybox answers for inside the images.
const APPLETS: [&str; 39] = [
    "sh", "cat", "ls", "tar", "sleep", "env", "hostname", "wget", "nc", "id", "echo", "true", "false",
    "stat", "touch", "mkdir", "rm", "ps", "kill", "test", "head", "tail", "grep", "dd", "ip", "mount", "df",
    "vi", "nslookup", "httpd", "seq", "tty", "stty", "date", "chmod", "cp", "printf", "wc", "unshare",
];

/// An image with one layer.
#[derive(Clone, Debug)]
pub struct Image {
    /// The layer, an uncompressed tar archive.
    pub layer: Vec<u8>,
    /// The configuration.
    pub config: Vec<u8>,
    /// The manifest.
    pub manifest: Vec<u8>,
}

impl Image {
    /// busybox with its applets in /bin.
    pub fn busybox() -> Result<Self> {
        let mut layer = Layer::new();
        layer.busybox()?;
        layer.image(json!({"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}))
    }

    /// nginx on port 80, logging to standard output, with busybox beside it.
    pub fn nginx(page: &str) -> Result<Self> {
        let mut layer = Layer::new();
        layer.busybox()?;
        layer.program(Path::new("/usr/sbin/nginx"))?;
        for directory in ["var/log/nginx", "var/lib/nginx/body", "run", "usr/share/nginx/html"] {
            layer.directory(directory)?;
        }
        layer.file("etc/nginx/nginx.conf", NGINX_CONF.as_bytes(), 0o644)?;
        layer.file("usr/share/nginx/html/index.html", page.as_bytes(), 0o644)?;
        layer.image(json!({
            "Cmd": ["nginx", "-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT",
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        }))
    }

    /// `testkit-extension`, which is built beside the binary under test, with busybox beside it.
    pub fn extension() -> Result<Self> {
        let mut layer = Layer::new();
        layer.busybox()?;
        let program = crate::binary().with_file_name("testkit-extension");
        layer.libraries(&program)?;
        layer.file("bin/testkit-extension", &read(&program)?, 0o755)?;
        layer.image(json!({
            "Entrypoint": ["testkit-extension"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        }))
    }

    /// Digest of a blob, as registries name it.
    pub fn digest(bytes: &[u8]) -> String {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    /// A docker-save archive with this image under `name`, for `sampan image load`.
    pub fn save(&self, name: &str, path: &Path) -> Result<()> {
        let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
        let mut archive = tar::Builder::new(std::fs::File::create(path)?);
        append(&mut archive, "manifest.json", &serde_json::to_vec(&manifest)?, 0o644)?;
        append(&mut archive, "config.json", &self.config, 0o644)?;
        append(&mut archive, "layer.tar", &self.layer, 0o644)?;
        archive.finish()?;
        Ok(())
    }
}

const NGINX_CONF: &str = "\
worker_processes 1;
error_log stderr notice;
pid /run/nginx.pid;
events { worker_connections 256; }
http {
  access_log /dev/stdout;
  server { listen 80; root /usr/share/nginx/html; }
}
";

struct Layer {
    archive: tar::Builder<Vec<u8>>,
    present: BTreeSet<PathBuf>,
}

impl Layer {
    fn new() -> Self {
        Self { archive: tar::Builder::new(Vec::new()), present: BTreeSet::new() }
    }

    fn busybox(&mut self) -> Result<()> {
        for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
            self.directory(directory)?;
        }
        let busybox = std::fs::read("/bin/busybox").context("/bin/busybox (package busybox-static)")?;
        self.file("bin/busybox", &busybox, 0o755)?;
        for applet in APPLETS {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            header.set_mtime(0);
            self.archive.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
        }
        self.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644)?;
        self.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)
    }

    /// A dynamically linked program with its libraries.
    fn program(&mut self, path: &Path) -> Result<()> {
        self.libraries(path)?;
        self.file(&path.to_string_lossy()[1..], &read(path)?, 0o755)
    }

    /// The libraries of a program that ldd names.
    fn libraries(&mut self, path: &Path) -> Result<()> {
        let output = Command::new("ldd").arg(path).output().context("ldd")?;
        if !output.status.success() {
            bail!("ldd {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8(output.stdout)?;
        let libraries = text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
        for file in libraries {
            self.file(&file.to_string_lossy()[1..], &read(&file)?, 0o755)?;
        }
        Ok(())
    }

    fn directory(&mut self, name: &str) -> Result<()> {
        for ancestor in Path::new(name).ancestors().collect::<Vec<_>>().into_iter().rev() {
            if ancestor.as_os_str().is_empty() || !self.present.insert(ancestor.to_path_buf()) {
                continue;
            }
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(if name == "tmp" { 0o1777 } else { 0o755 });
            header.set_size(0);
            self.archive.append_data(&mut header, ancestor, std::io::empty())?;
        }
        Ok(())
    }

    fn file(&mut self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        if let Some(parent) = Path::new(name).parent().and_then(Path::to_str) {
            self.directory(parent)?;
        }
        append(&mut self.archive, name, bytes, mode)
    }

    fn image(self, mut settings: Value) -> Result<Image> {
        let layer = self.archive.into_inner()?;
        settings["WorkingDir"] = "/".into();
        let config = serde_json::to_vec(&json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
            "config": settings, "rootfs": {"type": "layers", "diff_ids": [Image::digest(&layer)]},
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Image::digest(&config), "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": Image::digest(&layer), "size": layer.len()}],
        }))?;
        Ok(Image { layer, config, manifest })
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| file.display().to_string())
}

fn append(
    archive: &mut tar::Builder<impl std::io::Write>,
    name: &str,
    bytes: &[u8],
    mode: u32,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes)?;
    Ok(())
}
