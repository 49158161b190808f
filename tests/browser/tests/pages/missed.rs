//! What new users missed: facts of a kind, links of rows, room, causes, shells that stay, texts to begin with.

use anyhow::{Result, ensure};
use sampan_test_browser::Browser;
use sampan_test_e2e::apply;
use sampan_testkit::Cluster;
use serde_json::json;

use super::mended::asked;

const WORLD: &str = r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  ingressClassName: nobody
  tls: [{hosts: [shop.example], secretName: cert}]
  rules:
  - host: shop.example
    http: {paths: [{path: /cart, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: classless}
spec: {storageClassName: nope, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: twins}
spec:
  replicas: 2
  selector: {matchLabels: {app: twins}}
  template:
    metadata: {labels: {app: twins}}
    spec: {containers: [{name: main, image: "no-such-image:3"}]}
"#;

/// An Ingress tells where it leads, an autoscaler what it scales by; in the list by upstream's columns, on the page whole.
pub async fn facts(cluster: &Cluster, browser: &Browser) -> Result<()> {
    apply(cluster, WORLD)?;
    browser.go("ingresses.networking.k8s.io?ns=default").await?;
    for (head, cell) in [("Class", "nobody"), ("Hosts", "shop.example"), ("Ports", "80, 443")] {
        browser.read(".rows thead th", head).await?;
        browser.read(".rows tbody td", cell).await?;
    }
    browser.go("ingresses.networking.k8s.io/default/shop").await?;
    browser
        .read(".facts dd a[href='services/default/web']", "shop.example/cart → Service/web:80 (Prefix)")
        .await?;
    browser.read(".facts dd a[href='secrets/default/cert']", "shop.example · Secret/cert").await?;
    browser.read(".facts dt", "loadBalancer").await?;
    browser.picture("ingress").await?;
    browser.is_accessible("an Ingress").await?;
    browser.go("horizontalpodautoscalers.autoscaling?ns=default").await?;
    for head in ["Reference", "Targets", "MinPods", "MaxPods", "Replicas"] {
        browser.read(".rows thead th", head).await?;
    }
    browser.read(".rows tbody td", "Deployment/web").await?;
    browser.go("horizontalpodautoscalers.autoscaling/default/web").await?;
    browser.read(".facts dd a[href='deployments.apps/default/web']", "Deployment/web").await?;
    browser.read(".facts dd", " / 80%").await?;
    browser.read(".facts dt", "maxReplicas").await?;
    browser.picture("autoscaler").await?;
    // a condition's value stands beside its type
    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    browser.go(&format!("nodes/-/{node}")).await?;
    browser.read(".detail tr td", "True").await?;
    browser.read(".detail tr td", "KubeletReady").await
}

/// The name of a row is a link: a held click is the browser's, a plain one opens the drawer.
pub async fn links(browser: &Browser) -> Result<()> {
    browser.go("pods?ns=default").await?;
    browser.read(".rows .name", "shell").await?;
    let click = "const link = [...document.querySelectorAll('.rows .name a')].find(one => one.innerText == 'shell');
        let left; window.addEventListener('click', event => { left = !event.defaultPrevented; event.preventDefault(); }, {once: true});
        link.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true, ctrlKey: arguments[0]}));
        return [link.getAttribute('href'), left]";
    let held = browser.run(click, json!([true])).await?;
    ensure!(held == json!(["pods/default/shell", true]), "{held}");
    let drawn = "return document.querySelector('.detail.drawer') != null";
    ensure!(browser.run(drawn, json!([])).await? == json!(false), "a held click opened the drawer");
    let plain = browser.run(click, json!([false])).await?;
    ensure!(plain == json!(["pods/default/shell", false]), "{plain}");
    browser.read(".detail.drawer h1", "shell").await?;
    ensure!(browser.client.current_url().await?.query().is_some_and(|query| query.contains("open=")));
    browser.press("\u{e00c}").await?;
    // the way to the page for who reads no table
    browser.go("nodes").await?;
    browser.see(".skip").await?;
    let there = "document.querySelector('.skip').click(); return document.activeElement?.id == 'page' && location.pathname.endsWith('/nodes')";
    browser.until("the page has the focus, and is the same", there, json!([])).await.map(drop)
}

