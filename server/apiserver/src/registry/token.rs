//! Continue tokens, in upstream's format: `k8s.io/apiserver/pkg/storage/continue.go`.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use sampan_api::status::ApiError;
use serde_json::{Value, json};

/// Where a paged list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// The revision of the list; `-1` for "whatever is now".
    pub revision: i64,
    /// The last name given out, relative to the list's prefix.
    pub after: String,
    /// How many come after it at that revision, if that was counted: later pages need not count again. Upstream's tokens
    /// are without.
    pub left: Option<usize>,
}

impl Token {
    pub(super) fn encode(&self) -> String {
        // upstream's start key is the successor of the last key given out
        let start = format!("{}\u{0}", self.after);
        let mut token = json!({"v": "meta.k8s.io/v1", "rv": self.revision, "start": start});
        if let Some(left) = self.left {
            token["left"] = left.into();
        }
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    pub(super) fn decode(text: &str) -> Result<Self, ApiError> {
        let wrong = |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .or_else(|_| URL_SAFE.decode(text))
            .map_err(|e| wrong(&e.to_string()))?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|e| wrong(&e.to_string()))?;
        let version = token.get("v").and_then(Value::as_str).unwrap_or("");
        if version != "meta.k8s.io/v1" {
            return Err(wrong(&format!("server does not recognize this encoded version {version:?}")));
        }
        let revision = token.get("rv").and_then(Value::as_i64).unwrap_or(0);
        let start = token.get("start").and_then(Value::as_str).unwrap_or("");
        if revision == 0 || start.is_empty() {
            return Err(wrong("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        let left = token.get("left").and_then(Value::as_u64).and_then(|left| usize::try_from(left).ok());
        Ok(Self { revision, after: start.trim_end_matches('\u{0}').to_owned(), left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_round() {
        for left in [None, Some(7)] {
            let token = Token { revision: 41383, after: "template-0039".into(), left };
            assert_eq!(Token::decode(&token.encode()), Ok(token));
        }
        assert!(Token::decode("%%%").is_err());
        assert!(Token::decode("e30").is_err());
    }
}
