//! Makes a [`kube::Client`]: over loopback (in this process) or from a kubeconfig (over the network).
//!
//! Every component above this crate reaches objects through a `kube::Client` and cannot tell which of the two
//! it holds. The loopback is a `tower::Service` around any [`Handler`]; the binary passes the API server's
//! pipeline. It carries the identity of the component that calls, so that authorization, admission and
//! audit hold for our own components, without a socket, TLS or a copy.

mod metrics;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

/// Errors of a response body or of the transport.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A response body: whole, or streamed as a watch or a log is.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;
/// What a [`Handler`] returns.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>;

/// Something that answers HTTP requests in process, as one fixed user.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Errors are answers, too (`Status` objects).
    fn handle(self: Arc<Self>, request: Request<Bytes>) -> ResponseFuture;
}

impl<F> Handler for F
where
    F: Fn(Request<Bytes>) -> ResponseFuture + Send + Sync + 'static,
{
    fn handle(self: Arc<Self>, request: Request<Bytes>) -> ResponseFuture {
        self(request)
    }
}

/// The `tower::Service` that [`loopback`] gives to kube.
#[derive(Clone)]
struct Loopback(Arc<dyn Handler>);

impl tower::Service<Request<kube::client::Body>> for Loopback {
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let handler = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let (method, began) = (head.method.clone(), Instant::now());
            let response = handler.handle(Request::from_parts(head, body)).await;
            let whole = response.body().size_hint().exact().is_some();
            metrics::answered(&method, response.status().as_u16(), whole.then(|| began.elapsed()));
            Ok(response)
        })
    }
}

/// A client that calls `handler` directly. `default_namespace` is what `Api::default_namespaced` uses.
pub fn loopback(handler: Arc<dyn Handler>, default_namespace: &str) -> kube::Client {
    kube::Client::new(Loopback(handler), default_namespace)
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be read or used.
    #[error("kubeconfig {path}: {message}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

/// A client for the cluster that `path`'s current context names.
pub async fn from_kubeconfig(path: &std::path::Path) -> Result<kube::Client, Error> {
    let fail = |message: String| Error::Kubeconfig { path: path.display().to_string(), message };
    let file = kube::config::Kubeconfig::read_from(path).map_err(|e| fail(e.to_string()))?;
    let config = kube::Config::from_custom_kubeconfig(file, &Default::default())
        .await
        .map_err(|e| fail(e.to_string()))?;
    kube::Client::try_from(config).map_err(|e| fail(e.to_string()))
}
