//! Devices for all claims of a pod on one node: the first solution of an exhaustive search (upstream's `structured`
//! allocator). Pure.
//!
//! One device is picked after the other, claim by claim and request by request; what leads nowhere is given back. Within a
//! request devices are tried in one order only, so that no combination is tried twice.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim};
use sampan_reconcile::{HashMap, Object};

use super::constraints::Constraint;
use super::counters::suffice;
use super::pools::{Candidate, Pool, candidates, gather};
use super::request::{Ask, MOST_DEVICES, Request, read};
use super::result::result;
use super::{DeviceId, Devices};

/// Picks that are tried before a node is given up; upstream gives a node ten seconds.
const MOST_STEPS: usize = 200_000;

/// Why there is no telling whether a node can give what is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// On this node.
    Node(String),
    /// On any.
    Fatal(String),
}

/// The claims of a pod that are to be allocated.
#[derive(Debug)]
pub struct Allocator<'d> {
    devices: &'d Devices,
    claims: Vec<(&'d Arc<ResourceClaim>, Vec<Request<'d>>)>,
    /// Whether devices are wanted, by claim, request, option and device: the same on each node.
    known: RefCell<HashMap<(usize, usize, usize, usize), bool>>,
}

impl<'d> Allocator<'d> {
    /// For these claims.
    ///
    /// # Errors
    /// One asks for what cannot be.
    pub fn new(claims: Vec<&'d Arc<ResourceClaim>>, devices: &'d Devices) -> Result<Self, String> {
        let read = |claim: &'d Arc<ResourceClaim>| Ok((claim, read(claim, devices)?));
        let claims = claims.into_iter().map(read).collect::<Result<_, String>>()?;
        Ok(Self { devices, claims, known: RefCell::default() })
    }

    /// The claims, in the order of the results.
    pub fn claims(&self) -> impl Iterator<Item = &'d Arc<ResourceClaim>> {
        self.claims.iter().map(|(claim, _)| *claim)
    }

    /// What each claim would have on the node; `None` if it cannot give all of it.
    ///
    /// # Errors
    /// There is no telling.
    pub fn allocate(&self, node: &Node) -> Result<Option<Vec<AllocationResult>>, Problem> {
        let pools = gather(self.devices, node);
        let candidates = candidates(&pools, node);
        let mut search = Search::new(self, &pools, &candidates).map_err(Problem::Fatal)?;
        match search.request(0, 0) {
            Ok(true) => search.results(node).map(Some).map_err(Problem::Fatal),
            Err(Stop::Fatal(why)) => Err(Problem::Fatal(why)),
            Err(Stop::Steps) => Err(Problem::Node("timed out trying to allocate devices".to_owned())),
            // others may have devices on other nodes
            Ok(false) | Err(Stop::TooMany) => match pools.iter().any(|pool| pool.invalid) {
                true => Err(Problem::Node("invalid resource pools were encountered".to_owned())),
                false => Ok(None),
            },
        }
    }

    fn selects(&self, at: At, ask: &Ask<'d>, candidate: &Candidate<'d>) -> Result<bool, String> {
        let key = (at.claim, at.request, at.option, std::ptr::from_ref(candidate.device).addr());
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(*known);
        }
        // devices with binding conditions would have to be waited for
        let simple = candidate.device.binding_conditions.as_ref().is_none_or(Vec::is_empty);
        let selected = simple && ask.selects(self.claims[at.claim].0, candidate)?;
        self.known.borrow_mut().insert(key, selected);
        Ok(selected)
    }
}

/// A claim, a request of it, and which of its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    claim: usize,
    request: usize,
    option: usize,
}

/// Why the search need not go on here.
enum Stop {
    /// The claim would have more devices than a claim may have.
    TooMany,
    /// It took too long.
    Steps,
    Fatal(String),
}

