//! `DefaultTolerationSeconds`: a pod stays five minutes on a node that is not ready or unreachable, unless it says otherwise.
//! `TaintNodesByCondition`: a new node is not ready until its kubelet says so.

use sampan_api::status::ApiError;
use serde_json::{Value, json};

use super::{of, push};
use crate::registry::{Operation, Plugin, Review};
use crate::value::{at, items, text};

const SECONDS: i64 = 300;
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

pub(super) struct DefaultTolerationSeconds;

impl Plugin for DefaultTolerationSeconds {
    fn admit(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), ApiError> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !writes || !of(review, "", "pods") {
            return Ok(());
        }
        for key in [NOT_READY, UNREACHABLE] {
            let tolerated =
                items(at(pod, &["spec", "tolerations"])).iter().any(|t| tolerates_no_execute(t, key));
            if !tolerated {
                let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
                push(pod, &["spec", "tolerations"], toleration);
            }
        }
        Ok(())
    }
}

fn tolerates_no_execute(toleration: &Value, key: &str) -> bool {
    ["", key].contains(&text(toleration, &["key"]))
        && ["", "NoExecute"].contains(&text(toleration, &["effect"]))
}

pub(super) struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn admit(&self, review: &Review<'_>, node: &mut Value) -> Result<(), ApiError> {
        if review.operation != Operation::Create || !of(review, "", "nodes") {
            return Ok(());
        }
        let there = items(at(node, &["spec", "taints"])).iter();
        if !there.into_iter().any(|t| text(t, &["key"]) == NOT_READY && text(t, &["effect"]) == "NoSchedule")
        {
            push(node, &["spec", "taints"], json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}
