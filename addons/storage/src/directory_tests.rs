//! Directories on a real file system, with what a pod could have put into them.

#![allow(clippy::unwrap_used)]
use std::os::unix::fs::{MetadataExt, symlink};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use super::*;

fn root() -> (TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::make(&directory.path().join("volumes"), &directory.path().join("roots")).unwrap();
    (directory, root)
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn volumes_are_open_to_all_and_the_root_to_none() {
    let (_directory, root) = root();
    root.create("pvc-1").unwrap();
    std::fs::write(root.volume("pvc-1").join("file"), "kept").unwrap();
    root.create("pvc-1").unwrap();
    assert_eq!((mode(root.path()), mode(&root.volume("pvc-1"))), (0o700, 0o777));
    assert_eq!(std::fs::read_to_string(root.volume("pvc-1").join("file")).unwrap(), "kept");
    assert_eq!(root.names().unwrap(), ["pvc-1"]);
    let space = root.space().unwrap();
    assert!(space.free > 0 && space.free <= space.total, "{space:?}");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (directory, root) = root();
    let outside = directory.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "").unwrap();
    symlink(&outside, root.volume("pvc-link")).unwrap();
    for name in ["", ".", "..", "../outside", "a/b", "/etc", ".hidden", "a\0b"] {
        assert!(root.create(name).is_err(), "{name:?}");
        assert!(root.delete(name, &root.path().join(name.trim_end_matches('\0'))).is_err(), "{name:?}");
    }
    assert!(root.create("pvc-link").is_err(), "a link is no directory");
    assert_eq!(mode(&outside), 0o755);
    // the link goes, what it leads to stays
    root.delete("pvc-link", &root.volume("pvc-link")).unwrap();
    assert!(!root.volume("pvc-link").is_symlink() && outside.join("file").exists());
}

#[test]
fn a_path_that_is_not_the_volumes_own_is_not_deleted() {
    let (directory, root) = root();
    root.create("pvc-1").unwrap();
    let outside = directory.path().join("pvc-1");
    std::fs::create_dir(&outside).unwrap();
    let dotted = root.path().join("../volumes/pvc-1");
    for (name, path) in [
        ("pvc-1", outside.as_path()),
        ("pvc-2", &root.volume("pvc-1")),
        ("pvc-1", &dotted),
        ("pvc-1", root.path()),
    ] {
        let error = root.delete(name, path).unwrap_err().to_string();
        assert!(error.contains("is not the directory of"), "{name} {}: {error}", path.display());
    }
    assert!(outside.exists() && root.volume("pvc-1").exists());
}

#[test]
fn volumes_below_a_former_root_can_be_deleted() {
    let (directory, old) = root();
    old.create("pvc-1").unwrap();
    let memory = directory.path().join("roots");
    let new = Root::make(&directory.path().join("new"), &memory).unwrap();
    new.delete("pvc-1", &old.volume("pvc-1")).unwrap();
    assert!(!old.volume("pvc-1").exists());
    // with its disk
    std::fs::remove_dir(old.path()).unwrap();
    new.delete("pvc-2", &old.volume("pvc-2")).unwrap();
    assert_eq!(std::fs::read_to_string(&memory).unwrap().lines().count(), 2);
}

#[test]
fn links_inside_are_removed_and_not_followed() {
    let (directory, root) = root();
    let outside = directory.path().join("outside");
    std::fs::create_dir_all(outside.join("deep")).unwrap();
    root.create("pvc-1").unwrap();
    let inside = root.volume("pvc-1").join("a/b");
    std::fs::create_dir_all(&inside).unwrap();
    symlink(&outside, inside.join("out")).unwrap();
    symlink("/", root.volume("pvc-1").join("slash")).unwrap();
    root.delete("pvc-1", &root.volume("pvc-1")).unwrap();
    assert!(!root.volume("pvc-1").exists() && outside.join("deep").exists());
    root.delete("pvc-1", &root.volume("pvc-1")).unwrap();
}

#[test]
fn trees_of_any_depth_and_width_go() {
    let (_directory, root) = root();
    root.create("pvc-1").unwrap();
    // deeper than descriptors, stacks and paths reach; made as a container would
    let mut parent = descend(&open_root(root.path()).unwrap(), "pvc-1").unwrap();
    for depth in 0..5000 {
        // names as move_up gives them are taken, by directories and by files
        let (name, other) = if depth % 2 == 0 { ("d", ".1") } else { (".2", "d") };
        mkdirat(&parent, name, Mode::S_IRWXU).unwrap();
        drop(nix::fcntl::openat(&parent, other, OFlag::O_CREAT, Mode::S_IRWXU).unwrap());
        parent = descend(&parent, name).unwrap();
    }
    for number in 0..BATCH + 10 {
        std::fs::write(root.volume("pvc-1").join(format!("f{number}")), "").unwrap();
    }
    root.delete("pvc-1", &root.volume("pvc-1")).unwrap();
    assert!(root.names().unwrap().is_empty());
}

#[test]
fn what_is_mounted_inside_is_left_alone() {
    let (directory, root) = root();
    let other = directory.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("file"), "kept").unwrap();
    root.create("pvc-1").unwrap();
    let point = root.volume("pvc-1").join("point");
    std::fs::create_dir(&point).unwrap();
    let nothing = None::<&str>;
    mount(Some(&other), &point, nothing, MsFlags::MS_BIND, nothing).expect("these tests need root");
    let error = root.delete("pvc-1", &root.volume("pvc-1"));
    umount2(&point, MntFlags::MNT_DETACH).unwrap();
    assert!(error.is_err() && other.join("file").exists());
    root.delete("pvc-1", &root.volume("pvc-1")).unwrap();
}

#[test]
fn only_what_is_empty_is_tidied_up() {
    let (_directory, root) = root();
    root.create("pvc-1").unwrap();
    root.create("pvc-2").unwrap();
    std::fs::write(root.volume("pvc-2").join("file"), "").unwrap();
    assert!(root.remove_empty("pvc-1").unwrap() && !root.remove_empty("pvc-1").unwrap());
    assert!(root.remove_empty("pvc-2").is_err() && root.volume("pvc-2").join("file").exists());
}

#[test]
fn a_root_that_is_gone_or_read_only_says_so() {
    let (_directory, root) = root();
    let nothing = None::<&str>;
    mount(Some("tmpfs"), root.path(), Some("tmpfs"), MsFlags::MS_RDONLY, nothing)
        .expect("these tests need root");
    let error = root.space();
    umount2(root.path(), MntFlags::MNT_DETACH).unwrap();
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    std::fs::remove_dir(root.path()).unwrap();
    assert_eq!(root.space().unwrap_err().kind(), io::ErrorKind::NotFound);
}
