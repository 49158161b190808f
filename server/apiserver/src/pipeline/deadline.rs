//! How long a request may take: upstream's `WithRequestDeadline`, `WithTimeoutForNonLongRunningRequests` and `FinishRequest`.
//!
//! The deadline is kept beside the request as a task-local value, so that whoever calls others for it knows what is left.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::Response;
use sampan_api::go;
use sampan_api::status::{ApiError, Reason};
use tokio::time::Instant;

use super::info::RequestInfo;
use super::query::Query;
use super::respond;
use crate::{ResponseBody, audit};

/// Upstream's `--request-timeout`.
const LONGEST: Duration = Duration::from_secs(60);
/// The part of it that a write may take: upstream's `requestTimeoutUpperBound`.
const WRITE: Duration = Duration::from_secs(34);
/// What is said of a request that took too long, in upstream's bare form.
const LATE: &str = concat!(
    r#"{"metadata":{},"status":"Failure","message":"Timeout: request did not complete within the allotted timeout","#,
    r#""reason":"Timeout","details":{},"code":504}"#,
    "\n"
);

tokio::task_local! {
    static DEADLINE: Instant;
}

/// What is left to whoever answers in this task; nothing of what may go on for long.
pub(crate) fn left() -> Option<Duration> {
    DEADLINE.try_with(|end| end.saturating_duration_since(Instant::now())).ok()
}

/// A request that took too long, as a Status.
pub(crate) fn timed_out(more: &str) -> ApiError {
    let what = "Timeout: request did not complete within requested timeout";
    ApiError::new(Reason::Timeout, format!("{what}{more}"))
}

/// `timeout` has to be a duration.
pub(super) fn check(info: &RequestInfo, query: &Query) -> Result<(), ApiError> {
    let wrong = |why| ApiError::bad_request(format!("invalid timeout specified in the request URL - {why}"));
    within(info, query).map(drop).map_err(wrong)
}

/// How long a request may take, if it has a bound: what its client says, and no longer than any may.
pub(super) fn within(info: &RequestInfo, query: &Query) -> Result<Option<Duration>, String> {
    if audit::long_running(info) {
        return Ok(None);
    }
    let text = query.text("timeout");
    let asked = if text.is_empty() { 0 } else { go::parse_duration(text)? };
    let asked = u64::try_from(asked).ok().filter(|nanoseconds| *nanoseconds > 0).map(Duration::from_nanos);
    Ok(Some(asked.map_or(LONGEST, |asked| asked.min(LONGEST))))
}

/// Runs what answers a request, for as long as that may take. A time that cannot be read is told of by [`check`].
pub(super) async fn keep<T>(
    within: Result<Option<Duration>, String>,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let Some(within) = within.unwrap_or(Some(LONGEST)) else { return Some(answer.await) };
    let end = Instant::now() + within;
    let mut answer = pin!(DEADLINE.scope(end, answer));
    // most are answered at once, without a timer
    if let Poll::Ready(answer) = futures::poll!(answer.as_mut()) {
        return Some(answer);
    }
    // the end comes first: what fails because of it is not what is told
    tokio::select! {
        biased;
        () = tokio::time::sleep_until(end) => None,
        answer = answer => Some(answer),
    }
}

/// Runs a write, which has less time than the request has by default.
pub(super) async fn write<T>(answer: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    let end = Instant::now() + WRITE;
    match DEADLINE.try_with(|whole| *whole) {
        Ok(whole) if end < whole => {}
        _ => return answer.await,
    }
    let answered = tokio::time::timeout_at(end, DEADLINE.scope(end, answer)).await;
    answered.unwrap_or_else(|_| Err(timed_out(" - context deadline exceeded")))
}

/// The answer to a request that took too long.
pub(super) fn late() -> Response<ResponseBody> {
    respond::raw(504, "text/plain; charset=utf-8", LATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::info;

    fn seconds(path: &str, query: &str) -> Result<Option<u64>, String> {
        let query = Query::parse(query);
        let info = info::parse(&http::Method::GET, path, &query);
        within(&info, &query).map(|within| within.map(|within| within.as_secs()))
    }

    #[test]
    fn a_client_may_shorten_its_time() {
        let pods = "/api/v1/namespaces/a/pods";
        for (query, expect) in [("", 60), ("timeout=10s", 10), ("timeout=0s", 60), ("timeout=-5s", 60)] {
            assert_eq!(seconds(pods, query), Ok(Some(expect)), "{query}");
        }
        assert_eq!(seconds(pods, "timeout=5m"), Ok(Some(60)));
        assert_eq!(seconds(pods, "watch=1&timeout=5m"), Ok(None));
        assert_eq!(seconds("/api/v1/namespaces/a/pods/p/log", ""), Ok(None));
        assert!(seconds(pods, "timeout=5").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_given_up() {
        let of = async |query: &str, takes: u64| {
            let query = Query::parse(query);
            let info = info::parse(&http::Method::GET, "/api/v1/pods", &query);
            let answer = write(async {
                tokio::time::sleep(Duration::from_secs(takes)).await;
                Ok(left().map(|left| left.as_millis().div_ceil(1000)))
            });
            keep(within(&info, &query), answer).await.map(|answer| answer.map_err(|error| error.message))
        };
        assert_eq!(of("", 4).await, Some(Ok(Some(30))));
        let late = "Timeout: request did not complete within requested timeout - context deadline exceeded";
        assert_eq!(of("", 40).await, Some(Err(late.to_owned())));
        assert_eq!(of("timeout=10s", 3).await, Some(Ok(Some(7))));
        assert_eq!(of("timeout=10s", 10).await, None);
        assert_eq!(left(), None);
    }
}
