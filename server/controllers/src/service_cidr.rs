//! ServiceCIDRs (upstream's `servicecidrs_controller.go`): a block of addresses says that it is ready, and does not go as
//! long as Services have addresses that no other block holds.
//!
//! The API server gives no address of a block once its deletion has begun, so that nothing has to be waited for but
//! the addresses that are in use.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::networking::v1::{ServiceCIDR, ServiceCIDRStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Patch, PatchParams};
use sampan_reconcile::{Controller, Error, Informer, Key, Object, Sources};
use serde::Deserialize;
use serde_json::json;

use crate::context::Context;
use crate::words::name;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const READY: &str = "Ready";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";

/// What of an IPAddress matters here.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub(crate) struct Allocation {
    name: Box<str>,
    version: u64,
    /// Whether a Service has it, by the API server's hand.
    managed: bool,
}

#[derive(Deserialize)]
struct Wire {
    metadata: WireMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMetadata {
    name: Box<str>,
    #[serde(default)]
    resource_version: Box<str>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl From<Wire> for Allocation {
    fn from(Wire { metadata }: Wire) -> Self {
        Self {
            name: metadata.name,
            version: metadata.resource_version.parse().unwrap_or(0),
            managed: metadata.labels.get(MANAGED_BY).is_some_and(|by| by == MANAGER),
        }
    }
}

sampan_reconcile::decoded!(Allocation);

impl Object for Allocation {
    fn key(&self) -> Key {
        Key::cluster(&self.name)
    }

    fn version(&self) -> u64 {
        self.version
    }
}

/// A block: its first address as a number, how long its prefix is, and of which family it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    first: u128,
    length: u8,
    v6: bool,
}

impl Block {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let (first, v6) = number(address)?;
        Some(Self { first, length: length.parse().ok()?, v6 })
    }

    fn hosts(self) -> u128 {
        let bits = u32::from(if self.v6 { 128_u8 } else { 32 }.saturating_sub(self.length));
        u128::MAX.checked_shr(128 - bits).unwrap_or(0)
    }

    fn contains(self, other: Self) -> bool {
        self.v6 == other.v6
            && self.length <= other.length
            && (self.first..=self.first + self.hosts()).contains(&other.first)
    }

    /// Neither the first address nor, of IPv4, the last: they are given to nobody.
    fn offers(self, address: (u128, bool)) -> bool {
        let last = self.first + self.hosts() - u128::from(!self.v6).min(self.hosts());
        self.v6 == address.1 && address.0 > self.first && address.0 <= last
    }
}

fn number(address: &str) -> Option<(u128, bool)> {
    match address.parse().ok()? {
        IpAddr::V4(address) => Some((u32::from(address).into(), false)),
        IpAddr::V6(address) => Some((address.into(), true)),
    }
}

fn blocks(cidr: &ServiceCIDR) -> Vec<Block> {
    let spec = cidr.spec.as_ref().and_then(|spec| spec.cidrs.as_ref());
    spec.into_iter().flatten().filter_map(|text| Block::parse(text)).collect()
}

/// What has to be done about a ServiceCIDR.
#[derive(Debug, PartialEq)]
enum Step {
    Nothing,
    Protect,
    Release,
    /// Status, reason and message of the condition.
    Tell(&'static str, &'static str, &'static str),
}

/// `all` are all ServiceCIDRs; `addresses` those that Services have.
fn plan<'a>(cidr: &ServiceCIDR, all: &[Arc<ServiceCIDR>], addresses: impl Iterator<Item = &'a str>) -> Step {
    let protected = cidr.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    let told = |step: Step| match (&step, condition(cidr)) {
        (Step::Tell(status, reason, message), Some(now))
            if (&*now.status, &*now.reason, &*now.message) == (*status, *reason, *message) =>
        {
            Step::Nothing
        }
        _ => step,
    };
    match (cidr.metadata.deletion_timestamp.is_some(), protected) {
        (true, false) => Step::Nothing,
        (true, true) if may_go(cidr, all, addresses) => Step::Release,
        (true, true) => told(Step::Tell(
            "False",
            "Terminating",
            "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
        )),
        (false, false) => Step::Protect,
        // the API server says so of the first block, in its own words
        (false, true) if condition(cidr).is_some_and(|now| now.status == "True") => Step::Nothing,
        (false, true) => told(Step::Tell("True", "", "Kubernetes Service CIDR is ready")),
    }
}

