//! A pod's namespaces, pinned by bind mounts instead of a process.
//!
//! A thread unshares, is looked at through `/proc/thread-self/ns`, and ends; the mounts keep what it made. Only
//! a shared PID namespace needs a process, since the kernel ends one with its first process: the container
//! host forks it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::images::store::EMPTY;
use crate::sysctl;

/// What to make.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where the pins go.
    pub directory: PathBuf,
    /// Pinned network namespace to join; `None` with `own_network` makes one.
    pub network: Option<PathBuf>,
    /// Make an empty network namespace.
    pub own_network: bool,
    /// Of its own; the node's if false.
    pub ipc: bool,
    /// Of its own; the node's if false.
    pub uts: bool,
    /// Name inside.
    pub hostname: String,
    /// Kernel parameters inside; only those of the namespaces above.
    pub sysctls: BTreeMap<String, String>,
}

/// Makes and pins namespaces and the pod's shared memory. Blocking.
pub fn make(wanted: &Wanted) -> io::Result<()> {
    std::fs::create_dir_all(&wanted.directory)?;
    if wanted.ipc {
        let shm = wanted.directory.join("shm");
        std::fs::create_dir_all(&shm)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("shm"), &shm, Some("tmpfs"), flags, Some("mode=1777,size=65536k"))?;
    }
    let wanted = wanted.clone();
    // a thread that has left the node's namespaces must never be reused: it ends here
    std::thread::spawn(move || inside(&wanted))
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("thread panicked")))
}

fn inside(wanted: &Wanted) -> io::Result<()> {
    let mut flags = CloneFlags::empty();
    flags.set(CloneFlags::CLONE_NEWIPC, wanted.ipc);
    flags.set(CloneFlags::CLONE_NEWUTS, wanted.uts);
    flags.set(CloneFlags::CLONE_NEWNET, wanted.own_network);
    unshare(flags)?;
    if wanted.uts {
        set_hostname(&wanted.hostname)?;
    }
    if let Some(path) = &wanted.network {
        let named = |error| io::Error::other(format!("network namespace {}: {error}", path.display()));
        setns(File::open(path).map_err(named)?, CloneFlags::CLONE_NEWNET)?;
    }
    if wanted.own_network {
        loopback_up()?;
    }
    let own = sysctl::Own { network: wanted.own_network || wanted.network.is_some(), ipc: wanted.ipc };
    sysctl::write(&wanted.sysctls, own)?;
    for (made, name) in [(wanted.ipc, "ipc"), (wanted.uts, "uts"), (wanted.own_network, "net")] {
        if made {
            pin(&format!("/proc/thread-self/ns/{name}"), &wanted.directory.join(name))?;
        }
    }
    Ok(())
}

fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: the pointer is valid for the length given
    match unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Keeps a namespace alive at a path.
