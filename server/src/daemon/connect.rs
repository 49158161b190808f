//! The adapters between rooms that do not know each other.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{HeaderValue, USER_AGENT};
use http::{Request, Response};
use k8s_openapi::api::core::v1::Node;
use sampan_apiserver::{ApiServer, NodeConnector, ResponseBody, UserInfo};
use sampan_kubelet::Kubelet;
use sampan_process::BoxedIo;
use sampan_reconcile::{Informer, Key};

/// What a component calls itself, which is also who manages the fields that it writes.
fn agent(user: &str) -> HeaderValue {
    let name = match user.strip_prefix("system:") {
        Some(node) if node.starts_with("node:") => "kubelet",
        Some("apiserver") => "kube-apiserver",
        Some(component) if component.starts_with("kube-") => component,
        _ => "sampan",
    };
    let text = format!("{name}/{}", sampan_apiserver::VERSION);
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("sampan"))
}

/// A client that is `user` with `groups`, over loopback.
pub fn client(server: &ApiServer, user: &str, groups: &[&str]) -> kube::Client {
    let handler = server.loopback_by_parts(UserInfo::new(user, groups));
    let agent = agent(user);
    let handle = move |mut request: Request<Bytes>| -> sampan_client::ResponseFuture {
        request.headers_mut().entry(USER_AGENT).or_insert_with(|| agent.clone());
        handler(request)
    };
    sampan_client::loopback(Arc::new(handle), "default")
}

/// The API server's way to this node's kubelet: a function call.
pub struct InProcess {
    /// The only node that has containers.
    pub node: String,
    /// Its kubelet.
    pub kubelet: Arc<Kubelet>,
    /// All nodes, simulated ones too.
    pub nodes: Informer<Node>,
}

impl InProcess {
    fn unreachable(&self, node: &str) -> String {
        let known = self.nodes.get(&Key::cluster(node));
        match known.is_some_and(|node| sampan_simulate::words::is_simulated(&node)) {
            true => format!("node {node} is simulated: its pods have no containers, and no logs"),
            false => format!("no route to the kubelet of node {node}"),
        }
    }
}

impl NodeConnector for InProcess {
    fn request(
        &self,
        node: &str,
        request: Request<Bytes>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, String>> {
        if node != self.node {
            let message = self.unreachable(node);
            return Box::pin(async move { Err(message) });
        }
        let answer = self.kubelet.handle(request);
        Box::pin(async move { Ok(answer.await) })
    }

    fn upgrade(&self, node: &str, request: Request<Bytes>, io: BoxedIo) -> BoxFuture<'static, ()> {
        match node == self.node {
            true => self.kubelet.upgrade(request, io),
            // dropping the connection is all that can be said after the upgrade
            false => Box::pin(async {}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_called_as_upstreams_are() {
        for (user, name) in [
            ("system:node:n1", "kubelet"),
            ("system:kube-controller-manager", "kube-controller-manager"),
            ("system:kube-scheduler", "kube-scheduler"),
            ("kubernetes-admin", "sampan"),
            ("system:sampan:addons", "sampan"),
        ] {
            let agent = agent(user);
            assert_eq!(agent.to_str().unwrap_or("").split('/').next(), Some(name), "{user}");
        }
    }
}
