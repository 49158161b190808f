//! What the server tells clients it serves: the JSON of `/api`, `/apis` and what lies below them.
//!
//! Plain discovery, one document per group and version, for old clients; aggregated discovery
//! (`apidiscovery.k8s.io`), one document for all, for new ones. Pure functions of [`crate::kinds`]; custom
//! resources and aggregated API servers are added by the API server, which appends to the lists.

use serde_json::{Map, Value, json};

use crate::kinds::{self, Group, Kind, Subresource};

/// The version of aggregated discovery that a client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregated {
    /// `apidiscovery.k8s.io/v2`, since Kubernetes 1.30.
    V2,
    /// `apidiscovery.k8s.io/v2beta1`, since 1.26.
    V2beta1,
}

impl Aggregated {
    /// The version of the group `apidiscovery.k8s.io`.
    pub fn version(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2beta1 => "v2beta1",
        }
    }

    /// The content type of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }

    /// The first version in an Accept header that this module can write, if the client asks for one before
    /// plain JSON.
    pub fn accepted(accept: &str) -> Option<Self> {
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parts: Vec<&str> = parts.collect();
            let has = |wanted: &str| parts.contains(&wanted);
            if media != "application/json" && media != "*/*" && media != "application/*" {
                continue;
            }
            if !has("as=APIGroupDiscoveryList") || !has("g=apidiscovery.k8s.io") {
                return None;
            }
            match () {
                () if has("v=v2") => return Some(Self::V2),
                () if has("v=v2beta1") => return Some(Self::V2beta1),
                () => {}
            }
        }
        None
    }
}

/// `/api`: the versions of the core group and the address clients reach the server at (`host:port`).
pub fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `/apis`: every named group.
pub fn api_group_list() -> Value {
    let named = kinds::groups().iter().filter(|group| !group.name.is_empty());
    let groups: Vec<Value> = named.map(|group| Value::Object(group_body(group))).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
pub fn api_group(name: &str) -> Option<Value> {
    let group = kinds::group(name).filter(|group| !group.name.is_empty())?;
    let mut object = Map::new();
    object.insert("kind".into(), "APIGroup".into());
    object.insert("apiVersion".into(), "v1".into());
    object.extend(group_body(group));
    Some(Value::Object(object))
}

fn group_body(group: &Group) -> Map<String, Value> {
    let version =
        |version: &str| json!({"groupVersion": kinds::api_version(group.name, version), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(|name| version(name)).collect();
    let mut body = Map::new();
    body.insert("name".into(), group.name.into());
    body.insert("preferredVersion".into(), versions.first().cloned().unwrap_or_default());
    body.insert("versions".into(), versions.into());
    body
}

/// `/api/v1` and `/apis/<group>/<version>`.
pub fn api_resource_list(group: &str, version: &str) -> Option<Value> {
    resource_list(group, version, kinds::of_version(group, version))
}

/// As [`api_resource_list`], of kinds that may be custom resources; `None` without any.
pub fn resource_list<'a>(group: &str, version: &str, kinds: impl Iterator<Item = &'a Kind>) -> Option<Value> {
    let (mut resources, mut custom) = (Vec::<(String, Value)>::new(), false);
    for kind in kinds {
        custom |= kind.custom.is_some();
        resources.push((kind.plural.to_owned(), resource(kind)));
        for sub in kind.subresources {
            let name = format!("{}/{}", kind.plural, sub.name);
            resources.push((name.clone(), subresource(kind, sub, &name)));
        }
    }
    if resources.is_empty() {
        return None;
    }
    // of a custom resource the status comes before the scale
    let own = |name: &str| if custom { name.split('/').next().unwrap_or_default() } else { name }.to_owned();
    resources.sort_by_cached_key(|(name, _)| own(name));
    let resources: Vec<Value> = resources.into_iter().map(|(_, value)| value).collect();
    let mut list = Map::new();
    list.insert("kind".into(), "APIResourceList".into());
    if !group.is_empty() {
        list.insert("apiVersion".into(), "v1".into());
    }
    list.insert("groupVersion".into(), kinds::api_version(group, version).into());
    list.insert("resources".into(), resources.into());
    Some(Value::Object(list))
}

fn resource(kind: &Kind) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), kind.plural.into());
    object.insert("singularName".into(), kind.singular.into());
    object.insert("namespaced".into(), kind.namespaced.into());
    object.insert("kind".into(), kind.kind.into());
    object.insert("verbs".into(), kind.verbs.into());
    for (name, values) in [("shortNames", kind.short_names), ("categories", kind.categories)] {
        if !values.is_empty() {
            object.insert(name.into(), values.into());
        }
    }
    if !kind.storage_hash.is_empty() {
        object.insert("storageVersionHash".into(), kind.storage_hash.into());
    }
    Value::Object(object)
}

fn subresource(kind: &Kind, sub: &Subresource, name: &str) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), name.into());
    object.insert("singularName".into(), "".into());
    object.insert("namespaced".into(), kind.namespaced.into());
    if (sub.group, sub.version) != (kind.group, kind.version) {
        object.insert("group".into(), sub.group.into());
        object.insert("version".into(), sub.version.into());
    }
    object.insert("kind".into(), sub.kind.into());
    object.insert("verbs".into(), sub.verbs.into());
    Value::Object(object)
}

