//! The adapters between rooms that do not know each other.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
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
    fn request(&self, node: &str, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<ResponseBody>, String>> {
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

/// The kubelet's way to the pod network.
pub struct PodNetworkAdapter(pub sampan_pod_network::PodNetwork);

#[async_trait]
impl sampan_kubelet::Network for PodNetworkAdapter {
    async fn acquire(&self, uid: &str) -> Result<sampan_kubelet::PodNetwork, String> {
        self.0.acquire(uid).await.map(convert).map_err(|error| error.to_string())
    }

    async fn attach(&self, netns: &Path, uid: &str) -> Result<sampan_kubelet::PodNetwork, String> {
        self.0.attach(netns, uid).await.map(convert).map_err(|error| error.to_string())
    }

    async fn set_host_ports(&self, uid: &str, ports: Vec<sampan_pod_network::HostPort>) -> Result<(), String> {
        self.0.set_host_ports(uid, ports).await.map_err(|error| error.to_string())
    }

    async fn release(&self, uid: &str) -> Result<(), String> {
        self.0.release(uid).await.map_err(|error| error.to_string())
    }

    async fn recover(&self, uids: Vec<String>) -> Result<(), String> {
        self.0.recover(&uids).await.map_err(|error| error.to_string())
    }
}

fn convert(network: sampan_pod_network::PodNet) -> sampan_kubelet::PodNetwork {
    let ips: Vec<IpAddr> = network.ips;
    sampan_kubelet::PodNetwork { netns: network.netns, ips }
}
