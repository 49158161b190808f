//! Which devices a node reaches, by pool (upstream's `GatherPools`). Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, NodeSelector};
use k8s_openapi::api::resource::v1::{Device, ResourceSlice};

use super::{DeviceId, Devices};
use crate::selectors::term_matches;

/// A pool, as far as a node reaches it.
#[derive(Debug)]
pub struct Pool<'d> {
    /// `driver/pool`.
    pub name: String,
    /// Slices with devices for the node, of the newest generation.
    pub slices: Vec<&'d ResourceSlice>,
    /// All slices of that generation.
    pub all: Vec<&'d ResourceSlice>,
    /// Not all slices are there yet.
    pub incomplete: bool,
    /// It contradicts itself.
    pub invalid: bool,
}

/// A device of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'d> {
    /// Its pool's place among the pools.
    pub pool: usize,
    pub slice: &'d ResourceSlice,
    pub device: &'d Device,
}

impl Candidate<'_> {
    /// Which it is.
    pub fn id(&self) -> DeviceId {
        id(self.slice, self.device)
    }
}

/// Which device of a slice it is.
pub fn id(slice: &ResourceSlice, device: &Device) -> DeviceId {
    let spec = &slice.spec;
    DeviceId { driver: spec.driver.clone(), pool: spec.pool.name.clone(), device: device.name.clone() }
}

fn matches(node: &Node, name: Option<&str>, all: Option<bool>, selector: Option<&NodeSelector>) -> bool {
    match (name.filter(|name| !name.is_empty()), all, selector) {
        (Some(name), _, _) => node.metadata.name.as_deref() == Some(name),
        (None, Some(true), _) => true,
        (None, _, Some(selector)) => selector.node_selector_terms.iter().any(|term| term_matches(term, node)),
        (None, _, None) => false,
    }
}

/// Whether a device of the slice can be used on the node.
fn reaches(slice: &ResourceSlice, device: &Device, node: &Node) -> bool {
    let spec = &slice.spec;
    match spec.per_device_node_selection {
        Some(true) => {
            matches(node, device.node_name.as_deref(), device.all_nodes, device.node_selector.as_ref())
        }
        _ => matches(node, spec.node_name.as_deref(), spec.all_nodes, spec.node_selector.as_ref()),
    }
}

/// The pools that have slices for the node, by name. Slices of older generations are as if they were not there.
pub fn gather<'d>(devices: &'d Devices, node: &Node) -> Vec<Pool<'d>> {
    let mut by_pool: BTreeMap<(&str, &str), Vec<&ResourceSlice>> = BTreeMap::new();
    for slice in devices.slices.values() {
        by_pool.entry((&slice.spec.driver, &slice.spec.pool.name)).or_default().push(slice);
    }
    by_pool.into_iter().filter_map(|((driver, pool), slices)| of_node(driver, pool, slices, node)).collect()
}

fn of_node<'d>(driver: &str, pool: &str, slices: Vec<&'d ResourceSlice>, node: &Node) -> Option<Pool<'d>> {
    let newest = slices.iter().map(|slice| slice.spec.pool.generation).max()?;
    let all: Vec<_> = slices.into_iter().filter(|slice| slice.spec.pool.generation == newest).collect();
    let for_node = |slice: &&ResourceSlice| {
        slice.spec.devices.iter().flatten().any(|device| reaches(slice, device, node))
    };
    let slices: Vec<_> = all.iter().copied().filter(for_node).collect();
    let first = slices.first()?;
    let wanted = usize::try_from(first.spec.pool.resource_slice_count).unwrap_or(0);
    let mut names = BTreeSet::new();
    let mut devices = all.iter().flat_map(|slice| slice.spec.devices.iter().flatten());
    let invalid = devices.any(|device| !names.insert(&device.name));
    Some(Pool { name: format!("{driver}/{pool}"), incomplete: all.len() != wanted, invalid, slices, all })
}

/// Devices of the pools that the node reaches, in order.
pub fn candidates<'d>(pools: &[Pool<'d>], node: &Node) -> Vec<Candidate<'d>> {
    let mut found = Vec::new();
    for (at, pool) in pools.iter().enumerate() {
        for slice in &pool.slices {
            let devices = slice.spec.devices.iter().flatten().filter(|device| reaches(slice, device, node));
            found.extend(devices.map(|device| Candidate { pool: at, slice, device }));
        }
    }
    found
}
