//! `/eviction` of pods: a deletion that a PodDisruptionBudget may refuse (`pkg/registry/core/pod/storage/eviction.go`).
//!
//! The budget's numbers are the disruption controller's; an eviction takes one of `disruptionsAllowed` and notes the
//! pod, both in one write. A pod that is not ready is nobody's loss: whether it may go is the budget's policy.

use sampan_api::kinds;
use sampan_api::meta as words;
use sampan_api::selector::Selector;
use sampan_api::status::{ApiError, Reason};
use sampan_api::strict::Expected;
use serde_json::{Value, json};

use super::binding::{condition, created};
use super::negotiate::Offer;
use super::resource::{Answer, decode_as};
use super::{Context, respond};
use crate::ApiServer;
use crate::registry::delete::DeleteOptions;
use crate::registry::{Call, Target, WriteOptions, decode};
use crate::strategies::pod;
use crate::value::{at, items, meta, now, object, remove, set, text};

const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// More evictions than these that the controller has not seen yet are too many.
const DISRUPTED_MAX: usize = 2000;
/// How often a pod may change under an eviction.
const ATTEMPTS: usize = 20;

/// What stands between a pod and its eviction.
#[derive(Debug, PartialEq)]
enum Guard<'a> {
    /// No budget has a say; the pod may only go as it is now if `pinned`.
    Free { pinned: bool },
    /// It is not ready, and this budget lets such pods go as long as they stay so.
    Unready(&'a Value),
    /// One disruption of this budget is to be spent.
    Spend(&'a Value),
}

fn phase(pod: &Value) -> &str {
    text(pod, &["status", "phase"])
}

/// `canIgnorePDB` and `shouldEnforceResourceVersion`: what has ended or has not begun is no disruption.
fn unguarded(pod: &Value) -> Option<Guard<'static>> {
    let over = matches!(phase(pod), "Succeeded" | "Failed") || pod::deleting(pod);
    (over || phase(pod) == "Pending").then_some(Guard::Free { pinned: !over })
}

fn ready(pod: &Value) -> bool {
    let ready = |c: &Value| text(c, &["type"]) == "Ready" && text(c, &["status"]) == "True";
    items(at(pod, &["status", "conditions"])).iter().any(ready)
}

fn status(budget: &Value, field: &str) -> i64 {
    at(budget, &["status", field]).as_i64().unwrap_or(0)
}

/// Which guard a running pod has; `budgets` are those that cover it.
fn guard<'a>(pod: &Value, budgets: &'a [Value]) -> Result<Guard<'a>, ApiError> {
    let budget = match budgets {
        [] => return Ok(Guard::Free { pinned: false }),
        [one] => one,
        _ => {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(ApiError::new(Reason::Unknown, why));
        }
    };
    if ready(pod) {
        return Ok(Guard::Spend(budget));
    }
    let always = text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    let desired = status(budget, "desiredHealthy");
    let enough = status(budget, "currentHealthy") >= desired && desired > 0;
    Ok(if always || enough { Guard::Unready(budget) } else { Guard::Spend(budget) })
}

fn refused(cause: String, retry_after_seconds: Option<u32>) -> ApiError {
    let mut error = ApiError::too_many_requests(VIOLATES, 0);
    error.retry_after_seconds = retry_after_seconds;
    error.causes = vec![("DisruptionBudget".into(), cause, String::new())];
    error
}

fn unprocessed(budget: &str) -> ApiError {
    refused(format!("The disruption budget {budget} is still being processed by the server."), Some(10))
}

/// Why nothing may be disrupted.
fn exhausted(budget: &Value) -> String {
    let name = meta(budget, "name");
    let failed = items(at(budget, &["status", "conditions"]))
        .iter()
        .find(|c| text(c, &["type"]) == "DisruptionAllowed" && text(c, &["reason"]) == "SyncFailed");
    match failed.filter(|condition| text(condition, &["status"]) == "False") {
        Some(condition) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            text(condition, &["message"])
        ),
        None => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            status(budget, "desiredHealthy"),
            status(budget, "currentHealthy")
        ),
    }
}

