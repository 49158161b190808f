//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy. Ported from upstream's `plugin/policy`.
//!
//! - [`policy`]: a policy or binding, parsed and compiled. [`params`]: the objects that a binding names.
//! - [`variables`]: `variables.x`, made when asked for. [`verdict`]: what validations come to.
//! - [`mutation`]: what mutations make of an object. [`status`]: type checking, written into the status.
//!
//! The plugins here go through policies and bindings in the order of their names.
//! [`merge`]: how a configuration is applied.

mod merge;
mod mutation;
mod params;
mod policy;
pub(crate) mod status;
mod typing;
mod variables;
mod verdict;

use std::sync::Arc;

use futures::future::BoxFuture;

use sampan_api::kinds::Kind;
use sampan_api::status::{ApiError, Reason};
use serde_json::{Value, json};

pub(super) use mutation::{configuration, json_patch};
pub(super) use policy::Envs;

use super::expressions::{Judge, Scene};
use super::matching::{is_exempt_from_policies, name, namespace};
use super::request;
use super::shelf::Shelf;
use crate::auth::Auth;
use crate::crd::Customs;
use crate::registry::{Operation, Review, WaitingPlugin};
use policy::{Binding, Policy};
use sampan_cel::Budget;
use variables::Variables;
use verdict::Denial;

/// The name under which a review keeps what was asked.
const MUTATING: &str = "MutatingAdmissionPolicy";

/// Policies of one sort, and their bindings.
struct Policies {
    auth: Arc<Auth>,
    customs: Customs,
    policies: Shelf<Policy>,
    bindings: Shelf<Binding>,
}

/// The plugin ValidatingAdmissionPolicy.
pub(super) struct Validating(Policies);

/// The plugin MutatingAdmissionPolicy.
pub(super) struct Mutating(Policies);

impl Validating {
    pub(super) fn new(auth: Arc<Auth>, customs: Customs) -> Self {
        Self(Policies {
            auth,
            customs,
            policies: Shelf::new(
                "validatingadmissionpolicies.admissionregistration.k8s.io",
                Policy::validating,
            ),
            bindings: Shelf::new(
                "validatingadmissionpolicybindings.admissionregistration.k8s.io",
                Binding::parse,
            ),
        })
    }
}

impl Mutating {
    pub(super) fn new(auth: Arc<Auth>, customs: Customs) -> Self {
        Self(Policies {
            auth,
            customs,
            policies: Shelf::new("mutatingadmissionpolicies.admissionregistration.k8s.io", Policy::mutating),
            bindings: Shelf::new(
                "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
                Binding::parse,
            ),
        })
    }
}

/// A policy that a request met, with the binding through which, and one of its parameters.
struct Met {
    policy: Arc<Policy>,
    binding: Arc<Binding>,
    kind: &'static Kind,
    params: Option<Value>,
}

/// What could not be made out about a policy (and binding).
struct Misfit {
    policy: Arc<Policy>,
    binding: Option<Arc<Binding>>,
    why: String,
}

impl Policies {
    /// Everything that the request meets.
    async fn meet(&self, review: &Review<'_>, object: &Value) -> (Vec<Met>, Vec<Misfit>) {
        let (mut met, mut misfits) = (Vec::new(), Vec::new());
        let policies = self.policies.now(review.store);
        if policies.is_empty() || is_exempt_from_policies(review.kind) {
            return (met, misfits);
        }
        let bindings = self.bindings.now(review.store);
        for policy in policies.iter() {
            let own: Vec<&Arc<Binding>> =
                bindings.iter().filter(|binding| binding.policy == policy.name).collect();
            if own.is_empty() {
                continue;
            }
            let usable = policy.matcher.matches(review, object).and_then(|kind| match kind {
                Some(kind) => Ok(Some((kind, policy.params(&self.customs)?))),
                None => Ok(None),
            });
            let (kind, param_kind) = match usable {
                Ok(Some(usable)) => usable,
                Ok(None) => continue,
                Err(why) => {
                    misfits.push(Misfit { policy: policy.clone(), binding: None, why });
                    continue;
                }
            };
            for binding in own {
                match params::bound(param_kind, binding, review, object).await {
                    Ok(all) => met.extend(all.into_iter().map(|params| Met {
                        policy: policy.clone(),
                        binding: binding.clone(),
                        kind,
                        params,
                    })),
                    Err(why) => {
                        misfits.push(Misfit { policy: policy.clone(), binding: Some(binding.clone()), why });
                    }
                }
            }
        }
        (met, misfits)
    }
}

