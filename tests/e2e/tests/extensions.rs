//! What extends the API server, running as pods behind a Service: admission webhooks, a conversion webhook, an
//! aggregated API server; and what a pod itself can ask. One cluster for all of it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::{CertificateParams, KeyPair};
use sampan_test_e2e::{apply, eventually, field, registry};
use sampan_testkit::{Cluster, Image, Options};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn extensions() -> Result<()> {
    let registry = registry()?;
    registry.push(&Image::extension()?, "library/extension", "latest")?;
    let log = tempfile::Builder::new().prefix("sampan-audit-").tempdir()?;
    let log = log.path().join("audit.log");
    let start = ["--registry-mirror", &registry.url(), "--audit-log-path", &log.to_string_lossy()];
    let cluster = Cluster::with(Options { start: start.map(str::to_owned).to_vec() })?;
    let authority = deploy(&cluster)?;
    webhooks(&cluster, &authority)?;
    conversion(&cluster, &authority)?;
    aggregation(&cluster, &authority)?;
    asking(&cluster)?;
    let audited = std::fs::read_to_string(&log)?;
    let lines = audited.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let asked = lines.iter().find(|line| {
        line["user"]["username"] == "system:serviceaccount:default:extension"
            && line["requestURI"] == "/.well-known/openid-configuration"
    });
    let asked = asked.context("the pod's question is in the audit log")?;
    ensure!(asked["verb"] == "get" && asked["responseStatus"]["code"] == 200, "{asked}");
    let pod = &asked["user"]["extra"]["authentication.kubernetes.io/pod-name"];
    ensure!(pod.is_array(), "its token is bound to the pod: {asked}");
    Ok(())
}

fn base64(text: &str) -> String {
    let secret = k8s_openapi::ByteString(text.as_bytes().to_vec());
    serde_json::to_value(secret).unwrap().as_str().unwrap().to_owned()
}

/// Runs the extension behind a Service; the authority that its certificate is of, as `caBundle` wants it.
fn deploy(cluster: &Cluster) -> Result<String> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["extension.default.svc".to_owned()])?.self_signed(&key)?.pem();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "extension"}, "type": "kubernetes.io/tls",
        "data": {"tls.crt": base64(&certificate), "tls.key": base64(&key.serialize_pem())}});
    apply(cluster, &secret.to_string())?;
    cluster.kubectl(&["create", "serviceaccount", "extension"])?;
    // what every extension API server is given
    let account = "--serviceaccount=default:extension";
    let delegator = "--clusterrole=system:auth-delegator";
    cluster.kubectl(&["create", "clusterrolebinding", "extension", delegator, account])?;
    let reader = "--role=extension-apiserver-authentication-reader";
    cluster.kubectl(&["-n", "kube-system", "create", "rolebinding", "extension", reader, account])?;
    let token =
        json!({"serviceAccountToken": {"path": "boats", "audience": "boats", "expirationSeconds": 600}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "extension", "labels": {"app": "extension"}},
        "spec": {"serviceAccountName": "extension",
            "volumes": [{"name": "tls", "secret": {"secretName": "extension"}},
                {"name": "tokens", "projected": {"sources": [token]}}],
            "containers": [{"name": "c", "image": "extension", "imagePullPolicy": "Always",
                "args": ["serve", "8443", "/tls"],
                "volumeMounts": [{"name": "tls", "mountPath": "/tls"}, {"name": "tokens", "mountPath": "/tokens"}],
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8443, "scheme": "HTTPS"}, "periodSeconds": 1}}]}});
    apply(cluster, &pod.to_string())?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "extension"},
        "spec": {"selector": {"app": "extension"}, "ports": [{"port": 443, "targetPort": 8443}]}});
    apply(cluster, &service.to_string())?;
    let ready = cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/extension"]);
    ready.with_context(|| cluster.kubectl(&["logs", "extension"]).unwrap_or_default())?;
    Ok(base64(&certificate))
}

fn at(path: &str, authority: &str) -> Value {
    json!({"service": {"namespace": "default", "name": "extension", "path": path}, "caBundle": authority})
}

