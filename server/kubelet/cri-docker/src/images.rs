//! Images of the engine.

use std::path::PathBuf;

use bollard::auth::DockerCredentials;
use bollard::models::ImageInspect;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ImportImageOptionsBuilder, ListImagesOptionsBuilder,
    RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use futures::{StreamExt, TryStreamExt};
use sampan_cri::*;
use tokio_util::codec::{BytesCodec, FramedRead};

use crate::{DockerRuntime, convert};

impl DockerRuntime {
    pub(crate) async fn pull(&self, image: &str, auth: Vec<ImageAuth>) -> Result<ImageStatus> {
        for mirror in &self.config.registry_mirrors {
            if let Some(path) = on_docker_hub(image)
                && let Some(status) = self.pull_from_mirror(mirror, &path, image).await?
            {
                return Ok(status);
            }
        }
        let credentials = auth.into_iter().map(|auth| Some(credentials(auth))).chain([None]);
        let mut last = None;
        for credentials in credentials {
            match self.pull_as(image, credentials).await {
                Ok(()) => return self.present(image).await,
                Err(error) => last = Some(error),
            }
        }
        Err(pull_error(image, last))
    }

    /// Pulls from a mirror and gives the image the name it was asked for; `None` if the mirror lacks it.
    async fn pull_from_mirror(&self, mirror: &str, path: &str, image: &str) -> Result<Option<ImageStatus>> {
        let host = mirror.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/');
        let name = format!("{host}/{path}");
        if let Err(error) = self.pull_as(&name, None).await {
            tracing::info!(mirror, image, %error, "mirror did not serve the image");
            return Ok(None);
        }
        let (repository, tag) = split_tag(image);
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        self.docker.tag_image(&name, Some(options)).await.map_err(convert::error)?;
        let _ = self
            .docker
            .remove_image(&name, Some(RemoveImageOptionsBuilder::default().noprune(true).build()), None)
            .await;
        self.present(image).await.map(Some)
    }

    async fn pull_as(
        &self,
        image: &str,
        credentials: Option<DockerCredentials>,
    ) -> Result<(), bollard::errors::Error> {
        let (repository, tag) = split_tag(image);
        let mut options = CreateImageOptionsBuilder::default().from_image(repository);
        if !tag.is_empty() {
            options = options.tag(tag);
        }
        self.docker
            .create_image(Some(options.build()), None, credentials)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    async fn present(&self, image: &str) -> Result<ImageStatus> {
        self.image(image).await?.ok_or_else(|| RuntimeError::NotFound { kind: "image", id: image.to_owned() })
    }

    pub(crate) async fn image(&self, image: &str) -> Result<Option<ImageStatus>> {
        match self.docker.inspect_image(image).await {
            Ok(found) => Ok(Some(status(found))),
            Err(error) if convert::is_gone(&error) => Ok(None),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 400, message }) => {
                Err(RuntimeError::InvalidImageName { image: image.to_owned(), message })
            }
            Err(error) => Err(convert::error(error)),
        }
    }

    pub(crate) async fn images(&self) -> Result<Vec<ImageStatus>> {
        let options = ListImagesOptionsBuilder::default().all(false).build();
        let found = self.docker.list_images(Some(options)).await.map_err(convert::error)?;
        let convert = |image: bollard::models::ImageSummary| ImageStatus {
            id: image.id,
            repo_tags: image.repo_tags.into_iter().filter(|tag| tag != "<none>:<none>").collect(),
            repo_digests: image.repo_digests,
            size_bytes: u64::try_from(image.size).unwrap_or(0),
            ..Default::default()
        };
        Ok(found.into_iter().map(convert).collect())
    }

    pub(crate) async fn forget_image(&self, image: &str) -> Result<()> {
        match self.docker.remove_image(image, Some(RemoveImageOptionsBuilder::default().build()), None).await
        {
            Err(error) if !convert::is_gone(&error) => Err(convert::error(error)),
            _ => Ok(()),
        }
    }

    pub(crate) async fn load(&self, archive: PathBuf) -> Result<Vec<LoadedImage>> {
        let file = tokio::fs::File::open(&archive).await;
        let file = file.map_err(|error| {
            RuntimeError::InvalidConfig(format!("archive {}: {error}", archive.display()))
        })?;
        let body = FramedRead::new(file, BytesCodec::new()).map_ok(bytes::BytesMut::freeze);
        let mut progress =
            self.docker.import_image_stream(ImportImageOptionsBuilder::default().build(), body, None).boxed();
        let mut names = Vec::new();
        while let Some(line) = progress.try_next().await.map_err(convert::error)? {
            let said = line.stream.unwrap_or_default();
            names.extend(said.lines().filter_map(loaded_name).map(str::to_owned));
        }
        let mut loaded = Vec::new();
        for name in names {
            let image = self.present(&name).await?;
            add_loaded(&mut loaded, image, name);
        }
        Ok(loaded)
    }

    pub(crate) async fn disk(&self) -> Result<ImageFsInfo> {
        let info = self.docker.info().await.map_err(convert::error)?;
        let mountpoint = PathBuf::from(info.docker_root_dir.unwrap_or_else(|| "/var/lib/docker".into()));
        let disk = nix::sys::statvfs::statvfs(&mountpoint)
            .map_err(|error| RuntimeError::Internal(error.to_string()))?;
        let used = self.images().await?.iter().map(|image| image.size_bytes).sum();
        Ok(ImageFsInfo {
            mountpoint,
            used_bytes: used,
            capacity_bytes: disk.blocks() * disk.fragment_size(),
            available_bytes: disk.blocks_available() * disk.fragment_size(),
        })
    }
}

