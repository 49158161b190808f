//! Custom resources: definitions, objects in several versions, subresources, selectors, tables, and the end.

use futures::StreamExt;

use super::*;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const TABS: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";

fn definition() -> Value {
    let schema = |more: Value| {
        let mut spec = json!({"type": "object", "required": ["cronSpec"], "properties": {
            "cronSpec": {"type": "string", "pattern": "^(\\S+ ){4}\\S+$"},
            "image": {"type": "string", "default": "busybox"},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
            "color": {"type": "string", "enum": ["red", "blue"]},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                "items": {"type": "object", "required": ["port"], "properties": {
                    "port": {"type": "integer"}, "name": {"type": "string"}}}},
            "size": {"x-kubernetes-int-or-string": true},
            "extra": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }});
        for (key, value) in more.as_object().unwrap() {
            spec["properties"][key] = value.clone();
        }
        json!({"openAPIV3Schema": {"type": "object", "description": "A crontab.", "properties": {
            "spec": spec,
            "status": {"type": "object", "properties": {
                "replicas": {"type": "integer"}, "selector": {"type": "string"}}}}}})
    };
    let version = |name: &str, storage: bool, more: Value| {
        json!({"name": name, "served": true, "storage": storage, "schema": schema(more),
            "selectableFields": [{"jsonPath": ".spec.color"}],
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
            "additionalPrinterColumns": [
                {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec", "description": "When."},
                {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
                {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {"group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "shortNames": ["ct"],
                "categories": ["all"]},
            "versions": [version("v1", true, json!({})),
                version("v2", false, json!({"zone": {"type": "string", "default": "UTC"}}))]}})
}

fn tab(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec})
}

impl World {
    /// Waits until the definition's condition is as said.
    pub(super) async fn until(&self, name: &str, condition: &str, status: &str) -> Value {
        let store = self.server.store();
        let mut watch = store.watch(crate::crd::DEFINITIONS, "", store.revision()).unwrap();
        loop {
            let now = self.get(&format!("{CRDS}/{name}")).await.body;
            let told = now["status"]["conditions"].as_array().into_iter().flatten();
            if told.clone().any(|one| one["type"] == condition && one["status"] == status) {
                return now;
            }
            watch.next().await.unwrap().unwrap();
        }
    }

    /// Waits until there is no such definition.
    async fn until_gone(&self, name: &str) {
        let store = self.server.store();
        let mut watch = store.watch(crate::crd::DEFINITIONS, "", store.revision()).unwrap();
        while self.get(&format!("{CRDS}/{name}")).await.code != 404 {
            watch.next().await.unwrap().unwrap();
        }
    }

    async fn with_crontabs() -> Self {
        let world = world().await;
        assert_eq!(world.get(TABS).await.code, 404);
        let created = world.post(CRDS, definition()).await;
        assert_eq!(created.code, 201, "{}", created.body);
        assert_eq!(created.body["status"]["storedVersions"], json!(["v1"]));
        world.until("crontabs.stable.example.com", "Established", "True").await;
        world
    }

    async fn put(&self, uri: &str, body: &Value) -> Got {
        self.call("PUT", uri, "application/json", &body.to_string()).await
    }
}

#[tokio::test]
async fn a_definition_is_established_and_discovered() {
    let world = World::with_crontabs().await;
    let told = world.until("crontabs.stable.example.com", "NamesAccepted", "True").await;
    assert_eq!(told["status"]["acceptedNames"]["listKind"], "CronTabList");
    let list = world.get("/apis/stable.example.com/v1").await.body;
    let names: Vec<&str> =
        list["resources"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["crontabs", "crontabs/status", "crontabs/scale"]);
    assert_eq!(list["resources"][0]["shortNames"], json!(["ct"]));
    let group = world.get("/apis/stable.example.com").await.body;
    assert_eq!(group["preferredVersion"]["version"], "v2");
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = world.raw("GET", "/apis", "", accept, "").await.into_body().collect().await.unwrap().to_bytes();
    let all: Value = serde_json::from_slice(&all).unwrap();
    let own = all["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "stable.example.com");
    let tabs = &own.unwrap()["versions"][1]["resources"][0];
    assert_eq!((&tabs["resource"], &tabs["categories"]), (&json!("crontabs"), &json!(["all"])));
    let index = world.get("/openapi/v3").await.body;
    let before = index["paths"]["apis/stable.example.com/v1"]["serverRelativeURL"].clone();
    let v3 = world.get(before.as_str().unwrap()).await.body;
    let schema = &v3["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(schema["properties"]["spec"]["properties"]["image"]["default"], "busybox");
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "CronTab");
    assert!(v3["components"]["schemas"].get("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").is_some());
    // kubectl takes from here how to patch
    let place = "/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}";
    let patches = v3["paths"][place]["patch"]["requestBody"]["content"].as_object().unwrap();
    assert!(patches.contains_key("application/merge-patch+json"));
    assert!(!patches.contains_key("application/strategic-merge-patch+json"));
    let v2 = world.get("/openapi/v2").await.body;
    assert!(v2["definitions"].get("com.example.stable.v2.CronTab").is_some());
    let extra =
        &v2["definitions"]["com.example.stable.v1.CronTab"]["properties"]["spec"]["properties"]["extra"];
    assert_eq!(extra, &json!({"x-kubernetes-preserve-unknown-fields": true}));
    // a changed schema is published at once, at another place
    let change = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/more",
        "value": {"type": "boolean", "description": "New."}}]);
    let uri = format!("{CRDS}/crontabs.stable.example.com");
    let changed = world.call("PATCH", &uri, "application/json-patch+json", &change.to_string()).await;
    assert_eq!(changed.code, 200, "{}", changed.body);
    let index = world.get("/openapi/v3").await.body;
    let after = index["paths"]["apis/stable.example.com/v1"]["serverRelativeURL"].clone();
    assert_ne!(before, after);
    let v3 = world.get(after.as_str().unwrap()).await.body;
    let schema = &v3["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(schema["properties"]["spec"]["properties"]["more"]["type"], "boolean");
}

