//! Answers of the ingress itself: short, plain and clear.

use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Response, StatusCode};

use crate::body::Answer;

/// Why a request is not answered by an endpoint.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no one host.
    Host,
    /// Its path has no normal form.
    Path,
    /// Its body is broken.
    Body,
    /// A method that is for the connection, not for the resource.
    Method,
    /// No rule.
    NoRoute,
    /// Its body is larger than allowed.
    TooLarge,
    /// To https.
    Redirect(String),
    /// The Service has no ready endpoint.
    NoEndpoint,
    /// No endpoint could be reached, or it broke off.
    Upstream,
    /// An endpoint took too long.
    Timeout,
}

impl Refusal {
    fn words(&self) -> (StatusCode, &'static str) {
        match self {
            Refusal::Host => (StatusCode::BAD_REQUEST, "the request names no host, or several"),
            Refusal::Path => (StatusCode::BAD_REQUEST, "the path has no normal form"),
            Refusal::Body => (StatusCode::BAD_REQUEST, "the body is malformed or was cut off"),
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "the method is not for an ingress"),
            Refusal::NoRoute => (StatusCode::NOT_FOUND, "no Ingress has a rule for this host and path"),
            Refusal::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than this Ingress allows")
            }
            Refusal::Redirect(_) => (StatusCode::PERMANENT_REDIRECT, "this Ingress is served by https"),
            Refusal::NoEndpoint => (StatusCode::SERVICE_UNAVAILABLE, "the Service has no ready endpoint"),
            Refusal::Upstream => (StatusCode::BAD_GATEWAY, "no endpoint of the Service gave an answer"),
            Refusal::Timeout => (StatusCode::GATEWAY_TIMEOUT, "the endpoint did not answer in time"),
        }
    }

    /// As an answer.
    pub fn answer(&self) -> Response<Answer> {
        let (status, words) = self.words();
        let mut answer = Response::new(Answer::text(format!("{status}: {words}\n")));
        *answer.status_mut() = status;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        answer.headers_mut().insert(CONTENT_TYPE, plain);
        if status == StatusCode::BAD_REQUEST {
            // whoever sends that may mean something else by what follows as well
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Refusal::Redirect(place) = self
            && let Ok(place) = HeaderValue::from_str(place)
        {
            answer.headers_mut().insert(LOCATION, place);
        }
        answer
    }
}
