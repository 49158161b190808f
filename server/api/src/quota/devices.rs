//! Claims of devices: `evaluator/core/resource_claims.go`.

use serde_json::Value;

use super::amounts::{self, Amounts};
use super::{at, items, text};
use crate::quantity::{Format, Quantity};

const OF_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// A claim of all devices may get so many: upstream's `AllocationResultsMaxSize`.
const MOST: i64 = 32;

pub(super) fn counts(resource: &str) -> bool {
    resource.ends_with(OF_CLASS)
}

pub(super) fn usage(claim: &Value) -> Amounts {
    let mut usage = Amounts::new();
    for request in items(at(claim, &["spec", "devices", "requests"])) {
        let alternatives = items(at(request, &["firstAvailable"]));
        let mut worst = Amounts::new();
        for alternative in alternatives {
            amounts::max(&mut worst, &devices(alternative));
        }
        if alternatives.is_empty() {
            // since v1beta2 what is asked for is one level down
            let exactly = at(request, &["exactly"]);
            worst = devices(if exactly.is_null() { request } else { exactly });
        }
        amounts::add(&mut usage, &worst);
    }
    usage
}

fn devices(request: &Value) -> Amounts {
    let number = match text(request, &["allocationMode"]) {
        "" | "ExactCount" => at(request, &["count"]).as_i64().unwrap_or(1),
        "All" => MOST,
        _ => 0,
    };
    let class = text(request, &["deviceClassName"]);
    Amounts::from([(format!("{class}{OF_CLASS}"), Quantity::new(number, Format::DecimalSI))])
}
