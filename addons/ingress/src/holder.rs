//! Which process listens at a port, as far as `/proc` tells.

use std::fs;
use std::path::Path;

/// In `/proc/net/tcp`: a socket that listens.
const LISTEN: &str = "0A";

/// The process that listens at a TCP port: `nginx (pid 12)`.
pub fn of(port: u16) -> Option<String> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let inode = tables.iter().find_map(|table| inode(table, port))?;
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    });
    let (pid, path) = processes.into_iter().find(|(_, path)| holds(path, &socket))?;
    let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
    Some(format!("{} (pid {pid})", name.trim()))
}

/// The inode of the socket that listens at `port` in a table of `/proc/net`.
fn inode(table: &str, port: u16) -> Option<&str> {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == LISTEN;
        listens.then(|| fields.get(9).copied()).flatten()
    })
}

fn holds(process: &Path, socket: &str) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else { return false };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_by_port_and_state() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:0050 00000000:0000 01 0:0 00:00 0 0 0 11 1\n\
            1: 00000000:0050 00000000:0000 0A 0:0 00:00 0 0 0 12 1\n\
            2: 00000000:01BB 00000000:0000 0A 0:0 00:00 0 0 0 13 1\n";
        assert_eq!((inode(table, 80), inode(table, 443), inode(table, 81)), (Some("12"), Some("13"), None));
    }

    #[test]
    fn our_own_socket_is_ours() {
        let listener = std::net::TcpListener::bind("[::]:0").unwrap();
        let holder = of(listener.local_addr().unwrap().port()).unwrap();
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
    }
}