fn webhooks(cluster: &Cluster, authority: &str) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "hooked"])?;
    for (kind, name, path) in [("Mutating", "mutate", "/mutate"), ("Validating", "validate", "/validate")] {
        let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": format!("{kind}WebhookConfiguration"), "metadata": {"name": name}, "webhooks": [{
                "name": format!("{name}.extension.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": at(path, authority),
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "hooked"}},
                "rules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"],
                    "resources": ["configmaps"]}]}]});
        apply(cluster, &configuration.to_string())?;
    }
    cluster.kubectl(&["-n", "hooked", "create", "configmap", "good", "--from-literal=a=b"])?;
    let label = cluster.kubectl(&[
        "-n",
        "hooked",
        "get",
        "cm",
        "good",
        "-o",
        "jsonpath={.metadata.labels.extended}",
    ])?;
    ensure!(label == "yes", "{label}");
    let mut bad = cluster.kubectl_command();
    let output =
        bad.args(["-n", "hooked", "create", "configmap", "bad", "--from-literal=forbidden=1"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let wanted =
        "admission webhook \"validate.extension.example.com\" denied the request: this key is forbidden";
    ensure!(!output.status.success() && said.contains(wanted), "{said}");
    Ok(())
}

fn conversion(cluster: &Cluster, authority: &str) -> Result<()> {
    let version = |name: &str, storage: bool, fields: Value| {
        json!({"name": name, "served": true, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}}})
    };
    let text = json!({"type": "string"});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "tunnels.net.example.com"}, "spec": {"group": "net.example.com", "scope": "Namespaced",
            "names": {"plural": "tunnels", "singular": "tunnel", "kind": "Tunnel"},
            "versions": [version("v1", true, json!({"hostPort": text})), version("v2", false, json!({"host": text, "port": text}))],
            "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
                "clientConfig": at("/convert", authority)}}}});
    apply(cluster, &definition.to_string())?;
    cluster.kubectl(&[
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "crd/tunnels.net.example.com",
    ])?;
    apply(
        cluster,
        "{apiVersion: net.example.com/v1, kind: Tunnel, metadata: {name: one}, spec: {hostPort: 'one.example:1'}}",
    )?;
    apply(
        cluster,
        "{apiVersion: net.example.com/v2, kind: Tunnel, metadata: {name: two}, spec: {host: two.example, port: '2'}}",
    )?;
    let first = field(cluster, "tunnels.v1.net.example.com", "{.items[*].spec.hostPort}")?;
    ensure!(first == "one.example:1 two.example:2", "{first}");
    let second = field(cluster, "tunnels.v2.net.example.com", "{.items[*].spec.host}")?;
    ensure!(second == "one.example two.example", "{second}");
    apply(
        cluster,
        "{apiVersion: net.example.com/v2, kind: Tunnel, metadata: {name: one}, spec: {host: one.example, port: '3'}}",
    )?;
    let changed = field(cluster, "tunnels.v1.net.example.com/one", "{.spec.hostPort}")?;
    ensure!(changed == "one.example:3", "{changed}");
    let explained = cluster.kubectl(&["explain", "tunnels.spec", "--api-version=net.example.com/v2"])?;
    ensure!(explained.contains("host") && !explained.contains("hostPort"), "{explained}");
    Ok(())
}

fn aggregation(cluster: &Cluster, authority: &str) -> Result<()> {
    let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.boats.example.com"}, "spec": {"group": "boats.example.com", "version": "v1",
            "groupPriorityMinimum": 1000, "versionPriority": 10, "caBundle": authority,
            "service": {"namespace": "default", "name": "extension"}}});
    apply(cluster, &service.to_string())?;
    cluster.kubectl(&[
        "wait",
        "--for=condition=Available",
        "--timeout=30s",
        "apiservice/v1.boats.example.com",
    ])?;
    let resources = cluster.kubectl(&["api-resources", "--api-group=boats.example.com"])?;
    ensure!(resources.contains("boats") && resources.contains("Boat"), "{resources}");
    let file = cluster.directory().join("boat.json");
    std::fs::write(&file, json!({"metadata": {"name": "argo"}, "spec": {"crew": 50}}).to_string())?;
    let raw = "/apis/boats.example.com/v1/namespaces/default/boats";
    let made = cluster.kubectl(&["create", "--raw", raw, "-f", &file.to_string_lossy()])?;
    ensure!(made.contains("\"builtBy\":\"kubernetes-admin\""), "{made}");
    let crew = field(cluster, "boats/argo", "{.spec.crew}")?;
    ensure!(crew == "50", "{crew}");
    let listed = cluster.kubectl(&["get", "boats"])?;
    ensure!(listed.contains("argo"), "{listed}");
    Ok(())
}

/// What the pod is told when it asks the API server itself.
fn asking(cluster: &Cluster) -> Result<()> {
    let ask = |arguments: &[&str]| {
        let ask = ["exec", "extension", "--", "testkit-extension", "ask"];
        cluster.kubectl(&[&ask, arguments].concat())
    };
    let found = ask(&["GET", "/.well-known/openid-configuration"])?;
    ensure!(
        found.starts_with("200 ") && found.contains("\"issuer\":\"https://kubernetes.default.svc"),
        "{found}"
    );
    let keys = ask(&["GET", "/openid/v1/jwks"])?;
    ensure!(keys.starts_with("200 ") && keys.contains("\"keys\""), "{keys}");
    let listed = ask(&["GET", "/api/v1/namespaces/default/secrets"])?;
    ensure!(listed.starts_with("403 "), "{listed}");
    // a token for somebody else is none for the API server, which tells that somebody whose it is
    let refused = ask(&["GET", "/.well-known/openid-configuration", "/tokens/boats"])?;
    ensure!(refused.starts_with("401 "), "{refused}");
    let token = cluster.kubectl(&["exec", "extension", "--", "cat", "/tokens/boats"])?;
    let review = |audience: &str| -> Result<Value> {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]}});
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let file = "/var/run/secrets/kubernetes.io/serviceaccount/token";
        let told = ask(&["POST", path, file, &review.to_string()])?;
        let (status, told) = told.split_once(' ').context("an answer")?;
        ensure!(status == "201", "{status} {told}");
        Ok(serde_json::from_str(told)?)
    };
    let told = review("boats")?;
    ensure!(told["status"]["authenticated"] == true, "{told}");
    ensure!(told["status"]["user"]["username"] == "system:serviceaccount:default:extension", "{told}");
    let told = review("others")?;
    ensure!(told["status"]["authenticated"] != true, "{told}");
    // and it dies with its pod
    cluster.kubectl(&["delete", "pod", "extension", "--now"])?;
    let file = cluster.directory().join("review.json");
    let dead = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token, "audiences": ["boats"]}});
    std::fs::write(&file, dead.to_string())?;
    let raw = "/apis/authentication.k8s.io/v1/tokenreviews";
    eventually("the token's end", SOON, || {
        let told = cluster.kubectl(&["create", "--raw", raw, "-f", &file.to_string_lossy()])?;
        let told: Value = serde_json::from_str(&told)?;
        Ok((told["status"]["authenticated"] != true).then_some(()))
    })
}
