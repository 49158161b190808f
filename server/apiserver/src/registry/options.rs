//! Query options of writes.

use sampan_api::status::{ApiError, FieldError};

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
        let mut errors = Vec::new();
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

/// `All` is the only dry run there is.
pub(super) fn dry_run_error(values: &[&str]) -> Option<FieldError> {
    let wrong = values.iter().any(|v| *v != "All");
    wrong.then(|| FieldError::not_supported("dryRun", serde_json::json!(values), &["All"]))
}
