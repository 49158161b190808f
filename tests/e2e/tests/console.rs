//! The dashboard's server on the built binary: who is let in, the feed, terminals, the REST API by token. The pages
//! themselves are driven in a real browser by `tests/browser`.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use sampan_test_e2e::{apply, cluster, eventually, ready, registry};
use sampan_testkit::Cluster;
use sampan_view::feed::{Ask, JSON, Kind, POSTCARD, Tell};
use sampan_view::{Cell, Health};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

#[path = "console/browser.rs"]
mod browser;
#[path = "console/workloads.rs"]
mod workloads;
use browser::{Browser, Feed, open};

const SHELL: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: shell, labels: {app: shell}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: busybox, command: [sleep, "86400"]}]
"#;

const NARROW: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: narrow, namespace: team}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: narrow, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: narrow, namespace: team}]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_console_lets_in_whom_it_should_and_shows_what_they_may_see() -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    apply(&cluster, SHELL)?;
    let browser = Browser::signed_in(&cluster)?;
    guarded(&browser).await.context("guarded")?;
    signing_in(&cluster, &browser).context("signing in")?;
    ready(&cluster, "shell")?;
    let said = cluster.kubectl(&["get", "pod/shell", "-o", "jsonpath={.status.conditions[*].reason}"])?;
    ensure!(said.trim().is_empty(), "a ready pod's conditions still say {said}");
    lists(&cluster, &browser).await.context("lists")?;
    objects(&cluster, &browser).await.context("objects")?;
    terminals(&browser).await.context("terminals")?;
    paste(&browser).await.context("a paste")?;
    signing_out(&cluster, &browser).await.context("signing out")?;
    workloads::open(&cluster, &browser).await.context("workloads")?;
    rights(&cluster, &browser).await.context("rights")?;
    scopes(&cluster, &browser).context("scopes")?;
    flood(&browser).await.context("flood")?;
    restarted(&cluster, &browser).await.context("restarted")?;
    secrets(&cluster, &browser).context("secrets")?;
    guesses(&cluster, &browser).context("guesses")
}

/// Foreign hosts, foreign origins, writes without the header, requests without a session.
async fn guarded(browser: &Browser) -> Result<()> {
    let port = browser.port;
    let (host, own) = (format!("Host: {}:{port}", browser.name), format!("Origin: {}", browser.origin()));
    let machine = format!("Host: 127.0.0.1:{port}");
    let stranger = format!("Host: {}:1", browser.name);
    let nobody = Browser { cookie: None, ..browser.clone() };
    let code = |who: &Browser, method: &str, path: &str, headers: &[&str]| {
        who.raw(method, path, headers, "{}").map(|answer| answer.code)
    };
    let namespaces = "/k8s/api/v1/namespaces";
    for (who, method, path, headers, expected) in [
        (browser, "GET", namespaces, vec![], 200),
        (browser, "GET", namespaces, vec![host.as_str()], 200),
        // a session goes nowhere but to the dashboard's own name
        (browser, "GET", namespaces, vec![machine.as_str()], 401),
        (browser, "GET", "/pods?ns=default", vec![machine.as_str()], 307),
        (browser, "GET", "/signin?ticket=x", vec![machine.as_str()], 307),
        (browser, "GET", namespaces, vec![stranger.as_str()], 421),
        (browser, "GET", namespaces, vec!["Host: evil.example"], 421),
        (browser, "GET", namespaces, vec!["Host: 127.0.0.1:1"], 421),
        (browser, "GET", "/", vec!["Host: rebound.example:6480"], 421),
        (&nobody, "GET", namespaces, vec![], 401),
        (&nobody, "GET", "/sampan/v1/status", vec![], 401),
        (&nobody, "GET", "/", vec![], 200),
        (browser, "POST", namespaces, vec![], 403),
        (browser, "POST", namespaces, vec![own.as_str()], 403),
        (browser, "POST", namespaces, vec!["X-Sampan-Csrf: 1", "Origin: http://evil.example"], 403),
        (
            browser,
            "DELETE",
            namespaces,
            vec!["X-Sampan-Csrf: 1", own.as_str(), "Sec-Fetch-Site: cross-site"],
            403,
        ),
        (browser, "GET", "/k8s/api/v1/namespaces/default/pods/shell/proxy/", vec![], 403),
        (browser, "GET", "/k8s/api/v1/namespaces/default/pods/shell/prox%79/", vec![], 403),
    ] {
        let said = code(who, method, path, &headers)?;
        ensure!(said == expected, "{method} {path} {headers:?}: {said}, not {expected}");
    }
    let page = browser.get("/")?;
    for header in [
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        ensure!(page.head.contains(header), "{}", page.head);
    }
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        let refused = browser.socket("/sampan/v1/feed", POSTCARD, origin).await;
        ensure!(refused.is_err_and(|error| error.to_string().contains("403")), "{origin}");
    }
    let data = browser.get(namespaces)?;
    ensure!(
        data.head.contains("content-security-policy: default-src 'none'; frame-ancestors 'none'; sandbox")
    );
    let sent_on = browser.raw("GET", "/pods?ns=default", &[&machine], "")?;
    let place = format!("location: {}/pods?ns=default", browser.origin());
    ensure!(sent_on.head.contains(&place), "{}", sent_on.head);
    let refused = nobody.socket("/sampan/v1/feed", POSTCARD, &browser.origin()).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("401")));
    Ok(())
}

