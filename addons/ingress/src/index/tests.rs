use serde_json::{Value, json};

use super::*;
use crate::Config;

#[derive(Default)]
struct Objects {
    ingresses: BTreeMap<Key, Arc<Ingress>>,
    secrets: BTreeMap<Key, Arc<TlsSecret>>,
}

impl World for Objects {
    fn state(&self, port: &Port) -> State {
        let address = match port.port {
            PortName::Number(number) => ([10, 0, 0, 1], number as u16).into(),
            PortName::Name(_) => return State::default(),
        };
        State { endpoints: vec![crate::backend::Endpoint::new(port, address)], protocol: None }
    }

    fn secret(&self, key: &Key) -> Option<Arc<TlsSecret>> {
        self.secrets.get(key).cloned()
    }

    fn ingresses(&self) -> Vec<Arc<Ingress>> {
        self.ingresses.values().cloned().collect()
    }
}

struct Cluster {
    index: Index,
    objects: Objects,
    table: Table,
}

/// A key pair that signs itself, and its certificate.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn secret(name: &str, chain: &str, key: &str) -> TlsSecret {
    let encoded =
        |text: &str| serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap();
    serde_json::from_value(json!({
        "metadata": {"namespace": "n", "name": name},
        "data": {"tls.crt": encoded(chain), "tls.key": encoded(key)},
    }))
    .unwrap()
}

impl Cluster {
    fn new() -> Self {
        let (chain, key) = pair();
        let own = secret("own", &chain, &key).certificate().unwrap();
        let config = Config { default_certificate: "n/default".into(), ..Config::default() };
        Self { index: Index::new(&config, own), objects: Objects::default(), table: Table::default() }
    }

    /// Applies an Ingress created in the year `year`; the names of those whose problems may have changed.
    fn apply(&mut self, name: &str, year: u16, spec: Value) -> Vec<String> {
        let ingress: Ingress = serde_json::from_value(json!({
            "metadata": {"namespace": "n", "name": name, "creationTimestamp": format!("{year}-01-01T00:00:00Z")},
            "spec": spec,
        }))
        .unwrap();
        let key = ingress.key();
        self.objects.ingresses.insert(key.clone(), Arc::new(ingress.clone()));
        self.index.ingress(&key, Some(&ingress), &self.objects);
        self.publish()
    }

    fn delete(&mut self, name: &str) -> Vec<String> {
        let key = Key::namespaced("n", name);
        self.objects.ingresses.remove(&key);
        self.index.ingress(&key, None, &self.objects);
        self.publish()
    }

    fn secret(&mut self, name: &str, value: Option<TlsSecret>) -> Vec<String> {
        let key = Key::namespaced("n", name);
        self.index.secret(&key, value.as_ref());
        match value {
            Some(value) => _ = self.objects.secrets.insert(key, Arc::new(value)),
            None => _ = self.objects.secrets.remove(&key),
        }
        self.publish()
    }

    fn publish(&mut self) -> Vec<String> {
        let Some((table, touched)) = self.index.publish() else { return Vec::new() };
        self.table = table;
        touched.into_iter().map(|key| key.name).collect()
    }

    fn serves(&self, host: &str, path: &str) -> String {
        self.table.find(host, path).map_or(String::new(), |found| found.route.ingress.name.clone())
    }

    fn problems(&self, name: &str) -> Vec<String> {
        let problems = self.index.problems(&Key::namespaced("n", name));
        problems.into_iter().map(|problem| format!("{}: {}", problem.reason, problem.message)).collect()
    }
}

fn to(number: u16) -> Value {
    json!({"service": {"name": "s", "port": {"number": number}}})
}

fn rule(host: &str, path: &str) -> Value {
    json!({"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": to(80)}]}})
}

#[test]
fn the_oldest_has_the_path_and_the_next_inherits_it() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.apply("young", 2026, json!({"rules": [rule("a", "/x"), rule("a", "/y")]})), ["young"]);
    assert_eq!(cluster.serves("a", "/x"), "young");
    assert_eq!(cluster.apply("old", 2025, json!({"rules": [rule("a", "/x")]})), ["old", "young"]);
    assert_eq!((cluster.serves("a", "/x"), cluster.serves("a", "/y")), ("old".into(), "young".into()));
    let said = ["PathConflict: path /x (Prefix) of a is served for the older Ingress n/old"];
    assert_eq!(cluster.problems("young"), said);
    assert_eq!(cluster.problems("old"), Vec::<String>::new());
    assert_eq!(cluster.delete("old"), ["old", "young"]);
    assert_eq!((cluster.serves("a", "/x"), cluster.problems("young").len()), ("young".into(), 0));
    cluster.delete("young");
    assert!(
        cluster.table.hosts.is_empty() && cluster.index.backends.is_empty() && cluster.index.lost.is_empty()
    );
}

