//! For whom a kubelet may have tokens: `NodeRestriction`'s `validateNodeServiceAccountAudience`
//! (`ServiceAccountNodeAudienceRestriction`, on since 1.33).

use sampan_api::go::Quote as _;
use sampan_store::Store;
use serde_json::Value;

use super::look_up;
use super::node_restriction::Verdict;
use crate::UserInfo;
use crate::auth::{Attributes, Auth};
use crate::registry::Target;
use crate::value::{at, items, meta, strings, text};

/// The audience has to be one that the pod's volumes name, or one that the node has the right to.
pub(crate) fn audience(
    auth: &Auth,
    store: &Store,
    user: &UserInfo,
    account: &Target,
    request: &Value,
) -> Verdict {
    let audiences = strings(at(request, &["spec", "audiences"]));
    let wanted = match audiences.as_slice() {
        [] => "",
        [one] => one.as_str(),
        _ => return Err("node may only request 0 or 1 audiences".into()),
    };
    let pod = text(request, &["spec", "boundObjectRef", "name"]);
    let pod = look_up(store, "pods", &format!("{}/{pod}", account.namespace)).unwrap_or_default();
    if of_pod(store, &pod).iter().any(|audience| audience == wanted) || may(auth, user, account, wanted) {
        return Ok(());
    }
    Err(format!(
        "audience {} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        wanted.quoted(),
        user.name
    ))
}

/// The right is named after the audience, and may be for one account only.
fn may(auth: &Auth, user: &UserInfo, account: &Target, audience: &str) -> bool {
    let attributes = Attributes {
        verb: "request-serviceaccounts-token-audience",
        version: "v1",
        resource: audience,
        namespace: &account.namespace,
        name: &account.name,
        is_resource: true,
        ..Attributes::default()
    };
    auth.authorize(user, &attributes).allowed()
}

fn of_pod(store: &Store, pod: &Value) -> Vec<String> {
    let volumes = items(at(pod, &["spec", "volumes"])).iter();
    volumes.flat_map(|volume| of_volume(store, pod, volume)).collect()
}

fn of_volume(store: &Store, pod: &Value, volume: &Value) -> Vec<String> {
    let sources = items(at(volume, &["projected", "sources"])).iter();
    let tokens = sources.map(|source| at(source, &["serviceAccountToken"])).filter(|token| !token.is_null());
    let projected: Vec<String> = tokens.map(|token| text(token, &["audience"]).to_owned()).collect();
    if !projected.is_empty() {
        return projected;
    }
    let driver = match text(volume, &["csi", "driver"]) {
        "" => driver_of_claim(store, pod, volume),
        driver => Some(driver.to_owned()),
    };
    let driver =
        driver.and_then(|name| look_up(store, "csidrivers.storage.k8s.io", &name)).unwrap_or_default();
    let requests = items(at(&driver, &["spec", "tokenRequests"])).iter();
    requests.map(|request| text(request, &["audience"]).to_owned()).collect()
}

/// The driver of the volume behind a claim, be it the pod's own.
fn driver_of_claim(store: &Store, pod: &Value, volume: &Value) -> Option<String> {
    let own = !at(volume, &["ephemeral"]).is_null();
    let claim = match text(volume, &["persistentVolumeClaim", "claimName"]) {
        "" if own => format!("{}-{}", meta(pod, "name"), text(volume, &["name"])),
        "" => return None,
        name => name.to_owned(),
    };
    let claim = look_up(store, "persistentvolumeclaims", &format!("{}/{claim}", meta(pod, "namespace")))?;
    let volume = look_up(store, "persistentvolumes", text(&claim, &["spec", "volumeName"]))?;
    Some(text(&volume, &["spec", "csi", "driver"]).to_owned()).filter(|driver| !driver.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::auth::tests::world;

    #[tokio::test]
    async fn audiences_are_those_of_the_pods_volumes_or_granted() {
        let world = world().await;
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"volumes": [
            {"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"serviceAccountToken": {"audience": "vault"}}]}},
            {"name": "b", "csi": {"driver": "inline"}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
        ]}});
        world.put("pods", "n/p", pod).await;
        let driver = |audience: &str| json!({"spec": {"tokenRequests": [{"audience": audience}]}});
        world.put("csidrivers.storage.k8s.io", "inline", driver("of-inline")).await;
        world.put("csidrivers.storage.k8s.io", "disk", driver("of-disk")).await;
        world.put("persistentvolumeclaims", "n/data", json!({"spec": {"volumeName": "pv"}})).await;
        world.put("persistentvolumes", "pv", json!({"spec": {"csi": {"driver": "disk"}}})).await;
        let node = UserInfo::new("system:node:boat", &["system:nodes"]);
        let account =
            Target::new(sampan_api::kinds::by_resource("", "v1", "serviceaccounts").unwrap(), "n", "sa");
        let ask = |audiences: &[&str]| {
            let request =
                json!({"spec": {"audiences": audiences, "boundObjectRef": {"kind": "Pod", "name": "p"}}});
            audience(&world.auth, &world.store, &node, &account, &request)
        };
        for fine in [&[][..], &["vault"], &["of-inline"], &["of-disk"]] {
            assert_eq!(ask(fine), Ok(()), "{fine:?}");
        }
        assert_eq!(ask(&["vault", "x"]).unwrap_err(), "node may only request 0 or 1 audiences");
        let refused = "audience \"registry\" not found in pod spec volume, system:node:boat is not authorized to request tokens \
                       for this audience";
        assert_eq!(ask(&["registry"]).unwrap_err(), refused);
        let rule = json!({"verbs": ["request-serviceaccounts-token-audience"], "apiGroups": [""], "resources": ["registry"]});
        let role = json!({"metadata": {"name": "audience"}, "rules": [rule]});
        world.put("clusterroles.rbac.authorization.k8s.io", "audience", role).await;
        let subject =
            json!({"kind": "Group", "name": "system:nodes", "apiGroup": "rbac.authorization.k8s.io"});
        let binding = json!({"metadata": {"name": "audience"}, "subjects": [subject],
            "roleRef": {"kind": "ClusterRole", "name": "audience", "apiGroup": "rbac.authorization.k8s.io"}});
        world.put("clusterrolebindings.rbac.authorization.k8s.io", "audience", binding).await;
        assert_eq!(ask(&["registry"]), Ok(()));
    }
}
