//! The routes, as a value: built beside the traffic, swapped in whole, never changed. A new value shares with the old
//! one all hosts that did not change.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;
use rustls::sign::CertifiedKey;
use sampan_reconcile::Key;

use crate::annotations::Options;
use crate::backend::Backend;

/// Where a request goes, and how.
#[derive(Debug)]
pub struct Route {
    /// The Ingress.
    pub ingress: Key,
    /// The port of a Service.
    pub backend: Arc<Backend>,
    /// What the Ingress asks for.
    pub options: Arc<Options>,
    /// Whether the Ingress has TLS for the host.
    pub tls: bool,
}

/// What a rule says of paths.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// This path alone.
    Exact(Box<str>),
    /// This path, without its last slash, and all below it.
    Prefix(Box<str>),
    /// Paths that begin so.
    Regex(Regex),
}

impl Matcher {
    /// What two rules have in common that claim the same.
    pub fn claim(&self) -> (u8, &str) {
        match self {
            Matcher::Exact(path) => (0, path),
            Matcher::Prefix(path) => (1, path),
            Matcher::Regex(regex) => (2, regex.as_str()),
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    exact: Option<Arc<Route>>,
    prefix: Option<Arc<Route>>,
}

/// The routes of a host.
#[derive(Debug, Default)]
pub struct Host {
    paths: HashMap<Box<str>, Slot>,
    /// Longest first.
    regexes: Vec<(Regex, Arc<Route>)>,
    /// Most elements that a prefix has: no request is looked at deeper.
    depth: usize,
    /// For paths that no rule has.
    pub fallback: Option<Arc<Route>>,
}

impl Host {
    /// Adds a rule, unless one has the same claim already: that one's route is the answer.
    pub fn add(&mut self, matcher: &Matcher, route: Arc<Route>) -> Option<Arc<Route>> {
        let slot = match matcher {
            Matcher::Exact(path) => &mut self.paths.entry(path.clone()).or_default().exact,
            Matcher::Prefix(path) => {
                self.depth = self.depth.max(path.matches('/').count());
                &mut self.paths.entry(path.clone()).or_default().prefix
            }
            Matcher::Regex(regex) => return self.add_regex(regex, route),
        };
        match slot {
            Some(held) => Some(held.clone()),
            None => {
                *slot = Some(route);
                None
            }
        }
    }

    fn add_regex(&mut self, regex: &Regex, route: Arc<Route>) -> Option<Arc<Route>> {
        if let Some((_, held)) = self.regexes.iter().find(|(held, _)| held.as_str() == regex.as_str()) {
            return Some(held.clone());
        }
        let place = self.regexes.partition_point(|(held, _)| held.as_str().len() >= regex.as_str().len());
        self.regexes.insert(place, (regex.clone(), route));
        None
    }

    /// The route of a path in normal form: the exact one, or that of the longest prefix or expression.
    fn find(&self, path: &str) -> Option<(&Arc<Route>, Option<&Regex>)> {
        if let Some(route) = self.paths.get(path).and_then(|slot| slot.exact.as_ref()) {
            return Some((route, None));
        }
        let prefix = self.prefix(path);
        let longer = |regex: &Regex| prefix.is_none_or(|(length, _)| regex.as_str().len() > length);
        if let Some((regex, route)) =
            self.regexes.iter().find(|(regex, _)| longer(regex) && regex.is_match(path))
        {
            return Some((route, Some(regex)));
        }
        prefix.map(|(_, route)| route).or(self.fallback.as_ref()).map(|route| (route, None))
    }

    fn prefix(&self, path: &str) -> Option<(usize, &Arc<Route>)> {
        let whole = (!path.ends_with('/')).then_some(path.len());
        let ends = memchr::memchr_iter(b'/', path.as_bytes()).chain(whole).take(self.depth + 1);
        // shortest first: the last that is found is the longest
        ends.filter_map(|end| Some((end, self.paths.get(&path[..end])?.prefix.as_ref()?))).last()
    }
}

/// Where a request goes, and the path it has there if that is another.
pub struct Found {
    /// The route.
    pub route: Arc<Route>,
    /// The path that the endpoint sees.
    pub path: Option<String>,
}

/// All routes and certificates.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// By name; those for all hosts are under the empty name.
    pub hosts: imbl::HashMap<Box<str>, Arc<Host>>,
    /// By the name without `*.`.
    pub wildcards: imbl::HashMap<Box<str>, Arc<Host>>,
    /// For requests that no host's routes have.
    pub fallback: Option<Arc<Route>>,
    /// Certificates by name, as `hosts`.
    pub certificates: imbl::HashMap<Box<str>, Arc<CertifiedKey>>,
    /// Certificates by the name without `*.`.
    pub wildcard_certificates: imbl::HashMap<Box<str>, Arc<CertifiedKey>>,
    /// For names that have none.
    pub default_certificate: Option<Arc<CertifiedKey>>,
}

impl Table {
    /// The route of a request: `host` in small letters without its port, `path` in normal form.
    pub fn find(&self, host: &str, path: &str) -> Option<Found> {
        let named = self.hosts.get(host).or_else(|| self.wildcards.get(parent(host)?));
        let held = named.or_else(|| self.hosts.get(""));
        let (route, regex) =
            held.and_then(|host| host.find(path)).or(self.fallback.as_ref().map(|r| (r, None)))?;
        let target = route.options.rewrite.as_deref();
        let path = target.map(|target| rewritten(target, regex, path));
        Some(Found { route: route.clone(), path })
    }

