//! The user's own kubeconfig: our entries merged in under a lock, found again by our mark, removed on delete.
//!
//! The file is edited as a YAML value, so that what others wrote survives. The lock is kubectl's own:
//! `<file>.lock`, created exclusively. Entries carry an extension named `sampan.dev` with the profile.

use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid, User};
use serde_yaml_ng::{Mapping, Value};

use crate::failure::{Failure, Kind};
use crate::profile::write_private;

/// Name of the extension that marks our entries.
const MARK: &str = "sampan.dev";
/// How long another writer may hold the lock before we give up.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How to reach a cluster as its administrator.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Access {
    /// Such as `https://127.0.0.1:6443`.
    pub server: String,
    /// The CA's certificate, PEM.
    pub ca_pem: String,
    /// The client certificate, PEM.
    pub certificate_pem: String,
    /// Its key, PEM.
    pub key_pem: String,
}

/// The person whose kubeconfig it is: under sudo the one who called it.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Home directory.
    pub home: PathBuf,
    /// User and group that own the file.
    pub ids: Option<(Uid, Gid)>,
}

impl Owner {
    /// Who may write `path`: under sudo the caller; for root itself whoever the file belongs to, or the folder if
    /// there is no file yet, so that a user's file stays the user's.
    pub fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let owner = Self::detect();
        if owner.ids.is_some() || !Uid::effective().is_root() {
            return owner;
        }
        // anybody may have put a link there
        let file = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file);
        let folder = || path.ancestors().skip(1).find_map(|folder| std::fs::symlink_metadata(folder).ok());
        let holder = file.or_else(folder).filter(|holder| holder.uid() != 0);
        let ids = holder.map(|holder| (Uid::from_raw(holder.uid()), Gid::from_raw(holder.gid())));
        Self { ids, ..owner }
    }

    /// From `SUDO_UID`, else the process's own user.
    pub fn detect() -> Self {
        let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()).map(Uid::from_raw);
        let user =
            sudo.filter(|_| Uid::effective().is_root()).and_then(|uid| User::from_uid(uid).ok().flatten());
        match user {
            Some(user) => Self { home: user.dir, ids: Some((user.uid, user.gid)) },
            None => {
                Self { home: std::env::var_os("HOME").unwrap_or_else(|| "/root".into()).into(), ids: None }
            }
        }
    }

    /// The file to edit: the first of `KUBECONFIG`, else `~/.kube/config`; links resolved.
    pub fn kubeconfig(&self) -> PathBuf {
        let named = std::env::var_os("KUBECONFIG")
            .and_then(|list| std::env::split_paths(&list).find(|p| !p.as_os_str().is_empty()));
        let path = named.unwrap_or_else(|| self.home.join(".kube/config"));
        self.act(|| std::fs::canonicalize(&path)).unwrap_or(path)
    }

    /// Does `work` on files with the owner's rights and no others: a link that they put there leads root nowhere.
    fn act<T>(&self, work: impl FnOnce() -> T) -> T {
        let _rights = self.ids.map(|(uid, gid)| Rights::take(uid, gid));
        work()
    }
}

/// Another user's rights to files, for this thread, until dropped.
struct Rights;

impl Rights {
    fn take(uid: Uid, gid: Gid) -> Self {
        // the group first: the right to change it goes with the user
        nix::unistd::setfsgid(gid);
        nix::unistd::setfsuid(uid);
        Self
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        nix::unistd::setfsuid(Uid::effective());
        nix::unistd::setfsgid(Gid::effective());
    }
}

/// Merges a cluster in and makes it current, unless `keep_context`. Returns the context's name: `wanted`, or with a number if
/// someone else's context has that name.
pub fn merge(
    path: &Path,
    owner: &Owner,
    profile: &str,
    wanted: &str,
    access: &Access,
    keep_context: bool,
) -> Result<String, Failure> {
    edit(path, owner, |root| {
        let name = free_name(root, profile, wanted);
        let current = root.get("current-context").cloned();
        remove_entries(root, profile);
        insert(root, profile, &name, access);
        if keep_context {
            root.insert("current-context".into(), current.unwrap_or_else(|| "".into()));
        }
        name
    })
}

