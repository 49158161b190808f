//! The parameters of a binding: upstream's `CollectParams`, from the store's memory, in the version that the policy names.

use std::sync::Arc;

use sampan_api::kinds::Kind;
use sampan_api::selector::Selector;
use sampan_store::{Entry, Key};
use serde_json::Value;

use super::policy::Binding;
use crate::dynamic::matching::labels;
use crate::registry::{Review, store_name};
use crate::value::{at, meta, text};

/// The parameters (of `kind`) with which a policy is to be evaluated, once each; none if the binding is not for the
/// request. What cannot be read is an error, never one parameter less.
pub(super) async fn bound(
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
    let found = find(review, kind, reference).await?;
    if found.is_empty() && text(reference, &["parameterNotFoundAction"]) == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found.into_iter().map(Some).collect())
}

async fn find(review: &Review<'_>, kind: &'static Kind, reference: &Value) -> Result<Vec<Value>, String> {
    let given = text(reference, &["namespace"]);
    let namespace = match (kind.namespaced, given) {
        (true, "") if review.namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .into(),
            );
        }
        (true, "") => review.namespace,
        (true, given) => given,
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
    };
    let name = text(reference, &["name"]);
    if !name.is_empty() {
        let entry = review.store.get(&Key::new(kind.storage_group, store_name(namespace, name)));
        return read(review, kind, entry.into_iter().collect()).await;
    }
    let selector = Selector::from_object(Some(at(reference, &["selector"])))?;
    let prefix = if kind.namespaced { format!("{namespace}/") } else { String::new() };
    let all = review.store.list(kind.storage_group).prefix(&prefix).cloned().collect();
    // the labels are those of the version that the policy names
    let mut all = read(review, kind, all).await?;
    all.retain(|object| selector.matches(&labels(object)));
    Ok(all)
}

/// The objects of `entries`, in the version of `kind`.
async fn read(
    review: &Review<'_>,
    kind: &'static Kind,
    entries: Vec<Arc<Entry>>,
) -> Result<Vec<Value>, String> {
    if kind.custom.is_none() {
        let decoded = entries.iter().map(|entry| crate::registry::decode(entry, kind));
        return decoded.collect::<Result<_, _>>().map_err(|error| error.message);
    }
    let shown = review.converter.entries(review.store, kind, entries).await.map_err(|error| error.message)?;
    shown.iter().map(|entry| serde_json::from_slice(&entry.value).map_err(|why| why.to_string())).collect()
}

/// What tells one parameter from another.
pub(super) fn key(params: Option<&Value>) -> String {
    params.map(|params| store_name(meta(params, "namespace"), meta(params, "name"))).unwrap_or_default()
}
