//! What aggregated API servers believe: ConfigMap `extension-apiserver-authentication` in kube-system, kept as it has to be
//! (`pkg/controlplane/controller/clusterauthenticationtrust`). Who may read it is a bootstrap Role.

use sampan_api::kinds;
use sampan_api::status::{ApiError, Reason};
use serde_json::{Value, json};

use crate::UserInfo;
use crate::pki::Pki;
use crate::registry::{Call, Registry, Target, WriteOptions};
use crate::value::{at, object, remove};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// The keys that are ours.
fn data(pki: &Pki) -> [(&'static str, String); 7] {
    [
        ("client-ca-file", pki.ca_pem().to_owned()),
        ("requestheader-allowed-names", r#"["front-proxy-client"]"#.to_owned()),
        ("requestheader-client-ca-file", pki.front_proxy_ca_pem().to_owned()),
        ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#.to_owned()),
        ("requestheader-group-headers", r#"["X-Remote-Group"]"#.to_owned()),
        ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#.to_owned()),
        ("requestheader-username-headers", r#"["X-Remote-User"]"#.to_owned()),
    ]
}

fn is_right(map: &Value, pki: &Pki) -> bool {
    data(pki).iter().all(|(key, value)| at(map, &["data", key]).as_str() == Some(value))
}

/// Keeps it until the store closes.
pub(crate) async fn follow(registry: Registry, pki: Pki) {
    loop {
        let from = registry.store.revision();
        if let Err(error) = ensure(&registry, &pki).await {
            tracing::warn!(%error, "aggregated API servers may not learn whom to believe");
        }
        let Ok(mut changes) = registry.store.watch("configmaps", &format!("{NAMESPACE}/{NAME}"), from) else {
            continue;
        };
        // a change, or one that was missed
        if changes.next().await.is_none() {
            return;
        }
    }
}

/// Makes it what it has to be.
pub(crate) async fn ensure(registry: &Registry, pki: &Pki) -> Result<(), ApiError> {
    let kind = kinds::by_resource("", "v1", "configmaps").ok_or_else(ApiError::unknown_resource)?;
    let target = Target::new(kind, NAMESPACE, NAME);
    let user = UserInfo::new("system:apiserver", &["system:masters"]);
    let call = Call::new(&user, WriteOptions::default());
    let wanted = || data(pki).into_iter().map(|(key, value)| (key.to_owned(), Value::from(value)));
    match registry.object(&target) {
        Ok((map, _)) if is_right(&map, pki) => Ok(()),
        Ok(_) => {
            let written = registry.modify(&call, &target, |old| {
                let mut new = old.clone();
                remove(&mut new, &["metadata", "resourceVersion"]);
                object(&mut new, &["data"]).extend(wanted());
                Ok(new)
            });
            written.await.map(drop)
        }
        Err(_) => {
            let body = json!({
                "metadata": {"name": NAME, "namespace": NAMESPACE},
                "data": wanted().collect::<serde_json::Map<_, _>>(),
            });
            match registry.create(&call, &Target::new(kind, NAMESPACE, ""), body).await {
                Err(error) if error.reason != Reason::AlreadyExists => Err(error),
                _ => Ok(()),
            }
        }
    }
}
