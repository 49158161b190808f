//! A kubeconfig with everything embedded, as a value that the command line writes as YAML.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Issued;

/// A kubeconfig whose cluster, user and context are all called `name`.
pub fn kubeconfig(name: &str, server: &str, ca_pem: &str, user: &Issued) -> Value {
    let embed = |pem: &str| STANDARD.encode(pem);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"certificate-authority-data": embed(ca_pem), "server": server}}],
        "users": [{"name": name, "user": {
            "client-certificate-data": embed(&user.certificate_pem), "client-key-data": embed(&user.key_pem),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "namespace": "default", "user": name}}],
        "current-context": name,
        "preferences": {},
    })
}
