//! What Go's `url.ParseRequestURI` (1.26) takes for a URL. It takes more than RFC 3986 does, such as spaces in a path.

use std::net::Ipv6Addr;

/// The parts that somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uri<'a> {
    /// Before the first colon, or "".
    pub scheme: &'a str,
    /// With its port, without the user, or "".
    pub host: &'a str,
}

/// Reads an absolute URL or path; `None` where Go says what is wrong.
pub(super) fn parse(text: &str) -> Option<Uri<'_>> {
    if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    if text == "*" {
        return Some(Uri { scheme: "", host: "" });
    }
    let (scheme, rest) = scheme(text)?;
    let rest = rest.split('?').next().unwrap_or_default();
    if !rest.starts_with('/') {
        // `mailto:` and its like
        return (!scheme.is_empty()).then_some(Uri { scheme, host: "" });
    }
    let (authority, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let well = is_user(user) && is_host(scheme, host) && is_escaped(path);
    well.then_some(Uri { scheme, host })
}

/// `getScheme`: what begins as a scheme and does not end as one is none.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'));
    match end.map(|end| text.split_at(end)) {
        Some(("", rest)) if rest.starts_with(':') => None,
        Some((scheme, rest))
            if rest.starts_with(':') && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) =>
        {
            Some((scheme, &rest[1..]))
        }
        _ => Some(("", text)),
    }
}

fn is_user(user: &str) -> bool {
    user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte))
        && user.splitn(2, ':').all(is_escaped)
}

/// `parseHost`.
fn is_host(scheme: &str, host: &str) -> bool {
    match host.rfind('[') {
        Some(0) => {
            let Some((address, port)) = host[1..].rsplit_once(']') else { return false };
            is_port(port) && is_address(address)
        }
        Some(_) => false,
        None => {
            // only there colons in names are refused
            let strict = ["http", "https"].iter().any(|name| scheme.eq_ignore_ascii_case(name));
            let colon = if strict { host.find(':') } else { host.rfind(':') };
            colon.is_none_or(|colon| is_port(&host[colon..])) && is_name(host)
        }
    }
}

/// Nothing, or a colon and digits, if any.
fn is_port(port: &str) -> bool {
    port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

/// An IPv6 address, after which `%25` may name a zone.
fn is_address(text: &str) -> bool {
    let (address, zone) =
        text.split_once("%25").map_or((text, None), |(address, zone)| (address, Some(zone)));
    let zoned = |zone: &str| {
        !zone.is_empty()
            && escapes(zone, |byte| matches!(byte, b' ' | b'%') || is_host_byte(byte))
                .is_some_and(|mut plain| plain.all(is_host_byte))
    };
    address.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(zoned)
}

/// Only bytes beyond ASCII, and the percent sign, may be escaped.
fn is_name(name: &str) -> bool {
    escapes(name, |byte| byte >= 0x80 || byte == b'%').is_some_and(|mut plain| plain.all(is_host_byte))
}

fn is_host_byte(byte: u8) -> bool {
    byte >= 0x80 || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

fn is_escaped(text: &str) -> bool {
    escapes(text, |_| true).is_some()
}

/// The bytes that are not escaped; `None` where a percent sign does not escape a byte that may be.
fn escapes(text: &str, may: impl Fn(u8) -> bool) -> Option<impl Iterator<Item = u8>> {
    let (mut plain, bytes) = (Vec::new(), text.as_bytes());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            plain.push(byte);
            at += 1;
            continue;
        }
        let digits = bytes.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        let escaped = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if !may(escaped) {
            return None;
        }
        at += 3;
    }
    Some(plain.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_takes() {
        let cases = [
            ("https://a.b/pull/1", Some(("https", "a.b"))),
            ("https://a.b", Some(("https", "a.b"))),
            ("https://a.b/a pull (1)", Some(("https", "a.b"))),
            ("https://a.b/ä?q=%zz d#e", Some(("https", "a.b"))),
            ("https://a.b?c=d/e", Some(("https", "a.b"))),
            ("HTTPS://u:p%20w@a.b:/x", Some(("HTTPS", "a.b:"))),
            ("https://:80/", Some(("https", ":80"))),
            ("https://ä.b", Some(("https", "ä.b"))),
            ("https://a%C3%A4/", Some(("https", "a%C3%A4"))),
            ("https://[::1]:80/x", Some(("https", "[::1]:80"))),
            ("https://[fe80::1%25en0]/", Some(("https", "[fe80::1%25en0]"))),
            ("db://a:1,b:2/x", Some(("db", "a:1,b:2"))),
            ("/a/b", Some(("", ""))),
            ("//a/b", Some(("", ""))),
            ("https:/a", Some(("https", ""))),
            ("https:///a", Some(("https", ""))),
            ("mailto:a@b", Some(("mailto", ""))),
            ("*", Some(("", ""))),
            ("", None),
            ("yes", None),
            ("a.b/c", None),
            ("1https://a.b", None),
            ("://a.b", None),
            (" https://a.b", None),
            ("https://a.b/\n", None),
            ("https://a b/c", None),
            ("https://a.b#c", None),
            ("https://a.b/%zz", None),
            ("https://a.b/%2", None),
            ("https://a%20b/", None),
            ("https://a.b:x/", None),
            ("https://a:1,b:2/", None),
            ("https://u u@a.b/", None),
            ("https://u:%zz@a.b/", None),
            ("https://u%2:0@a.b/", None),
            ("https://[::1/", None),
            ("https://[1.2.3.4]/", None),
            ("https://[::1]x/", None),
            ("https://a[::1]/", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).map(|uri| (uri.scheme, uri.host)), expected, "{text:?}");
        }
    }
}
