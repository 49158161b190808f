//! Between actix's words for HTTP and ours (they use different major versions of the `http` crate).

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_http::body::{BodySize, MessageBody};
use actix_http::header::{HeaderName, HeaderValue};
use actix_http::{RequestHead, ResponseHead, StatusCode, Version};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use sampan_api::status::ApiError;
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::connection::MARK;
use crate::ResponseBody;

/// An actix head as a request of ours.
pub(super) fn request(head: &RequestHead, body: Bytes) -> Result<Request<Bytes>, String> {
    let version = match head.version {
        Version::HTTP_10 => http::Version::HTTP_10,
        Version::HTTP_2 => http::Version::HTTP_2,
        _ => http::Version::HTTP_11,
    };
    let mut builder =
        Request::builder().method(head.method.as_str()).uri(head.uri.to_string()).version(version);
    let mark = head.headers.get(MARK);
    for (name, value) in head.headers.iter() {
        let value = match name.as_str() {
            MARK => continue,
            "upgrade" => mark.unwrap_or(value),
            _ => value,
        };
        builder = builder.header(name.as_str(), value.as_bytes());
    }
    builder.body(body).map_err(|e| e.to_string())
}

/// A response of ours as actix's.
pub(super) fn response(
    response: Response<ResponseBody>,
    runtime: Handle,
    gone: Option<CancellationToken>,
) -> actix_http::Response<Body> {
    let (head, body) = response.into_parts();
    let body = Body { inner: body, runtime, gone: gone.map(|t| Box::pin(t.cancelled_owned())) };
    let status = StatusCode::from_u16(head.status.as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut out = actix_http::Response::with_body(status, body);
    copy_headers(&head.headers, out.head_mut());
    out
}

/// The headers, but for those that actix writes itself.
pub(super) fn copy_headers(from: &http::HeaderMap, to: &mut ResponseHead) {
    for (name, value) in from {
        let framing =
            [http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING, http::header::CONNECTION];
        if framing.contains(name) {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            to.headers_mut().append(name, value);
        }
    }
}

/// A `Status` as a response.
pub(super) fn failure(error: &ApiError) -> actix_http::Response<Body> {
    let body = Full::new(Bytes::from(error.to_value().to_string())).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() =
        http::StatusCode::from_u16(error.code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response(answer, Handle::current(), None)
}

/// A response body as actix polls it. On HTTP/2, where actix does not notice it by itself, it ends with the
/// connection.
pub(super) struct Body {
    inner: ResponseBody,
    runtime: Handle,
    gone: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl MessageBody for Body {
    type Error = std::io::Error;

    fn size(&self) -> BodySize {
        match self.inner.size_hint().exact() {
            Some(n) => BodySize::Sized(n),
            None => BodySize::Stream,
        }
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, std::io::Error>>> {
        let this = &mut *self;
        if this.gone.as_mut().is_some_and(|gone| gone.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(None);
        }
        let _context = this.runtime.enter();
        loop {
            match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(std::io::Error::other(error)))),
                // an empty chunk would read as the end; trailers have no meaning in this API
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                    _ => {}
                },
            }
        }
    }
}
