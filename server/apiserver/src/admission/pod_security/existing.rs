//! A namespace's new standard, and the pods that are there already: `EvaluatePodsInNamespace`.

use std::collections::{BTreeMap, HashSet};

use sampan_api::go::Quote as _;
use serde_json::Value;

use super::checks;
use super::policy::Standard;
use super::view::PodView;
use crate::registry::Review;
use crate::value::{at, items, meta, text};

/// Upstream's `defaultNamespaceMaxPodsToCheck`.
const MOST: usize = 3000;

/// Warns of the pods in `namespace` that violate `standard`.
pub(super) fn warn(review: &Review<'_>, namespace: &str, standard: Standard) {
    let prefix = format!("{namespace}/");
    let all = review.store.list("pods");
    let pods: Vec<Value> =
        all.prefix(&prefix).filter_map(|entry| serde_json::from_slice(&entry.value).ok()).collect();
    for text in warnings(namespace, standard, pods) {
        review.warn(text);
    }
}

fn warnings(namespace: &str, standard: Standard, pods: Vec<Value>) -> Vec<String> {
    let total = pods.len();
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in one_of_each_first(pods).iter().take(MOST) {
        let violations = checks::violations(standard, PodView::of(pod));
        if !violations.is_empty() {
            let name = meta(pod, "name").to_owned();
            told.entry(checks::reasons(&violations)).or_default().push(name);
        }
    }
    let mut texts = Vec::new();
    if total > MOST {
        texts.push(format!(
            "new PodSecurity enforce level only checked against the first {MOST} of {total} existing pods"
        ));
    }
    if !told.is_empty() {
        texts.push(format!(
            "existing pods in namespace {} violate the new PodSecurity enforce level \"{standard}\"",
            namespace.quoted()
        ));
    }
    let mut each: Vec<String> = told.into_iter().map(|(reasons, names)| counted(names, &reasons)).collect();
    each.sort();
    texts.extend(each);
    texts
}

/// Pods of the same controller are alike: one of each comes first.
fn one_of_each_first(pods: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    let (mut first, again): (Vec<Value>, Vec<Value>) = pods.into_iter().partition(|pod| {
        let owners = items(at(pod, &["metadata", "ownerReferences"]));
        let controller = owners.iter().find(|o| at(o, &["controller"]).as_bool() == Some(true));
        controller.is_none_or(|owner| seen.insert(text(owner, &["uid"]).to_owned()))
    });
    first.extend(again);
    first
}

/// `a (and 2 other pods): hostPort`
fn counted(mut names: Vec<String>, reasons: &str) -> String {
    names.sort();
    let first = names.first().map_or("", String::as_str);
    match names.len() {
        0 | 1 => format!("{first}: {reasons}"),
        2 => format!("{first} (and 1 other pod): {reasons}"),
        many => format!("{first} (and {} other pods): {reasons}", many - 1),
    }
}
