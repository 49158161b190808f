//! Features that a node says it has (`status.declaredFeatures`), so that pods which need them come to no other:
//! `component-helpers/nodedeclaredfeatures`.

use serde_json::Value;

/// Takes streams as WebSockets; nothing of a pod needs that.
pub const WEB_SOCKETS: &str = "ExtendWebSocketsToKubelet";
/// Resizes what a pod as a whole asks for.
pub const RESIZES_PODS: &str = "InPlacePodLevelResourcesVerticalScaling";
/// Resizes init containers that end.
pub const RESIZES_INIT_CONTAINERS: &str = "InPlacePodVerticalScalingInitContainers";
/// Restarts all containers of a pod when one exits as its rules say.
pub const RESTARTS_ALL: &str = "RestartAllContainersOnContainerExits";
/// Gives pods in the host's network users of their own.
pub const OWN_USERS: &str = "UserNamespacesHostNetworkSupport";

/// What a kubelet of this version declares, in order of name.
pub const OF_KUBELET: [&str; 4] = [WEB_SOCKETS, RESIZES_PODS, RESIZES_INIT_CONTAINERS, RESTARTS_ALL];

/// What the node has to have for a pod on it to be changed so, in order of name: `InferForPodUpdate`.
pub fn needed_by_update(old: &Value, new: &Value) -> Vec<&'static str> {
    let resources = |holder: &Value| holder.get("resources").cloned().unwrap_or_default();
    let (was, is) = (&old["spec"], &new["spec"]);
    let init = |spec: &Value| spec["initContainers"].as_array().cloned().unwrap_or_default();
    let ends = |container: &Value| container["restartPolicy"] != "Always";
    let resized =
        init(was).iter().zip(init(is)).any(|(was, is)| ends(was) && resources(was) != resources(&is));
    let all = [(resources(was) != resources(is), RESIZES_PODS), (resized, RESIZES_INIT_CONTAINERS)];
    all.into_iter().filter(|(needed, _)| *needed).map(|(_, name)| name).collect()
}

/// Those of `needed` that a node does not declare.
pub fn lacking(needed: &[&'static str], node: &Value) -> Vec<&'static str> {
    let declared = node["status"]["declaredFeatures"].as_array().map(Vec::as_slice).unwrap_or_default();
    needed.iter().copied().filter(|name| !declared.iter().any(|one| one == name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resize_needs_what_it_resizes() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        let of = |resources: Value| json!({"spec": {"resources": resources}});
        let init = |policy: &str, amount: &str| json!({"spec": {"initContainers": [{"name": "a", "restartPolicy": policy, "resources": cpu(amount)}]}});
        let main = |amount: &str| json!({"spec": {"containers": [{"name": "a", "resources": cpu(amount)}]}});
        for (old, new, needed) in [
            (of(cpu("1")), of(cpu("1")), vec![]),
            (of(cpu("1")), of(cpu("2")), vec![RESIZES_PODS]),
            (of(Value::Null), json!({"spec": {}}), vec![]),
            (json!({"spec": {}}), of(cpu("2")), vec![RESIZES_PODS]),
            (main("1"), main("2"), vec![]),
            (init("", "1"), init("", "2"), vec![RESIZES_INIT_CONTAINERS]),
            (init("", "1"), init("", "1"), vec![]),
            (init("Always", "1"), init("Always", "2"), vec![]),
        ] {
            assert_eq!(needed_by_update(&old, &new), needed, "{old} {new}");
        }
        let node = json!({"status": {"declaredFeatures": [RESIZES_PODS]}});
        assert_eq!(lacking(&[RESIZES_PODS, RESTARTS_ALL], &node), [RESTARTS_ALL]);
        assert_eq!(lacking(&[RESIZES_PODS], &json!({})), [RESIZES_PODS]);
        assert!(OF_KUBELET.is_sorted());
    }
}
