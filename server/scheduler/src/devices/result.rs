//! How an allocation is written down: devices, configuration, and the nodes that it can be used on. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::api::resource::v1::{
    AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceClaimConfiguration,
    DeviceRequestAllocationResult, ResourceClaim,
};

use super::pools::Candidate;
use super::request::{Ask, requests};

/// For a claim: the option taken of each of its requests, and the devices with the one that each is for.
///
/// # Errors
/// A slice's node selector is of a kind that is not known.
pub fn result(
    claim: &ResourceClaim,
    chosen: &[&Ask<'_>],
    picked: &[(&Ask<'_>, Candidate<'_>)],
    node: &Node,
) -> Result<AllocationResult, String> {
    let results: Vec<_> = picked.iter().map(|(ask, candidate)| device(ask, candidate)).collect();
    let mut config = of_classes(chosen);
    config.extend(of_claim(claim, chosen));
    let all = requests(claim).count();
    for one in &mut config {
        // none are all
        if one.requests.as_ref().is_some_and(|names| names.len() == all) {
            one.requests = None;
        }
    }
    let config = Some(config).filter(|config| !config.is_empty());
    Ok(AllocationResult {
        allocation_timestamp: None,
        devices: Some(DeviceAllocationResult { config, results: Some(results) }),
        node_selector: node_selector(picked, node)?,
    })
}

fn device(ask: &Ask<'_>, candidate: &Candidate<'_>) -> DeviceRequestAllocationResult {
    let id = candidate.id();
    DeviceRequestAllocationResult {
        request: ask.full.clone(),
        driver: id.driver,
        pool: id.pool,
        device: id.device,
        admin_access: ask.admin.then_some(true),
        tolerations: Some(ask.tolerations.to_vec()).filter(|all| !all.is_empty()),
        ..DeviceRequestAllocationResult::default()
    }
}

/// Configuration of the classes, each once, with the requests that it is for.
fn of_classes(chosen: &[&Ask<'_>]) -> Vec<DeviceAllocationConfiguration> {
    let mut config: Vec<DeviceAllocationConfiguration> = Vec::new();
    let mut places: BTreeMap<Option<&str>, std::ops::Range<usize>> = BTreeMap::new();
    for ask in chosen {
        let class = ask.class.metadata.name.as_deref();
        if let Some(range) = places.get(&class) {
            let known = config[range.clone()].iter_mut();
            known.for_each(|one| one.requests.get_or_insert_default().push(ask.full.clone()));
            continue;
        }
        let start = config.len();
        config.extend(ask.class.spec.config.iter().flatten().map(|one| DeviceAllocationConfiguration {
            source: "FromClass".to_owned(),
            requests: Some(vec![ask.full.clone()]),
            opaque: one.opaque.clone(),
        }));
        places.insert(class, start..config.len());
    }
    config
}

/// Configuration of the claim, without that for subrequests which were not taken.
fn of_claim(claim: &ResourceClaim, chosen: &[&Ask<'_>]) -> Vec<DeviceAllocationConfiguration> {
    let config = claim.spec.devices.iter().flat_map(|devices| devices.config.iter().flatten());
    let counts = |one: &&DeviceClaimConfiguration| {
        let names = one.requests.as_deref().unwrap_or_default();
        let is_about = |ask: &&Ask<'_>| names.iter().any(|name| name == ask.request || *name == ask.full);
        names.is_empty() || chosen.iter().any(is_about)
    };
    let taken = config.filter(counts).map(|one| DeviceAllocationConfiguration {
        source: "FromClaim".to_owned(),
        requests: one.requests.clone().filter(|names| !names.is_empty()),
        opaque: one.opaque.clone(),
    });
    taken.collect()
}

/// Nodes that reach all devices; `None` are all nodes.
fn node_selector(picked: &[(&Ask<'_>, Candidate<'_>)], node: &Node) -> Result<Option<NodeSelector>, String> {
    let mut term = NodeSelectorTerm::default();
    for (_, Candidate { slice, device, .. }) in picked {
        let (name, selector) = match slice.spec.per_device_node_selection {
            Some(true) => (&device.node_name, &device.node_selector),
            _ => (&slice.spec.node_name, &slice.spec.node_selector),
        };
        let own = if device.binds_to_node == Some(true) { &node.metadata.name } else { &None };
        if let Some(name) = name.as_ref().filter(|name| !name.is_empty()).or(own.as_ref()) {
            return Ok(Some(only(name)));
        }
        let terms = selector.as_ref().map(|one| one.node_selector_terms.as_slice()).unwrap_or_default();
        match terms {
            [] => {}
            [one] => {
                add(&mut term.match_expressions, &one.match_expressions);
                add(&mut term.match_fields, &one.match_fields);
            }
            more => return Err(format!("unsupported ResourceSlice.NodeSelector with {} terms", more.len())),
        }
    }
    let anywhere = term.match_expressions.is_none() && term.match_fields.is_none();
    Ok((!anywhere).then(|| NodeSelector { node_selector_terms: vec![term] }))
}

fn only(node: &str) -> NodeSelector {
    let requirement = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![requirement]), match_expressions: None };
    NodeSelector { node_selector_terms: vec![term] }
}

fn add(to: &mut Option<Vec<NodeSelectorRequirement>>, more: &Option<Vec<NodeSelectorRequirement>>) {
    for requirement in more.iter().flatten() {
        let known = to.get_or_insert_default();
        if !known.contains(requirement) {
            known.push(requirement.clone());
        }
    }
}
