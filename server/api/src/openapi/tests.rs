use std::collections::HashSet;

use super::*;

const VERSION: &str = "v1.36.0+sampan";

fn document(group: &str, version: &str) -> Value {
    serde_json::from_str(&v3(group, version, VERSION).expect("a document")).expect("JSON")
}

/// Every `$ref` below a value.
fn references(value: &Value, found: &mut HashSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get("$ref") {
                found.insert(target.clone());
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(array) => array.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn no_reference_leads_nowhere() {
    for group in kinds::groups() {
        for version in group.versions {
            let document = document(group.name, version);
            let mut found = HashSet::new();
            references(&document, &mut found);
            for target in found {
                let name = target.strip_prefix("#/components/schemas/").expect("a schema");
                assert!(document["components"]["schemas"].get(name).is_some(), "{} {target}", group.name);
            }
        }
    }
    let document: Value = serde_json::from_str(&v2(VERSION)).expect("JSON");
    let mut found = HashSet::new();
    references(&document, &mut found);
    for target in found {
        let name = target.strip_prefix("#/definitions/").expect("a definition");
        assert!(document["definitions"].get(name).is_some(), "{target}");
    }
}

#[test]
fn schemas_carry_upstreams_extensions() {
    let core = document("", "v1");
    let schemas = &core["components"]["schemas"];
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(containers["items"], json!({"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}));
    let affinity = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["affinity"];
    assert_eq!(affinity["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.core.v1.Affinity");
    assert!(affinity["description"].is_string());
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "kind": "Pod", "version": "v1"}])
    );
    assert_eq!(schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"], "TCP");
    let list = &schemas["io.k8s.api.core.v1.ServiceList"]["properties"];
    assert_eq!(list["items"]["description"], "List of services");
    let v2: Value = serde_json::from_str(&v2(VERSION)).expect("JSON");
    let port = &v2["definitions"]["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"];
    assert!(port.is_object() && port.get("default").is_none(), "upstream prunes defaults from v2");
    let quantity = &schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"];
    assert_eq!(quantity["oneOf"].as_array().map(Vec::len), Some(2));
    assert!(schemas["io.k8s.api.policy.v1.Eviction"].is_object());
}

#[test]
fn operations_say_what_kubectl_looks_for() {
    let apps = document("apps", "v1");
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "kind": "Deployment", "version": "v1"})
    );
    let parameters = patch["parameters"].as_array().expect("parameters");
    for name in ["dryRun", "fieldManager", "fieldValidation", "force"] {
        assert!(parameters.iter().any(|found| found["name"] == name && found["in"] == "query"), "{name}");
    }
    assert!(patch["requestBody"]["content"]["application/apply-patch+yaml"].is_object());
    let core = document("", "v1");
    let id =
        |path: &str, method: &str| core["paths"][path][method]["operationId"].as_str().map(str::to_owned);
    for (path, method, expected) in [
        ("/api/v1/pods", "get", "listCoreV1PodForAllNamespaces"),
        ("/api/v1/namespaces/{namespace}/pods", "get", "listCoreV1NamespacedPod"),
        ("/api/v1/namespaces/{namespace}/pods", "delete", "deleteCoreV1CollectionNamespacedPod"),
        ("/api/v1/namespaces/{namespace}/pods/{name}", "get", "readCoreV1NamespacedPod"),
        ("/api/v1/namespaces/{namespace}/pods/{name}/exec", "post", "connectCoreV1PostNamespacedPodExec"),
        ("/api/v1/namespaces/{namespace}/pods/{name}/binding", "post", "createCoreV1NamespacedPodBinding"),
        ("/api/v1/namespaces/{namespace}/pods/{name}/log", "get", "readCoreV1NamespacedPodLog"),
        ("/api/v1/nodes/{name}/proxy/{path}", "get", "connectCoreV1GetNodeProxyWithPath"),
    ] {
        assert_eq!(id(path, method).as_deref(), Some(expected), "{path}");
    }
    assert!(v3("apps", "v2", VERSION).is_none());
}