/// What finds no room is not cut: it is left out, and said.
pub async fn room(browser: &Browser) -> Result<()> {
    for width in [400, 800, 1280] {
        browser.client.set_window_size(width, 800).await?;
        browser.go("pods").await?;
        browser.read(".rows .name", "crashing").await?;
        let seen = "const rows = document.querySelector('.rows'), status = document.querySelector('.rows tbody .status');
            const left = document.querySelector('.left-out');
            return status && status.getBoundingClientRect().right <= innerWidth && rows.scrollWidth <= rows.clientWidth
                && (innerWidth > 800 || Boolean(left?.title))";
        browser.until(&format!("the status at {width}"), seen, json!([])).await?;
        browser.is_accessible("a list with little room").await?;
        browser.picture(&format!("room-{width}")).await?;
    }
    Ok(())
}

/// One row for each cause, with its reason; a claim of no class fails.
pub async fn causes(cluster: &Cluster, browser: &Browser) -> Result<()> {
    browser.go("").await?;
    browser.read(".panel-card tr", "StorageClass nope not found").await?;
    let once = "const rows = [...document.querySelectorAll('.panel-card tr')].filter(one => one.querySelector('a[href=\"deployments.apps/default/twins\"]'));
        return rows.length == 1 && rows[0].innerText.includes('×2') && /ImagePull/.test(rows[0].innerText)";
    browser.until("a row for both pods", once, json!([])).await?;
    browser.picture("causes").await?;
    browser.is_accessible("causes").await?;
    browser.go("persistentvolumeclaims/default/classless").await?;
    browser.read(".cause", "The StorageClass of the claim does not exist").await?;
    browser.read(".cause code", "storageclass.storage.k8s.io \"nope\" not found").await?;
    // others count what fails
    cluster.kubectl(&["delete", "deployment/twins", "pvc/classless", "--cascade=foreground"])?;
    Ok(())
}

/// Some row of the terminal has the text.
const ROWS: &str = "return [...document.querySelectorAll('.detail .xterm-rows > div')].some(one => one.innerText.includes(arguments[0]))";

async fn types(browser: &Browser, keys: &str) -> Result<()> {
    browser.run("document.querySelector('.detail .xterm-helper-textarea').focus()", json!([])).await?;
    browser.press(keys).await
}

/// A shell stays while other tabs are looked at; leaving its page asks.
pub async fn shells(browser: &Browser) -> Result<()> {
    browser.go("pods/default/shell?tab=terminal").await?;
    browser.until("a prompt", ROWS, json!(["#"])).await?;
    types(browser, "kept=s$((6*7))t\n").await?;
    browser.until("it is typed", ROWS, json!(["kept="])).await?;
    browser.click_text(".tabs button", "Events").await?;
    browser
        .until(
            "another tab",
            "return document.querySelector('.detail .terminal')?.offsetParent === null",
            json!([]),
        )
        .await?;
    browser.click_text(".tabs button", "Terminal").await?;
    types(browser, "echo $kept\n").await?;
    browser.until("the same shell", ROWS, json!(["s42t"])).await?;
    browser
        .run("setTimeout(() => document.querySelector('.nav a[title=Topology]').click())", json!([]))
        .await?;
    asked(browser).await?;
    types(browser, "echo again $kept\n").await?;
    browser.until("it is still there", ROWS, json!(["again s42t"])).await?;
    types(browser, "exit\n").await?;
    browser.read(".terminal-page [role=status]", "has ended").await?;
    // nothing is lost any more
    browser.go_on("topology").await?;
    browser.read("h1", "Topology").await
}

/// Whoever creates begins with the kind they come from, and is told what became of it.
pub async fn begins(cluster: &Cluster, browser: &Browser) -> Result<()> {
    browser.go("configmaps?ns=default").await?;
    browser.click_text(".tools button", "Create").await?;
    let text = browser.yaml().await?;
    ensure!(text.starts_with("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: example\n"), "{text}");
    browser.click("main button.primary").await?;
    browser.read(".told-list a[href='configmaps/default/example']", "ConfigMap/example").await?;
    browser.read(".told-list li", "created").await?;
    browser.click("main button.primary").await?;
    browser.read(".told-list li", "configured").await?;
    browser.is_accessible("what was created").await?;
    browser.picture("created").await?;
    cluster.kubectl(&["delete", "configmap", "example"])?;
    // another kind
    browser.go("create?ns=default&kind=deployments.apps").await?;
    ensure!(browser.yaml().await?.contains("kind: Deployment"), "no Deployment to begin with");
    Ok(())
}

/// Column heads are in the page's language.
pub async fn heads(browser: &Browser) -> Result<()> {
    browser.go("pods?ns=default").await?;
    browser.click_text("header.top button", "中文").await?;
    browser.read(".rows thead th", "重启次数").await?;
    browser.picture("heads-zh").await?;
    browser.click_text("header.top button", "English").await?;
    browser.read(".rows thead th", "Restarts").await
}
