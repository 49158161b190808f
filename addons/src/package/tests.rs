#![allow(clippy::unwrap_used)]
use std::path::Path;

use serde_json::json;

use super::*;

const ADDON: &str = "apiVersion: sampan.dev/v1
name: web
summary: {en: A page, zh: 一个页面}
maintainer: us
version: 1.0.0
namespace: demo
images: {nginx: 'nginx:1.27'}
values:
  replicas: {type: integer, default: 1}
manifests: [web.yaml]
page: http://127.0.0.1/${name}
checks:
- name: answers
  http: {service: web, port: 80}
";

const WEB: &str = "# the page
---
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
--- # and who serves it
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: ${replicas}
  template: {spec: {containers: [{name: c, image: '${images.nginx}'}]}}
";

fn package(addon: &str, web: &str) -> Result<Package, Error> {
    let mut files = Files::default();
    for (name, text) in [("addon.yaml", addon), ("web.yaml", web)] {
        files.add(Path::new(name), text.as_bytes()).unwrap();
    }
    Package::read(files)
}

#[test]
fn a_package_is_its_manifests_with_values() {
    let package = package(ADDON, WEB).unwrap();
    let values = package.configuration(json!({"replicas": 3}).as_object().unwrap()).unwrap();
    let manifests = package.manifests(&values).unwrap();
    let origins: Vec<_> = manifests.iter().map(|manifest| manifest.origin.as_str()).collect();
    assert_eq!(origins, ["web.yaml:3", "web.yaml:7"]);
    assert_eq!(manifests[1].value["spec"]["replicas"], 3);
    assert_eq!(manifests[1].value["spec"]["template"]["spec"]["containers"][0]["image"], "nginx:1.27");
    assert_eq!(package.page(&values).as_deref(), Some("http://127.0.0.1/web"));
    assert_eq!(package.checks(&values).unwrap()[0].http.as_ref().unwrap().namespace, "demo");
    assert_eq!(package.schema()["properties"]["replicas"]["type"], "integer");
}

#[test]
fn what_is_wrong_is_named_by_file_and_line() {
    let addon = |from: &str, to: &str| package(&ADDON.replace(from, to), WEB);
    let web = |from: &str, to: &str| package(ADDON, &WEB.replace(from, to));
    let cases = [
        (addon("sampan.dev/v1", "v2"), "addon.yaml: apiVersion has to be sampan.dev/v1"),
        (addon("name: web\n", "name: Web\n"), "name \"Web\""),
        (addon("name: web\n", "name: kubelet\n"), "not a component's"),
        (addon("version: 1.0.0\n", ""), "missing field `version`"),
        (addon("maintainer: us", "maintainer: \"\\e[2J\""), "one line each"),
        (addon("page:", "pages:"), "unknown field `pages`"),
        (addon("nginx:1.27", "nginx"), "images.nginx: \"nginx\" has neither"),
        (addon("nginx:1.27", "nginx:latest"), "has neither a digest nor a tag"),
        (addon("  replicas:", "  images:"), "values.images: the name is taken"),
        (addon("web.yaml", "other.yaml"), "there is no file other.yaml"),
        (addon("web.yaml", "../../etc/passwd"), "there is no file ../../etc/passwd"),
        (addon("  http:", "  # http:"), "has to have one of http and field"),
        (addon("summary: {", "summary: [{"), "addon.yaml:"),
        (web("metadata: {name: web}", "metadata: {name: web"), "web.yaml:10"),
        (web("kind: Deployment\n", ""), "web.yaml:7: has no kind"),
        (
            web("${replicas}", "${replica}"),
            "web.yaml:11: ${replica}: there is no such value; did you mean ${replicas}?",
        ),
        (
            web("'${images.nginx}'", "nginx:1.26"),
            "web.yaml:7: the image \"nginx:1.26\" is not among the images",
        ),
        (web("{name: page}", "{name: ../page}"), "web.yaml:3: v1 ConfigMap \"../page\" is not the name"),
    ];
    for (result, words) in cases {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error} does not say {words}");
    }
}

#[test]
fn images_are_pinned_by_tag_or_digest() {
    let digest = format!("a/b@sha256:{}", "0".repeat(64));
    for (image, pinned) in [
        ("nginx:1.27", true),
        ("localhost:5000/nginx", false),
        ("localhost:5000/nginx:1", true),
        (digest.as_str(), true),
        ("a@sha256:123", false),
        ("a@md5:123", false),
        ("nginx:latest", false),
        ("nginx:", false),
        ("", false),
    ] {
        assert_eq!(is_pinned(image), pinned, "{image}");
    }
}
