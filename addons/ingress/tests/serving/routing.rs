//! Which endpoint a request reaches, what it sees of it, and what Ingresses say of themselves.

use http::Request;
use sampan_addon::{Native, Report};
use serde_json::json;

use crate::endpoint::Endpoint;
use crate::world::{World, rule, within};

#[tokio::test(flavor = "multi_thread")]
async fn hosts_and_paths_lead_to_their_services() {
    let world = World::start(json!({})).await;
    let (one, two) = (Endpoint::echo("one").await, Endpoint::echo("two").await);
    world.service("one", &[one.port], None).await;
    world.service("two", &[two.port], None).await;
    world
        .ingress(
            "a",
            json!({}),
            json!({"rules": [
                rule("a.test", "Prefix", "/", "one"),
                rule("a.test", "Prefix", "/two", "two"),
                rule("*.wild.test", "Exact", "/exact", "two"),
            ]}),
        )
        .await;
    world.until("a.test", "/", 200).await;
    for (host, path, name) in [
        ("a.test", "/x", "one"),
        ("A.TEST:8080", "/two/y?q=1", "two"),
        ("a.test", "/two/../x", "one"),
        ("a.test", "/x/%2e%2e//two", "two"),
        ("b.wild.test", "/exact", "two"),
    ] {
        let seen = world.get(host, path).await;
        assert_eq!(seen.echo()["name"], name, "{host}{path}");
    }
    // what the endpoint sees is what the route was chosen by
    assert_eq!(world.get("a.test", "/x/%2e%2e//two/%41?q=%2e%2e/").await.echo()["uri"], "/two/A?q=%2e%2e/");
    for (host, path) in [("b.wild.test", "/exact/"), ("wild.test", "/exact"), ("other", "/")] {
        let seen = world.get(host, path).await;
        assert_eq!((seen.status.as_u16(), seen.header("content-type")), (404, "text/plain; charset=utf-8"));
        assert_eq!(seen.body, "404 Not Found: no Ingress has a rule for this host and path\n");
    }
    assert_eq!(world.get("a.test", "/../x").await.status, 400);
    world
        .ingress(
            "d",
            json!({}),
            json!({"defaultBackend": {"service": {"name": "two", "port": {"name": "web"}}}}),
        )
        .await;
    assert_eq!(world.until("other", "/", 200).await.echo()["name"], "two");
    // the Service keeps its port, but nobody is ready
    world.service("one", &[], None).await;
    assert_eq!(
        world.until("a.test", "/", 503).await.body,
        "503 Service Unavailable: the Service has no ready endpoint\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_see_who_asked_and_by_which_name() {
    let world = World::start(json!({"trustedProxies": ["10.0.0.0/8"]})).await;
    let echo = Endpoint::echo("echo").await;
    world.service("s", &[echo.port], None).await;
    world.ingress("a", json!({}), json!({"rules": [rule("a.test", "Prefix", "/", "s")]})).await;
    world.until("a.test", "/", 200).await;
    let request = Request::get("/x?y")
        .header("host", "a.test:81")
        .header("x-forwarded-for", "10.1.1.1")
        .header("x-forwarded-proto", "https")
        .header("connection", "x-drop")
        .header("x-drop", "1")
        .header("proxy-connection", "keep-alive")
        .header("x-keep", "1");
    let echoed = world.request(request).await.echo();
    let port = world.http.to_string();
    let headers = json!({
        "host": "a.test:81", "x-keep": "1",
        "x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1", "x-forwarded-proto": "http",
        "x-forwarded-host": "a.test:81", "x-forwarded-port": port,
    });
    assert_eq!((&echoed["headers"], &echoed["uri"]), (&headers, &json!("/x?y")));
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_change_how_requests_are_handled() {
    let world = World::start(json!({})).await;
    let (one, two) = (Endpoint::echo("one").await, Endpoint::echo("two").await);
    world.service("s", &[one.port, two.port], None).await;
    let nginx = |name: &str| format!("nginx.ingress.kubernetes.io/{name}");
    world
        .ingress(
            "rewrite",
            json!({nginx("rewrite-target"): "/$2"}),
            json!({"rules": [rule("r.test", "ImplementationSpecific", "/app(/|$)(.*)", "s")]}),
        )
        .await;
    world
        .ingress(
            "sticky",
            json!({nginx("affinity"): "cookie", nginx("session-cookie-name"): "route"}),
            json!({"rules": [rule("s.test", "Prefix", "/", "s")]}),
        )
        .await;
    world
        .ingress(
            "force",
            json!({nginx("force-ssl-redirect"): "true"}),
            json!({"rules": [rule("f.test", "Prefix", "/", "s")]}),
        )
        .await;
    world
        .ingress(
            "tls",
            json!({}),
            json!({"tls": [{"hosts": ["t.test"]}], "rules": [rule("t.test", "Prefix", "/", "s")]}),
        )
        .await;
    world
        .ingress(
            "plain",
            json!({nginx("ssl-redirect"): "false"}),
            json!({"tls": [{"hosts": ["p.test"]}], "rules": [rule("p.test", "Prefix", "/", "s")]}),
        )
        .await;
    world.until("p.test", "/", 200).await;
    assert_eq!(world.get("r.test", "/app/x/y?q").await.echo()["uri"], "/x/y?q");
    for host in ["f.test", "t.test"] {
        let seen = world.get(&format!("{host}:{}", world.http), "/a?b").await;
        let place = format!("https://{host}:{}/a?b", world.https);
        assert_eq!((seen.status.as_u16(), seen.header("location")), (308, &*place));
    }
    let first = world.get("s.test", "/").await;
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("route=") && first.header("set-cookie").ends_with("; Path=/; HttpOnly"));
    for _ in 0..6 {
        let seen = world.request(Request::get("/").header("host", "s.test").header("cookie", &cookie)).await;
        assert_eq!((&seen.echo()["name"], seen.header("set-cookie")), (&first.echo()["name"], ""));
    }
    // the endpoint is gone: another one takes over, with a cookie of its own
    let rest = if first.echo()["name"] == "one" { &two } else { &one };
    world.service("s", &[rest.port], None).await;
    let other = within(async {
        loop {
            let seen =
                world.request(Request::get("/").header("host", "s.test").header("cookie", &cookie)).await;
            assert_eq!(seen.status, 200);
            if seen.echo()["name"] != first.echo()["name"] {
                break seen;
            }
        }
    })
    .await;
    assert!(other.header("set-cookie").starts_with("route="));
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_take_turns_and_dead_ones_are_passed_over() {
    let world = World::start(json!({})).await;
    let (one, two) = (Endpoint::echo("one").await, Endpoint::echo("two").await);
    world.service("s", &[one.port, two.port], None).await;
    world.ingress("a", json!({}), json!({"rules": [rule("a.test", "Prefix", "/", "s")]})).await;
    world.until("a.test", "/", 200).await;
    for _ in 0..10 {
        world.get("a.test", "/").await;
    }
    assert!(one.requests().abs_diff(two.requests()) <= 1, "{} {}", one.requests(), two.requests());
    // the endpoint dies, and nobody has said so yet; its open connections die with it
    drop(two);
    for _ in 0..10 {
        assert_eq!(world.get("a.test", "/").await.echo()["name"], "one");
        let post = world.request(Request::post("/").header("host", "a.test")).await;
        assert_eq!(post.echo()["name"], "one");
    }
    drop(one);
    let seen = world.get("a.test", "/").await;
    assert_eq!(
        (seen.status.as_u16(), &*seen.body),
        (502, "502 Bad Gateway: no endpoint of the Service gave an answer\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_younger_of_two_that_claim_a_path_says_so() {
    let mut world = World::start(json!({})).await;
    let (one, two) = (Endpoint::echo("one").await, Endpoint::echo("two").await);
    world.service("one", &[one.port], None).await;
    world.service("two", &[two.port], None).await;
    world.ingress("a", json!({}), json!({"rules": [rule("a.test", "Prefix", "/", "one")]})).await;
    world.shows("a", &[]).await;
    assert_eq!(world.event("a", "Sync").await, "Scheduled for sync");
    world
        .ingress(
            "b",
            json!({}),
            json!({"rules": [
        rule("a.test", "Prefix", "/", "two"), rule("b.test", "Prefix", "/", "two")]}),
        )
        .await;
    world.shows("b", &[(80, "sampan.dev/PathConflict")]).await;
    let said = world.event("b", "PathConflict").await;
    assert_eq!(said, "path / (Prefix) of a.test is served for the older Ingress default/a");
    assert_eq!(world.get("a.test", "/").await.echo()["name"], "one");
    assert_eq!(world.get("b.test", "/").await.echo()["name"], "two");
    world.delete_ingress("a").await;
    world.shows("b", &[]).await;
    assert_eq!(world.get("a.test", "/").await.echo()["name"], "two");
    // another class: the address goes, and the routes
    world.ingress("b", json!({}), json!({"ingressClassName": "other"})).await;
    world.shows_nothing("b").await;
    assert_eq!(world.get("b.test", "/").await.status, 404);
    // disabling leaves nothing
    world.ingress("c", json!({}), json!({"rules": [rule("c.test", "Prefix", "/", "one")]})).await;
    world.shows("c", &[]).await;
    world.stop().await;
    Native::disabled(&sampan_addon_ingress::Ingress, &world.config, world.context.clone()).await.unwrap();
    world.shows_nothing("c").await;
    assert!(std::net::TcpListener::bind(("127.0.0.1", world.http)).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_told_and_the_other_is_served() {
    let mut world = World::prepare(json!({}));
    let taken = std::net::TcpListener::bind(("127.0.0.1", world.http)).unwrap();
    world.run();
    let report = world.health(|report| matches!(report, Report::Degraded { .. })).await;
    let Report::Degraded { reason, next } = report else { panic!() };
    assert!(reason.contains(&format!("port {} is taken by", world.http)), "{reason}");
    assert!(next.contains("sampan addons configure ingress --set http.port=PORT"), "{next}");
    world.tls("a.test", &[]).await;
    drop(taken);
    world.health(|report| *report == Report::Healthy).await;
    assert_eq!(world.get("a.test", "/").await.status, 404);
}
