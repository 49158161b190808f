//! Where a package comes from: a folder, a tarball, a git repository, an OCI artifact.
//!
//! This runs in the command, with the rights, keys and settings of whoever called it; the daemon is only handed the
//! files. Git is the host's own `git`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

use super::files::Files;
use crate::error::Error;

/// A fetch takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(120);
/// The most that a layer, or a tarball on disk, may have.
const LAYER_MAX: u64 = 8 << 20;
/// What a layer says its file is called.
const TITLE: &str = "org.opencontainers.image.title";

/// A place of a package, as it is written on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder, or a `.tar.gz`.
    Path(PathBuf),
    /// `URL[#REF[:FOLDER]]`.
    Git {
        /// What `git clone` takes.
        url: String,
        /// Branch or tag; empty for the default one.
        reference: String,
        /// Folder in the repository; empty for its top.
        folder: String,
    },
    /// `oci://REGISTRY/NAME:TAG`.
    Oci(String),
}

impl Source {
    /// Reads a place; what is neither a git URL nor an OCI reference is a path.
    pub fn parse(text: &str) -> Self {
        if let Some(reference) = text.strip_prefix("oci://") {
            return Self::Oci(reference.to_owned());
        }
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let scheme = ["git://", "ssh://", "https://", "http://", "file://", "git@"];
        if scheme.iter().any(|scheme| url.starts_with(scheme)) || url.starts_with("git+") {
            let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
            let url = url.strip_prefix("git+").unwrap_or(url).to_owned();
            return Self::Git { url, reference: reference.to_owned(), folder: folder.to_owned() };
        }
        Self::Path(PathBuf::from(text))
    }

    /// Fetches the files. `insecure`: registries that are spoken to without TLS; loopback always is.
    ///
    /// # Errors
    /// [`Error::Package`] with the place.
    pub async fn fetch(&self, insecure: &[String]) -> Result<Files, Error> {
        match self {
            Self::Path(path) => of_path(path),
            Self::Git { url, reference, folder } => of_git(url, reference, folder).await,
            Self::Oci(reference) => {
                let fetched = tokio::time::timeout(PATIENCE, of_oci(reference, insecure)).await;
                fetched.unwrap_or_else(|_| {
                    Err(refuse(&format!("oci://{reference}"), "no answer within two minutes"))
                })
            }
        }
    }
}

fn refuse(place: &str, why: &str) -> Error {
    Error::Package(format!("{place}: {why}"))
}

fn of_path(path: &Path) -> Result<Files, Error> {
    let shown = path.display().to_string();
    let about = std::fs::metadata(path).map_err(|error| refuse(&shown, &error.to_string()))?;
    if about.is_dir() {
        return Files::of_folder(path);
    }
    if !about.is_file() || about.len() > LAYER_MAX {
        return Err(refuse(&shown, "is neither a folder nor a tar of at most 8 MiB"));
    }
    let bytes = std::fs::read(path).map_err(|error| refuse(&shown, &error.to_string()))?;
    Files::of_tar(&bytes).map_err(|error| refuse(&shown, &error.to_string()))
}

async fn of_git(url: &str, reference: &str, folder: &str) -> Result<Files, Error> {
    let place = tempfile::tempdir().map_err(|error| refuse("temporary folder", &error.to_string()))?;
    let target = place.path().join("repository");
    let mut command = tokio::process::Command::new("git");
    // a repository must not run programs of the caller, nor wait for somebody at a terminal
    command.args([
        "-c",
        "protocol.ext.allow=never",
        "-c",
        "core.hooksPath=/dev/null",
        "clone",
        "--quiet",
        "--depth=1",
    ]);
    if !reference.is_empty() {
        command.arg(format!("--branch={reference}"));
    }
    command
        .arg("--")
        .arg(url)
        .arg(&target)
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Err(_) => return Err(refuse(url, "git clone did not end within two minutes")),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(refuse(url, "git is not installed; install it, or give a folder or a .tar.gz"));
        }
        Ok(Err(error)) => return Err(refuse(url, &format!("git: {error}"))),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        return Err(refuse(url, &lines.join(" ").chars().take(500).collect::<String>()));
    }
    let inside = Path::new(folder)
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir));
    if !inside {
        return Err(refuse(folder, "leads out of the repository"));
    }
    let wanted = target.join(folder);
    // a link in the repository could lead anywhere
    let real =
        wanted.canonicalize().map_err(|_| refuse(folder, "there is no such folder in the repository"))?;
    let top = target.canonicalize().map_err(|error| refuse(url, &error.to_string()))?;
    if !real.starts_with(&top) {
        return Err(refuse(folder, "leads out of the repository"));
    }
    Files::of_folder(&real)
}

