//! Who a request is from: a cookie of ours, or a bearer token that the API server knows.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{Api, User};

/// What asks whose a token is.
fn reviewer() -> User {
    User { name: "system:apiserver".into(), groups: vec!["system:masters".into()], ..User::default() }
}

/// Whose a token is, by a TokenReview; none if the API server does not know it (any more).
pub async fn of_token(api: &Api, token: &str) -> Option<User> {
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let request = Request::builder()
        .method(Method::POST)
        .uri("/apis/authentication.k8s.io/v1/tokenreviews")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(review.to_string()))
        .ok()?;
    let body = api(reviewer(), request).await.response.into_body().collect().await.ok()?.to_bytes();
    reviewed(&serde_json::from_slice(&body).ok()?)
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
