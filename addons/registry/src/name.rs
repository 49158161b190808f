//! Names of repositories, tags and digests, as the distribution specification writes them. Pure.
//!
//! All of them become names of files; nothing that is not of these types does.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Longest name of a repository, in letters.
const NAME_MAX: usize = 255;

/// `team/app`; of a mirrored registry, `docker.io/library/nginx`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Checks a name.
    pub fn parse(text: &str) -> Option<Self> {
        let fine = text.len() <= NAME_MAX && text.split('/').all(component);
        fine.then(|| Name(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn component(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separator = |between: &str| {
        matches!(between, "." | "_" | "__")
            || (!between.is_empty() && between.bytes().all(|byte| byte == b'-'))
    };
    let bytes = text.as_bytes();
    let ends = bytes.first().copied().is_some_and(letter) && bytes.last().copied().is_some_and(letter);
    let mut between = text.split(|one: char| one.is_ascii_lowercase() || one.is_ascii_digit());
    ends && between.all(|between| between.is_empty() || separator(between))
}

/// `latest`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
    pub fn parse(text: &str) -> Option<Self> {
        let fine = |(place, byte): (usize, u8)| {
            byte.is_ascii_alphanumeric() || byte == b'_' || (place > 0 && matches!(byte, b'.' | b'-'))
        };
        let fine = (1..=128).contains(&text.len()) && text.bytes().enumerate().all(fine);
        fine.then(|| Tag(text.to_owned()))
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `sha256:` and 64 letters; no other algorithm is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// Checks a digest.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_hex(text.strip_prefix("sha256:")?)
    }

    /// Checks the letters of a digest.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let fine = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        fine.then(|| Digest(hex.to_owned()))
    }

    /// Of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// Of all that was put into a hash.
    pub fn finish(hash: Sha256) -> Self {
        Digest(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A tag.
    Tag(Tag),
    /// A digest.
    Digest(Digest),
}

impl Reference {
    /// Reads either.
    pub fn parse(text: &str) -> Option<Self> {
        match Digest::parse(text) {
            Some(digest) => Some(Reference::Digest(digest)),
            None => Tag::parse(text).map(Reference::Tag),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Tag(tag) => f.write_str(tag.as_str()),
            Reference::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_of_the_specifications_form() {
        for text in ["app", "team/app", "a1/b-c/d--e", "a_b", "a__b", "a.b/c", "docker.io/library/nginx", "0"]
        {
            assert!(Name::parse(text).is_some(), "{text}");
        }
        let long = "a".repeat(256);
        for text in [
            "", "App", "a/", "/a", "a//b", "-a", "a-", "a..b", "a___b", "a._b", "..", "../etc", "a b",
            "_tags", "a/_x", &long,
        ] {
            assert!(Name::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn references_are_tags_or_digests() {
        let digest = Digest::of(b"");
        assert_eq!(
            digest.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(Reference::parse(&digest.to_string()), Some(Reference::Digest(digest)));
        for text in ["latest", "v1.0-x", "_a", "A"] {
            assert!(matches!(Reference::parse(text), Some(Reference::Tag(_))), "{text}");
        }
        for text in ["", ".a", "-a", "a/b", "sha256:12", "sha512:x", "a b", &"a".repeat(129)] {
            assert!(Reference::parse(text).is_none(), "{text}");
        }
        assert!(Digest::parse(&format!("sha256:{}", "G".repeat(64))).is_none());
    }

    proptest::proptest! {
        #[test]
        fn what_is_a_name_is_safe_in_a_path(text in ".{0,60}", dotted in "[a-z0-9._/-]{0,30}") {
            for text in [text, dotted] {
                if Name::parse(&text).is_some() {
                    assert!(!text.contains("..") && !text.starts_with('/') && !text.split('/').any(|part| part.starts_with('_')));
                }
                if let Some(Reference::Tag(tag)) = Reference::parse(&text) {
                    assert!(!tag.as_str().contains('/') && !tag.as_str().starts_with('.'));
                }
            }
        }
    }
}
