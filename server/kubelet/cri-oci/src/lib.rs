//! The embedded container runtime: libcontainer for processes, overlayfs for roots, oci-client for images.
//!
//! ```text
//!  EmbeddedRuntime (in the daemon) ── records, images, namespaces, mounts, cgroups
//!        │ unix socket
//!  container host (own process)    ── forks, log pipes, terminals, exit codes
//! ```
//!
//! No pause process, no shim per pod, no polling. What must survive the daemon is either in the host, pinned
//! in the kernel (namespaces, mounts, cgroups) or on disk (records).

pub mod cgroup;
mod client;
pub mod config;
mod devices;
mod files;
mod heap;
pub mod host;
pub mod images;
mod make;
mod records;
mod runtime;
mod sandbox;
mod seccomp;
mod sessions;
mod spec;
mod streams;
mod sysctl;
mod users;
mod verbs;

pub use config::Config;
pub use heap::give_back;
pub use host::container_host_main;
pub use runtime::EmbeddedRuntime;
