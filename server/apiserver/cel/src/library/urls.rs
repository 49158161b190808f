//! `url()`: Go's `url.Parse`, of which Kubernetes takes absolute URLs and absolute paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use sampan_api::go::Quote as _;

use super::{Called, Special, special};
use crate::error::EvalError;
use crate::value::{Key, Map, Value};

/// A URL in its parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    pub(super) text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(super) fn make<'a>(name: &str, value: &Value<'_>) -> Called<'a> {
    let text = value.as_str().ok_or_else(EvalError::overload)?;
    match (name, parse(text)) {
        ("isURL", parsed) => Ok(Value::Bool(parsed.is_ok())),
        (_, Ok(url)) => Ok(special(Special::Url(url))),
        (_, Err(reason)) => {
            Err(EvalError::new(format!("URL parse error during conversion from string: {reason}")))
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Url, String> {
    let wrong = |why: &str| Err(format!("parse {}: {why}", text.quoted()));
    if text.is_empty() {
        return wrong("empty url");
    }
    if text.chars().any(|c| c.is_ascii_control()) {
        return wrong("net/url: invalid control character in URL");
    }
    let body = text.split('#').next().unwrap_or_default();
    let (body, query) = body.split_once('?').unwrap_or((body, ""));
    let (scheme, rest) = match body.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) && !body.starts_with('/') => {
            (scheme.to_ascii_lowercase(), rest)
        }
        _ => (String::new(), body),
    };
    if scheme.is_empty() && !body.starts_with('/') {
        return wrong("invalid URI for request");
    }
    if !scheme.is_empty() && !rest.starts_with('/') {
        return wrong("invalid URI for request");
    }
    let (host, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        Some(rest) => rest.find('/').map_or((rest, ""), |at| rest.split_at(at)),
        None => ("", rest),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if host.contains([' ', '<', '>', '"', '`', '{', '}', '|', '\\', '^']) {
        return wrong("invalid character in host name");
    }
    if !port_of(host).chars().all(|c| c.is_ascii_digit()) {
        return wrong("invalid port after host");
    }
    if decode(path, false).is_none() {
        return wrong("invalid URL escape");
    }
    let path = escape(path);
    Ok(Url { text: text.to_owned(), scheme, host: host.to_owned(), path, query: query.to_owned() })
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn port_of(host: &str) -> &str {
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    after.rsplit_once(':').map_or("", |(_, port)| port)
}

fn escape(path: &str) -> String {
    let mut escaped = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!*'()".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Without its percent signs; none if one of them is followed by something else than two hex digits.
fn decode(text: &str, plus: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
                decoded.push(u8::from_str_radix(digits, 16).ok()?);
                at += 2;
            }
            b'+' if plus => decoded.push(b' '),
            byte => decoded.push(byte),
        }
        at += 1;
    }
    Some(String::from_utf8_lossy(&decoded).into_owned())
}

impl Url {
    pub(super) fn method<'a>(&self, name: &str) -> Called<'a> {
        let port = port_of(&self.host);
        Ok(match name {
            "getScheme" => Value::owned(self.scheme.as_str()),
            "getHost" => Value::owned(self.host.as_str()),
            "getHostname" => {
                let host =
                    if port.is_empty() { &self.host } else { &self.host[..self.host.len() - port.len() - 1] };
                Value::owned(host.trim_end_matches(':').trim_start_matches('[').trim_end_matches(']'))
            }
            "getPort" => Value::owned(port),
            "getEscapedPath" => Value::owned(self.path.as_str()),
            "getQuery" => self.query(),
            _ => return Err(EvalError::overload()),
        })
    }

    fn query<'a>(&self) -> Value<'a> {
        let mut all: BTreeMap<Key, Vec<Value<'a>>> = BTreeMap::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (decode(key, true), decode(value, true)) {
                all.entry(Key::String(key.into())).or_default().push(Value::owned(value));
            }
        }
        Value::Map(Map::Made(Arc::new(
            all.into_iter().map(|(key, values)| (key, Value::list(values))).collect(),
        )))
    }
}
