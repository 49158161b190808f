//! Whether quotas have room for a change, and what they look like afterwards: the admission plugin's `CheckRequest`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::amounts::{self, Amounts};
use super::scopes::is_terminating;
use super::{at, counts, matches, pods, text, usage};
use crate::kinds::Kind;
use crate::quantity::Quantity;

/// One write on its way.
pub struct Change<'a> {
    /// Of which kind.
    pub kind: &'a Kind,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// The object as it is to be.
    pub new: &'a Value,
    /// The object as it is; of updates.
    pub old: Option<&'a Value>,
    /// Now.
    pub now: Timestamp,
}

impl Change<'_> {
    /// Whether the change can cost anything at all: the evaluators' `Handles`.
    pub fn may_cost(&self) -> bool {
        let Some(old) = self.old else { return self.subresource.is_empty() };
        match (self.kind.group, self.kind.plural, self.subresource) {
            ("", "pods", "resize") => true,
            ("", "pods", "") => is_terminating(old) != is_terminating(self.new),
            ("", "services", "") | ("resource.k8s.io", "resourceclaims", "") => true,
            ("", "persistentvolumeclaims", "" | "status") => true,
            _ => false,
        }
    }

    /// What it costs a quota that was about the old object (or not).
    fn cost(&self, charged: bool) -> Amounts {
        let new = usage(self.kind, self.new, self.now);
        match self.old.filter(|_| charged) {
            Some(old) => amounts::growth(&new, &usage(self.kind, old, self.now)),
            None => new,
        }
    }
}

/// What becomes of a quota.
#[derive(Clone, Debug, PartialEq)]
pub enum Charged {
    /// Its `status.used` is this now.
    Used(Value),
    /// It limits something that nobody has counted yet: whoever is counting has to notice that there is more.
    Uncounted,
}

/// What becomes of those of `quotas` that the change concerns, by their places in the list; or why the change is
/// refused.
pub fn charge(quotas: &[Value], change: &Change<'_>) -> Result<Vec<(usize, Charged)>, String> {
    if !change.may_cost() {
        return Ok(Vec::new());
    }
    let mut concerned = Vec::new();
    for (index, quota) in quotas.iter().enumerate() {
        concerned.push((index, quota, limits(quota, change)?));
    }
    let mut charged = Vec::new();
    for (index, quota, hard) in concerned {
        let used = hard.map_or(Ok(None), |hard| charge_one(quota, &hard, change))?;
        match used {
            Some(used) => charged.push((index, Charged::Used(amounts::write(&used)))),
            None if is_uncounted(quota, change) => charged.push((index, Charged::Uncounted)),
            None => {}
        }
    }
    Ok(charged)
}

/// Whether the quota's spec limits something of the object that its status does not speak of yet.
fn is_uncounted(quota: &Value, change: &Change<'_>) -> bool {
    let spec = at(quota, &["spec", "hard"]).as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    matches(
        quota,
        spec.filter(|name| at(quota, &["status", "hard", name]).is_null()),
        change.kind,
        change.new,
    )
}

fn hard_names(quota: &Value) -> impl Iterator<Item = &str> {
    at(quota, &["status", "hard"]).as_object().into_iter().flatten().map(|(name, _)| name.as_str())
}

/// What the quota limits, if it is about the object; an error if it cannot tell.
fn limits(quota: &Value, change: &Change<'_>) -> Result<Option<Amounts>, String> {
    if !matches(quota, hard_names(quota), change.kind, change.new) {
        return Ok(None);
    }
    let name = text(quota, &["metadata", "name"]);
    let relevant: BTreeSet<&str> = hard_names(quota).filter(|one| counts(change.kind, one)).collect();
    if change.kind.group.is_empty()
        && change.kind.plural == "pods"
        && let Some(missing) = pods::missing(change.new, &relevant)
    {
        return Err(format!("failed quota: {name}: must specify {missing}"));
    }
    let used = at(quota, &["status", "used"]);
    if relevant.iter().any(|one| used.get(one).is_none()) {
        let relevant: Vec<&str> = relevant.into_iter().collect();
        return Err(format!("status unknown for quota: {name}, resources: {}", relevant.join(",")));
    }
    Ok(Some(amounts::read(at(quota, &["status", "hard"]))))
}

/// The usage afterwards; `None` where nothing changes.
fn charge_one(quota: &Value, hard: &Amounts, change: &Change<'_>) -> Result<Option<Amounts>, String> {
    let charged = change.old.is_some_and(|old| matches(quota, hard_names(quota), change.kind, old));
    let cost = change.cost(charged);
    if let Some((name, _)) = cost.iter().find(|(_, amount)| **amount < Quantity::ZERO) {
        return Err(format!("quota usage is negative for resource(s): {name}"));
    }
    let cost: Amounts = amounts::mask(&cost, |name| hard.contains_key(name))
        .into_iter()
        .filter(|(_, a)| !a.is_zero())
        .collect();
    if cost.is_empty() {
        return Ok(None);
    }
    let before = amounts::read(at(quota, &["status", "used"]));
    let mut used = before.clone();
    amounts::add(&mut used, &cost);
    let exceeded = |name: &str| {
        cost.contains_key(name) && used.get(name).zip(hard.get(name)).is_some_and(|(used, hard)| used > hard)
    };
    if change.subresource != "status" && hard.keys().any(|name| exceeded(name)) {
        let shown = |amounts: &Amounts| amounts::pretty(&amounts::mask(amounts, exceeded));
        return Err(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            text(quota, &["metadata", "name"]),
            shown(&cost),
            shown(&before),
            shown(hard)
        ));
    }
    Ok(Some(used))
}
