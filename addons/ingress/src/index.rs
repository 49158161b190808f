//! All Ingresses together: who has which host and path. Changes of objects in, a [`Table`] and the Ingresses whose
//! problems may have changed out; no runtime, no I/O. A change costs what the hosts that it names cost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use rustls::sign::CertifiedKey;
use sampan_reconcile::{Key, Object};

use crate::annotations::Options;
use crate::backend::{Backend, Port, PortName, State};
use crate::certificate::TlsSecret;
use crate::class::Classes;
use crate::compile::{Age, Compiled, Problem, compile};
use crate::table::{Host, Matcher, Table};

/// What the index looks up when an Ingress names it for the first time.
pub trait World {
    /// The endpoints of a port.
    fn state(&self, port: &Port) -> State;
    /// A Secret.
    fn secret(&self, key: &Key) -> Option<Arc<TlsSecret>>;
    /// All Ingresses.
    fn ingresses(&self) -> Vec<Arc<Ingress>>;
}

type Certificate = Result<Arc<CertifiedKey>, String>;

/// The index.
pub struct Index {
    defaults: Options,
    classes: Classes,
    default_secret: Option<Key>,
    /// For names with no certificate, if the configured Secret has none.
    own: Arc<CertifiedKey>,
    ingresses: HashMap<Key, Compiled>,
    /// Who has rules for a host, oldest first.
    hosts: BTreeMap<Box<str>, BTreeSet<Age>>,
    /// Who has a default backend: those without rules first, then the oldest.
    defaults_of: BTreeSet<(bool, Age)>,
    /// Who has a certificate for a name, oldest first.
    names: BTreeMap<Box<str>, BTreeSet<(Age, Key)>>,
    /// The Secrets that are named, by whom.
    secrets: HashMap<Key, (Certificate, BTreeSet<Key>)>,
    /// The backends that are named, and how often.
    backends: BTreeMap<Port, (Arc<Backend>, usize)>,
    /// Claims that an older Ingress has, by host.
    lost: HashMap<Box<str>, Vec<(Key, Problem)>>,
    table: Table,
    dirty: Dirty,
}

/// What the next table has to look at again.
#[derive(Default)]
struct Dirty {
    hosts: BTreeSet<Box<str>>,
    names: BTreeSet<Box<str>>,
    touched: BTreeSet<Key>,
    /// Whether the default certificate is another.
    default: bool,
}

impl Index {
    /// An empty one.
    pub fn new(config: &crate::Config, own: Arc<CertifiedKey>) -> Self {
        let default_secret =
            config.default_secret().map(|(namespace, name)| Key::namespaced(namespace, name));
        Self {
            defaults: Options::of(config),
            classes: Classes::new(config),
            table: Table { default_certificate: Some(own.clone()), ..Table::default() },
            own,
            default_secret,
            ingresses: HashMap::new(),
            hosts: BTreeMap::new(),
            defaults_of: BTreeSet::new(),
            names: BTreeMap::new(),
            secrets: HashMap::new(),
            backends: BTreeMap::new(),
            lost: HashMap::new(),
            // the first table has it
            dirty: Dirty { default: true, ..Dirty::default() },
        }
    }

    /// Whether an Ingress is served here.
    pub fn has(&self, key: &Key) -> bool {
        self.ingresses.contains_key(key)
    }