fn condition(cidr: &ServiceCIDR) -> Option<&Condition> {
    let conditions = cidr.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().find(|condition| condition.type_ == READY)
}

/// `canDeleteCIDR`: each of its blocks lies in another's, or no address is left to it alone.
fn may_go<'a>(
    cidr: &ServiceCIDR,
    all: &[Arc<ServiceCIDR>],
    mut addresses: impl Iterator<Item = &'a str>,
) -> bool {
    let others = all.iter().filter(|other| other.metadata.name != cidr.metadata.name);
    let others: Vec<Block> = others.flat_map(|other| blocks(other)).collect();
    let own = blocks(cidr);
    if own.iter().all(|block| others.iter().any(|other| other.contains(*block))) {
        return true;
    }
    let held = |blocks: &[Block], address| blocks.iter().any(|block| block.offers(address));
    !addresses.any(|address| number(address).is_some_and(|one| held(&own, one) && !held(&others, one)))
}

/// The controller.
pub(crate) struct ServiceCidrs {
    context: Context,
    cidrs: Informer<ServiceCIDR>,
    allocations: Informer<Allocation>,
}

impl ServiceCidrs {
    pub fn new(context: &Context) -> Self {
        let allocations = context.informers.metadata("/apis/networking.k8s.io/v1/ipaddresses");
        Self { context: context.clone(), cidrs: context.informers.of(), allocations }
    }

    async fn tell(&self, cidr: &ServiceCIDR, told: (&str, &str, &str)) -> Result<(), Error> {
        let condition = Condition {
            type_: READY.to_owned(),
            status: told.0.to_owned(),
            reason: told.1.to_owned(),
            message: told.2.to_owned(),
            last_transition_time: Time(sampan_reconcile::now()),
            observed_generation: None,
        };
        let status = ServiceCIDRStatus { conditions: Some(vec![condition]) };
        self.patch(cidr, Some("status"), json!({"status": status})).await
    }

    /// As a merge that holds only for what was seen.
    async fn patch(
        &self,
        cidr: &ServiceCIDR,
        subresource: Option<&str>,
        mut change: serde_json::Value,
    ) -> Result<(), Error> {
        change["metadata"]["resourceVersion"] = json!(cidr.metadata.resource_version);
        let (api, name) = (self.context.cluster::<ServiceCIDR>(), name(&cidr.metadata));
        let (params, patch) = (PatchParams::default(), Patch::Merge(&change));
        let patched = match subresource {
            None => api.patch(name, &params, &patch).await,
            Some(_) => api.patch_status(name, &params, &patch).await,
        };
        match patched {
            // seen anew, it is looked at again
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            result => result.map(drop).map_err(Into::into),
        }
    }
}

impl Controller for ServiceCidrs {
    type Key = Key;

