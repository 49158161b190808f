//! Answers, and refusals as the `Status` objects that clients of the Kubernetes API know.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use sampan_addons::{Error, ErrorKind};
use sampan_apiserver::ResponseBody;
use serde_json::{Value, json};

use crate::failure::{Failure, Kind};

/// Why a request is not answered as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    kind: Kind,
    /// Where the kind alone does not say it.
    code: Option<u16>,
    message: String,
    /// The field of the body or of the configuration.
    field: Option<String>,
    /// The methods that a path takes, if it was another.
    allow: Option<String>,
}

impl Refusal {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, code: None, message: message.into(), field: None, allow: None }
    }

    /// What the platform says.
    pub fn of(error: &Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound => Kind::AddonNotFound,
            ErrorKind::Configuration => Kind::AddonConfiguration,
            ErrorKind::Needs => Kind::AddonNeeds,
            ErrorKind::Owned => Kind::AddonOwned,
            ErrorKind::Package => Kind::AddonPackage,
            ErrorKind::BuiltIn => Kind::AddonBuiltIn,
            ErrorKind::NoPage => Kind::AddonNoPage,
            ErrorKind::Failed => Kind::AddonFailed,
            ErrorKind::Other => Kind::Internal,
        };
        let field = match error {
            Error::Config { field, .. } => Some(field.clone()),
            _ => None,
        };
        Self { field, ..Self::new(kind, error.to_string()) }
    }

    /// There is nothing at a path.
    pub fn no_path() -> Self {
        let message =
            format!("there is nothing at this path; {}/openapi.json says what there is", super::PREFIX);
        Self::new(Kind::NotFound, message)
    }

    /// The dashboard's own server answers a path, and no other.
    pub fn elsewhere(path: &str) -> Self {
        let message = format!(
            "{path} is answered where the dashboard is: `rest` of GET {}/status says where",
            super::PREFIX
        );
        Self { code: Some(421), ..Self::new(Kind::NotFound, message) }
    }

    /// The path is there, for other methods.
    pub fn method(allowed: &[&str]) -> Self {
        let message = format!("this path takes {}", allowed.join(" and "));
        Self { code: Some(405), allow: Some(allowed.join(", ")), ..Self::new(Kind::Usage, message) }
    }

    /// The body or query is not as described.
    pub fn bad(field: &str, problem: &str) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(Kind::Usage, format!("{field}: {problem}")) }
    }

    /// The body is as described, but a value in it is not usable.
    pub fn invalid(field: &str, problem: &str) -> Self {
        Self { code: Some(422), ..Self::bad(field, problem) }
    }

    /// What a package's pods say is asked of the Kubernetes API.
    pub fn package_log(name: &str) -> Self {
        let message = format!(
            "{name} is a package: ask the API for the logs of its pods, or `sampan addons logs {name}`"
        );
        Self { code: Some(409), ..Self::new(Kind::AddonPackage, message) }
    }

    /// There is nothing of a name.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// There is no such token.
    pub fn no_token(message: &str) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// The name is taken.
    pub fn token_exists(name: &str) -> Self {
        let message = format!("there is a token {name:?} already; revoke it first, or choose another name");
        Self { code: Some(409), field: Some("name".to_owned()), ..Self::new(Kind::Usage, message) }
    }

    /// Something else has the name.
    pub fn taken(message: &str) -> Self {
        Self { code: Some(409), ..Self::new(Kind::Usage, message) }
    }

    /// The Kubernetes API refuses what was to be done, as the asker's fault: its code, 400 to 499, and its words.
    pub fn by_api(code: u16, message: &str) -> Self {
        let kind = match code {
            403 => Kind::PermissionDenied,
            404 => Kind::NotFound,
            _ => Kind::Usage,
        };
        Self { code: Some(code), ..Self::new(kind, message) }
    }

    /// There is no such operation.
    pub fn no_operation(id: &str) -> Self {
        Self::new(
            Kind::NotFound,
            format!("there is no operation {id:?}: the last hundred are remembered, until the daemon ends"),
        )
    }

    /// The daemon is ending.
    pub fn ending() -> Self {
        Self {
            code: Some(503),
            ..Self::new(Kind::NotRunning, "the daemon is ending; ask again once it runs")
        }
    }

    /// Something unforeseen.
    pub fn internal(message: &str) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// The HTTP status and the API's word for it.
    fn answer(&self) -> (u16, &'static str) {
        let code = self.code.unwrap_or(match self.kind {
            Kind::Usage => 400,
            Kind::PermissionDenied => 403,
            Kind::NotFound | Kind::AddonNotFound | Kind::AddonNoPage => 404,
            Kind::Locked | Kind::AddonFailed | Kind::AddonNeeds | Kind::AddonOwned | Kind::AddonBuiltIn => {
                409
            }
            Kind::AddonConfiguration | Kind::AddonPackage | Kind::Archive => 422,
            // the registry is not ours
            Kind::Image => 502,
            Kind::NotRunning => 503,
            Kind::StorageFull => 507,
            _ => 500,
        });
        let reason = match code {
            400 => "BadRequest",
            403 => "Forbidden",
            404 => "NotFound",
            405 => "MethodNotAllowed",
            409 => "Conflict",
            421 => "MisdirectedRequest",
            422 => "Invalid",
            502 => "BadGateway",
            503 => "ServiceUnavailable",
            _ => "InternalError",
        };
        (code, reason)
    }

    /// As a `Status`; the identifier that the command line shows is the cause's reason.
    pub fn status(&self) -> Value {
        let (code, reason) = self.answer();
        let mut cause = json!({"reason": self.kind.id(), "message": self.message});
        if let Some(field) = &self.field {
            cause["field"] = json!(field);
        }
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": reason, "details": {"causes": [cause]}, "code": code,
        })
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind, failure.message)
    }
}

/// A refusal as an answer.
pub fn refusal(refusal: &Refusal) -> Response<ResponseBody> {
    let mut response = json(refusal.answer().0, &refusal.status());
    if let Some(methods) = refusal.allow.as_ref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

/// A value as JSON.
pub fn json(code: u16, value: &Value) -> Response<ResponseBody> {
    of(code, "application/json", whole(format!("{value}\n").into()))
}

/// Text of a type.
pub fn text(content: &'static str, text: impl Into<Bytes>) -> Response<ResponseBody> {
    of(200, content, whole(text.into()))
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