    /// What keeps parts of an Ingress from being served.
    pub fn problems(&self, key: &Key) -> Vec<Problem> {
        let Some(compiled) = self.ingresses.get(key) else { return Vec::new() };
        let lost = compiled.rules.keys().filter_map(|host| self.lost.get(host)).flatten();
        let lost = lost.filter(|(loser, _)| loser == key).map(|(_, problem)| problem.clone());
        let secrets: BTreeSet<&Key> = compiled.certificates.values().collect();
        let broken = secrets.into_iter().filter_map(|secret| {
            let error = self.secrets.get(secret)?.0.as_ref().err()?;
            let message = format!("Secret {secret} {error}; the default certificate is used");
            Some(Problem { reason: "BadCertificate", message, tls: true })
        });
        let mut all: Vec<_> = compiled.problems.iter().cloned().chain(lost).chain(broken).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Takes note of an Ingress as it is now.
    pub fn ingress(&mut self, key: &Key, ingress: Option<&Ingress>, world: &dyn World) {
        let (classes, defaults) = (&self.classes, &self.defaults);
        let backends = &mut self.backends;
        let new = ingress
            .filter(|ingress| classes.is_ours(ingress))
            .map(|ingress| compile(ingress, defaults, &mut |port| backend(backends, port, world)));
        // the new one holds its backends before the old one lets go of them
        if let Some(old) = self.ingresses.remove(key) {
            self.unlink(key, &old);
        }
        if let Some(new) = new {
            self.link(key, &new, world);
            self.ingresses.insert(key.clone(), new);
        }
        self.dirty.touched.insert(key.clone());
    }

    fn link(&mut self, key: &Key, compiled: &Compiled, world: &dyn World) {
        for host in compiled.rules.keys() {
            self.hosts.entry(host.clone()).or_default().insert(compiled.age.clone());
            self.dirty.hosts.insert(host.clone());
        }
        if compiled.default.is_some() {
            self.defaults_of.insert((!compiled.rules.is_empty(), compiled.age.clone()));
        }
        for (name, secret) in &compiled.certificates {
            self.names.entry(name.clone()).or_default().insert((compiled.age.clone(), secret.clone()));
            self.dirty.names.insert(name.clone());
            let held = self.secrets.entry(secret.clone());
            let read = || (read(world.secret(secret).as_deref()), BTreeSet::new());
            held.or_insert_with(read).1.insert(key.clone());
        }
    }

    fn unlink(&mut self, key: &Key, compiled: &Compiled) {
        for (host, rules) in &compiled.rules {
            remove(&mut self.hosts, host, &compiled.age);
            self.dirty.hosts.insert(host.clone());
            rules.iter().for_each(|(_, route)| release(&mut self.backends, &route.backend.port));
        }
        self.defaults_of.remove(&(!compiled.rules.is_empty(), compiled.age.clone()));
        if let Some(route) = &compiled.default {
            release(&mut self.backends, &route.backend.port);
        }
        for (name, secret) in &compiled.certificates {
            remove(&mut self.names, name, &(compiled.age.clone(), secret.clone()));
            self.dirty.names.insert(name.clone());
            if let Some((_, users)) = self.secrets.get_mut(secret) {
                users.remove(key);
                if users.is_empty() {
                    self.secrets.remove(secret);
                }
            }
        }
    }

    /// Takes note of a class; all Ingresses are looked at again if it matters.
    pub fn class(&mut self, name: &str, class: Option<&IngressClass>, world: &dyn World) {
        if self.classes.apply(name, class) {
            for ingress in world.ingresses() {
                self.ingress(&ingress.key(), Some(&ingress), world);
            }
        }
    }

    /// Takes note of a Secret, if an Ingress or the configuration names it.
    pub fn secret(&mut self, key: &Key, secret: Option<&TlsSecret>) {
        if self.default_secret.as_ref() == Some(key) {
            let found = secret.and_then(|secret| secret.certificate().ok());
            self.table.default_certificate = Some(found.unwrap_or_else(|| self.own.clone()));
            self.dirty.default = true;
        }
        let Some((certificate, users)) = self.secrets.get_mut(key) else { return };
        *certificate = read(secret);
        for user in users.iter() {
            let names = self.ingresses[user].certificates.iter().filter(|(_, secret)| *secret == key);
            self.dirty.names.extend(names.map(|(name, _)| name.clone()));
            self.dirty.touched.insert(user.clone());
        }
    }

    /// Takes note of new endpoints or another port of a Service.
    pub fn service(&self, namespace: &str, service: &str, world: &dyn World) {
        let first = Port {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port: PortName::Number(i32::MIN),
        };
        let own = |port: &Port| port.namespace == namespace && port.service == service;
        for (port, (backend, _)) in self.backends.range(first..).take_while(|(port, _)| own(port)) {
            backend.set(world.state(port));
        }
    }

    /// The table after the changes, and the Ingresses that they may concern; `None` if it is as before.
    pub fn publish(&mut self) -> Option<(Table, BTreeSet<Key>)> {
        let Dirty { hosts, names, mut touched, default } = std::mem::take(&mut self.dirty);
        if touched.is_empty() && !default {
            return None;
        }
        for host in hosts {
            self.rebuild(host, &mut touched);
        }
        for name in names {
            let found = self.names.get(&name).into_iter().flatten();
            let certificate = found.filter_map(|(_, secret)| self.secrets.get(secret)?.0.clone().ok()).next();
            let (exact, wild) = (&mut self.table.certificates, &mut self.table.wildcard_certificates);
            put(exact, wild, &name, certificate);
        }
        let first = self.defaults_of.first().and_then(|(_, age)| self.ingresses.get(&age.1));
        self.table.fallback = first.and_then(|compiled| compiled.default.clone());
        Some((self.table.clone(), touched))
    }

    fn rebuild(&mut self, name: Box<str>, touched: &mut BTreeSet<Key>) {
        let (mut host, mut lost) = (Host::default(), Vec::new());
        for (_, key) in self.hosts.get(&name).into_iter().flatten() {
            let Some(compiled) = self.ingresses.get(key) else { continue };
            for (matcher, route) in &compiled.rules[&name] {
                if let Some(winner) = host.add(matcher, route.clone()) {
                    lost.push((key.clone(), conflict(&name, matcher, &winner.ingress)));
                }
            }
            if host.fallback.is_none() {
                host.fallback.clone_from(&compiled.default);
            }
        }
        let before = match lost.is_empty() {
            true => self.lost.remove(&name),
            false => self.lost.insert(name.clone(), lost.clone()),
        };
        touched.extend(before.into_iter().flatten().chain(lost).map(|(loser, _)| loser));
        let claimed = self.hosts.contains_key(&name);
        let host = claimed.then(|| Arc::new(host));
        put(&mut self.table.hosts, &mut self.table.wildcards, &name, host);
    }
}

/// Puts or removes what is under a name, or under that of which it is a wildcard.
fn put<T: Clone>(
    exact: &mut imbl::HashMap<Box<str>, T>,
    wildcards: &mut imbl::HashMap<Box<str>, T>,
    name: &str,
    value: Option<T>,
) {
    let (map, name) = match name.strip_prefix("*.") {
        Some(parent) => (wildcards, parent),
        None => (exact, name),
    };
    match value {
        Some(value) => _ = map.insert(name.into(), value),
        None => _ = map.remove(name),
    }
}

fn conflict(host: &str, matcher: &Matcher, winner: &Key) -> Problem {
    let (kind, path) = matcher.claim();
    let path = if path.is_empty() { "/" } else { path };
    let kind = ["Exact", "Prefix", "expression"][usize::from(kind)];
    let host = if host.is_empty() { "all hosts" } else { host };
    Problem::new(
        "PathConflict",
        format!("path {path} ({kind}) of {host} is served for the older Ingress {winner}"),
    )
}

fn read(secret: Option<&TlsSecret>) -> Certificate {
    secret.ok_or_else(|| "is not there".to_owned()).and_then(TlsSecret::certificate)
}

fn backend(all: &mut BTreeMap<Port, (Arc<Backend>, usize)>, port: Port, world: &dyn World) -> Arc<Backend> {
    let (backend, users) = all.entry(port).or_insert_with_key(|port| {
        let backend = Backend::new(port.clone());
        backend.set(world.state(port));
        (Arc::new(backend), 0)
    });
    *users += 1;
    backend.clone()
}

fn release(all: &mut BTreeMap<Port, (Arc<Backend>, usize)>, port: &Port) {
    if let Some((_, users)) = all.get_mut(port) {
        *users -= 1;
        if *users == 0 {
            all.remove(port);
        }
    }
}

fn remove<T: Ord>(map: &mut BTreeMap<Box<str>, BTreeSet<T>>, name: &str, value: &T) {
    if let Some(set) = map.get_mut(name) {
        set.remove(value);
        if set.is_empty() {
            map.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
