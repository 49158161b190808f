//! The path of a request as both the routes and the upstream see it: without dot segments, doubled slashes and escapes
//! of letters that need none (RFC 3986, 6.2.2). Were only the routes to see it so, a request could reach by one name
//! what a rule keeps from it by another.

use std::borrow::Cow;

/// `path` (without its query) in its normal form; `None` if it is not absolute, climbs above the root, or has a broken or
/// NUL escape.
pub fn normalise(path: &str) -> Option<Cow<'_, str>> {
    match is_normal(path) {
        true => Some(Cow::Borrowed(path)),
        false => rewrite(path).map(Cow::Owned),
    }
}

/// Whether nothing needs a closer look: one pass over the bytes, which is what almost every request costs.
fn is_normal(path: &str) -> bool {
    let mut last = 0;
    for &byte in path.as_bytes() {
        if byte == b'%' || (last == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        last = byte;
    }
    path.starts_with('/')
}

fn rewrite(path: &str) -> Option<String> {
    let decoded = decode(path.strip_prefix('/')?)?;
    let mut normal = String::with_capacity(path.len());
    let mut segments = decoded.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" | "." if last => normal.push('/'),
            "" | "." => {}
            ".." => {
                normal.truncate(normal.rfind('/')?);
                if last {
                    normal.push('/');
                }
            }
            _ => {
                normal.push('/');
                normal.push_str(segment);
            }
        }
    }
    Some(normal)
}

/// Takes the escapes of unreserved characters away; the others stay as they are.
fn decode(path: &str) -> Option<String> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let escape = rest.get(at..at + 3)?;
        let byte = u8::from_str_radix(escape.get(1..).filter(|hex| !hex.starts_with('+'))?, 16).ok()?;
        decoded.push_str(&rest[..at]);
        match byte {
            0 => return None,
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => decoded.push(char::from(byte)),
            _ => decoded.push_str(escape),
        }
        rest = &rest[at + 3..];
    }
    decoded.push_str(rest);
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_form() {
        for (path, normal) in [
            ("/", Some("/")),
            ("/a/b", Some("/a/b")),
            ("/a/b/", Some("/a/b/")),
            ("/a/../b", Some("/b")),
            ("/a/%2e%2E/b", Some("/b")),
            ("/a/.%2e/b", Some("/b")),
            ("/a/./b", Some("/a/b")),
            ("/a/b/..", Some("/a/")),
            ("/a/b/.", Some("/a/b/")),
            ("//a///b//", Some("/a/b/")),
            ("//", Some("/")),
            ("/%61dmin", Some("/admin")),
            ("/a%2Fb", Some("/a%2Fb")),
            ("/a%20b", Some("/a%20b")),
            ("/.hidden/..data", Some("/.hidden/..data")),
            ("/a/b.c/d..", Some("/a/b.c/d..")),
            ("/..", None),
            ("/a/../../b", None),
            ("/%2e%2e/b", None),
            ("/a%", None),
            ("/a%zz", None),
            ("/a%+1", None),
            ("/a%00", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(normalise(path).as_deref(), normal, "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_normal_form_is_its_own(path in "/([a-b./%2eE]|%2e|%2F|é){0,12}") {
            if let Some(normal) = normalise(&path) {
                assert!(!normal.contains("//") && !format!("{normal}/").contains("/../"), "{normal}");
                let again = normalise(&normal);
                // an escaped per cent sign stays escaped, so nothing is decoded twice
                assert_eq!(again.as_deref(), Some(&*normal));
            }
        }
    }
}
