//! Resource lists and their arithmetic: `k8s.io/apiserver/pkg/quota/v1/resources.go`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::quantity::Quantity;

/// Quantities by the resource's name.
pub type Amounts = BTreeMap<String, Quantity>;

/// A resource list of an object; what does not parse is left out (validation refuses it).
pub fn read(list: &Value) -> Amounts {
    let all = list.as_object().into_iter().flatten();
    all.filter_map(|(name, amount)| Some((name.clone(), Quantity::from_value(amount).ok()?))).collect()
}

/// The same as JSON.
pub fn write(amounts: &Amounts) -> Value {
    let each = amounts.iter().map(|(name, amount)| (name.clone(), Value::from(amount.to_string())));
    Value::Object(each.collect::<Map<String, Value>>())
}

/// Those of `amounts` that `keep` wants.
pub fn mask(amounts: &Amounts, keep: impl Fn(&str) -> bool) -> Amounts {
    amounts.iter().filter(|(name, _)| keep(name)).map(|(name, amount)| (name.clone(), *amount)).collect()
}

/// Adds `more`.
pub(super) fn add(amounts: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = amounts.get(name).map_or(*amount, |have| *have + *amount);
        amounts.insert(name.clone(), sum);
    }
}

/// The larger of both, for each resource.
pub(super) fn max(amounts: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let larger = amounts.get(name).map_or(*amount, |have| (*have).max(*amount));
        amounts.insert(name.clone(), larger);
    }
}

/// `new - old`, never below zero.
pub(super) fn growth(new: &Amounts, old: &Amounts) -> Amounts {
    let grown = new.iter().map(|(name, amount)| {
        let before = old.get(name).copied().unwrap_or(Quantity::ZERO);
        let grown = if *amount > before { *amount - before } else { Quantity::ZERO };
        (name.clone(), grown)
    });
    grown.collect()
}

/// `cpu=1,pods=2`
pub(super) fn pretty(amounts: &Amounts) -> String {
    let each: Vec<String> = amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    each.join(",")
}
