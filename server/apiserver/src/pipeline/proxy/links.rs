//! Links of a page that was fetched through `/proxy`, so that they lead through it again: of HTML, and of redirects.
//!
//! Ported from `k8s.io/apimachinery/pkg/util/proxy/transport.go`. Unlike upstream, which writes each tag anew, nothing but
//! the values of such attributes is touched. What scripts and style sheets name is not found, there as here.

use std::borrow::Cow;

/// Where a page comes from, and where its links have to lead.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The workload's own address.
    pub workload: &'a str,
    /// The `Host` that the client asked for.
    pub asked: &'a str,
    /// The path below which the workload's paths are.
    pub prefix: &'a str,
}

/// The attributes that are links.
fn is_link(tag: &str, attribute: &str) -> bool {
    let attributes: &[&str] = match tag {
        "a" | "area" | "base" | "link" => &["href"],
        "applet" => &["codebase"],
        "audio" | "embed" | "script" | "source" => &["src"],
        "blockquote" | "del" | "ins" | "q" => &["cite"],
        "body" => &["background"],
        "button" => &["formaction"],
        "command" => &["icon"],
        "form" => &["action"],
        "frame" | "iframe" => &["longdesc", "src"],
        "head" => &["profile"],
        "html" => &["manifest"],
        "img" => &["longdesc", "src", "usemap"],
        "input" => &["src", "usemap", "formaction"],
        "object" => &["classid", "codebase", "data", "usemap"],
        "video" => &["poster", "src"],
        _ => &[],
    };
    attributes.contains(&attribute)
}

/// What is text until its own end tag, whatever it looks like.
const RAW: [&str; 9] =
    ["script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "plaintext"];

impl Place<'_> {
    /// A link as it leads through the proxy; as it is, if it leads elsewhere or is relative.
    pub fn link<'t>(&self, target: &'t str) -> Cow<'t, str> {
        let Some((scheme, host, path)) = split(target) else { return Cow::Borrowed(target) };
        let elsewhere = !host.is_empty() && host != self.workload && host != self.asked;
        if elsewhere || !path.starts_with('/') {
            return Cow::Borrowed(target);
        }
        let place = match !host.is_empty() && host == self.asked {
            true => format!("{scheme}//{host}"),
            false => String::new(),
        };
        if path.starts_with(self.prefix) {
            return Cow::Owned(format!("{place}{path}"));
        }
        let end = path.find(['?', '#']).unwrap_or(path.len());
        Cow::Owned(format!("{place}{}{}", join(self.prefix, &path[..end]), &path[end..]))
    }

    /// A page with its links led through the proxy.
    pub fn page(&self, html: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(html.len() + html.len() / 16);
        let mut rest = html;
        while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            let taken = match rest.get(1) {
                Some(b'!') if rest.starts_with(b"<!--") => end_of(rest, b"-->"),
                Some(letter) if letter.is_ascii_alphabetic() => {
                    let (taken, name) = self.tag(rest, &mut out);
                    rest = &rest[taken..];
                    match RAW.contains(&name.as_str()) {
                        true => closing(rest, &name),
                        false => continue,
                    }
                }
                _ => 1,
            };
            out.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
        }
        out.extend_from_slice(rest);
        out
    }

    /// Writes the tag at the start; how long it was, and its name.
    fn tag(&self, html: &[u8], out: &mut Vec<u8>) -> (usize, String) {
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>');
        let mut at = 1 + html[1..].iter().position(is_end).unwrap_or(html.len() - 1);
        let name = lower(&html[1..at]);
        let mut written = 0;
        while at < html.len() && html[at] != b'>' {
            if is_end(&html[at]) {
                at += 1;
                continue;
            }
            let attribute = attribute(&html[at..]);
            if let Some((from, to)) = attribute.value
                && is_link(&name, &lower(&html[at..at + attribute.name]))
                && let Ok(value) = std::str::from_utf8(&html[at + from..at + to])
                && let Cow::Owned(link) = self.link(value.trim())
            {
                out.extend_from_slice(&html[written..at + from]);
                out.extend_from_slice(link.as_bytes());
                written = at + to;
            }
            at += attribute.length;
        }
        let end = (at + 1).min(html.len());
        out.extend_from_slice(&html[written..end]);
        (end, name)
    }
}

fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// Behind the next `end`; everything, if there is none.
fn end_of(html: &[u8], end: &[u8]) -> usize {
    html.windows(end.len()).position(|part| part == end).map_or(html.len(), |at| at + end.len())
}

/// Up to the end tag of that name.
fn closing(html: &[u8], name: &str) -> usize {
    let is_here = |at: usize| {
        let behind = html.get(at + 2..at + 2 + name.len());
        html[at..].starts_with(b"</") && behind.is_some_and(|own| own.eq_ignore_ascii_case(name.as_bytes()))
    };
    (0..html.len()).find(|at| is_here(*at)).unwrap_or(html.len())
}

/// An attribute at the start of a text.
struct Attribute {
    /// How long the name is.
    name: usize,
    /// From where to where the value is.
    value: Option<(usize, usize)>,
    /// How long all of it is.
    length: usize,
}

