//! Names of images, normalised by Docker's rules: `nginx` is `docker.io/library/nginx:latest`.
//!
//! Ported behaviour: `distribution/reference` (`ParseNormalizedNamed`, `TagNameOnly`).

/// A full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Host, with port if any.
    pub registry: String,
    /// Path below it.
    pub repository: String,
    /// Tag; `latest` if neither tag nor digest was given.
    pub tag: Option<String>,
    /// `sha256:…`.
    pub digest: Option<String>,
}

impl Reference {
    /// Parses and fills in defaults.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() == 64 && text.bytes().all(is_hex) {
            return Err(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            ));
        }
        check_case(text)?;
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(checked_digest(digest)?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rfind(':') {
            Some(at) if !rest[at..].contains('/') => (&rest[..at], Some(checked_tag(&rest[at + 1..])?)),
            _ => (rest, None),
        };
        let (registry, repository) = split_registry(name);
        check_repository(&repository)?;
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Reference { registry, repository, tag, digest })
    }

    /// `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// With the tag; `None` for a name by digest alone.
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// With this digest.
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}@{digest}", self.name())
    }

    /// As in upstream's messages.
    pub fn full(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => self.with_digest(digest),
            (None, Some(tag)) => format!("{}:{tag}", self.name()),
            (None, None) => self.name(),
        }
    }
}

fn split_registry(name: &str) -> (String, String) {
    // a repository has no capitals, so what has some is a host
    let is_host = |one: char| matches!(one, '.' | ':') || one.is_ascii_uppercase();
    match name.split_once('/') {
        Some((host, rest)) if host.contains(is_host) || host == "localhost" => {
            let host = if host == "index.docker.io" { DOCKER } else { host };
            let official = if host == DOCKER && !rest.contains('/') { "library/" } else { "" };
            (host.to_owned(), format!("{official}{rest}"))
        }
        Some(_) => (DOCKER.to_owned(), name.to_owned()),
        None => (DOCKER.to_owned(), format!("library/{name}")),
    }
}

/// Said before all else is looked at, of what stands before the first colon.
fn check_case(text: &str) -> Result<(), String> {
    let (_, rest) = split_registry(text);
    let repository = rest.split(':').next().unwrap_or_default();
    if repository.chars().any(char::is_uppercase) {
        return Err(format!("{INVALID}: repository name ({repository}) must be lowercase"));
    }
    Ok(())
}

fn is_hex(one: u8) -> bool {
    matches!(one, b'0'..=b'9' | b'a'..=b'f')
}

const INVALID: &str = "invalid reference format";
const DOCKER: &str = "docker.io";

fn check_repository(repository: &str) -> Result<(), String> {
    let fine = |part: &str| {
        let inner = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit();
        part.bytes().all(|one| inner(one) || matches!(one, b'.' | b'_' | b'-'))
            && part.bytes().next().is_some_and(inner)
            && part.bytes().last().is_some_and(inner)
    };
    if repository.split('/').all(fine) { Ok(()) } else { Err(INVALID.into()) }
}

fn checked_tag(tag: &str) -> Result<String, String> {
    let fine = |(index, one): (usize, u8)| {
        one.is_ascii_alphanumeric() || one == b'_' || (index > 0 && matches!(one, b'.' | b'-'))
    };
    let valid = !tag.is_empty() && tag.len() <= 128 && tag.bytes().enumerate().all(fine);
    if valid { Ok(tag.to_owned()) } else { Err(INVALID.into()) }
}

fn checked_digest(digest: &str) -> Result<String, String> {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    let valid = hex.len() == 64 && hex.bytes().all(is_hex);
    if valid { Ok(digest.to_owned()) } else { Err(INVALID.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_as_docker_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.25", "docker.io/library/nginx:1.25"),
            ("a/b", "docker.io/a/b:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x:t", "localhost:5000/x:t"),
            ("quay.io/a/b/c", "quay.io/a/b/c:latest"),
            ("Host/a", "Host/a:latest"),
            (&format!("x@{digest}"), &format!("docker.io/library/x@{digest}")),
            (&format!("x:t@{digest}"), &format!("docker.io/library/x@{digest}")),
        ] {
            assert_eq!(Reference::parse(text).unwrap().full(), *full, "{text}");
        }
        for text in ["", "Nginx", "a//b", "x:", "x:$", "x@sha256:12", "-x", "a b"] {
            assert!(Reference::parse(text).unwrap_err().starts_with(INVALID), "{text}");
        }
        for (text, repository) in
            [("Bad", "library/Bad"), ("Bad//Name", "/Name"), ("a/B:1", "a/B"), ("BB:1:2", "library/BB")]
        {
            let why = format!("{INVALID}: repository name ({repository}) must be lowercase");
            assert_eq!(Reference::parse(text), Err(why));
        }
        let hex = "0123456789abcdef".repeat(4);
        let why = format!("invalid repository name ({hex}), cannot specify 64-byte hexadecimal strings");
        assert_eq!(Reference::parse(&hex), Err(why));
    }
}
