//! Continue tokens, in upstream's format: `k8s.io/apiserver/pkg/storage/continue.go`.

use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
use base64::{Engine, alphabet};
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
        Self::read(text).map_err(|why| {
            ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        })
    }

    fn read(text: &str) -> Result<Self, String> {
        let bytes = unpack(text)?;
        let token: Value = serde_json::from_slice(&bytes)
            .map_err(|error| sampan_api::strict::fault(&bytes).unwrap_or_else(|| error.to_string()))?;
        if !token.is_object() && !token.is_null() {
            let found = sampan_api::strict::json_type(&token);
            return Err(format!(
                "json: cannot unmarshal {found} into Go value of type storage.continueToken"
            ));
        }
        let version = field(&token, "v", "string", Value::as_str)?.unwrap_or_default();
        let revision = field(&token, "rv", "int64", Value::as_i64)?.unwrap_or_default();
        let start = field(&token, "start", "string", Value::as_str)?.unwrap_or_default();
        if version != "meta.k8s.io/v1" {
            return Err(format!("server does not recognize this encoded version {version}"));
        }
        if revision == 0 {
            return Err("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into());
        }
        if start.is_empty() {
            return Err("encoded start key empty (version meta.k8s.io/v1)".into());
        }
        if !clean(start) {
            return Err(start.to_owned());
        }
        let left = token.get("left").and_then(Value::as_u64).and_then(|left| usize::try_from(left).ok());
        Ok(Self { revision, after: start.trim_end_matches('\u{0}').to_owned(), left })
    }
}

/// Go's `RawURLEncoding`: line breaks are passed over, and so are bits that mean nothing.
fn unpack(text: &str) -> Result<Vec<u8>, String> {
    const LENIENT: GeneralPurpose =
        GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));
    let illegal = |at: usize| format!("illegal base64 data at input byte {at}");
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '\r' | '\n');
    if let Some(at) = text.find(|c| !known(c)) {
        return Err(illegal(at));
    }
    LENIENT.decode(text.replace(['\r', '\n'], "")).map_err(|_| illegal(text.len().saturating_sub(1)))
}

fn field<'v, T>(
    token: &'v Value,
    name: &str,
    ty: &str,
    read: impl FnOnce(&'v Value) -> Option<T>,
) -> Result<Option<T>, String> {
    let Some(value) = token.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    read(value).map(Some).ok_or_else(|| {
        let found = match value {
            Value::Number(number) if ty == "int64" => format!("number {number}"),
            other => sampan_api::strict::json_type(other).to_owned(),
        };
        format!("json: cannot unmarshal {found} into Go struct field continueToken.{name} of type {ty}")
    })
}

/// Whether Go's `path.Clean` would leave it as it is, behind a slash.
fn clean(start: &str) -> bool {
    let key = start.strip_prefix('/').unwrap_or(start);
    key.is_empty() || key.split('/').all(|part| !matches!(part, "" | "." | ".."))
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
    }

    #[test]
    fn what_is_wrong_with_a_token_is_told_as_upstream_tells_it() {
        let packed = |text: &str| URL_SAFE_NO_PAD.encode(text);
        #[rustfmt::skip]
        let cases = [
            ("%%%".to_owned(), "illegal base64 data at input byte 0"),
            ("e30=".to_owned(), "illegal base64 data at input byte 3"),
            ("e30xx".to_owned(), "illegal base64 data at input byte 4"),
            (packed("{"), "unexpected end of JSON input"),
            (packed("x"), "invalid character 'x' looking for beginning of value"),
            (packed("[]"), "json: cannot unmarshal array into Go value of type storage.continueToken"),
            (packed("{}"), "server does not recognize this encoded version "),
            (packed(r#"{"v": "v\n0"}"#), "server does not recognize this encoded version v\n0"),
            (packed(r#"{"v": 1}"#), "json: cannot unmarshal number into Go struct field continueToken.v of type string"),
            (packed(r#"{"rv": 1.5}"#), "json: cannot unmarshal number 1.5 into Go struct field continueToken.rv of type int64"),
            (packed(r#"{"v": "meta.k8s.io/v1"}"#), "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
            (packed(r#"{"v": "meta.k8s.io/v1", "rv": 1}"#), "encoded start key empty (version meta.k8s.io/v1)"),
            (packed(r#"{"v": "meta.k8s.io/v1", "rv": 1, "start": "../a"}"#), "../a"),
            (packed(r#"{"v": "meta.k8s.io/v1", "rv": 1, "start": "a/"}"#), "a/"),
        ];
        for (text, why) in cases {
            let said = Token::decode(&text).unwrap_err().message;
            assert_eq!(said, format!("invalid continue token: continue key is not valid: {why}"));
        }
        assert!(Token::decode(&packed(r#"{"v": "meta.k8s.io/v1", "rv": 1, "start": "/a"}"#)).is_ok());
    }
}