/// What expressions of a policy see: owned, to be borrowed by them.
struct Shown {
    object: Value,
    old: Value,
    request: Value,
    namespace: Value,
}

impl Shown {
    /// What cannot be converted is a failure of the policy.
    async fn new(review: &Review<'_>, object: &Value, met: &Met) -> Result<Self, Misfit> {
        let (kind, old) = (met.kind, review.old.unwrap_or(&Value::Null));
        let unreadable = |why| {
            let why = format!("failed to convert object version: {why}");
            Misfit { policy: met.policy.clone(), binding: None, why }
        };
        let namespaced = !review.namespace.is_empty();
        Ok(Self {
            object: request::shown(review, object, kind).await.map_err(unreadable)?,
            old: request::shown(review, old, kind).await.map_err(unreadable)?,
            request: request::describe(review, kind, object),
            namespace: if namespaced { namespace(review).unwrap_or(Value::Null) } else { Value::Null },
        })
    }

    fn scene<'a>(&'a self, met: &'a Met, judge: &'a Judge<'a>, budget: &'a Budget) -> Scene<'a> {
        let mut scene = Scene {
            object: &self.object,
            old: &self.old,
            request: &self.request,
            namespace: &self.namespace,
            params: met.policy.param_kind.as_ref().map(|_| met.params.as_ref().unwrap_or(&Value::Null)),
            authorizer: Some(judge),
            variables: None,
        };
        if !met.policy.variables.is_empty() {
            scene.variables = Some(Arc::new(Variables::new(&met.policy.variables, scene.vars(), budget)));
        }
        scene
    }
}

impl WaitingPlugin for Validating {
    fn validate<'a>(
        &'a self,
        review: &'a Review<'a>,
        object: &'a Value,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(self.check(review, object))
    }
}

impl Validating {
    async fn check(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        let (met, misfits) = self.0.meet(review, object).await;
        let mut denials: Vec<Denial> =
            misfits.iter().filter(|one| one.policy.fail).map(Denial::misfit).collect();
        for one in &met {
            match Shown::new(review, object, one).await {
                Ok(shown) => self.judge(one, &shown, review, object, &mut denials),
                Err(misfit) if misfit.policy.fail => denials.push(Denial::misfit(&misfit)),
                Err(_) => {}
            }
        }
        match denials.first() {
            None => Ok(()),
            Some(denial) => Err(denial.error(review, object)),
        }
    }

    fn judge(
        &self,
        met: &Met,
        shown: &Shown,
        review: &Review<'_>,
        object: &Value,
        denials: &mut Vec<Denial>,
    ) {
        let judge = Judge { auth: &self.0.auth, review, kind: met.kind, name: name(review, object) };
        let budget = Budget::default();
        let outcome = verdict::evaluate(&met.policy, &shown.scene(met, &judge, &budget), &budget);
        outcome.publish(met, review, denials);
    }
}

impl WaitingPlugin for Mutating {
    fn admit<'a>(
        &'a self,
        review: &'a Review<'a>,
        object: &'a mut Value,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(self.change(review, object))
    }
}

