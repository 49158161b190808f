//! Pages for people and programs, and what upstream's routes and negotiation refuse.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const MAP: &str = "/api/v1/namespaces/default/configmaps/a";

impl World {
    /// Code, content type and text.
    async fn page(&self, method: &str, uri: &str, accept: &str) -> (u16, String, String) {
        let response = self.raw(method, uri, "", accept, "").await;
        let media = response.headers().get("content-type").map_or("", |media| media.to_str().unwrap());
        let (code, media) = (response.status().as_u16(), media.to_owned());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, media, String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[tokio::test]
async fn the_status_is_told_to_people_and_to_programs() {
    let w = world().await;
    let (code, media, text) = w.page("GET", "/statusz", "*/*").await;
    assert_eq!((code, &*media), (200, "text/plain; charset=utf-8"));
    assert!(text.starts_with("\napiserver statusz\nWarning: This endpoint is not meant to be"), "{text}");
    let paths = text.lines().last().unwrap();
    assert!(paths.ends_with(" /flagz /healthz /livez /metrics /readyz /version"), "{text}");
    let accept = "application/json;as=Statusz;v=v1beta1;g=config.k8s.io";
    let (code, media, text) = w.page("GET", "/statusz", accept).await;
    assert_eq!((code, &*media), (200, "application/json;g=config.k8s.io;v=v1beta1;as=Statusz"));
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["apiVersion"], "config.k8s.io/v1beta1");
    assert_eq!(status["metadata"], json!({"name": "apiserver"}));
    assert_eq!((&status["binaryVersion"], &status["emulationVersion"]), (&json!("1.36.0"), &json!("1.36")));
    assert!(status["uptimeSeconds"].is_u64() && status["startTime"].is_string(), "{status}");
    let (code, _, text) = w.page("GET", "/statusz", "application/json").await;
    assert_eq!(code, 406);
    let refused: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        refused["message"],
        "only the following media types are accepted: application/json, application/yaml, text/plain"
    );
}

#[tokio::test]
async fn flags_are_told_under_upstreams_names() {
    let w = world().await;
    let accept = "application/json;as=Flagz;v=v1alpha1;g=config.k8s.io";
    let response = w.raw("GET", "/flagz", "", accept, "").await;
    assert_eq!(
        response.headers()["warning"],
        "299 - \"This version of the flagz endpoint is deprecated. Please use a newer version.\""
    );
    let (_, _, text) = w.page("GET", "/flagz", accept).await;
    let flags: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(flags["kind"], "Flagz");
    assert_eq!(flags["flags"]["service-cluster-ip-range"], "10.96.0.0/12");
    assert_eq!(flags["flags"]["secure-port"], w.server.port().to_string());
    let (_, _, text) = w.page("GET", "/flagz", "").await;
    assert!(text.contains("\nservice-cluster-ip-range"), "{text}");
    let listed = w.get("/").await.body["paths"].clone();
    for path in ["/flagz", "/statusz", "/readyz/ping"] {
        assert!(listed.as_array().unwrap().contains(&json!(path)), "{path}");
    }
}

#[tokio::test]
async fn a_check_is_asked_by_its_whole_name() {
    let w = world().await;
    for (path, code) in [
        ("/readyz/ping", 200),
        ("/livez/autoregister-completion", 200),
        ("/livez/poststarthook/rbac/bootstrap-roles", 200),
        ("/livez/poststarthook", 404),
        ("/readyz/poststarthook/nonsense", 404),
        ("/healthz/ping/etcd", 404),
    ] {
        let (told, _, text) = w.page("GET", &format!("{path}?verbose"), "").await;
        let expected = if code == 200 { "ok" } else { "404 page not found\n" };
        assert_eq!((told, &*text), (code, expected), "{path}");
    }
}

