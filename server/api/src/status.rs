//! Errors as the API words them: `metav1.Status` with upstream's reasons, codes and causes.
//!
//! Ported from `k8s.io/apimachinery/pkg/api/errors` and `pkg/util/validation/field`.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::go::Quote as _;

/// Upstream's `metav1.StatusReason`, with the HTTP code it travels with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are upstream's
pub enum Reason {
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
    /// sampan's own: the disk is full (507).
    InsufficientStorage,
}

impl Reason {
    /// The string in `status.reason`.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Unknown => "",
            Reason::Unauthorized => "Unauthorized",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "NotFound",
            Reason::AlreadyExists => "AlreadyExists",
            Reason::Conflict => "Conflict",
            Reason::Gone => "Gone",
            Reason::Invalid => "Invalid",
            Reason::ServerTimeout => "ServerTimeout",
            Reason::Timeout => "Timeout",
            Reason::TooManyRequests => "TooManyRequests",
            Reason::BadRequest => "BadRequest",
            Reason::MethodNotAllowed => "MethodNotAllowed",
            Reason::NotAcceptable => "NotAcceptable",
            Reason::RequestEntityTooLarge => "RequestEntityTooLarge",
            Reason::UnsupportedMediaType => "UnsupportedMediaType",
            Reason::InternalError => "InternalError",
            Reason::Expired => "Expired",
            Reason::ServiceUnavailable => "ServiceUnavailable",
            Reason::InsufficientStorage => "InsufficientStorage",
        }
    }

    /// The HTTP status code.
    pub fn code(self) -> u16 {
        match self {
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::Invalid => 422,
            Reason::ServerTimeout | Reason::Unknown | Reason::InternalError => 500,
            Reason::Timeout => 504,
            Reason::TooManyRequests => 429,
            Reason::BadRequest => 400,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::ServiceUnavailable => 503,
            Reason::InsufficientStorage => 507,
        }
    }
}

/// Upstream's `field.ErrorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are upstream's
pub enum Cause {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    InternalError,
    TypeInvalid,
}

impl Cause {
    /// The string in `details.causes[].reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Cause::NotFound => "FieldValueNotFound",
            Cause::Required => "FieldValueRequired",
            Cause::Duplicate => "FieldValueDuplicate",
            Cause::Invalid => "FieldValueInvalid",
            Cause::NotSupported => "FieldValueNotSupported",
            Cause::Forbidden => "FieldValueForbidden",
            Cause::TooLong => "FieldValueTooLong",
            Cause::TooMany => "FieldValueTooMany",
            Cause::InternalError => "InternalError",
            Cause::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    /// The words before the value in the error's text.
    fn text(self) -> &'static str {
        match self {
            Cause::NotFound => "Not found",
            Cause::Required => "Required value",
            Cause::Duplicate => "Duplicate value",
            Cause::Invalid | Cause::TypeInvalid => "Invalid value",
            Cause::NotSupported => "Unsupported value",
            Cause::Forbidden => "Forbidden",
            Cause::TooLong => "Too long",
            Cause::TooMany => "Too many",
            Cause::InternalError => "Internal error",
        }
    }
}

/// One thing wrong with one field: upstream's `field.Error`.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Path such as `spec.containers[0].image` or `metadata.labels`.
    pub field: String,
    /// What sort of wrong.
    pub cause: Cause,
    /// The offending value, where the text shows one.
    pub value: Option<Value>,
    /// What would be right.
    pub detail: String,
}

