//! A registry on loopback with library/nginx:alpine and library/busybox:latest, until interrupted.
//!
//! `testkit-registry [PORT]` prints the flag for `sampan start`.

use anyhow::Result;
use sampan_testkit::{Image, Registry, free_port};

fn main() -> Result<()> {
    let port = std::env::args().nth(1).map_or_else(|| Ok(free_port()), |port| port.parse())?;
    let registry = Registry::on(port)?;
    for tag in ["alpine", "latest", "1.0", "1.1"] {
        let page = format!("<h1>Welcome to nginx!</h1> {tag}\n");
        registry.push(&Image::nginx(&page)?, "library/nginx", tag)?;
    }
    registry.push(&Image::busybox()?, "library/busybox", "latest")?;
    println!("--registry-mirror {}", registry.url());
    std::thread::park();
    Ok(())
}
