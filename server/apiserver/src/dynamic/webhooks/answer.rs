//! What a webhook's answer says. Ported from upstream's `plugin/webhook/request/admissionreview.go` and
//! `plugin/webhook/errors/statuserror.go`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sampan_api::go::Quote as _;
use sampan_api::kinds::Kind;
use sampan_api::status::{ApiError, Reason};
use serde_json::Value;

use crate::dynamic::request;
use crate::value::{at, items, strings, text};

/// Why a request may not go on.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The webhook says no.
    Denied(Box<ApiError>),
    /// What is asked cannot be done with webhooks, whatever they say.
    Unable(Box<ApiError>),
    /// The webhook could not be asked, or answers nonsense; the code is for whoever counts.
    Failed { why: String, code: u16 },
}

impl Refusal {
    pub(super) fn denied(error: ApiError) -> Self {
        Self::Denied(Box::new(error))
    }
    pub(super) fn unable(error: ApiError) -> Self {
        Self::Unable(Box::new(error))
    }
    pub(super) fn failed(code: u16, why: impl Into<String>) -> Self {
        Self::Failed { why: why.into(), code }
    }
}

/// A sound answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// The status with which it says no.
    pub denied: Option<Value>,
    /// A JSON patch, with its type.
    pub patch: Option<(Vec<u8>, String)>,
    pub warnings: Vec<String>,
    pub annotations: Vec<(String, String)>,
}

pub(super) fn verify(told: &Value, version: &str, uid: &str, mutating: bool) -> Result<Answer, String> {
    let (group, kind) = (text(told, &["apiVersion"]), text(told, &["kind"]));
    let response = at(told, &["response"]);
    if response.is_null() {
        return Err("webhook response was absent".into());
    }
    let patch =
        STANDARD.decode(text(response, &["patch"])).map_err(|why| format!("illegal base64 data: {why}"))?;
    let patch_type = at(response, &["patchType"]).as_str();
    if version == "v1" {
        let given = text(response, &["uid"]);
        if given != uid {
            return Err(format!("expected response.uid={}, got {}", uid.quoted(), given.quoted()));
        }
        if group != "admission.k8s.io/v1" || kind != "AdmissionReview" {
            return Err(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {group}, Kind={kind}"
            ));
        }
        check_patch(&patch, patch_type, mutating)?;
    }
    let kind_of_patch = if version == "v1" { patch_type.unwrap_or_default() } else { "JSONPatch" };
    let annotations = at(response, &["auditAnnotations"]).as_object().into_iter().flatten();
    Ok(Answer {
        denied: (at(response, &["allowed"]).as_bool() != Some(true))
            .then(|| at(response, &["status"]).clone()),
        patch: (mutating && !patch.is_empty()).then(|| (patch, kind_of_patch.to_owned())),
        warnings: strings(at(response, &["warnings"])),
        annotations: annotations
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
    })
}

fn check_patch(patch: &[u8], patch_type: Option<&str>, mutating: bool) -> Result<(), String> {
    Err(match (mutating, patch.is_empty(), patch_type) {
        (true, false, None) => "webhook returned response.patch but not response.patchType".into(),
        (true, true, Some(_)) => "webhook returned response.patchType but not response.patch".into(),
        (true, false, Some("")) => "webhook returned invalid response.patchType of \"\"".into(),
        (false, false, _) => "validating webhook may not return response.patch".into(),
        (false, true, Some(_)) => "validating webhook may not return response.patchType".into(),
        _ => return Ok(()),
    })
}

/// The object that the webhook saw as `kind`, patched; none if nothing changes.
pub(super) fn patched(
    (patch, patch_type): &(Vec<u8>, String),
    hook: &str,
    object: &Value,
    kind: &'static Kind,
) -> Result<Option<Value>, Refusal> {
    let operations: Value = serde_json::from_slice(patch).map_err(|why| {
        Refusal::failed(503, format!("received undecodable patch in webhook response: {why}"))
    })?;
    if operations.as_array().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    if object.is_null() {
        let why = format!(
            "admission webhook {} attempted to modify the object, which is not supported for this operation",
            hook.quoted()
        );
        return Err(Refusal::unable(ApiError::internal(why)));
    }
    if patch_type != "JSONPatch" {
        return Err(Refusal::failed(400, format!("unsupported patch type {}", patch_type.quoted())));
    }
    let changed = request::patched(patch, object, kind);
    let changed = changed.map_err(|why| Refusal::unable(ApiError::internal(why)))?;
    Ok(Some(changed).filter(|changed| changed != object))
}

fn reason_named(name: &str) -> Option<Reason> {
    use Reason::*;
    let all = [
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
    ];
    all.into_iter().find(|reason| reason.name() == name)
}