/// A ticket is good once; a token signs in; whoever signed out is out.
fn signing_in(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let who = browser.get("/sampan/v1/session")?.json();
    ensure!(who["user"] == "kubernetes-admin" && who["kubernetesVersion"].is_string(), "{who}");
    let url = cluster.sampan(&["dashboard", "--url"])?;
    let path = url.trim().split_once(&format!(":{}", browser.port)).context("a path")?.1.to_owned();
    let nobody = Browser { cookie: None, ..browser.clone() };
    let cookie = nobody.get(&path)?.cookie()?;
    ensure!(nobody.get(&path)?.cookie().is_err(), "a ticket was good twice");
    let other = Browser { cookie: Some(cookie), ..browser.clone() };
    ensure!(other.get("/sampan/v1/session")?.code == 200);
    ensure!(other.send("DELETE", "/sampan/v1/session", &[], "")?.code == 204);
    ensure!(other.get("/sampan/v1/session")?.code == 401, "a session was good after signing out");
    let token = cluster.kubectl(&["create", "token", "default"])?;
    let body = json!({"token": token.trim()}).to_string();
    let answer = nobody.send("POST", "/sampan/v1/session", &[], &body)?;
    ensure!(answer.code == 204, "{answer:?}");
    ensure!(answer.head.contains("httponly") && answer.head.contains("samesite=strict"), "{}", answer.head);
    let guest = Browser { cookie: Some(answer.cookie()?), ..browser.clone() };
    let who = guest.get("/sampan/v1/session")?.json();
    ensure!(who["user"] == "system:serviceaccount:default:default", "{who}");
    ensure!(guest.get("/k8s/api/v1/namespaces")?.code == 403);
    Ok(())
}

