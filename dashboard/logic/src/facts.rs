//! What an operator looks for on an object's page, in the API's own words: a title, a value, and the object that it leads to.
//! Most are a field as it stands ([`FIELDS`]); an Ingress tells its rules and a HorizontalPodAutoscaler its metrics.

use serde_json::Value;

/// A line of the summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// `podIP`; of metrics their name.
    pub title: String,
    pub value: String,
    /// apiVersion, kind and name of what the value names; in the object's own namespace.
    pub to: Option<(String, String, String)>,
}

/// Where in an object a fact is, and what it is called there.
const FIELDS: [(&str, &str); 35] = [
    ("/status/phase", "phase"),
    ("/spec/nodeName", "node"),
    ("/status/podIP", "podIP"),
    ("/status/hostIP", "hostIP"),
    ("/status/qosClass", "qosClass"),
    ("/spec/serviceAccountName", "serviceAccountName"),
    ("/spec/replicas", "replicas"),
    ("/status/readyReplicas", "readyReplicas"),
    ("/status/updatedReplicas", "updatedReplicas"),
    ("/spec/type", "type"),
    ("/spec/clusterIP", "clusterIP"),
    ("/status/loadBalancer/ingress/0/ip", "loadBalancer"),
    ("/status/loadBalancer/ingress/0/hostname", "loadBalancer"),
    ("/spec/externalName", "externalName"),
    ("/spec/selector", "selector"),
    ("/spec/schedule", "schedule"),
    ("/spec/suspend", "suspend"),
    ("/spec/storageClassName", "storageClassName"),
    ("/spec/volumeName", "volumeName"),
    ("/status/capacity/storage", "capacity"),
    ("/status/allocatable/cpu", "allocatable cpu"),
    ("/status/allocatable/memory", "allocatable memory"),
    ("/status/allocatable/pods", "allocatable pods"),
    ("/status/nodeInfo/kubeletVersion", "kubeletVersion"),
    ("/status/nodeInfo/osImage", "osImage"),
    ("/status/nodeInfo/containerRuntimeVersion", "containerRuntimeVersion"),
    ("/spec/unschedulable", "unschedulable"),
    ("/spec/strategy/type", "strategy"),
    ("/spec/ingressClassName", "ingressClassName"),
    ("/spec/minReplicas", "minReplicas"),
    ("/spec/maxReplicas", "maxReplicas"),
    ("/status/currentReplicas", "currentReplicas"),
    ("/status/desiredReplicas", "desiredReplicas"),
    ("/provisioner", "provisioner"),
    ("/volumeBindingMode", "volumeBindingMode"),
];

/// All that is to be told, in one order. `selector` writes a selector as kubectl takes it.
pub fn of(object: &Value, selector: fn(&Value) -> String) -> Vec<Fact> {
    let field = |(at, title): &(&str, &str)| {
        let value = match object.pointer(at)? {
            Value::Null => return None,
            Value::Object(_) => selector(object),
            other => plain(other),
        };
        (!value.is_empty()).then(|| fact(title, value))
    };
    let mut all: Vec<Fact> = FIELDS.iter().filter_map(field).collect();
    match text(object, "/kind") {
        "Ingress" => ingress(object, &mut all),
        "HorizontalPodAutoscaler" => autoscaler(object, &mut all),
        _ => {}
    }
    all
}

fn fact(title: &str, value: String) -> Fact {
    Fact { title: title.to_owned(), value, to: None }
}

/// `shop.example/cart → Service/cart:80 (Prefix)`: a line for each path, the TLS of hosts, what serves the rest.
fn ingress(object: &Value, all: &mut Vec<Fact>) {
    if object.pointer("/status/loadBalancer/ingress/0").is_none() {
        all.push(fact("loadBalancer", "<none>".to_owned()));
    }
    for rule in list(object, "/spec/rules") {
        let host = Some(text(rule, "/host")).filter(|host| !host.is_empty()).unwrap_or("*");
        for path in list(rule, "/http/paths") {
            let kind = text(path, "/pathType");
            let at = Some(text(path, "/path")).filter(|path| !path.is_empty()).unwrap_or("/");
            all.push(backend("rule", &format!("{host}{at} → "), &path["backend"], &format!(" ({kind})")));
        }
    }
    if let Some(rest) = object.pointer("/spec/defaultBackend") {
        all.push(backend("defaultBackend", "", rest, ""));
    }
    for tls in list(object, "/spec/tls") {
        let hosts: Vec<String> = list(tls, "/hosts").iter().map(plain).collect();
        let hosts = if hosts.is_empty() { "*".to_owned() } else { hosts.join(", ") };
        let secret = text(tls, "/secretName").to_owned();
        let mut line = fact("tls", hosts);
        if !secret.is_empty() {
            line.value += &format!(" · Secret/{secret}");
            line.to = Some(("v1".to_owned(), "Secret".to_owned(), secret));
        }
        all.push(line);
    }
}

fn backend(title: &str, before: &str, backend: &Value, after: &str) -> Fact {
    let service = text(backend, "/service/name").to_owned();
    let port = &backend["service"]["port"];
    let port = if port["name"].is_string() { plain(&port["name"]) } else { plain(&port["number"]) };
    if service.is_empty() {
        let (group, kind, name) = (
            text(backend, "/resource/apiGroup"),
            text(backend, "/resource/kind"),
            text(backend, "/resource/name"),
        );
        let dot = if group.is_empty() { "" } else { "." };
        return fact(title, format!("{before}{kind}{dot}{group}/{name}{after}"));
    }
    let mut line = fact(title, format!("{before}Service/{service}:{port}{after}"));
    line.to = Some(("v1".to_owned(), "Service".to_owned(), service));
    line
}

