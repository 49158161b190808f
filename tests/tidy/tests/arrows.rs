//! The workspace's dependency arrows are those of `arrows.txt`, and some libraries have one owner each.
//!
//! A new arrow is a change of that file, seen in review. `arrows.txt` is sorted; the test's failure prints the
//! text that the file would have.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Which crate alone may name a library (by prefix), in any kind of dependency.
const OWNERS: [(&str, &[&str]); 7] = [
    ("sqlx", &["sampan-store"]),
    ("bollard", &["sampan-cri-docker"]),
    ("libcontainer", &["sampan-cri-oci"]),
    ("hickory-", &["sampan-addon-dns"]),
    ("actix-", &["sampan-apiserver", "sampan-console"]),
    ("leptos", &["sampan-dashboard"]),
    ("oci-client", &["sampan-addons", "sampan-cri-oci"]),
];

fn workspace() -> Vec<Package> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    metadata.workspace_packages().into_iter().cloned().collect()
}

#[test]
fn arrows_are_the_committed_ones() {
    let packages = workspace();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut arrows = BTreeSet::new();
    for package in &packages {
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Normal && ours.contains(dependency.name.as_str()) {
                arrows.insert(format!("{} -> {}", package.name, dependency.name));
            }
        }
    }
    let actual = arrows.into_iter().collect::<Vec<_>>().join("\n") + "\n";
    assert_eq!(include_str!("../arrows.txt"), actual, "tests/tidy/arrows.txt should read:\n{actual}");
}

#[test]
fn libraries_have_one_owner() {
    let mut wrong = BTreeMap::new();
    for package in workspace() {
        for dependency in &package.dependencies {
            let owner = OWNERS.iter().find(|(prefix, _)| dependency.name.starts_with(prefix));
            if owner.is_some_and(|(_, owners)| !owners.contains(&package.name.as_str())) {
                wrong.insert(package.name.to_string(), dependency.name.clone());
            }
        }
    }
    assert!(wrong.is_empty(), "libraries named by crates that do not own them: {wrong:?}");
}

#[test]
fn every_crate_takes_the_workspaces_lints_and_says_what_it_is() {
    let root = MetadataCommand::new().no_deps().exec().expect("cargo metadata").workspace_root;
    for package in workspace() {
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("manifest");
        let inherits = manifest.contains("[lints]\nworkspace = true") || package.name == "sampan-cri-oci";
        assert!(inherits, "{} does not take the workspace's lints", package.name);
        for target in package.targets.iter().filter(|target| target.is_lib() || target.is_bin()) {
            let text = std::fs::read_to_string(&target.src_path).expect("source");
            let path = target.src_path.strip_prefix(&root).unwrap_or(&target.src_path);
            assert!(text.starts_with("//!"), "{path} does not open with //!");
        }
    }
}