/// The snapshot, and what changes.
async fn lists(cluster: &Cluster, browser: &Browser) -> Result<()> {
    for protocol in [POSTCARD, JSON] {
        let mut feed = browser.feed(protocol).await?;
        let hello = feed.next().await?;
        ensure!(matches!(&hello, Tell::Hello { user, .. } if user == "kubernetes-admin"), "{hello:?}");
        feed.ask(&open(1, "", "pods", &["default"])).await?;
        let columns = feed.until("begin", |tell| match tell {
            Tell::Begin { view: 1, columns, .. } => Some(columns.clone()),
            _ => None,
        });
        let columns = columns.await?;
        let at = |name: &str| columns.iter().position(|column| column.name == name).context(name.to_owned());
        let rows = feed.until("rows", |tell| match tell {
            Tell::Rows { view: 1, rows } => Some(rows.clone()),
            _ => None,
        });
        let rows = rows.await?;
        let shell = rows.iter().find(|row| row.name == "shell").context("no shell")?;
        ensure!(
            shell.health == Health::Healthy && shell.reason == "Running" && !shell.node.is_empty(),
            "{shell:?}"
        );
        ensure!(matches!(shell.cells[at("Age")?], Cell::Time(time) if time == shell.created), "{shell:?}");
        ensure!(shell.cells[at("Restarts")?] == Cell::Number(0.0, None), "{shell:?}");
        ensure!(shell.labels == [("app".to_owned(), "shell".to_owned())], "{shell:?}");
        let revision = live(&mut feed, 1).await?;

        let name = format!("seen-{}", protocol.rsplit('.').next().unwrap_or_default());
        let pod = SHELL.replace("name: shell", &format!("name: {name}"));
        apply(cluster, &pod)?;
        // it may run before the first of it is told
        let uid = feed.until("the new pod running", |tell| match tell {
            Tell::Change { rows, .. } => rows
                .iter()
                .find(|row| row.name == name && row.health == Health::Healthy)
                .map(|row| row.uid.clone()),
            _ => None,
        });
        let uid = uid.await?;
        cluster.kubectl(&["delete", "pod", &name])?;
        let gone = |tell: &Tell| match tell {
            Tell::Change { gone, .. } => gone.contains(&uid).then_some(()),
            _ => None,
        };
        feed.until("the pod gone", gone).await?;

        // another connection goes on where the first one was
        let mut again = browser.feed(protocol).await?;
        let mut ask = open(7, "", "pods", &["default"]);
        if let Ask::Open { since, .. } = &mut ask {
            *since = Some(revision.clone());
        }
        again.ask(&ask).await?;
        let told = again.until("what was missed", |tell| match tell {
            Tell::Begin { .. } => Some(false),
            Tell::Change { gone, .. } if gone.contains(&uid) => Some(true),
            _ => None,
        });
        ensure!(told.await?, "a view that goes on began anew");
    }
    filters(browser).await
}

async fn live(feed: &mut Feed, number: u32) -> Result<String> {
    feed.until("live", |tell| match tell {
        Tell::Live { view, revision } if *view == number => Some(revision.clone()),
        _ => None,
    })
    .await
}

/// Filters of the daemon, counts, what is not there, what is no ask.
async fn filters(browser: &Browser) -> Result<()> {
    let mut feed = browser.feed(POSTCARD).await?;
    let mut ask = open(1, "", "pods", &[]);
    if let Ask::Open { filter, .. } = &mut ask {
        *filter = "app=shell !ns:kube-system".into();
    }
    feed.ask(&ask).await?;
    let names = feed.until("filtered", |tell| match tell {
        Tell::Rows { rows, .. } => Some(rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>()),
        _ => None,
    });
    ensure!(names.await? == ["shell"]);
    if let Ask::Open { filter, view, .. } = &mut ask {
        (*filter, *view) = ("/(/".into(), 2);
    }
    feed.ask(&ask).await?;
    feed.until("a filter that is none", |tell| {
        matches!(tell, Tell::Refused { view: 2, code: 422, .. }).then_some(())
    })
    .await?;
    let mut ask = open(3, "", "pods", &["default"]);
    if let Ask::Open { summary, .. } = &mut ask {
        *summary = true;
    }
    feed.ask(&ask).await?;
    let counts = feed.until("counts", |tell| match tell {
        Tell::Summary { view: 3, counts } => Some(counts.clone()),
        _ => None,
    });
    ensure!(counts.await?.iter().any(|count| count.health == Health::Healthy && count.count == 1));
    feed.ask(&open(4, "no.such.group", "things", &[])).await?;
    feed.until("no such kind", |tell| matches!(tell, Tell::Refused { view: 4, code: 404, .. }).then_some(()))
        .await?;
    feed.socket.send(Message::text("{}")).await?;
    feed.until("confused", |tell| matches!(tell, Tell::Confused { .. }).then_some(())).await
}

