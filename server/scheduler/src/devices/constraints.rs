//! What devices of one claim have to have in common, or to themselves. Pure.
//!
//! Devices are added and removed in the order of a stack, as the search goes and comes back.

use k8s_openapi::api::resource::v1::{Device, DeviceAttribute, DeviceConstraint};

use super::pools::Candidate;

/// One constraint, and the values of the devices that are chosen so far.
#[derive(Debug)]
pub struct Constraint<'d> {
    /// Names of requests, or `request/subrequest`; none are all.
    requests: &'d [String],
    attribute: &'d str,
    distinct: bool,
    values: Vec<&'d DeviceAttribute>,
}

impl<'d> Constraint<'d> {
    /// `None`: of a kind that is not known.
    pub fn new(constraint: &'d DeviceConstraint) -> Option<Self> {
        let (attribute, distinct) = match (&constraint.match_attribute, &constraint.distinct_attribute) {
            (Some(attribute), _) => (attribute, false),
            (None, Some(attribute)) => (attribute, true),
            (None, None) => return None,
        };
        let requests = constraint.requests.as_deref().unwrap_or_default();
        Some(Self { requests, attribute, distinct, values: Vec::new() })
    }

    fn is_about(&self, request: &str, full: &str) -> bool {
        self.requests.is_empty() || self.requests.iter().any(|name| name == request || name == full)
    }

    /// Adds a device for a request, `full` being its name with that of the subrequest; whether it could be added.
    pub fn add(&mut self, request: &str, full: &str, candidate: &Candidate<'d>) -> bool {
        if !self.is_about(request, full) {
            return true;
        }
        let Some(value) = lookup(candidate.device, &candidate.slice.spec.driver, self.attribute) else {
            return false;
        };
        let fits = match self.distinct {
            true => !self.values.contains(&value),
            false => self.values.first().is_none_or(|first| *first == value),
        };
        if fits {
            self.values.push(value);
        }
        fits
    }

    /// Takes back the last device that was added.
    pub fn remove(&mut self, request: &str, full: &str) {
        if self.is_about(request, full) {
            self.values.pop();
        }
    }
}

/// An attribute by its full name; one without a domain has that of its driver.
fn lookup<'d>(device: &'d Device, driver: &str, name: &str) -> Option<&'d DeviceAttribute> {
    let attributes = device.attributes.as_ref()?;
    let own = || attributes.get(name.strip_prefix(driver)?.strip_prefix('/')?);
    attributes.get(name).or_else(own)
}
