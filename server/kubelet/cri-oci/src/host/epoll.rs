//! A few lines around epoll and signalfd, level-triggered.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A set of descriptors to wait for.
pub struct Epoll(OwnedFd);

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked before it is owned
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Waits for `fd` to be readable (or writable too).
    pub fn add(&self, fd: RawFd, token: u64, write: bool) -> io::Result<()> {
        let events = if write { libc::EPOLLOUT } else { libc::EPOLLIN } as u32;
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: `event` lives through the call
        match unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Forgets `fd`.
    pub fn remove(&self, fd: RawFd) {
        // SAFETY: no pointers are read for DEL
        unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
    }

    /// Tokens that are ready.
    pub fn wait(&self) -> io::Result<Vec<u64>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: the array is as long as said
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 64, -1) };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(Vec::new()) } else { Err(error) };
        }
        Ok(events[..count as usize].iter().map(|event| event.u64).collect())
    }
}

/// Blocks SIGCHLD and hands it out as a descriptor.
pub fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: `set` is initialised by sigemptyset before use
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            fd if fd < 0 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Gives a forked child the signals a fresh process has.
pub fn reset_signals() {
    // SAFETY: plain signal calls on an initialised set
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Makes reads and writes return instead of waiting.
pub fn nonblocking(fd: RawFd) {
    // SAFETY: fcntl without pointers
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK);
    }
}

/// Reads what is there: `Some(0)` at the end, `None` if nothing is ready.
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Option<usize> {
    loop {
        // SAFETY: the buffer is as long as said
        let count = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        match count {
            count if count >= 0 => return Some(count as usize),
            _ => match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return None,
                // a terminal whose last user has gone says EIO
                _ => return Some(0),
            },
        }
    }
}

/// Writes what fits: bytes taken, or `None` on a broken end.
pub fn write(fd: RawFd, data: &[u8]) -> Option<usize> {
    loop {
        // SAFETY: the slice is as long as said
        let count = unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) };
        match count {
            count if count >= 0 => return Some(count as usize),
            _ => match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return Some(0),
                _ => return None,
            },
        }
    }
}