/// One object, also after it is gone.
async fn objects(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let mut feed = browser.feed(POSTCARD).await?;
    let kind = Kind { group: String::new(), version: "v1".into(), resource: "configmaps".into() };
    let watch = Ask::Watch { view: 1, kind, namespace: "default".into(), name: "seen".into() };
    feed.ask(&watch).await?;
    feed.until("nothing yet", |tell| matches!(tell, Tell::Gone { view: 1 }).then_some(())).await?;
    let value = |wanted: &'static str| {
        move |tell: &Tell| match tell {
            Tell::Object { json, .. } => {
                let object: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
                let whole = object["kind"] == "ConfigMap" && object["metadata"]["managedFields"].is_null();
                (whole && object["data"]["key"] == wanted).then_some(())
            }
            _ => None,
        }
    };
    cluster.kubectl(&["create", "configmap", "seen", "--from-literal=key=one"])?;
    feed.until("made", value("one")).await?;
    cluster.kubectl(&["patch", "configmap", "seen", "-p", r#"{"data":{"key":"two"}}"#])?;
    feed.until("changed", value("two")).await?;
    let mut late = browser.feed(JSON).await?;
    late.ask(&watch).await?;
    late.until("as it is", value("two")).await?;
    cluster.kubectl(&["delete", "configmap", "seen"])?;
    feed.until("gone", |tell| matches!(tell, Tell::Gone { view: 1 }).then_some(())).await
}

/// A shell, its size, its end; what is refused is said.
async fn terminals(browser: &Browser) -> Result<()> {
    let origin = browser.origin();
    let path = "/sampan/v1/exec?namespace=default&pod=shell&container=main&command=/bin/sh&tty=true";
    let mut shell = browser.socket(path, "v5.channel.k8s.io", &origin).await?;
    let send = |channel: u8, text: &str| Message::binary([&[channel], text.as_bytes()].concat());
    shell.send(send(4, r#"{"Width":100,"Height":40}"#)).await?;
    shell.send(send(0, "stty size; echo a$((6 * 7))b; exit 3\n")).await?;
    let (mut said, mut outcome) = (String::new(), String::new());
    while let Some(message) =
        tokio::time::timeout(Duration::from_secs(30), shell.next()).await.context("silence")?
    {
        match message {
            Ok(Message::Binary(bytes)) => match bytes.first() {
                Some(1) => said.push_str(&String::from_utf8_lossy(&bytes[1..])),
                Some(3) => outcome.push_str(&String::from_utf8_lossy(&bytes[1..])),
                _ => {}
            },
            Ok(Message::Close(_)) | Err(_) => break,
            Ok(_) => {}
        }
    }
    ensure!(said.contains("a42b") && said.contains("40 100"), "{said:?}");
    ensure!(outcome.contains("NonZeroExitCode") && outcome.contains('3'), "{outcome:?}");
    let path = path.replace("pod=shell", "pod=nobody");
    let mut refused = browser.socket(&path, "v5.channel.k8s.io", &origin).await?;
    match tokio::time::timeout(Duration::from_secs(30), refused.next()).await? {
        Some(Ok(Message::Binary(bytes))) => {
            let status: serde_json::Value = serde_json::from_slice(&bytes[1..])?;
            ensure!(bytes[0] == 3 && status["code"] == 404, "{status}");
        }
        other => bail!("{other:?}"),
    }
    Ok(())
}

/// What is typed and what is said do not wait for each other.
async fn paste(browser: &Browser) -> Result<()> {
    const MESSAGES: usize = 256;
    const LENGTH: usize = 32 * 1024;
    let path = "/sampan/v1/exec?namespace=default&pod=shell&container=main&command=cat";
    let cat = browser.socket(path, "v5.channel.k8s.io", &browser.origin()).await?;
    let (mut typed, mut said) = cat.split();
    let typing = async {
        for _ in 0..MESSAGES {
            typed.send(Message::binary([&[0], vec![b'x'; LENGTH].as_slice()].concat())).await?;
        }
        // the end of what is typed, as v5 has it
        typed.send(Message::binary(vec![255, 0])).await?;
        anyhow::Ok(())
    };
    let reading = async {
        let mut read = 0;
        while let Some(Ok(message)) = said.next().await {
            match message {
                Message::Binary(bytes) if bytes.first() == Some(&1) => read += bytes.len() - 1,
                Message::Close(_) => break,
                _ => {}
            }
        }
        read
    };
    let both = async { tokio::join!(typing, reading) };
    let (typing, read) =
        tokio::time::timeout(Duration::from_secs(60), both).await.context("it stands still")?;
    typing?;
    ensure!(read == MESSAGES * LENGTH, "{read}");
    Ok(())
}

/// Whoever signs out leaves nothing open.
async fn signing_out(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let guest = signed_in_again(cluster, browser)?;
    let path = "/sampan/v1/exec?namespace=default&pod=shell&container=main&command=/bin/sh&tty=true";
    let mut shell = guest.socket(path, "v5.channel.k8s.io", &guest.origin()).await?;
    shell.send(Message::binary(b"\0echo a$((6 * 7))b\n".to_vec())).await?;
    let mut said = String::new();
    while !said.contains("a42b") {
        let message =
            tokio::time::timeout(Duration::from_secs(30), shell.next()).await?.context("closed")??;
        said.push_str(&String::from_utf8_lossy(&message.into_data()));
    }
    let mut feed = guest.feed(POSTCARD).await?;
    feed.ask(&open(1, "", "pods", &["default"])).await?;
    live(&mut feed, 1).await?;
    let file = cluster.directory().join("watched");
    let mut watching = guest.stream("/k8s/api/v1/namespaces/default/pods?watch=true", &file)?;
    eventually("a watch", Duration::from_secs(20), || {
        Ok(std::fs::read_to_string(&file)?.contains("\"shell\"").then_some(()))
    })?;
    ensure!(watching.try_wait()?.is_none());
    ensure!(guest.send("DELETE", "/sampan/v1/session", &[], "")?.code == 204);
    // well before the next look at whether somebody is still who they were
    let soon = Duration::from_secs(10);
    tokio::time::timeout(soon, async {
        while let Some(Ok(message)) = shell.next().await {
            if message.is_close() {
                break;
            }
        }
    })
    .await
    .context("the terminal is open")?;
    feed.until("signed out", |tell| (*tell == Tell::SignedOut).then_some(())).await?;
    eventually("the watch ends", soon, || Ok(watching.try_wait()?))?;
    Ok(())
}

/// The same user, by a session of its own.
fn signed_in_again(cluster: &Cluster, browser: &Browser) -> Result<Browser> {
    let url = cluster.sampan(&["dashboard", "--url"])?;
    let path = url.trim().split_once(&format!(":{}", browser.port)).context("a path")?.1.to_owned();
    let nobody = Browser { cookie: None, ..browser.clone() };
    Ok(Browser { cookie: Some(nobody.get(&path)?.cookie()?), ..browser.clone() })
}

/// Someone who may see one namespace sees no more, and no longer than they may.
async fn rights(cluster: &Cluster, browser: &Browser) -> Result<()> {
    apply(cluster, NARROW)?;
    let token = cluster.kubectl(&["create", "token", "narrow", "-n", "team"])?;
    let body = json!({"token": token.trim()}).to_string();
    let nobody = Browser { cookie: None, ..browser.clone() };
    let cookie = nobody.send("POST", "/sampan/v1/session", &[], &body)?.cookie()?;
    let narrow = Browser { cookie: Some(cookie), ..browser.clone() };
    let mut feed = narrow.feed(POSTCARD).await?;
    let refused = |number: u32| {
        move |tell: &Tell| match tell {
            Tell::Refused { view, code: 403, message, .. } if *view == number => Some(message.clone()),
            _ => None,
        }
    };
    feed.ask(&open(1, "", "pods", &[])).await?;
    let message = feed.until("all pods", refused(1)).await?;
    ensure!(message.contains("cannot list resource \"pods\""), "{message}");
    feed.ask(&open(2, "", "secrets", &["team"])).await?;
    feed.until("secrets", refused(2)).await?;
    feed.ask(&open(3, "", "pods", &["team"])).await?;
    live(&mut feed, 3).await?;
    // who is given more sees more, without asking again
    cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        "wide",
        "--clusterrole=view",
        "--serviceaccount=team:narrow",
    ])?;
    live(&mut feed, 1).await.context("given more")?;
    cluster.kubectl(&["delete", "clusterrolebinding", "wide"])?;
    feed.until("taken away", refused(1)).await?;
    cluster.kubectl(&["delete", "rolebinding", "narrow", "-n", "team"])?;
    feed.until("the last taken away", refused(3)).await?;
    // an account that is no more ends the session
    cluster.kubectl(&["delete", "serviceaccount", "narrow", "-n", "team"])?;
    ensure!(narrow.get("/sampan/v1/session")?.code == 401);
    feed.until("signed out", |tell| (*tell == Tell::SignedOut).then_some(())).await
}

/// Tokens do what their scope says, until they are revoked.
fn scopes(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let token = |scope: &str| -> Result<Browser> {
        let token = cluster.sampan(&[
            "token",
            "create",
            &format!("ci-{scope}"),
            "--scope",
            scope,
            "--expires",
            "1h",
        ])?;
        Ok(Browser { cookie: None, bearer: Some(token.trim().to_owned()), ..browser.clone() })
    };
    let (read, operate, admin) = (token("read")?, token("operate")?, token("admin")?);
    for (path, method, codes) in [
        ("/sampan/v1/status", "GET", [200, 200, 200]),
        ("/sampan/v1/openapi.json", "GET", [200, 200, 200]),
        ("/sampan/v1/docs", "GET", [200, 200, 200]),
        ("/sampan/v1/components", "GET", [200, 200, 200]),
        ("/sampan/v1/nodes", "GET", [200, 200, 200]),
        ("/sampan/v1/profiles", "GET", [200, 200, 200]),
        ("/sampan/v1/images", "GET", [200, 200, 200]),
        ("/sampan/v1/logs", "GET", [200, 200, 200]),
        ("/sampan/v1/logs/kubelet?tail=1", "GET", [200, 200, 200]),
        ("/sampan/v1/addons", "GET", [200, 200, 200]),
        ("/sampan/v1/operations", "GET", [200, 200, 200]),
        ("/sampan/v1/addons/dns/configure", "POST", [403, 200, 200]),
        ("/sampan/v1/images/remove", "POST", [403, 400, 400]),
        ("/sampan/v1/kubeconfig", "GET", [403, 403, 200]),
        ("/sampan/v1/tokens", "GET", [403, 403, 200]),
        ("/sampan/v1/backup", "POST", [403, 403, 400]),
        ("/k8s/api/v1/namespaces/default/pods", "GET", [200, 200, 200]),
        ("/k8s/api/v1/nodes", "GET", [200, 200, 200]),
        ("/k8s/api/v1/namespaces/default/secrets", "GET", [403, 200, 200]),
        ("/k8s/api/v1/namespaces/default/configmaps", "POST", [403, 422, 422]),
        ("/k8s/api/v1/namespaces/kube-system/configmaps", "POST", [403, 403, 422]),
        ("/k8s/api/v1/namespaces/kube-system/secrets", "GET", [403, 403, 200]),
        (
            "/k8s/api/v1/namespaces/kube-system/serviceaccounts/sampan-token-ci-admin/token",
            "POST",
            [403, 403, 201],
        ),
    ] {
        for (who, code) in [&read, &operate, &admin].into_iter().zip(codes) {
            let answer = who.raw(method, path, &["Content-Type: application/json"], "{}")?;
            ensure!(answer.code == code, "{method} {path}: {} not {code}: {}", answer.code, answer.body);
        }
    }
    later(cluster, &operate).context("a namespace that came later")?;
    let listed = cluster.sampan(&["token", "ls", "-o", "json"])?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    ensure!(
        listed.as_array().is_some_and(|all| all.len() == 3) && !listed.to_string().contains("eyJ"),
        "{listed}"
    );
    cluster.sampan(&["token", "rm", "ci-read", "ci-operate"])?;
    ensure!(read.get("/sampan/v1/status")?.code == 401 && admin.get("/sampan/v1/status")?.code == 200);
    let failed = cluster.command().args(["token", "rm", "ci-read"]).output()?;
    ensure!(failed.status.code() == Some(15), "{failed:?}");
    streams(&admin)
}

/// A namespace is open to those who may operate as soon as it is there.
fn later(cluster: &Cluster, operate: &Browser) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "later"])?;
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"made"}}"#;
    let json = ["Content-Type: application/json"];
    eventually("it may be changed", Duration::from_secs(20), || {
        let answer = operate.raw("POST", "/k8s/api/v1/namespaces/later/configmaps", &json, body)?;
        Ok((answer.code == 201).then_some(()))
    })?;
    // somebody's mistake is mended
    cluster.kubectl(&["delete", "rolebinding", "-n", "later", "--all"])?;
    eventually("it may be changed again", Duration::from_secs(20), || {
        let bound = cluster.kubectl(&["get", "rolebindings", "-n", "later", "-o", "name"])?;
        Ok(bound.contains("sampan-token-ci-operate").then_some(()))
    })
}

