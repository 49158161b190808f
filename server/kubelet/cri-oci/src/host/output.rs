//! Copies of a container's output for those who are attached. A reader that does not keep up is hung up on;
//! a container never waits for one.

use std::os::fd::{AsRawFd, OwnedFd};

use super::epoll;

/// How far behind a reader may fall.
const MAX_BEHIND: usize = 1 << 20;

/// One attached reader.
#[derive(Debug)]
pub struct Reader {
    fd: OwnedFd,
    behind: Vec<u8>,
}

impl Reader {
    /// Takes the write end of a pipe or socket.
    pub fn new(fd: OwnedFd) -> Self {
        epoll::nonblocking(fd.as_raw_fd());
        Reader { fd, behind: Vec::new() }
    }

    /// The descriptor to wait on while [`Reader::is_behind`].
    pub fn fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Whether bytes wait to be written.
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Passes `data` on; false if the reader has gone or is too slow.
    pub fn push(&mut self, data: &[u8]) -> bool {
        if self.is_behind() {
            self.behind.extend_from_slice(data);
            return self.behind.len() <= MAX_BEHIND;
        }
        match epoll::write(self.fd(), data) {
            Some(count) => {
                self.behind.extend_from_slice(&data[count..]);
                true
            }
            None => false,
        }
    }

    /// The reader takes more; false if it has gone.
    pub fn flush(&mut self) -> bool {
        match epoll::write(self.fd(), &self.behind) {
            Some(count) => {
                self.behind.drain(..count);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_is_hung_up_on() {
        let (read, write) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut reader = Reader::new(write.into());
        let chunk = vec![1u8; 64 * 1024];
        let mut alive = 0;
        while reader.push(&chunk) {
            alive += 1;
            assert!(alive < 100);
        }
        assert!(alive >= 16, "one MiB may wait");
        // not by closing: a child of another test may hold a copy
        read.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(!reader.flush());
    }
}