/// Writes new certificates into the profile's entry, and says whether it did: a file that has no such entry, or has
/// these already, is left alone.
pub fn refresh(
    path: &Path,
    owner: &Owner,
    profile: &str,
    context: &str,
    access: &Access,
) -> Result<bool, Failure> {
    match owner.act(|| read(path))? {
        Some(root) if is_stale(&root, profile, access) => {
            merge(path, owner, profile, context, access, true).map(|_| true)
        }
        _ => Ok(false),
    }
}

/// Whether the profile's entry is there with another server or certificate than `access`.
fn is_stale(root: &Mapping, profile: &str, access: &Access) -> bool {
    let entry = |all: &str, key: &str, field: &str| -> Option<String> {
        let entry = list(root, all).iter().find(|entry| is_ours(entry, key, profile))?;
        Some(entry.get(key)?.get(field)?.as_str()?.to_owned())
    };
    let Some(server) = entry("clusters", "cluster", "server") else { return false };
    let certificate = entry("users", "user", "client-certificate-data");
    server != access.server || certificate != Some(base64(&access.certificate_pem))
}

/// A kubeconfig of this cluster alone.
pub fn text(profile: &str, access: &Access) -> Result<String, Failure> {
    let mut root = Mapping::new();
    insert(&mut root, profile, profile, access);
    serde_yaml_ng::to_string(&root).map_err(|error| Failure::new(Kind::Kubeconfig, error.to_string()))
}

/// What [`text`] was made of; `None` for any other text.
pub fn parse(text: &str) -> Option<Access> {
    use base64::Engine;
    let root: Mapping = serde_yaml_ng::from_str(text).ok()?;
    let field = |all: &str, key: &str, field: &str| -> Option<String> {
        Some(list(&root, all).first()?.get(key)?.get(field)?.as_str()?.to_owned())
    };
    let pem = |all: &str, key: &str, name: &str| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(field(all, key, name)?).ok()?;
        String::from_utf8(bytes).ok()
    };
    Some(Access {
        server: field("clusters", "cluster", "server")?,
        ca_pem: pem("clusters", "cluster", "certificate-authority-data")?,
        certificate_pem: pem("users", "user", "client-certificate-data")?,
        key_pem: pem("users", "user", "client-key-data")?,
    })
}

/// Fails if the file is there but cannot be edited, before anything depends on it.
pub fn check(path: &Path, owner: &Owner) -> Result<(), Failure> {
    owner.act(|| read(path)).map(drop)
}

/// Removes a profile's entries; `current-context` too if it was ours. A file that has none, or is none, is fine.
pub fn remove(path: &Path, owner: &Owner, profile: &str) -> Result<(), Failure> {
    let ours = |root: &Mapping| {
        LISTS.iter().any(|(all, key)| list(root, all).iter().any(|entry| is_ours(entry, key, profile)))
    };
    match owner.act(|| read(path))? {
        Some(root) if ours(&root) => edit(path, owner, |root| remove_entries(root, profile)),
        _ => Ok(()),
    }
}

/// The server of the profile's entry, if there is one.
pub fn server(path: &Path, profile: &str) -> Option<String> {
    let root: Mapping = serde_yaml_ng::from_slice(&std::fs::read(path).ok()?).ok()?;
    let entry = list(&root, "clusters").iter().find(|entry| is_ours(entry, "cluster", profile))?;
    Some(entry.get("cluster")?.get("server")?.as_str()?.to_owned())
}

fn failed(path: &Path, what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Kubeconfig, format!("cannot {what} kubeconfig {}: {error}", path.display()))
}

/// The file as a YAML value; `None` if there is none.
fn read(path: &Path) -> Result<Option<Mapping>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Ok(Some(Mapping::new())),
        Ok(bytes) => serde_yaml_ng::from_slice(&bytes).map(Some).map_err(|e| failed(path, "parse", e)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, "read", error)),
    }
}

fn edit<T>(path: &Path, owner: &Owner, change: impl FnOnce(&mut Mapping) -> T) -> Result<T, Failure> {
    owner.act(|| edit_as_owner(path, change))
}