/// Steps as they happen, and again by the operation's id.
fn streams(admin: &Browser) -> Result<()> {
    let body = json!({"set": {"listen": format!("127.0.0.1:{}", sampan_testkit::free_port())}}).to_string();
    let enable = "/sampan/v1/addons/registry/enable";
    let json = "Content-Type: application/json";
    let events = admin.raw("POST", enable, &[json, "Accept: text/event-stream"], &body)?;
    ensure!(
        events.head.contains("text/event-stream") && events.body.contains("event: progress\ndata: "),
        "{events:?}"
    );
    ensure!(events.body.contains("event: done\ndata: {"), "{events:?}");
    let id = events
        .head
        .lines()
        .find_map(|line| line.strip_prefix("sampan-operation: "))
        .context("no id")?
        .to_owned();
    let again =
        admin.raw("GET", &format!("/sampan/v1/operations/{id}"), &["Accept: text/event-stream"], "")?;
    ensure!(again.body == events.body, "{again:?}");
    let status = admin.get(&format!("/sampan/v1/operations/{id}"))?.json();
    ensure!(
        status["phase"] == "Succeeded" && status["verb"] == "enableAddon" && status["target"] == "registry",
        "{status}"
    );
    let later =
        admin.raw("POST", "/sampan/v1/addons/registry/disable", &[json, "Prefer: respond-async"], "{}")?;
    ensure!(later.code == 202 && later.head.contains("location: /sampan/v1/operations/"), "{later:?}");
    let id = later.json()["id"].as_str().context("id")?.to_owned();
    let lines =
        admin.raw("GET", &format!("/sampan/v1/operations/{id}"), &["Accept: application/x-ndjson"], "")?;
    ensure!(lines.body.lines().last().is_some_and(|line| line.starts_with("{\"done\":")), "{lines:?}");
    Ok(())
}