/// What is scaled, and each metric as it is and as it should be: `cpu` `12% / 50%`, as `kubectl get hpa` has them.
fn autoscaler(object: &Value, all: &mut Vec<Fact>) {
    let (version, kind, name) = (
        text(object, "/spec/scaleTargetRef/apiVersion"),
        text(object, "/spec/scaleTargetRef/kind"),
        text(object, "/spec/scaleTargetRef/name"),
    );
    let mut target = fact("scaleTargetRef", format!("{kind}/{name}"));
    target.to = Some((version.to_owned(), kind.to_owned(), name.to_owned()));
    all.insert(0, target);
    let current = list(object, "/status/currentMetrics");
    for (at, metric) in list(object, "/spec/metrics").iter().enumerate() {
        let source = source(metric);
        let wanted = amount(&source["target"]);
        let now = current.get(at).map(|one| amount(&self::source(one)["current"])).unwrap_or_default();
        let now = if now.is_empty() { "<unknown>".to_owned() } else { now };
        let name = text(source, "/metric/name");
        let name = if name.is_empty() { text(source, "/name") } else { name };
        let of = match (text(source, "/container"), text(source, "/describedObject/name")) {
            ("", "") => String::new(),
            ("", object) => format!(" · {}/{object}", text(source, "/describedObject/kind")),
            (container, _) => format!(" · {container}"),
        };
        all.push(fact(&format!("{name}{of}"), format!("{now} / {wanted}")));
    }
    // autoscaling/v1 has but one
    if let Some(wanted) = object.pointer("/spec/targetCPUUtilizationPercentage") {
        let now = object.pointer("/status/currentCPUUtilizationPercentage");
        let now = now.map_or("<unknown>".to_owned(), |now| format!("{now}%"));
        all.push(fact("cpu", format!("{now} / {wanted}%")));
    }
}

/// What stands under the field that the metric's type names.
fn source(metric: &Value) -> &Value {
    let names = ["resource", "containerResource", "pods", "object", "external"];
    names.iter().find_map(|name| metric.get(name).filter(|one| one.is_object())).unwrap_or(&Value::Null)
}

/// A share, an average or a whole.
fn amount(value: &Value) -> String {
    if let Some(share) = value.get("averageUtilization").filter(|share| share.is_number()) {
        return format!("{share}%");
    }
    let average = value.get("averageValue").filter(|average| !average.is_null());
    plain(average.or_else(|| value.get("value")).unwrap_or(&Value::Null))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn list<'a>(value: &'a Value, at: &str) -> &'a [Value] {
    value.pointer(at).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(object: &Value) -> Vec<String> {
        let line = |fact: Fact| {
            let to = fact.to.map(|(version, kind, name)| format!(" => {version} {kind} {name}"));
            format!("{}: {}{}", fact.title, fact.value, to.unwrap_or_default())
        };
        of(object, |_| "a=b".to_owned()).into_iter().map(line).collect()
    }

    #[test]
    fn an_ingress_tells_hosts_paths_backends_and_tls() {
        let service = |port: Value| json!({"service": {"name": "cart", "port": port}});
        let object = json!({"kind": "Ingress", "spec": {"ingressClassName": "sampan",
            "rules": [{"host": "shop.example", "http": {"paths": [{"path": "/cart", "pathType": "Prefix", "backend": service(json!({"number": 80}))}]}},
                {"http": {"paths": [{"pathType": "ImplementationSpecific", "backend": service(json!({"name": "web"}))}]}}],
            "defaultBackend": {"resource": {"apiGroup": "x.example", "kind": "Bucket", "name": "rest"}},
            "tls": [{"hosts": ["shop.example", "b.example"], "secretName": "cert"}, {}]}});
        assert_eq!(
            told(&object),
            [
                "ingressClassName: sampan",
                "loadBalancer: <none>",
                "rule: shop.example/cart → Service/cart:80 (Prefix) => v1 Service cart",
                "rule: */ → Service/cart:web (ImplementationSpecific) => v1 Service cart",
                "defaultBackend: Bucket.x.example/rest",
                "tls: shop.example, b.example · Secret/cert => v1 Secret cert",
                "tls: *",
            ]
        );
        let object =
            json!({"kind": "Ingress", "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}});
        assert_eq!(told(&object), ["loadBalancer: 10.0.0.9"]);
    }

    #[test]
    fn an_autoscaler_tells_what_it_scales_and_each_metric() {
        let object = json!({"kind": "HorizontalPodAutoscaler", "spec": {"minReplicas": 1, "maxReplicas": 5,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "64Mi"}}},
                {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "app", "target": {"averageUtilization": 60}}},
                {"type": "Object", "object": {"metric": {"name": "queue"}, "describedObject": {"kind": "Service", "name": "q"}, "target": {"value": "30"}}}]},
            "status": {"currentReplicas": 2, "desiredReplicas": 3,
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 72, "averageValue": "72m"}}},
                    {"type": "Resource", "resource": {"name": "memory", "current": {"averageValue": "12Mi"}}}, {"type": ""}]}});
        assert_eq!(
            told(&object),
            [
                "scaleTargetRef: Deployment/web => apps/v1 Deployment web",
                "minReplicas: 1",
                "maxReplicas: 5",
                "currentReplicas: 2",
                "desiredReplicas: 3",
                "cpu: 72% / 50%",
                "memory: 12Mi / 64Mi",
                "cpu · app: <unknown> / 60%",
                "queue · Service/q: <unknown> / 30",
            ]
        );
    }

    #[test]
    fn fields_are_told_as_they_stand() {
        let object = json!({"kind": "Service", "spec": {"type": "ClusterIP", "selector": {"a": "b"}, "externalName": "", "replicas": null}});
        assert_eq!(told(&object), ["type: ClusterIP", "selector: a=b"]);
    }
}
