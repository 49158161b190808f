//! The socket and its connections: HTTP/1.1 and HTTP/2 without TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use sampan_addon::{Context, Drain, Error};
use tokio::net::{TcpListener, TcpStream};

use crate::server::Server;

/// A request's head has to be there after so long.
const HEAD: Duration = Duration::from_secs(30);
/// What goes on at the drain may go on for so long.
const GRACE: Duration = Duration::from_secs(2);
/// A pause when the process has no file left for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens.
///
/// # Errors
/// The address is not to be had.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Error::Io { what: format!("listening on {address}"), error })
}

/// Serves until the drain.
pub async fn serve(listener: TcpListener, server: Arc<Server>, context: &Context, drain: Drain) {
    loop {
        let accepted = tokio::select! {
            () = drain.wait() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (server, drain) = (server.clone(), drain.clone());
                context.tasks.spawn("connection", connection(stream, server, drain));
            }
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, server: Arc<Server>, drain: Drain) {
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(HEAD));
    let service = service_fn(move |request| server.clone().handle(request));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.wait() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
