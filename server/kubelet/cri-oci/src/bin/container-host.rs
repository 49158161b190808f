//! The container host as a program of its own. The `sampan` binary has it as a hidden verb.

fn main() -> std::process::ExitCode {
    sampan_cri_oci::container_host_main(std::env::args().skip(1))
}