#[test]
fn default_backends_stand_behind_their_hosts_and_behind_all() {
    let mut cluster = Cluster::new();
    cluster.apply("rules", 2024, json!({"rules": [rule("a", "/x")], "defaultBackend": to(1)}));
    assert_eq!((cluster.serves("a", "/"), cluster.serves("b", "/")), ("rules".into(), "rules".into()));
    cluster.apply("plain", 2026, json!({"defaultBackend": to(2)}));
    assert_eq!((cluster.serves("a", "/"), cluster.serves("b", "/")), ("rules".into(), "plain".into()));
    cluster.apply(
        "any",
        2026,
        json!({"rules": [{"http": {"paths": [
        {"path": "/z", "pathType": "Exact", "backend": to(3)}]}}]}),
    );
    assert_eq!((cluster.serves("b", "/z"), cluster.serves("b", "/")), ("any".into(), "plain".into()));
    ["plain", "rules", "any"].iter().for_each(|name| _ = cluster.delete(name));
    assert_eq!(cluster.serves("a", "/x"), "");
    assert!(cluster.index.backends.is_empty() && cluster.index.hosts.is_empty());
}

#[test]
fn a_change_leaves_the_other_hosts_alone() {
    let mut cluster = Cluster::new();
    cluster.apply("a", 2024, json!({"rules": [rule("a", "/")]}));
    cluster.apply("b", 2024, json!({"rules": [rule("*.b", "/")]}));
    let (host, wild) = (cluster.table.hosts["a"].clone(), cluster.table.wildcards["b"].clone());
    assert_eq!(cluster.apply("b", 2024, json!({"rules": [rule("*.b", "/new")]})), ["b"]);
    assert!(
        Arc::ptr_eq(&host, &cluster.table.hosts["a"]) && !Arc::ptr_eq(&wild, &cluster.table.wildcards["b"])
    );
    // the same backend, though its only rule is another
    assert!(cluster.serves("x.b", "/").is_empty() && cluster.serves("x.b", "/new") == "b");
}

#[test]
fn secrets_are_replaced_and_broken_ones_harm_nobody_else() {
    let mut cluster = Cluster::new();
    let ((one, one_key), (two, two_key)) = (pair(), pair());
    let tls = |host: &str, secret: &str| json!({"rules": [rule(host, "/")], "tls": [{"hosts": [host], "secretName": secret}]});
    cluster.secret("good", Some(secret("good", &one, &one_key)));
    cluster.apply("good", 2024, tls("a.b", "good"));
    cluster.apply("wild", 2024, tls("*.c", "late"));
    let chosen = |cluster: &Cluster, name: &str| cluster.table.certificate(name).unwrap().cert[0].clone();
    let own = chosen(&cluster, "elsewhere");
    let good = chosen(&cluster, "a.b");
    assert_ne!(own, good);
    assert_eq!(chosen(&cluster, "x.c"), own);
    assert_eq!(
        cluster.problems("wild"),
        ["BadCertificate: Secret n/late is not there; the default certificate is used"]
    );
    assert_eq!(cluster.secret("late", Some(secret("late", &two, &two_key))), ["wild"]);
    assert_ne!(chosen(&cluster, "x.c"), own);
    assert!(cluster.problems("wild").is_empty());
    assert_eq!(cluster.secret("good", Some(secret("good", "rubbish", &one_key))), ["good"]);
    assert_eq!(chosen(&cluster, "a.b"), own);
    assert_ne!(chosen(&cluster, "x.c"), own);
    assert!(cluster.problems("good")[0].contains("tls.crt is not a certificate"));
    assert_eq!(cluster.secret("good", Some(secret("good", &two, &two_key))), ["good"]);
    assert_eq!(chosen(&cluster, "a.b"), chosen(&cluster, "x.c"));
    // the configured default
    assert!(cluster.secret("default", Some(secret("default", &one, &one_key))).is_empty());
    assert_eq!(chosen(&cluster, "elsewhere"), good);
    cluster.secret("default", None);
    assert_eq!(chosen(&cluster, "elsewhere"), own);
    ["good", "wild"].iter().for_each(|name| _ = cluster.delete(name));
    assert!(cluster.table.certificates.is_empty() && cluster.index.secrets.is_empty());
}

#[test]
fn a_class_taken_away_takes_its_ingresses_along() {
    let mut cluster = Cluster::new();
    let mut spec = json!({"rules": [rule("a", "/")]});
    spec["ingressClassName"] = json!("nginx");
    cluster.apply("a", 2024, spec);
    assert_eq!(cluster.serves("a", "/"), "a");
    let class: IngressClass =
        serde_json::from_value(json!({"spec": {"controller": "k8s.io/ingress-nginx"}})).unwrap();
    cluster.index.class("nginx", Some(&class), &cluster.objects);
    assert_eq!(cluster.publish(), ["a"]);
    assert!(cluster.serves("a", "/").is_empty() && !cluster.index.has(&Key::namespaced("n", "a")));
}
