//! Endpoints: servers of this process that say what they were sent.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;
type Handler = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Reply> + Send + Sync>;

/// A server that ends with this value.
pub struct Endpoint {
    pub port: u16,
    /// Requests so far.
    pub count: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    pub fn requests(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// One that answers as `handler` does.
    pub async fn start<F>(handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let handler: Handler = Arc::new(move |request| {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(handler(request))
        });
        let task = tokio::spawn(async move {
            // connections end with the listener
            let mut all = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let handler = handler.clone();
                all.spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = handler(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, count, task }
    }

    /// One that answers with what it was sent, and `name`.
    pub async fn echo(name: &'static str) -> Self {
        Self::start(move |request| async move {
            let (parts, body) = request.into_parts();
            let length = body.collect().await.map_or(0, |body| body.to_bytes().len());
            let headers: serde_json::Map<_, _> = parts
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap_or("?"))))
                .collect();
            let text = json!({
                "name": name, "method": parts.method.as_str(), "uri": parts.uri.to_string(),
                "headers": headers, "length": length,
            });
            text_reply(text.to_string())
        })
        .await
    }
}

pub fn text_reply(text: impl Into<Bytes>) -> Reply {
    Response::new(Full::new(text.into()).boxed_unsync())
}

/// A body of `frames`, then trailers.
pub fn with_trailers(frames: Vec<Bytes>, trailers: &[(&'static str, &'static str)]) -> Reply {
    let mut map = HeaderMap::new();
    trailers.iter().for_each(|(name, value)| _ = map.insert(*name, HeaderValue::from_static(value)));
    let frames = frames.into_iter().map(Frame::data).chain([Frame::trailers(map)]);
    let body = http_body_util::StreamBody::new(futures::stream::iter(frames.map(Ok)));
    Response::new(body.boxed_unsync())
}