/// The budget after one more disruption, or why not: `checkAndDecrement`.
fn spent(budget: &Value, pod: &str) -> Result<Value, ApiError> {
    let name = meta(budget, "name");
    if status(budget, "observedGeneration") < words::generation(budget) {
        return Err(unprocessed(name));
    }
    let forbidden = |why: &str| Err(ApiError::forbidden("policy", "poddisruptionbudget", name, why));
    let allowed = status(budget, "disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    let disrupted = at(budget, &["status", "disruptedPods"]).as_object().map_or(0, serde_json::Map::len);
    if disrupted > DISRUPTED_MAX {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        return Err(refused(exhausted(budget), None));
    }
    let mut new = budget.clone();
    remove(&mut new, &["metadata", "resourceVersion"]);
    set(&mut new, &["status", "disruptionsAllowed"], allowed - 1);
    if allowed == 1 {
        insufficient(&mut new);
    }
    object(&mut new, &["status", "disruptedPods"]).insert(pod.to_owned(), now().into());
    Ok(new)
}

/// The last disruption is spent: the condition says so at once.
fn insufficient(budget: &mut Value) {
    let mut conditions = items(at(budget, &["status", "conditions"])).to_vec();
    conditions.retain(|condition| text(condition, &["type"]) != "DisruptionAllowed");
    conditions.push(json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
        "observedGeneration": status(budget, "observedGeneration"), "lastTransitionTime": now()}));
    set(budget, &["status", "conditions"], conditions);
}

/// The dry run that the query and the eviction's own options ask for: `propagateDryRun`.
fn delete_options(context: &Context, eviction: &Value, dry_run: bool) -> Result<DeleteOptions, ApiError> {
    let mut options = DeleteOptions::parse(&context.query, Some(at(eviction, &["deleteOptions"])))?;
    options.dry_run |= dry_run;
    Ok(options)
}

/// The body. The older version says the same, and upstream takes both.
fn decoded(context: &Context, call: &Call<'_>) -> Result<Value, ApiError> {
    let decode = |version| {
        let expected = Expected { group: "policy", version, kind: "Eviction" };
        decode_as(context, "io.k8s.api.policy.v1.Eviction", expected, call)
    };
    let mut eviction = match decode("v1") {
        Err(error) if error.message.contains("(policy/v1beta1)") => decode("v1beta1")?,
        decoded => decoded?,
    };
    set(&mut eviction, &["apiVersion"], "policy/v1");
    Ok(eviction)
}

impl ApiServer {
    pub(super) async fn evict(&self, context: &Context, target: &Target) -> Answer {
        let format = context.format(Offer::OBJECT)?;
        let call = Call::new(&context.user, WriteOptions::parse(&context.query, "CreateOptions")?);
        let mut eviction = decoded(context, &call)?;
        if meta(&eviction, "name") != target.name {
            return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
        }
        self.registry().admit_creation(&call, target, &mut eviction).await?;
        let options = delete_options(context, &eviction, call.options.dry_run)?;
        let whole = Target::new(target.kind, &target.namespace, &target.name);
        for _ in 0..ATTEMPTS {
            if self.try_evict(&call, &whole, options.clone()).await? {
                return Ok(respond::value(201, &created(), format, &context.head.headers));
            }
        }
        Err(whole.modified())
    }