pub fn pin(namespace: &str, at: &Path) -> io::Result<()> {
    File::create(at)?;
    Ok(mount(Some(namespace), at, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

/// Releases all pins of a sandbox. Blocking; missing ones are fine.
pub fn release(directory: &Path) {
    for name in ["ipc", "uts", "net", "pid", "shm"] {
        let _ = umount2(&directory.join(name), MntFlags::MNT_DETACH);
    }
    let _ = std::fs::remove_dir_all(directory);
}

fn loopback_up() -> io::Result<()> {
    // SAFETY: ifreq is plain data; the name is shorter than its field
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let result = libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &request);
        let error = io::Error::last_os_error();
        libc::close(fd);
        if result == 0 { Ok(()) } else { Err(error) }
    }
}

/// A TCP connection to loopback inside a network namespace. Blocking.
pub fn connect_inside(netns: Option<&Path>, port: u16) -> io::Result<std::net::TcpStream> {
    let netns = netns.map(File::open).transpose()?;
    let connect = move || {
        if let Some(netns) = netns {
            // SAFETY: no pointers
            if unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        std::net::TcpStream::connect(("127.0.0.1", port))
            .or_else(|first| std::net::TcpStream::connect(("::1", port)).map_err(|_| first))
    };
    std::thread::spawn(connect).join().unwrap_or_else(|_| Err(io::Error::other("thread panicked")))
}

/// Mounts a container's root: layers (highest first in the mount, lowest first here) and its own writes.
pub fn mount_root(layers: &Path, names: &[String], own: &Path, at: &Path) -> io::Result<()> {
    for directory in [&own.join("upper"), &own.join("work"), &at.to_owned()] {
        std::fs::create_dir_all(directory)?;
    }
    let lower = lower(names, usize::from(names.is_empty()));
    let (upper, work) = (own.join("upper"), own.join("work"));
    let options = format!("lowerdir={lower},upperdir={},workdir={}", upper.display(), work.display());
    overlay(layers, "overlay", at, MsFlags::empty(), options)
}

/// Mounts the layers of an image for reading. The mount's source names the image, see [`image_mount`].
pub fn mount_image(layers: &Path, names: &[String], id: &str, at: &Path) -> io::Result<()> {
    // without an upper directory overlayfs wants two lower ones
    let options = format!("lowerdir={}", lower(names, 2_usize.saturating_sub(names.len())));
    overlay(layers, &image_source(id), at, MsFlags::MS_RDONLY, options)
}

/// Where [`mount_image`] shows the image, if it does anywhere.
pub fn image_mount(id: &str) -> io::Result<Option<String>> {
    let (table, source) = (std::fs::read_to_string("/proc/self/mountinfo")?, image_source(id));
    let mut lines = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    // … point options - type source superoptions
    let at = |fields: &Vec<&str>| fields.iter().rev().nth(1) == Some(&source.as_str());
    Ok(lines.find(at).and_then(|fields| fields.get(4).map(|point| (*point).to_owned())))
}

fn image_source(id: &str) -> String {
    format!("image:{id}")
}

/// The lower directories, uppermost first, with so many that have nothing in them.
fn lower(names: &[String], empty: usize) -> String {
    let layers = names.iter().rev().map(|name| format!("{name}/fs"));
    layers.chain(EMPTY.into_iter().take(empty).map(str::to_owned)).collect::<Vec<_>>().join(":")
}

fn overlay(layers: &Path, source: &str, at: &Path, flags: MsFlags, options: String) -> io::Result<()> {
    let (layers, source, at) = (layers.to_owned(), source.to_owned(), at.to_owned());
    let work = move || -> io::Result<()> {
        // relative lower directories keep the options of a deep image below one page; the working directory
        // is this thread's own from here on
        unshare(CloneFlags::CLONE_FS)?;
        std::env::set_current_dir(&layers)?;
        for empty in EMPTY.into_iter().filter(|empty| options.contains(empty)) {
            std::fs::create_dir_all(empty)?;
        }
        mount(Some(source.as_str()), &at, Some("overlay"), flags, Some(options.as_str()))
            .map_err(|error| io::Error::other(format!("mounting overlay at {}: {error}", at.display())))
    };
    std::thread::spawn(work).join().unwrap_or_else(|_| Err(io::Error::other("thread panicked")))
}

/// Unmounts a root; a missing one is fine.
pub fn unmount_root(at: &Path) {
    let _ = umount2(at, MntFlags::MNT_DETACH);
}

/// Device nodes directly below the node's /dev, for privileged containers.
pub fn host_devices() -> Vec<(PathBuf, String)> {
    const OWN: [&str; 8] = ["null", "zero", "full", "tty", "random", "urandom", "console", "ptmx"];
    let mut all = Vec::new();
    collect_devices(Path::new("/dev"), &mut all);
    all.retain(|(path, _)| !OWN.iter().any(|name| path == &Path::new("/dev").join(name)));
    all
}

fn collect_devices(directory: &Path, all: &mut Vec<(PathBuf, String)>) {
    use std::os::unix::fs::FileTypeExt;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if kind.is_char_device() || kind.is_block_device() {
            all.push((path.clone(), path.to_string_lossy().into_owned()));
        } else if kind.is_dir()
            && !["pts", "shm", "mqueue", "fd"].iter().any(|name| entry.file_name() == *name)
        {
            collect_devices(&path, all);
        }
    }
}
