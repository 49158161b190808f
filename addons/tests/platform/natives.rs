//! Native addons: enable, configure, disable, fail, get in each other's way.

use sampan_addons::{ErrorKind, State as Healthy, Step};
use sampan_process::{Component, State};
use serde_json::{Value, json};

use crate::world::{World, quiet, words};

#[tokio::test]
async fn an_addon_is_enabled_configured_and_disabled_and_leaves_nothing() {
    let world = World::new().await;
    let platform = world.platform().await;
    let addons = &platform.addons;
    let list: Vec<_> = addons.list().into_iter().map(|one| (one.name, one.enabled)).collect();
    assert_eq!(
        list,
        [("echo".into(), false), ("always".into(), true), ("choir".into(), false), ("example".into(), false)]
    );
    assert!(platform.health.removed().contains(&Component::Addon("echo")));

    let status = addons.enable("echo", &words(&["greeting=hi", "maps=2"]), None, &quiet).await.unwrap();
    assert_eq!((status.enabled, status.health.state), (true, Healthy::Healthy));
    assert_eq!(platform.health.get(Component::Addon("echo")).state, State::Ready);
    assert_eq!(world.owned("echo").await, ["echo-0", "echo-1"]);
    assert_eq!(world.map("kube-system", "echo-0").await.unwrap()["data"], json!({"greeting": "hi"}));
    assert_eq!(addons.page("echo").unwrap(), "http://n1/hi");

    // a user's own field survives, one that the addon sets does not
    let edit =
        json!({"data": {"mine": "kept", "greeting": "edited"}, "metadata": {"labels": {"mine": "kept"}}});
    world.patch("v1", "ConfigMap", "kube-system", "echo-0", edit).await;
    let details =
        addons.configure("echo", &words(&["greeting=ho"]), &words(&["maps"]), &quiet).await.unwrap();
    assert_eq!(
        (details.set, details.configuration["maps"].clone()),
        (json!({"greeting": "ho"}).as_object().unwrap().clone(), json!(1))
    );
    assert_eq!(details.schema["properties"]["greeting"]["description"], "What its configmap says.");
    assert_eq!(world.owned("echo").await, ["echo-0"]);
    let map = world.map("kube-system", "echo-0").await.unwrap();
    assert_eq!(map["data"], json!({"mine": "kept", "greeting": "ho"}));
    assert_eq!(map["metadata"]["labels"]["mine"], "kept");

    let status = addons.disable("echo", &quiet).await.unwrap();
    assert_eq!((status.enabled, status.health.state), (false, Healthy::Off));
    assert!(world.owned("echo").await.is_empty());
    assert!(platform.health.removed().contains(&Component::Addon("echo")));
    assert!(!world.folder.path().join("addons/echo/here").exists(), "disabled() was called");
    // what the user set is remembered
    assert_eq!(addons.show("echo").unwrap().configuration["greeting"], "ho");
    platform.stop().await;
}

#[tokio::test]
async fn decisions_and_configurations_survive_a_restart() {
    let world = World::new().await;
    let platform = world.platform().await;
    platform.addons.enable("echo", &words(&["greeting=hi"]), None, &quiet).await.unwrap();
    platform.addons.disable("always", &quiet).await.unwrap();
    platform.stop().await;
    assert!(world.folder.path().join("addons/echo/here").exists(), "a restart is no disabling");
    assert_eq!(world.owned("echo").await, ["echo-0"]);

    let platform = world.platform().await;
    let list: Vec<_> = platform.addons.list().into_iter().map(|one| (one.name, one.enabled)).collect();
    assert_eq!(
        list,
        [("echo".into(), true), ("always".into(), false), ("choir".into(), false), ("example".into(), false)]
    );
    assert_eq!(world.map("kube-system", "echo-0").await.unwrap()["data"]["greeting"], "hi");
    assert!(world.owned("always").await.is_empty());
    platform.stop().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_anything_is() {
    let world = World::new().await;
    let platform = world.platform().await;
    let addons = &platform.addons;
    let enable = async |name: &str, set: &[&str]| {
        let error = addons.enable(name, &words(set), None, &quiet).await.unwrap_err();
        (error.kind(), error.to_string())
    };
    assert_eq!(
        enable("ecco", &[]).await,
        (ErrorKind::NotFound, "there is no addon \"ecco\"; did you mean \"echo\"?".into())
    );
    let (kind, text) = enable("echo", &["maps=ten"]).await;
    assert!(
        kind == ErrorKind::Configuration && text.starts_with("maps: invalid type: string \"ten\""),
        "{text}"
    );
    assert_eq!(enable("echo", &["maps=99"]).await, (ErrorKind::Configuration, "maps: at most 9".into()));
    let (kind, text) = enable("echo", &["greting=x"]).await;
    assert!(kind == ErrorKind::Configuration && text.contains("unknown field `greting`"), "{text}");
    let (kind, text) = enable("choir", &[]).await;
    assert!(kind == ErrorKind::Needs && text.contains("`sampan addons enable echo` first"), "{text}");
    assert!(world.map("kube-system", "addon-echo").await.is_none());

    addons.enable("echo", &[], None, &quiet).await.unwrap();
    addons.enable("choir", &[], None, &quiet).await.unwrap();
    let error = addons.disable("echo", &quiet).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Needs && error.to_string().contains("`sampan addons disable choir` first")
    );
    assert_eq!(addons.remove("echo", &quiet).await.unwrap_err().kind(), ErrorKind::BuiltIn);
    platform.stop().await;
}

