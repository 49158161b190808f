//! What is there to copy works: the native example and the example package.

use std::path::Path;

use sampan_addons::State;
use sampan_addons::package::{Files, Package};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{World, local, quiet, words};

async fn fetch(port: u16) -> String {
    let mut stream = tokio::net::TcpStream::connect((local(), port)).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn the_native_example_answers_and_follows_its_configuration() {
    let world = World::new().await;
    let platform = world.platform().await;
    let addons = &platform.addons;
    let status = addons.enable("example", &words(&["port=28099"]), None, &quiet).await.unwrap();
    assert_eq!(status.health.state, State::Healthy);
    assert!(fetch(28099).await.ends_with("\r\n\r\nPods: 0\n"));
    let slice = world.get("discovery.k8s.io/v1", "EndpointSlice", "kube-system", "example").await.unwrap();
    assert_eq!(slice["ports"][0]["port"], 28099);

    addons.configure("example", &words(&["port=28098", "greeting=Boats: "]), &[], &quiet).await.unwrap();
    assert!(fetch(28098).await.ends_with("Boats: 0\n"));
    assert!(tokio::net::TcpStream::connect((local(), 28099)).await.is_err(), "the old port is free");

    // a port that is taken: what was before is back
    let taken = std::net::TcpListener::bind((local(), 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error =
        addons.configure("example", &words(&[&format!("port={port}")]), &[], &quiet).await.unwrap_err();
    assert!(
        error.to_string().contains(&format!("listening on {}:{port}: Address already in use", local())),
        "{error}"
    );
    assert!(fetch(28098).await.ends_with("Boats: 0\n"));

    addons.disable("example", &quiet).await.unwrap();
    assert!(world.get("v1", "Service", "kube-system", "example").await.is_none());
    assert!(tokio::net::TcpStream::connect((local(), 28098)).await.is_err());
    platform.stop().await;
}

#[test]
fn the_example_package_is_in_order() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("example/package");
    let package = Package::read(Files::of_folder(&folder).unwrap()).unwrap();
    assert_eq!(package.name(), "hello");
}

#[tokio::test]
async fn the_example_package_is_applied_and_taken_back() {
    let world = World::new().await;
    let platform = world.platform().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("example/package");
    let packed = Files::of_folder(&folder).unwrap().pack().unwrap();
    platform.addons.add(&packed, None, &quiet).await.unwrap();
    let set = words(&["greeting=Ahoy", "replicas=2"]);
    // no controllers here: it does not become ready, and everything is taken back
    let enable = platform.addons.enable("hello", &set, Some(1), &quiet);
    let (enabled, ()) = tokio::join!(enable, world.end_namespace("hello"));
    let error = enabled.unwrap_err().to_string();
    assert!(error.contains("Deployment hello/hello") && error.contains("nothing of it is left"), "{error}");
    assert!(world.get("apps/v1", "Deployment", "hello", "hello").await.is_none());
    assert_eq!(platform.addons.page("hello").unwrap(), "http://127.0.0.1:30080/");
    assert_eq!(platform.addons.show("hello").unwrap().configuration["replicas"], json!(1));
    platform.stop().await;
}
