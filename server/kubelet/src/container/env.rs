//! A container's environment: upstream's `makeEnvironmentVariables` and `pkg/kubelet/envvars`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, FileKeySelector, Pod, Secret, Service};

use super::downward::{self, Facts};
use super::env_file;
use super::expansion::expand;

/// The objects an environment refers to, fetched before it is built. `None`: there is no such object.
#[derive(Default)]
pub struct References {
    /// By name.
    pub config_maps: HashMap<String, Option<Arc<ConfigMap>>>,
    /// By name.
    pub secrets: HashMap<String, Option<Arc<Secret>>>,
    /// Texts of files, by volume and path, or why they cannot be read.
    pub files: HashMap<(String, String), Result<String, String>>,
}

/// Names of the ConfigMaps and of the Secrets that the environment of a container refers to.
pub fn referred(container: &Container) -> (Vec<String>, Vec<String>) {
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    for from in container.env_from.iter().flatten() {
        maps.extend(from.config_map_ref.as_ref().map(|r| r.name.clone()));
        secrets.extend(from.secret_ref.as_ref().map(|r| r.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
        maps.extend(source.config_map_key_ref.as_ref().map(|r| r.name.clone()));
        secrets.extend(source.secret_key_ref.as_ref().map(|r| r.name.clone()));
    }
    (maps, secrets)
}

/// Files in volumes, as volume and path, that the environment of a container refers to.
pub fn files(container: &Container) -> impl Iterator<Item = (&str, &str)> {
    let sources = container.env.iter().flatten().filter_map(|env| env.value_from.as_ref());
    let files = sources.filter_map(|source| source.file_key_ref.as_ref());
    files.map(|file| (file.volume_name.as_str(), file.path.as_str()))
}

/// The environment, in the order upstream's runtime sees it (services, then envFrom, then env), later
/// definitions replacing earlier ones.
pub fn environment(
    pod: &Pod,
    container: &Container,
    services: &BTreeMap<String, String>,
    references: &References,
    facts: &Facts,
) -> Result<Vec<(String, String)>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut result: Vec<(String, String)> = Vec::new();
    add_env_from(container, references, &mut result)?;
    for env in container.env.iter().flatten() {
        let value = match (&env.value, &env.value_from) {
            (Some(value), _) if !value.is_empty() => {
                let known = |name: &str| {
                    let own = result.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
                    own.or_else(|| services.get(name).cloned())
                };
                Some(expand(value, &known))
            }
            (_, Some(source)) => from_source(pod, container, namespace, source, references, facts)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            set(&mut result, env.name.clone(), value);
        }
    }
    // a service's variable never replaces one the user set
    let extra = services.iter().filter(|(name, _)| !result.iter().any(|(k, _)| k == *name));
    let mut all: Vec<(String, String)> = extra.map(|(k, v)| (k.clone(), v.clone())).collect();
    all.append(&mut result);
    Ok(all)
}

fn set(list: &mut Vec<(String, String)>, name: String, value: String) {
    match list.iter_mut().find(|(k, _)| *k == name) {
        Some(entry) => entry.1 = value,
        None => list.push((name, value)),
    }
}

fn add_env_from(
    container: &Container,
    references: &References,
    result: &mut Vec<(String, String)>,
) -> Result<(), String> {
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match references.config_maps.get(&reference.name).cloned().flatten() {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        set(result, format!("{prefix}{key}"), value.clone());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("configmap {:?} not found", reference.name)),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match references.secrets.get(&reference.name).cloned().flatten() {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        set(result, format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("secret {:?} not found", reference.name)),
            }
        }
    }
    Ok(())
}

/// `Ok(None)`: an optional source is absent, the variable is left out.
fn from_source(
    pod: &Pod,
    container: &Container,
    namespace: &str,
    source: &EnvVarSource,
    references: &References,
    facts: &Facts,
) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        return downward::field(pod, &field.field_path, facts).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        let name = selector.container_name.as_deref();
        let of = downward::container_of(pod, name, Some(container))
            .ok_or_else(|| format!("container {} not found", name.unwrap_or_default()))?;
        return downward::resource(pod, of, selector, facts).map(Some);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional == Some(true);
        return match references.config_maps.get(&reference.name).cloned().flatten() {
            None if optional => Ok(None),
            None => Err(format!("configmap {:?} not found", reference.name)),
            Some(map) => match map.data.as_ref().and_then(|data| data.get(&reference.key)) {
                Some(value) => Ok(Some(value.clone())),
                None if optional => Ok(None),
                None => Err(missing_key("ConfigMap", namespace, &reference.name, &reference.key)),
            },
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional == Some(true);
        return match references.secrets.get(&reference.name).cloned().flatten() {
            None if optional => Ok(None),
            None => Err(format!("secret {:?} not found", reference.name)),
            Some(secret) => match secret.data.as_ref().and_then(|data| data.get(&reference.key)) {
                Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
                None if optional => Ok(None),
                None => Err(missing_key("Secret", namespace, &reference.name, &reference.key)),
            },
        };
    }
    if let Some(file) = &source.file_key_ref {
        return from_file(file, references);
    }
    Ok(Some(String::new()))
}

