//! Changes under load: none fails a request, and each is live within milliseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::json;

use crate::endpoint::Endpoint;
use crate::world::{World, rule, within};

/// A client in a closed loop on one connection until told to stop; how many requests it made.
fn load(world: &World, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
    let connecting = tokio::net::TcpStream::connect(("127.0.0.1", world.http));
    tokio::spawn(async move {
        let mut sender = crate::world::connect(connecting.await.unwrap()).await;
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            let request =
                Request::get("/").header("host", "load.test").body(Full::<Bytes>::default()).unwrap();
            let answer = sender.send_request(request).await.expect("an answer");
            assert_eq!(answer.status(), 200, "request {count}");
            answer.into_body().collect().await.expect("a whole body");
            sender.ready().await.expect("a connection that stays");
            count += 1;
        }
        count
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_changes_fail_no_request() {
    let world = World::start(json!({})).await;
    let (one, two) = (Endpoint::echo("one").await, Endpoint::echo("two").await);
    world.service("one", &[one.port], None).await;
    world.service("two", &[one.port, two.port], None).await;
    world.ingress("load", json!({}), json!({"rules": [rule("load.test", "Prefix", "/", "one")]})).await;
    world.until("load.test", "/", 200).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4).map(|_| load(&world, stop.clone())).collect();
    for n in 0..1000 {
        let service = if n % 2 == 0 { "two" } else { "one" };
        // the loaded host itself changes, and another comes beside it
        world
            .ingress(
                "load",
                json!({}),
                json!({"rules": [
            rule("load.test", "Prefix", "/", service), rule(&format!("h{n}.test"), "Prefix", "/", service)]}),
            )
            .await;
    }
    world.until("h999.test", "/", 200).await;
    stop.store(true, Ordering::Relaxed);
    let counts = within(futures::future::join_all(clients)).await;
    let total: usize = counts.into_iter().map(Result::unwrap).sum();
    assert!(total > 1000 && two.requests() > 0, "{total} requests, {} at the second", two.requests());
    assert_eq!(world.get("h998.test", "/").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_come_and_go_without_a_failed_request() {
    let world = World::start(json!({})).await;
    let mut endpoints = vec![Endpoint::echo("a").await, Endpoint::echo("b").await];
    let ports = |all: &[Endpoint]| all.iter().map(|one| one.port).collect::<Vec<_>>();
    world.service("s", &ports(&endpoints), None).await;
    world.ingress("load", json!({}), json!({"rules": [rule("load.test", "Prefix", "/", "s")]})).await;
    world.until("load.test", "/", 200).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4).map(|_| load(&world, stop.clone())).collect();
    for _ in 0..40 {
        endpoints.push(Endpoint::echo("new").await);
        world.service("s", &ports(&endpoints), None).await;
        // one at a time: where both endpoints were dead, nobody could answer
        let newest = endpoints.last().unwrap();
        within(async {
            while newest.requests() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // it dies before anybody has said that it will
        drop(endpoints.remove(0));
        world.service("s", &ports(&endpoints), None).await;
    }
    stop.store(true, Ordering::Relaxed);
    let counts = within(futures::future::join_all(clients)).await;
    assert!(counts.into_iter().map(Result::unwrap).sum::<usize>() > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_live_within_milliseconds() {
    let world = World::start(json!({})).await;
    let echo = Endpoint::echo("echo").await;
    world.service("s", &[echo.port], None).await;
    for n in 0..500 {
        let rules = json!({"rules": [rule(&format!("h{n}.test"), "Prefix", "/", "s")]});
        world.ingress(&format!("i{n}"), json!({}), rules).await;
    }
    world.until("h499.test", "/", 200).await;
    for n in 0..20 {
        let name = format!("new{n}");
        let rules = json!({"rules": [rule(&format!("{name}.test"), "Prefix", "/", "s")]});
        world.ingress(&name, json!({}), rules).await;
        world.until(&format!("{name}.test"), "/", 200).await;
    }
}