#[test]
fn the_index_names_every_document() {
    let index = v3_index();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a url");
    assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={}", hash()));
    assert!(index["paths"]["api/v1"].is_object());
}

/// Walks protobuf and returns the bytes of each field with that tag.
fn fields_of(mut bytes: &[u8], wanted: u64) -> Vec<&[u8]> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = varint(&mut bytes) as usize;
        let length = if key & 7 == 2 { value } else { 0 };
        if key >> 3 == wanted {
            found.push(&bytes[..length]);
        }
        bytes = &bytes[length..];
    }
    found
}

#[test]
fn the_protobuf_reads_back() {
    let bytes = v2_proto(VERSION);
    assert_eq!(fields_of(&bytes, 1), [b"2.0"]);
    let definitions = fields_of(&bytes, 9)[0];
    let named = fields_of(definitions, 1);
    let find = |name: &str| {
        let found = named.iter().find(|entry| fields_of(entry, 1) == [name.as_bytes()]);
        fields_of(found.unwrap_or_else(|| panic!("no {name}")), 2)[0]
    };
    let spec = find("io.k8s.api.core.v1.PodSpec");
    let properties = fields_of(fields_of(spec, 25)[0], 1);
    let containers =
        properties.iter().find(|entry| fields_of(entry, 1) == [b"containers"]).expect("containers");
    let extensions = fields_of(fields_of(containers, 2)[0], 31);
    let strategy = extensions.iter().find(|entry| fields_of(entry, 1) == [b"x-kubernetes-patch-strategy"]);
    let yaml = fields_of(fields_of(strategy.expect("a strategy"), 2)[0], 2)[0];
    assert_eq!(yaml, b"merge\n");
    let paths = fields_of(fields_of(&bytes, 8)[0], 2);
    assert!(paths.iter().any(|entry| fields_of(entry, 1) == [b"/api/v1/namespaces/{namespace}/pods/{name}"]));
}

#[test]
fn the_protobuf_of_v3_reads_back() {
    let document = v3("", "v1", VERSION).expect("a document");
    let bytes = v3_proto(document.as_bytes()).expect("an object");
    assert_eq!(fields_of(&bytes, 1), [b"3.0.0"]);
    let named = |all: &[u8], tag: u64, name: &str| {
        let found = fields_of(all, tag).into_iter().find(|entry| fields_of(entry, 1) == [name.as_bytes()]);
        fields_of(found.unwrap_or_else(|| panic!("no {name}")), 2)[0].to_vec()
    };
    let schemas = fields_of(fields_of(&bytes, 5)[0], 1)[0].to_vec();
    // 1 is a schema, 2 a reference to one
    let spec = fields_of(&named(&schemas, 1, "io.k8s.api.core.v1.PodSpec"), 1)[0].to_vec();
    assert_eq!(fields_of(&spec, 25), [b"object"]);
    assert_eq!(fields_of(&spec, 23), [b"containers"]);
    let containers = fields_of(&named(fields_of(&spec, 31)[0], 1, "containers"), 1)[0].to_vec();
    let items = fields_of(fields_of(&containers, 30)[0], 1)[0].to_vec();
    let reference: &[u8] = b"#/components/schemas/io.k8s.api.core.v1.Container";
    assert_eq!(fields_of(fields_of(&items, 2)[0], 1), [reference]);
    let strategy = named(&containers, 36, "x-kubernetes-patch-strategy");
    assert_eq!(fields_of(&strategy, 2), [b"merge\n"]);
    let path = named(fields_of(&bytes, 4)[0], 1, "/api/v1/namespaces/{namespace}/pods/{name}");
    let get = fields_of(&path, 4)[0].to_vec();
    assert_eq!(fields_of(&get, 5), [b"readCoreV1NamespacedPod"]);
    let answer = named(fields_of(&get, 8)[0], 2, "200");
    let content = fields_of(fields_of(&answer, 1)[0], 3)[0].to_vec();
    assert!(!named(&content, 1, "application/json").is_empty());
    assert_eq!(v3_proto(b"[]"), None);
}
