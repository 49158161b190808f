//! Into the kernel: the table by `nft -f -` or netlink, the services' route by rtnetlink, two sysctls.

use std::net::Ipv4Addr;
use std::process::Stdio;

use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::RouteScope;
use tokio::io::AsyncWriteExt;

use crate::blocks;
use crate::frame::{self, AFFINITY, Affinity, Frame};
use crate::netlink;
use crate::table::Change;

/// Why the kernel does not hold what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program is missing.
    #[error("nft was not found: install the package nftables")]
    NoNft,
    /// nft or the kernel refused.
    #[error("nft: {0}")]
    Nft(String),
    /// The kernel refused elements.
    #[error("nftables over netlink")]
    Elements(#[source] nix::Error),
    /// The kernel refused the services' route.
    #[error("route of {block} to {bridge}: {message}")]
    Route {
        /// The services' block.
        block: String,
        /// Where it should lead.
        bridge: String,
        /// The kernel's words.
        message: String,
    },
    /// A file or system call failed.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        error: std::io::Error,
    },
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.into();
    move |error| Error::Io { what, error }
}

async fn nft(arguments: &[&str], input: &str) -> Result<String, Error> {
    let spawned = tokio::process::Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::NoNft),
        other => other.map_err(io("nft"))?,
    };
    let written = match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(input.as_bytes()).await,
        None => Ok(()),
    };
    let output = child.wait_with_output().await.map_err(io("nft"))?;
    match output.status.success() {
        true => {
            written.map_err(io("nft"))?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        // what it says is more than that it took no more input
        false => Err(Error::Nft(first_lines(&String::from_utf8_lossy(&output.stderr)))),
    }
}

/// nft repeats its input under each error; that can be long.
fn first_lines(text: &str) -> String {
    text.lines().take(2).map(|line| line.chars().take(300).collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// Runs a script of nft as one transaction.
pub async fn script(text: &str) -> Result<(), Error> {
    nft(&["-f", "-"], text).await.map(drop)
}

/// Applies a change: elements alone over netlink, the rest by nft.
pub async fn apply(table: &str, change: Change) -> Result<(), Error> {
    if change.is_empty() {
        return Ok(());
    }
    if !change.structures.is_empty() || !change.stale.is_empty() {
        return script(&frame::change(table, &change)).await;
    }
    let table = table.to_owned();
    let told = tokio::task::spawn_blocking(move || {
        netlink::talk(&netlink::batch(&table, &change.removed, &change.added), false, |_| {})
    });
    told.await.map_err(|error| io("thread")(std::io::Error::other(error)))?.map_err(Error::Elements)
}

/// Replaces the table as a whole. Clients keep the endpoints that they had.
pub async fn replace(frame: &Frame, whole: &Change) -> Result<(), Error> {
    let (mut affinity, mut known) = (Vec::new(), false);
    for map in AFFINITY {
        let listed = match nft(&["-n", "list", "map", "ip", &frame.table, map], "").await {
            // no table yet, no clients yet
            Err(Error::Nft(why)) if why.contains("No such file or directory") => continue,
            listed => listed?,
        };
        known = true;
        affinity
            .extend(listed_elements(&listed).map(|element| Affinity { map, element: element.to_owned() }));
    }
    if known {
        return script(&frame::replace(frame, whole, &affinity)).await;
    }
    // nobody is served yet who would miss a moment between two transactions, and netlink takes elements in a fraction
    // of the time that nft takes to read them
    let elements = Change { added: whole.added.clone(), ..Change::default() };
    let structure = Change { structures: whole.structures.clone(), ..Change::default() };
    script(&frame::replace(frame, &structure, &affinity)).await?;
    apply(&frame.table, elements).await
}

/// The elements in what `nft list map` says.
fn listed_elements(text: &str) -> impl Iterator<Item = &str> {
    let list = text.split_once("elements = {").map_or("", |(_, rest)| rest);
    let list = list.split_once('}').map_or("", |(list, _)| list);
    list.split(',').map(str::trim).filter(|element| !element.is_empty())
}

/// Lets packets be routed, also those to 127.0.0.1 that a node port leads into a pod.
pub fn set_sysctls(bridge: &str) -> Result<(), Error> {
    for path in ["ip_forward".to_owned(), format!("conf/{bridge}/route_localnet")] {
        let path = format!("/proc/sys/net/ipv4/{path}");
        std::fs::write(&path, "1").map_err(io(path))?;
    }
    Ok(())
}

/// Leads the services' block to the bridge, so that the node reaches services whatever its default route.
pub async fn set_route(frame: &Frame, there: bool) -> Result<(), Error> {
    let refused = |message: String| Error::Route {
        block: frame.services.clone(),
        bridge: frame.bridge.clone(),
        message,
    };
    let (first, _) = blocks::parse(&frame.services).ok_or_else(|| refused("it is no IPv4 block".into()))?;
    let length = frame.services.rsplit('/').next().and_then(|length| length.parse().ok()).unwrap_or(32);
    let index = nix::net::if_::if_nametoindex(frame.bridge.as_str());
    let index = match (index, there) {
        (Ok(index), _) => index,
        // its routes went with it
        (Err(_), false) => return Ok(()),
        (Err(errno), true) => return Err(refused(errno.to_string())),
    };
    let (connection, handle, _) = rtnetlink::new_connection().map_err(io("netlink"))?;
    let driver = tokio::spawn(connection);
    let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(Ipv4Addr::from(first), length);
    let route = route.scope(RouteScope::Link).output_interface(index);
    let done = match frame.gateway.parse() {
        Ok(gateway) if there => {
            handle.route().add(route.pref_source(gateway).build()).replace().execute().await
        }
        _ if there => handle.route().add(route.build()).replace().execute().await,
        _ => {
            // not there is what is wanted
            let _ = handle.route().del(route.build()).execute().await;
            Ok(())
        }
    };
    driver.abort();
    done.map_err(|error| refused(error.to_string()))
}