/// `/api` for clients that accept aggregated discovery.
pub fn aggregated_core(format: Aggregated) -> Value {
    aggregated(format, kinds::groups().iter().filter(|group| group.name.is_empty()))
}

/// `/apis` for clients that accept aggregated discovery.
pub fn aggregated_groups(format: Aggregated) -> Value {
    aggregated(format, kinds::groups().iter().filter(|group| !group.name.is_empty()))
}

fn aggregated<'a>(format: Aggregated, groups: impl Iterator<Item = &'a Group>) -> Value {
    let items: Vec<Value> = groups.map(aggregated_group).collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{}", format.version()),
        "metadata": {},
        "items": items,
    })
}

fn aggregated_group(group: &Group) -> Value {
    let mut metadata = Map::new();
    if !group.name.is_empty() {
        metadata.insert("name".into(), group.name.into());
    }
    let versions: Vec<Value> =
        group.versions.iter().map(|version| aggregated_version(group.name, version)).collect();
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_version(group: &str, version: &str) -> Value {
    let mut kinds: Vec<&Kind> = kinds::of_version(group, version).collect();
    kinds.sort_by_key(|kind| kind.plural);
    let resources: Vec<Value> = kinds.into_iter().map(aggregated_resource).collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

fn response_kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let mut object = Map::new();
    object.insert("resource".into(), kind.plural.into());
    object.insert("responseKind".into(), response_kind(kind.group, kind.version, kind.kind));
    object.insert("scope".into(), if kind.namespaced { "Namespaced" } else { "Cluster" }.into());
    object.insert("singularResource".into(), kind.singular.into());
    object.insert("verbs".into(), kind.verbs.into());
    for (name, values) in [("shortNames", kind.short_names), ("categories", kind.categories)] {
        if !values.is_empty() {
            object.insert(name.into(), values.into());
        }
    }
    let subresource = |sub: &Subresource| {
        json!({
            "subresource": sub.name,
            "responseKind": response_kind(sub.group, sub.version, sub.kind),
            "verbs": sub.verbs,
        })
    };
    let subresources: Vec<Value> = kind.subresources.iter().map(subresource).collect();
    if !subresources.is_empty() {
        object.insert("subresources".into(), subresources.into());
    }
    Value::Object(object)
}

/// A group of an aggregated API server among [`api_group_list`]'s, the preferred version first.
pub fn other_group_body(name: &str, versions: &[&str]) -> Value {
    let version =
        |version: &&str| json!({"groupVersion": kinds::api_version(name, version), "version": version});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

/// Puts versions of [`other_group_body`] or [`aggregated_other`] ahead of those that a group of the registry has.
pub fn put_ahead(group: &mut Value, mut more: Value) {
    let Some(own) = group.get_mut("versions").and_then(Value::as_array_mut) else { return };
    if let Some(more) = more.get_mut("versions").and_then(Value::as_array_mut) {
        more.append(own);
        std::mem::swap(own, more);
    }
    let first = own.first().cloned().unwrap_or_default();
    if let Some(preferred) = group.get_mut("preferredVersion") {
        *preferred = first;
    }
}

/// `/apis/<group>` of an aggregated API server.
pub fn other_group(name: &str, versions: &[&str]) -> Value {
    let mut group = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Value::Object(group), Value::Object(body)) = (&mut group, other_group_body(name, versions)) {
        group.extend(body);
    }
    group
}

/// A group of an aggregated API server among [`aggregated_groups`]', made of the `APIResourceList` of each version;
/// a version without one cannot be asked at present.
pub fn aggregated_other<'a>(
    name: &str,
    versions: impl Iterator<Item = (&'a str, Option<&'a Value>)>,
) -> Value {
    let version = |(version, list): (&str, Option<&Value>)| match list {
        Some(list) => json!({
            "version": version, "resources": from_plain(name, version, list), "freshness": "Current",
        }),
        None => json!({"version": version, "freshness": "Stale"}),
    };
    let versions: Vec<Value> = versions.map(version).collect();
    json!({"metadata": {"name": name}, "versions": versions})
}

