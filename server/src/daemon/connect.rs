//! The adapters between rooms that do not know each other.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use sampan_apiserver::{ApiServer, NodeConnector, ResponseBody, UserInfo};
use sampan_kubelet::Kubelet;
use sampan_process::BoxedIo;

/// A client that is `user` with `groups`, over loopback.
pub fn client(server: &ApiServer, user: &str, groups: &[&str]) -> kube::Client {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let handler = server.loopback(UserInfo { name: user.to_owned(), groups, ..Default::default() });
    let handle = move |request: Request<Bytes>| -> sampan_client::ResponseFuture { handler(request) };
    sampan_client::loopback(Arc::new(handle), "default")
}

/// The API server's way to this node's kubelet: a function call.
pub struct InProcess {
    /// The only node there is.
    pub node: String,
    /// Its kubelet.
    pub kubelet: Arc<Kubelet>,
}

impl NodeConnector for InProcess {
    fn request(
        &self,
        node: &str,
        request: Request<Bytes>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, String>> {
        if node != self.node {
            let message = format!("no route to the kubelet of node {node}");
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
