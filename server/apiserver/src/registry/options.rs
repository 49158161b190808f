//! Query options of writes.

use sampan_api::status::{ApiError, FieldError};
use serde_json::{Map, Value};

use crate::pipeline::query::Query;

pub use sampan_api::strict::FieldValidation;

/// `dryRun`, `fieldValidation`.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    /// Nothing is written.
    pub dry_run: bool,
    /// Unknown fields.
    pub field_validation: FieldValidation,
}

impl WriteOptions {
    /// Reads and checks the query; `kind` is upstream's name of the options: `CreateOptions` …
    pub fn parse(query: &Query, kind: &str) -> Result<Self, ApiError> {
        Self::checked(query, kind, Vec::new())
    }

    /// Those of a patch. An apply has to say who applies, and only an apply can be forced.
    pub fn parse_patch(query: &Query, apply: bool) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        if apply && query.text("fieldManager").is_empty() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if !apply && query.get("force").is_some() {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        Self::checked(query, "PatchOptions", errors)
    }

    fn checked(query: &Query, kind: &str, mut errors: Vec<FieldError>) -> Result<Self, ApiError> {
        errors.extend(manager_errors(query.text("fieldManager")));
        let dry: Vec<&str> = query.all("dryRun").filter(|v| !v.is_empty()).collect();
        errors.extend(dry_run_error(&dry));
        let field_validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                errors.push(FieldError::not_supported(
                    "fieldValidation",
                    other,
                    &["Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        if errors.is_empty() {
            return Ok(Self { dry_run: !dry.is_empty(), field_validation });
        }
        Err(ApiError::invalid("meta.k8s.io", kind, "", errors))
    }
}

/// The fields of a write's options that the query gives, in the order of upstream's types.
pub fn said(query: &Query) -> Map<String, Value> {
    let given = ["fieldManager", "fieldValidation"].into_iter().map(|field| (field, query.text(field)));
    given.filter(|(_, text)| !text.is_empty()).map(|(field, text)| (field.to_owned(), text.into())).collect()
}

/// Upstream's `FieldManagerMaxLength`.
const MANAGER_LIMIT: usize = 128;

fn manager_errors(manager: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if manager.len() > MANAGER_LIMIT {
        errors.push(FieldError::too_long("fieldManager", MANAGER_LIMIT));
    }
    for (at, c) in manager.char_indices().filter(|(_, c)| !printable(*c)) {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        errors.push(FieldError::invalid("fieldManager", manager, why));
    }
    errors
}

/// Go's `unicode.IsPrint`, as far as it matters: of the spaces only the plain one.
fn printable(c: char) -> bool {
    c == ' ' || !c.is_control() && !c.is_whitespace()
}

/// Who writes: as the client says, or what its User-Agent begins with (`managerOrUserAgent`).
pub fn manager(query: &Query, user_agent: &str) -> String {
    let said = query.text("fieldManager");
    if !said.is_empty() {
        return said.to_owned();
    }
    let mut name = String::new();
    for c in user_agent.split('/').next().unwrap_or("").chars().filter(|c| printable(*c)) {
        if name.len() + c.len_utf8() > MANAGER_LIMIT {
            break;
        }
        name.push(c);
    }
    name
}

/// `All` is the only dry run there is.
pub(super) fn dry_run_error(values: &[&str]) -> Option<FieldError> {
    let wrong = values.iter().any(|v| *v != "All");
    wrong.then(|| FieldError::not_supported("dryRun", serde_json::json!(values), &["All"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_gives_is_told() {
        let query = Query::parse("dryRun=All&fieldValidation=Strict&fieldManager=me&force=true&pretty=true");
        let told = serde_json::Value::Object(said(&query));
        assert_eq!(told, serde_json::json!({"fieldManager": "me", "fieldValidation": "Strict"}));
        assert!(said(&Query::parse("")).is_empty());
    }

    #[test]
    fn a_manager_is_named_or_the_user_agent() {
        let long = "x".repeat(200);
        for (query, agent, expected) in [
            ("fieldManager=me", "kubectl/v1.36.0 (linux/amd64)", "me"),
            ("", "kubectl/v1.36.0 (linux/amd64) kubernetes/abc", "kubectl"),
            ("fieldManager=", "kube-controller-manager/v1", "kube-controller-manager"),
            ("", "Mozilla 5.0", "Mozilla 5.0"),
            ("", "", ""),
            ("", &long, &long[..128]),
        ] {
            assert_eq!(manager(&Query::parse(query), agent), expected);
        }
    }

    #[test]
    fn options_of_a_patch_are_checked() {
        let message = |query: &str, apply| WriteOptions::parse_patch(&Query::parse(query), apply).map(drop);
        let cases = [
            (
                "",
                true,
                r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#,
            ),
            (
                "force=true",
                false,
                r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#,
            ),
            (
                "fieldManager=a%0Ab",
                true,
                r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\nb": invalid character U+000A (at position 1)"#,
            ),
        ];
        for (query, apply, expected) in cases {
            assert_eq!(message(query, apply).map_err(|e| e.message), Err(expected.to_owned()));
        }
        assert_eq!(message("fieldManager=a&force=true", true), Ok(()));
        assert_eq!(message("", false), Ok(()));
        let long = format!("fieldManager={}", "x".repeat(129));
        assert!(message(&long, false).is_err());
    }
}
