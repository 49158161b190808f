//! A system call filter that was compiled when the container was created: loading it is one system call.

use std::io;
use std::path::Path;

/// Name of the file in a bundle.
pub const FILE: &str = "seccomp.bpf";

/// Flags of seccomp(2), little-endian, and the program as the kernel takes it; empty for no filter.
#[derive(Default)]
pub struct Filter(Vec<u8>);

impl Filter {
    /// Reads a bundle's filter; a bundle without one has none.
    pub fn load(bundle: &Path) -> io::Result<Self> {
        match std::fs::read(bundle.join(FILE)) {
            Ok(bytes) => Ok(Filter(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Filter::default()),
            Err(error) => Err(error),
        }
    }

    /// From here on this process and its children can only do what the filter lets them.
    pub fn install(&self) -> io::Result<()> {
        let Some((flags, program)) = self.0.split_first_chunk::<4>() else { return Ok(()) };
        // the kernel wants its own alignment
        let mut instructions: Vec<libc::sock_filter> = program
            .chunks_exact(8)
            .map(|one| libc::sock_filter {
                code: u16::from_ne_bytes([one[0], one[1]]),
                jt: one[2],
                jf: one[3],
                k: u32::from_ne_bytes([one[4], one[5], one[6], one[7]]),
            })
            .collect();
        let program = libc::sock_fprog { len: instructions.len() as u16, filter: instructions.as_mut_ptr() };
        let flags = u32::from_le_bytes(*flags);
        // SAFETY: the program outlives the call, and its length is its own
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &program) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
