//! An API server behind a Service: where it is, as whom it is asked, and what it said of itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use rustls::ClientConfig;
use sampan_api::go::Quote as _;
use sampan_store::{Key, Snapshot, Store};
use serde_json::Value;

use super::openapi::Published;
use super::table::{Reference, Spec};
use super::{PATIENCE, Place};
use crate::outbound::{Destination, Identity, Trust, client_config};
use crate::pki::Issued;
use crate::registry::store_name;
use crate::value::{at, items, text};
use crate::{ResponseBody, UserInfo};

const SLICES: &str = "endpointslices.discovery.k8s.io";

/// An address and a port.
type Address = (String, u16);

/// One server.
pub(super) struct Backend {
    pub(super) service: Reference,
    trust: Trust,
    issued: Arc<Issued>,
    verified: Result<Arc<ClientConfig>, String>,
    unverified: Result<Arc<ClientConfig>, String>,
    resolved: Mutex<Option<Resolved>>,
    destinations: Mutex<HashMap<(Address, bool), Destination>>,
    turn: AtomicUsize,
    /// Its `APIResourceList`, as it was last told.
    pub(super) resources: Mutex<Option<Value>>,
    /// Its description, as it was last told.
    pub(super) published: Mutex<Option<Arc<Published>>>,
}

/// Addresses, and the state of the cluster that they were found in.
struct Resolved {
    services: Snapshot,
    slices: Snapshot,
    addresses: Result<Vec<Address>, String>,
}

impl Backend {
    fn new(service: Reference, trust: Trust, issued: Arc<Issued>) -> Self {
        let config = |trust: &Trust| {
            let key = issued.private_key().ok_or("the front proxy's key cannot be read")?;
            client_config(trust, Some(Identity { chain: vec![issued.certificate()], key })).map(Arc::new)
        };
        Self {
            verified: config(&trust),
            unverified: config(&Trust::Anyone),
            service,
            trust,
            issued,
            resolved: Mutex::default(),
            destinations: Mutex::default(),
            turn: AtomicUsize::new(0),
            resources: Mutex::default(),
            published: Mutex::default(),
        }
    }

    /// Whether this is still what `spec` describes.
    fn is(&self, spec: &Spec, issued: &Arc<Issued>) -> bool {
        spec.service.as_ref() == Some(&self.service)
            && spec.trust == self.trust
            && Arc::ptr_eq(issued, &self.issued)
    }

    /// One of its addresses, in turn; errors are why there is none.
    pub(super) fn address(&self, store: &Store) -> Result<Address, String> {
        let (services, slices) = (store.list("services"), store.list(SLICES));
        let mut kept = self.resolved.lock();
        let same = |resolved: &Resolved| {
            resolved.services.map.ptr_eq(&services.map) && resolved.slices.map.ptr_eq(&slices.map)
        };
        if !kept.as_ref().is_some_and(same) {
            let addresses = addresses(
                &service(store, &self.service),
                &slices_of(&slices, &self.service),
                self.service.port,
            );
            *kept = Some(Resolved { services, slices, addresses });
        }
        let addresses = kept.as_ref().map(|resolved| resolved.addresses.clone()).unwrap_or(Ok(Vec::new()))?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        addresses.get(turn % addresses.len().max(1)).cloned().ok_or_else(|| "no endpoints".to_owned())
    }

    /// The way to an address; its certificate has to be the Service's, but for a check of whether it is there.
    pub(super) fn destination(&self, address: &Address, verified: bool) -> Result<Destination, String> {
        let key = (address.clone(), verified);
        let mut kept = self.destinations.lock();
        if let Some(known) = kept.get(&key) {
            return Ok(known.clone());
        }
        // pods come and go
        if kept.len() > 32 {
            kept.clear();
        }
        let config = if verified { self.verified.clone() } else { self.unverified.clone() }?;
        let name = format!("{}.{}.svc", self.service.name, self.service.namespace);
        let made = Destination::tls(address.0.clone(), address.1, &name, config)?;
        kept.insert(key, made.clone());
        Ok(made)
    }

