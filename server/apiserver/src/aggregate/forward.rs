//! A request on its way to an API server behind a Service, and the answer or the upgraded connection back.

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{Request, Response};
use sampan_store::Store;

use super::backend::{Backend, identify};
use crate::pipeline::{Context, passing, respond};
use crate::{ResponseBody, Takeover};

/// Why there is no answer of the server's own.
pub(super) enum Failed {
    /// Nobody to ask.
    Unavailable,
    /// The server could not be reached, or did not answer.
    Unreached(Response<ResponseBody>),
}

/// Passes the request on; it has been authorized.
pub(super) async fn forward(
    store: &Store,
    context: &Context,
    backend: &Backend,
) -> Result<Response<ResponseBody>, Failed> {
    let address = backend.address(store).map_err(|_| Failed::Unavailable)?;
    let destination =
        backend.destination(&address, true).map_err(|why| Failed::Unreached(plain(500, why)))?;
    let unreached =
        |why: String| Failed::Unreached(plain(503, format!("error trying to reach service: {why}")));
    let uri = context.head.uri.path_and_query().map_or("/", |uri| uri.as_str()).to_owned();
    let mut headers = passing::end_to_end(&context.head.headers);
    passing::without_impersonation(&mut headers);
    identify(&mut headers, &context.user);
    headers.extend(HeaderValue::from_str(&destination.authority()).ok().map(|host| (HOST, host)));
    if passing::upgrades(&context.head.headers) {
        let io = destination.connect().await.map_err(unreached)?;
        let head = passing::upgrade_head(&context.head.method, &uri, &headers);
        return Ok(passing::take_over(Takeover(Box::new(move |client| {
            Box::pin(passing::join(io, head, client))
        }))));
    }
    let mut request = Request::new(context.body.clone());
    *request.method_mut() = context.head.method.clone();
    *request.uri_mut() = uri.parse().map_err(|_| unreached("no such path".to_owned()))?;
    *request.headers_mut() = headers;
    let response = destination.send(request).await.map_err(unreached)?;
    let (mut head, body) = response.into_parts();
    head.headers = passing::end_to_end(&head.headers);
    Ok(Response::from_parts(head, body))
}

/// Upstream's `http.Error`.
pub(super) fn plain(code: u16, text: impl Into<String>) -> Response<ResponseBody> {
    let mut response = respond::raw(code, "text/plain; charset=utf-8", Bytes::from(text.into() + "\n"));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
