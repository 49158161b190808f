//! What an Ingress asks for by annotation: `sampan.dev/NAME`, or the same name as ingress-nginx has it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

/// Our prefix, which comes first.
const OURS: &str = "sampan.dev/";
/// The prefix of ingress-nginx.
const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// What is spoken with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS; the certificate is not looked at, as with ingress-nginx.
    Https,
    /// HTTP/2 without TLS: gRPC.
    H2c,
    /// HTTP/2 over TLS.
    H2,
}

impl Protocol {
    /// Whether it is HTTP/2.
    pub fn is_h2(self) -> bool {
        matches!(self, Protocol::H2c | Protocol::H2)
    }

    /// Whether it is over TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Https | Protocol::H2)
    }

    /// By the `appProtocol` of a port.
    pub fn of_app(name: &str) -> Option<Self> {
        match name {
            "kubernetes.io/h2c" | "h2c" | "grpc" => Some(Protocol::H2c),
            "https" | "kubernetes.io/wss" => Some(Protocol::Https),
            _ => None,
        }
    }

    /// By the annotation `backend-protocol`.
    fn of_annotation(name: &str) -> Option<Self> {
        match name {
            "HTTP" | "AUTO_HTTP" => Some(Protocol::Http),
            "HTTPS" => Some(Protocol::Https),
            "GRPC" | "H2C" => Some(Protocol::H2c),
            "GRPCS" => Some(Protocol::H2),
            _ => None,
        }
    }
}

/// When plain HTTP is answered with a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// Never.
    Never,
    /// If the Ingress has TLS for the host.
    WithTls,
    /// Always.
    Always,
}

/// A cookie that leads a client back to the endpoint that it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// The cookie's name.
    pub name: String,
    /// What follows its value in `Set-Cookie`.
    pub attributes: String,
}

/// How the requests of an Ingress are handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Redirects to https.
    pub redirect: Redirect,
    /// Largest body, in bytes; `None`: any.
    pub body_size: Option<u64>,
    /// Longest time for a connection to open.
    pub connect: Duration,
    /// Longest silence of an endpoint.
    pub read: Duration,
    /// Whether `read` is the Ingress's own, so that it holds for websockets as well.
    pub own_read: bool,
    /// What is spoken; `None`: what the Service's port says.
    pub protocol: Option<Protocol>,
    /// Session affinity.
    pub affinity: Option<Affinity>,
    /// What replaces the path, with `$1` for groups of a path that is a regular expression.
    pub rewrite: Option<String>,
    /// Whether paths are regular expressions.
    pub regex: bool,
}

/// The values of an Ingress that asks for nothing.
impl Options {
    /// From the addon's configuration.
    pub fn of(config: &crate::Config) -> Self {
        Self {
            redirect: Redirect::WithTls,
            body_size: size(&config.body_size).filter(|size| *size > 0),
            connect: Duration::from_secs(config.connect_seconds),
            read: Duration::from_secs(config.read_seconds),
            own_read: false,
            protocol: None,
            affinity: None,
            rewrite: None,
            regex: false,
        }
    }

    /// With what the annotations ask for, and what of them could not be read, by name.
    pub fn with(mut self, annotations: &BTreeMap<String, String>) -> (Self, Vec<String>) {
        let mut asked = Asked { annotations, wrong: Vec::new() };
        if let Some(on) = asked.read("ssl-redirect", boolean)
            && !on
        {
            self.redirect = Redirect::Never;
        }
        if asked.read("force-ssl-redirect", boolean) == Some(true) {
            self.redirect = Redirect::Always;
        }
        if let Some(size) = asked.read("proxy-body-size", size) {
            self.body_size = Some(size).filter(|size| *size > 0);
        }
        self.connect = asked.read("proxy-connect-timeout", time).unwrap_or(self.connect);
        if let Some(read) = asked.read("proxy-read-timeout", time) {
            (self.read, self.own_read) = (read, true);
        }
        self.protocol = asked.read("backend-protocol", Protocol::of_annotation);
        self.affinity = asked.affinity();
        self.rewrite = asked.read("rewrite-target", |text| text.starts_with('/').then(|| text.to_owned()));
        self.regex = asked.read("use-regex", boolean).unwrap_or(false);
        (self, asked.wrong)
    }
}

struct Asked<'a> {
    annotations: &'a BTreeMap<String, String>,
    wrong: Vec<String>,
}

