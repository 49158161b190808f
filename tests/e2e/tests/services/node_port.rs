//! The kubelet's API at the port that the Node names: for pods, with their tokens and rights.

use anyhow::{Result, ensure};
use sampan_test_e2e::{apply, field};
use sampan_testkit::Cluster;

use super::says;

const SCRAPER: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: scraper}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: scraper}
rules: [{apiGroups: [""], resources: [nodes/metrics, nodes/healthz], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: scraper}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: scraper}
subjects: [{kind: ServiceAccount, name: scraper, namespace: default}]
"#;

/// A scraper in a pod asks the node itself, with its token.
pub(super) fn node_port(cluster: &Cluster) -> Result<()> {
    let of_node = |path: &str| field(cluster, "nodes", &format!("{{.items[0].{path}}}"));
    let (name, port) = (of_node("metadata.name")?, of_node("status.daemonEndpoints.kubeletEndpoint.Port")?);
    let node = of_node("status.addresses[?(@.type==\"InternalIP\")].address")?;
    ensure!(port == "10250", "{port}");
    apply(cluster, SCRAPER)?;
    let token = |account: &str| {
        Ok::<_, anyhow::Error>(cluster.kubectl(&["create", "token", account])?.trim().to_owned())
    };
    let (scraper, stranger) = (token("scraper")?, token("default")?);
    let ask = |path: &str, token: &str| {
        let header =
            if token.is_empty() { String::new() } else { format!("-H 'Authorization: Bearer {token}'") };
        format!("curl -sSk -m 5 {header} -w '%{{http_code}}' https://{node}:{port}{path}")
    };
    says(cluster, &ask("/metrics/resource", &scraper), "node_cpu_usage_seconds_total")?;
    says(cluster, &ask("/healthz", &scraper), "ok200")?;
    for (path, token, code) in [
        ("/pods", &scraper, "subresource(s)=[pods proxy])\n403"),
        ("/metrics", &stranger, "subresource(s)=[metrics])\n403"),
        ("/metrics", &String::new(), "Unauthorized401"),
        ("/metrics", &"none".to_owned(), "Unauthorized401"),
    ] {
        says(cluster, &ask(path, token), code)?;
    }
    for (path, part) in
        [("logs/", "<pre>"), ("configz", "KubeletConfiguration"), ("runningpods", "\"name\":\"tools\"")]
    {
        let told = cluster.kubectl(&["get", "--raw", &format!("/api/v1/nodes/{name}/proxy/{path}")])?;
        ensure!(told.contains(part), "{path}: {told}");
    }
    Ok(())
}
