//! What a namespace may hold and who may have a certificate, as kubectl sees it. One cluster for all of it.
#![allow(clippy::unwrap_used)]

use std::process::Output;
use std::time::Duration;

use anyhow::{Result, ensure};
use rcgen::{CertificateParams, DnType, KeyPair};
use sampan_test_e2e::{apply, cluster, eventually, field, registry};
use sampan_testkit::Cluster;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// What kubectl says when it is refused.
fn refusal(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let output = cluster.kubectl_command().args(arguments).output()?;
    ensure!(!output.status.success(), "kubectl {arguments:?} went through");
    Ok(words(&output))
}

/// What kubectl says beside its output: warnings, errors.
fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn policy() -> Result<()> {
    let registry = registry()?;
    let cluster = cluster(&registry, "embedded")?;
    pod_security(&cluster)?;
    quota(&cluster)?;
    limits(&cluster)?;
    topology(&cluster)?;
    certificate(&cluster)?;
    bound_token(&cluster)
}

fn pod_security(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "strict"])?;
    let label = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl(&["label", "namespace", "strict", label])?;
    let said = refusal(cluster, &["-n", "strict", "run", "x", "--image=busybox"])?;
    let wanted = "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
                  (container \"x\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities";
    ensure!(said.contains(wanted), "{said}");
    apply(
        cluster,
        "{apiVersion: v1, kind: Pod, metadata: {name: hardened, namespace: strict}, spec: {\
            securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}, \
            containers: [{name: c, image: busybox, command: [sleep, '1000'], securityContext: {\
                allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}}",
    )?;
    cluster.kubectl(&["-n", "strict", "wait", "--for=condition=Ready", "--timeout=60s", "pod/hardened"])?;
    cluster.kubectl(&["label", "namespace", "default", "pod-security.kubernetes.io/warn=baseline"])?;
    let overrides = r#"--overrides={"spec":{"hostNetwork":true}}"#;
    let output = cluster.kubectl_command().args(["run", "shared", "--image=busybox", overrides]).output()?;
    let wanted = "Warning: would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)";
    ensure!(output.status.success() && words(&output).contains(wanted), "{}", words(&output));
    let label = "pod-security.kubernetes.io/enforce=baseline";
    let output = cluster.kubectl_command().args(["label", "namespace", "default", label]).output()?;
    let wanted = "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"baseline:latest\"";
    ensure!(words(&output).contains(wanted), "{}", words(&output));
    ensure!(words(&output).contains("Warning: shared: host namespaces"), "{}", words(&output));
    Ok(())
}

fn used(cluster: &Cluster, resource: &str) -> Result<String> {
    let path = format!("{{.status.used.{}}}", resource.replace('.', "\\."));
    cluster.kubectl(&["-n", "narrow", "get", "quota", "q", "-o", &format!("jsonpath={path}")])
}

fn until_used(cluster: &Cluster, resource: &str, wanted: &str) -> Result<()> {
    eventually(&format!("{resource}={wanted}"), SOON, || {
        Ok((used(cluster, resource)? == wanted).then_some(()))
    })
}

fn quota(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "narrow"])?;
    let hard = "--hard=pods=10,count/deployments.apps=1,services.nodeports=1";
    cluster.kubectl(&["-n", "narrow", "create", "quota", "q", hard])?;
    until_used(cluster, "pods", "0")?;
    // a storm: whoever comes first, ten get through
    let runs: Vec<_> = (0..16)
        .map(|number| {
            let mut kubectl = cluster.kubectl_command();
            kubectl.args([
                "-n",
                "narrow",
                "run",
                &format!("p{number}"),
                "--image=busybox",
                "--",
                "sleep",
                "1000",
            ]);
            kubectl.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            kubectl.spawn()
        })
        .collect::<Result<_, _>>()?;
    let mut through = 0;
    for mut run in runs {
        through += u32::from(run.wait()?.success());
    }
    ensure!(through == 10, "{through} pods of ten");
    let said = refusal(cluster, &["-n", "narrow", "run", "eleventh", "--image=busybox"])?;
    let wanted = "pods \"eleventh\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=10, limited: pods=10";
    ensure!(said.contains(wanted), "{said}");
    let pods = cluster.kubectl(&["-n", "narrow", "get", "pods", "-o", "name"])?;
    let first: Vec<&str> = pods.lines().take(2).collect();
    cluster.kubectl(&[&["-n", "narrow", "delete", "--now"], first.as_slice()].concat())?;
    until_used(cluster, "pods", "8")?;
    cluster.kubectl(&["-n", "narrow", "create", "deployment", "d", "--image=busybox", "--replicas=0"])?;
    let said = refusal(cluster, &["-n", "narrow", "create", "deployment", "e", "--image=busybox"])?;
    ensure!(said.contains("exceeded quota: q, requested: count/deployments.apps=1"), "{said}");
    cluster.kubectl(&["-n", "narrow", "delete", "deployment", "d"])?;
    until_used(cluster, "count/deployments.apps", "0")
}

