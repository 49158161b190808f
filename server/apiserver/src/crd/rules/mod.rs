//! `x-kubernetes-validations`: the rules of custom resources (`apiextensions-apiserver/pkg/apiserver/schema/cel`).
//!
//! - [`compile`]: the rules of a schema and all below it, compiled; once per version, kept beside its schema.
//! - [`judge`]: what an object, or its change, comes to under them.
//! - [`definition`]: which rules a definition may not have.
//! - [`costs`]: which rules may cost far too much, whatever they do cost when they run.

mod compile;
mod costs;
mod definition;
mod judge;

#[cfg(test)]
mod tests;

use sampan_api::kinds::Kind;
use sampan_api::status::{Cause, FieldError};
use serde_json::Value;

use compile::Node;
pub(crate) use definition::errors as definition_errors;

/// What upstream says when rules were not asked.
const UNASKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// Adds what the rules of `kind`'s schema find to what is wrong with `new`; `warnings` gets what is let pass because it
/// was so before.
pub(crate) fn check(
    kind: &'static Kind,
    new: &Value,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
    warnings: &mut Vec<String>,
) {
    let Some(version) = kind.custom.and_then(|custom| custom.version()) else { return };
    if !version.schema().has_rules {
        return;
    }
    if errors.iter().any(blocks) {
        errors.push(FieldError::invalid("<nil>", Value::Null, UNASKED));
        return;
    }
    let Some(node) = version.beside(|| Node::root(version.json(), version.schema())) else { return };
    let found = judge::object(&node, version.schema(), new, old);
    errors.extend(found.errors);
    warnings.extend(found.warnings);
}

/// Whether values are not what expressions take them for (`hasBlockingErr`).
fn blocks(error: &FieldError) -> bool {
    matches!(
        error.cause,
        Cause::NotSupported | Cause::Required | Cause::TooLong | Cause::TooMany | Cause::TypeInvalid
    )
}
