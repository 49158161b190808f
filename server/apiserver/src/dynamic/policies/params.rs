//! The parameters of a binding: upstream's `CollectParams`, from the store's memory.

use sampan_api::kinds::Kind;
use sampan_api::selector::Selector;
use sampan_store::{Key, Store};
use serde_json::Value;

use super::policy::Binding;
use crate::dynamic::matching::labels;
use crate::registry::{Review, store_name};
use crate::value::{at, meta, text};

/// The parameters (of `kind`) with which a policy is to be evaluated, once each; none if the binding is not for the
/// request.
pub(super) fn bound(
    kind: Option<&'static Kind>,
    binding: &Binding,
    review: &Review<'_>,
    object: &Value,
) -> Result<Vec<Option<Value>>, String> {
    if let Some(matcher) = &binding.matcher
        && !matcher.allows(review, object)?
    {
        return Ok(Vec::new());
    }
    let reference = &binding.param_ref;
    let Some(kind) = kind else { return Ok(vec![None]) };
    if reference.is_null() {
        return Ok(vec![None]);
    }
    let found = find(review.store, kind, reference, review.namespace)?;
    if found.is_empty() && text(reference, &["parameterNotFoundAction"]) == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found.into_iter().map(Some).collect())
}

fn find(
    store: &Store,
    kind: &'static Kind,
    reference: &Value,
    namespace: &str,
) -> Result<Vec<Value>, String> {
    let given = text(reference, &["namespace"]);
    let namespace = match (kind.namespaced, given) {
        (true, "") if namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .into(),
            );
        }
        (true, "") => namespace,
        (true, given) => given,
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
    };
    let decoded = |entry: &sampan_store::Entry| crate::registry::decode(entry, kind).ok();
    let name = text(reference, &["name"]);
    if !name.is_empty() {
        let entry = store.get(&Key::new(kind.storage_group, store_name(namespace, name)));
        return Ok(entry.and_then(|entry| decoded(&entry)).into_iter().collect());
    }
    let selector = Selector::from_object(Some(at(reference, &["selector"])))?;
    let prefix = if kind.namespaced { format!("{namespace}/") } else { String::new() };
    let all = store.list(kind.storage_group);
    let all = all.prefix(&prefix).filter_map(|entry| decoded(entry));
    Ok(all.filter(|object| selector.matches(&labels(object))).collect())
}

/// What tells one parameter from another.
pub(super) fn key(params: Option<&Value>) -> String {
    params.map(|params| store_name(meta(params, "namespace"), meta(params, "name"))).unwrap_or_default()
}
