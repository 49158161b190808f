//! What `sampan start` is told: checked before anything is written, merged with what the cluster was made with.
//!
//! Plain functions of plain values. Each refusal is a [`Kind::Usage`] that names the flag, so that a bad value
//! never gets as far as `config.json`, where it would fail every later start.

use sampan_console::PublicUrl;
use sampan_pod_network::subnet::Subnet;
use sampan_scheduler::config::Configuration;

use crate::cli::Start;
use crate::failure::{Failure, Kind};
use crate::profile::Settings;

/// Refuses a command line that no cluster could be started with.
pub fn check(options: &Start) -> Result<(), Failure> {
    if options.apiserver_port == Some(0) {
        return Err(usage("--apiserver-port=0: a port is 1 to 65535"));
    }
    if options.dashboard_port == Some(0) {
        return Err(usage("--dashboard-port=0: a port is 1 to 65535"));
    }
    check_settings(&merged(Settings::default(), options))
}

/// Refuses settings that no cluster could be started with, wherever they come from.
pub fn check_settings(settings: &Settings) -> Result<(), Failure> {
    pod_cidr(&settings.pod_cidr)?;
    check_apart(settings)?;
    if !settings.node_name.is_empty() && !is_subdomain(&settings.node_name) {
        let name = &settings.node_name;
        return Err(usage(format!(
            "--node-name={name}: a node's name is at most 253 of a-z, 0-9, '-' and '.', with a letter or digit at both ends of each part"
        )));
    }
    for mirror in &settings.registry_mirrors {
        if host_of(mirror).is_none() {
            return Err(usage(format!(
                "--registry-mirror={mirror}: not the URL of a registry, such as http://127.0.0.1:5000"
            )));
        }
    }
    for registry in &settings.insecure_registries {
        if !is_host(registry) {
            return Err(usage(format!(
                "--insecure-registry={registry}: not a host with its port, such as 10.0.0.5:5000"
            )));
        }
    }
    for url in &settings.dashboard_urls {
        url.parse::<PublicUrl>().map_err(|error| usage(format!("--dashboard-url={error}")))?;
    }
    settings.audit.check()?;
    sampan_apiserver::check_authentication(settings.authentication_config.as_deref())
        .map_err(|error| usage(error.to_string()))?;
    scheduler_configuration(settings)?;
    match settings.image_mirror_country.as_str() {
        "" | "cn" => Ok(()),
        other => Err(usage(format!("--image-mirror-country={other}: only cn is known"))),
    }
}

/// Fails if what is fixed when a cluster is made would be another: its node's name, which objects and certificates
/// bear, the addresses of Services, which they keep, and the runtime, which has the pods' containers and networks.
pub fn check_fixed(settings: &Settings, options: &Start) -> Result<(), Failure> {
    let (current, block) = (node_name(settings), &settings.service_cidr);
    if let Some(wanted) = &options.service_cidr
        && !block.is_empty()
        && wanted != block
    {
        return Err(usage(format!(
            "--service-cidr={wanted}: this cluster's Services have {block}, and the block is fixed when the cluster is made; `sampan delete`, then start anew"
        )));
    }
    // a cluster that never came up has no pods
    if let Some(wanted) = options.container_runtime
        && settings.kubeconfig.is_some()
        && wanted != settings.container_runtime
    {
        return Err(usage(format!(
            "--container-runtime={wanted}: this cluster's pods are in the runtime {}, which is fixed when the cluster is made; `sampan delete`, then start anew, or start another cluster with -p",
            settings.container_runtime
        )));
    }
    match &options.node_name {
        Some(wanted) if *wanted != current => Err(usage(format!(
            "--node-name={wanted}: this cluster's node is {current:?}, and the name is fixed when the cluster is made; `sampan delete`, then start anew"
        ))),
        _ => Ok(()),
    }
}

/// The stored settings with what this command line says.
pub fn merged(mut settings: Settings, options: &Start) -> Settings {
    let replace = |slot: &mut String, value: &Option<String>| {
        if let Some(value) = value {
            slot.clone_from(value);
        }
    };
    replace(&mut settings.node_name, &options.node_name);
    replace(&mut settings.pod_cidr, &options.pod_cidr);
    settings.pod_cidr_chosen |= options.pod_cidr.is_some();
    replace(&mut settings.service_cidr, &options.service_cidr);
    replace(&mut settings.image_mirror_country, &options.image_mirror_country);
    if let Some(port) = options.apiserver_port {
        (settings.apiserver_port, settings.apiserver_port_chosen) = (port, true);
    }
    settings.dashboard_port = options.dashboard_port.or(settings.dashboard_port);
    if !options.dashboard_url.is_empty() {
        settings.dashboard_urls.clone_from(&options.dashboard_url);
    }
    if let Some(runtime) = options.container_runtime {
        settings.container_runtime = runtime;
    }
    if !options.registry_mirror.is_empty() {
        let whole = |mirror: &String| mirror.trim_end_matches('/').to_owned();
        settings.registry_mirrors = options.registry_mirror.iter().map(whole).collect();
    }
    if !options.insecure_registry.is_empty() {
        settings.insecure_registries.clone_from(&options.insecure_registry);
    }
    // the daemon has another working directory
    let here = std::env::current_dir().unwrap_or_default();
    settings.audit.merge(&options.audit, &here);
    if let Some(file) = &options.authentication_config {
        let given = Some(file).filter(|file| !file.as_os_str().is_empty());
        settings.authentication_config = given.map(|file| here.join(file));
    }
    if let Some(file) = &options.scheduler_config {
        settings.scheduler_config = Some(here.join(file)).filter(|_| !file.as_os_str().is_empty());
    }
    settings
}

