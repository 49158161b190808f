//! Chains that exist because an element leads to them. How many there are depends on how different services are, not on
//! how many.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use crate::policy::Profile;

/// Slots of a frontend's endpoints on this node begin here; those of all its endpoints at 0.
pub const LOCAL_SLOTS: u32 = 1 << 16;

/// Whose packets leave under the node's address, so that the answers come back through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Masquerade {
    /// Nobody's.
    Nobody,
    /// Those from outside of the cluster.
    Outsiders,
    /// Everybody's.
    Everybody,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Choice {
    /// One of so many slots, by chance.
    Random(u32),
    /// The one that the client had in the last so many seconds.
    Sticky(u32),
}

/// What frontends that are treated alike have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    /// Whether they are node ports.
    pub node_port: bool,
    /// Whose packets are masqueraded.
    pub masquerade: Masquerade,
    /// Whether only endpoints of this node count.
    pub local: bool,
    /// How an endpoint is chosen.
    pub choice: Choice,
}

/// A chain that elements lead to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chain {
    /// Refuses at once.
    Refuse,
    /// Tells who is inside the cluster from who is not.
    External {
        /// Whether it serves node ports.
        node_port: bool,
    },
    /// Chooses an endpoint.
    Class(Class),
    /// Draws a slot for a client that has no endpoint yet.
    Draw {
        /// Whether only endpoints of this node count.
        local: bool,
        /// Slots.
        count: u32,
    },
    /// Drops what comes from elsewhere: blocks in CIDR notation, sorted.
    Firewall(Arc<Vec<String>>),
    /// Policies that select a pod.
    Profile(Arc<Profile>),
}

impl Chain {
    /// Its name.
    pub fn name(&self) -> String {
        match self {
            Chain::Refuse => "refuse".into(),
            Chain::External { node_port } => format!("external{}", suffix(*node_port)),
            Chain::Class(class) => class.name(),
            Chain::Draw { local, count } => format!("draw-{count}{}", if *local { "-local" } else { "" }),
            Chain::Firewall(blocks) => format!("from-{}", digest(blocks)),
            Chain::Profile(profile) => profile.name(),
        }
    }

    /// Its rules, one a line; `None`: it is part of the frame.
    pub fn rules(&self, pods: &str) -> Option<String> {
        match self {
            Chain::Refuse | Chain::External { .. } => None,
            Chain::Class(class) => Some(class.rules(pods)),
            Chain::Draw { local, count } => Some(format!("{}\n", draw(*local, *count))),
            Chain::Firewall(blocks) => Some(format!("ip saddr != {{ {} }} drop\n", blocks.join(", "))),
            Chain::Profile(profile) => Some(profile.rules()),
        }
    }
}

/// A short name for what is too long for one; the same in one process.
pub fn digest(what: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// What distinguishes the names of node ports' maps and chains.
pub fn suffix(node_port: bool) -> &'static str {
    if node_port { "_nodeports" } else { "" }
}

/// A frontend, as rules write it.
pub fn frontend(node_port: bool) -> &'static str {
    if node_port { "meta l4proto . th dport" } else { "ip daddr . meta l4proto . th dport" }
}

/// The packet's priority is scratch paper here: nft cannot put a random number into a concatenation, and unlike the
/// mark nothing that routes looks at it; the kernel writes it anew when it forwards.
fn draw(local: bool, count: u32) -> String {
    let offset = if local { format!(" offset {LOCAL_SLOTS}") } else { String::new() };
    match (count, local) {
        (1, true) => format!("meta priority set {}", crate::element::classid(LOCAL_SLOTS)),
        (1, false) => "meta priority set 0".to_owned(),
        _ => format!("meta priority set numgen random mod {count}{offset}"),
    }
}

impl Class {
    fn name(&self) -> String {
        let mut name = match self.masquerade {
            Masquerade::Nobody => "to",
            Masquerade::Outsiders => "in",
            Masquerade::Everybody => "ex",
        }
        .to_owned();
        // writing to a String cannot fail
        let _ = match self.choice {
            Choice::Random(count) => write!(name, "-{count}"),
            Choice::Sticky(seconds) => write!(name, "-sticky{seconds}"),
        };
        if self.local {
            name.push_str("-local");
        }
        name + suffix(self.node_port)
    }

    fn rules(&self, pods: &str) -> String {
        let (key, suffix) = (frontend(self.node_port), suffix(self.node_port));
        let mark = match self.masquerade {
            Masquerade::Nobody => String::new(),
            Masquerade::Outsiders => format!("ip saddr != {pods} jump to-masquerade\n"),
            Masquerade::Everybody => "jump to-masquerade\n".to_owned(),
        };
        match self.choice {
            Choice::Random(count) => format!(
                "{mark}{draw}\ndnat ip to {key} . meta priority map @endpoints{suffix}\n",
                draw = draw(self.local, count)
            ),
            // first the endpoint that the client had, if it is one still; else one by chance, which is kept
            Choice::Sticky(seconds) => format!(
                "{mark}\
                 meta priority set ip saddr . {key} map @affinity{suffix} \
                 update @affinity{suffix} {{ ip saddr . {key} timeout {seconds}s : meta priority }} \
                 dnat ip to {key} . meta priority map @sticky{suffix}\n\
                 delete @affinity{suffix} {{ ip saddr . {key} : meta priority }}\n\
                 {key} vmap @{draw}{suffix}\n\
                 meta priority set {key} . meta priority map @numbers{suffix}\n\
                 update @affinity{suffix} {{ ip saddr . {key} timeout {seconds}s : meta priority }}\n\
                 dnat ip to {key} . meta priority map @sticky{suffix}\n",
                draw = if self.local { "draw_local" } else { "draw" },
            ),
        }
    }
}

/// Whether an address is of the family that the table is for.
pub fn is_served(address: &IpAddr) -> bool {
    address.is_ipv4()
}
