//! A port of a Service and the endpoints behind it: shared by all routes that lead there, so that a change of endpoints
//! is one swap and touches no route.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};
use k8s_openapi::api::networking::v1::ServiceBackendPort;
use sha2::{Digest, Sha256};

use crate::annotations::Protocol;

/// A port of a Service, as an Ingress names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service.
    pub service: String,
    /// Its port's name or number.
    pub port: PortName,
}

/// A name or a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortName {
    /// `spec.ports[].port`.
    Number(i32),
    /// `spec.ports[].name`.
    Name(String),
}

impl PortName {
    /// From an Ingress's backend.
    pub fn of(port: &ServiceBackendPort) -> Option<Self> {
        let name = port.name.clone().filter(|name| !name.is_empty());
        name.map(PortName::Name).or(port.number.filter(|number| *number > 0).map(PortName::Number))
    }

    fn find<'a>(&self, service: &'a Service) -> Option<&'a ServicePort> {
        let ports = service.spec.as_ref()?.ports.as_deref()?;
        ports.iter().find(|port| match self {
            PortName::Number(number) => port.port == *number,
            PortName::Name(name) => port.name.as_ref() == Some(name),
        })
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Port { namespace, service, port } = self;
        match port {
            PortName::Number(number) => write!(f, "{namespace}/{service}:{number}"),
            PortName::Name(name) => write!(f, "{namespace}/{service}:{name}"),
        }
    }
}

/// One address that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: SocketAddr,
    /// What stands for it in a cookie: says nothing of the address, and is the same after a restart.
    pub token: String,
}

impl Endpoint {
    /// The endpoint of a port at `address`.
    pub fn new(port: &Port, address: SocketAddr) -> Self {
        let digest = Sha256::digest(format!("{port} {address}"));
        Self { address, token: digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect() }
    }
}

/// What is known of a port now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Who answers, in the order of their addresses.
    pub endpoints: Vec<Endpoint>,
    /// What the Service's port says it speaks.
    pub protocol: Option<Protocol>,
}

/// The port and its state.
#[derive(Debug)]
pub struct Backend {
    /// Which port.
    pub port: Port,
    state: ArcSwap<State>,
    turn: AtomicUsize,
}

impl Backend {
    /// One with no endpoints yet.
    pub fn new(port: Port) -> Self {
        Self { port, state: ArcSwap::default(), turn: AtomicUsize::new(0) }
    }

    /// The state, for as long as the request wants to see the same.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Replaces the state, if it is another.
    pub fn set(&self, state: State) {
        if **self.state.load() != state {
            self.state.store(Arc::new(state));
        }
    }

    /// Where the next request begins to look: round robin.
    pub fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

/// The state of a port, from the Service and its slices. Endpoints that are ready; if there is none, those that still
/// serve while they terminate, as kube-proxy does.
pub fn resolve(port: &Port, service: Option<&Service>, slices: &[Arc<EndpointSlice>]) -> State {
    let Some(spec) = service.and_then(|service| port.port.find(service)) else { return State::default() };
    let (mut ready, mut leaving) = (Vec::new(), Vec::new());
    for slice in slices.iter().filter(|slice| slice.address_type != "FQDN") {
        let Some(number) = number_in(slice, spec.name.as_deref().unwrap_or_default()) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            match standing(endpoint) {
                Standing::Ready => ready.extend(addresses(endpoint, number)),
                Standing::Leaving => leaving.extend(addresses(endpoint, number)),
                Standing::Out => {}
            }
        }
    }
    let mut found = if ready.is_empty() { leaving } else { ready };
    found.sort_unstable();
    found.dedup();
    let endpoints = found.into_iter().map(|address| Endpoint::new(port, address)).collect();
    State { endpoints, protocol: spec.app_protocol.as_deref().and_then(Protocol::of_app) }
}

enum Standing {
    Ready,
    Leaving,
    Out,
}

fn standing(endpoint: &SliceEndpoint) -> Standing {
    let conditions = endpoint.conditions.as_ref();
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    // absent means ready
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
    match (ready, serving && terminating) {
        (true, _) => Standing::Ready,
        (false, true) => Standing::Leaving,
        (false, false) => Standing::Out,
    }
}

fn number_in(slice: &EndpointSlice, name: &str) -> Option<u16> {
    let port = slice.ports.iter().flatten().find(|port| port.name.as_deref().unwrap_or_default() == name)?;
    u16::try_from(port.port?).ok()
}

fn addresses(endpoint: &SliceEndpoint, port: u16) -> impl Iterator<Item = SocketAddr> {
    endpoint.addresses.iter().filter_map(move |address| {
        let address: IpAddr = address.parse().ok()?;
        Some(SocketAddr::new(address, port))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(port: PortName) -> Port {
        Port { namespace: "n".into(), service: "s".into(), port }
    }

    fn found(port: PortName, ports: &Value, slices: &[Value]) -> (Vec<String>, Option<Protocol>) {
        let service: Service = serde_json::from_value(json!({"spec": {"ports": ports}})).unwrap();
        let slices: Vec<Arc<EndpointSlice>> =
            slices.iter().map(|slice| Arc::new(serde_json::from_value(slice.clone()).unwrap())).collect();
        let state = resolve(&at(port), Some(&service), &slices);
        (state.endpoints.iter().map(|one| one.address.to_string()).collect(), state.protocol)
    }

    fn slice(endpoints: &Value) -> Value {
        json!({"addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "web", "port": 8080}, {"name": "rpc", "port": 9090}]})
    }

    #[test]
    fn ports_are_found_by_name_and_number_and_addresses_in_all_slices() {
        let ports = json!([{"name": "web", "port": 80}, {"name": "rpc", "port": 81, "appProtocol": "kubernetes.io/h2c"}]);
        let slices = [
            slice(
                &json!([{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]),
            ),
            slice(
                &json!([{"addresses": ["10.0.0.3"], "conditions": {"ready": false}}, {"addresses": ["10.0.0.2"]}]),
            ),
        ];
        let web = (vec!["10.0.0.1:8080".to_owned(), "10.0.0.2:8080".to_owned()], None);
        assert_eq!(found(PortName::Number(80), &ports, &slices), web);
        let rpc = found(PortName::Name("rpc".into()), &ports, &slices);
        assert_eq!((rpc.0[0].as_str(), rpc.1), ("10.0.0.1:9090", Some(Protocol::H2c)));
        assert_eq!(found(PortName::Number(82), &ports, &slices).0, Vec::<String>::new());
        assert_eq!(resolve(&at(PortName::Number(80)), None, &[]), State::default());
    }

    #[test]
    fn those_that_leave_answer_only_if_nobody_else_does() {
        let ports = json!([{"name": "web", "port": 80}]);
        let leaving = json!({"addresses": ["10.0.0.9"],
            "conditions": {"ready": false, "serving": true, "terminating": true}});
        let ready = json!({"addresses": ["10.0.0.1"]});
        let both = found(PortName::Number(80), &ports, &[slice(&json!([leaving, ready]))]);
        assert_eq!(both.0, ["10.0.0.1:8080"]);
        let alone = found(PortName::Number(80), &ports, &[slice(&json!([leaving]))]);
        assert_eq!(alone.0, ["10.0.0.9:8080"]);
    }

    #[test]
    fn the_token_of_an_endpoint_is_lasting() {
        let one = Endpoint::new(&at(PortName::Number(80)), "10.0.0.1:80".parse().unwrap());
        assert_eq!(one.token, Endpoint::new(&at(PortName::Number(80)), one.address).token);
        assert!(one.token.len() == 16 && !one.token.contains('.'));
    }
}