/// The flags in which `wanted` differs from what a daemon runs with.
pub fn pending(running: &Settings, wanted: &Settings) -> Vec<&'static str> {
    let flags = [
        ("--apiserver-port", running.apiserver_port != wanted.apiserver_port),
        ("--registry-mirror", running.registry_mirrors != wanted.registry_mirrors),
        ("--insecure-registry", running.insecure_registries != wanted.insecure_registries),
        ("--image-mirror-country", running.image_mirror_country != wanted.image_mirror_country),
        // one that nobody chose may have given way to the host's networks
        ("--pod-cidr", wanted.pod_cidr_chosen && running.pod_cidr != wanted.pod_cidr),
        ("--dashboard-port", running.dashboard_port != wanted.dashboard_port),
        ("--dashboard-url", running.dashboard_urls != wanted.dashboard_urls),
        ("--audit-*", running.audit != wanted.audit),
        ("--authentication-config", running.authentication_config != wanted.authentication_config),
        ("--scheduler-config", running.scheduler_config != wanted.scheduler_config),
    ];
    flags.into_iter().filter(|(_, differs)| *differs).map(|(flag, _)| flag).collect()
}

/// The scheduler's configuration: of its file, else upstream's defaults.
pub fn scheduler_configuration(settings: &Settings) -> Result<Configuration, Failure> {
    let Some(file) = &settings.scheduler_config else { return Ok(Configuration::default()) };
    let refuse = |why: String| usage(format!("--scheduler-config={}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
    let value = serde_yaml_ng::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    sampan_scheduler::config::read(value).map_err(|error| refuse(error.to_string()))
}

/// The node's name: as the cluster was made, else the host's in lower case.
pub fn node_name(settings: &Settings) -> String {
    let host =
        || std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    let name = Some(settings.node_name.clone()).filter(|name| !name.is_empty()).or_else(host);
    name.unwrap_or_else(|| "sampan".to_owned()).to_ascii_lowercase()
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Usage, message)
}

/// The block of pods, if it is one that a node can be given addresses from.
pub fn pod_cidr(text: &str) -> Result<Subnet, Failure> {
    let refuse = |why: String| usage(format!("--pod-cidr={text}: {why}"));
    let block: Subnet = text.parse().map_err(refuse)?;
    if !(8..=28).contains(&block.length) {
        return Err(refuse("the prefix is 8 to 28 bits long".to_owned()));
    }
    Ok(block)
}

/// The block of Services, if it is one that addresses can be handed out from.
pub fn service_cidr(text: &str) -> Result<Subnet, Failure> {
    let refuse = |why: String| usage(format!("--service-cidr={text}: {why}"));
    let block: Subnet = text.parse().map_err(refuse)?;
    if !(12..=24).contains(&block.length) {
        return Err(refuse("the prefix is 12 to 24 bits long".to_owned()));
    }
    Ok(block)
}

/// Fails if pods and Services would share addresses. Without a block of their own, Services move away from the pods.
fn check_apart(settings: &Settings) -> Result<(), Failure> {
    if settings.service_cidr.is_empty() {
        return Ok(());
    }
    let services = service_cidr(&settings.service_cidr)?;
    match pod_cidr(&settings.pod_cidr)?.overlaps(&services) {
        true => Err(usage(format!(
            "--pod-cidr={}: it overlaps the addresses of Services ({services})",
            settings.pod_cidr
        ))),
        false => Ok(()),
    }
}

/// RFC 1123 subdomain, as Kubernetes wants names of nodes.
fn is_subdomain(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let ends = |end: Option<u8>| end.is_some_and(inner);
        let bytes = part.as_bytes();
        ends(bytes.first().copied())
            && ends(bytes.last().copied())
            && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(part)
}

/// The host of a mirror: `http://host:port`, `https://host`, or a bare host.
fn host_of(mirror: &str) -> Option<&str> {
    let host = match mirror.split_once("://") {
        Some(("http" | "https", host)) => host,
        Some(_) => return None,
        // a word alone is no registry to Docker either
        None if mirror.contains(['.', ':']) || mirror == "localhost" => mirror,
        None => return None,
    };
    Some(host.trim_end_matches('/')).filter(|host| is_host(host))
}

fn is_host(text: &str) -> bool {
    let authority = text.parse::<http::uri::Authority>();
    authority.is_ok_and(|authority| {
        let port_is_one = authority.port().is_none_or(|port| port.as_str().parse::<u16>().is_ok());
        !authority.host().is_empty() && !text.contains('@') && port_is_one
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_flags_are_refused_by_name() {
        let text = |text: &str| Some(text.to_owned());
        let list = |text: &str| vec![text.to_owned()];
        let cases = [
            ("--pod-cidr=10.0.0.0:", Start { pod_cidr: text("10.0.0.0"), ..Start::default() }),
            ("--pod-cidr=300.0.0.0/24:", Start { pod_cidr: text("300.0.0.0/24"), ..Start::default() }),
            ("--pod-cidr=10.0.0.0/30:", Start { pod_cidr: text("10.0.0.0/30"), ..Start::default() }),
            ("--service-cidr=10.0.0.0/8:", Start { service_cidr: text("10.0.0.0/8"), ..Start::default() }),
            (
                "--pod-cidr=10.100.0.0/16:",
                Start {
                    pod_cidr: text("10.100.0.0/16"),
                    service_cidr: text("10.96.0.0/12"),
                    ..Start::default()
                },
            ),
            ("--node-name=My_Box:", Start { node_name: text("My_Box"), ..Start::default() }),
            ("--node-name=a..b:", Start { node_name: text("a..b"), ..Start::default() }),
            ("--registry-mirror=ftp://x:", Start { registry_mirror: list("ftp://x"), ..Start::default() }),
            ("--registry-mirror=a b:", Start { registry_mirror: list("a b"), ..Start::default() }),
            (
                "--insecure-registry=http://x:",
                Start { insecure_registry: list("http://x"), ..Start::default() },
            ),
            ("--image-mirror-country=us:", Start { image_mirror_country: text("us"), ..Start::default() }),
            ("--apiserver-port=0:", Start { apiserver_port: Some(0), ..Start::default() }),
            ("--dashboard-port=0:", Start { dashboard_port: Some(0), ..Start::default() }),
            ("--dashboard-url=ops/x:", Start { dashboard_url: list("ops/x"), ..Start::default() }),
            (
                "--scheduler-config=/no/such/file:",
                Start { scheduler_config: Some("/no/such/file".into()), ..Start::default() },
            ),
        ];
        for (flag, options) in cases {
            let failure = check(&options).expect_err(flag);
            assert_eq!(failure.kind, Kind::Usage);
            assert!(failure.message.starts_with(flag), "{}", failure.message);
        }
    }

    #[test]
    fn good_flags_pass() {
        let options = Start {
            pod_cidr: Some("172.30.0.0/16".into()),
            node_name: Some("box-1.lan".into()),
            registry_mirror: vec!["http://127.0.0.1:5000/".into(), "mirror.example".into()],
            insecure_registry: vec!["10.0.0.5:5000".into()],
            image_mirror_country: Some("cn".into()),
            ..Start::default()
        };
        assert!(check(&options).is_ok());
        assert_eq!(merged(Settings::default(), &options).registry_mirrors[0], "http://127.0.0.1:5000");
        assert!(check(&Start::default()).is_ok());
    }

    #[test]
    fn what_is_fixed_stays() {
        let settings = Settings { node_name: "one".into(), ..Settings::default() };
        let named = |name: &str| Start { node_name: Some(name.into()), ..Start::default() };
        assert!(check_fixed(&settings, &named("one")).is_ok());
        assert!(check_fixed(&settings, &Start::default()).is_ok());
        let failure = check_fixed(&settings, &named("two")).expect_err("another name");
        assert!(failure.kind == Kind::Usage && failure.message.contains("fixed when the cluster is made"));
        let block = |block: &str| Start { service_cidr: Some(block.into()), ..Start::default() };
        let made = Settings { service_cidr: "10.96.0.0/12".into(), ..settings };
        assert!(check_fixed(&made, &block("10.96.0.0/12")).is_ok());
        assert!(check_fixed(&made, &block("10.43.0.0/16")).is_err());
    }

    #[test]
    fn what_a_running_daemon_does_not_follow_is_named() {
        let running = Settings::default();
        let options = Start {
            registry_mirror: vec!["http://m".into()],
            pod_cidr: Some("10.50.0.0/16".into()),
            ..Start::default()
        };
        let wanted = merged(running.clone(), &options);
        assert_eq!(pending(&running, &wanted), ["--registry-mirror", "--pod-cidr"]);
        assert!(pending(&running, &running).is_empty());
    }
}
