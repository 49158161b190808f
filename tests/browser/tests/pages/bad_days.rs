//! What nobody wishes for: hostile texts, an object of three megabytes, a cluster with nothing in
//! it, rights that are taken away while somebody works.

use anyhow::{Context, Result, ensure};
use sampan_test_browser::{Browser, PLAIN, address};
use sampan_test_e2e::apply;
use sampan_testkit::Cluster;
use serde_json::{Value, json};

/// Turns what follows it around, unless it is kept apart.
const TURN: &str = "\u{202e}";

/// Texts that want to be more than text; each is seen as it is, and nothing beside it is moved.
pub async fn hostile(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let texts = [
        format!("{TURN}txt.exe"),
        "مرحبا بالعالم".to_owned(),
        "👩‍👩‍👧‍👦🏴󠁧󠁢󠁥󠁮󠁧󠁿".to_owned(),
        "<img src=x onerror=\"document.title='owned'\">".to_owned(),
        "a".repeat(5_000),
    ];
    let notes: serde_json::Map<String, Value> =
        texts.iter().enumerate().map(|(at, text)| (format!("note-{at}"), json!(text))).collect();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hostile", "annotations": notes},
        "data": {"text": texts.join("\n")}});
    apply(cluster, &object.to_string())?;
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "hostile"}, "type": "Warning", "reason": "Hostile",
        "message": texts[..4].join(" "), "involvedObject": {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "default", "name": "hostile"}});
    apply(cluster, &event.to_string())?;
    browser.go("configmaps/default/hostile").await?;
    for text in &texts[..4] {
        browser.read(".detail .body", text).await.with_context(|| text.clone())?;
    }
    browser.read(".detail .body", "Hostile").await?;
    // what turns around does so within its own box, and nothing is wider than the page
    let kept = "const all = [...document.querySelectorAll('.detail code, .detail td, .detail pre')].filter(one => one.innerText.includes('\\u202e'));
        return all.length > 1 && all.every(one => ['isolate', 'isolate-override', 'plaintext'].includes(getComputedStyle(one).unicodeBidi))";
    browser.until("turned texts kept apart", kept, json!([])).await?;
    let within = "return document.documentElement.scrollWidth <= innerWidth && document.querySelector('.detail .body').scrollWidth <= document.querySelector('.detail .body').clientWidth";
    browser.until("nothing sticks out", within, json!([])).await?;
    browser.is_accessible("hostile texts").await?;
    for place in ["", "events?q=Hostile", "configmaps/default/hostile?tab=yaml"] {
        browser.go(place).await?;
        browser.read("main", "txt.exe").await.with_context(|| place.to_owned())?;
        ensure!(browser.client.title().await? != "owned", "{place}: a text was run");
    }
    cluster.kubectl(&["delete", "event", "hostile"]).map(drop)
}

/// As much as the API server takes in one object, managed fields left out, in a list, as facts and as YAML.
pub async fn large(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let variable = |at: usize| json!({"name": format!("LINE_{at}"), "value": "x".repeat(60)});
    let variables: Vec<Value> = (0..15_000).map(variable).collect();
    let labels = json!({"app": "large"});
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "large"}, "spec": {"replicas": 0,
        "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "busybox", "env": variables}]}}}});
    let body = object.to_string().into_bytes();
    ensure!((1_350_000..1_572_864).contains(&body.len()), "{} bytes", body.len());
    let request = http::Request::post("/apis/apps/v1/namespaces/default/deployments")
        .header("content-type", "application/json")
        .body(body)?;
    cluster.client().await?.request::<Value>(request).await?;
    browser.go("deployments.apps?ns=default").await?;
    browser.read(".rows .name", "large").await?;
    browser.go("deployments.apps/default/large").await?;
    browser.read(".detail h1", "large").await?;
    browser.read(".detail .facts", "Age").await?;
    browser.click_text(".tabs button", "YAML").await?;
    browser.sees_yaml("kind: Deployment").await?;
    let few = "const lines = document.querySelector('.editor').shadowRoot.querySelector('.cm-content'); return lines.children.length < 300";
    browser.until("only what is seen is drawn", few, json!([])).await?;
    cluster.kubectl(&["delete", "deployment", "large"]).map(drop)
}

/// A cluster in which nothing was made.
pub async fn nothing() -> Result<()> {
    let cluster = Cluster::start()?;
    let browser = Browser::signed_in(&cluster, PLAIN).await?;
    browser.read(".panel-card", "Nothing fails").await?;
    browser.read(".node", "Ready").await?;
    browser.is_accessible("overview of nothing").await?;
    for place in ["deployments.apps", "persistentvolumeclaims", "pods?ns=default", "jobs.batch"] {
        browser.go(place).await?;
        browser.read(".told h2", "There is nothing here").await.with_context(|| place.to_owned())?;
    }
    browser.go("topology?ns=default").await?;
    browser.see("main h1").await?;
    browser.is_accessible("topology of nothing").await?;
    let complaints = browser.complaints().await?;
    ensure!(complaints.is_empty(), "the console says: {complaints:#?}");
    Ok(())
}

const EDITOR: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: worker, namespace: team}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: worker, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: worker, namespace: team}]
"#;

/// Rights that are taken away with the page open: what was offered is refused with the reason, and pages that are opened
/// then are too. A user of one namespace has a page that says so, and not a broken one.
pub async fn revoked(cluster: &Cluster) -> Result<()> {
    apply(cluster, EDITOR)?;
    let token = cluster.kubectl(&["create", "token", "worker", "-n", "team"])?;
    let browser = Browser::start(PLAIN).await?;
    browser.client.goto(&address(cluster)?).await?;
    browser.fill(".sign-in input", token.trim()).await?;
    browser.click(".sign-in button").await?;
    browser.see("main h1").await?;
    browser.is_accessible("overview of one namespace").await?;
    browser.go("topology?ns=team").await?;
    browser.read(".graph svg", "theirs").await?;
    browser.go("access?ns=team").await?;
    browser.read("main", "deployments").await?;
    browser.go("deployments.apps?ns=team").await?;
    browser.read(".rows .name", "theirs").await?;
    browser.click_text(".tools button:enabled", "Create").await?;
    browser.read("main h1", "Create").await?;
    browser.go("deployments.apps/team/theirs").await?;
    browser.click_text(".actions button:enabled", "Scale").await?;
    browser.see("dialog[open] input[type=number]").await?;
    cluster.kubectl(&["delete", "rolebinding", "worker", "-n", "team"])?;
    browser.fill("dialog[open] input[type=number]", "3").await?;
    browser.click("dialog[open] button.primary:enabled").await?;
    browser.read(".toast.bad", "cannot patch resource").await?;
    ensure!(
        cluster.kubectl(&["get", "deployment", "theirs", "-n", "team", "-o", "jsonpath={.spec.replicas}"])?
            == "1"
    );
    browser.click_text("nav a", "StatefulSet").await?;
    browser.read(".told", "cannot list resource").await?;
    let create = "return [...document.querySelectorAll('.tools button')].some(one => one.disabled && one.title.includes('create statefulsets.apps'))";
    browser.until("Create says what is missing", create, json!([])).await.map(drop)
}
