//! Every resource that Kubernetes v1.36 serves: one row each, looked up by resource or by kind.
//!
//! The rows are generated from upstream's API surface. What a kind *does* (defaults, validation, status
//! split) is not here: that is its strategy in the API server. Custom resources have rows too, which are not here:
//! they come and go at run time, and the API server keeps them.

#[rustfmt::skip]
mod rows;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::crd::Custom;
use crate::fields;

/// One resource of one version: names, scope, verbs, where it is stored and how it is shaped.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The API group; empty for core.
    pub group: &'static str,
    /// The version, such as `v1`.
    pub version: &'static str,
    /// The kind, such as `Pod`.
    pub kind: &'static str,
    /// The resource name in paths, such as `pods`.
    pub plural: &'static str,
    /// The singular name that kubectl accepts.
    pub singular: &'static str,
    /// Abbreviations that kubectl accepts.
    pub short_names: &'static [&'static str],
    /// Groups of resources that kubectl accepts, such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Discovery's verbs in alphabetical order.
    pub verbs: &'static [&'static str],
    /// What is served below one object.
    pub subresources: &'static [Subresource],
    /// The store's bucket: versions of one kind share it, and so do both groups of events.
    pub storage_group: &'static str,
    /// The version in which upstream stores the kind.
    pub storage_version: &'static str,
    /// Upstream's hash of group, storage version and kind; empty for what is never stored.
    pub storage_hash: &'static str,
    /// Answered, never stored: reviews, bindings, component statuses.
    pub virtual_: bool,
    /// The name of the schema, such as `io.k8s.api.core.v1.Pod`.
    pub schema: &'static str,
    /// What the definition of a custom resource says at present; `None` for built-in kinds.
    pub custom: Option<&'static Custom>,
}

/// A path below an object, such as `status` or `exec`.
#[derive(Debug, Clone, Copy)]
pub struct Subresource {
    /// The last element of the path.
    pub name: &'static str,
    /// The group of the kind it takes and gives.
    pub group: &'static str,
    /// The version of that kind.
    pub version: &'static str,
    /// The kind it takes and gives, such as `Scale`.
    pub kind: &'static str,
    /// Discovery's verbs in alphabetical order.
    pub verbs: &'static [&'static str],
    /// The schema of that kind.
    pub schema: &'static str,
}

/// A group and its versions, the preferred one first.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The name; empty for core.
    pub name: &'static str,
    /// Versions in upstream's order of priority.
    pub versions: &'static [&'static str],
}

/// What most rows share.
const ROW: Kind = Kind {
    group: "",
    version: "",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: false,
    verbs: &[],
    subresources: &[],
    storage_group: "",
    storage_version: "",
    storage_hash: "",
    virtual_: false,
    schema: "",
    custom: None,
};

const fn sub(
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
    schema: &'static str,
) -> Subresource {
    Subresource { name, group, version, kind, verbs, schema }
}

impl Kind {
    /// `v1` or `apps/v1`, as `apiVersion` spells it.
    pub fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }

    /// The kind of a list of these, such as `PodList`.
    pub fn list_kind(&self) -> String {
        match self.custom {
            Some(custom) => custom.list_kind().to_owned(),
            None => format!("{}List", self.kind),
        }
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether discovery lists the verb.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// `pods` or `deployments.apps`, as messages name a resource.
    pub fn qualified(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }
}

impl Subresource {
    /// Whether discovery lists the verb.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }
}

/// `v1` for core, `group/version` for the rest.
pub fn api_version(group: &str, version: &str) -> String {
    match group {
        "" => version.to_owned(),
        _ => format!("{group}/{version}"),
    }
}

/// All rows, core first, then groups and versions in alphabetical order.
pub fn all() -> &'static [Kind] {
    rows::KINDS
}

/// All groups in the order of upstream's `/apis`, core first.
pub fn groups() -> &'static [Group] {
    rows::GROUPS
}

/// The group of that name.
pub fn group(name: &str) -> Option<&'static Group> {
    rows::GROUPS.iter().find(|group| group.name == name)
}

/// The kinds of one group and version.
pub fn of_version<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Kind> + use<'a> {
    rows::KINDS.iter().filter(move |kind| kind.group == group && kind.version == version)
}

type Index = HashMap<[&'static str; 3], &'static Kind>;

static BY_RESOURCE: LazyLock<Index> = LazyLock::new(|| index(|kind| kind.plural));
static BY_KIND: LazyLock<Index> = LazyLock::new(|| index(|kind| kind.kind));

fn index(name: fn(&Kind) -> &'static str) -> Index {
    rows::KINDS.iter().map(|kind| ([kind.group, kind.version, name(kind)], kind)).collect()
}

/// The row of a resource in a path.
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    BY_RESOURCE.get(&[group, version, plural]).copied()
}

