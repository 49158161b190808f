//! PATCH with `application/apply-patch+yaml`: `applyPatcher` of `handlers/patch.go`.

use sampan_api::status::ApiError;
use sampan_api::strict::{self, FieldValidation, Format};
use serde_json::Value;

use super::resource::Answer;
use super::{Context, body, negotiate, shape};
use crate::ApiServer;
use crate::auth::Attributes;
use crate::registry::manage::Applied;
use crate::registry::patch::APPLY;
use crate::registry::{Call, Target, WriteOptions, said};

/// Whether the body is a configuration to be applied.
pub(super) fn is_apply(context: &Context) -> bool {
    body::media_type(&context.head.headers) == APPLY
}

/// Reads the configuration. What its schema does not know is the apply's to tell; here only keys that come
/// twice are.
pub(super) fn config(context: &Context, call: &Call<'_>) -> Result<Value, ApiError> {
    // most send JSON, which is YAML too; where it says something twice the YAML reader has the words
    if let Ok(parsed) = strict::parse::<()>(&context.body, Format::Json, None)
        && parsed.problems.is_empty()
        && parsed.value.is_object()
    {
        return Ok(parsed.value);
    }
    let parsed = strict::parse::<()>(&context.body, Format::Yaml, None).map_err(|why| {
        ApiError::bad_request(format!("error decoding YAML: error converting YAML to JSON: {why}"))
    })?;
    if !parsed.value.is_object() {
        let found = strict::json_type(&parsed.value);
        let why = format!(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
        );
        return Err(ApiError::bad_request(why));
    }
    match call.options.field_validation {
        FieldValidation::Strict if !parsed.problems.is_empty() => {
            let problems = parsed.problems.join("\n");
            let why = format!("error strict decoding YAML: error converting YAML to JSON: {problems}");
            return Err(ApiError::bad_request(why));
        }
        FieldValidation::Warn => {
            let lines = parsed.problems.iter().flat_map(|problem| problem.lines().skip(1));
            call.warnings.lock().extend(lines.map(|line| line.trim().to_owned()));
        }
        _ => {}
    }
    Ok(parsed.value)
}

impl ApiServer {
    /// Whether whoever may write to the object may also make it: upstream's `withAuthorization`.
    pub(super) fn may_create(&self, context: &Context) -> Result<(), ApiError> {
        let attributes = super::attributes(&context.info, &context.query);
        self.authorize_as(context, &Attributes { verb: "create", ..attributes })
    }

    /// Applies to the object, or to a subresource that takes the whole object.
    pub(super) async fn apply(
        &self,
        context: &Context,
        target: &Target,
        format: negotiate::Format,
    ) -> Answer {
        let options = WriteOptions::parse_patch(&context.query, true)?;
        let call = Call::new(&context.user, options).saying(said(&context.query));
        let config = config(context, &call)?;
        let manager = context.manager();
        let applied = Applied { config: &config, manager: &manager, force: context.query.flag("force") };
        let gone = target.kind.custom.is_some() && !target.kind.allows("create");
        let may_create = match gone {
            true => Err(super::resource::terminating("create")),
            false => self.may_create(context),
        };
        let written = self.registry().apply(&call, target, applied, &may_create).await?;
        shape::object(if written.created { 201 } else { 200 }, target.kind, written.json, format, context)
    }
}
