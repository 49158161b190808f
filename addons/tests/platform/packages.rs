//! Packages: add, enable, break, look, mend, upgrade, remove.

use std::sync::Mutex;

use sampan_addons::package::{Files, Source};
use sampan_addons::{ErrorKind, Sort, State, Step};
use serde_json::{Value, json};

use crate::world::{World, quiet, words};

const ADDON: &str = "apiVersion: sampan.dev/v1
name: web
summary: {en: A page}
maintainer: us
version: 1.0.0
namespace: default
images: {nginx: 'nginx:1.27'}
values:
  replicas: {type: integer, default: 1, minimum: 1}
manifests: [web.yaml]
checks:
- name: the page is there
  field: {apiVersion: v1, kind: ConfigMap, name: page, path: data.title, value: hello}
";

const WEB: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {title: hello, replicas: '${replicas:text}'}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: ${replicas}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: '${images.nginx}'}]}
";

fn packed(addon: &str, web: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("addon.yaml"), addon).unwrap();
    std::fs::write(folder.path().join("web.yaml"), web).unwrap();
    Files::of_folder(folder.path()).unwrap().pack().unwrap()
}

/// What a deployment controller would write.
async fn ready(world: &World, replicas: i64) {
    let generation =
        world.get("apps/v1", "Deployment", "default", "web").await.unwrap()["metadata"]["generation"].clone();
    let status = json!({"observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas});
    world.patch("apps/v1", "Deployment", "default", "web", json!({"status": status})).await;
}

/// Enables, and plays the controllers once the platform waits for them.
async fn enable(
    world: &World,
    addons: &sampan_addons::Addons,
    set: &[&str],
    replicas: i64,
) -> Result<sampan_addons::Status, sampan_addons::Error> {
    let (tell, mut waits) = tokio::sync::mpsc::unbounded_channel();
    let progress = move |step: Step| {
        if matches!(step, Step::Waiting { .. }) {
            let _ = tell.send(());
        }
    };
    let set = words(set);
    let play = async {
        if waits.recv().await.is_some() {
            ready(world, replicas).await;
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        result = addons.enable("web", &set, Some(6), &progress) => result,
        () = play => unreachable!("it plays for ever"),
    }
}

async fn broken_pod(world: &World) {
    world
        .create(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "default", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx:1.27"}]}}))
        .await;
    let container = json!({"name": "c", "image": "nginx:1.27", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}});
    world.patch("v1", "Pod", "default", "web-1", json!({"status": {"containerStatuses": [container]}})).await;
}

#[tokio::test]
async fn a_package_lives() {
    let world = World::new().await;
    let platform = world.platform().await;
    let addons = &platform.addons;
    let details = addons.add(&packed(ADDON, WEB), None, &quiet).await.unwrap();
    assert_eq!(
        (details.status.name.as_str(), details.status.sort, details.status.enabled),
        ("web", Sort::Package, false)
    );
    assert!(world.map("default", "page").await.is_none(), "adding is not enabling");
    assert_eq!(addons.images("web").unwrap(), json!({"nginx": "nginx:1.27"}));

    let status = enable(&world, addons, &["replicas=2"], 2).await.unwrap();
    assert_eq!((status.enabled, status.health.state), (true, State::Healthy));
    let deployment = world.get("apps/v1", "Deployment", "default", "web").await.unwrap();
    assert_eq!(
        (&deployment["spec"]["replicas"], &deployment["metadata"]["labels"]["sampan.dev/addon"]),
        (&json!(2), &json!("web"))
    );
    assert_eq!(world.map("default", "page").await.unwrap()["data"]["replicas"], "2");

    // it breaks: health says so, with what to do
    broken_pod(&world).await;
    let unwell = json!({"status": {"availableReplicas": 1, "readyReplicas": 1}});
    world.patch("apps/v1", "Deployment", "default", "web", unwell).await;
    let health = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        loop {
            let health = addons.show("web").unwrap().status.health;
            if health.state == State::Failed {
                return health;
            }
            tokio::task::yield_now().await;
        }
    });
    let health = health.await.unwrap();
    assert!(
        health.reason.contains(
            "pod default/web-1: the image nginx:1.27 cannot be pulled (ImagePullBackOff): no such tag"
        ),
        "{health:?}"
    );
    assert!(health.next.contains("sampan image load"));

    // a restart needs no folder
    platform.stop().await;
    let platform = world.platform().await;
    assert_eq!(platform.addons.show("web").unwrap().configuration, json!({"replicas": 2}));

    platform.addons.remove("web", &quiet).await.unwrap();
    assert!(world.map("default", "page").await.is_none());
    assert!(world.get("apps/v1", "Deployment", "default", "web").await.is_none());
    assert!(
        world.map("kube-system", "addon-web").await.is_none()
            && world.map("kube-system", "addon-web.package").await.is_none()
    );
    assert_eq!(platform.addons.show("web").unwrap_err().kind(), ErrorKind::NotFound);
    platform.stop().await;
}

#[tokio::test]
async fn a_package_that_does_not_become_healthy_is_taken_back() {
    let world = World::new().await;
    let platform = world.platform().await;
    let addons = &platform.addons;
    addons.add(&packed(ADDON, WEB), None, &quiet).await.unwrap();
    broken_pod(&world).await;
    let error = enable(&world, addons, &[], 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(
        error.to_string().contains("cannot be pulled") && error.to_string().contains("nothing of it is left"),
        "{error}"
    );
    assert!(world.owned("web").await.is_empty());

    // a check that does not hold
    world.delete("v1", "Pod", "default", "web-1").await;
    addons.add(&packed(&ADDON.replace("value: hello", "value: bye"), WEB), None, &quiet).await.unwrap();
    let error = enable(&world, addons, &[], 1).await.unwrap_err().to_string();
    assert!(error.contains("the check \"the page is there\" fails: ConfigMap default/page: data.title is \"hello\", not \"bye\""), "{error}");
    assert!(world.owned("web").await.is_empty());
    platform.stop().await;
}

#[tokio::test]
async fn another_version_prunes_what_it_no_longer_has_and_goes_back_if_it_fails() {
    let world = World::new().await;
    let platform = world.platform().await;
    let addons = &platform.addons;
    let two = format!("{WEB}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: old}}\n");
    addons.add(&packed(ADDON, &two), None, &quiet).await.unwrap();
    enable(&world, addons, &[], 1).await.unwrap();
    assert_eq!(world.owned("web").await, ["old", "page"]);

    let next = ADDON.replace("1.0.0", "2.0.0");
    let new = format!("{WEB}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: new}}\n");
    let details = addons.add(&packed(&next, &new), None, &quiet).await.unwrap();
    assert_eq!(details.status.version, "2.0.0");
    assert_eq!(world.owned("web").await, ["new", "page"]);

    // the third wants what is somebody else's
    world.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": "default"}})).await;
    let third = ADDON.replace("1.0.0", "3.0.0");
    let taking = format!("{WEB}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: theirs}}\n");
    let error = addons.add(&packed(&third, &taking), None, &quiet).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Owned);
    assert!(
        error.to_string().contains("ConfigMap default/theirs") && error.to_string().contains("(web.yaml:16)"),
        "{error}"
    );
    assert_eq!(addons.show("web").unwrap().status.version, "2.0.0");
    assert_eq!(world.owned("web").await, ["new", "page"]);
    platform.stop().await;
}

#[tokio::test]
async fn packages_that_are_not_in_order_are_refused_whole() {
    let world = World::new().await;
    let platform = world.platform().await;
    let addons = &platform.addons;
    let cases = [
        (packed(ADDON, "kind: ["), "web.yaml:2: did not find"),
        (packed(&ADDON.replace("name: web\n", "name: echo\n"), WEB), "echo is built in"),
        (packed(ADDON, &WEB.replace("kind: ConfigMap", "kind: Nothing")), ""),
        (b"nonsense".to_vec(), "archive"),
    ];
    let mut results = Vec::new();
    for (files, words) in &cases {
        results.push((addons.add(files, None, &quiet).await, words));
    }
    for (result, words) in results {
        match (result, *words) {
            // whether a kind exists the cluster says, when it is enabled
            (Ok(_), "") => {
                let error = addons.enable("web", &[], Some(1), &quiet).await.unwrap_err().to_string();
                assert!(error.contains("v1 Nothing (web.yaml:1): the cluster has no such kind"), "{error}");
            }
            (result, words) => {
                let error = result.unwrap_err();
                let kind = error.kind();
                assert!(matches!(kind, ErrorKind::Package | ErrorKind::BuiltIn), "{error}");
                assert!(error.to_string().contains(words), "{error}");
            }
        }
    }
    assert!(world.owned("web").await.is_empty());
    platform.stop().await;
}

/// Pushes a folder's files as `oras push` does: as one archive, or each by itself.
async fn push(registry: &sampan_testkit::Registry, name: &str, files: &[(&str, &str)]) -> String {
    use oci_client::client::{Client, ClientConfig, ClientProtocol, Config, ImageLayer};
    let layer = |(title, text): &(&str, &str)| {
        let title = [("org.opencontainers.image.title".to_owned(), (*title).to_owned())].into();
        ImageLayer::new(text.as_bytes().to_vec(), "application/yaml".to_owned(), Some(title))
    };
    let layers: Vec<ImageLayer> = match files {
        [] => vec![ImageLayer::oci_v1_gzip(packed(ADDON, WEB), None)],
        files => files.iter().map(layer).collect(),
    };
    let text = format!("{}/{name}:1", registry.address());
    let reference = text.parse().unwrap();
    let client = Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
    let config = Config::oci_v1(b"{}".to_vec(), None);
    let anonymous = oci_client::secrets::RegistryAuth::Anonymous;
    client.push(&reference, &layers, config, &anonymous, None).await.unwrap();
    format!("oci://{text}")
}

#[tokio::test]
async fn artifacts_of_a_registry_are_packages() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let registry = sampan_testkit::Registry::start().unwrap();
    let expected = Files::of_tar(&packed(ADDON, WEB)).unwrap();
    let archive = push(&registry, "addons/archive", &[]).await;
    assert_eq!(Source::parse(&archive).fetch(&[]).await.unwrap(), expected);
    let single = push(&registry, "addons/single", &[("addon.yaml", ADDON), ("web.yaml", WEB)]).await;
    assert_eq!(Source::parse(&single).fetch(&[]).await.unwrap(), expected);
    for (source, words) in [
        (push(&registry, "addons/up", &[("../../etc/x", ADDON)]).await, "leads out"),
        (push(&registry, "addons/none", &[("other.yaml", ADDON)]).await, "there is no addon.yaml"),
        (format!("oci://{}/addons/gone:1", registry.address()), "gone"),
        ("oci://127.0.0.1:1/a:1".to_owned(), "oci://127.0.0.1:1/a:1"),
        ("oci://UPPER CASE".to_owned(), "oci://UPPER CASE"),
    ] {
        let error = Source::parse(&source).fetch(&[]).await.unwrap_err().to_string();
        assert!(error.contains(words), "{source}: {error}");
    }
}