impl FieldError {
    /// `field: Required value[: detail]`.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), cause: Cause::Required, value: None, detail: detail.into() }
    }
    /// `field: Invalid value: value: detail`.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), cause: Cause::Invalid, value: Some(value.into()), detail: detail.into() }
    }
    /// `field: Invalid value: value: detail` for a value of the wrong type.
    pub fn type_invalid(
        field: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            cause: Cause::TypeInvalid,
            value: Some(value.into()),
            detail: detail.into(),
        }
    }
    /// `field: Forbidden: detail`.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), cause: Cause::Forbidden, value: None, detail: detail.into() }
    }
    /// `field: Duplicate value: value`.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            field: field.into(),
            cause: Cause::Duplicate,
            value: Some(value.into()),
            detail: String::new(),
        }
    }
    /// `field: Not found: value`.
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { field: field.into(), cause: Cause::NotFound, value: Some(value.into()), detail: String::new() }
    }
    /// `field: Unsupported value: value: supported values: "a", "b"`.
    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let mut quoted: Vec<String> = supported.iter().map(|s| s.quoted().to_string()).collect();
        quoted.sort();
        let detail = format!("supported values: {}", quoted.join(", "));
        Self { field: field.into(), cause: Cause::NotSupported, value: Some(value.into()), detail }
    }
    /// As [`FieldError::not_supported`], in the order given: upstream sorts only what it keeps in sets.
    pub fn not_supported_as_listed(
        field: impl Into<String>,
        value: impl Into<Value>,
        supported: &[&str],
    ) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| s.quoted().to_string()).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        Self { field: field.into(), cause: Cause::NotSupported, value: Some(value.into()), detail }
    }
    /// `field: Too long: may not be more than max bytes`.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        let detail = format!("may not be more than {max} bytes");
        Self { field: field.into(), cause: Cause::TooLong, value: None, detail }
    }
    /// `field: Too many: actual: must have at most max items`.
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        let detail = format!("must have at most {max} items");
        Self { field: field.into(), cause: Cause::TooMany, value: Some(actual.into()), detail }
    }

    /// The text without the field's path, as in `details.causes[].message`.
    pub fn body(&self) -> String {
        let mut text = self.cause.text().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            match value {
                Value::String(s) => text.push_str(&s.quoted().to_string()),
                other => text.push_str(&other.to_string()),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// A failed request: everything that a client sees of it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Upstream's reason, which fixes the code unless `code` differs.
    pub reason: Reason,
    /// A reason that is none of upstream's and takes the place of `reason`'s name: an admission webhook may give any words.
    pub other_reason: Option<String>,
    /// HTTP code.
    pub code: u16,
    /// The text a person reads.
    pub message: String,
    /// `details.name`.
    pub name: String,
    /// `details.group`.
    pub group: String,
    /// `details.kind`: the resource (plural), or for [`ApiError::invalid`] the kind.
    pub kind: String,
    /// `details.uid`.
    pub uid: String,
    /// `details.causes`, as (reason, message, field).
    pub causes: Vec<(String, String, String)>,
    /// Whether there are `details` though nothing is known to say in them, as where upstream's constructor makes them
    /// of what it is given.
    pub with_details: bool,
    /// `details.retryAfterSeconds`, also sent as the `Retry-After` header.
    pub retry_after_seconds: Option<u32>,
    /// `metadata.continue`, for an expired continue token.
    pub continue_token: Option<String>,
}

/// Plural resource name with its group: `pods`, `deployments.apps`.
fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl ApiError {
    /// An error of `reason` with `message` and no details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            other_reason: None,
            code: reason.code(),
            message: message.into(),
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            with_details: false,
            retry_after_seconds: None,
            continue_token: None,
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.group = group.to_owned();
        self.kind = kind.to_owned();
        self.name = name.to_owned();
        self.with_details = true;
        self
    }

    /// `pods "a" not found`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        Self::new(Reason::NotFound, format!("{} {} not found", qualified(group, resource), name.quoted()))
            .about(group, resource, name)
    }
    /// `the server could not find the requested resource`, for paths that name no resource.
    pub fn unknown_resource() -> Self {
        Self::new(Reason::NotFound, "the server could not find the requested resource").about("", "", "")
    }
    /// 405 as upstream's routes give it: the path is known, the method is not.
    pub fn not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(Reason::MethodNotAllowed, message).about("", "", "")
    }
    /// `pods "a" already exists`.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        Self::new(
            Reason::AlreadyExists,
            format!("{} {} already exists", qualified(group, resource), name.quoted()),
        )
        .about(group, resource, name)
    }
    /// `Operation cannot be fulfilled on pods "a": …`.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {}: {why}",
            qualified(group, resource),
            name.quoted()
        );
        Self::new(Reason::Conflict, message).about(group, resource, name)
    }
    /// The optimistic-concurrency conflict.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }
    /// `pods "a" is forbidden: …` (or `pods is forbidden: …` without a name).
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, resource);
        let message = match (what.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{what} is forbidden: {why}"),
            (false, false) => format!("{what} {} is forbidden: {why}", name.quoted()),
        };
        Self::new(Reason::Forbidden, message).about(group, resource, name)
    }
    /// `Pod "a" is invalid: [spec.x: …, spec.y: …]` with a cause each.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: Vec<FieldError>) -> Self {
        let mut list: Vec<String> = errors.iter().map(ToString::to_string).collect();
        // what is said twice is shown once
        let mut shown = HashSet::with_capacity(list.len());
        list.retain(|text| shown.insert(text.clone()));
        let list = if list.len() == 1 { list.concat() } else { format!("[{}]", list.join(", ")) };
        let message = format!("{} {} is invalid: {list}", qualified(group, kind), name.quoted());
        let mut error = Self::new(Reason::Invalid, message).about(group, kind, name);
        error.causes = errors.into_iter().map(|e| (e.cause.reason().to_owned(), e.body(), e.field)).collect();
        error
    }
    /// 400 with `why`.
    pub fn bad_request(why: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, why)
    }
    /// 401 `Unauthorized`.
    pub fn unauthorized() -> Self {
        Self::new(Reason::Unauthorized, "Unauthorized")
    }
    /// 405 for a verb that the resource does not have.
    pub fn method_not_supported(group: &str, resource: &str, verb: &str) -> Self {
        let message =
            format!("{verb} is not supported on resources of kind {}", qualified(group, resource).quoted());
        Self::new(Reason::MethodNotAllowed, message).about(group, resource, "")
    }
    /// 410 `Expired`: a revision that history no longer holds.
    pub fn expired(why: impl Into<String>) -> Self {
        Self::new(Reason::Expired, why)
    }
    /// 410 for a watch that starts before the history or whose reader was too slow.
    pub fn too_old_resource_version(asked: u64, oldest: u64) -> Self {
        Self::new(Reason::Expired, format!("too old resource version: {asked} ({oldest})"))
    }
    /// 504 `Too large resource version`: a revision from the future.
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        const WHAT: &str = "Too large resource version";
        let mut error = Self::new(Reason::Timeout, format!("Timeout: {WHAT}: {asked}, current: {current}"));
        error.causes = vec![("ResourceVersionTooLarge".into(), WHAT.into(), String::new())];
        error.retry_after_seconds = Some(1);
        error
    }
    /// 429, as an eviction that a disruption budget forbids.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut error = Self::new(Reason::TooManyRequests, message);
        error.retry_after_seconds = Some(retry_after_seconds);
        error
    }
    /// 413 for a body over `limit` bytes.
    pub fn request_too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(Reason::RequestEntityTooLarge, message)
    }
    /// 415 for a body in a format that is not understood.
    pub fn unsupported_media_type(supported: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            supported.join(", ")
        );
        Self::new(Reason::UnsupportedMediaType, message)
    }
    /// 406 when no accepted format can be produced.
    pub fn not_acceptable(supported: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", supported.join(", "));
        Self::new(Reason::NotAcceptable, message)
    }
    /// 500. `why` is shown to the client: no secrets.
    pub fn internal(why: impl std::fmt::Display) -> Self {
        let mut error = Self::new(Reason::InternalError, format!("Internal error occurred: {why}"));
        error.causes = vec![(String::new(), why.to_string(), String::new())];
        error
    }
    /// 503.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::new(Reason::ServiceUnavailable, why)
    }
    /// 507: the disk is full; reads go on.
    pub fn insufficient_storage(why: impl Into<String>) -> Self {
        Self::new(Reason::InsufficientStorage, why)
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut details = Map::new();
        let mut text = |key: &str, value: &str| {
            if !value.is_empty() {
                details.insert(key.to_owned(), value.into());
            }
        };
        text("name", &self.name);
        text("group", &self.group);
        text("kind", &self.kind);
        text("uid", &self.uid);
        if !self.causes.is_empty() {
            let causes: Vec<Value> = self.causes.iter().map(cause_value).collect();
            details.insert("causes".into(), causes.into());
        }
        if let Some(seconds) = self.retry_after_seconds {
            details.insert("retryAfterSeconds".into(), seconds.into());
        }
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".into(), token.as_str().into());
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata,
            "status": "Failure", "message": self.message,
        });
        let reason = self.other_reason.as_deref().unwrap_or(self.reason.name());
        if !reason.is_empty() {
            status["reason"] = reason.into();
        }
        if self.with_details || !details.is_empty() {
            status["details"] = details.into();
        }
        status["code"] = self.code.into();
        status
    }
}

