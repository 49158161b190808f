//! The registry over its socket, and before Debian's docker-registry.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use sampan_addon::{Context, Drain, GroupHandler, Host, Native, Report, Reporter, Served, Site};
use sampan_addon_registry::Registry;
use sampan_process::{Component, Tasks};
use sampan_reconcile::Informers;
use sampan_testkit::{Image, free_port};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

struct NoHost;

impl Host for NoHost {
    fn serve_group(&self, _: &'static str, _: &'static str, _: GroupHandler) -> Served {
        Box::new(())
    }

    fn content_store(&self) -> Option<PathBuf> {
        None
    }
}

/// The addon on a port and a directory.
struct Running {
    url: String,
    drain: Drain,
    task: tokio::task::JoinHandle<Result<(), sampan_addon::Error>>,
    client: Client,
}

async fn start(data: &Path, port: u16, proxy: Value) -> Running {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let nobody =
        |_: http::Request<Bytes>| -> sampan_client::ResponseFuture { Box::pin(std::future::pending()) };
    let client = sampan_client::loopback(Arc::new(nobody), "default");
    let (tasks, health, drain) = (Tasks::new(Component::Addon("registry")), Reporter::new(), Drain::new());
    let site = Site {
        profile: "test".into(),
        node_name: "n1".into(),
        node_ips: vec![],
        bridge: String::new(),
        gateway: Ipv4Addr::LOCALHOST,
        pod_cidr: String::new(),
        service_cidr: String::new(),
        dns_ip: Ipv4Addr::LOCALHOST,
        cluster_domain: String::new(),
    };
    let context = Context {
        informers: Informers::new(client.clone(), tasks.clone()),
        client,
        site,
        data: data.to_owned(),
        health: health.clone(),
        tasks,
        host: Arc::new(NoHost),
    };
    let config = json!({"listen": format!("127.0.0.1:{port}"), "proxy": proxy});
    let until = drain.clone();
    let task = tokio::spawn(async move { Native::run(&Registry, &config, context, until).await });
    health.watch().wait_for(|report| *report == Report::Healthy).await.unwrap();
    Running { url: format!("http://127.0.0.1:{port}"), drain, task, client: Client::new() }
}

impl Running {
    fn ask(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(method.parse::<Method>().unwrap(), format!("{}{path}", self.url))
    }

    async fn status(&self, method: &str, path: &str) -> u16 {
        self.ask(method, path).send().await.unwrap().status().as_u16()
    }

    async fn stop(self) {
        self.drain.start();
        self.task.await.unwrap().unwrap();
    }

    async fn begin(&self, name: &str) -> String {
        let answer = self.ask("POST", &format!("/v2/{name}/blobs/uploads/")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        header(&answer, "location")
    }

    /// In two chunks and an end.
    async fn push_blob(&self, name: &str, bytes: &[u8]) -> String {
        let location = self.begin(name).await;
        let half = bytes.len() / 2;
        for (from, part) in [(0, &bytes[..half]), (half, &bytes[half..])] {
            let range = format!("{from}-{}", (from + part.len()).saturating_sub(1));
            let chunk = self.ask("PATCH", &location).header("content-range", range).body(part.to_vec());
            let answer = chunk.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::ACCEPTED);
            assert_eq!(header(&answer, "range"), format!("0-{}", (from + part.len()).saturating_sub(1)));
        }
        let digest = Image::digest(bytes);
        let answer = self.ask("PUT", &format!("{location}?digest={digest}")).send().await.unwrap();
        assert_eq!(
            (answer.status(), header(&answer, "docker-content-digest")),
            (StatusCode::CREATED, digest.clone())
        );
        digest
    }

    async fn push_manifest(&self, name: &str, reference: &str, value: &Value) -> Response {
        let body = value.to_string();
        let path = format!("/v2/{name}/manifests/{reference}");
        self.ask("PUT", &path).header("content-type", MANIFEST).body(body).send().await.unwrap()
    }
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).unwrap_or_else(|| panic!("{name} in {answer:?}")).to_str().unwrap().to_owned()
}

async fn code(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let value: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    (status, value["errors"][0]["code"].as_str().unwrap().to_owned())
}

