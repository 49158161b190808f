//! What is wrong, a line for each cause: pods that fail alike under one owner are one line, and a workload whose pods tell
//! why is not told beside them.

use std::collections::{BTreeMap, HashSet};

/// An object that is not well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sick {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// Kind and name of what controls it.
    pub owner: Option<(String, String)>,
    pub reason: String,
    /// 0 is the worst.
    pub badness: u8,
}

/// A cause: the place in the list of the first object that has it, who it is told of, and how many have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub first: usize,
    pub kind: String,
    pub name: String,
    pub count: usize,
}

/// Kinds whose state is but that of their pods.
const WORKLOADS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// The causes, the worst first, then by namespace and name.
pub fn causes(all: &[Sick]) -> Vec<Cause> {
    let mut told: BTreeMap<(u8, &str, String, String, &str), (usize, usize)> = BTreeMap::new();
    let mut owners = HashSet::new();
    for (at, one) in all.iter().enumerate().filter(|(_, one)| one.kind == "Pod") {
        let (kind, name) = of(one);
        owners.insert((one.namespace.as_str(), kind.clone(), name.clone()));
        let key = (one.badness, one.namespace.as_str(), kind, name, one.reason.as_str());
        told.entry(key).or_insert((at, 0)).1 += 1;
    }
    for (at, one) in all.iter().enumerate().filter(|(_, one)| one.kind != "Pod") {
        let (kind, name) = (one.kind.clone(), one.name.clone());
        let pods_say = WORKLOADS.contains(&kind.as_str())
            && owners.contains(&(one.namespace.as_str(), kind.clone(), name.clone()));
        if !pods_say {
            told.insert((one.badness, &one.namespace, kind, name, &one.reason), (at, 1));
        }
    }
    let cause = |((_, _, kind, name, _), (first, count))| Cause { first, kind, name, count };
    told.into_iter().map(cause).collect()
}

/// Who a pod's trouble is told of: the workload above it. A Deployment's ReplicaSets have its name and a hash.
fn of(pod: &Sick) -> (String, String) {
    match &pod.owner {
        Some((kind, name)) if kind == "ReplicaSet" => match name.rsplit_once('-') {
            Some((deployment, hash)) if is_hash(hash) => ("Deployment".to_owned(), deployment.to_owned()),
            _ => (kind.clone(), name.clone()),
        },
        Some((kind, name)) if kind != "Node" => (kind.clone(), name.clone()),
        _ => (pod.kind.clone(), pod.name.clone()),
    }
}

/// Whether it may be a hash of a template, which has no vowels and none of 0, 1 and 3.
fn is_hash(text: &str) -> bool {
    (1..=10).contains(&text.len())
        && text.chars().all(|letter| "bcdfghjklmnpqrstvwxz2456789".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sick(kind: &str, name: &str, owner: Option<(&str, &str)>, reason: &str, badness: u8) -> Sick {
        let owner = owner.map(|(kind, name)| (kind.to_owned(), name.to_owned()));
        Sick {
            kind: kind.into(),
            namespace: "a".into(),
            name: name.into(),
            owner,
            reason: reason.into(),
            badness,
        }
    }

    #[test]
    fn one_line_for_each_cause() {
        let set = Some(("ReplicaSet", "web-5d4f"));
        let all = [
            sick("Pod", "web-5d4f-a", set, "ImagePullBackOff", 0),
            sick("Pod", "web-5d4f-b", set, "ImagePullBackOff", 0),
            sick("Pod", "web-5d4f-c", set, "Error", 0),
            sick("Pod", "alone", None, "Pending", 1),
            sick("Pod", "mirror-n", Some(("Node", "n")), "Error", 0),
            sick("Deployment", "web", None, "Unavailable", 0),
            sick("Deployment", "quota", None, "Unavailable", 0),
            sick("PersistentVolumeClaim", "data", None, "StorageClass x: NotFound", 0),
        ];
        let told: Vec<_> = causes(&all)
            .into_iter()
            .map(|one| format!("{}/{} {} ×{}", one.kind, one.name, all[one.first].reason, one.count))
            .collect();
        assert_eq!(
            told,
            [
                "Deployment/quota Unavailable ×1",
                "Deployment/web Error ×1",
                "Deployment/web ImagePullBackOff ×2",
                "PersistentVolumeClaim/data StorageClass x: NotFound ×1",
                "Pod/mirror-n Error ×1",
                "Pod/alone Pending ×1",
            ]
        );
        assert_eq!(causes(&[]), []);
    }
}
