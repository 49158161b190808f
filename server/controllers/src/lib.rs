//! The controller manager: one file per controller, one flat list.
//!
//! Every controller decides in pure functions of plain values (`plan`), tested by tables, and acts in a thin
//! rim. They read shared informers, write through the API as `system:kube-controller-manager`, and never talk to
//! each other. Reasons, messages and conditions are upstream's words.

mod autoscaler;
mod bootstrap_tokens;
mod certificates;
mod claim;
mod cluster_role_aggregation;
mod context;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod event_ttl;
mod gc;
mod history;
mod job;
mod manager;
mod namespace;
mod namespace_defaults;
mod node;
mod pod_control;
mod pod_gc;
mod quota;
mod replicaset;
mod resource_claims;
mod resources;
mod service_account_tokens;
mod service_cidr;
mod statefulset;
mod storage_versions;
mod volumes;
mod words;

pub use certificates::{Certificates, Requested};
pub use manager::{Config, ControllerManager, Error};