#[tokio::test]
async fn verbs_are_values_on_the_wire() {
    let world = World::new().await;
    let platform = world.platform().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("addon.yaml"), ADDON).unwrap();
    std::fs::write(folder.path().join("web.yaml"), WEB).unwrap();
    let files = Source::parse(folder.path().to_str().unwrap()).fetch(&[]).await.unwrap();
    let files = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, files.pack().unwrap());
    let steps = Mutex::new(Vec::new());
    let ask = async |request: Value| {
        let request = serde_json::from_value(request).unwrap();
        platform.addons.answer(request, &|step| steps.lock().unwrap().push(step)).await
    };
    assert_eq!(
        ask(json!({"add": {"files": files, "name": "site"}})).await.unwrap()["status"]["name"],
        "site"
    );
    let list = ask(json!("list")).await.unwrap();
    assert_eq!(
        list[0],
        json!({"name": "echo", "enabled": false, "health": {"state": "off"}, "version": "1.0", "maintainer": "the tests",
        "summary": {"en": "Says hello", "zh": "问好"}, "sort": "native", "defaultOn": false})
    );
    assert_eq!(list[4]["name"], "site");
    assert_eq!(ask(json!({"enable": {"name": "echo"}})).await.unwrap()["health"]["state"], "healthy");
    assert_eq!(steps.lock().unwrap()[0], Step::Applying);
    assert_eq!(ask(json!({"page": {"name": "echo"}})).await.unwrap(), "http://n1/hello");
    assert_eq!(ask(json!({"images": {"name": "site"}})).await.unwrap()["nginx"], "nginx:1.27");
    assert_eq!(ask(json!({"show": {"name": "echo"}})).await.unwrap()["objects"][0]["name"], "echo-0");
    assert_eq!(ask(json!({"disable": {"name": "echo"}})).await.unwrap()["enabled"], false);
    assert!(ask(json!({"remove": {"name": "site"}})).await.is_ok());
    platform.stop().await;
}