struct Search<'s, 'd> {
    allocator: &'s Allocator<'d>,
    pools: &'s [Pool<'d>],
    candidates: &'s [Candidate<'d>],
    /// Places of the devices for those who want all.
    all: BTreeMap<At, Vec<usize>>,
    /// By claim.
    constraints: Vec<Vec<Constraint<'d>>>,
    /// By claim: for which request, and the place of the device.
    picked: Vec<Vec<(At, usize)>>,
    /// Which option of each request was taken, by claim.
    chosen: Vec<Vec<usize>>,
    /// How often each claim has a device.
    taken: BTreeMap<DeviceId, Vec<usize>>,
    steps: usize,
}

impl<'s, 'd> Search<'s, 'd> {
    fn new(
        allocator: &'s Allocator<'d>,
        pools: &'s [Pool<'d>],
        candidates: &'s [Candidate<'d>],
    ) -> Result<Self, String> {
        let mut search = Self {
            allocator,
            pools,
            candidates,
            all: BTreeMap::new(),
            constraints: Vec::new(),
            picked: allocator.claims.iter().map(|_| Vec::new()).collect(),
            chosen: allocator.claims.iter().map(|(_, requests)| vec![0; requests.len()]).collect(),
            taken: BTreeMap::new(),
            steps: 0,
        };
        for (claim, (object, requests)) in allocator.claims.iter().enumerate() {
            let mut least = 0_usize;
            for (request, one) in requests.iter().enumerate() {
                let mut fewest = usize::MAX;
                for (option, ask) in one.options.iter().enumerate() {
                    fewest = fewest.min(search.prepare(At { claim, request, option }, ask)?);
                }
                least = least.saturating_add(fewest);
            }
            let key = Object::key(&***object);
            if least > MOST_DEVICES {
                return Err(format!(
                    "claim {key}: number of requested devices {least} exceeds the claim limit of {MOST_DEVICES}"
                ));
            }
            let all = object.spec.devices.iter().flat_map(|devices| devices.constraints.iter().flatten());
            let known = |(at, constraint)| {
                Constraint::new(constraint).ok_or_else(|| {
                    format!("claim {key}, constraint #{at}: empty constraint (unsupported constraint type?)")
                })
            };
            search.constraints.push(all.enumerate().map(known).collect::<Result<_, _>>()?);
        }
        Ok(search)
    }

    /// How many devices are asked for; those of who wants all are looked up.
    fn prepare(&mut self, at: At, ask: &'s Ask<'d>) -> Result<usize, String> {
        if !ask.all {
            return Ok(ask.count);
        }
        let claim = Object::key(&**self.allocator.claims[at.claim].0);
        for pool in self.pools {
            let now = match (pool.incomplete, pool.invalid) {
                (true, _) => "being updated",
                (_, true) => "invalid",
                (false, false) => continue,
            };
            return Err(format!(
                "claim {claim}, request {}: asks for all devices, but resource pool {} is currently {now}",
                ask.full, pool.name
            ));
        }
        let mut places = Vec::new();
        for (place, candidate) in self.candidates.iter().enumerate() {
            if self.allocator.selects(at, ask, candidate)? {
                places.push(place);
            }
        }
        let count = places.len();
        self.all.insert(at, places);
        Ok(count)
    }

    /// Everything from this request of this claim on; whether it can be had.
    fn request(&mut self, claim: usize, request: usize) -> Result<bool, Stop> {
        let allocator = self.allocator;
        let Some((_, requests)) = allocator.claims.get(claim) else { return Ok(true) };
        let Some(one) = requests.get(request) else {
            return match self.request(claim + 1, 0) {
                // with fewer devices for an earlier claim there may be a way
                Err(Stop::TooMany) => Ok(false),
                other => other,
            };
        };
        let mut too_many = true;
        for option in 0..one.options.len() {
            self.chosen[claim][request] = option;
            match self.devices(At { claim, request, option }, 0, 0) {
                Err(Stop::TooMany) => {}
                Ok(false) => too_many = false,
                other => return other,
            }
        }
        if too_many { Err(Stop::TooMany) } else { Ok(false) }
    }

    /// The `nth` device for a request and all after it; those before `start` were tried.
    fn devices(&mut self, at: At, nth: usize, start: usize) -> Result<bool, Stop> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return Err(Stop::Steps);
        }
        let allocator = self.allocator;
        let ask = &allocator.claims[at.claim].1[at.request].options[at.option];
        let wanted = self.all.get(&at).map_or(ask.count, Vec::len);
        if ask.all && wanted == 0 {
            return Ok(false);
        }
        if nth >= wanted {
            return self.request(at.claim, at.request + 1);
        }
        if self.picked[at.claim].len() + wanted - nth > MOST_DEVICES {
            return Err(Stop::TooMany);
        }
        if let Some(place) = self.all.get(&at).map(|places| places[nth]) {
            return self.try_device(at, ask, place, nth, 0);
        }
        for place in start..self.candidates.len() {
            let pool = &self.pools[self.candidates[place].pool];
            if pool.incomplete || pool.invalid {
                continue;
            }
            if self.try_device(at, ask, place, nth, place + 1)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// With this device as the `nth`.
    fn try_device(
        &mut self,
        at: At,
        ask: &'s Ask<'d>,
        place: usize,
        nth: usize,
        next: usize,
    ) -> Result<bool, Stop> {
        if !self.take(at, ask, place)? {
            return Ok(false);
        }
        let done = self.devices(at, nth + 1, next);
        if !matches!(done, Ok(true)) {
            self.give_back(at, ask, place);
        }
        done
    }

    fn take(&mut self, at: At, ask: &'s Ask<'d>, place: usize) -> Result<bool, Stop> {
        let candidate = self.candidates[place];
        let id = candidate.id();
        let devices = self.allocator.devices;
        let by = self.taken.get(&id).map(Vec::as_slice).unwrap_or_default();
        let in_use = match ask.admin {
            true => by.contains(&at.claim),
            false => devices.is_held(&id) || !by.is_empty(),
        };
        if in_use || !self.allocator.selects(at, ask, &candidate).map_err(Stop::Fatal)? {
            return Ok(false);
        }
        let pool = &self.pools[candidate.pool];
        if ask.is_kept_off(candidate.device)
            || !suffice(&candidate, pool, devices, |other| self.taken.contains_key(other))
        {
            return Ok(false);
        }
        let constraints = &mut self.constraints[at.claim];
        let refused = constraints.iter_mut().position(|one| !one.add(ask.request, &ask.full, &candidate));
        if let Some(refused) = refused {
            constraints[..refused].iter_mut().for_each(|one| one.remove(ask.request, &ask.full));
            return match ask.all {
                true => Err(Stop::Fatal(format!(
                    "claim {}, request {}: cannot add device {id} because a claim constraint would not be satisfied",
                    Object::key(&**self.allocator.claims[at.claim].0),
                    ask.full
                ))),
                false => Ok(false),
            };
        }
        self.taken.entry(id).or_default().push(at.claim);
        self.picked[at.claim].push((at, place));
        Ok(true)
    }

    fn give_back(&mut self, at: At, ask: &'s Ask<'d>, place: usize) {
        self.constraints[at.claim].iter_mut().for_each(|one| one.remove(ask.request, &ask.full));
        let id = self.candidates[place].id();
        if let Some(by) = self.taken.get_mut(&id) {
            by.pop();
            if by.is_empty() {
                self.taken.remove(&id);
            }
        }
        self.picked[at.claim].pop();
    }

    fn results(&self, node: &Node) -> Result<Vec<AllocationResult>, String> {
        let each = self.allocator.claims.iter().enumerate().map(|(claim, (object, requests))| {
            let asks = |request: usize| &requests[request].options[self.chosen[claim][request]];
            let chosen: Vec<&Ask<'d>> = (0..requests.len()).map(asks).collect();
            let picked = self.picked[claim].iter();
            let picked: Vec<_> =
                picked.map(|(at, place)| (chosen[at.request], self.candidates[*place])).collect();
            result(object, &chosen, &picked, node)
        });
        each.collect()
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