fn attribute(html: &[u8]) -> Attribute {
    let find = |from: usize, wanted: &dyn Fn(&u8) -> bool| {
        html[from..].iter().position(wanted).map_or(html.len(), |at| from + at)
    };
    // a name may begin with `=`
    let name = find(1, &|byte| byte.is_ascii_whitespace() || matches!(byte, b'=' | b'/' | b'>'));
    let equals = find(name, &|byte| !byte.is_ascii_whitespace());
    if html.get(equals) != Some(&b'=') {
        return Attribute { name, value: None, length: name };
    }
    let from = find(equals + 1, &|byte| !byte.is_ascii_whitespace());
    match html.get(from) {
        Some(quote @ (b'"' | b'\'')) => {
            let to = find(from + 1, &|byte| byte == quote);
            Attribute { name, value: Some((from + 1, to)), length: (to + 1).min(html.len()) }
        }
        Some(b'>') | None => Attribute { name, value: None, length: from },
        Some(_) => {
            let to = find(from, &|byte| byte.is_ascii_whitespace() || *byte == b'>');
            Attribute { name, value: Some((from, to)), length: to }
        }
    }
}

/// Scheme with its colon, host, and the rest; none for what is no URL or has no path of its own (`mailto:`).
fn split(target: &str) -> Option<(&str, &str, &str)> {
    if target.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    let scheme = target.find([':', '/', '?', '#']).filter(|at| target[*at..].starts_with(':')).unwrap_or(0);
    let (scheme, rest) = match scheme {
        0 => ("", target),
        at => (target.get(..=at)?, target.get(at + 1..)?),
    };
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
    if !scheme.trim_end_matches(':').chars().all(letters) {
        return None;
    }
    match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            Some((scheme, &rest[..end], &rest[end..]))
        }
        None => Some((scheme, "", rest)),
    }
}

/// Go's `path.Join` of both, with the slash at the end of `path` kept.
fn join(prefix: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in prefix.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "/api/v1/namespaces/d/services/web:80/proxy";
    const PLACE: Place<'_> = Place { workload: "10.244.0.7:80", asked: "localhost:8001", prefix: PREFIX };

    #[test]
    fn links_lead_through_the_proxy() {
        for (target, link) in [
            ("/", format!("{PREFIX}/")),
            ("/a/b?c=/d#e", format!("{PREFIX}/a/b?c=/d#e")),
            ("/a//b/./c/", format!("{PREFIX}/a/b/c/")),
            ("http://10.244.0.7:80/a", format!("{PREFIX}/a")),
            ("//10.244.0.7:80/a", format!("{PREFIX}/a")),
            ("https://localhost:8001/a", format!("https://localhost:8001{PREFIX}/a")),
            ("a/b", "a/b".into()),
            ("../b", "../b".into()),
            ("", String::new()),
            ("?q", "?q".into()),
            ("#top", "#top".into()),
            ("http://example.com/a", "http://example.com/a".into()),
            ("//cdn.example.com/a", "//cdn.example.com/a".into()),
            ("http://10.244.0.7:80", "http://10.244.0.7:80".into()),
            ("mailto:a@b", "mailto:a@b".into()),
            ("javascript:go('/a')", "javascript:go('/a')".into()),
            ("data:text/plain,/a", "data:text/plain,/a".into()),
            (&format!("{PREFIX}/a"), format!("{PREFIX}/a")),
        ] {
            assert_eq!(PLACE.link(target), link, "{target}");
        }
    }

    #[test]
    fn pages_keep_all_but_their_links() {
        let to = |path: &str| format!("{PREFIX}{path}");
        for (html, page) in [
            ("<a href=\"/a\">x</a>", format!("<a href=\"{}\">x</a>", to("/a"))),
            ("<A HREF='/a' title=\"/t\">", format!("<A HREF='{}' title=\"/t\">", to("/a"))),
            ("<img src=/i.png alt=/x>", format!("<img src={} alt=/x>", to("/i.png"))),
            ("<img  src = \"/i.png\" />", format!("<img  src = \"{}\" />", to("/i.png"))),
            ("<form action=/go/ method=post>", format!("<form action={} method=post>", to("/go/"))),
            ("<script src=\"/a.js\">if (a</b/) '<a href=\"/no\">'</script><a href=/b>", {
                let (script, b) = (to("/a.js"), to("/b"));
                format!("<script src=\"{script}\">if (a</b/) '<a href=\"/no\">'</script><a href={b}>")
            }),
            (
                "<!-- <a href=\"/no\"> --><a href=\"/a\">",
                format!("<!-- <a href=\"/no\"> --><a href=\"{}\">", to("/a")),
            ),
            ("<a href=\"/a?x=1&amp;y=2\">", format!("<a href=\"{}\">", to("/a?x=1&amp;y=2"))),
            ("<!doctype html><p class=a>1 < 2 <3 </p>", "<!doctype html><p class=a>1 < 2 <3 </p>".into()),
            ("<a href><a href=><a href=\"b\"><a", "<a href><a href=><a href=\"b\"><a".into()),
            ("<a href=\"/never", format!("<a href=\"{}", to("/never"))),
            ("<div data-x=\"/a\" href=\"/a\">", "<div data-x=\"/a\" href=\"/a\">".into()),
            ("<textarea><a href=\"/no\"></textarea>", "<textarea><a href=\"/no\"></textarea>".into()),
            ("<a =\"/x\" href=/y>", format!("<a =\"/x\" href={}>", to("/y"))),
            ("", String::new()),
        ] {
            let made = PLACE.page(html.as_bytes());
            assert_eq!(String::from_utf8_lossy(&made), page, "{html}");
        }
        // what is no text is kept byte by byte
        let bytes = b"<a title=\"\xff\" href=\"\xfe\">\xf0<";
        assert_eq!(PLACE.page(bytes), bytes);
    }
}
