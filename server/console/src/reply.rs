//! Answers in the API's own form: `Status` objects.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde_json::json;

/// A failure, as `metav1.Status` with `reason` and `code`.
pub fn failure(code: u16, reason: &str, message: &str) -> HttpResponse {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponseBuilder::new(code).json(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    }))
}

/// Nobody is signed in to the cluster of this profile.
pub fn unauthorized(profile: &str) -> HttpResponse {
    let of = if profile == "sampan" { String::new() } else { format!("-p {profile} ") };
    failure(401, "Unauthorized", &format!("sign in: run `sampan {of}dashboard`, or send a token"))
}
