//! Where tokens of the scope `operate` change objects: in every namespace but the system's own, for in those lie the
//! accounts and Secrets of whoever may do everything.
//!
//! A RoleBinding to `edit` for each token and namespace, kept as namespaces and tokens come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use sampan_process::Tasks;
use sampan_reconcile::{Controller, Error, Informer, Informers, Key, Sources};

use super::tokens::{NAMESPACE, SCOPE, Scope};

/// Names the account that a binding is for.
const ACCOUNT: &str = "sampan.dev/token-account";

/// What keeps the bindings.
pub struct Reach {
    admin: Client,
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
    bindings: Informer<RoleBinding>,
}

/// Keeps the bindings until the drain; `admin` writes them.
pub fn keep(admin: Client, informers: &Informers, tasks: &Tasks) {
    let labelled = |label: &str| watcher::Config::default().labels(label);
    let operate = format!("{SCOPE}={}", Scope::Operate.word());
    let reach = Reach {
        admin,
        namespaces: informers.of(),
        accounts: informers.within(NAMESPACE, labelled(&operate)),
        bindings: informers.with(labelled(ACCOUNT)),
    };
    tasks.spawn("token reach", sampan_reconcile::run(Arc::new(reach), tasks.drain()));
}

/// Whether a namespace is the system's: upstream keeps the prefix for itself.
fn is_system(namespace: &str) -> bool {
    namespace.starts_with("kube-")
}

fn binding(namespace: &str, account: &str) -> RoleBinding {
    RoleBinding {
        metadata: ObjectMeta {
            name: Some(account.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(ACCOUNT.to_owned(), account.to_owned())])),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "ClusterRole".to_owned(),
            name: "edit".to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account.to_owned(),
            namespace: Some(NAMESPACE.to_owned()),
            ..Subject::default()
        }]),
    }
}

async fn bind(client: &Client, namespace: &str, account: &str) -> kube::Result<()> {
    let api: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    match api.create(&PostParams::default(), &binding(namespace, account)).await {
        // a namespace that goes takes everything along
        Err(kube::Error::Api(status)) if [403, 404, 409].contains(&status.code) => Ok(()),
        result => result.map(drop),
    }
}

/// Binds a new account in the namespaces there are, so that its token is good for them at once.
pub async fn grant(client: &Client, account: &str) -> kube::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for namespace in namespaces.list(&ListParams::default()).await?.items {
        if !is_system(&namespace.name_any()) {
            bind(client, &namespace.name_any(), account).await?;
        }
    }
    Ok(())
}

/// Takes away what an account was granted.
pub async fn revoke(client: &Client, account: &str) -> kube::Result<()> {
    let all: Api<RoleBinding> = Api::all(client.clone());
    let bound = all.list(&ListParams::default().labels(&format!("{ACCOUNT}={account}"))).await?;
    for binding in bound.items {
        unbind(client, &binding).await?;
    }
    Ok(())
}

async fn unbind(client: &Client, binding: &RoleBinding) -> kube::Result<()> {
    let api: Api<RoleBinding> = Api::namespaced(client.clone(), &binding.namespace().unwrap_or_default());
    match api.delete(&binding.name_any(), &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(drop),
    }
}

/// The accounts that a namespace lacks a binding for, and the bindings that it should not have.
fn plan<'a>(
    namespace: &str,
    accounts: &BTreeSet<String>,
    bindings: &'a [Arc<RoleBinding>],
) -> (Vec<String>, Vec<&'a RoleBinding>) {
    let here = bindings.iter().filter(|binding| binding.namespace().as_deref() == Some(namespace));
    let is_right = |found: &RoleBinding| {
        let wanted = binding(namespace, &found.name_any());
        !is_system(namespace)
            && accounts.contains(&found.name_any())
            && found.role_ref == wanted.role_ref
            && found.subjects == wanted.subjects
    };
    let (right, wrong): (Vec<&RoleBinding>, Vec<_>) =
        here.map(Arc::as_ref).partition(|found| is_right(found));
    let has: BTreeSet<String> = right.iter().map(|found| found.name_any()).collect();
    let lacking =
        if is_system(namespace) { Vec::new() } else { accounts.difference(&has).cloned().collect() };
    (lacking, wrong)
}

impl Controller for Reach {
    /// A namespace.
    type Key = Key;

    fn name(&self) -> &'static str {
        "sampan-token-reach"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.namespaces, |delta| vec![delta.key.clone()]);
        sources.on(&self.bindings, |delta| vec![Key::cluster(delta.key.namespace())]);
        let namespaces = self.namespaces.clone();
        sources.on(&self.accounts, move |_| {
            namespaces.list().iter().map(|namespace| Key::cluster(&namespace.name_any())).collect()
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(None) };
        if namespace.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let alive = |account: &Arc<ServiceAccount>| account.metadata.deletion_timestamp.is_none();
        let accounts = self.accounts.list().into_iter().filter(alive).map(|account| account.name_any());
        let bindings = self.bindings.list();
        let (lacking, wrong) = plan(&key.name, &accounts.collect(), &bindings);
        for binding in &wrong {
            unbind(&self.admin, binding).await?;
        }
        for account in &lacking {
            bind(&self.admin, &key.name, account).await?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_what_it_should_and_the_system_s_has_nothing() {
        let accounts: BTreeSet<String> = ["a", "b"].map(str::to_owned).into();
        let mut other = binding("team", "b");
        other.role_ref.name = "cluster-admin".into();
        let bindings =
            [binding("team", "a"), other, binding("team", "gone"), binding("elsewhere", "b")].map(Arc::new);
        let (lacking, wrong) = plan("team", &accounts, &bindings);
        assert_eq!(lacking, ["b"]);
        assert_eq!(wrong.iter().map(|found| found.name_any()).collect::<Vec<_>>(), ["b", "gone"]);
        let system = [Arc::new(binding("kube-system", "a"))];
        let (lacking, wrong) = plan("kube-system", &accounts, &system);
        assert_eq!((lacking.len(), wrong.len()), (0, 1));
    }
}