async fn of_oci(text: &str, insecure: &[String]) -> Result<Files, Error> {
    let place = format!("oci://{text}");
    let failed = |error: &dyn std::fmt::Display| refuse(&place, &error.to_string());
    let reference: Reference = text.parse().map_err(|error: oci_client::ParseError| failed(&error))?;
    // an error means that the process has a provider already
    let _ = rustls::crypto::ring::default_provider().install_default();
    let host = reference.resolve_registry().to_owned();
    let plain = is_loopback(&host) || insecure.contains(&host);
    let protocol = if plain { ClientProtocol::Http } else { ClientProtocol::Https };
    let client = Client::new(ClientConfig { protocol, ..ClientConfig::default() });
    let pulled = client.pull_image_manifest(&reference, &RegistryAuth::Anonymous).await;
    let (manifest, _) = pulled.map_err(|error| failed(&error))?;
    let mut files = Files::default();
    for layer in &manifest.layers {
        let bytes = blob(&client, &reference, layer).await.map_err(|error| failed(&error))?;
        add_layer(&mut files, layer, &bytes).map_err(|error| failed(&error))?;
    }
    files.rooted().map_err(|error| failed(&error))
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name == "[::1]" || name.starts_with("127.")
}

/// A layer's bytes; the client compares them with the digest.
async fn blob(client: &Client, reference: &Reference, layer: &OciDescriptor) -> Result<Vec<u8>, String> {
    if !(0..=LAYER_MAX as i64).contains(&layer.size) {
        return Err(format!("layer {} has {} bytes; a package is small", layer.digest, layer.size));
    }
    let mut parts = client.pull_blob_stream(reference, layer).await.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    while let Some(part) = parts.stream.next().await {
        bytes.extend_from_slice(&part.map_err(|error| error.to_string())?);
        if bytes.len() as i64 > layer.size {
            return Err(format!(
                "layer {} has more than the {} bytes it is said to have",
                layer.digest, layer.size
            ));
        }
    }
    Ok(bytes)
}

fn add_layer(files: &mut Files, layer: &OciDescriptor, bytes: &[u8]) -> Result<(), Error> {
    let title = layer.annotations.as_ref().and_then(|annotations| annotations.get(TITLE));
    let gzipped = bytes.starts_with(&[0x1f, 0x8b]);
    match title {
        // a file pushed by itself, as `oras push … addon.yaml` does
        Some(title) if !gzipped && !layer.media_type.contains("tar") => files.add(Path::new(title), bytes),
        _ if gzipped => files.extract(flate2::read::GzDecoder::new(bytes)),
        _ => files.extract(bytes),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let git = |url: &str, reference: &str, folder: &str| Source::Git {
            url: url.into(),
            reference: reference.into(),
            folder: folder.into(),
        };
        for (text, source) in [
            ("./folder", Source::Path("./folder".into())),
            ("a.tar.gz", Source::Path("a.tar.gz".into())),
            ("oci://127.0.0.1:5000/a:1", Source::Oci("127.0.0.1:5000/a:1".into())),
            ("https://git.test/a.git", git("https://git.test/a.git", "", "")),
            ("git@git.test:a/b#v1", git("git@git.test:a/b", "v1", "")),
            ("file:///a#main:sub/x", git("file:///a", "main", "sub/x")),
            ("git+https://x.test/a", git("https://x.test/a", "", "")),
        ] {
            assert_eq!(Source::parse(text), source, "{text}");
        }
    }

    fn git(folder: &Path, arguments: &[&str]) {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=t", "-c", "user.email=t@t"]).args(arguments).current_dir(folder);
        assert!(command.status().unwrap().success(), "git {arguments:?}");
    }

    #[tokio::test]
    async fn folders_tarballs_and_repositories_have_the_same_files() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("sub");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("addon.yaml"), "x").unwrap();
        let of_folder = Source::Path(folder.clone()).fetch(&[]).await.unwrap();
        let tarball = home.path().join("a.tar.gz");
        std::fs::write(&tarball, of_folder.pack().unwrap()).unwrap();
        assert_eq!(Source::Path(tarball).fetch(&[]).await.unwrap(), of_folder);
        git(home.path(), &["init", "-q", "-b", "main"]);
        git(home.path(), &["add", "sub"]);
        git(home.path(), &["commit", "-q", "-m", "x"]);
        let url = format!("file://{}", home.path().display());
        assert_eq!(Source::parse(&format!("{url}#main:sub")).fetch(&[]).await.unwrap(), of_folder);
        for (text, words) in [
            (format!("{url}#gone"), "gone"),
            (format!("{url}#main:../.."), "leads out"),
            (format!("{url}#main:other"), "no such folder"),
            ("file:///nonexistent/x".to_owned(), "/nonexistent/x"),
            ("/nonexistent".to_owned(), "/nonexistent: No such file"),
            ("git+ext::sh -c id".to_owned(), "ext"),
        ] {
            let error = Source::parse(&text).fetch(&[]).await.unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