fn from_file(file: &FileKeySelector, references: &References) -> Result<Option<String>, String> {
    let text = references.files.get(&(file.volume_name.clone(), file.path.clone()));
    let unknown = || format!("cannot find the volume {:?} referenced by FileKeyRef", file.volume_name);
    let parsed = text.ok_or_else(unknown)?.as_ref().map_err(Clone::clone);
    match parsed.and_then(|text| env_file::value_of(text, &file.key)) {
        Ok(value) if !value.is_empty() => Ok(Some(value)),
        Ok(_) if file.optional == Some(true) => Ok(None),
        Ok(_) => Err(format!("environment variable key {:?} not found in file {:?}", file.key, file.path)),
        Err(error) => {
            tracing::warn!(volume = file.volume_name, path = file.path, error, "file of variables not read");
            Err("couldn't parse env file".to_owned())
        }
    }
}

fn missing_key(kind: &str, namespace: &str, name: &str, key: &str) -> String {
    format!("couldn't find key {key} in {kind} {namespace}/{name}")
}

/// Variables of the services a pod sees: its namespace's (unless `enableServiceLinks` is false) and
/// `kubernetes`.
pub fn services(pod: &Pod, all: &[Arc<Service>]) -> BTreeMap<String, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod.spec.as_ref().and_then(|s| s.enable_service_links).unwrap_or(true);
    let mut result = BTreeMap::new();
    let named = |service: &Service, name: &str| service.metadata.name.as_deref() == Some(name);
    for service in all {
        let own = service.metadata.namespace.as_deref().unwrap_or_default();
        if own == "default" && named(service, "kubernetes") {
            service_variables(service, &mut result);
        }
    }
    for service in all.iter().filter(|s| links && s.metadata.namespace.as_deref() == Some(namespace)) {
        service_variables(service, &mut result);
    }
    result
}

fn service_variables(service: &Service, result: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let Some(first) = spec.ports.as_ref().and_then(|ports| ports.first()) else { return };
    if ip.is_empty() || ip == "None" {
        return;
    }
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let name = variable_name(service.metadata.name.as_deref().unwrap_or_default());
    let mut put = |key: String, value: String| result.insert(key, value);
    put(format!("{name}_SERVICE_HOST"), ip.to_owned());
    put(format!("{name}_SERVICE_PORT"), first.port.to_string());
    for port in spec.ports.iter().flatten() {
        if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            put(format!("{name}_SERVICE_PORT_{}", variable_name(port_name)), port.port.to_string());
        }
    }
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
        if index == 0 {
            put(format!("{name}_PORT"), url.clone());
        }
        put(prefix.clone(), url);
        put(format!("{prefix}_PROTO"), protocol.to_lowercase());
        put(format!("{prefix}_PORT"), port.port.to_string());
        put(format!("{prefix}_ADDR"), ip.to_owned());
    }
}

fn variable_name(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn build(container: Value) -> Result<Vec<(String, String)>, String> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns"}})).unwrap();
        let mut container = container;
        container["name"] = json!("c");
        let container: Container = serde_json::from_value(container).unwrap();
        let map: ConfigMap = serde_json::from_value(json!({"data": {"k": "v", "b": "2"}})).unwrap();
        let config_maps = [("m".to_owned(), Some(Arc::new(map))), ("none".to_owned(), None)].into();
        let file = |path: &str, text: &str| (("f".to_owned(), path.to_owned()), Ok(text.to_owned()));
        let files = HashMap::from([file("good", "K='v'\n"), file("bad", "K")]);
        let references = References { config_maps, secrets: HashMap::new(), files };
        let services = [("S_SERVICE_HOST".to_owned(), "10.96.0.9".to_owned())].into();
        environment(&pod, &container, &services, &references, &Facts::default())
    }

    fn pairs(list: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn variables_as_upstream_makes_them() {
        const S: (&str, &str) = ("S_SERVICE_HOST", "10.96.0.9");
        let key = |name: &str, key: &str| json!({"configMapKeyRef": {"name": name, "key": key}});
        let file = |volume: &str, path: &str, key: &str, optional: bool| {
            let file = json!({"volumeName": volume, "path": path, "key": key, "optional": optional});
            json!({"env": [{"name": "F", "valueFrom": {"fileKeyRef": file}}]})
        };
        for (container, want) in [
            (
                json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(S_SERVICE_HOST)-$(NO)"}]}),
                pairs(&[S, ("A", "1"), ("B", "1-10.96.0.9-$(NO)")]),
            ),
            (
                json!({"env": [{"name": "S_SERVICE_HOST", "value": "mine"}]}),
                pairs(&[("S_SERVICE_HOST", "mine")]),
            ),
            (
                json!({"envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}]}),
                pairs(&[S, ("P_b", "2"), ("P_k", "v")]),
            ),
            (json!({"env": [{"name": "K", "valueFrom": key("m", "k")}]}), pairs(&[S, ("K", "v")])),
            (
                json!({"env": [{"name": "K", "valueFrom": key("none", "k")}]}),
                Err("configmap \"none\" not found".to_owned()),
            ),
            (
                json!({"env": [{"name": "K", "valueFrom": key("m", "x")}]}),
                Err("couldn't find key x in ConfigMap ns/m".to_owned()),
            ),
            (
                json!({"env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
                pairs(&[S, ("N", "p")]),
            ),
            (file("f", "good", "K", false), pairs(&[S, ("F", "v")])),
            (file("f", "good", "L", true), pairs(&[S])),
            (
                file("f", "good", "L", false),
                Err("environment variable key \"L\" not found in file \"good\"".to_owned()),
            ),
            (file("f", "bad", "K", true), Err("couldn't parse env file".to_owned())),
            (
                file("g", "good", "K", true),
                Err("cannot find the volume \"g\" referenced by FileKeyRef".to_owned()),
            ),
        ] {
            assert_eq!(build(container.clone()), want, "{container}");
        }
    }
}