#[tokio::test]
async fn metadata_is_of_an_object_or_of_a_list() {
    let w = world().await;
    assert_eq!(w.post(MAPS, json!({"metadata": {"name": "a"}})).await.code, 201);
    let of = |kind: &str| format!("application/json;as={kind};v=v1;g=meta.k8s.io");
    let (one, many) = (of("PartialObjectMetadata"), of("PartialObjectMetadataList"));
    assert_eq!(w.page("GET", MAP, &one).await.0, 200);
    assert_eq!(w.page("GET", MAPS, &many).await.0, 200);
    let why = async |uri: &str, accept: &str| {
        let (code, _, text) = w.page("GET", uri, accept).await;
        assert_eq!(code, 406, "{text}");
        let status: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(status["reason"], "NotAcceptable");
        status["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        why(MAPS, &one).await,
        "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)"
    );
    assert_eq!(
        why(MAP, &many).await,
        "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)"
    );
}

#[tokio::test]
async fn watches_are_not_yaml() {
    let w = world().await;
    let (code, _, text) = w.page("GET", &format!("{MAPS}?watch=true"), "application/yaml").await;
    assert_eq!(code, 406, "{text}");
    let text = text.replace("\n  ", " ");
    let streamed = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    assert!(text.contains(&format!("only the following media types are accepted: {streamed}")), "{text}");
    assert!(text.contains("reason: NotAcceptable"), "{text}");
}

#[tokio::test]
async fn what_upstream_has_no_route_for_is_refused() {
    let w = world().await;
    for (method, uri, code) in [
        ("HEAD", MAPS, 405),
        ("HEAD", "/api", 405),
        ("HEAD", "/api/v1", 405),
        ("HEAD", "/apis", 200),
        ("HEAD", "/apis/apps", 200),
        ("HEAD", "/apis/apps/v1", 405),
        ("HEAD", "/version", 405),
        ("HEAD", "/healthz", 200),
        ("GET", "/api/v1/watch/configmaps/a", 404),
        ("GET", "/api/v1/watch/namespaces/default/pods/p/status", 404),
        ("POST", "/api/v1/watch/namespaces/default/pods", 405),
        ("GET", "/api/v1/proxy/nodes/n1", 404),
        ("GET", "/api/v1/watch/namespaces/default?timeoutSeconds=1", 200),
        ("GET", "/api/v1/watch/configmaps?timeoutSeconds=1&fieldSelector=metadata.name%3Da", 200),
    ] {
        assert_eq!(w.raw(method, uri, "", "", "").await.status(), code, "{method} {uri}");
    }
}

#[tokio::test]
async fn an_old_description_is_found_where_it_is_now() {
    let w = world().await;
    let index = w.get("/openapi/v3").await.body;
    let place = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let moved = w.get("/openapi/v3/apis/apps/v1?hash=0").await;
    assert_eq!((moved.code, moved.headers["location"].to_str().unwrap()), (301, &*place));
    let there = w.get(&place).await;
    assert_eq!(there.code, 200);
    assert_eq!(there.headers["cache-control"], "public, immutable");
    assert_eq!(w.get("/openapi/v3/apis/apps/v1").await.code, 200);
    let proto = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
    let (code, media, text) = w.page("GET", "/openapi/v3/apis/apps/v1", proto).await;
    assert_eq!((code, &*media), (200, proto));
    assert!(text.contains("io.k8s.api.apps.v1.Deployment"));
    assert_eq!(w.page("GET", "/openapi/v3/apis/apps/v1", "text/html").await.0, 406);
}

/// A continue token of a list at a revision, behind a name.
fn token(revision: u64, after: &str) -> String {
    let start = format!("{after}\u{0}");
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start}).to_string())
}

#[tokio::test]
async fn a_page_of_a_list_that_is_not_yet_is_waited_for() {
    let w = world().await;
    for name in ["a", "b"] {
        assert_eq!(w.post(MAPS, json!({"metadata": {"name": name}})).await.code, 201);
    }
    let next = w.server.store().revision() + 1;
    let uri = format!("{MAPS}?limit=1&continue={}", token(next, "a"));
    let (listed, written) = tokio::join!(w.get(&uri), w.post(MAPS, json!({"metadata": {"name": "c"}})));
    assert_eq!(written.code, 201);
    assert_eq!(listed.code, 200, "{}", listed.body);
    assert_eq!(listed.body["items"][0]["metadata"]["name"], "b");
    assert_eq!(listed.body["metadata"]["resourceVersion"], next.to_string());
    tokio::time::pause();
    let never = w.get(&format!("{MAPS}?continue={}", token(next + 1000, "a"))).await;
    assert_eq!((never.code, &never.body["reason"]), (504, &json!("Timeout")));
    let said = never.body["message"].as_str().unwrap();
    assert!(said.starts_with(&format!("Timeout: Too large resource version: {}", next + 1000)), "{said}");
}