#[tokio::test]
async fn a_failed_enable_rolls_back_and_says_why() {
    let world = World::new().await;
    let platform = world.platform().await;
    let addons = &platform.addons;
    for (ends, words_of) in [
        ("panic", "panicked: out of tea"),
        ("error", "the kettle is cold"),
        ("panic-in-objects", "no objects today"),
    ] {
        let steps = std::sync::Mutex::new(Vec::new());
        let set = words(&[&format!("ends={ends}")]);
        let error =
            addons.enable("echo", &set, None, &|step| steps.lock().unwrap().push(step)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        let text = error.to_string();
        assert!(text.contains(words_of) && text.contains("nothing of it is left"), "{text}");
        assert!(steps.into_inner().unwrap().iter().any(|step| matches!(step, Step::RollingBack { .. })));
        assert!(world.owned("echo").await.is_empty());
        let details = addons.show("echo").unwrap();
        assert!(!details.status.enabled && details.set.is_empty(), "{details:?}");
    }
    let error = addons.enable("echo", &words(&["ends=hang"]), Some(1), &quiet).await.unwrap_err().to_string();
    assert!(error.contains("not within the time given"), "{error}");
    assert!(world.owned("echo").await.is_empty());

    // an enabled one goes back to what it was
    addons.enable("echo", &words(&["greeting=hi"]), None, &quiet).await.unwrap();
    let error = addons.configure("echo", &words(&["ends=error", "maps=3"]), &[], &quiet).await.unwrap_err();
    assert!(error.to_string().ends_with("what was before is restored"), "{error}");
    assert_eq!(world.owned("echo").await, ["echo-0"]);
    let details = addons.show("echo").unwrap();
    assert_eq!(details.set, json!({"greeting": "hi"}).as_object().unwrap().clone());
    platform.stop().await;
}

#[tokio::test]
async fn an_addon_that_panics_at_every_start_takes_nothing_down() {
    let world = World::new().await;
    // as if an upgrade had brought the bug: the decision was made before
    let data = json!({"enabled": "true", "configuration": "{\"ends\": \"panic\"}"});
    world
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": "addon-echo", "namespace": "kube-system", "labels": {"sampan.dev/addon": "echo"}}}))
        .await;
    let platform = world.platform().await;
    let echo = Component::Addon("echo");
    let twice = |all: &std::collections::BTreeMap<Component, sampan_process::ComponentHealth>| {
        all.get(&echo).is_some_and(|one| one.restarts >= 2 && matches!(one.state, State::Failed(_)))
    };
    platform.health.watch().wait_for(twice).await.unwrap();
    let list = platform.addons.list();
    assert_eq!(list[0].health.state, Healthy::Failed);
    assert!(list[0].health.reason.contains("out of tea") && list[0].health.next.contains("addons logs echo"));
    assert_eq!((list[1].name.as_str(), list[1].health.state), ("always", Healthy::Healthy));
    platform.addons.configure("echo", &[], &words(&["ends"]), &quiet).await.unwrap();
    assert_eq!(platform.addons.list()[0].health.state, Healthy::Healthy);
    platform.addons.disable("echo", &quiet).await.unwrap();
    platform.stop().await;
}

#[tokio::test]
async fn what_belongs_to_someone_else_is_neither_taken_nor_pruned() {
    let world = World::new().await;
    let platform = world.platform().await;
    let addons = &platform.addons;
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "echo-1", "namespace": "kube-system"}, "data": {"a": "b"}});
    world.create(theirs.clone()).await;
    let error = addons.enable("echo", &words(&["maps=3"]), None, &quiet).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Owned);
    assert!(
        error.to_string().contains("ConfigMap kube-system/echo-1 exists already and belongs to no addon"),
        "{error}"
    );
    assert!(world.owned("echo").await.is_empty(), "refused before anything was applied");
    assert_eq!(world.map("kube-system", "echo-1").await.unwrap()["data"], theirs["data"]);

    // another addon's
    world
        .patch(
            "v1",
            "ConfigMap",
            "kube-system",
            "echo-1",
            json!({"metadata": {"labels": {"sampan.dev/addon": "other"}}}),
        )
        .await;
    let error = addons.enable("echo", &words(&["maps=3"]), None, &quiet).await.unwrap_err();
    assert!(error.to_string().contains("belongs to the addon other"), "{error}");
    world.delete("v1", "ConfigMap", "kube-system", "echo-1").await;

    // one that was taken over while the addon had it is left alone when the addon goes
    addons.enable("echo", &words(&["maps=3"]), None, &quiet).await.unwrap();
    world
        .patch(
            "v1",
            "ConfigMap",
            "kube-system",
            "echo-1",
            json!({"metadata": {"labels": {"sampan.dev/addon": null}}}),
        )
        .await;
    addons.disable("echo", &quiet).await.unwrap();
    assert!(world.map("kube-system", "echo-1").await.is_some());
    assert!(
        world.map("kube-system", "echo-0").await.is_none()
            && world.map("kube-system", "echo-2").await.is_none()
    );
    platform.stop().await;
}

