//! Volumes that put two files at one path: `warningsForOverlappingVirtualPaths` of `pkg/api/pod/warnings.go`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::access::*;
use crate::go::Quote as _;

/// Adds what is odd about the files of the volumes of a pod's `spec`.
pub(super) fn overlaps(spec: &Value, told: &mut Vec<String>) {
    for volume in list(spec, "volumes") {
        let name = text(volume, "name");
        for (source, what, named) in [
            ("configMap", "ConfigMap", Some("name")),
            ("secret", "Secret", Some("secretName")),
            ("downwardAPI", "DownwardAPI", None),
        ] {
            let source = get(volume, source);
            if list(source, "items").is_empty() {
                continue;
            }
            let what = match named {
                Some(key) => format!("{what} {}", text(source, key).quoted()),
                None => what.to_owned(),
            };
            check(&items(source), &format!("volume {} ({what}): overlapping paths", name.quoted()), told);
        }
        projected(get(volume, "projected"), name, told);
    }
}

fn items(source: &Value) -> Vec<&str> {
    list(source, "items").iter().map(|item| text(item, "path")).collect()
}

fn projected(projected: &Value, volume: &str, told: &mut Vec<String>) {
    let mut before = BTreeSet::new();
    for source in list(projected, "sources") {
        if source.as_object().is_none_or(|source| source.is_empty()) {
            told.push(format!("volume {} (Projected) has no sources provided", volume.quoted()));
            continue;
        }
        let Some((paths, what)) = files(source) else { continue };
        let what = format!("volume {} (Projected {what}): overlapping paths", volume.quoted());
        check(&paths, &what, told);
        // what the sources before put there, and this one's, each path once and in order
        let own: BTreeSet<&str> = paths.into_iter().collect();
        let mut all: Vec<&str> = own.iter().chain(&before).copied().collect();
        all.sort_unstable();
        check(&all, &what, told);
        before.extend(own);
    }
}

/// The paths of a projection, and what it is called.
fn files(source: &Value) -> Option<(Vec<&str>, String)> {
    let named = |key: &str, what: &str| {
        let of = get(source, key);
        Some((items(of), format!("{what} {}", text(of, "name").quoted())))
            .filter(|(items, _)| !items.is_empty())
    };
    let one = |key: &str| Some(text(get(source, key), "path")).filter(|_| has(source, key));
    let downward = || {
        let items = items(get(source, "downwardAPI"));
        Some((items, "DownwardAPI".to_owned())).filter(|(items, _)| !items.is_empty())
    };
    let token = || Some((vec![one("serviceAccountToken")?], "ServiceAccountToken".to_owned()));
    let bundle = || {
        let bundle = get(source, "clusterTrustBundle");
        let name = if has(bundle, "name") { text(bundle, "name") } else { text(bundle, "signerName") };
        Some((vec![one("clusterTrustBundle")?], format!("ClusterTrustBundle {}", name.quoted())))
    };
    named("configMap", "ConfigMap")
        .or_else(|| named("secret", "Secret"))
        .or_else(downward)
        .or_else(token)
        .or_else(bundle)
}

/// `checkVolumeMappingForOverlap`.
fn check(paths: &[&str], what: &str, told: &mut Vec<String>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for path in paths.iter().map(|path| path.trim_end_matches('/')) {
        let collides = |other: &&&str| {
            let (one, other) = (path, **other);
            one == other || format!("{other}/").starts_with(one) || format!("{one}/").starts_with(other)
        };
        let empty = path.is_empty() || seen.contains("");
        if let Some(other) = seen.iter().find(collides).filter(|_| !empty) {
            told.push(format!("{what}: {} with {}", path.quoted(), other.quoted()));
        }
        seen.insert(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn two_files_at_one_path_are_told() {
        let of = |volume: Value| {
            let (mut volume, mut told) = (volume, Vec::new());
            volume["name"] = "v".into();
            overlaps(&json!({"volumes": [volume]}), &mut told);
            told.join("; ")
        };
        let items =
            |paths: &[&str]| paths.iter().map(|path| json!({"key": "k", "path": path})).collect::<Vec<_>>();
        assert_eq!(of(json!({"configMap": {"name": "c", "items": items(&["a", "b"])}})), "");
        assert_eq!(
            of(json!({"configMap": {"name": "c", "items": items(&["a", "a/b"])}})),
            "volume \"v\" (ConfigMap \"c\"): overlapping paths: \"a/b\" with \"a\""
        );
        assert_eq!(
            of(json!({"projected": {"sources": [
                {"serviceAccountToken": {"path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": items(&["ca.crt"])}},
                {"downwardAPI": {"items": items(&["namespace"])}},
            ]}})),
            ""
        );
        assert_eq!(
            of(json!({"projected": {"sources": [
                {"serviceAccountToken": {"path": "token"}},
                {"secret": {"name": "s", "items": items(&["token"])}},
                {},
            ]}})),
            "volume \"v\" (Projected Secret \"s\"): overlapping paths: \"token\" with \"token\"; \
             volume \"v\" (Projected) has no sources provided"
        );
    }
}