#[tokio::test]
async fn what_dashboards_read_is_there() {
    let w = world().await;
    assert_eq!(w.post(MAPS, json!({"metadata": {"name": "a"}})).await.code, 201);
    assert_eq!(w.get(MAPS).await.code, 200);
    drop(w.raw("GET", &format!("{MAPS}?watch=1"), "", "", "").await);
    let (_, _, text) = w.page("GET", "/metrics", "").await;
    for family in [
        "apiserver_request_total counter",
        "apiserver_request_duration_seconds histogram",
        "apiserver_request_sli_duration_seconds histogram",
        "apiserver_response_sizes histogram",
        "apiserver_longrunning_requests gauge",
        "apiserver_admission_step_admission_duration_seconds histogram",
        "etcd_request_duration_seconds histogram",
        "process_cpu_seconds_total counter",
        "process_resident_memory_bytes gauge",
        "process_start_time_seconds gauge",
        "process_open_fds gauge",
        "kubernetes_build_info gauge",
    ] {
        assert_eq!(text.matches(&format!("# TYPE {family}\n")).count(), 1, "{family}: {text}");
    }
    assert!(text.contains("apiserver_resource_objects{group=\"\",resource=\"configmaps\"} 1\n"), "{text}");
    let labels = "verb=\"LIST\",group=\"\",version=\"v1\",resource=\"configmaps\",subresource=\"\",scope=\"namespace\"";
    assert!(
        text.contains(&format!("{{component=\"apiserver\",{labels},dry_run=\"\",code=\"200\"}}")),
        "{text}"
    );
}

#[tokio::test]
async fn requests_are_counted_at_their_end_and_by_what_they_are() {
    const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";
    let w = world().await;
    let count = async |name: &str, labels: &str| {
        let (_, _, text) = w.page("GET", "/metrics", "").await;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("apiserver_{name}{{{labels}}} ")));
        line.map(str::to_owned)
    };
    let what = "group=\"\",version=\"v1\",resource=\"podtemplates\",subresource=\"\"";
    let watch = |scope: &str| format!("component=\"apiserver\",verb=\"WATCH\",{what},scope=\"{scope}\"");
    let uri = format!("{TEMPLATES}?watch=1&fieldSelector=metadata.name%3Da");
    let watching = w.raw("GET", &uri, "", "application/json", "").await;
    let (took, runs) = (format!("{},dry_run=\"\"", watch("namespace")), watch("resource"));
    assert_eq!(count("longrunning_requests", &runs).await.as_deref(), Some("1"));
    assert_eq!(count("request_duration_seconds_count", &took).await.as_deref(), Some("0"));
    drop(watching);
    assert_eq!(count("longrunning_requests", &runs).await.as_deref(), Some("0"));
    assert_eq!(count("request_duration_seconds_count", &took).await.as_deref(), Some("1"));
    assert_eq!(count("request_total", &format!("{took},code=\"200\"")).await.as_deref(), Some("1"));
    let template = json!({"metadata": {"name": "a"}, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}});
    assert_eq!(w.post(&format!("{TEMPLATES}?dryRun=All"), template).await.code, 201);
    let post = format!("component=\"apiserver\",verb=\"POST\",{what},scope=\"resource\"");
    let dry = format!("{post},dry_run=\"All\"");
    assert_eq!(count("request_total", &format!("{dry},code=\"201\"")).await.as_deref(), Some("1"));
    assert_eq!(count("request_duration_seconds_count", &dry).await.as_deref(), Some("1"));
    // nobody waits for what is not done
    assert_eq!(count("request_sli_duration_seconds_count", &post).await.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_watch_has_no_lists() {
    let w = world().await;
    assert_eq!(w.post(MAPS, json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await.code, 201);
    for (kind, whole) in [("PartialObjectMetadata", false), ("PartialObjectMetadataList", true)] {
        let accept = format!("application/json;as={kind};v=v1;g=meta.k8s.io");
        let uri =
            format!("{MAPS}?watch=1&resourceVersion=0&timeoutSeconds=1&fieldSelector=metadata.name%3Da");
        let (code, _, text) = w.page("GET", &uri, &accept).await;
        assert_eq!(code, 200, "{text}");
        let event: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(event["object"]["data"].is_object(), whole, "{kind}: {event}");
    }
}