fn edit_as_owner<T>(path: &Path, change: impl FnOnce(&mut Mapping) -> T) -> Result<T, Failure> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    if !directory.exists() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(directory);
        made.map_err(|e| failed(path, "create the directory of", e))?;
    }
    let _lock = Lock::take(path).map_err(|e| failed(path, "lock", e))?;
    let mut root = read(path)?.unwrap_or_default();
    let result = change(&mut root);
    let text = serde_yaml_ng::to_string(&root).map_err(|e| failed(path, "encode", e))?;
    write_private(path, text.as_bytes()).map_err(|e| failed(path, "write", e))?;
    Ok(result)
}

/// kubectl's lock file; removed when dropped.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> std::io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        let began = Instant::now();
        loop {
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock) {
                Ok(_) => return Ok(Self(lock)),
                // kubectl holds it for milliseconds and offers nothing to wait on
                Err(error)
                    if error.kind() == std::io::ErrorKind::AlreadyExists && began.elapsed() < LOCK_WAIT =>
                {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    let text =
                        format!("{} is held by another program (remove it if none runs)", lock.display());
                    return Err(std::io::Error::new(error.kind(), text));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The three lists and the key under which each entry holds its value.
const LISTS: [(&str, &str); 3] = [("clusters", "cluster"), ("contexts", "context"), ("users", "user")];

fn list<'a>(root: &'a Mapping, name: &str) -> &'a [Value] {
    root.get(name).and_then(Value::as_sequence).map_or(&[], Vec::as_slice)
}

fn is_ours(entry: &Value, key: &str, profile: &str) -> bool {
    let extensions = entry.get(key).and_then(|inner| inner.get("extensions")).and_then(Value::as_sequence);
    extensions.into_iter().flatten().any(|extension| {
        extension.get("name").and_then(Value::as_str) == Some(MARK)
            && extension.get("extension").and_then(|e| e.get("profile")).and_then(Value::as_str)
                == Some(profile)
    })
}

