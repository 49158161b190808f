//! `Priority`: a pod's PriorityClass becomes a number; `plugin/pkg/admission/priority`.

use std::sync::Arc;

use sampan_api::go::Quote as _;
use sampan_api::status::ApiError;
use sampan_store::Store;
use serde_json::Value;

use super::{creates_pod, kept, of};
use crate::registry::{Operation, Plugin, Review};
use crate::value::{at, meta, set, text};

const BUCKET: &str = "priorityclasses.scheduling.k8s.io";
const DEFAULT_POLICY: &str = "PreemptLowerPriority";

/// Upstream's `SystemPriorityClasses`.
const SYSTEM: [&str; 2] = ["system-node-critical", "system-cluster-critical"];

pub(super) struct Priority;

impl Plugin for Priority {
    fn admit(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if creates_pod(review) {
            return resolve(review.store, pod);
        }
        // on update the numbers stay what they were; validation refuses other changes
        if let (Operation::Update, true, Some(old)) = (review.operation, of(review, "", "pods"), review.old) {
            for field in ["priority", "preemptionPolicy"] {
                if at(pod, &["spec", field]).is_null() && !at(old, &["spec", field]).is_null() {
                    set(pod, &["spec", field], at(old, &["spec", field]).clone());
                }
            }
        }
        Ok(())
    }

    fn validate(&self, review: &Review<'_>, class: &Value) -> Result<(), ApiError> {
        if review.operation == Operation::Delete && of(review, "scheduling.k8s.io", "priorityclasses") {
            return match SYSTEM.contains(&review.name) {
                true => Err(ApiError::forbidden(
                    "scheduling.k8s.io",
                    "priorityclasses",
                    review.name,
                    "this is a system priority class and cannot be deleted",
                )),
                false => Ok(()),
            };
        }
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !writes
            || !of(review, "scheduling.k8s.io", "priorityclasses")
            || at(class, &["globalDefault"]) != &Value::Bool(true)
        {
            return Ok(());
        }
        match default_class(review.store) {
            Some(other) if meta(&other, "name") != meta(class, "name") => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    meta(&other, "name").quoted()
                );
                Err(ApiError::forbidden("scheduling.k8s.io", "priorityclasses", meta(class, "name"), &why))
            }
            _ => Ok(()),
        }
    }
}

fn default_class(store: &Store) -> Option<Arc<Value>> {
    kept::all(store, BUCKET)
        .filter(|c| at(c, &["globalDefault"]) == &Value::Bool(true))
        .min_by_key(|c| at(c, &["value"]).as_i64())
}

fn resolve(store: &Store, pod: &mut Value) -> Result<(), ApiError> {
    let refused = |pod: &Value, why: &str| ApiError::forbidden("", "pods", meta(pod, "name"), why);
    let name = text(pod, &["spec", "priorityClassName"]).to_owned();
    let class = match name.as_str() {
        "" => default_class(store),
        name => match kept::look_up(store, BUCKET, name) {
            Some(class) => Some(class),
            None => return Err(refused(pod, &format!("no PriorityClass with name {name} was found"))),
        },
    };
    let value = class.as_ref().map_or(0, |c| at(c, &["value"]).as_i64().unwrap_or(0));
    let policy = class
        .as_ref()
        .map(|c| text(c, &["preemptionPolicy"]))
        .filter(|p| !p.is_empty())
        .unwrap_or(DEFAULT_POLICY);
    let said = |what: &str, given: &str, computed: &str| {
        let why = format!(
            "{what} ({given}) must not be provided in pod spec; priority admission controller computed {computed} from the \
             given PriorityClass name"
        );
        Err(refused(pod, &why))
    };
    if let Some(given) = at(pod, &["spec", "priority"]).as_i64().filter(|given| *given != value) {
        return said("the integer value of priority", &given.to_string(), &value.to_string());
    }
    let given = text(pod, &["spec", "preemptionPolicy"]);
    if !given.is_empty() && given != policy {
        return said("the string value of PreemptionPolicy", given, policy);
    }
    if let Some(class) = &class {
        set(pod, &["spec", "priorityClassName"], meta(class, "name"));
    }
    set(pod, &["spec", "priority"], value);
    set(pod, &["spec", "preemptionPolicy"], policy);
    Ok(())
}
