//! Nodes that behave like kubelets without containers: Ready, with leases that are renewed, pods that are Running and end
//! when they are told to.
//!
//! A Node is simulated if it bears KWOK's annotation `kwok.x-k8s.io/node: fake`; that, and what is beside it in
//! [`words`], is all the state there is. It is kept in the API, so that simulated nodes outlive the daemon, and that any
//! client may make one, fail one, or take one away.
//!
//! ```text
//!  Nodes, Pods ──► Fleet (pure: who is alive, what is due when) ──► jobs ──► one task, a bounded number of requests
//!     ▲                 pod::step(pod, behaviour, now) → Act                    │
//!     └──────────────────────────── the API ◄──────────────────────────────────┘
//! ```
//!
//! There is one task for all nodes. Leases are renewed in slots of a quarter of a second, all of a slot at once, so that
//! they go down in one commit of the store. While no node is simulated, the task waits for one and does nothing else.

mod behaviour;
mod fleet;
mod node;
mod pod;
mod run;
mod timers;
mod verbs;
pub mod words;

pub use behaviour::{NodeShape, PodBehaviour, Profile};
pub use run::{Config, Simulator};
pub use verbs::{Error, Progress, Status, Wanted, ZoneStatus};