fn cause_value((reason, message, field): &(String, String, String)) -> Value {
    let mut cause = Map::new();
    for (key, value) in [("reason", reason), ("message", message), ("field", field)] {
        if !value.is_empty() {
            cause.insert(key.to_owned(), value.as_str().into());
        }
    }
    cause.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_upstreams() {
        let cases = [
            (ApiError::not_found("", "pods", "a"), r#"pods "a" not found"#),
            (ApiError::already_exists("apps", "deployments", "w"), r#"deployments.apps "w" already exists"#),
            (
                ApiError::invalid("", "Pod", "a", vec![FieldError::required("spec.containers", "")]),
                r#"Pod "a" is invalid: spec.containers: Required value"#,
            ),
            (
                ApiError::invalid(
                    "apps",
                    "Deployment",
                    "w",
                    vec![
                        FieldError::invalid("spec.replicas", -1, "must be greater than or equal to 0"),
                        FieldError::not_supported("spec.strategy.type", "X", &["Recreate", "RollingUpdate"]),
                    ],
                ),
                "Deployment.apps \"w\" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal to 0, \
                 spec.strategy.type: Unsupported value: \"X\": supported values: \"Recreate\", \"RollingUpdate\"]",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.message, text);
        }
    }

    #[test]
    fn details_that_say_nothing_are_there_where_upstream_makes_them() {
        let details = |error: ApiError| error.to_value().get("details").cloned();
        assert_eq!(details(ApiError::unknown_resource()), Some(json!({})));
        assert_eq!(details(ApiError::not_allowed()), Some(json!({})));
        assert_eq!(details(ApiError::forbidden("", "", "", "no")), Some(json!({})));
        assert_eq!(details(ApiError::bad_request("no")), None);
        assert_eq!(details(ApiError::unauthorized()), None);
    }

    #[test]
    fn a_revision_of_the_future_is_named_with_the_present_one() {
        let error = ApiError::too_large_resource_version(9, 5);
        assert_eq!(error.message, "Timeout: Too large resource version: 9, current: 5");
        assert_eq!(error.causes[0].1, "Too large resource version");
    }

    #[test]
    fn a_reason_of_others_takes_the_place_of_the_known_one() {
        let mut error = ApiError::new(Reason::Unknown, "no");
        assert_eq!(error.to_value().get("reason"), None);
        error.other_reason = Some("too late in the day".into());
        assert_eq!(error.to_value()["reason"], "too late in the day");
    }

    #[test]
    fn a_status_has_causes_and_code() {
        let error = ApiError::invalid("", "Pod", "a", vec![FieldError::required("spec.containers", "")]);
        assert_eq!(
            error.to_value(),
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "Pod \"a\" is invalid: spec.containers: Required value", "reason": "Invalid",
                "details": {"name": "a", "kind": "Pod", "causes": [
                    {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers"}
                ]},
                "code": 422
            })
        );
    }
}