    /// Asks for a document as the aggregator itself.
    pub(super) async fn fetch(
        &self,
        store: &Store,
        path: &str,
        accept: &'static str,
    ) -> Result<Bytes, String> {
        let destination = self.destination(&self.address(store)?, true)?;
        let response = ask(&destination, path, accept).await?;
        if !response.status().is_success() {
            return Err(format!("bad status from {path}: {}", response.status().as_u16()));
        }
        let body = tokio::time::timeout(PATIENCE, response.into_body().collect()).await;
        let body = body.map_err(|_| format!("timed out waiting for {path}"))?;
        body.map(|body| body.to_bytes()).map_err(|error| error.to_string())
    }

    /// Whether it answers for `place` with a success: upstream's check of availability, which verifies nothing.
    pub(super) async fn check(&self, store: &Store, place: &Place) -> Result<(), String> {
        let address = self.address(store)?;
        let destination = self.destination(&address, false)?;
        let path = format!("/apis/{}/{}", place.0, place.1);
        let url = format!("https://{}{path}", destination.authority());
        let failing = |why: String| format!("failing or missing response from {url}: {why}");
        let response =
            match tokio::time::timeout(PATIENCE, ask(&destination, &path, "application/json")).await {
                Ok(response) => response.map_err(|why| failing(format!("Get {}: {why}", url.quoted())))?,
                Err(_) => return Err(format!("timed out waiting for {url}")),
            };
        match response.status().is_success() {
            true => Ok(()),
            false => Err(failing(format!("bad status from {url}: {}", response.status().as_u16()))),
        }
    }
}

async fn ask(
    destination: &Destination,
    path: &str,
    accept: &'static str,
) -> Result<Response<ResponseBody>, String> {
    let mut request = Request::get(path).body(Bytes::new()).map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    headers.extend(HeaderValue::from_str(&destination.authority()).ok().map(|host| (HOST, host)));
    identify(
        headers,
        &UserInfo {
            name: "system:kube-aggregator".into(),
            groups: vec!["system:masters".into()],
            ..UserInfo::default()
        },
    );
    destination.send(request).await
}

/// The servers, made when they are first asked for.
#[derive(Default)]
pub(super) struct Backends(Mutex<HashMap<Place, Arc<Backend>>>);

impl Backends {
    /// The server that `spec` names; `None` for what this process serves.
    pub(super) fn of(&self, place: &Place, spec: &Spec, issued: &Arc<Issued>) -> Option<Arc<Backend>> {
        let service = spec.service.clone()?;
        let mut known = self.0.lock();
        if let Some(backend) = known.get(place).filter(|backend| backend.is(spec, issued)) {
            return Some(backend.clone());
        }
        let made = Arc::new(Backend::new(service, spec.trust.clone(), issued.clone()));
        known.insert(place.clone(), made.clone());
        Some(made)
    }

    /// Forgets those that are not wanted.
    pub(super) fn keep(&self, wanted: impl Fn(&Place) -> bool) {
        self.0.lock().retain(|place, _| wanted(place));
    }
}

/// The Service, or null.
pub(super) fn service(store: &Store, reference: &Reference) -> Value {
    let entry = store.get(&Key::new("services", store_name(&reference.namespace, &reference.name)));
    entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()).unwrap_or_default()
}

/// The Service's slices.
pub(super) fn slices_of(slices: &Snapshot, reference: &Reference) -> Vec<Value> {
    let prefix = format!("{}/", reference.namespace);
    let all = slices.prefix(&prefix).filter_map(|entry| serde_json::from_slice::<Value>(&entry.value).ok());
    all.filter(|slice| text(slice, &["metadata", "labels", "kubernetes.io/service-name"]) == reference.name)
        .collect()
}

/// The slices as they are now.
pub(super) fn slices(store: &Store, reference: &Reference) -> Vec<Value> {
    slices_of(&store.list(SLICES), reference)
}