impl Asked<'_> {
    fn read<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (key, text) = [OURS, NGINX].iter().find_map(|prefix| {
            let key = format!("{prefix}{name}");
            let text = self.annotations.get(&key)?.trim();
            Some((key, text))
        })?;
        let value = parse(text);
        if value.is_none() {
            self.wrong.push(format!("annotation {key}: {text:?} is not understood"));
        }
        value
    }

    fn affinity(&mut self) -> Option<Affinity> {
        self.read("affinity", |text| (text == "cookie").then_some(()))?;
        let name = self.read("session-cookie-name", token).unwrap_or_else(|| "INGRESSCOOKIE".to_owned());
        let path = self.read("session-cookie-path", token).unwrap_or_else(|| "/".to_owned());
        let mut attributes = format!("; Path={path}; HttpOnly");
        if let Some(seconds) = self.read("session-cookie-max-age", |text| text.parse::<u64>().ok()) {
            attributes.push_str(&format!("; Max-Age={seconds}"));
        }
        if let Some(site) = self.read("session-cookie-samesite", token) {
            attributes.push_str(&format!("; SameSite={site}"));
        }
        Some(Affinity { name, attributes })
    }
}

/// Letters that a cookie's name and attributes may have.
fn token(text: &str) -> Option<String> {
    let fine = |byte: u8| byte.is_ascii_graphic() && !b"\"(),;<=>@[\\]{}".contains(&byte);
    (!text.is_empty() && text.bytes().all(fine)).then(|| text.to_owned())
}

fn boolean(text: &str) -> Option<bool> {
    text.parse().ok()
}

/// Seconds, with or without the letter.
fn time(text: &str) -> Option<Duration> {
    let seconds: u64 = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
    (1..=super::config::MOST_SECONDS).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// Bytes as nginx writes them: `8m`, `512k`, `1g`, `100`.
pub fn size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (number, shift) = match lower.as_bytes().last()? {
        b'k' => (&lower[..lower.len() - 1], 10),
        b'm' => (&lower[..lower.len() - 1], 20),
        b'g' => (&lower[..lower.len() - 1], 30),
        _ => (&lower[..], 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Options, Vec<String>) {
        let all = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Options::of(&crate::Config::default()).with(&all)
    }

    #[test]
    fn sizes_are_nginxs() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("100", Some(100)),
            ("8m", Some(8 << 20)),
            ("512K", Some(512 << 10)),
            ("1g", Some(1 << 30)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("99999999999g", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn both_prefixes_are_read_and_ours_comes_first() {
        let (options, wrong) = read(&[
            ("nginx.ingress.kubernetes.io/proxy-body-size", "1m"),
            ("sampan.dev/proxy-body-size", "2m"),
            ("nginx.ingress.kubernetes.io/proxy-read-timeout", "7"),
            ("nginx.ingress.kubernetes.io/backend-protocol", "GRPC"),
            ("nginx.ingress.kubernetes.io/ssl-redirect", "false"),
            ("nginx.ingress.kubernetes.io/rewrite-target", "/$2"),
        ]);
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!((options.body_size, options.read), (Some(2 << 20), Duration::from_secs(7)));
        assert_eq!((options.protocol, options.redirect), (Some(Protocol::H2c), Redirect::Never));
        assert_eq!((options.rewrite.as_deref(), options.own_read), (Some("/$2"), true));
        assert_eq!(read(&[]).0, Options::of(&crate::Config::default()));
    }

    #[test]
    fn affinity_names_its_cookie() {
        let affinity = |pairs: &[(&str, &str)]| read(pairs).0.affinity.map(|a| (a.name, a.attributes));
        assert_eq!(affinity(&[("sampan.dev/session-cookie-name", "a")]), None);
        let plain = affinity(&[("sampan.dev/affinity", "cookie")]).unwrap();
        assert_eq!(plain, ("INGRESSCOOKIE".into(), "; Path=/; HttpOnly".into()));
        let all = affinity(&[
            ("nginx.ingress.kubernetes.io/affinity", "cookie"),
            ("nginx.ingress.kubernetes.io/session-cookie-name", "route"),
            ("nginx.ingress.kubernetes.io/session-cookie-max-age", "60"),
            ("nginx.ingress.kubernetes.io/session-cookie-samesite", "Lax"),
        ]);
        assert_eq!(all.unwrap(), ("route".into(), "; Path=/; HttpOnly; Max-Age=60; SameSite=Lax".into()));
    }

    #[test]
    fn what_is_not_understood_is_named_and_has_no_effect() {
        let (options, wrong) = read(&[
            ("sampan.dev/proxy-read-timeout", "soon"),
            ("sampan.dev/ssl-redirect", "perhaps"),
            ("sampan.dev/rewrite-target", "http://elsewhere"),
            ("sampan.dev/affinity", "cookie"),
            ("sampan.dev/session-cookie-name", "a; b"),
            ("sampan.dev/backend-protocol", "FCGI"),
        ]);
        assert_eq!(wrong.len(), 5);
        assert_eq!(wrong[0], "annotation sampan.dev/ssl-redirect: \"perhaps\" is not understood");
        assert_eq!(options.affinity.unwrap().name, "INGRESSCOOKIE");
        assert_eq!((options.read, options.redirect), (Duration::from_secs(60), Redirect::WithTls));
    }
}
