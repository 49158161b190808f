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

/// Nobody is signed in.
pub fn unauthorized() -> HttpResponse {
    failure(401, "Unauthorized", "sign in: run `sampan dashboard`, or send a token")
}