fn limits(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "bounded"])?;
    apply(
        cluster,
        "{apiVersion: v1, kind: LimitRange, metadata: {name: l, namespace: bounded}, spec: {limits: [\
            {type: Container, default: {cpu: 200m}, defaultRequest: {cpu: 100m}, max: {cpu: '1'}}]}}",
    )?;
    cluster.kubectl(&["-n", "bounded", "run", "small", "--image=busybox"])?;
    let path = "jsonpath={.spec.containers[0].resources}{.metadata.annotations.kubernetes\\.io/limit-ranger}";
    let got = cluster.kubectl(&["-n", "bounded", "get", "pod", "small", "-o", path])?;
    let wanted = "{\"limits\":{\"cpu\":\"200m\"},\"requests\":{\"cpu\":\"100m\"}}\
                  LimitRanger plugin set: cpu request for container small; cpu limit for container small";
    ensure!(got == wanted, "{got}");
    let big = r#"--overrides={"spec":{"containers":[{"name":"big","image":"busybox","resources":{"limits":{"cpu":"2"}}}]}}"#;
    let said = refusal(cluster, &["-n", "bounded", "run", "big", "--image=busybox", big])?;
    ensure!(said.contains("maximum cpu usage per Container is 1, but limit is 2"), "{said}");
    Ok(())
}

fn topology(cluster: &Cluster) -> Result<()> {
    let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    cluster.kubectl(&["label", "node", &node, "topology.kubernetes.io/zone=harbour"])?;
    cluster.kubectl(&["-n", "bounded", "run", "placed", "--image=busybox"])?;
    eventually("the pod's zone", SOON, || {
        let labels = cluster.kubectl(&[
            "-n",
            "bounded",
            "get",
            "pod",
            "placed",
            "-o",
            "jsonpath={.metadata.labels}",
        ])?;
        Ok(labels.contains("\"topology.kubernetes.io/zone\":\"harbour\"").then_some(()))
    })
}

/// A kubeconfig of the cluster for another user.
fn as_user(cluster: &Cluster, name: &str, user: Value) -> Result<String> {
    let text = cluster.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"])?;
    let mut config: Value = serde_json::from_str(&text)?;
    config["users"][0]["user"] = user;
    let path = cluster.directory().join(name);
    std::fs::write(&path, config.to_string())?;
    Ok(format!("--kubeconfig={}", path.display()))
}

fn base64(text: &str) -> String {
    // as kubectl writes binary data: through the one encoder that the tests have
    let secret = k8s_openapi::ByteString(text.as_bytes().to_vec());
    serde_json::to_value(secret).unwrap().as_str().unwrap().to_owned()
}

fn certificate(cluster: &Cluster) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "eve");
    params.distinguished_name.push(DnType::OrganizationName, "crew");
    let request = base64(&params.serialize_request(&key)?.pem()?);
    let manifest = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "eve"},
        "spec": {"request": request, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
            "expirationSeconds": 3600}});
    apply(cluster, &manifest.to_string())?;
    let said = refusal(cluster, &["certificate", "approve", "eve", "--as=mallory"])?;
    ensure!(said.contains("forbidden"), "{said}");
    cluster.kubectl(&["certificate", "approve", "eve"])?;
    let certificate = eventually("a certificate", SOON, || {
        let certificate = field(cluster, "csr/eve", "{.status.certificate}")?;
        Ok((!certificate.is_empty()).then_some(certificate))
    })?;
    let user =
        json!({"client-certificate-data": certificate, "client-key-data": base64(&key.serialize_pem())});
    let eve = as_user(cluster, "eve.kubeconfig", user)?;
    let said = cluster.kubectl(&[&eve, "auth", "whoami"])?;
    ensure!(said.contains("eve") && said.contains("crew"), "{said}");
    Ok(())
}

fn bound_token(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "bound"])?;
    eventually("the default service account", SOON, || {
        Ok(cluster.kubectl(&["-n", "bound", "get", "serviceaccount", "default"]).ok())
    })?;
    cluster.kubectl(&["-n", "bound", "run", "holder", "--image=busybox", "--", "sleep", "1000"])?;
    let bound = ["--bound-object-kind=Pod", "--bound-object-name=holder"];
    let token = cluster.kubectl(&["-n", "bound", "create", "token", "default", bound[0], bound[1]])?;
    let holder = as_user(cluster, "holder.kubeconfig", json!({"token": token.trim()}))?;
    let said = cluster.kubectl(&[&holder, "auth", "whoami"])?;
    ensure!(said.contains("system:serviceaccount:bound:default"), "{said}");
    let found = cluster.kubectl(&[&holder, "get", "--raw", "/.well-known/openid-configuration"])?;
    ensure!(found.contains("https://kubernetes.default.svc"), "{found}");
    let keys = cluster.kubectl(&[&holder, "get", "--raw", "/openid/v1/jwks"])?;
    ensure!(keys.contains("\"keys\""), "{keys}");
    cluster.kubectl(&["-n", "bound", "delete", "pod", "holder", "--now"])?;
    let said = refusal(cluster, &[&holder, "auth", "whoami"])?;
    ensure!(said.contains("Unauthorized"), "{said}");
    Ok(())
}
