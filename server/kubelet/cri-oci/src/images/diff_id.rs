//! A layer's name, which becomes a directory's name: checked once, where an image's configuration is read.

use serde::{Deserialize, Serialize};
use sha2::{Sha256, digest::Output};

use super::unpack::hex;

/// Digest of a layer's uncompressed tar: `sha256:` and 64 lower-case hexadecimal digits, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiffId(String);

/// What a diff id must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDiffId(String);

impl std::fmt::Display for InvalidDiffId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid diff id {:?}: it is not sha256: and 64 lower-case hexadecimal digits", self.0)
    }
}

impl std::error::Error for InvalidDiffId {}

impl DiffId {
    /// Of a layer that was read to its end.
    pub fn of(hash: Output<Sha256>) -> Self {
        DiffId(format!("sha256:{}", hex(&hash)))
    }

    /// Name of the layer's directory. Half of the digest: mount options are one page.
    pub fn directory(&self) -> &str {
        &self.0["sha256:".len()..][..32]
    }
}

impl TryFrom<String> for DiffId {
    type Error = InvalidDiffId;

    fn try_from(text: String) -> Result<Self, InvalidDiffId> {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.strip_prefix("sha256:") {
            Some(digest) if digest.len() == 64 && digest.bytes().all(digit) => Ok(DiffId(text)),
            _ => Err(InvalidDiffId(text)),
        }
    }
}

impl From<DiffId> for String {
    fn from(id: DiffId) -> String {
        id.0
    }
}

impl std::fmt::Display for DiffId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConfigFile;

    #[test]
    fn a_configuration_with_a_path_for_a_layer_is_not_read() {
        let read = |id: &str| {
            let text = serde_json::json!({"rootfs": {"diff_ids": [id]}}).to_string();
            serde_json::from_str::<ConfigFile>(&text)
        };
        let good = format!("sha256:{}", "0a".repeat(32));
        let directory = read(&good).unwrap().rootfs.diff_ids[0].directory().to_owned();
        assert_eq!(directory, "0a".repeat(16));
        for bad in [
            "",
            "sha256:",
            "../../../etc",
            "/etc",
            "sha256:../../../etc",
            &format!("sha256:{}", "0A".repeat(32)),
            &format!("sha256:{}", "0a".repeat(31)),
            &format!("sha256:{}/", "0a".repeat(31)),
            &format!("sha512:{}", "0a".repeat(32)),
            &"0a".repeat(32),
        ] {
            assert!(read(bad).unwrap_err().to_string().contains("invalid diff id"), "{bad}");
        }
    }
}
