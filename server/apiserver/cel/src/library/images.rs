//! `image()`: references to images, read as go-containerregistry does: a digest hides the tag.

use std::fmt;

use super::{Called, Special, special};
use crate::error::EvalError;
use crate::value::Value;

/// A reference in its parts; one of tag and digest is empty.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    registry: String,
    repository: String,
    tag: String,
    digest: String,
}

pub(super) fn make<'a>(name: &str, value: &Value<'_>) -> Called<'a> {
    let text = value.as_str().ok_or_else(EvalError::overload)?;
    match (name, parse(text)) {
        ("isImage", parsed) => Ok(Value::Bool(parsed.is_some())),
        (_, Some(image)) => Ok(special(Special::Image(image))),
        (_, None) => Err(EvalError::new(format!("could not parse reference: {text}"))),
    }
}

fn parse(text: &str) -> Option<Image> {
    let (rest, digest) = text.split_once('@').map_or((text, ""), |(rest, digest)| (rest, digest));
    if text.contains('@') && !is_digest(digest) {
        return None;
    }
    let (name, tag) = match rest.rsplit_once(':') {
        // a colon before a slash is a port's
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (rest, ""),
    };
    if (rest.len() > name.len() || !tag.is_empty()) && !is_tag(tag) {
        return None;
    }
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest.to_owned()),
        Some(_) => ("index.docker.io", name.to_owned()),
        None => ("index.docker.io", format!("library/{name}")),
    };
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-./".contains(c);
    let sound = repository.chars().all(word) && (2..=255).contains(&repository.len());
    if name.is_empty() || !sound || repository.split('/').any(str::is_empty) {
        return None;
    }
    let tag = if digest.is_empty() && tag.is_empty() { "latest" } else { tag };
    let tag = if digest.is_empty() { tag.to_owned() } else { String::new() };
    Some(Image { registry: registry.to_owned(), repository, tag, digest: digest.to_owned() })
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len()) && tag.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

fn is_digest(digest: &str) -> bool {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

impl Image {
    pub(super) fn method<'a>(&self, name: &str) -> Called<'a> {
        Ok(match name {
            "containsDigest" => Value::Bool(!self.digest.is_empty()),
            "registry" => Value::owned(self.registry.as_str()),
            "repository" => Value::owned(self.repository.as_str()),
            "tag" => Value::owned(self.tag.as_str()),
            "digest" => Value::owned(self.digest.as_str()),
            "identifier" => {
                Value::owned(if self.digest.is_empty() { self.tag.as_str() } else { self.digest.as_str() })
            }
            _ => return Err(EvalError::overload()),
        })
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if self.digest.is_empty() { write!(f, ":{}", self.tag) } else { write!(f, "@{}", self.digest) }
    }
}
