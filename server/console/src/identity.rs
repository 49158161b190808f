//! Who a request is from: a cookie of ours, or a bearer token that the API server knows.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{Api, User};

/// What asks whose a token is.
fn reviewer() -> User {
    User { name: "system:apiserver".into(), groups: vec!["system:masters".into()], ..User::default() }
}

/// The API server did not say.
#[derive(Clone, Copy, Debug)]
pub struct Unasked;

/// Whose a token is, by a TokenReview; none if the API server does not know it (any more).
///
/// # Errors
/// It did not say: it is ending, or too busy.
pub async fn of_token(api: &Api, token: &str) -> Result<Option<User>, Unasked> {
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let request = Request::builder()
        .method(Method::POST)
        .uri("/apis/authentication.k8s.io/v1/tokenreviews")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(review.to_string()))
        .map_err(|_| Unasked)?;
    let response = api(reviewer(), request).await.response;
    if !response.status().is_success() {
        // what cannot be in a TokenReview is no token
        return if response.status().is_client_error() && response.status() != StatusCode::TOO_MANY_REQUESTS {
            Ok(None)
        } else {
            Err(Unasked)
        };
    }
    let body = response.into_body().collect().await.map_err(|_| Unasked)?.to_bytes();
    Ok(reviewed(&serde_json::from_slice(&body).map_err(|_| Unasked)?))
}

fn reviewed(review: &Value) -> Option<User> {
    let status = &review["status"];
    if status["authenticated"] != true {
        return None;
    }
    let user: User = serde_json::from_value(status["user"].clone()).ok()?;
    (!user.name.is_empty()).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_names_the_user() {
        let review = |status: Value| reviewed(&json!({"status": status}));
        let user = review(
            json!({"authenticated": true, "user": {"username": "a", "groups": ["g", "system:authenticated"]}}),
        );
        // TokenReview calls the name `username`
        assert_eq!(
            user,
            Some(User {
                name: "a".into(),
                groups: vec!["g".into(), "system:authenticated".into()],
                ..User::default()
            })
        );
        assert_eq!(review(json!({"authenticated": false, "user": {"username": "a"}})), None);
        assert_eq!(review(json!({"authenticated": true, "user": {}})), None);
        assert_eq!(review(Value::Null), None);
    }
}
