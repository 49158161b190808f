//! Admission that the cluster's users configure: webhooks, and policies in CEL.
//!
//! ```text
//!  write ─► in-tree plugins ─► mutating policies ─► mutating webhooks ─┐ changed? all of it once more
//!        ◄─ validating webhooks ◄─ validating policies ◄─ validation ◄─┘
//! ```
//!
//! Configurations are parsed and their expressions compiled once, when the store's snapshot of them changes
//! ([`shelf`]); a request that nothing is configured for costs a comparison of pointers.
//!
//! - [`matching`]: which rules a request meets. [`request`]: what is told of it. [`expressions`]: what CEL may name.
//! - [`webhooks`]: asking others. [`policies`]: asking expressions. [`validate`]: what a configuration has to be.
//! - [`client`]: HTTPS calls to others, which conversion webhooks use as well.
//!
//! What is not here: configuration by files (`--admission-control-config-file`).

pub mod client;
mod expressions;
mod matching;
mod pem;
pub(crate) mod policies;
mod request;
mod shelf;
mod trust;
pub(crate) mod validate;
mod webhooks;

pub(crate) use expressions::Expression;
pub(crate) use request::connect_options;

use std::sync::Arc;

use crate::auth::Auth;
use crate::crd::Customs;
use crate::registry::Admission;

/// The plugins, in upstream's order.
pub(crate) fn plugins(auth: Arc<Auth>, customs: Customs) -> Vec<Admission> {
    let caller = Arc::new(client::Caller::default());
    vec![
        Admission::Waiting(Arc::new(policies::Mutating::new(auth.clone(), customs.clone()))),
        Admission::Waiting(Arc::new(webhooks::Mutating::new(auth.clone(), caller.clone()))),
        Admission::Waiting(Arc::new(policies::Validating::new(auth.clone(), customs))),
        Admission::Waiting(Arc::new(webhooks::Validating::new(auth, caller))),
    ]
}
