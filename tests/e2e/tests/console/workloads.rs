//! The web pages of workloads: an origin and a cookie of their own, the opener's rights at each request, websockets.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use futures::{SinkExt, StreamExt};
use sampan_test_e2e::{apply, ready};
use sampan_testkit::Cluster;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::browser::Browser;

const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: page, labels: {app: page}}
spec: {containers: [{name: nginx, image: "nginx:alpine", ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: page}
spec: {selector: {app: page}, ports: [{port: 8080, targetPort: 80}]}
"#;

/// What curl says of an address: head in lower case, and body.
fn fetch(url: &str, more: &[&str]) -> Result<(u16, String, String)> {
    let output = Command::new("curl").args(["-sS", "-i", "-m", "20"]).args(more).arg(url).output()?;
    ensure!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
    Ok((
        head.split(' ').nth(1).context("no code")?.parse()?,
        format!("{}\r\n", head.to_lowercase()),
        body.to_owned(),
    ))
}

fn header(head: &str, name: &str) -> Result<String> {
    let value = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    value.map(str::to_owned).with_context(|| format!("no {name} in {head}"))
}

/// The origin of a workload, and the cookie for it.
fn enter(browser: &Browser, query: &str) -> Result<(String, String)> {
    let opened = browser.get(&format!("/sampan/v1/open?{query}"))?;
    ensure!(opened.code == 303, "{opened:?}");
    let address = header(&opened.head, "location")?;
    let (code, head, _) = fetch(&address, &[])?;
    ensure!(code == 303 && head.contains("samesite=lax") && head.contains("httponly"), "{head}");
    let cookie = header(&head, "set-cookie")?.split(';').next().unwrap_or_default().to_owned();
    let (again, ..) = fetch(&address, &[])?;
    ensure!(again == 401, "a ticket was good twice");
    Ok((address.split("/.sampan").next().unwrap_or_default().to_owned(), format!("Cookie: {cookie}")))
}

pub async fn open(cluster: &Cluster, browser: &Browser) -> Result<()> {
    apply(cluster, WEB)?;
    ready(cluster, "page")?;
    sampan_test_e2e::eventually("an endpoint", std::time::Duration::from_secs(20), || {
        let slices = cluster.kubectl(&[
            "get",
            "endpointslices",
            "-l",
            "kubernetes.io/service-name=page",
            "-o",
            "jsonpath={.items[0].endpoints[0].conditions.ready}",
        ]);
        Ok((slices? == "true").then_some(()))
    })?;
    let (service, cookie) = enter(browser, "kind=services&namespace=default&name=page&port=8080")?;
    let (pod, other) = enter(browser, "kind=pods&namespace=default&name=page&port=80")?;
    ensure!(service != pod, "two workloads share an origin");
    for (url, more, code) in [
        (format!("{service}/"), vec!["-H", &cookie], 200),
        (format!("{pod}/"), vec!["-H", &other], 200),
        (format!("{service}/nowhere"), vec!["-H", &cookie], 404),
        (format!("{service}/"), vec![], 401),
        (format!("{service}/"), vec!["-H", &other], 401),
        (format!("{service}/"), vec!["-H", &cookie, "-X", "POST", "-H", "Origin: http://evil.example"], 403),
        (format!("{service}/../../../secrets"), vec!["--path-as-is", "-H", &cookie], 400),
    ] {
        let (said, head, body) = fetch(&url, &more)?;
        ensure!(said == code, "{url} {more:?}: {said} {head} {body}");
        ensure!(code != 200 || body.contains("Welcome to nginx"), "{body}");
        ensure!(!head.contains("content-security-policy: default-src 'none'") || code >= 400, "{head}");
    }
    // the dashboard's cookie is nothing here, and a page from here is a stranger there
    let own = browser.cookie.clone().context("a cookie")?;
    ensure!(fetch(&format!("{service}/"), &["-H", &format!("Cookie: {own}")])?.0 == 401);
    let foreign = format!("Origin: {service}");
    let asked = browser.raw("POST", "/k8s/api/v1/namespaces", &["X-Sampan-Csrf: 1", &foreign], "{}")?;
    ensure!(asked.code == 403, "{asked:?}");
    for query in ["kind=services&namespace=default&name=page", "kind=nodes&namespace=a&name=b&port=1"] {
        ensure!(browser.get(&format!("/sampan/v1/open?{query}"))?.code == 400, "{query}");
    }
    let absent = browser.get("/sampan/v1/open?kind=services&namespace=default&name=absent&port=80")?;
    ensure!(absent.code == 404 && absent.body.contains("services \\\"absent\\\" not found"), "{absent:?}");
    websocket(cluster, browser).await.context("a websocket")?;
    through_the_api(cluster).context("/proxy")?;
    rights(cluster, browser).context("rights")
}

/// `/proxy` for tools, as upstream's: links and redirects lead through it, a missing slash is added, ports have names.
fn through_the_api(cluster: &Cluster) -> Result<()> {
    let script = "printf '<a href=\"/deep/x\">x</a><a href=\"y\">y</a><img src=//elsewhere.example/z>' > /usr/share/nginx/html/links.html";
    cluster.kubectl(&["exec", "page", "--", "sh", "-c", script])?;
    let place = "/api/v1/namespaces/default/services/page:8080/proxy";
    let page = cluster.kubectl(&["get", "--raw", &format!("{place}/links.html")])?;
    let wanted =
        format!("<a href=\"{place}/deep/x\">x</a><a href=\"y\">y</a><img src=//elsewhere.example/z>");
    ensure!(page == wanted, "{page}");
    let mut proxy = cluster.kubectl_command();
    let port = sampan_testkit::free_port();
    let mut proxy =
        proxy.args(["proxy", "--port", &port.to_string()]).stdout(std::process::Stdio::null()).spawn()?;
    let base = format!("http://127.0.0.1:{port}");
    let told = sampan_test_e2e::eventually("kubectl proxy", std::time::Duration::from_secs(20), || {
        Ok(fetch(&format!("{base}{place}?a=b"), &[]).ok())
    });
    let wrong = fetch(&format!("{base}/api/v1/namespaces/default/services/page:81/proxy/"), &[]);
    proxy.kill()?;
    proxy.wait()?;
    let (code, head, _) = told?;
    ensure!(code == 301 && header(&head, "location")? == format!("{place}/?a=b"), "{code} {head}");
    let (code, _, body) = wrong?;
    ensure!(code == 503 && body.contains("no service port 81 found for service"), "{code} {body}");
    Ok(())
}

/// A server of this process behind a Service without a selector; it says everything back.
async fn websocket(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { continue };
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() || message.is_binary() {
                    let _ = socket.send(message).await;
                }
            }
        }
    });
    let node =
        cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}"])?;
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"}, "spec": {"ports": [{"port": 80, "targetPort": port}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"name": "echo", "labels": {"kubernetes.io/service-name": "echo"}},
         "endpoints": [{"addresses": [node.trim()], "conditions": {"ready": true}}], "ports": [{"name": "", "port": port}]}]});
    apply(cluster, &objects.to_string())?;
    let (origin, cookie) = enter(browser, "kind=services&namespace=default&name=echo&port=80")?;
    let host = origin.trim_start_matches("http://").to_owned();
    let connect = async |origin: &str| {
        let mut request = format!("ws://{host}/live?x=1").into_client_request()?;
        request.headers_mut().insert("origin", origin.parse()?);
        request.headers_mut().insert("cookie", cookie.trim_start_matches("Cookie: ").parse()?);
        let stream = TcpStream::connect(("127.0.0.1", browser.port)).await?;
        anyhow::Ok(tokio_tungstenite::client_async(request, stream).await?.0)
    };
    ensure!(connect("http://evil.example").await.is_err_and(|error| error.to_string().contains("403")));
    let mut socket = connect(&origin).await?;
    for message in [Message::text("hello"), Message::binary(vec![0, 159, 255])] {
        socket.send(message.clone()).await?;
        let back = tokio::time::timeout(std::time::Duration::from_secs(10), socket.next())
            .await?
            .context("closed")??;
        ensure!(back == message, "{back:?}");
    }
    Ok(())
}

/// A page closes when its opener signs out, and shows nothing that they may not see.
fn rights(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let token = cluster.kubectl(&["create", "token", "default"])?;
    let nobody = Browser { cookie: None, ..browser.clone() };
    let signed =
        nobody.send("POST", "/sampan/v1/session", &[], &json!({"token": token.trim()}).to_string())?;
    let guest = Browser { cookie: Some(signed.cookie()?), ..browser.clone() };
    let (origin, cookie) = enter(&guest, "kind=services&namespace=default&name=page&port=8080")?;
    let (code, _, body) = fetch(&format!("{origin}/"), &["-H", &cookie])?;
    ensure!(code == 403 && body.contains("services") && body.contains("proxy"), "{code} {body}");
    ensure!(guest.send("DELETE", "/sampan/v1/session", &[], "")?.code == 204);
    ensure!(fetch(&format!("{origin}/"), &["-H", &cookie])?.0 == 401, "open after signing out");
    Ok(())
}
