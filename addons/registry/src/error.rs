//! What the registry says when it cannot do something: codes of the distribution specification, in its JSON.

use std::io::ErrorKind;

use http::StatusCode;
use serde_json::{Value, json};

/// A refusal, as the client reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// The specification's word.
    pub code: &'static str,
    /// Words for a person.
    pub message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The name of a repository is not one.
    pub fn name_invalid(name: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", format!("invalid repository name: {name:?}"))
    }

    /// There is no such repository.
    pub fn name_unknown(name: &str) -> Self {
        let text = format!("repository name not known to registry: {name}");
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", text)
    }

    /// A digest is not of the form, or not that of the content.
    pub fn digest_invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", why)
    }

    /// There is no such blob.
    pub fn blob_unknown(digest: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", format!("blob unknown to registry: {digest}"))
    }

    /// There is no such upload.
    pub fn upload_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
    }

    /// A chunk does not follow what is there.
    pub fn upload_range(have: u64) -> Self {
        let text = format!("the next chunk has to begin at {have}");
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", text)
    }

    /// Another request writes to the upload.
    pub fn upload_busy() -> Self {
        let text = "another request is writing to this blob upload";
        Self::new(StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID", text)
    }

    /// A part that the blob does not have.
    pub fn range(size: u64) -> Self {
        let text = format!("the blob has {size} bytes");
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "UNSUPPORTED", text)
    }

    /// There is no such manifest.
    pub fn manifest_unknown(reference: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", format!("manifest unknown: {reference}"))
    }

    /// What was sent is no manifest.
    pub fn manifest_invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", why)
    }

    /// A manifest names what is not there.
    pub fn manifest_blob_unknown(digest: &str) -> Self {
        let text = format!("the manifest names {digest}, which the repository does not have");
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", text)
    }

    /// It is larger than it may be.
    pub fn too_large(limit: usize) -> Self {
        let text = format!("a manifest may have {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", text)
    }

    /// It can be done by nobody here.
    pub fn unsupported(why: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", why)
    }

    /// It is not for this client.
    pub fn denied(why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "DENIED", why)
    }

    /// No such path.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "404 page not found")
    }

    /// The registry behind this one does not answer as it should.
    pub fn upstream(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "UNAVAILABLE", why)
    }

    /// The client went away in the middle of a body.
    pub fn broken_off(why: impl std::fmt::Display) -> Self {
        let text = format!("the body broke off: {why}");
        Self::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", text)
    }

    /// The JSON of the specification.
    pub fn body(&self) -> Value {
        json!({"errors": [{"code": self.code, "message": self.message}]})
    }
}

/// The disk's refusals; one that is full is told apart, because the client may try again later.
impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                let text = format!("the registry's disk is full: {error}");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "UNAVAILABLE", text)
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", error.to_string()),
        }
    }
}
