//! One Ingress as routes, and what is wrong with it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, IngressSpec, IngressTLS};
use kube::ResourceExt;
use regex::{Regex, RegexBuilder};
use sampan_reconcile::{Key, Object};

use crate::annotations::Options;
use crate::backend::{Backend, Port, PortName};
use crate::path;
use crate::table::{Matcher, Route};

/// The largest program that an expression of a path may become, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Who came first: by creation, then by name.
pub type Age = (Option<jiff::Timestamp>, Key);

/// What keeps a part of an Ingress from being served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The event's reason, and the end of the status's error.
    pub reason: &'static str,
    /// What is wrong, naming it.
    pub message: String,
    /// Whether it concerns TLS.
    pub tls: bool,
}

impl Problem {
    /// One that does not concern TLS.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), tls: false }
    }
}

/// An Ingress, ready to be put beside the others.
#[derive(Debug)]
pub struct Compiled {
    /// Its place in conflicts.
    pub age: Age,
    /// Its rules by host; `""` is any.
    pub rules: BTreeMap<Box<str>, Vec<(Matcher, Arc<Route>)>>,
    /// Where its default backend leads.
    pub default: Option<Arc<Route>>,
    /// Names and the Secrets that hold their certificates.
    pub certificates: BTreeMap<Box<str>, Key>,
    /// What cannot be served.
    pub problems: Vec<Problem>,
}

/// Compiles `ingress`; `backend` gives the shared backend of a port.
pub fn compile(
    ingress: &Ingress,
    defaults: &Options,
    backend: &mut dyn FnMut(Port) -> Arc<Backend>,
) -> Compiled {
    let (options, wrong) = defaults.clone().with(ingress.annotations());
    let problems = wrong.into_iter().map(|words| Problem::new("BadAnnotation", words)).collect();
    let empty = IngressSpec::default();
    let spec = ingress.spec.as_ref().unwrap_or(&empty);
    let mut compiler = Compiler { ingress: ingress.key(), options: Arc::new(options), problems, backend };
    let mut rules = BTreeMap::new();
    for rule in spec.rules.iter().flatten() {
        let host: Box<str> = rule.host.as_deref().unwrap_or_default().to_ascii_lowercase().into();
        let tls = has_tls(spec, &host);
        let entry: &mut Vec<_> = rules.entry(host).or_default();
        for found in rule.http.iter().flat_map(|http| &http.paths) {
            let path = found.path.as_deref().unwrap_or("/");
            if let Some(matcher) = compiler.matcher(&found.path_type, path) {
                entry.extend(compiler.route(&found.backend, tls).map(|route| (matcher, route)));
            }
        }
    }
    let default = spec.default_backend.as_ref().and_then(|backend| compiler.route(backend, false));
    let created = ingress.metadata.creation_timestamp.as_ref().map(|time| time.0);
    Compiled {
        age: (created, ingress.key()),
        certificates: certificates(spec, compiler.ingress.namespace(), rules.keys()),
        problems: compiler.problems,
        rules,
        default,
    }
}

struct Compiler<'a> {
    ingress: Key,
    options: Arc<Options>,
    problems: Vec<Problem>,
    backend: &'a mut dyn FnMut(Port) -> Arc<Backend>,
}

impl Compiler<'_> {
    fn matcher(&mut self, kind: &str, path: &str) -> Option<Matcher> {
        let path = if path.is_empty() { "/" } else { path };
        let open = (self.options.regex || self.options.rewrite.is_some()) && kind != "Exact";
        if open && path.contains(['(', ')', '[', ']', '{', '}', '*', '+', '?', '|', '^', '$', '\\']) {
            let regex = expression(path);
            let note = |error| self.problems.push(Problem::new("BadPath", format!("path {path:?}: {error}")));
            return regex.map_err(note).ok().map(Matcher::Regex);
        }
        let Some(normal) = path::normalise(path) else {
            self.problems.push(Problem::new("BadPath", format!("path {path:?} has no normal form")));
            return None;
        };
        Some(match kind {
            "Exact" => Matcher::Exact(normal.into()),
            _ => Matcher::Prefix(normal.strip_suffix('/').unwrap_or(&normal).into()),
        })
    }

    fn route(&mut self, backend: &IngressBackend, tls: bool) -> Option<Arc<Route>> {
        let port = backend.service.as_ref().and_then(|service| {
            let port = PortName::of(service.port.as_ref()?)?;
            Some(Port { namespace: self.ingress.namespace().to_owned(), service: service.name.clone(), port })
        });
        let Some(port) = port else {
            let words = "a backend has to be a port of a Service; backends of other kinds are not served";
            self.problems.push(Problem::new("BadBackend", words));
            return None;
        };
        Some(Arc::new(Route {
            ingress: self.ingress.clone(),
            backend: (self.backend)(port),
            options: self.options.clone(),
            tls,
        }))
    }
}

/// As nginx matches it: from the beginning of the path, in small or capital letters.
fn expression(path: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(&format!("^{}", path.trim_start_matches('^')));
    let built = builder.case_insensitive(true).size_limit(REGEX_BYTES_MAX).build();
    built.map_err(|error| error.to_string().replace('\n', " "))
}

