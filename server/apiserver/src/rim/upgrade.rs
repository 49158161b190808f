//! A request that asks for another protocol: the handler answers it, or takes the raw connection.

use std::convert::Infallible;
use std::io;

use actix_codec::Framed;
use actix_http::body::{BodySize, MessageBody};
use actix_http::h1::{Codec, Message};
use bytes::Bytes;
use futures::SinkExt;

use super::connection::{Connection, Shown, boxed};
use super::{InRuntime, State, convert};
use crate::TakeoverSlot;
use sampan_api::status::ApiError;

/// Serves one upgrade request; the connection ends with it.
pub(super) async fn handle(
    state: State,
    request: actix_http::Request,
    framed: Framed<Connection, Codec>,
) -> Result<(), Infallible> {
    if let Err(error) = answer(state, request, framed).await {
        tracing::debug!(%error, "an upgraded connection ended early");
    }
    Ok(())
}

async fn answer(
    state: State,
    request: actix_http::Request,
    framed: Framed<Connection, Codec>,
) -> io::Result<()> {
    let peer = Shown::peer(request.conn_data::<Shown>(), request.peer_addr());
    let converted = convert::request(request.head(), Bytes::new());
    drop(request);
    let mut response = match converted {
        Ok(request) => {
            InRuntime { runtime: state.runtime.clone(), future: state.serve.serve(request, peer) }.await
        }
        Err(why) => return write(framed, convert::failure(&ApiError::bad_request(why))).await,
    };
    match response.extensions_mut().remove::<TakeoverSlot>().and_then(|slot| slot.take()) {
        Some(takeover) => {
            let parts = framed.into_parts();
            let io = boxed(parts.io, parts.read_buf.freeze());
            InRuntime { runtime: state.runtime, future: (takeover.0)(io) }.await;
            Ok(())
        }
        None => write(framed, convert::response(response, state.runtime, None)).await,
    }
}

/// Writes a plain response and closes.
async fn write(
    mut framed: Framed<Connection, Codec>,
    response: actix_http::Response<convert::Body>,
) -> io::Result<()> {
    let mut body = None;
    let mut head = response.map_body(|_, b| drop(body.replace(b)));
    let Some(body) = body else { return Ok(()) };
    head.head_mut().set_connection_type(actix_http::ConnectionType::Close);
    let size = body.size();
    framed.send(Message::Item((head, size))).await?;
    if !matches!(size, BodySize::None | BodySize::Sized(0)) {
        let mut body = std::pin::pin!(body);
        while let Some(chunk) = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            framed.send(Message::Chunk(Some(chunk?))).await?;
        }
        framed.send(Message::Chunk(None)).await?;
    }
    framed.close().await
}
