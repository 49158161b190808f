//! Answers that hold something for as long as they go on: a stream's body, or the connection that it took over.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::{BoxError, ResponseBody, Takeover, TakeoverSlot};

/// The answer, which drops `guard` when it ends.
pub(crate) fn until_its_end<G: Send + Unpin + 'static>(
    mut response: Response<ResponseBody>,
    guard: G,
) -> Response<ResponseBody> {
    if let Some(taken) = response.extensions_mut().remove::<TakeoverSlot>().and_then(|slot| slot.take()) {
        let over = Takeover(Box::new(move |io| {
            Box::pin(async move {
                (taken.0)(io).await;
                drop(guard);
            })
        }));
        response.extensions_mut().insert(TakeoverSlot::new(over));
        return response;
    }
    response.map(|inner| Held { inner, _guard: guard }.boxed_unsync())
}

/// A body that holds something.
struct Held<G> {
    inner: ResponseBody,
    _guard: G,
}

impl<G: Unpin> Body for Held<G> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
