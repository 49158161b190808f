//! Others who want in: a page of another origin, a name that was bound to this machine, a token whose time is over, names
//! that want to be more than names.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use sampan_test_browser::{Browser, PLAIN, address};
use sampan_test_e2e::apply;
use sampan_testkit::Cluster;
use serde_json::{Value, json};
use url::Url;

/// Tries what a page of somebody else would try, with the cookie that the browser sends along; says what came of it.
const PAGE: &str = r#"<!doctype html><title>waiting</title><script>
const base = BASE, told = {};
const socket = (path, protocol) => new Promise(done => {
  const socket = new WebSocket(base.replace(/^http/, 'ws') + path, protocol);
  socket.onopen = () => done('open');
  socket.onclose = () => done('refused');
});
const fetched = (path, init) => fetch(base + path, {credentials: 'include', ...init}).then(answer => answer.type + answer.status, () => 'refused');
const object = JSON.stringify({apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'foreign'}});
(async () => {
  told.feed = await socket('sampan/v1/feed', 'v1.feed.sampan.json');
  told.shell = await socket('sampan/v1/exec?namespace=default&pod=shell&container=main&command=touch&command=/tmp/foreign&tty=true', 'v5.channel.k8s.io');
  told.read = await fetched('k8s/api/v1/namespaces/default/secrets');
  told.written = await fetched('k8s/api/v1/namespaces/default/configmaps', {method: 'POST', headers: {'content-type': 'application/json', 'x-sampan-csrf': '1'}, body: object});
  await fetched('k8s/api/v1/namespaces/default/configmaps', {method: 'POST', mode: 'no-cors', headers: {'content-type': 'text/plain'}, body: object});
  await fetched('sampan/v1/session', {method: 'DELETE', mode: 'no-cors'});
  document.title = JSON.stringify(told);
})();
</script>"#;

/// A page on another port of the same host: to the browser the same site, but another origin.
pub async fn origin(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let base = address(cluster)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut place = Url::parse(&base)?;
    place.set_path("/");
    place.set_port(Some(listener.local_addr()?.port())).ok().context("a port")?;
    let page = PAGE.replace("BASE", &json!(base).to_string());
    std::thread::spawn(move || {
        // Chromium asks for an icon as well
        for stream in listener.incoming().take(4) {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                page.len()
            );
            let _ = stream.write_all(format!("{head}{page}").as_bytes());
        }
    });
    browser.client.goto(place.as_str()).await?;
    let told =
        "return document.title != 'waiting' && document.title.startsWith('{') && JSON.parse(document.title)";
    let told = browser.until("what came of it", told, json!([])).await?;
    for what in ["feed", "shell", "read", "written"] {
        ensure!(told[what] == "refused", "{told}");
    }
    let made = cluster.kubectl(&["get", "configmaps", "-o", "name"])?;
    ensure!(!made.contains("foreign"), "{made}");
    let files = cluster.kubectl(&["exec", "shell", "--", "ls", "/tmp"])?;
    ensure!(!files.contains("foreign"), "{files}");
    // the cookie was there all along, and still is
    browser.client.goto(&base).await?;
    browser.see("header.top").await?;
    // what was refused is what this is about
    browser.complaints().await.map(drop)
}

/// A name of somebody else's that leads to this machine.
pub async fn rebound(cluster: &Cluster) -> Result<()> {
    let browser = Browser::with(PLAIN, &["--host-resolver-rules=MAP rebound.example 127.0.0.1"]).await?;
    let mut place = Url::parse(&address(cluster)?)?;
    place.set_host(Some("rebound.example"))?;
    browser.client.goto(place.as_str()).await?;
    let status = "return performance.getEntriesByType('navigation')[0].responseStatus";
    ensure!(browser.run(status, json!([])).await? == 421);
    let asked = "const done = arguments[arguments.length - 1]; fetch(new URL('sampan/v1/session', location.href)).then(answer => done(answer.status), done)";
    ensure!(browser.client.execute_async(asked, Vec::new()).await? == 421);
    let socket = "const done = arguments[arguments.length - 1], socket = new WebSocket(new URL('sampan/v1/feed', location.href.replace(/^http/, 'ws')), 'v1.feed.sampan.json');
        socket.onopen = () => done('open'); socket.onclose = () => done('refused')";
    ensure!(browser.client.execute_async(socket, Vec::new()).await? == "refused");
    Ok(())
}

