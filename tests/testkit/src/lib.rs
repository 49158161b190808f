//! What the tests stand on: a real cluster of the built binary, a real registry, images from Debian's packages.
//!
//! Nothing here is a fake. A [`Cluster`] is the release binary with directories, a kubeconfig and a port of
//! its own, deleted when dropped; a [`Registry`] is Debian's docker-registry on loopback.

mod cluster;
mod http;
pub mod image;
mod registry;

pub use cluster::{Cluster, Options, binary};
pub use image::Image;
pub use registry::{Registry, push};

/// How many times as long a test may go on that finds more the longer it runs: 10 in `make test-long`, else 1.
pub fn length() -> u32 {
    if std::env::var_os("SAMPAN_TEST_LONG").is_some() { 10 } else { 1 }
}

/// A TCP port of 127.0.0.1 that nothing listened on a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    listener.local_addr().expect("bound").port()
}
