//! Requests that go on to the API server as the signed-in user.

use std::pin::pin;
use std::sync::Arc;

use actix_web::http::header::HeaderName;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::Request;
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};

use crate::server::{Asker, State};
use crate::{BoxError, reply};

/// The API server's own bound on a body.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// Packages of addons are larger.
const MAX_ARCHIVE: usize = 64 * 1024 * 1024;
/// Chunks of an answer that wait for a slow reader.
const CHUNKS: usize = 8;
/// What of a request's head goes on: who asks is not among it.
const PASSED: [HeaderName; 5] = [
    header::ACCEPT,
    header::CONTENT_TYPE,
    header::USER_AGENT,
    header::ACCEPT_LANGUAGE,
    HeaderName::from_static("prefer"),
];

/// Sends a request on; `target` is path and query at the API server.
pub async fn pass(
    state: &Arc<State>,
    asker: Asker,
    request: &HttpRequest,
    target: &str,
    payload: web::Payload,
) -> HttpResponse {
    if is_proxied(target) {
        return reply::failure(
            403,
            "Forbidden",
            "pods and services are not shown on the dashboard's own origin: see /sampan/v1/open",
        );
    }
    let limit = if target.starts_with("/sampan/") { MAX_ARCHIVE } else { MAX_BODY };
    let body = match read(payload, limit).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let mut builder = Request::builder().method(request.method().as_str()).uri(target);
    for name in PASSED {
        for value in request.headers().get_all(&name) {
            builder = builder.header(name.as_str(), value.as_bytes());
        }
    }
    match builder.body(body) {
        Ok(asked) => send(state, asker, asked).await,
        Err(error) => reply::failure(400, "BadRequest", &error.to_string()),
    }
}

/// What a pod or a service answers is code of others: it has no place on an origin that a session is kept for.
///
/// The API server decodes each segment; nobody honest escapes a word of its own, so one that is escaped may be any.
fn is_proxied(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or(target);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let said = |part: &str, words: &[&str]| words.contains(&part) || part.contains('%');
    let leads = |rest: &[&str]| match rest {
        [namespaces, _, kind, _, proxy, ..]
            if said(namespaces, &["namespaces"]) && said(kind, &["pods", "services"]) =>
        {
            said(proxy, &["proxy"])
        }
        [nodes, _, proxy, ..] => said(nodes, &["nodes"]) && said(proxy, &["proxy"]),
        _ => false,
    };
    match parts.as_slice() {
        [api, _, rest @ ..] if said(api, &["api"]) => {
            let after_verb = rest.split_first().filter(|(verb, _)| said(verb, &["watch", "proxy"]));
            leads(rest) || after_verb.is_some_and(|(_, rest)| leads(rest))
        }
        _ => false,
    }
}

/// A request's body, held to a size.
pub async fn read(mut payload: web::Payload, limit: usize) -> Result<Bytes, HttpResponse> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| reply::failure(400, "BadRequest", &error.to_string()))?;
        if body.len() + chunk.len() > limit {
            let message = format!("the body is larger than {limit} bytes");
            return Err(reply::failure(413, "RequestEntityTooLarge", &message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

type Head = (http::StatusCode, http::HeaderMap);

/// Asks in the daemon's runtime, and streams the answer; a reader that goes away ends it, and so does a session's end.
pub async fn send(state: &Arc<State>, asker: Asker, request: Request<Bytes>) -> HttpResponse {
    let (tell_head, head) = oneshot::channel::<Head>();
    let (tell, chunks) = mpsc::channel::<Result<Bytes, BoxError>>(CHUNKS);
    let owner = state.clone();
    state.runtime.spawn(async move {
        let (parts, mut body) = tokio::select! {
            answer = (owner.api)(asker.user.clone(), request) => answer.response.into_parts(),
            () = tell.closed() => return,
        };
        if tell_head.send((parts.status, parts.headers)).is_err() {
            return;
        }
        let mut over = pin!(owner.over(&asker));
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                // a watch that nothing happens on would not notice otherwise
                () = tell.closed() => return,
                () = &mut over => return,
            };
            let chunk = match frame {
                Some(Ok(frame)) => frame.into_data().map(Ok),
                Some(Err(error)) => Ok(Err(error)),
                None => return,
            };
            if let Ok(chunk) = chunk
                && tell.send(chunk).await.is_err()
            {
                return;
            }
        }
    });
    let Ok((status, headers)) = head.await else {
        return reply::failure(503, "ServiceUnavailable", "the daemon is ending");
    };
    let mut response =
        HttpResponse::build(StatusCode::from_u16(status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY));
    for (name, value) in &headers {
        if !["content-length", "transfer-encoding", "connection"].contains(&name.as_str()) {
            response.append_header((name.as_str(), value.as_bytes()));
        }
    }
    let chunks = futures::stream::unfold(chunks, |mut chunks| async {
        chunks.recv().await.map(|chunk| (chunk.map_err(actix_web::error::ErrorInternalServerError), chunks))
    });
    response.streaming(Box::pin(chunks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_others_is_kept_out() {
        for (target, proxied) in [
            ("/api/v1/namespaces/a/pods/b/proxy", true),
            ("/api/v1/namespaces/a/services/https:b:1/proxy/x?y", true),
            ("/api/v1//namespaces/a/pods/b/proxy/", true),
            ("/api/v1/nodes/n/proxy/logs", true),
            ("/api/v1/namespaces/a/pods/b/prox%79/x.html", true),
            ("/%61pi/v1/%6eamespaces/a/p%6fds/b/%70roxy/", true),
            ("/api/v1/watch/namespaces/a/services/b/proxy/", true),
            ("/api/%76%31/nodes/n/%70roxy/", true),
            ("/api/v1/namespaces/a/pods/b%3Ac/log", false),
            ("/apis/apps/v1/namespaces/a/deployments/proxy", false),
            ("/api/v1/namespaces/a/pods/proxy", false),
            ("/api/v1/namespaces/proxy", false),
            ("/api/v1/namespaces/a/configmaps/b?x=/proxy", false),
        ] {
            assert_eq!(is_proxied(target), proxied, "{target}");
        }
    }
}