/// Whoever asks without end is let go; others do not notice.
async fn flood(browser: &Browser) -> Result<()> {
    let mut feed = browser.feed(POSTCARD).await?;
    let mut quiet = browser.feed(POSTCARD).await?;
    for view in 0..100 {
        feed.ask(&open(view, "", "configmaps", &[])).await?;
    }
    let refused = |tell: &Tell| matches!(tell, Tell::Refused { code: 429, .. }).then_some(());
    feed.until("too many views", refused).await?;
    let mut flooding = browser.feed(POSTCARD).await?;
    let text = "x".repeat(1000);
    let mut closed = false;
    let began = std::time::Instant::now();
    // a closed connection is drained for a moment
    while began.elapsed() < Duration::from_secs(30) {
        if flooding.socket.send(Message::text(text.as_str())).await.is_err() {
            closed = true;
            break;
        }
    }
    ensure!(closed, "a flood was read to its end");
    quiet.ask(&open(1, "", "namespaces", &[])).await?;
    live(&mut quiet, 1).await?;
    Ok(())
}

/// A daemon that was killed and started again: sessions hold, views go on.
async fn restarted(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let mut feed = browser.feed(POSTCARD).await?;
    let boot = match feed.next().await? {
        Tell::Hello { boot, .. } => boot,
        other => bail!("{other:?}"),
    };
    feed.ask(&open(1, "", "namespaces", &[])).await?;
    let revision = live(&mut feed, 1).await?;
    let left = signed_in_again(cluster, browser)?;
    ensure!(left.send("DELETE", "/sampan/v1/session", &[], "")?.code == 204);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(cluster.pid()?), nix::sys::signal::Signal::SIGKILL)?;
    while feed.next().await.is_ok() {}
    cluster.up()?;
    ensure!(left.get("/sampan/v1/session")?.code == 401, "a restart let in who had signed out");
    cluster.kubectl(&["create", "namespace", "meanwhile"])?;
    let mut feed = browser.feed(POSTCARD).await?;
    let again = match feed.next().await? {
        Tell::Hello { boot, .. } => boot,
        other => bail!("{other:?}"),
    };
    ensure!(again != boot);
    let mut ask = open(1, "", "namespaces", &[]);
    if let Ask::Open { since, .. } = &mut ask {
        *since = Some(revision);
    }
    feed.ask(&ask).await?;
    // gone on with, or begun anew: nothing is lost either way
    let seen = |tell: &Tell| match tell {
        Tell::Change { rows, .. } | Tell::Rows { rows, .. } => {
            rows.iter().any(|row| row.name == "meanwhile").then_some(())
        }
        _ => None,
    };
    feed.until("what happened meanwhile", seen).await
}

