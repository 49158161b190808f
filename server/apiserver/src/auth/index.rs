//! The RBAC index: roles and bindings, parsed, by whom they are for.
//!
//! Fed from the store's snapshots: a bucket whose snapshot is the one seen last costs one pointer comparison, and a
//! changed one re-parses only the entries whose revision moved. A role written by one request therefore
//! counts for the next, which a watch could not promise.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use sampan_api::go::Quote as _;
use sampan_store::{Entry, Snapshot, Store};
use serde_json::Value;

use super::rules::Rule;
use super::{Attributes, UserInfo};
use crate::value::{at, items, meta, text};

/// Bucket of ClusterRoles.
pub const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
/// Bucket of Roles.
pub const ROLES: &str = "roles.rbac.authorization.k8s.io";
/// Bucket of ClusterRoleBindings.
pub const CLUSTER_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
/// Bucket of RoleBindings.
pub const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";

/// A role, parsed.
#[derive(Debug)]
pub struct Role {
    labels: Vec<(String, String)>,
    rules: Vec<Rule>,
    /// Labels of each selector of an aggregated role.
    aggregates: Vec<Vec<(String, String)>>,
}

/// A subject that is looked up by hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

#[derive(Debug)]
struct Binding {
    name: String,
    namespace: String,
    role_kind: String,
    role: String,
    subjects: Vec<Subject>,
}

/// One bucket, parsed.
struct Shelf<T> {
    seen: Option<Snapshot>,
    parsed: HashMap<Arc<str>, (u64, Arc<T>)>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { seen: None, parsed: HashMap::new() }
    }
}

impl<T> Shelf<T> {
    /// Takes the bucket's present state; false if it is the one known.
    fn refresh(&mut self, snapshot: Snapshot, parse: fn(&Entry) -> Option<T>) -> bool {
        if self.seen.as_ref().is_some_and(|seen| seen.map.ptr_eq(&snapshot.map)) {
            return false;
        }
        let mut old = std::mem::take(&mut self.parsed);
        for entry in snapshot.map.values() {
            let kept = old.remove(&entry.key.name).filter(|(revision, _)| *revision == entry.revision);
            let parsed = kept.or_else(|| parse(entry).map(|value| (entry.revision, Arc::new(value))));
            if let Some(parsed) = parsed {
                self.parsed.insert(entry.key.name.clone(), parsed);
            }
        }
        self.seen = Some(snapshot);
        true
    }
}

#[derive(Default)]
struct Shelves {
    cluster_roles: Shelf<Role>,
    roles: Shelf<Role>,
    cluster_bindings: Shelf<Binding>,
    bindings: Shelf<Binding>,
}

/// What a request is decided on; replaced whole when something changed.
#[derive(Default)]
struct View {
    roles: HashMap<Arc<str>, Arc<Role>>,
    cluster_roles: HashMap<Arc<str>, Arc<Vec<Rule>>>,
    cluster_wide: HashMap<Subject, Vec<Arc<Binding>>>,
    namespaced: HashMap<(String, Subject), Vec<Arc<Binding>>>,
}

/// The index.
pub struct Index {
    store: Store,
    shelves: Mutex<Shelves>,
    view: RwLock<Arc<View>>,
}

impl Index {
    /// An index over `store`.
    pub fn new(store: Store) -> Self {
        Self { store, shelves: Mutex::default(), view: RwLock::default() }
    }

    fn view(&self) -> Arc<View> {
        let mut shelves = self.shelves.lock();
        let changed = [
            shelves.cluster_roles.refresh(self.store.list(CLUSTER_ROLES), parse_role),
            shelves.roles.refresh(self.store.list(ROLES), parse_role),
            shelves.cluster_bindings.refresh(self.store.list(CLUSTER_BINDINGS), parse_binding),
            shelves.bindings.refresh(self.store.list(BINDINGS), parse_binding),
        ];
        if changed.contains(&true) {
            *self.view.write() = Arc::new(View::build(&shelves));
        }
        self.view.read().clone()
    }

    /// Why RBAC allows the request, if it does.
    pub fn allows(&self, user: &UserInfo, request: &Attributes<'_>) -> Option<String> {
        let view = self.view();
        view.bindings(user, request.namespace).find_map(|binding| {
            let rules = view.rules_of(binding);
            rules.iter().any(|rule| rule.allows(request)).then(|| reason(binding))
        })
    }

    /// Every rule that applies to `user` in `namespace` (with those of the cluster).
    pub fn rules(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        let view = self.view();
        let rules: Vec<Rule> =
            view.bindings(user, namespace).flat_map(|b| view.rules_of(b).to_vec()).collect();
        rules
    }

    /// The rules of a role that a binding in `namespace` refers to; `None` if there is no such role.
    pub fn role(&self, kind: &str, namespace: &str, name: &str) -> Option<Vec<Rule>> {
        let view = self.view();
        match kind {
            "ClusterRole" => view.cluster_roles.get(name).map(|rules| rules.to_vec()),
            _ => view.roles.get(format!("{namespace}/{name}").as_str()).map(|role| role.rules.clone()),
        }
    }
}

