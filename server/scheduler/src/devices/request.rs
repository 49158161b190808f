//! What a claim asks for, made ready for the search (upstream's `validateDeviceRequest`). Pure.

use std::sync::Arc;

use k8s_openapi::api::resource::v1::{
    Device, DeviceClass, DeviceRequest, DeviceSelector, DeviceTaint, DeviceToleration, ResourceClaim,
};
use sampan_reconcile::Object;

use super::Devices;
use super::pools::Candidate;
use super::selectors::{Selector, compile};

/// How many devices a claim may have (upstream's `AllocationResultsMaxSize`).
pub const MOST_DEVICES: usize = 32;

/// A request, or one of those that it would be content with.
#[derive(Debug)]
pub struct Ask<'d> {
    /// The request.
    pub request: &'d str,
    /// With the name of the subrequest: `request/subrequest`.
    pub full: String,
    pub class: &'d DeviceClass,
    /// All that match, not a number of them.
    pub all: bool,
    pub count: usize,
    /// Devices that are in use are as good.
    pub admin: bool,
    pub tolerations: &'d [DeviceToleration],
    class_selectors: Vec<Result<Selector, String>>,
    selectors: Vec<Result<Selector, String>>,
}

/// A request: the first of these that can be had.
#[derive(Debug)]
pub struct Request<'d> {
    pub options: Vec<Ask<'d>>,
}

/// Both kinds of request, seen alike.
struct Fields<'d> {
    sub: Option<&'d str>,
    class: &'d str,
    mode: Option<&'d str>,
    count: Option<i64>,
    admin: bool,
    selectors: &'d [DeviceSelector],
    tolerations: &'d [DeviceToleration],
    has_capacity: bool,
}

/// The parts of a request; the first that can be had is enough.
fn fields(request: &DeviceRequest) -> Vec<Fields<'_>> {
    let exactly = request.exactly.iter().map(|one| Fields {
        sub: None,
        class: &one.device_class_name,
        mode: one.allocation_mode.as_deref(),
        count: one.count,
        admin: one.admin_access == Some(true),
        selectors: one.selectors.as_deref().unwrap_or_default(),
        tolerations: one.tolerations.as_deref().unwrap_or_default(),
        has_capacity: one.capacity.is_some(),
    });
    let first = request.first_available.iter().flatten().map(|one| Fields {
        sub: Some(&one.name),
        class: &one.device_class_name,
        mode: one.allocation_mode.as_deref(),
        count: one.count,
        admin: false,
        selectors: one.selectors.as_deref().unwrap_or_default(),
        tolerations: one.tolerations.as_deref().unwrap_or_default(),
        has_capacity: one.capacity.is_some(),
    });
    exactly.chain(first).collect()
}

fn full_name(request: &DeviceRequest, sub: Option<&str>) -> String {
    match sub {
        Some(sub) => format!("{}/{sub}", request.name),
        None => request.name.clone(),
    }
}

/// Whether all classes that a claim names are there; an error is why the claim cannot be had on any node.
pub fn check_classes(claim: &ResourceClaim, devices: &Devices) -> Result<(), String> {
    for request in requests(claim) {
        for one in fields(request) {
            let name = full_name(request, one.sub);
            if devices.class(one.class).is_none() {
                return Err(format!("request {name}: device class {} does not exist", one.class));
            }
        }
    }
    Ok(())
}

/// The requests of a claim.
pub fn requests(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequest> {
    claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten())
}

/// Reads the requests of a claim.
///
/// # Errors
/// One is of a kind that is not known, or asks for what is not there.
pub fn read<'d>(claim: &'d Arc<ResourceClaim>, devices: &'d Devices) -> Result<Vec<Request<'d>>, String> {
    let key = Object::key(&**claim);
    let mut all = Vec::new();
    for request in requests(claim) {
        let mut options = Vec::new();
        for one in fields(request) {
            let full = full_name(request, one.sub);
            let wrong = |why: &str| format!("claim {key}, request {full}: {why}");
            if one.has_capacity {
                let why = "has capacity requests, but the DRAConsumableCapacity feature is disabled";
                return Err(wrong(why));
            }
            let Some(class) = devices.class(one.class) else {
                return Err(wrong(&format!("could not retrieve device class {}", one.class)));
            };
            let all = match one.mode {
                None | Some("ExactCount") => false,
                Some("All") => true,
                Some(other) => return Err(wrong(&format!("unsupported count mode {other}"))),
            };
            let selectors = |all: &[DeviceSelector]| -> Vec<Result<Selector, String>> {
                let missing = || Err("CEL expression empty (unsupported selector type?)".to_owned());
                let one = |selector: &DeviceSelector| match &selector.cel {
                    Some(cel) => compile(&cel.expression),
                    None => missing(),
                };
                all.iter().map(one).collect()
            };
            options.push(Ask {
                request: &request.name,
                class,
                all,
                count: usize::try_from(one.count.unwrap_or(1)).unwrap_or(usize::MAX),
                admin: one.admin,
                tolerations: one.tolerations,
                class_selectors: selectors(class.spec.selectors.as_deref().unwrap_or_default()),
                selectors: selectors(one.selectors),
                full,
            });
        }
        if options.is_empty() {
            return Err(format!("claim {key}, request {}: unsupported request type", request.name));
        }
        all.push(Request { options });
    }
    Ok(all)
}

impl Ask<'_> {
    /// Whether its class and itself want the device.
    ///
    /// # Errors
    /// An expression is none, or has no value for the device.
    pub fn selects(&self, claim: &ResourceClaim, candidate: &Candidate<'_>) -> Result<bool, String> {
        let class = format!("class {}", self.class.metadata.name.as_deref().unwrap_or_default());
        let own = format!("claim {}", Object::key(claim));
        for (whose, selectors) in [(class, &self.class_selectors), (own, &self.selectors)] {
            for (at, selector) in selectors.iter().enumerate() {
                let selector = selector
                    .as_ref()
                    .map_err(|why| format!("{whose}: selector #{at}: CEL compile error: {why}"))?;
                let wanted =
                    selector.matches(&candidate.slice.spec.driver, candidate.device).map_err(|why| {
                        let device = candidate.id();
                        format!("{whose}: selector #{at} on device {device}: CEL runtime error: {why}")
                    })?;
                if !wanted {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether a taint keeps the device from being taken.
    pub fn is_kept_off(&self, device: &Device) -> bool {
        let counts = |taint: &&DeviceTaint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        let mut taints = device.taints.iter().flatten().filter(counts);
        taints.any(|taint| !self.tolerations.iter().any(|toleration| tolerates(toleration, taint)))
    }
}

fn tolerates(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let fits = |text: &Option<String>, value: &str| said(text).is_none_or(|text| text == value);
    fits(&toleration.effect, &taint.effect)
        && fits(&toleration.key, &taint.key)
        && match toleration.operator.as_deref() {
            None | Some("" | "Equal") => {
                toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
            }
            Some("Exists") => true,
            Some(_) => false,
        }
}
