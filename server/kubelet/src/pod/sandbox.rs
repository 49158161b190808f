//! Makes a pod's sandbox: its network, its namespaces, the files the kubelet keeps in it.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use sampan_cri::{PodIdentity, SandboxConfig, SandboxNetwork};

use super::machine::Event;
use crate::container::{config, dns, qos};
use crate::context::Context;

/// Makes the sandbox for the `attempt`-th time, once the `stale` ones are gone.
pub async fn create_sandbox(context: &Context, pod: &Pod, attempt: u32, stale: Vec<String>) -> Event {
    for id in stale {
        if let Err(error) = context.runtime.remove_pod_sandbox(&id).await {
            tracing::warn!(id, %error, "stale sandbox not removed");
        }
    }
    match try_create_sandbox(context, pod, attempt).await {
        Ok((id, ips)) => Event::SandboxReady { id, ips },
        Err(why) => {
            release_network(context, pod).await;
            Event::SandboxFailed(why)
        }
    }
}

/// Takes the pod's place in the network back.
pub async fn release_network(context: &Context, pod: &Pod) {
    let host = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    if !host && let Err(error) = context.network.release(uid).await {
        tracing::warn!(uid, error, "pod network not released");
    }
}

/// Annotation: addresses the sandbox was made with, for a later process.
pub const ANNOTATION_IPS: &str = "sampan.io/pod-ips";

async fn try_create_sandbox(
    context: &Context,
    pod: &Pod,
    attempt: u32,
) -> Result<(String, Vec<std::net::IpAddr>), String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let host = spec.host_network.unwrap_or(false);
    let handler = handler(context, spec.runtime_class_name.as_deref()).await?;
    if spec.host_users == Some(false) {
        return Err(no_own_users(&handler));
    }
    let joins = context.runtime.capabilities().joins_network_namespace;
    let (network, mut ips) = match (host, joins) {
        (true, _) => (SandboxNetwork::Host, context.host_ips.clone()),
        (false, true) => {
            let net = context.network.acquire(&uid).await?;
            (SandboxNetwork::Namespace(net.netns), net.ips)
        }
        (false, false) => (SandboxNetwork::Create, Vec::new()),
    };
    let (hostname, fqdn) = dns::host_name(pod, &context.node_name, &context.cluster_domain);
    let sandbox = sandbox_config(context, pod, attempt, hostname.clone(), network, &ips);
    let status = context.runtime.run_pod_sandbox(sandbox).await.map_err(|e| e.to_string())?;
    if !host && !joins {
        let netns = status.netns.as_deref().ok_or("the runtime gave no network namespace")?;
        ips = context.network.attach(netns, &uid).await?.ips;
    }
    let ports = crate::network::host_ports(pod);
    if !ports.is_empty() {
        context.network.set_host_ports(&uid, ports).await?;
    }
    write_files(context, pod, &hostname, fqdn.as_deref(), &ips, host).map_err(|e| e.to_string())?;
    Ok((status.id, ips))
}

/// Why a pod is not run that wants users of its own: it is promised that root in it is not the node's, and is let do what
/// other pods are not (upstream's `GetOrCreateUserNamespaceMappings`).
fn no_own_users(handler: &str) -> String {
    let who = match handler {
        "" => "runtime".to_owned(),
        handler => format!("RuntimeClass handler {handler:?}"),
    };
    format!("can't set `spec.hostUsers: false`, {who} does not support user namespaces")
}

/// The handler that the pod's RuntimeClass means, if it is this node's runtime.
async fn handler(context: &Context, class: Option<&str>) -> Result<String, String> {
    let Some(class) = class.filter(|class| !class.is_empty()) else { return Ok(String::new()) };
    let classes: Api<RuntimeClass> = Api::all(context.client.clone());
    let handler = match classes.get(class).await {
        Ok(class) => class.handler,
        Err(kube::Error::Api(status)) => return Err(status.message),
        Err(error) => return Err(error.to_string()),
    };
    if handler.is_empty() || context.runtime.capabilities().runtime_handlers.contains(&handler.as_str()) {
        return Ok(handler);
    }
    Err(format!("failed to get sandbox runtime: no runtime for {handler:?} is configured"))
}

fn sandbox_config(
    context: &Context,
    pod: &Pod,
    attempt: u32,
    hostname: String,
    network: SandboxNetwork,
    ips: &[std::net::IpAddr],
) -> SandboxConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let security = spec.security_context.unwrap_or_default();
    let sysctls = security.sysctls.into_iter().flatten().map(|s| (s.name, s.value)).collect();
    let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
    let meta = &pod.metadata;
    SandboxConfig {
        pod: PodIdentity { namespace: text(&meta.namespace), name: text(&meta.name), uid: text(&meta.uid) },
        attempt,
        hostname,
        network,
        host_pid: spec.host_pid.unwrap_or(false),
        host_ipc: spec.host_ipc.unwrap_or(false),
        share_process_namespace: spec.share_process_namespace.unwrap_or(false),
        sysctls,
        cgroup_parent: qos::cgroup_parent(pod),
        resources: qos::pod_resources(pod),
        log_directory: context.dirs.pod(pod).logs,
        labels: config::pod_labels(pod),
        annotations: [(ANNOTATION_IPS.to_owned(), ips.join(","))].into(),
    }
}

/// The files the kubelet keeps for the pod.
fn write_files(
    context: &Context,
    pod: &Pod,
    hostname: &str,
    fqdn: Option<&str>,
    ips: &[std::net::IpAddr],
    host: bool,
) -> std::io::Result<()> {
    let dirs = context.dirs.pod(pod);
    let host_hosts = if host { std::fs::read_to_string("/etc/hosts").ok() } else { None };
    let aliases = pod.spec.as_ref().and_then(|s| s.host_aliases.clone()).unwrap_or_default();
    let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
    let hosts = dns::hosts(host_hosts.as_deref(), &ips, hostname, fqdn, &aliases);
    crate::dirs::write(&dirs.hosts(), hosts.as_bytes())?;
    crate::dirs::write(&dirs.hostname(), format!("{hostname}\n").as_bytes())?;
    let host_resolver = dns::Resolver::of_host();
    let mut resolver = dns::resolver(pod, &host_resolver, &context.cluster_dns, &context.cluster_domain);
    for told in resolver.fit() {
        context.tell(pod, true, "DNSConfigForming", &told, None);
    }
    crate::dirs::write(&dirs.resolv_conf(), resolver.text().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_with_users_of_its_own_is_told_who_cannot_have_it() {
        let rest = "does not support user namespaces";
        assert_eq!(no_own_users(""), format!("can't set `spec.hostUsers: false`, runtime {rest}"));
        let who = "RuntimeClass handler \"oci\"";
        assert_eq!(no_own_users("oci"), format!("can't set `spec.hostUsers: false`, {who} {rest}"));
    }
}