/// Wrong tokens are few.
fn guesses(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let nobody = Browser { cookie: None, ..browser.clone() };
    // a page of another site may send a browser here with any ticket: that keeps nobody out
    let tickets: Vec<u16> = (0..20)
        .map(|_| nobody.get("/signin?ticket=wrong").map(|answer| answer.code))
        .collect::<Result<_>>()?;
    ensure!(tickets.first() == Some(&303) && tickets.last() == Some(&429), "{tickets:?}");
    ensure!(signed_in_again(cluster, browser)?.get("/sampan/v1/session")?.code == 200);
    let guess = || nobody.send("POST", "/sampan/v1/session", &[], r#"{"token":"wrong"}"#);
    for _ in 0..20 {
        let answer = guess()?;
        if answer.code == 429 {
            ensure!(answer.head.contains("retry-after: "), "{answer:?}");
            // who is in stays in
            ensure!(browser.get("/sampan/v1/session")?.code == 200);
            return Ok(());
        }
        ensure!(answer.code == 401, "{answer:?}");
    }
    bail!("guesses without end")
}

/// What lets somebody in is in no log, and in no address that is good a second time.
fn secrets(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let url = cluster.sampan(&["dashboard", "--url"])?;
    let path = url.trim().split_once(&format!(":{}", browser.port)).context("a path")?.1.to_owned();
    let ticket = path.split_once("ticket=").or(path.rsplit_once('/')).context("a ticket")?.1.to_owned();
    let nobody = Browser { cookie: None, ..browser.clone() };
    let entered = nobody.get(&path)?;
    let token = cluster.kubectl(&["create", "token", "default"])?.trim().to_owned();
    let bearer = cluster.sampan(&["token", "create", "logged"])?.trim().to_owned();
    let signed = Browser { cookie: None, bearer: Some(bearer.clone()), ..browser.clone() };
    ensure!(signed.get("/sampan/v1/status")?.code == 200);
    ensure!(signed.get(&format!("/sampan/v1/nowhere?token={token}"))?.code >= 400);
    let cookie = entered.cookie()?.split_once('=').context("a value")?.1.to_owned();
    ensure!(!entered.head.contains(&ticket.to_ascii_lowercase()), "the ticket goes on in {}", entered.head);
    let mut read = 0;
    for entry in std::fs::read_dir(cluster.data_directory().join("logs"))? {
        let text = String::from_utf8_lossy(&std::fs::read(entry?.path())?).into_owned();
        read += text.len();
        for (what, secret) in
            [("ticket", &ticket), ("cookie", &cookie), ("token", &token), ("tool's token", &bearer)]
        {
            ensure!(secret.len() > 20 && !text.contains(secret.as_str()), "a {what} is in a log");
        }
    }
    ensure!(read > 0, "no log was read");
    Ok(())
}