    fn name(&self) -> &'static str {
        "service-cidr-controller"
    }

    fn queue(&self) -> &'static str {
        "ipaddresses"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        // one that comes or goes may decide over another
        let this = self.clone();
        sources.on(&self.cidrs, move |delta| {
            let keys = this.cidrs.list().into_iter().map(|cidr| cidr.key());
            keys.chain([delta.key.clone()]).collect()
        });
        let this = self.clone();
        sources.on(&self.allocations, move |_| {
            let going = |cidr: &Arc<ServiceCIDR>| cidr.metadata.deletion_timestamp.is_some();
            this.cidrs.list().iter().filter(|cidr| going(cidr)).map(|cidr| cidr.key()).collect()
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(cidr) = self.cidrs.get(key) else { return Ok(None) };
        let allocations = match cidr.metadata.deletion_timestamp.is_some() {
            true => self.allocations.list(),
            false => Vec::new(),
        };
        let addresses = allocations.iter().filter(|one| one.managed).map(|one| &*one.name);
        let finalizers = || cidr.metadata.finalizers.clone().unwrap_or_default();
        match plan(&cidr, &self.cidrs.list(), addresses) {
            Step::Nothing => {}
            Step::Protect => {
                let all: Vec<String> = finalizers().into_iter().chain([FINALIZER.to_owned()]).collect();
                self.patch(&cidr, None, json!({"metadata": {"finalizers": all}})).await?;
            }
            Step::Release => {
                let rest: Vec<String> = finalizers().into_iter().filter(|one| one != FINALIZER).collect();
                self.patch(&cidr, None, json!({"metadata": {"finalizers": rest}})).await?;
            }
            Step::Tell(status, reason, message) => self.tell(&cidr, (status, reason, message)).await?,
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    fn cidr(name: &str, blocks: &[&str], change: Value) -> Arc<ServiceCIDR> {
        let mut value =
            json!({"metadata": {"name": name, "finalizers": [FINALIZER]}, "spec": {"cidrs": blocks}});
        for (key, change) in change.as_object().unwrap() {
            match value[key].as_object_mut() {
                Some(map) => map.extend(change.as_object().unwrap().clone()),
                None => value[key] = change.clone(),
            }
        }
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn going() -> Value {
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    }

    #[test]
    fn a_block_is_protected_and_then_ready() {
        let plan = |change: Value| {
            let one = cidr("a", &["10.0.0.0/24"], change);
            plan(&one, std::slice::from_ref(&one), std::iter::empty())
        };
        assert_eq!(plan(json!({"metadata": {"finalizers": []}})), Step::Protect);
        let ready = Step::Tell("True", "", "Kubernetes Service CIDR is ready");
        assert_eq!(plan(json!({})), ready);
        let said = |status: &str| {
            json!({"status": {"conditions": [{"type": "Ready", "status": status, "reason": "",
            "message": "Kubernetes default Service CIDR is ready", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
        };
        assert_eq!(plan(said("True")), Step::Nothing);
        assert_eq!(plan(said("False")), ready);
    }

    #[test]
    fn a_block_goes_when_no_address_is_left_to_it_alone() {
        let cases: &[(&[&str], &[&str], bool)] = &[
            (&[], &[], true),
            (&[], &["10.0.0.7"], false),
            (&[], &["10.0.1.7", "2001:db8::1"], true),
            (&[], &["10.0.0.0", "10.0.0.255"], true),
            (&["10.0.0.0/16"], &["10.0.0.7"], true),
            (&["10.0.0.0/24"], &["10.0.0.7"], true),
            (&["10.0.0.0/25"], &["10.0.0.7"], true),
            (&["10.0.0.0/25"], &["10.0.0.127"], false),
            (&["10.0.0.0/25"], &["10.0.0.200"], false),
        ];
        for (others, addresses, goes) in cases {
            let one = cidr("a", &["10.0.0.0/24"], going());
            let mut all = vec![one.clone()];
            all.extend(others.iter().map(|block| cidr("b", &[block], json!({}))));
            let step = plan(&one, &all, addresses.iter().copied());
            let reason = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
            let expected = if *goes { Step::Release } else { Step::Tell("False", "Terminating", reason) };
            assert_eq!(step, expected, "{others:?} {addresses:?}");
        }
        let free = cidr(
            "a",
            &["10.0.0.0/24"],
            json!({"metadata": {"finalizers": [], "deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        );
        assert_eq!(plan(&free, &[], std::iter::empty()), Step::Nothing);
    }

    #[test]
    fn families_do_not_mix() {
        let both = cidr("a", &["10.0.0.0/24", "2001:db8::/112"], going());
        let four = cidr("b", &["10.0.0.0/16"], json!({}));
        let addresses = ["10.0.0.7", "2001:db8::7"];
        let all = [both.clone(), four];
        assert!(matches!(plan(&both, &all, addresses.into_iter()), Step::Tell("False", ..)));
        assert_eq!(plan(&both, &all, addresses.into_iter().take(1)), Step::Release);
        assert!(Block::parse("2001:db8::/112").unwrap().offers(number("2001:db8::ffff").unwrap()));
    }
}
