//! Answers, and refusals as the `Status` objects that clients of the Kubernetes API know.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use sampan_addons::{Error, ErrorKind};
use sampan_apiserver::ResponseBody;
use serde_json::{Value, json};

/// Why a request is not answered as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: u16,
    reason: &'static str,
    message: String,
    /// The field of the body or of the configuration.
    field: Option<String>,
    /// The identifier that the command line shows for the same.
    id: &'static str,
}

impl Refusal {
    /// What the platform says.
    pub fn of(error: &Error) -> Self {
        let (code, reason, id) = match error.kind() {
            ErrorKind::NotFound => (404, "NotFound", "ADDON_NOT_FOUND"),
            ErrorKind::Configuration => (422, "Invalid", "ADDON_CONFIGURATION"),
            ErrorKind::Needs => (409, "Conflict", "ADDON_NEEDS"),
            ErrorKind::Owned => (409, "Conflict", "ADDON_OWNED"),
            ErrorKind::Package => (422, "Invalid", "ADDON_PACKAGE"),
            ErrorKind::BuiltIn => (409, "Conflict", "ADDON_BUILT_IN"),
            ErrorKind::NoPage => (404, "NotFound", "ADDON_NO_PAGE"),
            ErrorKind::Failed => (500, "InternalError", "ADDON_FAILED"),
            ErrorKind::Other => (500, "InternalError", "INTERNAL"),
        };
        let field = match error {
            Error::Config { field, .. } => Some(field.clone()),
            _ => None,
        };
        Self { code, reason, message: error.to_string(), field, id }
    }

    /// There is nothing at a path.
    pub fn no_path() -> Self {
        let message =
            format!("there is nothing at this path; {}/openapi.json says what there is", super::PREFIX);
        Self { code: 404, reason: "NotFound", message, field: None, id: "NOT_FOUND" }
    }

    /// The path is there, for other methods.
    pub fn method(allowed: &str) -> Self {
        let message = format!("this path takes {allowed}");
        Self { code: 405, reason: "MethodNotAllowed", message, field: None, id: "METHOD" }
    }

    /// The body or query is not as described.
    pub fn bad(field: &str, problem: &str) -> Self {
        let message = format!("{field}: {problem}");
        Self { code: 400, reason: "BadRequest", message, field: Some(field.to_owned()), id: "USAGE" }
    }

    /// What a package's pods say is asked of the Kubernetes API.
    pub fn package_log(name: &str) -> Self {
        let message = format!(
            "{name} is a package: ask the API for the logs of its pods, or `sampan addons logs {name}`"
        );
        Self { code: 409, reason: "Conflict", message, field: None, id: "ADDON_PACKAGE" }
    }

    /// The daemon is ending.
    pub fn ending() -> Self {
        let message = "the daemon is ending; ask again once it runs".to_owned();
        Self { code: 503, reason: "ServiceUnavailable", message, field: None, id: "ENDING" }
    }

    /// Something unforeseen.
    pub fn internal(message: &str) -> Self {
        Self { code: 500, reason: "InternalError", message: message.to_owned(), field: None, id: "INTERNAL" }
    }

    /// As a `Status`; the identifier is the cause's reason.
    pub fn status(&self) -> Value {
        let mut cause = json!({"reason": self.id, "message": self.message});
        if let Some(field) = &self.field {
            cause["field"] = json!(field);
        }
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "details": {"kind": "addons", "causes": [cause]},
            "code": self.code,
        })
    }
}

/// A refusal as an answer.
pub fn refusal(refusal: &Refusal) -> Response<ResponseBody> {
    json(refusal.code, &refusal.status())
}

/// A value as JSON.
pub fn json(code: u16, value: &Value) -> Response<ResponseBody> {
    of(code, "application/json", whole(format!("{value}\n").into()))
}

/// Text as it is.
pub fn text(text: &[u8]) -> Response<ResponseBody> {
    of(200, "text/plain; charset=utf-8", whole(Bytes::copy_from_slice(text)))
}

/// Any body.
pub fn of(code: u16, content: &'static str, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

fn whole(bytes: Bytes) -> ResponseBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