impl View {
    fn build(shelves: &Shelves) -> Self {
        let roles: HashMap<_, _> =
            shelves.roles.parsed.iter().map(|(k, (_, r))| (k.clone(), r.clone())).collect();
        let all: HashMap<_, _> =
            shelves.cluster_roles.parsed.iter().map(|(k, (_, r))| (k.clone(), r.clone())).collect();
        let cluster_roles = all
            .keys()
            .map(|name| (name.clone(), Arc::new(effective(&all, name, &mut HashSet::new()))))
            .collect();
        let mut view = Self { roles, cluster_roles, ..Self::default() };
        for (_, binding) in shelves.cluster_bindings.parsed.values() {
            for subject in &binding.subjects {
                view.cluster_wide.entry(subject.clone()).or_default().push(binding.clone());
            }
        }
        for (_, binding) in shelves.bindings.parsed.values() {
            for subject in &binding.subjects {
                let key = (binding.namespace.clone(), subject.clone());
                view.namespaced.entry(key).or_default().push(binding.clone());
            }
        }
        view
    }

    fn bindings<'a>(
        &'a self,
        user: &'a UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Binding>> {
        let subjects = || {
            let groups = user.groups.iter().map(|g| Subject::Group(g.clone()));
            std::iter::once(Subject::User(user.name.clone())).chain(groups)
        };
        let wide = subjects().filter_map(|s| self.cluster_wide.get(&s)).flatten();
        let here = subjects().filter_map(move |s| self.namespaced.get(&(namespace.to_owned(), s))).flatten();
        wide.chain(here)
    }

    fn rules_of(&self, binding: &Binding) -> &[Rule] {
        match binding.role_kind.as_str() {
            "ClusterRole" => {
                self.cluster_roles.get(binding.role.as_str()).map(|r| r.as_slice()).unwrap_or_default()
            }
            _ => {
                let role = self.roles.get(format!("{}/{}", binding.namespace, binding.role).as_str());
                role.map(|r| r.rules.as_slice()).unwrap_or_default()
            }
        }
    }
}

/// A ClusterRole's rules; an aggregated one has those of the roles it selects, theirs included.
fn effective(all: &HashMap<Arc<str>, Arc<Role>>, name: &str, seen: &mut HashSet<Arc<str>>) -> Vec<Rule> {
    let Some((name, role)) = all.get_key_value(name) else { return Vec::new() };
    if !seen.insert(name.clone()) {
        return Vec::new();
    }
    if role.aggregates.is_empty() {
        return role.rules.clone();
    }
    let mut selected: Vec<&Arc<str>> = all
        .iter()
        .filter(|(_, other)| {
            role.aggregates.iter().any(|wanted| wanted.iter().all(|l| other.labels.contains(l)))
        })
        .map(|(name, _)| name)
        .collect();
    selected.sort();
    let mut rules: Vec<Rule> = Vec::new();
    for part in selected {
        for rule in effective(all, part, seen) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    rules
}

/// The rules that the aggregated role `name` should show, given all ClusterRoles: what the aggregation controller writes.
pub fn aggregated_rules<'a>(roles: impl Iterator<Item = &'a Value>, name: &str) -> Vec<Value> {
    let all: HashMap<Arc<str>, Arc<Role>> =
        roles.map(|role| (Arc::from(meta(role, "name")), Arc::new(role_of(role)))).collect();
    effective(&all, name, &mut HashSet::new()).iter().map(Rule::to_value).collect()
}

fn reason(binding: &Binding) -> String {
    let (kind, name) = match binding.namespace.is_empty() {
        true => ("ClusterRoleBinding", binding.name.clone()),
        false => ("RoleBinding", format!("{}/{}", binding.name, binding.namespace)),
    };
    let subject = match binding.subjects.first() {
        Some(Subject::User(user)) => format!("User {}", user.quoted()),
        Some(Subject::Group(group)) => format!("Group {}", group.quoted()),
        None => String::new(),
    };
    format!(
        "RBAC: allowed by {kind} {} of {} {} to {subject}",
        name.quoted(),
        binding.role_kind,
        binding.role.quoted()
    )
}

fn labels(value: &Value) -> Vec<(String, String)> {
    let map = value.as_object().into_iter().flatten();
    map.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

fn role_of(value: &Value) -> Role {
    let selectors = at(value, &["aggregationRule", "clusterRoleSelectors"]);
    Role {
        labels: labels(at(value, &["metadata", "labels"])),
        rules: Rule::parse_all(value),
        aggregates: items(selectors).iter().map(|s| labels(at(s, &["matchLabels"]))).collect(),
    }
}

fn parse_role(entry: &Entry) -> Option<Role> {
    serde_json::from_slice::<Value>(&entry.value).ok().map(|value| role_of(&value))
}

fn parse_binding(entry: &Entry) -> Option<Binding> {
    let value: Value = serde_json::from_slice(&entry.value).ok()?;
    let namespace = meta(&value, "namespace");
    let subject = |subject: &Value| {
        let name = text(subject, &["name"]).to_owned();
        match text(subject, &["kind"]) {
            "User" => Some(Subject::User(name)),
            "Group" => Some(Subject::Group(name)),
            "ServiceAccount" => {
                let own = text(subject, &["namespace"]);
                let place = if own.is_empty() { namespace } else { own };
                Some(Subject::User(format!("system:serviceaccount:{place}:{name}")))
            }
            _ => None,
        }
    };
    Some(Binding {
        name: meta(&value, "name").to_owned(),
        namespace: namespace.to_owned(),
        role_kind: text(&value, &["roleRef", "kind"]).to_owned(),
        role: text(&value, &["roleRef", "name"]).to_owned(),
        subjects: items(at(&value, &["subjects"])).iter().filter_map(subject).collect(),
    })
}