/// `wanted`, or `wanted-2`, … if an entry of that name is not ours.
fn free_name(root: &Mapping, profile: &str, wanted: &str) -> String {
    let taken = |name: &str| {
        LISTS.iter().any(|(all, key)| {
            list(root, all).iter().any(|entry| {
                entry.get("name").and_then(Value::as_str) == Some(name) && !is_ours(entry, key, profile)
            })
        })
    };
    let numbered = (2..).map(|n| format!("{wanted}-{n}"));
    // the sequence has no end, and the file has
    std::iter::once(wanted.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

fn remove_entries(root: &mut Mapping, profile: &str) {
    let mut current_is_ours = false;
    let current = root.get("current-context").and_then(Value::as_str).map(str::to_owned);
    for (all, key) in LISTS {
        if let Some(entries) = root.get_mut(all).and_then(Value::as_sequence_mut) {
            entries.retain(|entry| {
                let ours = is_ours(entry, key, profile);
                current_is_ours |= ours
                    && key == "context"
                    && entry.get("name").and_then(Value::as_str) == current.as_deref();
                !ours
            });
        }
    }
    if current_is_ours {
        root.insert("current-context".into(), "".into());
    }
}

fn base64(pem: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(pem)
}

fn insert(root: &mut Mapping, profile: &str, name: &str, access: &Access) {
    let ours = serde_json::json!([{"name": MARK, "extension": {"profile": profile, "version": env!("CARGO_PKG_VERSION")}}]);
    let entries = [
        serde_json::json!({"name": name, "cluster": {
            "certificate-authority-data": base64(&access.ca_pem), "server": access.server, "extensions": ours}}),
        serde_json::json!({"name": name, "context": {
            "cluster": name, "user": name, "namespace": "default", "extensions": ours}}),
        serde_json::json!({"name": name, "user": {
            "client-certificate-data": base64(&access.certificate_pem),
            "client-key-data": base64(&access.key_pem), "extensions": ours}}),
    ];
    root.entry("apiVersion".into()).or_insert("v1".into());
    root.entry("kind".into()).or_insert("Config".into());
    for ((all, _), entry) in LISTS.iter().zip(entries) {
        let slot = root.entry((*all).into()).or_insert(Value::Sequence(Vec::new()));
        if !slot.is_sequence() {
            *slot = Value::Sequence(Vec::new());
        }
        if let (Some(entries), Ok(entry)) = (slot.as_sequence_mut(), serde_yaml_ng::to_value(entry)) {
            entries.push(entry);
        }
    }
    root.insert("current-context".into(), name.into());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn access() -> Access {
        let text = |s: &str| s.to_owned();
        Access {
            server: text("https://127.0.0.1:6443"),
            ca_pem: text("ca"),
            certificate_pem: text("c"),
            key_pem: text("k"),
        }
    }

    fn temporary(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("sampan-kubeconfig-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        directory.join("sub/config")
    }

    const OWNER: Owner = Owner { home: PathBuf::new(), ids: None };

    #[test]
    fn a_cluster_comes_and_goes_and_the_rest_stays() {
        let path = temporary("merge");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let before = "apiVersion: v1\nkind: Config\npreferences:\n  colors: true\nclusters:\n- name: sampan\n  cluster:\n    server: https://elsewhere\ncurrent-context: x\n";
        std::fs::write(&path, before).unwrap();
        let name = merge(&path, &OWNER, "sampan", "sampan", &access(), false).unwrap();
        assert_eq!(name, "sampan-2");
        assert_eq!(merge(&path, &OWNER, "sampan", "sampan", &access(), false).unwrap(), "sampan-2");
        assert_eq!(server(&path, "sampan").as_deref(), Some("https://127.0.0.1:6443"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        remove(&path, &OWNER, "sampan").unwrap();
        let after: Mapping = serde_yaml_ng::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(list(&after, "clusters").len(), 1);
        assert!(list(&after, "users").is_empty() && after["current-context"] == "");
        assert_eq!(after["preferences"]["colors"], true);
    }

    #[test]
    fn a_new_certificate_is_written_where_the_cluster_is_known_and_nowhere_else() {
        let path = temporary("refresh");
        let renewed = Access { certificate_pem: "new".into(), ..access() };
        let refreshed = |access: &Access| refresh(&path, &OWNER, "sampan", "sampan", access).unwrap();
        assert!(!refreshed(&renewed) && !path.exists());
        merge(&path, &OWNER, "sampan", "sampan", &access(), true).unwrap();
        assert!(!refreshed(&access()));
        assert!(refreshed(&renewed) && !refreshed(&renewed));
        let after: Mapping = serde_yaml_ng::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(list(&after, "users").len(), 1);
        assert_eq!(after["current-context"], "", "the context was not to be chosen");
    }

    #[test]
    fn a_link_leads_the_owner_no_further_than_the_owner_may_go() {
        if !Uid::effective().is_root() {
            return;
        }
        let path = temporary("link");
        let folder = path.parent().unwrap();
        std::fs::create_dir_all(folder).unwrap();
        let secret = folder.join("secret");
        std::fs::write(&secret, "a: 1").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&secret, &path).unwrap();
        let nobody = Owner { home: PathBuf::new(), ids: Some((Uid::from_raw(65534), Gid::from_raw(65534))) };
        assert_eq!(check(&path, &nobody).unwrap_err().kind, Kind::Kubeconfig);
        assert!(check(&path, &OWNER).is_ok(), "root's rights are back");
    }

    #[test]
    fn a_users_file_stays_the_users() {
        use std::os::unix::fs::MetadataExt;
        if !Uid::effective().is_root() || std::env::var_os("SUDO_UID").is_some() {
            return;
        }
        let path = temporary("owner");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::chown(path.parent().unwrap(), Some(65534), Some(65534)).unwrap();
        let owner = Owner::of(&path);
        merge(&path, &owner, "sampan", "sampan", &access(), false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), 65534);
        assert_eq!(Owner::of(&path).ids, owner.ids);
        std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
        assert_eq!(Owner::of(&path).ids, None, "root's file is root's wherever it lies");
    }

    #[test]
    fn a_file_that_is_not_yaml_is_left_alone() {
        let path = temporary("broken");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "a: [").unwrap();
        let failure = merge(&path, &OWNER, "sampan", "sampan", &access(), false).unwrap_err();
        assert_eq!(failure.kind, Kind::Kubeconfig);
        assert_eq!(std::fs::read(&path).unwrap(), b"a: [");
        assert!(!path.with_extension("lock").exists());
    }
}