/// A token whose time is over lets nobody in; one whose time ends with the page open leads back to the sign-in.
pub async fn expired(cluster: &Cluster) -> Result<()> {
    let token = cluster.kubectl(&["create", "token", "reader", "-n", "team"])?;
    let browser = Browser::start(PLAIN).await?;
    browser.client.goto(&address(cluster)?).await?;
    browser.fill(".sign-in input", &until(cluster, token.trim(), -60)?).await?;
    browser.click(".sign-in button").await?;
    browser.read(".sign-in .error", "not signed in").await?;
    browser.fill(".sign-in input", &until(cluster, token.trim(), 20)?).await?;
    browser.click(".sign-in button").await?;
    browser.see("header.top").await?;
    browser.go("pods?ns=team").await?;
    browser.see("main h1").await?;
    // it is looked at every 20 seconds
    if browser.see(".sign-in").await.is_err() {
        browser.see(".sign-in").await?;
    }
    ensure!(browser.run("return document.querySelector('.rows') == null", json!([])).await? == true);
    Ok(())
}

/// The same token, good for so many seconds from now, signed with the cluster's key.
fn until(cluster: &Cluster, token: &str, seconds: i64) -> Result<String> {
    let mut parts = token.split('.');
    let (head, claims) = (parts.next().context("a head")?, parts.next().context("claims")?);
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    claims["exp"] = json!(now + seconds);
    let pem = std::fs::read_to_string(cluster.data_directory().join("pki/sa.key"))?;
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &STANDARD.decode(der)?, &random)
        .map_err(|error| anyhow::anyhow!("sa.key: {error}"))?;
    let body = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature =
        pair.sign(&random, body.as_bytes()).map_err(|error| anyhow::anyhow!("signing: {error}"))?;
    Ok(format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Names of roles and of users may be nearly anything; each is a name wherever it is seen, and leads where it says.
pub async fn names(cluster: &Cluster, browser: &Browser) -> Result<()> {
    const ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
    let names = ["<script>document.title", "\u{202e}txt.exe 👩‍👩‍👧‍👦", "مرحبا?q#&open:x", "'; drop \"role\""];
    let labels = json!({"hostile": "yes"});
    let mut all = Vec::new();
    for (at, name) in names.iter().enumerate() {
        all.push(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name, "labels": labels},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}));
        all.push(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": format!("hostile-{at}"), "labels": labels},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("{name}<script>document.title='owned'</script>")}]}));
    }
    apply(cluster, &json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string())?;
    browser.go(&format!("{ROLES}?q=hostile=yes")).await?;
    let listed = "const all = [...document.querySelectorAll('.rows tbody .name')].map(one => one.textContent.trim()); return all.length == arguments[0].length && arguments[0].every(name => all.includes(name))";
    browser.until("all four in the list", listed, json!([names])).await?;
    browser.is_accessible("hostile names").await?;
    for name in names {
        browser.go(&format!("{ROLES}?q=hostile=yes")).await?;
        let open = "const one = [...document.querySelectorAll('.rows .name .open')].find(one => one.textContent.trim() == arguments[0]); one?.click(); return Boolean(one)";
        browser.until(name, open, json!([name])).await?;
        let title = "return document.querySelector('.detail h1')?.textContent == arguments[0] && document.querySelector('.detail .facts') != null";
        browser.until("its drawer", title, json!([name])).await.with_context(|| name.to_owned())?;
        browser.click(".detail.drawer .title a.button").await?;
        browser.until("its page", "return document.querySelector('.drawer') == null", json!([])).await?;
        browser.until("its page", title, json!([name])).await.with_context(|| name.to_owned())?;
        browser.client.refresh().await?;
        browser.until("its page anew", title, json!([name])).await.with_context(|| name.to_owned())?;
    }
    browser.click_text(".actions button:enabled", "Delete").await?;
    browser.read("dialog[open] h2", names[3]).await?;
    browser.click("dialog[open] button.danger:enabled").await?;
    browser.see(".banner").await?;
    browser.go("access").await?;
    browser.fill("main input[type=search]", "hostile-").await?;
    browser.read("main tbody th", "<script>document.title='owned'</script>").await?;
    ensure!(browser.client.title().await? != "owned", "a name was run");
    let left = cluster.kubectl(&["get", "clusterroles", "-l", "hostile=yes", "-o", "name"])?;
    ensure!(left.lines().count() == 3, "{left}");
    cluster.kubectl(&["delete", "clusterroles,clusterrolebindings", "-l", "hostile=yes"]).map(drop)
}
