//! What every namespace has: the ServiceAccount `default` (upstream's `serviceaccounts_controller.go`) and the
//! ConfigMap `kube-root-ca.crt` (upstream's `rootcacertpublisher`).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::PostParams;
use kube::runtime::watcher;
use sampan_reconcile::{Controller, Error, Informer, Key, Object, Sources};

use crate::context::Context;
use crate::pod_control::is_terminating;
use crate::words::{name, resource_version};

const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// An object that every active namespace has to have.
pub(crate) trait Wanted: Send + Sync + 'static {
    type Object: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Object
        + serde::Serialize
        + std::fmt::Debug;
    const CONTROLLER: &'static str;
    const QUEUE: &'static str;
    const NAME: &'static str;
    /// What the object should be, given what it is; `None` if it is right.
    fn wanted(&self, namespace: &str, current: Option<&Self::Object>) -> Option<Self::Object>;
}

/// Makes the ServiceAccount `default`.
pub(crate) struct DefaultServiceAccount;

impl Wanted for DefaultServiceAccount {
    type Object = ServiceAccount;
    const CONTROLLER: &'static str = "service-account-controller";
    const QUEUE: &'static str = "serviceaccount";
    const NAME: &'static str = "default";

    fn wanted(&self, namespace: &str, current: Option<&ServiceAccount>) -> Option<ServiceAccount> {
        match current {
            Some(_) => None,
            None => {
                Some(ServiceAccount { metadata: meta(namespace, Self::NAME), ..ServiceAccount::default() })
            }
        }
    }
}

/// Publishes the certificate authority, which is this PEM text.
pub(crate) struct RootCa(pub String);

impl Wanted for RootCa {
    type Object = ConfigMap;
    const CONTROLLER: &'static str = "root-ca-certificate-publisher-controller";
    const QUEUE: &'static str = "root_ca_cert_publisher";
    const NAME: &'static str = ROOT_CA;

    fn wanted(&self, namespace: &str, current: Option<&ConfigMap>) -> Option<ConfigMap> {
        let data = Some([("ca.crt".to_owned(), self.0.clone())].into());
        if current.is_some_and(|map| map.data == data) {
            return None;
        }
        let mut map = current
            .cloned()
            .unwrap_or(ConfigMap { metadata: meta(namespace, ROOT_CA), ..ConfigMap::default() });
        let annotations = map.metadata.annotations.get_or_insert_default();
        annotations.insert("kubernetes.io/description".to_owned(), ROOT_CA_DESCRIPTION.to_owned());
        map.data = data;
        Some(map)
    }
}

fn meta(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() }
}

/// The controller for one such object.
pub(crate) struct NamespaceDefaults<D: Wanted> {
    context: Context,
    namespaces: Informer<Namespace>,
    objects: Informer<D::Object>,
    default: D,
}

impl<D: Wanted> NamespaceDefaults<D> {
    pub fn new(context: &Context, default: D) -> Self {
        let only = watcher::Config::default().fields(&format!("metadata.name={}", D::NAME));
        let objects = context.informers.with::<D::Object>(only);
        Self { context: context.clone(), namespaces: context.informers.of(), objects, default }
    }
}

impl<D: Wanted> Controller for NamespaceDefaults<D> {
    type Key = Key;

    fn name(&self) -> &'static str {
        D::CONTROLLER
    }

    fn queue(&self) -> &'static str {
        D::QUEUE
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.namespaces, |delta| vec![delta.key.clone()]);
        sources.on(&self.objects, |delta| vec![Key::cluster(delta.key.namespace())]);
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(ns) = self.namespaces.get(key) else { return Ok(None) };
        if ns.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let current = self.objects.get(&Key::namespaced(&key.name, D::NAME));
        let Some(wanted) = self.default.wanted(&key.name, current.as_deref()) else { return Ok(None) };
        let api = self.context.namespaced::<D::Object>(&key.name);
        let params = PostParams::default();
        let result = match current {
            Some(_) => api.replace(name(wanted.meta()), &params, &wanted).await,
            None => api.create(&params, &wanted).await,
        };
        match result {
            Ok(written) => self.objects.reached(resource_version(written.meta())).await,
            Err(error) if is_terminating(&error) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_root_ca_is_written_once_and_kept_right() {
        let publisher = RootCa("PEM".to_owned());
        let first = publisher.wanted("a", None).unwrap();
        assert_eq!(first.data.as_ref().unwrap()["ca.crt"], "PEM");
        assert!(publisher.wanted("a", Some(&first)).is_none());
        let changed = RootCa("NEW".to_owned()).wanted("a", Some(&first)).unwrap();
        assert_eq!(changed.data.unwrap()["ca.crt"], "NEW");
        assert!(DefaultServiceAccount.wanted("a", Some(&ServiceAccount::default())).is_none());
    }
}