/// The row of an object's `apiVersion` and `kind`.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    BY_KIND.get(&[group, version, kind]).copied()
}

/// The schema of what an object's `apiVersion` and `kind` name: a resource's kind, its list, or what only
/// subresources take and give.
pub fn schema_of(api_version: &str, kind: &str) -> Option<&'static str> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if let Some(found) = by_kind(group, version, kind) {
        return Some(found.schema);
    }
    let named = |name: String| fields::type_of(&name).map(|ty| ty.name);
    if let Some(item) = kind.strip_suffix("List").and_then(|item| by_kind(group, version, item)) {
        return named(format!("{}List", item.schema));
    }
    let package = if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) };
    named(format!("io.k8s.api.{package}.{version}.{kind}"))
        .or_else(|| named(format!("io.k8s.apimachinery.pkg.apis.meta.{version}.{kind}")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_is_found_by_both_names() {
        for kind in all() {
            let resource = by_resource(kind.group, kind.version, kind.plural);
            assert_eq!(resource.map(|found| found.kind), Some(kind.kind));
            let found = by_kind(kind.group, kind.version, kind.kind);
            assert_eq!(found.map(|found| found.plural), Some(kind.plural));
        }
        assert!(by_resource("", "v2", "pods").is_none());
    }

    #[test]
    fn what_an_object_says_it_is_leads_to_its_schema() {
        for (api_version, kind, schema) in [
            ("v1", "Pod", Some("io.k8s.api.core.v1.Pod")),
            ("apps/v1", "DeploymentList", Some("io.k8s.api.apps.v1.DeploymentList")),
            ("autoscaling/v1", "Scale", Some("io.k8s.api.autoscaling.v1.Scale")),
            ("v1", "Status", Some("io.k8s.apimachinery.pkg.apis.meta.v1.Status")),
            ("policy/v1", "Eviction", Some("io.k8s.api.policy.v1.Eviction")),
            (
                "apiregistration.k8s.io/v1",
                "APIServiceList",
                Some("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceList"),
            ),
            ("example.com/v1", "Pod", None),
            ("v1", "Nothing", None),
        ] {
            assert_eq!(schema_of(api_version, kind), schema, "{api_version} {kind}");
        }
    }

    #[test]
    fn groups_list_exactly_the_versions_that_have_kinds() {
        let of_rows: HashSet<_> = all().iter().map(|kind| (kind.group, kind.version)).collect();
        let of_groups: HashSet<_> = groups()
            .iter()
            .flat_map(|group| group.versions.iter().map(move |version| (group.name, *version)))
            .collect();
        assert_eq!(of_rows, of_groups);
    }

    #[test]
    fn rows_say_what_upstream_says() {
        let row = |group: &str, version, plural| *by_resource(group, version, plural).expect("a row");
        let pods = row("", "v1", "pods");
        assert_eq!((pods.singular, pods.short_names, pods.categories), ("pod", &["po"][..], &["all"][..]));
        assert_eq!(pods.storage_hash, "xPOwRZ+Yhw8=");
        assert_eq!(pods.schema, "io.k8s.api.core.v1.Pod");
        let sub = |kind: Kind, name| *kind.subresource(name).expect("a subresource");
        assert_eq!(sub(pods, "exec").verbs, ["create", "get"]);
        assert_eq!(sub(pods, "proxy").verbs, ["create", "delete", "get", "patch", "update"]);
        assert_eq!(sub(pods, "log").verbs, ["get"]);
        assert_eq!(sub(pods, "eviction").group, "policy");
        assert_eq!(sub(row("apps", "v1", "deployments"), "scale").schema, "io.k8s.api.autoscaling.v1.Scale");
        assert_eq!(sub(row("", "v1", "serviceaccounts"), "token").kind, "TokenRequest");
        assert_eq!(row("events.k8s.io", "v1", "events").storage_group, "events");
        let hpa = [
            row("autoscaling", "v1", "horizontalpodautoscalers"),
            row("autoscaling", "v2", "horizontalpodautoscalers"),
        ];
        assert_eq!(hpa[0].storage_group, "horizontalpodautoscalers.autoscaling");
        assert_eq!(hpa[0].storage_hash, hpa[1].storage_hash);
        assert!(!row("", "v1", "namespaces").allows("deletecollection"));
        assert!(row("authorization.k8s.io", "v1", "selfsubjectaccessreviews").virtual_);
    }
}
