//! Counters that the devices of a pool share: a device that is a part of another can be had while enough is left. Pure.

use k8s_openapi::api::resource::v1::Device;
use sampan_api::quantity::{Format, Quantity};

use super::pools::{Candidate, Pool, id};
use super::{DeviceId, Devices};

fn amount(text: &str) -> Quantity {
    // the API server keeps no amount that is none
    Quantity::parse(text).unwrap_or_else(|_| Quantity::new(0, Format::DecimalSI))
}

/// What a device takes of a counter.
fn taken(device: &Device, set: &str, counter: &str) -> Option<Quantity> {
    let sets = device.consumes_counters.iter().flatten().filter(|taken| taken.counter_set == set);
    let amounts = sets.filter_map(|taken| taken.counters.get(counter)).map(|one| amount(&one.value.0));
    amounts.reduce(|sum, more| sum + more)
}

/// Whether the pool has enough left for the device, besides what is held and what `also` takes.
pub fn suffice(
    candidate: &Candidate<'_>,
    pool: &Pool<'_>,
    devices: &Devices,
    also: impl Fn(&DeviceId) -> bool,
) -> bool {
    let wanted = candidate.device.consumes_counters.iter().flatten();
    let mut wanted =
        wanted.flat_map(|taken| taken.counters.keys().map(|counter| (&taken.counter_set, counter)));
    let used = || {
        let all =
            pool.all.iter().flat_map(|slice| slice.spec.devices.iter().flatten().map(|one| (*slice, one)));
        all.filter(|(slice, device)| {
            let id = id(slice, device);
            devices.is_held(&id) || also(&id)
        })
    };
    wanted.all(|(set, counter)| {
        let sets = pool.all.iter().flat_map(|slice| slice.spec.shared_counters.iter().flatten());
        let total = sets.filter(|one| &one.name == set).find_map(|one| one.counters.get(counter));
        let Some(total) = total else { return false };
        let left = used()
            .filter_map(|(_, device)| taken(device, set, counter))
            .fold(amount(&total.value.0), |left, more| left - more);
        taken(candidate.device, set, counter).is_none_or(|wanted| wanted <= left)
    })
}
