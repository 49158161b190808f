//! Texts that several kinds share: selectors, labels, containers, shortened lists.

use serde_json::{Map, Value};

use super::access::{list, map, strings, text};

/// Labels as `a=1,b=2`; `<none>` for none.
pub(super) fn labels(labels: Option<&Map<String, Value>>) -> String {
    let mut pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort_unstable();
    or_none(pairs.join(","))
}

/// A label selector in the syntax of `kubectl -l`; `<none>` if it selects by nothing.
pub(super) fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return "<none>".to_owned() };
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in map(selector, "/matchLabels").into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in list(selector, "/matchExpressions") {
        let key = text(expression, "/key");
        let mut values = strings(expression, "/values");
        values.sort_unstable();
        let values = values.join(",");
        let part = match text(expression, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".to_owned(),
        };
        parts.push((key.to_owned(), part));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    or_none(parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(","))
}

/// Names and images of the containers of a pod spec.
pub(super) fn containers(object: &Value, pod_spec: &str) -> [Value; 2] {
    let containers = list(object, &format!("{pod_spec}/containers"));
    let join = |member: &str| containers.iter().map(|c| text(c, member)).collect::<Vec<_>>().join(",");
    [join("/name").into(), join("/image").into()]
}

/// `<none>` for nothing.
pub(super) fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// The first `max` of a list, and how many more there are.
pub(super) fn shortened(items: &[String], max: usize, separator: &str) -> String {
    let shown = items[..items.len().min(max)].join(separator);
    match items.len() > max {
        true => format!("{shown} + {} more...", items.len() - max),
        false => shown,
    }
}

/// Addresses of a load balancer, sorted, each once.
pub(super) fn load_balancer(object: &Value) -> Vec<String> {
    let address = |ingress: &Value| match text(ingress, "/ip") {
        "" => text(ingress, "/hostname").to_owned(),
        ip => ip.to_owned(),
    };
    let mut addresses: Vec<String> =
        list(object, "/status/loadBalancer/ingress").iter().map(address).collect();
    addresses.retain(|address| !address.is_empty());
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// A host and port; IPv6 in brackets.
pub(super) fn host_port(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