impl Mutating {
    async fn change(&self, review: &Review<'_>, object: &mut Value) -> Result<(), ApiError> {
        let (met, misfits) = self.0.meet(review, object).await;
        if met.is_empty() && misfits.is_empty() {
            return Ok(());
        }
        let mut errors: Vec<String> =
            misfits.iter().filter(|one| one.policy.fail).map(Misfit::text).collect();
        review.notes.resume(MUTATING, object);
        for one in &met {
            let key =
                format!("{}/{}/{}", one.policy.name, one.binding.name, params::key(one.params.as_ref()));
            let failed = match self.mutated(one, review, object, review.notes.is_due(MUTATING, &key)).await? {
                Ok(Some(changed)) => {
                    review.notes.asked(MUTATING, &key, one.policy.repeatable, changed != *object);
                    review.notes.changed(object, &changed);
                    *object = changed;
                    None
                }
                Ok(None) => None,
                Err(why) => Some(why),
            };
            errors.extend(failed.filter(|_| one.policy.fail));
        }
        review.notes.leave(MUTATING, object);
        let Some(first) = errors.first() else { return Ok(()) };
        let mut error = ApiError::forbidden(review.kind.group, review.kind.plural, name(review, object), "");
        error.message = first.clone();
        error.reason = Reason::Invalid;
        error.causes = errors.into_iter().map(|text| (String::new(), text, String::new())).collect();
        Err(error)
    }

    /// The object after all mutations of a policy, if it is due and its conditions hold; inside, what failed of the policy.
    async fn mutated(
        &self,
        met: &Met,
        review: &Review<'_>,
        object: &Value,
        due: bool,
    ) -> Result<Result<Option<Value>, String>, ApiError> {
        if !due || object.is_null() || review.operation == Operation::Delete {
            return Ok(Ok(None));
        }
        let shown = match Shown::new(review, object, met).await {
            Ok(shown) => shown,
            Err(misfit) => return Ok(Err(misfit.text())),
        };
        let before = shown.object.clone();
        match self.mutate(met, review, object, shown) {
            // what a converter would make of the same is nobody's change
            Ok(Some(changed)) if changed == before => Ok(Ok(Some(object.clone()))),
            Ok(Some(changed)) => {
                let restored = request::restored(review, changed, object).await;
                let failed = |why| ApiError::internal(format!("failed to convert object: {why}"));
                Ok(Ok(Some(restored.map_err(failed)?)))
            }
            Ok(None) => Ok(Ok(None)),
            Err(why) => {
                let (policy, binding) = (&met.policy.name, &met.binding.name);
                Ok(Err(format!("policy '{policy}' with binding '{binding}' denied request: {why}")))
            }
        }
    }

    fn mutate(
        &self,
        met: &Met,
        review: &Review<'_>,
        object: &Value,
        mut shown: Shown,
    ) -> Result<Option<Value>, String> {
        let judge = Judge { auth: &self.0.auth, review, kind: met.kind, name: name(review, object) };
        {
            let budget = Budget::default();
            let scene = shown.scene(met, &judge, &budget);
            if !met.policy.conditions.hold(&scene, met.policy.fail)? {
                return Ok(None);
            }
        }
        for mutation in &met.policy.mutations {
            let budget = Budget::default();
            let made = mutation.apply(&shown.scene(met, &judge, &budget), &budget, met.kind)?;
            shown.object = made;
        }
        Ok(Some(shown.object))
    }
}

impl Misfit {
    fn text(&self) -> String {
        let (policy, why) = (&self.policy.name, &self.why);
        match &self.binding {
            Some(binding) => {
                format!(
                    "policy '{policy}' with binding '{}' denied request: failed to configure binding: {why}",
                    binding.name
                )
            }
            None => format!("policy '{policy}' denied request: failed to configure policy: {why}"),
        }
    }
}

/// The audit annotation of a validation that did not hold.
fn failure(met: &Met, index: usize, message: &str) -> String {
    let one = json!({
        "message": message,
        "policy": met.policy.name,
        "binding": met.binding.name,
        "expressionIndex": index,
        "validationActions": met.binding.actions,
    });
    Value::Array(vec![one]).to_string()
}