fn manifest(config: &str, layers: &[&str]) -> Value {
    let descriptor = |digest: &str| json!({"mediaType": "application/x", "digest": digest, "size": 1});
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(config),
           "layers": layers.iter().map(|layer| descriptor(layer)).collect::<Vec<_>>()})
}

#[tokio::test]
async fn images_are_pushed_pulled_listed_and_deleted() {
    let data = tempfile::tempdir().unwrap();
    let port = free_port();
    let registry = start(data.path(), port, json!([])).await;
    assert_eq!(registry.status("GET", "/v2/").await, 200);
    let layer_bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let (config, layer) =
        (registry.push_blob("team/app", b"{}").await, registry.push_blob("team/app", &layer_bytes).await);
    let image = manifest(&config, &[&layer]);
    let pushed = registry.push_manifest("team/app", "v1", &image).await;
    assert_eq!(pushed.status(), StatusCode::CREATED);
    let digest = header(&pushed, "docker-content-digest");
    for reference in ["v1", &digest] {
        let pulled =
            registry.ask("GET", &format!("/v2/team/app/manifests/{reference}")).send().await.unwrap();
        assert_eq!(
            (header(&pulled, "content-type"), header(&pulled, "docker-content-digest")),
            (MANIFEST.into(), digest.clone())
        );
        assert_eq!(pulled.text().await.unwrap(), image.to_string());
    }
    let blob = format!("/v2/team/app/blobs/{layer}");
    let head = registry.ask("HEAD", &blob).send().await.unwrap();
    assert_eq!(header(&head, "content-length"), layer_bytes.len().to_string());
    assert_eq!(registry.ask("GET", &blob).send().await.unwrap().bytes().await.unwrap(), layer_bytes);
    let part = registry.ask("GET", &blob).header("range", "bytes=400000-400009").send().await.unwrap();
    assert_eq!(
        (part.status().as_u16(), header(&part, "content-range")),
        (206, "bytes 400000-400009/1200000".into())
    );
    assert_eq!(part.bytes().await.unwrap(), layer_bytes[400_000..400_010]);
    assert_eq!(
        registry.ask("GET", &blob).header("range", "bytes=1200000-").send().await.unwrap().status().as_u16(),
        416
    );

    // mounted, and pushed in one request
    let mount = format!("/v2/other/blobs/uploads/?mount={layer}&from=team/app");
    assert_eq!(registry.status("POST", &mount).await, 201);
    let nowhere = format!("/v2/other/blobs/uploads/?mount={}&from=team/app", Image::digest(b"nowhere"));
    assert_eq!(registry.status("POST", &nowhere).await, 202);
    let whole = format!("/v2/other/blobs/uploads/?digest={}", Image::digest(b"{}"));
    assert_eq!(registry.ask("POST", &whole).body("{}").send().await.unwrap().status().as_u16(), 201);
    for tag in ["a", "b", "c"] {
        assert_eq!(registry.push_manifest("other", tag, &image).await.status(), StatusCode::CREATED);
    }
    let list = registry.ask("GET", "/v2/other/tags/list?n=2").send().await.unwrap();
    assert_eq!(header(&list, "link"), "</v2/other/tags/list?last=b&n=2>; rel=\"next\"");
    assert_eq!(list.text().await.unwrap(), "{\"name\":\"other\",\"tags\":[\"a\",\"b\"]}");
    let rest = registry.ask("GET", "/v2/other/tags/list?last=b&n=2").send().await.unwrap();
    assert!(rest.headers().get("link").is_none() && rest.text().await.unwrap().contains("[\"c\"]"));
    let catalog = registry.ask("GET", "/v2/_catalog").send().await.unwrap().text().await.unwrap();
    assert_eq!(catalog, "{\"repositories\":[\"other\",\"team/app\"]}");

    // what is about an image
    let mut signature = manifest(&config, &[]);
    signature["artifactType"] = json!("application/signature");
    signature["subject"] = json!({"mediaType": MANIFEST, "digest": digest, "size": 1});
    let pushed = registry.push_manifest("team/app", "sig", &signature).await;
    assert_eq!(header(&pushed, "oci-subject"), digest);
    let about =
        registry.ask("GET", &format!("/v2/team/app/referrers/{digest}?artifactType=application/signature"));
    let about = about.send().await.unwrap();
    assert_eq!(header(&about, "oci-filters-applied"), "artifactType");
    let about: Value = serde_json::from_slice(&about.bytes().await.unwrap()).unwrap();
    assert_eq!(
        (about["manifests"].as_array().unwrap().len(), &about["manifests"][0]["artifactType"]),
        (1, &json!("application/signature"))
    );

    registry.stop().await;
    let registry = start(data.path(), port, json!([])).await;
    assert_eq!(registry.status("GET", "/v2/team/app/manifests/v1").await, 200, "after a restart");
    assert_eq!(registry.status("DELETE", "/v2/other/manifests/a").await, 202);
    assert_eq!(registry.status("GET", &format!("/v2/other/manifests/{digest}")).await, 200);
    assert_eq!(registry.status("DELETE", &format!("/v2/other/manifests/{digest}")).await, 202);
    assert_eq!(registry.status("GET", "/v2/other/manifests/b").await, 404);
    assert_eq!(registry.status("DELETE", &format!("/v2/other/blobs/{layer}")).await, 202);
    assert_eq!(registry.status("HEAD", &format!("/v2/other/blobs/{layer}")).await, 404);
    assert_eq!(registry.status("GET", &blob).await, 200, "another repository's");
    registry.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_the_specifications_words() {
    let data = tempfile::tempdir().unwrap();
    let registry = start(data.path(), free_port(), json!([])).await;
    let nothing = Image::digest(b"nothing");
    for (method, path, expect) in [
        ("GET", "/v2/a/manifests/x".to_owned(), (404, "MANIFEST_UNKNOWN")),
        ("GET", "/v2/a/tags/list".into(), (404, "NAME_UNKNOWN")),
        ("GET", "/v2/A/tags/list".into(), (400, "NAME_INVALID")),
        ("GET", format!("/v2/a/blobs/{nothing}"), (404, "BLOB_UNKNOWN")),
        ("DELETE", format!("/v2/a/blobs/{nothing}"), (404, "BLOB_UNKNOWN")),
        ("DELETE", "/v2/a/manifests/x".into(), (404, "MANIFEST_UNKNOWN")),
        ("PATCH", "/v2/a/blobs/uploads/x".into(), (404, "BLOB_UPLOAD_UNKNOWN")),
        ("POST", format!("/v2/a/blobs/{nothing}"), (405, "UNSUPPORTED")),
        ("GET", "/".into(), (404, "UNSUPPORTED")),
    ] {
        let answer = registry.ask(method, &path).send().await.unwrap();
        assert_eq!(code(answer).await, (expect.0, expect.1.to_owned()), "{method} {path}");
    }
    let put = |body: Value| registry.push_manifest("a", "x", Box::leak(Box::new(body)));
    assert_eq!(code(put(json!(1)).await).await, (400, "MANIFEST_INVALID".into()));
    assert_eq!(code(put(manifest(&nothing, &[])).await).await, (404, "MANIFEST_BLOB_UNKNOWN".into()));
    assert_eq!(code(put(json!({"x": "y".repeat(5 << 20)})).await).await, (413, "SIZE_INVALID".into()));
    let other = registry.push_manifest("a", &nothing, &json!({"schemaVersion": 2})).await;
    assert_eq!(code(other).await, (400, "DIGEST_INVALID".into()));

    // chunks out of order, and bytes that are not those of the digest
    let location = registry.begin("a").await;
    let out_of_order = registry.ask("PATCH", &location).header("content-range", "5-9").body("later");
    assert_eq!(code(out_of_order.send().await.unwrap()).await, (416, "BLOB_UPLOAD_INVALID".into()));
    let wrong = registry.ask("PUT", &format!("{location}?digest={nothing}")).body("something");
    assert_eq!(code(wrong.send().await.unwrap()).await, (400, "DIGEST_INVALID".into()));
    assert_eq!(registry.status("GET", &location).await, 404);
    let location = registry.begin("a").await;
    assert_eq!(registry.status("DELETE", &location).await, 204);
    assert_eq!(registry.status("GET", &location).await, 404);

    // pages of a browser
    let page = registry.ask("POST", "/v2/a/blobs/uploads/").header("origin", "http://evil.example");
    assert_eq!(code(page.send().await.unwrap()).await, (403, "DENIED".into()));
    let renamed = registry.ask("GET", "/v2/_catalog").header("host", "evil.example:5000");
    assert_eq!(code(renamed.send().await.unwrap()).await, (403, "DENIED".into()));
    registry.stop().await;
}

#[tokio::test]
async fn an_upload_that_broke_off_goes_on_where_it_was() {
    let data = tempfile::tempdir().unwrap();
    let port = free_port();
    let registry = start(data.path(), port, json!([])).await;
    let location = registry.begin("a").await;
    // announces ten bytes, sends four, and hangs up
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nfour");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    socket.read_to_end(&mut Vec::new()).await.unwrap();
    registry.stop().await;
    let registry = start(data.path(), port, json!([])).await;
    let progress = registry.ask("GET", &location).send().await.unwrap();
    assert_eq!((progress.status().as_u16(), header(&progress, "range")), (204, "0-3".into()));
    let digest = Image::digest(b"four and more");
    let rest = registry
        .ask("PUT", &format!("{location}?digest={digest}"))
        .header("content-range", "4-12")
        .body(" and more");
    assert_eq!(rest.send().await.unwrap().status().as_u16(), 201);
    let blob = registry.ask("GET", &format!("/v2/a/blobs/{digest}")).send().await.unwrap();
    assert_eq!(blob.text().await.unwrap(), "four and more");
    registry.stop().await;
}

/// A file system of two megabytes; taken off when dropped. Needs root.
struct Small(tempfile::TempDir);

impl Small {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), directory.path(), Some("tmpfs"), flags, Some("size=2m"))
            .expect("root");
        Self(directory)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing() {
    let disk = Small::new();
    let registry = start(disk.0.path(), free_port(), json!([])).await;
    let (config, layer) =
        (registry.push_blob("a", b"{}").await, registry.push_blob("a", &[7; 100_000]).await);
    let image = manifest(&config, &[&layer]);
    assert_eq!(registry.push_manifest("a", "v1", &image).await.status(), StatusCode::CREATED);
    let location = registry.begin("a").await;
    let large = registry.ask("PATCH", &location).body(vec![1; 3 << 20]).send().await.unwrap();
    assert_eq!(code(large).await, (507, "UNAVAILABLE".into()));
    assert_eq!(code(registry.push_manifest("a", "v2", &image).await).await.0, 507);
    assert_eq!(registry.status("GET", "/v2/a/manifests/v1").await, 200);
    let blob = registry.ask("GET", &format!("/v2/a/blobs/{layer}")).send().await.unwrap();
    assert_eq!(blob.bytes().await.unwrap(), vec![7; 100_000]);
    // as much is there as the disk could take
    let progress = registry.ask("GET", &location).send().await.unwrap();
    let last: u64 = header(&progress, "range").trim_start_matches("0-").parse().unwrap();
    let file = disk.0.path().join("uploads").join(header(&progress, "docker-upload-uuid"));
    assert_eq!((progress.status().as_u16(), last + 1), (204, std::fs::metadata(file).unwrap().len()));
    // what was given up makes room again
    assert_eq!(registry.status("DELETE", &location).await, 204);
    let mut last = StatusCode::INSUFFICIENT_STORAGE;
    for _ in 0..50 {
        last = registry.push_manifest("a", "v2", &image).await.status();
        if last != StatusCode::INSUFFICIENT_STORAGE {
            break;
        }
        // the file system may count what is gone a moment later
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(last, StatusCode::CREATED);
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_registrys_images_are_fetched_once_and_served_without_it() {
    let behind = sampan_testkit::Registry::start().unwrap();
    let image = Image::busybox().unwrap();
    behind.push(&image, "library/box", "latest").unwrap();
    let data = tempfile::tempdir().unwrap();
    let proxy = json!([{"registry": "docker.io", "url": behind.url(), "fallback": true}]);
    let registry = start(data.path(), free_port(), proxy).await;
    let layer = Image::digest(&image.layer);
    let pull = async |prefix: &str, query: &str| {
        let manifest = registry
            .ask("GET", &format!("/v2/{prefix}library/box/manifests/latest{query}"))
            .send()
            .await
            .unwrap();
        assert_eq!(manifest.status().as_u16(), 200, "{prefix}{query}");
        assert_eq!(manifest.bytes().await.unwrap(), image.manifest);
        let blob = registry
            .ask("GET", &format!("/v2/{prefix}library/box/blobs/{layer}{query}"))
            .send()
            .await
            .unwrap();
        assert_eq!(blob.status().as_u16(), 200, "{}", blob.text().await.unwrap());
        assert_eq!(header(&blob, "content-length"), image.layer.len().to_string());
        assert_eq!(blob.bytes().await.unwrap(), image.layer);
    };
    let head =
        registry.ask("HEAD", &format!("/v2/docker.io/library/box/blobs/{layer}")).send().await.unwrap();
    assert_eq!(header(&head, "content-length"), image.layer.len().to_string());
    pull("docker.io/", "").await;
    pull("", "?ns=docker.io").await;
    pull("", "").await;
    let tags = registry
        .ask("GET", "/v2/docker.io/library/box/tags/list")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(tags.contains("[\"latest\"]"), "{tags}");
    assert_eq!(registry.status("GET", "/v2/docker.io/library/none/manifests/latest").await, 404);
    assert_eq!(
        code(registry.ask("POST", "/v2/docker.io/x/blobs/uploads/").send().await.unwrap()).await.1,
        "DENIED"
    );
    drop(behind);
    pull("docker.io/", "").await;
    pull("", "").await;
    let gone = registry.ask("GET", "/v2/docker.io/library/none/manifests/latest").send().await.unwrap();
    assert_eq!(code(gone).await, (502, "UNAVAILABLE".into()));
    // what is kept is an image like any other
    let digest = Image::digest(&image.manifest);
    assert_eq!(
        registry.status("DELETE", &format!("/v2/docker.io/library/box/manifests/{digest}")).await,
        202
    );
    registry.stop().await;
}

#[tokio::test]
async fn two_requests_that_write_to_one_upload_lose_nothing() {
    let data = tempfile::tempdir().unwrap();
    let port = free_port();
    let running = start(data.path(), port, json!([])).await;
    let location = running.begin("a").await;
    let path = location.strip_prefix(&running.url).unwrap_or(&location).to_owned();
    let bytes = b"half and half";
    let digest = Image::digest(bytes);
    let mut first = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "PUT {path}?digest={digest} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\n\
         Connection: close\r\nExpect: 100-continue\r\n\r\n",
        bytes.len()
    );
    first.write_all(head.as_bytes()).await.unwrap();
    // it is asked for its body: it is writing now
    let mut go = [0; 25];
    first.read_exact(&mut go).await.unwrap();
    assert!(go.starts_with(b"HTTP/1.1 100"), "{go:?}");
    first.write_all(&bytes[..5]).await.unwrap();
    for (method, query) in [("PUT", format!("?digest={digest}")), ("PATCH", String::new())] {
        let second =
            running.ask(method, &format!("{path}{query}")).body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(code(second).await, (409, "BLOB_UPLOAD_INVALID".to_owned()), "{method}");
    }
    first.write_all(&bytes[5..]).await.unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    for (method, query) in [("PUT", format!("?digest={digest}")), ("PATCH", String::new())] {
        let late = running.ask(method, &format!("{path}{query}")).body(bytes.to_vec()).send().await.unwrap();
        assert_eq!(code(late).await, (404, "BLOB_UPLOAD_UNKNOWN".to_owned()), "{method}");
    }
    let blob = running.ask("GET", &format!("/v2/a/blobs/{digest}")).send().await.unwrap();
    assert_eq!(blob.bytes().await.unwrap().as_ref(), bytes);
    running.stop().await;
}

#[tokio::test]
async fn what_is_sent_to_a_cancelled_upload_is_not_taken_for_kept() {
    let data = tempfile::tempdir().unwrap();
    let port = free_port();
    let running = start(data.path(), port, json!([])).await;
    let location = running.begin("a").await;
    let path = location.strip_prefix(&running.url).unwrap_or(&location).to_owned();
    let mut first = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 4\r\n\
         Connection: close\r\nExpect: 100-continue\r\n\r\n"
    );
    first.write_all(head.as_bytes()).await.unwrap();
    first.read_exact(&mut [0; 25]).await.unwrap();
    assert_eq!(running.status("DELETE", &path).await, 204);
    first.write_all(b"lost").await.unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("BLOB_UPLOAD_UNKNOWN"), "{answer}");
    running.stop().await;
}
