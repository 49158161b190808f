//! JSON Web Tokens as ServiceAccount tokens use them: ES256, compact, nothing optional.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::pki::{Error, TokenKey};

/// Signs `claims`.
pub fn sign(key: &TokenKey, claims: &Value) -> Result<String, Error> {
    let header = json!({"alg": "ES256", "kid": key.id()});
    let body = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = key.sign(body.as_bytes())?;
    Ok(format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Whether `text` looks like a token of ours at all (so that other authenticators need not be asked).
pub fn looks_like(text: &str) -> bool {
    text.split('.').count() == 3
}

/// The claims of a token that `key` signed. Times, audiences and objects are for the caller to check.
pub fn verify(key: &TokenKey, token: &str) -> Result<Value, &'static str> {
    let (body, signature) = token.rsplit_once('.').ok_or("not a token")?;
    let (header, claims) = body.split_once('.').ok_or("not a token")?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "not a token");
    let header: Value = serde_json::from_slice(&decode(header)?).map_err(|_| "not a token")?;
    // the algorithm is ours to say, never the token's
    if header.get("alg").and_then(Value::as_str) != Some("ES256") {
        return Err("unexpected algorithm");
    }
    if !key.verify(body.as_bytes(), &decode(signature)?) {
        return Err("invalid signature");
    }
    serde_json::from_slice(&decode(claims)?).map_err(|_| "not a token")
}