#[tokio::test]
async fn objects_are_defaulted_pruned_and_validated() {
    let world = World::with_crontabs().await;
    let body =
        tab("a", json!({"cronSpec": "* * * * */5", "unknown": 1, "extra": {"kept": [1]}, "size": "10%"}));
    let created = world.post(TABS, body).await;
    assert_eq!(created.code, 201, "{}", created.body);
    assert_eq!(created.headers["warning"], "299 - \"unknown field \\\"spec.unknown\\\"\"");
    let spec = json!({"cronSpec": "* * * * */5", "extra": {"kept": [1]}, "size": "10%", "image": "busybox", "replicas": 1});
    assert_eq!(created.body["spec"], spec);
    assert_eq!(created.body["metadata"]["generation"], 1);
    let strict = world
        .post(&format!("{TABS}?fieldValidation=Strict"), tab("b", json!({"cronSpec": "* * * * *", "x": 1})))
        .await;
    assert_eq!(
        strict.body["message"],
        "CronTab in version \"v1\" cannot be handled as a CronTab: strict decoding error: unknown field \"spec.x\""
    );
    let wrong = tab(
        "b",
        json!({"cronSpec": "often", "replicas": 11, "color": "green", "image": 3,
        "ports": [{"port": 1}, {"port": 1}], "size": true}),
    );
    let refused = world.post(TABS, wrong).await;
    assert_eq!(refused.code, 422);
    let causes: Vec<(&str, &str)> = refused.body["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| (cause["field"].as_str().unwrap(), cause["message"].as_str().unwrap()))
        .collect();
    let expected = [
        ("spec.cronSpec", "Invalid value: \"often\": spec.cronSpec in body should match '^(\\S+ ){4}\\S+$'"),
        ("spec.replicas", "Invalid value: 11: spec.replicas in body should be less than or equal to 10"),
        ("spec.color", "Unsupported value: \"green\": supported values: \"red\", \"blue\""),
        ("spec.image", "Invalid value: \"integer\": spec.image in body must be of type string: \"integer\""),
        (
            "spec.size",
            "Invalid value: \"boolean\": spec.size in body must be of type integer,string: \"boolean\"",
        ),
        ("spec.ports[1]", "Duplicate value: {\"port\":1}"),
    ];
    for one in expected {
        assert!(causes.contains(&one), "{one:?} {causes:?}");
    }
    let missing = world.post(TABS, tab("b", json!({}))).await;
    assert_eq!(
        missing.body["message"],
        "CronTab.stable.example.com \"b\" is invalid: spec.cronSpec: Required value"
    );
    let uri = format!("{TABS}/a");
    let patched = world.merge(&uri, json!({"spec": {"replicas": 3, "junk": 1}})).await;
    assert_eq!((patched.code, &patched.body["metadata"]["generation"]), (200, &json!(2)));
    assert!(patched.body["spec"].get("junk").is_none());
    let strategic = world.call("PATCH", &uri, "application/strategic-merge-patch+json", "{}").await;
    assert_eq!((strategic.code, &strategic.body["reason"]), (415, &json!("UnsupportedMediaType")));
    let mut unpinned = patched.body.clone();
    for revision in [Value::Null, "0".into()] {
        unpinned["metadata"]["resourceVersion"] = revision;
        let refused = world.put(&uri, &unpinned).await;
        assert_eq!(
            refused.body["details"]["causes"][0]["message"],
            "Invalid value: 0: must be specified for an update"
        );
    }
}

#[tokio::test]
async fn versions_status_scale_selectors_and_tables() {
    let world = World::with_crontabs().await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        let spec = json!({"cronSpec": "* * * * *", "color": color});
        let mut object = tab(name, spec);
        object["status"] = json!({"replicas": 9});
        let created = world.post(TABS, object).await;
        assert_eq!(created.code, 201, "{}", created.body);
        assert!(created.body.get("status").is_none(), "the status is its subresource's");
    }
    let uri = "/apis/stable.example.com/v2/namespaces/default/crontabs";
    let newer = world.get(&format!("{uri}/a")).await.body;
    assert_eq!(newer["apiVersion"], "stable.example.com/v2");
    assert!(
        newer["spec"].get("zone").is_none(),
        "what is read has the defaults of the version it is stored in"
    );
    let mut status = world.get(&format!("{TABS}/a")).await.body;
    assert!(status["spec"].get("zone").is_none());
    status["status"] = json!({"replicas": 1, "selector": "app=a", "unknown": true});
    status["spec"]["image"] = "ignored".into();
    let written = world.put(&format!("{TABS}/a/status"), &status).await.body;
    assert_eq!(written["status"], json!({"replicas": 1, "selector": "app=a"}));
    assert_eq!(
        (&written["spec"]["image"], &written["metadata"]["generation"]),
        (&json!("busybox"), &json!(1))
    );
    let scale = world.get(&format!("{TABS}/a/scale")).await.body;
    assert_eq!(
        (&scale["kind"], &scale["spec"], &scale["status"]),
        (&json!("Scale"), &json!({"replicas": 1}), &json!({"replicas": 1, "selector": "app=a"}))
    );
    let scaled = world.merge(&format!("{TABS}/a/scale"), json!({"spec": {"replicas": 4}})).await;
    assert_eq!((scaled.code, &scaled.body["spec"]["replicas"]), (200, &json!(4)), "{}", scaled.body);
    let beyond = world.merge(&format!("{TABS}/a/scale"), json!({"spec": {"replicas": 40}})).await;
    assert_eq!(beyond.code, 422, "the schema holds for scale too");
    let red = world.get(&format!("{TABS}?fieldSelector=spec.color%3Dred")).await.body;
    assert_eq!((&red["kind"], red["items"].as_array().unwrap().len()), (&json!("CronTabList"), 1));
    let other = world.get(&format!("{TABS}?fieldSelector=spec.image%3Dx")).await.body;
    assert_eq!(other["message"], "field label not supported: spec.image");
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = world.raw("GET", TABS, "", accept, "").await.into_body().collect().await.unwrap().to_bytes();
    let table: Value = serde_json::from_slice(&table).unwrap();
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Spec", "Replicas", "Age"]);
    assert_eq!(table["columnDefinitions"][2]["priority"], 1);
    assert_eq!(
        table["rows"][0]["cells"].as_array().unwrap()[..3],
        [json!("a"), json!("* * * * *"), json!(4)]
    );
    let table = world.raw("GET", &format!("{TABS}/a/scale"), "", accept, "").await.into_body();
    let table: Value = serde_json::from_slice(&table.collect().await.unwrap().to_bytes()).unwrap();
    let columns = table["columnDefinitions"].as_array().unwrap();
    let names: Vec<&str> = columns.iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..3], [json!("a"), json!(4), json!(1)]);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn finalizers_are_named_well_whenever_they_are_added() {
    let world = World::with_crontabs().await;
    let one = format!("{TABS}/a");
    let told = |got: &Got| got.headers.get("warning").map(|text| text.to_str().unwrap().to_owned());
    let mut new = tab("a", json!({"cronSpec": "* * * * *"}));
    new["metadata"]["finalizers"] = json!(["foo"]);
    let made = world.post(TABS, new).await;
    let warning = told(&made).unwrap_or_default();
    assert!(made.code == 201 && warning.contains("prefer a domain-qualified finalizer name to"), "{warning}");
    let refused = world.merge(&one, json!({"metadata": {"finalizers": ["a b"]}})).await;
    let why = refused.body["message"].as_str().unwrap_or_default();
    assert!(refused.code == 422 && why.contains("metadata.finalizers: Invalid value: \"a b\""), "{why}");
    let added = world.merge(&one, json!({"metadata": {"finalizers": ["foo", "a.b"]}})).await;
    let warning = told(&added).unwrap_or_default();
    assert!(warning.contains("a.b") && warning.contains("including a path (/)"), "{warning}");
    assert!(!warning.contains("foo"), "{warning}");
    let freed = world.merge(&one, json!({"metadata": {"finalizers": ["a.b"]}})).await;
    assert_eq!((freed.code, told(&freed)), (200, None));
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_and_watches_with_it() {
    let world = World::with_crontabs().await;
    let mut held = tab("held", json!({"cronSpec": "* * * * *"}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    assert_eq!(world.post(TABS, held).await.code, 201);
    assert_eq!(world.post(TABS, tab("free", json!({"cronSpec": "* * * * *"}))).await.code, 201);
    let watch = world.raw("GET", &format!("{TABS}?watch=1&resourceVersion=1"), "", "*/*", "").await;
    let name = "crontabs.stable.example.com";
    let deleted = world.delete(&format!("{CRDS}/{name}")).await;
    assert_eq!(deleted.body["metadata"]["finalizers"], json!([sampan_api::crd::CLEANUP]));
    world.until(name, "Terminating", "True").await;
    let refused = world.post(TABS, tab("late", json!({"cronSpec": "* * * * *"}))).await;
    assert_eq!(refused.code, 405);
    assert_eq!(refused.body["message"], "create not allowed while custom resource definition is terminating");
    let store = world.server.store();
    let mut objects = store.watch(name, "", store.revision()).unwrap();
    while world.get(&format!("{TABS}/free")).await.code != 404 {
        objects.next().await.unwrap().unwrap();
    }
    let mut held = world.get(&format!("{TABS}/held")).await.body;
    while held["metadata"].get("deletionTimestamp").is_none() {
        objects.next().await.unwrap().unwrap();
        held = world.get(&format!("{TABS}/held")).await.body;
    }
    assert_eq!(
        world.merge(&format!("{TABS}/held"), json!({"metadata": {"finalizers": null}})).await.code,
        200
    );
    world.until_gone(name).await;
    assert_eq!(world.get(TABS).await.code, 404);
    assert_eq!(world.get("/apis/stable.example.com/v1").await.code, 404);
    let body = watch.into_body().into_data_stream().collect::<Vec<_>>().await;
    assert!(!body.is_empty(), "it told what happened, and ended");
    // the same again begins anew
    assert_eq!(world.post(CRDS, definition()).await.code, 201);
    world.until(name, "Established", "True").await;
    assert!(world.get(TABS).await.body["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn names_in_use_are_refused_until_they_are_free() {
    let world = World::with_crontabs().await;
    let mut other = definition();
    other["metadata"]["name"] = "tabs.stable.example.com".into();
    other["spec"]["names"] = json!({"plural": "tabs", "kind": "Tab", "shortNames": ["ct"]});
    assert_eq!(world.post(CRDS, other).await.code, 201);
    let told = world.until("tabs.stable.example.com", "NamesAccepted", "False").await;
    let accepted =
        told["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "NamesAccepted");
    let accepted = accepted.unwrap();
    assert_eq!(
        (&accepted["reason"], &accepted["message"]),
        (&json!("ShortNamesConflict"), &json!("\"ct\" is already in use"))
    );
    assert_eq!(world.get("/apis/stable.example.com/v1/tabs").await.code, 404);
    world.delete(&format!("{CRDS}/crontabs.stable.example.com")).await;
    world.until("tabs.stable.example.com", "Established", "True").await;
    assert_eq!(world.get("/apis/stable.example.com/v1/tabs").await.code, 200);
}

#[tokio::test]
async fn what_is_wrong_with_a_definition() {
    let world = world().await;
    let mut wrong = definition();
    wrong["spec"]["versions"][1]["storage"] = true.into();
    let spec = &mut wrong["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["properties"]["bad"] = json!({"type": "array"});
    spec["properties"]["worse"] = json!({"description": "no type"});
    spec["properties"]["default"] = json!({"type": "integer", "default": "x"});
    let refused = world.post(CRDS, wrong).await;
    let message = refused.body["message"].as_str().unwrap().to_owned();
    for part in [
        "spec.versions: Invalid value:",
        "must have exactly one version marked as storage version",
        "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[bad].items: Required value: must be specified",
        "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[worse].type: Required value: must not be empty for specified object fields",
    ] {
        assert!(message.contains(part), "{part}\n{message}");
    }
    let mut named = definition();
    named["metadata"]["name"] = "other".into();
    let refused = world.post(CRDS, named).await;
    assert_eq!(
        refused.body["message"],
        "CustomResourceDefinition.apiextensions.k8s.io \"other\" is invalid: metadata.name: Invalid value: \"other\": must be spec.names.plural+\".\"+spec.group"
    );
}

#[tokio::test]
async fn fields_have_managers() {
    let world = World::with_crontabs().await;
    let apply = async |manager: &str, force: &str, version: &str, spec: Value| {
        let config = json!({"apiVersion": format!("stable.example.com/{version}"), "kind": "CronTab",
            "metadata": {"name": "a"}, "spec": spec});
        let uri = TABS.replace("v1", version);
        let uri = format!("{uri}/a?fieldManager={manager}&force={force}");
        world.call("PATCH", &uri, "application/apply-patch+yaml", &config.to_string()).await
    };
    let ports = json!([{"port": 80, "name": "web"}]);
    let one =
        apply("one", "false", "v1", json!({"cronSpec": "* * * * *", "ports": ports, "replicas": 2})).await;
    assert_eq!(one.code, 201, "{}", one.body);
    assert_eq!(one.body["spec"]["image"], "busybox");
    let fields = &one.body["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    assert!(fields["f:ports"].get("k:{\"port\":80}").is_some(), "{fields}");
    assert!(fields.get("f:image").is_none(), "what is a default belongs to nobody");
    let two = apply("two", "false", "v2", json!({"replicas": 3, "ports": [{"port": 443}]})).await;
    assert_eq!(two.code, 409);
    assert_eq!(two.body["details"]["causes"][0]["field"], ".spec.replicas");
    let two =
        apply("two", "true", "v2", json!({"replicas": 3, "ports": [{"port": 443}], "zone": "CET"})).await;
    assert_eq!(two.code, 200, "{}", two.body);
    assert_eq!(two.body["spec"]["ports"].as_array().unwrap().len(), 2);
    let unknown = apply("two", "true", "v1", json!({"nothing": 1})).await;
    assert_eq!(unknown.code, 500, "{}", unknown.body);
    assert!(
        unknown.body["message"].as_str().unwrap().contains(".spec.nothing: field not declared in schema")
    );
    let less = apply("one", "false", "v1", json!({"cronSpec": "* * * * *"})).await;
    assert_eq!(less.body["spec"]["ports"], json!([{"port": 443}]), "{}", less.body);
}

#[tokio::test]
async fn definitions_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let services = ServiceBlock::new(Ipv4Addr::new(10, 96, 0, 0), 12);
    let world = World { server: ApiServer::new(config(&folder, services)).await.unwrap(), _folder: folder };
    world.post(CRDS, definition()).await;
    world.until("crontabs.stable.example.com", "Established", "True").await;
    assert_eq!(world.post(TABS, tab("a", json!({"cronSpec": "* * * * *"}))).await.code, 201);
    let World { server, _folder: folder } = world;
    server.store().close().await;
    drop(server);
    let world = World { server: ApiServer::new(config(&folder, services)).await.unwrap(), _folder: folder };
    let kept = world.get(&format!("{TABS}/a")).await;
    assert_eq!((kept.code, &kept.body["spec"]["image"]), (200, &json!("busybox")));
}

#[tokio::test]
async fn bodies_of_custom_resources_say_what_they_are() {
    let world = World::with_crontabs().await;
    let spec = json!({"cronSpec": "* * * * *"});
    let bare = world.post(TABS, json!({"metadata": {"name": "a"}, "spec": spec})).await;
    assert_eq!(bare.code, 400);
    let message = bare.body["message"].as_str().unwrap();
    let begin = "the object provided is unrecognized (must be of type CronTab): Object 'Kind' is missing in '{\"metadata\":";
    assert!(message.starts_with(begin), "{message}");
    let mut other = tab("a", spec);
    other["kind"] = "Ship".into();
    let refused = world.post(TABS, other).await;
    assert_eq!(refused.code, 422);
    assert_eq!(
        refused.body["message"],
        "Ship.stable.example.com \"a\" is invalid: kind: Invalid value: \"Ship\": must be CronTab"
    );
    let unknown = world.get(&format!("{TABS}/a/nothing")).await;
    assert_eq!(
        (unknown.code, &unknown.body["message"]),
        (404, &json!("crontabs.stable.example.com \"a\" not found"))
    );
    let misplaced = world.get("/apis/stable.example.com/v1/crontabs/a").await;
    assert_eq!((misplaced.code, misplaced.body), (404, json!("404 page not found\n")));
}
