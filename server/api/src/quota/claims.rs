//! Claims of volumes: `evaluator/core/persistent_volume_claims.go`.

use serde_json::Value;

use super::amounts::Amounts;
use super::{at, text};
use crate::quantity::{Format, Quantity};

const CLAIMS: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";
/// Between a class's name and what is counted of it.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";

pub(super) fn counts(resource: &str) -> bool {
    let of_class = resource.split_once(OF_CLASS).map(|(_, what)| what);
    matches!(of_class.unwrap_or(resource), CLAIMS | STORAGE)
}

fn class(claim: &Value) -> &str {
    let beta = text(claim, &["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]);
    if beta.is_empty() { text(claim, &["spec", "storageClassName"]) } else { beta }
}

pub(super) fn usage(claim: &Value) -> Amounts {
    let mut usage = Amounts::from([(CLAIMS.to_owned(), Quantity::new(1, Format::DecimalSI))]);
    if let Some(storage) = storage(claim) {
        usage.insert(STORAGE.to_owned(), storage);
    }
    let class = class(claim);
    if !class.is_empty() {
        let of_class: Amounts =
            usage.iter().map(|(what, amount)| (format!("{class}{OF_CLASS}{what}"), *amount)).collect();
        usage.extend(of_class);
    }
    usage
}

/// Whole bytes: what is asked for, or what was allocated while an expansion is taken back.
fn storage(claim: &Value) -> Option<Quantity> {
    let read = |value: &Value| Quantity::from_value(value).ok();
    let asked = read(at(claim, &["spec", "resources", "requests", "storage"]))?;
    let allocated = read(at(claim, &["status", "allocatedResources", "storage"]));
    let amount = allocated.filter(|allocated| *allocated > asked).unwrap_or(asked);
    Some(if amount.is_whole() { amount } else { Quantity::new(amount.value(), amount.format()) })
}

/// Classes of attributes that a claim has, wants, or is on its way to.
pub(super) fn attribute_classes(claim: &Value) -> Vec<&str> {
    let places: [&[&str]; 3] = [
        &["spec", "volumeAttributesClassName"],
        &["status", "currentVolumeAttributesClassName"],
        &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
    ];
    places.iter().map(|path| text(claim, path)).filter(|name| !name.is_empty()).collect()
}