/// Upstream's `ConvertGroupVersionIntoToDiscovery`.
fn from_plain(group: &str, version: &str, list: &Value) -> Vec<Value> {
    let items = list.get("resources").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = |item: &Value| {
        let or = |own: String, of: &str| if own.is_empty() { of.to_owned() } else { own };
        response_kind(
            &or(text(item, "group"), group),
            &or(text(item, "version"), version),
            &text(item, "kind"),
        )
    };
    let split = |item: &Value| match text(item, "name").split_once('/') {
        Some((of, sub)) => (of.to_owned(), Some(sub.to_owned())),
        None => (text(item, "name"), None),
    };
    let mut resources = Vec::new();
    for item in items.iter().filter(|item| split(item).1.is_none()) {
        let namespaced = item.get("namespaced").and_then(Value::as_bool) == Some(true);
        let mut resource = json!({
            "resource": text(item, "name"), "responseKind": kind(item),
            "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": text(item, "singularName"), "verbs": item.get("verbs"),
        });
        for key in ["shortNames", "categories"] {
            if let Some(values) = item.get(key) {
                resource[key] = values.clone();
            }
        }
        let own = items.iter().filter_map(|sub| {
            let (of, name) = split(sub);
            let name = name.filter(|_| of == text(item, "name"))?;
            Some(json!({"subresource": name, "responseKind": kind(sub), "verbs": sub.get("verbs")}))
        });
        let own: Vec<Value> = own.collect();
        if !own.is_empty() {
            resource["subresources"] = own.into();
        }
        resources.push(resource);
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_documents_read_as_upstreams() {
        let groups = api_group_list();
        let names: Vec<&str> = groups["groups"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|group| group["name"].as_str())
            .collect();
        assert_eq!(names[..4], ["apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io"]);
        let autoscaling = api_group("autoscaling").expect("a group");
        assert_eq!(autoscaling["preferredVersion"]["groupVersion"], "autoscaling/v2");
        assert!(api_group("").is_none());
        assert!(api_resource_list("apps", "v2").is_none());
        assert_eq!(
            api_versions("10.0.0.1:6443")["serverAddressByClientCIDRs"][0]["serverAddress"],
            "10.0.0.1:6443"
        );
    }

    #[test]
    fn resources_are_sorted_and_name_foreign_kinds() {
        let list = api_resource_list("", "v1").expect("core");
        assert!(list.get("apiVersion").is_none());
        let resources = list["resources"].as_array().expect("resources");
        let names: Vec<&str> = resources.iter().filter_map(|resource| resource["name"].as_str()).collect();
        assert!(names.is_sorted());
        let find = |name: &str| &resources[names.iter().position(|found| *found == name).expect(name)];
        assert_eq!(
            find("pods/eviction"),
            &json!({"name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy",
                "version": "v1", "kind": "Eviction", "verbs": ["create"]})
        );
        assert_eq!(
            find("configmaps"),
            &json!({"name": "configmaps", "singularName": "configmap", "namespaced": true, "kind": "ConfigMap",
                "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                "shortNames": ["cm"], "storageVersionHash": "qFsyl6wFWjQ="})
        );
        assert!(find("pods/exec").get("group").is_none());
    }

    #[test]
    fn the_aggregated_document_holds_all() {
        let groups = aggregated_groups(Aggregated::V2);
        assert_eq!(groups["apiVersion"], "apidiscovery.k8s.io/v2");
        let items = groups["items"].as_array().expect("items");
        assert_eq!(items.len() + 1, kinds::groups().len());
        let core = aggregated_core(Aggregated::V2beta1);
        assert_eq!(core["items"][0]["metadata"], json!({}));
        let resources = core["items"][0]["versions"][0]["resources"].as_array().expect("resources");
        let pods = resources.iter().find(|resource| resource["resource"] == "pods").expect("pods");
        assert_eq!(pods["scope"], "Namespaced");
        assert_eq!(pods["subresources"].as_array().map(Vec::len), Some(10));
    }

    #[test]
    fn groups_of_others_are_shown_by_what_they_say() {
        let list = json!({"resources": [
            {"name": "widgets", "singularName": "widget", "namespaced": true, "kind": "Widget", "verbs": ["get"],
             "shortNames": ["w"]},
            {"name": "widgets/scale", "namespaced": true, "group": "autoscaling", "version": "v1", "kind": "Scale",
             "verbs": ["get"]},
            {"name": "racks", "singularName": "", "namespaced": false, "kind": "Rack", "verbs": ["list"]},
        ]});
        let shown = aggregated_other("x.io", [("v1", Some(&list)), ("v2", None)].into_iter());
        let widgets = &shown["versions"][0]["resources"][0];
        assert_eq!(widgets["scope"], "Namespaced");
        assert_eq!(widgets["responseKind"], json!({"group": "x.io", "version": "v1", "kind": "Widget"}));
        assert_eq!(
            widgets["subresources"],
            json!([{"subresource": "scale", "verbs": ["get"],
                "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}}])
        );
        assert_eq!(shown["versions"][0]["resources"][1]["scope"], "Cluster");
        assert_eq!(shown["versions"][1], json!({"version": "v2", "freshness": "Stale"}));
        assert_eq!(
            other_group("x.io", &["v1"]),
            json!({"kind": "APIGroup", "apiVersion": "v1", "name": "x.io",
                "preferredVersion": {"groupVersion": "x.io/v1", "version": "v1"},
                "versions": [{"groupVersion": "x.io/v1", "version": "v1"}]})
        );
    }

    #[test]
    fn accept_headers_choose_the_form() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                       application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        for (accept, expected) in [
            (kubectl, Some(Aggregated::V2)),
            (
                "application/json;as=APIGroupDiscoveryList;v=v2beta1;g=apidiscovery.k8s.io",
                Some(Aggregated::V2beta1),
            ),
            ("application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList, application/json", None),
            ("application/json, */*", None),
            ("", None),
        ] {
            assert_eq!(Aggregated::accepted(accept), expected, "{accept}");
        }
    }
}