fn has_tls(spec: &IngressSpec, host: &str) -> bool {
    let covers = |name: &String| {
        let name = name.to_ascii_lowercase();
        *name == *host
            || name
                .strip_prefix("*.")
                .is_some_and(|parent| host.split_once('.').is_some_and(|(_, p)| p == parent))
    };
    spec.tls.iter().flatten().any(|tls| named(tls).next().is_none() || named(tls).any(covers))
}

fn named(tls: &IngressTLS) -> impl Iterator<Item = &String> {
    tls.hosts.iter().flatten()
}

/// The Secret of each name; one without names is for the rules' hosts.
fn certificates<'a>(
    spec: &IngressSpec,
    namespace: &str,
    hosts: impl Iterator<Item = &'a Box<str>>,
) -> BTreeMap<Box<str>, Key> {
    let hosts: BTreeSet<&Box<str>> = hosts.filter(|host| !host.is_empty()).collect();
    let mut all = BTreeMap::new();
    for tls in spec.tls.iter().flatten() {
        let Some(secret) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) else { continue };
        let key = Key::namespaced(namespace, secret);
        let mut put = |name: Box<str>| _ = all.entry(name).or_insert_with(|| key.clone());
        named(tls).for_each(|name| put(name.to_ascii_lowercase().into()));
        if named(tls).next().is_none() {
            hosts.iter().for_each(|host| put((*host).clone()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn compiled(annotations: Value, spec: Value) -> Compiled {
        let ingress =
            json!({"metadata": {"namespace": "n", "name": "i", "annotations": annotations}, "spec": spec});
        let ingress: Ingress = serde_json::from_value(ingress).unwrap();
        let defaults = Options::of(&crate::Config::default());
        compile(&ingress, &defaults, &mut |port| Arc::new(Backend::new(port)))
    }

    fn to(service: &str) -> Value {
        json!({"service": {"name": service, "port": {"number": 80}}})
    }

    fn path(kind: &str, path: &str) -> Value {
        json!({"path": path, "pathType": kind, "backend": to("s")})
    }

    #[test]
    fn paths_become_matchers() {
        let claims = |annotations: Value, paths: &[Value]| {
            let spec = json!({"rules": [{"host": "A.b", "http": {"paths": paths}}]});
            let compiled = compiled(annotations, spec);
            let rules = compiled.rules["a.b"].iter().map(|(matcher, _)| {
                let (kind, path) = matcher.claim();
                (kind, path.to_owned())
            });
            (rules.collect::<Vec<_>>(), compiled.problems.len())
        };
        let paths = [
            path("Exact", "/a/"),
            path("Prefix", "/a//b/"),
            path("ImplementationSpecific", ""),
            path("Prefix", "/x(/|$)(.*)"),
            path("Exact", "/../x"),
        ];
        let plain = [(0, "/a/"), (1, "/a/b"), (1, ""), (1, "/x(/|$)(.*)")].map(|(k, p)| (k, p.to_owned()));
        assert_eq!(claims(json!({}), &paths), (plain.to_vec(), 1));
        let open = json!({"nginx.ingress.kubernetes.io/rewrite-target": "/$2"});
        assert_eq!(claims(open.clone(), &paths[3..4]), (vec![(2, "^/x(/|$)(.*)".to_owned())], 0));
        assert_eq!(claims(open, &[path("Prefix", "/x(")]), (vec![], 1));
    }

    #[test]
    fn names_have_the_secret_of_their_entry() {
        let rules = json!([{"host": "a.b", "http": {"paths": [path("Prefix", "/")]}}, {"host": "c.d"}]);
        let tls = json!([{"hosts": ["a.b", "*.X.y"], "secretName": "one"}, {"secretName": "two"}, {"hosts": ["e"]}]);
        let compiled = compiled(json!({}), json!({"rules": rules, "tls": tls}));
        let names: Vec<_> = compiled.certificates.iter().map(|(n, key)| (&**n, key.to_string())).collect();
        assert_eq!(names, [("*.x.y", "n/one".into()), ("a.b", "n/one".into()), ("c.d", "n/two".into())]);
        assert!(compiled.rules["a.b"][0].1.tls);
    }

    #[test]
    fn tls_covers_hosts_by_name_and_wildcard() {
        for (names, host, expected) in [
            (json!(["a.b"]), "a.b", true),
            (json!(["A.b"]), "a.b", true),
            (json!(["*.b"]), "a.b", true),
            (json!(["*.b"]), "a.a.b", false),
            (json!(["*.b"]), "*.b", true),
            (json!([]), "a.b", true),
            (json!(["c"]), "a.b", false),
        ] {
            let spec: IngressSpec = serde_json::from_value(json!({"tls": [{"hosts": names}]})).unwrap();
            assert_eq!(has_tls(&spec, host), expected, "{spec:?} {host}");
        }
        assert!(!has_tls(&IngressSpec::default(), "a.b"));
    }

    #[test]
    fn backends_of_other_kinds_are_refused_in_words() {
        let spec = json!({"defaultBackend": {"resource": {"kind": "Bucket", "name": "b"}}});
        let compiled = compiled(json!({}), spec);
        assert_eq!((compiled.default.is_none(), compiled.problems[0].reason), (true, "BadBackend"));
    }
}