    /// The certificate for a name.
    pub fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let named = self.certificates.get(name).or_else(|| self.wildcard_certificates.get(parent(name)?));
        named.or(self.default_certificate.as_ref()).cloned()
    }
}

/// What a wildcard has to be of to cover `host`: it stands for one label.
fn parent(host: &str) -> Option<&str> {
    host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent)
}

fn rewritten(target: &str, regex: Option<&Regex>, path: &str) -> String {
    let mut result = String::new();
    match regex.and_then(|regex| regex.captures(path)) {
        Some(captures) => {
            expand(target, |group| captures.get(group).map_or("", |found| found.as_str()), &mut result)
        }
        None => expand(target, |_| "", &mut result),
    }
    if !result.starts_with('/') {
        result.insert(0, '/');
    }
    result
}

/// nginx's way with groups: `$` and one digit.
fn expand<'a>(target: &str, group: impl Fn(usize) -> &'a str, result: &mut String) {
    let mut letters = target.chars().peekable();
    while let Some(letter) = letters.next() {
        let digit = letters.peek().and_then(|next| next.to_digit(10)).filter(|_| letter == '$');
        match digit {
            Some(digit) => {
                letters.next();
                result.push_str(group(digit as usize));
            }
            None => result.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Port, PortName};

    fn route(name: &str, rewrite: Option<&str>) -> Arc<Route> {
        let port = Port { namespace: "n".into(), service: name.into(), port: PortName::Number(80) };
        let mut options = Options::of(&crate::Config::default());
        options.rewrite = rewrite.map(str::to_owned);
        Arc::new(Route {
            ingress: Key::namespaced("n", name),
            backend: Arc::new(Backend::new(port)),
            options: Arc::new(options),
            tls: false,
        })
    }

    fn matcher(text: &str) -> Matcher {
        match text.split_at(1) {
            ("=", path) => Matcher::Exact(path.into()),
            ("~", path) => Matcher::Regex(Regex::new(&format!("^{path}")).unwrap()),
            (_, _) => Matcher::Prefix(text.trim_end_matches('/').into()),
        }
    }

    fn host(rules: &[&str]) -> Host {
        let mut host = Host::default();
        rules.iter().for_each(|rule| assert!(host.add(&matcher(rule), route(rule, None)).is_none()));
        host
    }

    /// The table of the Ingress page of the Kubernetes documentation, and more.
    #[test]
    fn the_longest_path_wins_and_exact_comes_first() {
        for (rules, path, chosen) in [
            (&["/"][..], "/any/path", "/"),
            (&["=/foo"], "/foo", "=/foo"),
            (&["=/foo"], "/bar", ""),
            (&["=/foo"], "/foo/", ""),
            (&["=/foo/"], "/foo", ""),
            (&["/foo"], "/foo", "/foo"),
            (&["/foo"], "/foo/", "/foo"),
            (&["/foo/"], "/foo", "/foo/"),
            (&["/foo/"], "/foo/", "/foo/"),
            (&["/aaa/bb"], "/aaa/bbb", ""),
            (&["/aaa/bbb"], "/aaa/bbb", "/aaa/bbb"),
            (&["/aaa/bbb/"], "/aaa/bbb", "/aaa/bbb/"),
            (&["/aaa/bbb"], "/aaa/bbb/", "/aaa/bbb"),
            (&["/aaa/bbb"], "/aaa/bbb/ccc", "/aaa/bbb"),
            (&["/aaa/bbb"], "/aaa/bbbxyz", ""),
            (&["/", "/aaa"], "/aaa/ccc", "/aaa"),
            (&["/", "/aaa", "/aaa/bbb"], "/aaa/bbb", "/aaa/bbb"),
            (&["/", "/aaa"], "/ccc", "/"),
            (&["/aaa"], "/ccc", ""),
            (&["/foo", "=/foo"], "/foo", "=/foo"),
            (&["/foo", "=/foo"], "/foo/x", "/foo"),
            (&["/", "~/x/(.*)"], "/x/y", "~/x/(.*)"),
            (&["/", "~/x/(.*)", "~/x/longer/(.*)"], "/x/longer/y", "~/x/longer/(.*)"),
            (&["/a/much/longer/prefix", "~/a/.*"], "/a/much/longer/prefix/b", "/a/much/longer/prefix"),
            (&["/a/b"], "/a", ""),
            (&["/a"], "/a/b/c/d/e/f/g", "/a"),
        ] {
            let host = host(rules);
            let found = host.find(path).map_or("", |(route, _)| &route.backend.port.service);
            assert_eq!(found, chosen, "{rules:?} {path}");
        }
    }

    #[test]
    fn the_first_claim_stays() {
        let mut host = host(&["/a", "=/a", "~/a.*"]);
        for rule in ["/a/", "=/a", "~/a.*"] {
            assert!(host.add(&matcher(rule), route("late", None)).is_some(), "{rule}");
        }
        assert!(host.add(&matcher("=/a/"), route("new", None)).is_none());
    }

    #[test]
    fn hosts_are_found_by_name_then_wildcard_then_none() {
        let with = |name: &str| Arc::new(host_to(name));
        let mut table = Table::default();
        table.hosts.insert("a.example.com".into(), with("exact"));
        table.wildcards.insert("example.com".into(), with("wildcard"));
        let chosen = |table: &Table, host: &str| table.find(host, "/").map(|f| f.route.ingress.name.clone());
        for (host, expected) in [
            ("a.example.com", Some("exact")),
            ("b.example.com", Some("wildcard")),
            ("a.b.example.com", None),
            ("example.com", None),
            (".example.com", None),
            ("elsewhere", None),
        ] {
            assert_eq!(chosen(&table, host).as_deref(), expected, "{host}");
        }
        table.fallback = Some(route("fallback", None));
        assert_eq!(chosen(&table, "elsewhere").as_deref(), Some("fallback"));
        table.hosts.insert("".into(), with("any"));
        assert_eq!(chosen(&table, "elsewhere").as_deref(), Some("any"));
    }

    fn host_to(name: &str) -> Host {
        let mut host = Host::default();
        host.add(&Matcher::Prefix("".into()), route(name, None));
        host
    }

    #[test]
    fn paths_are_rewritten_as_nginx_does() {
        for (rule, target, path, expected) in [
            ("~/something(/|$)(.*)", "/$2", "/something/new", "/new"),
            ("~/something(/|$)(.*)", "/$2", "/something", "/"),
            ("~/v(\\d)/(.*)", "/$2/$1/$9", "/v1/x", "/x/1/"),
            ("/app", "/", "/app/x", "/"),
            ("/app", "/new", "/app", "/new"),
        ] {
            let mut host = Host::default();
            host.add(&matcher(rule), route("r", Some(target)));
            let mut table = Table::default();
            table.hosts.insert("h".into(), Arc::new(host));
            assert_eq!(table.find("h", path).unwrap().path.as_deref(), Some(expected), "{rule} {path}");
        }
    }
}