/// What the client sees of a webhook's no: the webhook's own status, with who says it ahead of the message. A code below 400 says
/// 400 instead.
pub(super) fn denial(status: &Value, hook: &str) -> ApiError {
    let by = format!("admission webhook {} denied the request", hook.quoted());
    let (message, reason) = (text(status, &["message"]), text(status, &["reason"]));
    let why = match (message, reason) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    let mut error = ApiError::new(reason_named(reason).unwrap_or(Reason::Unknown), why);
    error.other_reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
    let code = at(status, &["code"]).as_u64().and_then(|code| u16::try_from(code).ok());
    error.code = code.filter(|code| (400..1000).contains(code)).unwrap_or(400);
    let details = at(status, &["details"]);
    if details.is_object() {
        let word = |key: &str| text(details, &[key]).to_owned();
        (error.name, error.group, error.kind, error.uid) =
            (word("name"), word("group"), word("kind"), word("uid"));
        let cause = |one: &Value| {
            let word = |key: &str| text(one, &[key]).to_owned();
            (word("reason"), word("message"), word("field"))
        };
        error.causes = items(at(details, &["causes"])).iter().map(cause).collect();
        let seconds = at(details, &["retryAfterSeconds"]).as_u64();
        error.retry_after_seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
        error.with_details = true;
    }
    error
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(response: Value, version: &str, mutating: bool) -> Result<Answer, String> {
        let told =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        verify(&told, version, "u", mutating)
    }

    #[test]
    fn a_no_is_the_webhooks_own_status() {
        let by = "admission webhook \"v.x.io\" denied the request";
        let cases = [
            (json!({}), 400, None, " without explanation"),
            (json!({"message": "no"}), 400, None, ": no"),
            (json!({"message": "no", "code": 200}), 400, None, ": no"),
            (json!({"reason": "it is late"}), 400, Some("it is late"), ": it is late"),
            (json!({"message": "no", "code": 403, "reason": "Forbidden"}), 403, Some("Forbidden"), ": no"),
            (json!({"message": "no", "code": 500}), 500, None, ": no"),
        ];
        for (status, code, reason, why) in cases {
            let told = denial(&status, "v.x.io").to_value();
            assert_eq!(told["code"], code, "{status}");
            assert_eq!(told.get("reason").and_then(Value::as_str), reason, "{status}");
            assert_eq!(told["message"], format!("{by}{why}"), "{status}");
            assert_eq!(told.get("details"), None, "{status}");
        }
        let details = json!({"name": "a", "kind": "widgets", "retryAfterSeconds": 3,
            "causes": [{"reason": "FieldValueInvalid", "message": "odd", "field": "spec.a"}]});
        let told = denial(&json!({"code": 422, "reason": "Invalid", "details": details}), "v.x.io");
        assert_eq!((told.reason, &told.to_value()["details"]), (Reason::Invalid, &details));
    }

    #[test]
    fn answers_are_checked_as_upstreams() {
        let patch = STANDARD.encode("[]");
        let cases = [
            (json!(null), true, "webhook response was absent"),
            (json!({"uid": "x", "allowed": true}), true, "expected response.uid=\"u\", got \"x\""),
            (
                json!({"uid": "u", "patch": patch}),
                true,
                "webhook returned response.patch but not response.patchType",
            ),
            (
                json!({"uid": "u", "patchType": "JSONPatch"}),
                true,
                "webhook returned response.patchType but not response.patch",
            ),
            (
                json!({"uid": "u", "patch": patch, "patchType": ""}),
                true,
                "webhook returned invalid response.patchType of \"\"",
            ),
            (json!({"uid": "u", "patch": patch}), false, "validating webhook may not return response.patch"),
            (
                json!({"uid": "u", "patchType": "JSONPatch"}),
                false,
                "validating webhook may not return response.patchType",
            ),
        ];
        for (response, mutating, why) in cases {
            assert_eq!(of(response.clone(), "v1", mutating), Err(why.to_owned()), "{response}");
        }
        let other = verify(&json!({"response": {"uid": "u"}}), "v1", "u", true).expect_err("no kind");
        assert!(
            other.starts_with("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview"),
            "{other}"
        );
        let yes = json!({"uid": "u", "allowed": true, "warnings": ["w"], "auditAnnotations": {"k": "v"}});
        let expected = Answer {
            warnings: vec!["w".into()],
            annotations: vec![("k".into(), "v".into())],
            ..Answer::default()
        };
        assert_eq!(of(yes, "v1", true), Ok(expected));
        // v1beta1 is not held to uid and type
        let patched = of(json!({"allowed": true, "patch": patch}), "v1beta1", true).expect("an answer");
        assert_eq!(patched.patch, Some((b"[]".to_vec(), "JSONPatch".into())));
    }
}
