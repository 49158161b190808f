//! Names of repositories, tags and digests, as the distribution specification writes them. Pure.
//!
//! All of them become names of files; nothing that is not of these types does.

use std::fmt;

use sha2::{Digest as _, Sha256, Sha512};

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

/// The specification's algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// What everybody uses.
    Sha256,
    /// What a client may ask for.
    Sha512,
}

impl Algorithm {
    /// Both.
    pub const ALL: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

    /// As digests begin, and as its directory is called.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    fn letters(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }
}

/// `sha256:` and 64 letters, or `sha512:` and 128.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// Checks a digest.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, hex) = text.split_once(':')?;
        Self::from_hex(hex).filter(|digest| digest.algorithm.name() == name)
    }

    /// Checks the letters of a digest; their number tells the algorithm.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let algorithm = Algorithm::ALL.into_iter().find(|one| one.letters() == hex.len())?;
        let fine = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        fine.then(|| Digest { algorithm, hex: hex.to_owned() })
    }

    /// Of bytes, by the usual algorithm.
    #[cfg(test)]
    pub fn of(bytes: &[u8]) -> Self {
        Self::by(Algorithm::Sha256, bytes)
    }

    /// Of bytes.
    pub fn by(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hash = Hash::new(algorithm);
        hash.update(bytes);
        hash.finish()
    }

    /// By which it is.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Without the algorithm.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

/// A digest in the making.
#[derive(Clone, Debug)]
pub enum Hash {
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-512.
    Sha512(Box<Sha512>),
}

impl Hash {
    /// Of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Hash::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hash::Sha512(Box::new(Sha512::new())),
        }
    }

    /// And of these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Hash::Sha256(hash) => Digest { algorithm: Algorithm::Sha256, hex: hex(&hash.finalize()) },
            Hash::Sha512(hash) => Digest { algorithm: Algorithm::Sha512, hex: hex(&hash.finalize()) },
        }
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
        let long = Digest::by(Algorithm::Sha512, b"");
        assert_eq!((Digest::parse(&long.to_string()), long.hex().len()), (Some(long.clone()), 128));
        for (name, hex) in
            [("sha256", "G".repeat(64)), ("sha512", "a".repeat(64)), ("sha256", "a".repeat(128))]
        {
            assert!(Digest::parse(&format!("{name}:{hex}")).is_none());
        }
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
