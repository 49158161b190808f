//! NetworkPolicy (networking.k8s.io/v1): who may reach whom.
//!
//! [`compile`](compile::compile) turns one policy into two chains of allowances and the sets that they name;
//! [`members`] says which sets a pod is in and which policies hold for it. Pods that the same policies select
//! share one chain, a [`Profile`], which asks those policies' chains and then drops.
//!
//! Meaning is upstream's (the API reference and "Network Policies" of its documentation): policies add up; a pod that
//! none selects for a direction is open in it; answers always pass; what a pod and its own node say to each other always
//! passes; pods of the host's network are not subject and are not found by selectors; a pod always reaches itself. A
//! cluster address that the node serves in the place of pods (DNS) is treated as the pods that its Service selects.

pub mod compile;
pub mod members;

use std::sync::Arc;

use crate::chain::digest;

/// A direction, seen from the pod that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Into it.
    Ingress,
    /// Out of it.
    Egress,
}

impl Direction {
    fn letter(self) -> char {
        match self {
            Direction::Ingress => 'i',
            Direction::Egress => 'e',
        }
    }
}

/// The policies that hold for some pods in one direction, sorted by their chains' names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Profile {
    /// Names of the policies' chains.
    pub chains: Vec<Arc<str>>,
}

impl Profile {
    /// Name of its chain.
    pub fn name(&self) -> String {
        format!("policies-{}", digest(&self.chains))
    }

    /// Each policy may let the packet pass; nobody else does.
    pub fn rules(&self) -> String {
        let mut rules: String = self.chains.iter().map(|chain| format!("jump {chain}\n")).collect();
        rules.push_str("drop\n");
        rules
    }
}