#[tokio::test]
async fn an_object_that_somebody_deletes_is_made_again() {
    let world = World::new().await;
    let platform = world.platform().await;
    platform.addons.enable("echo", &[], None, &quiet).await.unwrap();
    let uid = |map: &serde_json::Value| map["metadata"]["uid"].clone();
    let before = uid(&world.map("kube-system", "echo-0").await.unwrap());
    world.delete("v1", "ConfigMap", "kube-system", "echo-0").await;
    let again = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        loop {
            match world.map("kube-system", "echo-0").await {
                Some(map) => return uid(&map),
                None => tokio::task::yield_now().await,
            }
        }
    });
    assert_ne!(again.await.unwrap(), before);
    platform.stop().await;
}

#[tokio::test]
async fn a_disable_waits_for_finalizers_and_says_what_they_keep() {
    let world = World::new().await;
    let platform = world.platform().await;
    let addons = platform.addons.clone();
    addons.enable("echo", &words(&["maps=3"]), None, &quiet).await.unwrap();
    let hold = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    world.patch("v1", "ConfigMap", "kube-system", "echo-1", hold(json!(["example.com/hold"]))).await;
    let leaving = || async {
        let held = world.map("kube-system", "echo-1").await;
        held.is_some_and(|map| map["metadata"].get("deletionTimestamp").is_some())
    };
    let disabling = tokio::spawn(async move { addons.disable("echo", &quiet).await });
    let remaining = || platform.addons.show("echo").unwrap().objects.len();
    while !leaving().await || remaining() != 1 {
        tokio::task::yield_now().await;
    }
    assert!(!disabling.is_finished());
    // time is not waited for: there is nothing else to wait for
    tokio::time::pause();
    let error = disabling.await.unwrap().unwrap_err();
    tokio::time::resume();
    assert!(error.to_string().contains("ConfigMap kube-system/echo-1"), "{error}");
    assert!(!error.to_string().contains("echo-0"), "{error}");
    assert_eq!(world.owned("echo").await, ["echo-1"]);
    // what remains is known to the next daemon, too
    platform.stop().await;
    let platform = world.platform().await;
    let objects = platform.addons.show("echo").unwrap().objects;
    assert_eq!(objects.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["echo-1"]);
    let addons = platform.addons.clone();
    let disabling = tokio::spawn(async move { addons.disable("echo", &quiet).await });
    world.patch("v1", "ConfigMap", "kube-system", "echo-1", hold(Value::Null)).await;
    let status = disabling.await.unwrap().unwrap();
    assert_eq!(status.health.state, Healthy::Off);
    assert!(world.owned("echo").await.is_empty());
    assert!(platform.addons.show("echo").unwrap().objects.is_empty());
    platform.stop().await;
}
