//! A node's own port: the kubelet's API for whoever asks it directly, as scrapers of metrics do.
//!
//! The kubelet is in this process and leaves it to others who may ask it what. Here that is what upstream's kubelet asks the
//! API server (`pkg/kubelet/server/auth.go`): a certificate or a token says who asks, and what they need is a verb on a
//! sub-resource of this node. Refusals are plain text, as upstream's.

use bytes::Bytes;
use http::{Method, Request, Response};
use sampan_api::status::ApiError;

use super::connect::{end_to_end, take_over, upgrades, without_impersonation};
use super::respond;
use crate::auth::Attributes;
use crate::{ApiServer, Peer, ResponseBody, Takeover, UserInfo};

/// The sub-resources one of which a path needs, the finer one first.
fn needed(path: &str) -> &'static [&'static str] {
    match path.trim_start_matches('/').split('/').next().unwrap_or("") {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "checkpoint" => &["checkpoint"],
        "healthz" => &["healthz", "proxy"],
        "configz" => &["configz", "proxy"],
        "statusz" => &["statusz", "proxy"],
        "flagz" => &["flagz", "proxy"],
        "pods" | "runningpods" => &["pods", "proxy"],
        _ => &["proxy"],
    }
}

/// What a method does. A websocket begins with GET, and is a session all the same.
fn verb(method: &Method, session: bool) -> &'static str {
    match *method {
        _ if session => "create",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

fn refusal(code: u16, why: String) -> Response<ResponseBody> {
    respond::raw(code, "text/plain; charset=utf-8", why)
}

impl ApiServer {
    /// Answers a request that came to the port of `node`.
    pub(crate) async fn handle_at_node(
        &self,
        request: Request<Bytes>,
        peer: Peer,
        node: &str,
    ) -> Response<ResponseBody> {
        let (mut head, body) = request.into_parts();
        without_impersonation(&mut head.headers);
        if let Some(preparing) = self.gate().prepare(&head, &peer) {
            preparing.await;
        }
        let user = match self.gate().identify(&head, &peer) {
            Ok(user) if *user != UserInfo::anonymous() => user,
            _ => return refusal(401, "Unauthorized".to_owned()),
        };
        let session = upgrades(&head.headers);
        let (verb, needed) = (verb(&head.method, session), needed(head.uri.path()));
        let allowed = needed.iter().any(|subresource| {
            let attributes = Attributes {
                verb,
                group: "",
                version: "v1",
                resource: "nodes",
                subresource,
                namespace: "",
                name: node,
                path: head.uri.path(),
                is_resource: true,
                field_selector: "",
                label_selector: "",
            };
            self.gate().authorize(&user, &attributes).allowed()
        });
        if !allowed {
            let why = format!(
                "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])\n",
                user.name,
                needed.join(" ")
            );
            return refusal(403, why);
        }
        let reached = self.reach(Request::from_parts(head, body), session, node).await;
        reached.unwrap_or_else(|error| respond::error(&error))
    }

    async fn reach(
        &self,
        request: Request<Bytes>,
        session: bool,
        node: &str,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let connector = self.registry().connector()?;
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let mut request =
            Request::builder().method(head.method).uri(path).body(body).map_err(ApiError::internal)?;
        if !session {
            *request.headers_mut() = end_to_end(&head.headers);
            let answer = connector.request(node, request).await;
            return answer.map_err(|why| ApiError::internal(format!("error reaching node {node}: {why}")));
        }
        *request.headers_mut() = head.headers;
        request.headers_mut().remove(http::header::AUTHORIZATION);
        let node = node.to_owned();
        Ok(take_over(Takeover(Box::new(move |io| connector.upgrade(&node, request, io)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_need_a_sub_resource_of_the_node() {
        for (path, want) in [
            ("/metrics/resource", "metrics"),
            ("/stats/summary", "stats"),
            ("/logs/", "log"),
            ("/healthz", "healthz proxy"),
            ("/healthz/ping", "healthz proxy"),
            ("/pods", "pods proxy"),
            ("/exec/a/b/c", "proxy"),
            ("/metricsx", "proxy"),
            ("/", "proxy"),
        ] {
            assert_eq!(needed(path).join(" "), want, "{path}");
        }
    }

    #[test]
    fn a_session_is_no_look() {
        let verbs = [(Method::GET, false), (Method::HEAD, false), (Method::GET, true), (Method::POST, true)];
        assert_eq!(verbs.map(|(method, session)| verb(&method, session)), ["get", "get", "create", "create"]);
    }
}