/// Where a Service's port leads: `proxy.ResolveEndpoint`.
fn addresses(service: &Value, slices: &[Value], port: u16) -> Result<Vec<Address>, String> {
    if text(service, &["spec", "type"]) == "ExternalName" {
        return Ok(vec![(text(service, &["spec", "externalName"]).to_owned(), port)]);
    }
    let ports = items(at(service, &["spec", "ports"]));
    let wanted = ports.iter().find(|one| at(one, &["port"]).as_u64() == Some(port.into()));
    let name = wanted.map(|one| text(one, &["name"])).ok_or("no service port found")?;
    let mut found = Vec::new();
    for slice in slices {
        let port = items(at(slice, &["ports"])).iter().find(|one| text(one, &["name"]) == name);
        let Some(port) = port.and_then(|one| u16::try_from(at(one, &["port"]).as_u64()?).ok()) else {
            continue;
        };
        let ready = items(at(slice, &["endpoints"])).iter().filter(|one| is_ready(one));
        let addresses = ready.filter_map(|one| items(at(one, &["addresses"])).first()?.as_str());
        found.extend(addresses.map(|address| (address.to_owned(), port)));
    }
    if found.is_empty() { Err("no endpoints available".to_owned()) } else { Ok(found) }
}

pub(super) fn is_ready(endpoint: &Value) -> bool {
    at(endpoint, &["conditions", "ready"]).as_bool() != Some(false)
}

/// Puts who asks into the headers, and nobody else: `transport.SetAuthProxyHeaders`.
pub(super) fn identify(headers: &mut HeaderMap, user: &UserInfo) {
    let claimed: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    user.groups.iter().for_each(|group| add("x-remote-group", group));
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escaped(key));
        values.iter().for_each(|value| add(&name, value));
    }
}

/// A key of extra facts as a part of a header's name: `headerKeyEscape`.
fn escaped(key: &str) -> String {
    let mut out = String::new();
    for byte in key.bytes() {
        match byte {
            b'!' | b'#' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|'
            | b'~' => out.push(byte as char),
            byte if byte.is_ascii_alphanumeric() => out.push(byte as char),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_services_port_leads_to_its_ready_endpoints() {
        let service = json!({"spec": {"ports": [{"name": "web", "port": 80}, {"name": "api", "port": 443}]}});
        let slice = json!({
            "ports": [{"name": "api", "port": 6443}, {"name": "web", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": true}},
            ],
        });
        let at = |ip: &str| (ip.to_owned(), 6443);
        assert_eq!(
            addresses(&service, std::slice::from_ref(&slice), 443),
            Ok(vec![at("10.0.0.1"), at("10.0.0.3")])
        );
        assert_eq!(addresses(&service, &[], 443), Err("no endpoints available".into()));
        assert_eq!(addresses(&service, &[slice], 444), Err("no service port found".into()));
        let external = json!({"spec": {"type": "ExternalName", "externalName": "api.example"}});
        assert_eq!(addresses(&external, &[], 7), Ok(vec![("api.example".to_owned(), 7)]));
    }

    #[test]
    fn nobody_brings_an_identity_along() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("root"));
        headers.insert("x-remote-extra-a", HeaderValue::from_static("b"));
        let extra = [("example.org/Pod name".to_owned(), vec!["x".to_owned(), "y".to_owned()])];
        let user = UserInfo {
            name: "jane".into(),
            uid: "7".into(),
            groups: vec!["a".into(), "b".into()],
            extra: extra.into(),
        };
        identify(&mut headers, &user);
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((all("x-remote-user"), all("x-remote-uid")), (vec!["jane"], vec!["7"]));
        assert_eq!(all("x-remote-group"), ["a", "b"]);
        assert_eq!(all("x-remote-extra-example.org%2fpod%20name"), ["x", "y"]);
        assert!(all("x-remote-extra-a").is_empty());
    }
}
