//! How the addon is, from what it found last: the worst thing first, with what to do about it.

use std::collections::BTreeMap;
use std::path::Path;

use parking_lot::Mutex;
use sampan_addon::{Report, Reporter};
use sampan_reconcile::Key;

use crate::directory::Space;
use crate::words::people;

/// What was found.
#[derive(Debug, Default)]
struct Found {
    /// What the root has, or why that is not known.
    space: Option<Result<Space, String>>,
    /// Claims that get no volume, or not the size they ask for, and why.
    claims: BTreeMap<Key, String>,
    /// Volumes that are not deleted, and why.
    volumes: BTreeMap<String, String>,
}

/// Everything that is wrong.
pub(crate) struct Troubles {
    found: Mutex<Found>,
    reporter: Reporter,
}

impl Troubles {
    /// Says nothing until the space is known.
    pub fn new(reporter: Reporter) -> Self {
        Self { found: Mutex::default(), reporter }
    }

    /// What the root has, or why it cannot be used.
    pub fn space(&self, root: &Path, space: Result<Space, String>) {
        self.change(root, |found| found.space = Some(space));
    }

    /// What is wrong with a claim; `None` for nothing.
    pub fn claim(&self, root: &Path, key: &Key, why: Option<String>) {
        self.change(root, |found| keep(&mut found.claims, key.clone(), why));
    }

    /// Why a volume is not deleted; `None` if it is.
    pub fn volume(&self, root: &Path, name: &str, why: Option<String>) {
        self.change(root, |found| keep(&mut found.volumes, name.to_owned(), why));
    }

    fn change(&self, root: &Path, change: impl FnOnce(&mut Found)) {
        let mut found = self.found.lock();
        change(&mut found);
        self.reporter.set(report(&found, root));
    }
}

fn keep<K: Ord>(map: &mut BTreeMap<K, String>, key: K, why: Option<String>) {
    match why {
        Some(why) => _ = map.insert(key, why),
        None => _ = map.remove(&key),
    }
}

fn report(found: &Found, root: &Path) -> Report {
    let root = root.display();
    let degraded = |reason: String, next: String| Report::Degraded { reason, next };
    let others = |count: usize| match count {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    match (&found.space, found.claims.first_key_value(), found.volumes.first_key_value()) {
        (None, ..) => Report::Starting,
        (Some(Err(why)), ..) => degraded(
            format!("volumes cannot be made in {root}: {why}"),
            format!(
                "make {root} a directory that can be written to, or choose another: sampan addons configure storage \
                 --set path=…"
            ),
        ),
        (_, Some((key, why)), _) => degraded(
            format!("claim {key}{}: {why}", others(found.claims.len())),
            format!("kubectl describe pvc -n {} {}", key.namespace(), key.name),
        ),
        (_, _, Some((name, why))) => degraded(
            format!("volume {name} is not deleted{}: {why}", others(found.volumes.len())),
            format!("kubectl describe pv {name}; remove what is in the way, it is tried again"),
        ),
        // upstream's eviction threshold of nodes: from there on the node says DiskPressure, too
        (Some(Ok(space)), ..) if space.free < space.total / 10 => degraded(
            format!(
                "the file system of {root} is nearly full: {} of {} free",
                people(space.free),
                people(space.total)
            ),
            "delete claims that are not needed (kubectl get pvc -A), or files besides them".to_owned(),
        ),
        (Some(Ok(_)), None, None) => Report::Healthy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_said_first_with_what_to_do() {
        let mut found = Found::default();
        let root = Path::new("/srv/v");
        let said = |found: &Found| match report(found, root) {
            Report::Degraded { reason, next } => format!("{reason} | {next}"),
            other => format!("{other:?}"),
        };
        assert_eq!(said(&found), "Starting");
        found.space = Some(Ok(Space { free: 10 << 30, total: 100 << 30 }));
        assert_eq!(said(&found), "Healthy");
        found.space = Some(Ok(Space { free: 9 << 30, total: 100 << 30 }));
        assert!(
            said(&found).starts_with("the file system of /srv/v is nearly full: 9Gi of 100Gi free | delete")
        );
        found.volumes.insert("pvc-1".into(), "busy".into());
        assert!(said(&found).starts_with("volume pvc-1 is not deleted: busy | kubectl describe pv pvc-1"));
        found.claims.insert(Key::namespaced("a", "b"), "full".into());
        found.claims.insert(Key::namespaced("a", "c"), "full".into());
        assert_eq!(said(&found), "claim a/b (and 1 more): full | kubectl describe pvc -n a b");
        found.space = Some(Err("Read-only file system (os error 30)".into()));
        assert!(said(&found).starts_with("volumes cannot be made in /srv/v: Read-only file system"));
    }
}