/// `Loaded image: name` and `Loaded image ID: id` as `docker load` says them.
fn loaded_name(line: &str) -> Option<&str> {
    line.strip_prefix("Loaded image: ").or_else(|| line.strip_prefix("Loaded image ID: ")).map(str::trim)
}

/// One image for all the names under which the engine tells of it; its id is no name.
fn add_loaded(loaded: &mut Vec<LoadedImage>, image: ImageStatus, name: String) {
    let names = Some(name).filter(|name| *name != image.id);
    match loaded.iter_mut().find(|one| one.image.id == image.id) {
        Some(same) => same.names.extend(names),
        None => loaded.push(LoadedImage { image, names: names.into_iter().collect() }),
    }
}

fn credentials(auth: ImageAuth) -> DockerCredentials {
    match auth {
        ImageAuth::Basic { username, password } => {
            DockerCredentials { username: Some(username), password: Some(password), ..Default::default() }
        }
        ImageAuth::Bearer(token) => DockerCredentials { registrytoken: Some(token), ..Default::default() },
    }
}

fn pull_error(image: &str, error: Option<bollard::errors::Error>) -> RuntimeError {
    let message = match error {
        Some(bollard::errors::Error::DockerResponseServerError { message, .. }) => message,
        Some(bollard::errors::Error::DockerStreamError { error }) => error,
        Some(other) => other.to_string(),
        None => "no registry was asked".to_owned(),
    };
    RuntimeError::ImagePull { image: image.to_owned(), message }
}

/// Repository and tag (or digest); without either the tag is `latest`.
fn split_tag(image: &str) -> (&str, &str) {
    if image.contains('@') {
        return (image, "");
    }
    let after_slash = image.rfind('/').map_or(0, |at| at + 1);
    match image[after_slash..].rfind(':') {
        Some(at) => (&image[..after_slash + at], &image[after_slash + at + 1..]),
        None => (image, "latest"),
    }
}

/// The path on a mirror of an image that lives on docker.io: `library/nginx:alpine`.
fn on_docker_hub(image: &str) -> Option<String> {
    let image = image.strip_prefix("docker.io/").unwrap_or(image);
    match image.split_once('/') {
        None => Some(format!("library/{image}")),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => None,
        Some(_) => Some(image.to_owned()),
    }
}

fn status(image: ImageInspect) -> ImageStatus {
    let user = image.config.and_then(|config| config.user).unwrap_or_default();
    let name = user.split(':').next().unwrap_or_default();
    let uid = name.parse().ok();
    ImageStatus {
        id: image.id.unwrap_or_default(),
        repo_tags: image.repo_tags.unwrap_or_default(),
        repo_digests: image.repo_digests.unwrap_or_default(),
        size_bytes: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        uid,
        username: if uid.is_some() { String::new() } else { name.to_owned() },
        pinned: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_several_names_is_loaded_once() {
        let mut loaded = Vec::new();
        for (id, name) in [("sha256:1", "bb:1"), ("sha256:2", "sha256:2"), ("sha256:1", "bb:2")] {
            let image = ImageStatus { id: id.into(), ..Default::default() };
            add_loaded(&mut loaded, image, name.into());
        }
        let told: Vec<_> = loaded.iter().map(|one| (one.image.id.as_str(), one.names.join(" "))).collect();
        assert_eq!(told, [("sha256:1", "bb:1 bb:2".to_owned()), ("sha256:2", String::new())]);
    }

    #[test]
    fn names_are_split_as_docker_does() {
        for (image, split, hub) in [
            ("nginx", ("nginx", "latest"), Some("library/nginx")),
            ("nginx:alpine", ("nginx", "alpine"), Some("library/nginx:alpine")),
            ("docker.io/a/b:1", ("docker.io/a/b", "1"), Some("a/b:1")),
            ("127.0.0.1:5000/a", ("127.0.0.1:5000/a", "latest"), None),
            ("a/b@sha256:00", ("a/b@sha256:00", ""), Some("a/b@sha256:00")),
        ] {
            assert_eq!(split_tag(image), split, "{image}");
            assert_eq!(on_docker_hub(image).as_deref(), hub, "{image}");
        }
    }
}