    /// False if the pod changed meanwhile and its author named no revision of it.
    async fn try_evict(
        &self,
        call: &Call<'_>,
        target: &Target,
        mut options: DeleteOptions,
    ) -> Result<bool, ApiError> {
        let (pod, _) = self.registry().object(target)?;
        let free = unguarded(&pod);
        let budgets = if free.is_some() { Vec::new() } else { self.covering(&pod)? };
        let guard = free.map_or_else(|| guard(&pod, &budgets), Ok)?;
        let named = options.resource_version.is_some();
        match &guard {
            Guard::Spend(budget) => self.spend(call, budget, &target.name, options.dry_run).await?,
            Guard::Free { pinned: true } if !named => {
                options.resource_version = Some(meta(&pod, "resourceVersion").to_owned());
            }
            Guard::Unready(_) => options.resource_version = Some(meta(&pod, "resourceVersion").to_owned()),
            Guard::Free { .. } => {}
        }
        match self.mark_and_delete(call, target, options).await {
            Err(error) if error.reason == Reason::Conflict && !named => match guard {
                // it may have become ready: the client is to ask again
                Guard::Unready(budget) => Err(unprocessed(meta(budget, "name"))),
                Guard::Free { pinned: true } => Ok(false),
                // the disruption is spent; trying again would spend another
                Guard::Spend(_) | Guard::Free { .. } => Err(error),
            },
            result => result.map(|()| true),
        }
    }

    /// The budgets of the pod's namespace that select it.
    fn covering(&self, pod: &Value) -> Result<Vec<Value>, ApiError> {
        let kind = budgets()?;
        let snapshot = self.registry().store.list(kind.storage_group);
        let prefix = format!("{}/", meta(pod, "namespace"));
        let mut covering = Vec::new();
        for entry in snapshot.prefix(&prefix) {
            let budget = decode(entry, kind)?;
            let selector = Selector::from_object(Some(at(&budget, &["spec", "selector"])))
                .unwrap_or_else(|_| Selector::nothing());
            if selector.matches(at(pod, &["metadata", "labels"])) {
                covering.push(budget);
            }
        }
        Ok(covering)
    }

    /// Takes one disruption from the budget.
    async fn spend(&self, call: &Call<'_>, budget: &Value, pod: &str, dry_run: bool) -> Result<(), ApiError> {
        let place = Target {
            subresource: "status".into(),
            ..Target::new(budgets()?, meta(budget, "namespace"), meta(budget, "name"))
        };
        // upstream's API server does this through its own loopback client
        let spend = Call::new(call.user, WriteOptions { dry_run, ..call.options })
            .tracked(crate::registry::manage::SELF);
        self.registry().modify(&spend, &place, |old| spent(old, pod)).await.map(drop)
    }

    /// `addConditionAndDeletePod`: why the pod goes is written before it goes.
    async fn mark_and_delete(
        &self,
        call: &Call<'_>,
        target: &Target,
        mut options: DeleteOptions,
    ) -> Result<(), ApiError> {
        if !options.dry_run {
            let status = Target { subresource: "status".into(), ..target.clone() };
            let written = self.registry().modify(call, &status, |old| marked(target, &options, old)).await?;
            if options.resource_version.is_some() {
                let new: Value = serde_json::from_slice(&written.json).map_err(ApiError::internal)?;
                options.resource_version = Some(meta(&new, "resourceVersion").to_owned());
            }
        }
        self.registry().delete(call, target, &options).await.map(drop)
    }
}

fn budgets() -> Result<&'static kinds::Kind, ApiError> {
    kinds::by_resource("policy", "v1", "poddisruptionbudgets").ok_or_else(ApiError::unknown_resource)
}

