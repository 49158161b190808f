//! Connections that the API server makes itself: to aggregated API servers and audit webhooks.
//!
//! HTTP/1.1 over TLS with whatever trust and identity the configuration names. A connection that an answer has left in
//! order is kept for the next request; one that was upgraded belongs to whoever took it over. What is not here: which
//! server to speak to, and what its answers mean.

pub(crate) mod kubeconfig;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use sampan_process::BoxedIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) use tls::{Identity, Trust, client_config};

use crate::ResponseBody;

/// How long a connection may take to come about.
const CONNECTING: Duration = Duration::from_secs(10);
/// Idle connections that are kept.
const KEPT: usize = 8;

/// A server to speak to. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Destination(Arc<Inner>);

struct Inner {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Destination {
    /// A server that shows a certificate for `name`.
    pub(crate) fn tls(
        host: impl Into<String>,
        port: u16,
        name: &str,
        config: Arc<rustls::ClientConfig>,
    ) -> Result<Self, String> {
        let name = ServerName::try_from(name.to_owned()).map_err(|error| format!("{name}: {error}"))?;
        Ok(Self::new(host.into(), port, Some((config.into(), name))))
    }

    /// A server without TLS.
    pub(crate) fn plain(host: impl Into<String>, port: u16) -> Self {
        Self::new(host.into(), port, None)
    }

    fn new(host: String, port: u16, tls: Option<(TlsConnector, ServerName<'static>)>) -> Self {
        Self(Arc::new(Inner { host, port, tls, idle: Mutex::default() }))
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> String {
        match self.0.host.contains(':') {
            true => format!("[{}]:{}", self.0.host, self.0.port),
            false => format!("{}:{}", self.0.host, self.0.port),
        }
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Result<BoxedIo, String> {
        let connecting = async {
            let place = (self.0.host.as_str(), self.0.port);
            let failed = |error: std::io::Error| format!("dial tcp {}: connect: {error}", self.authority());
            let stream = TcpStream::connect(place).await.map_err(failed)?;
            let _ = stream.set_nodelay(true);
            match &self.0.tls {
                None => Ok(Box::new(stream) as BoxedIo),
                Some((tls, name)) => {
                    let stream = tls.connect(name.clone(), stream).await;
                    stream.map(|stream| Box::new(stream) as BoxedIo).map_err(|error| format!("tls: {error}"))
                }
            }
        };
        let late = |_| Err(format!("dial tcp {}: i/o timeout", self.authority()));
        tokio::time::timeout(CONNECTING, connecting).await.unwrap_or_else(late)
    }

    /// Sends one request; its answer's body is streamed.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<ResponseBody>, String> {
        let mut request = request.map(Full::new);
        while let Some(mut kept) = self.kept() {
            match kept.try_send_request(request).await {
                Ok(response) => return Ok(self.keep_after(kept, response)),
                // closed by the other end meanwhile, before it saw the request
                Err(mut error) => match error.take_message() {
                    Some(back) => request = back,
                    None => return Err(error.into_error().to_string()),
                },
            }
        }
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = handshake(io).await.map_err(|error| error.to_string())?;
        // ends with the body that it feeds, or when nobody holds its sender any more
        tokio::spawn(async move { drop(connection.await) });
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        Ok(self.keep_after(sender, response))
    }

    /// A connection whose last answer has been read.
    fn kept(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.0.idle.lock();
        idle.retain(|sender| !sender.is_closed());
        let free = idle.iter().position(SendRequest::is_ready)?;
        Some(idle.swap_remove(free))
    }

    /// Keeps a connection; it becomes ready once the answer has been read.
    fn keep_after(
        &self,
        sender: SendRequest<Full<Bytes>>,
        response: Response<hyper::body::Incoming>,
    ) -> Response<ResponseBody> {
        // a body without an end in sight (a watch) has the connection for itself
        let bounded = http_body::Body::size_hint(response.body()).exact().is_some_and(|size| size < 1 << 20);
        let mut idle = self.0.idle.lock();
        if bounded && idle.len() < KEPT && !sender.is_closed() {
            idle.push(sender);
        }
        drop(idle);
        response.map(|body| body.map_err(|error| Box::new(error) as crate::BoxError).boxed_unsync())
    }
}