/// The pod with the condition of an evicted one, if it is the one that the options mean.
fn marked(target: &Target, options: &DeleteOptions, old: &Value) -> Result<Value, ApiError> {
    let (uid, revision) = (meta(old, "uid"), meta(old, "resourceVersion"));
    if let Some(asked) = options.uid.as_deref().filter(|asked| !asked.is_empty() && *asked != uid) {
        let why = format!(
            "the UID in the precondition ({asked}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        );
        return Err(target.conflict(&why));
    }
    let asked = options.resource_version.as_deref().filter(|asked| !asked.is_empty() && *asked != revision);
    if let Some(asked) = asked {
        let why = format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({revision}). The object might have been modified"
        );
        return Err(target.conflict(&why));
    }
    let mut new = old.clone();
    remove(&mut new, &["metadata", "resourceVersion"]);
    condition(&mut new, "DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting");
    Ok(new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn budget(allowed: i64) -> Value {
        json!({
            "metadata": {"name": "b", "namespace": "a", "generation": 2}, "spec": {},
            "status": {"observedGeneration": 2, "disruptionsAllowed": allowed, "currentHealthy": 3, "desiredHealthy": 2}})
    }

    fn pod(phase: &str, ready: bool) -> Value {
        let status = if ready { "True" } else { "False" };
        json!({"metadata": {"name": "p"}, "status": {"phase": phase, "conditions": [{"type": "Ready", "status": status}]}})
    }

    #[test]
    fn what_has_ended_or_not_begun_has_no_guard() {
        let deleting = json!({"metadata": {"deletionTimestamp": now()}, "status": {"phase": "Running"}});
        let cases = [
            (pod("Running", true), None),
            (pod("Pending", false), Some(Guard::Free { pinned: true })),
            (pod("Failed", false), Some(Guard::Free { pinned: false })),
            (pod("Succeeded", false), Some(Guard::Free { pinned: false })),
            (deleting, Some(Guard::Free { pinned: false })),
        ];
        for (pod, expected) in cases {
            assert_eq!(unguarded(&pod), expected, "{pod}");
        }
    }

    #[test]
    fn pods_that_are_not_ready_go_by_the_budgets_policy() {
        let with = |current: i64, policy: &str| {
            let mut budget = budget(0);
            set(&mut budget, &["status", "currentHealthy"], current);
            set(&mut budget, &["spec", "unhealthyPodEvictionPolicy"], policy);
            budget
        };
        let cases = [
            (true, with(3, "AlwaysAllow"), false),
            (false, with(1, "AlwaysAllow"), true),
            (false, with(2, "IfHealthyBudget"), true),
            (false, with(1, "IfHealthyBudget"), false),
        ];
        for (ready, budget, free) in cases {
            let budgets = [budget];
            let guard = guard(&pod("Running", ready), &budgets).unwrap();
            assert_eq!(matches!(guard, Guard::Unready(_)), free, "{ready} {}", budgets[0]);
        }
        let two = [budget(1), budget(1)];
        let error = guard(&pod("Running", true), &two).unwrap_err();
        assert_eq!((error.code, error.reason), (500, Reason::Unknown));
        assert_eq!(guard(&pod("Running", true), &[]).unwrap(), Guard::Free { pinned: false });
    }

    #[test]
    fn a_disruption_is_spent_once() {
        let new = spent(&budget(1), "p").unwrap();
        assert_eq!(status(&new, "disruptionsAllowed"), 0);
        assert!(at(&new, &["status", "disruptedPods", "p"]).is_string());
        assert_eq!(text(&items(at(&new, &["status", "conditions"]))[0], &["reason"]), "InsufficientPods");
        let left = spent(&budget(2), "p").unwrap();
        assert!(items(at(&left, &["status", "conditions"])).is_empty(), "one is left: the condition stays");
    }

    #[test]
    fn refusals() {
        let mut young = budget(1);
        set(&mut young, &["metadata", "generation"], 3);
        let mut failed = budget(0);
        let condition =
            json!({"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "why"});
        set(&mut failed, &["status", "conditions"], json!([condition]));
        let cases = [
            (young, Some(10), "The disruption budget b is still being processed by the server."),
            (budget(0), None, "The disruption budget b needs 2 healthy pods and has 3 currently"),
            (
                failed,
                None,
                "The disruption budget b does not allow evicting pods currently because it failed sync: why",
            ),
        ];
        for (budget, retry, cause) in cases {
            let error = spent(&budget, "p").unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (429, VIOLATES));
            assert_eq!(error.retry_after_seconds, retry, "{cause}");
            assert_eq!(error.causes, [("DisruptionBudget".to_owned(), cause.to_owned(), String::new())]);
        }
        assert_eq!(spent(&budget(-1), "p").unwrap_err().code, 403);
    }
}
