//! Namespace: empties a namespace that is being deleted, pods first, then lets it go (upstream's
//! `namespaced_resources_deleter.go`, KEP-5080 ordered deletion).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, PostParams};
use sampan_api::kinds::Kind;
use sampan_reconcile::{Controller, Error, Informer, Key, Sources};

use crate::context::{BY_NAMESPACE, Context};
use crate::resources::{Collection, Other, deletable, others};
use crate::words::{name, resource_version};

/// Looked at again after this if something remains that no watch tells about.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The same while finalizers hold objects (upstream estimates 15 s, and waits for half of it).
const LOOK_AGAIN_FINALIZERS: Duration = Duration::from_secs(8);
const FINALIZER: &str = "kubernetes";

/// What is left in a namespace.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Remains {
    /// Objects by resource, such as `pods.`.
    pub resources: BTreeMap<String, usize>,
    /// Objects by finalizer.
    pub finalizers: BTreeMap<String, usize>,
    /// What could not be deleted, and why.
    pub failures: Vec<String>,
}

impl Remains {
    fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.failures.is_empty()
    }

    fn count(&mut self, (group, plural): (&str, &str), objects: &[crate::resources::Partial]) {
        if !objects.is_empty() {
            self.resources.insert(format!("{plural}.{group}"), objects.len());
        }
        for finalizer in objects.iter().flat_map(|object| object.metadata.finalizers.iter().flatten()) {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }
}

/// The five conditions that say how far the deletion is.
pub(crate) fn conditions(
    old: &[NamespaceCondition],
    remains: &Remains,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let list = |counts: &BTreeMap<String, usize>, verb: &str| {
        let texts: Vec<String> =
            counts.iter().map(|(what, count)| format!("{what} {verb} {count} resource instances")).collect();
        texts.join(", ")
    };
    let failed = !remains.failures.is_empty();
    let (content, finalizers) = (!remains.resources.is_empty(), !remains.finalizers.is_empty());
    let mut wanted = vec![
        (
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
    ];
    wanted.push(match failed {
        true => {
            let text = format!(
                "Failed to delete all resource types, {} remaining: {}",
                remains.failures.len(),
                remains.failures.join(", ")
            );
            ("NamespaceDeletionContentFailure", true, "ContentDeletionFailed", text)
        }
        false => {
            let text = "All content successfully deleted, may be waiting on finalization".to_owned();
            ("NamespaceDeletionContentFailure", false, "ContentDeleted", text)
        }
    });
    wanted.push(match content {
        true => {
            let text = format!("Some resources are remaining: {}", list(&remains.resources, "has"));
            ("NamespaceContentRemaining", true, "SomeResourcesRemain", text)
        }
        false => (
            "NamespaceContentRemaining",
            false,
            "ContentRemoved",
            "All content successfully removed".to_owned(),
        ),
    });
    wanted.push(match finalizers {
        true => {
            let text = format!(
                "Some content in the namespace has finalizers remaining: {}",
                list(&remains.finalizers, "in")
            );
            ("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", text)
        }
        false => {
            let text = "All content-preserving finalizers finished".to_owned();
            ("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers", text)
        }
    });
    wanted
        .into_iter()
        .map(|(kind, status, reason, message)| merged(old, (kind, status, reason), message, now))
        .collect()
}

fn merged(
    old: &[NamespaceCondition],
    (kind, status, reason): (&str, bool, &str),
    message: String,
    now: Timestamp,
) -> NamespaceCondition {
    let status = if status { "True" } else { "False" };
    let same = old.iter().find(|condition| condition.type_ == kind && condition.status == status);
    NamespaceCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: same
            .and_then(|condition| condition.last_transition_time.clone())
            .or(Some(Time(now))),
    }
}

/// The controller.
pub(crate) struct Namespaces {
    context: Context,
    namespaces: Informer<Namespace>,
    kinds: Vec<&'static Kind>,
}

impl Namespaces {
    pub fn new(context: &Context) -> Self {
        context.pods.add_index(BY_NAMESPACE, |pod| pod.metadata.namespace.clone().into_iter().collect());
        let mut kinds = deletable(true);
        kinds.retain(|kind| kind.namespaced);
        Self { context: context.clone(), namespaces: context.informers.of(), kinds }
    }

    /// Pods, and only when they are gone, everything else.
    async fn empty(&self, namespace: &str) -> Result<Remains, Error> {
        let mut remains = Remains::default();
        let (pods, rest): (Vec<_>, Vec<_>) = self.kinds.iter().partition(|kind| kind.storage_group == "pods");
        for kind in pods {
            self.empty_kind(namespace, kind, &mut remains).await?;
        }
        if !remains.is_empty() {
            return Ok(remains);
        }
        for kind in rest {
            self.empty_kind(namespace, kind, &mut remains).await?;
        }
        let (others, silent) = others(&self.context.client).await?;
        remains
            .failures
            .extend(silent.into_iter().map(|group| format!("{group}: cannot be asked what it serves")));
        for other in others {
            self.empty_other(namespace, &other, &mut remains).await?;
        }
        Ok(remains)
    }

    async fn empty_other(&self, namespace: &str, kind: &Other, remains: &mut Remains) -> Result<(), Error> {
        let collection = Collection::at(&self.context.client, kind.path(namespace));
        let Ok(objects) = collection.list().await else {
            remains.failures.push(format!("{}/{}, Resource={}", kind.group, kind.version, kind.plural));
            return Ok(());
        };
        if objects.is_empty() {
            return Ok(());
        }
        if objects.iter().any(|object| object.metadata.deletion_timestamp.is_none()) {
            self.delete(&collection, kind.delete_all, &objects).await?;
        }
        remains.count((&kind.group, &kind.plural), &collection.list().await?);
        Ok(())
    }

    async fn empty_kind(&self, namespace: &str, kind: &Kind, remains: &mut Remains) -> Result<(), Error> {
        let collection = Collection::new(&self.context.client, kind, Some(namespace));
        let Ok(objects) = collection.list().await else {
            remains.failures.push(format!("{}/{}, Resource={}", kind.group, kind.version, kind.plural));
            return Ok(());
        };
        if objects.is_empty() {
            return Ok(());
        }
        if objects.iter().any(|object| object.metadata.deletion_timestamp.is_none()) {
            self.delete(&collection, kind.allows("deletecollection"), &objects).await?;
        }
        remains.count((kind.group, kind.plural), &collection.list().await?);
        Ok(())
    }

    async fn delete(
        &self,
        collection: &Collection,
        at_once: bool,
        objects: &[crate::resources::Partial],
    ) -> kube::Result<()> {
        let params = DeleteParams::background();
        if at_once {
            return collection.delete_all(&params).await;
        }
        for object in objects {
            collection.delete(name(&object.metadata), &params).await?;
        }
        Ok(())
    }

    async fn write_conditions(&self, ns: &Namespace, remains: &Remains) -> Result<Namespace, Error> {
        let status = ns.status.clone().unwrap_or_default();
        let old = status.conditions.unwrap_or_default();
        let new = conditions(&old, remains, sampan_reconcile::now());
        if old == new {
            return Ok(ns.clone());
        }
        let mut object = ns.clone();
        object.status.get_or_insert_default().conditions = Some(new);
        let api = self.context.cluster::<Namespace>();
        let written = api.replace_status(name(&ns.metadata), &PostParams::default(), &object).await?;
        self.namespaces.reached(resource_version(&written.metadata)).await;
        Ok(written)
    }

    async fn finalize(&self, mut ns: Namespace) -> Result<(), Error> {
        if let Some(spec) = &mut ns.spec {
            spec.finalizers.get_or_insert_default().retain(|finalizer| finalizer != FINALIZER);
        }
        let api = self.context.cluster::<Namespace>();
        api.replace_subresource("finalize", name(&ns.metadata), &PostParams::default(), &ns).await?;
        Ok(())
    }
}

fn is_finalized(ns: &Namespace) -> bool {
    let finalizers = ns.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    !finalizers.is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == FINALIZER))
}

impl Controller for Namespaces {
    type Key = Key;

    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn queue(&self) -> &'static str {
        "namespace"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.namespaces, |delta| match &delta.new {
            Some(ns) if ns.metadata.deletion_timestamp.is_some() => vec![delta.key.clone()],
            _ => Vec::new(),
        });
        let this = self.clone();
        sources.on(&self.context.pods, move |delta| {
            let key = Key::cluster(delta.key.namespace());
            let ending = this.namespaces.get(&key).is_some_and(|ns| ns.metadata.deletion_timestamp.is_some());
            let last = delta.new.is_none() && this.context.pods.count(BY_NAMESPACE, &key.name) == 0;
            if ending && last { vec![key] } else { Vec::new() }
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(ns) = self.namespaces.get(key) else { return Ok(None) };
        if ns.metadata.deletion_timestamp.is_none() || is_finalized(&ns) {
            return Ok(None);
        }
        let remains = self.empty(&key.name).await?;
        let ns = self.write_conditions(&ns, &remains).await?;
        if remains.is_empty() {
            self.finalize(ns).await?;
            return Ok(None);
        }
        Ok(Some(if remains.finalizers.is_empty() { LOOK_AGAIN } else { LOOK_AGAIN_FINALIZERS }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn conditions_say_what_remains() {
        let remains = Remains {
            resources: [("pods.".to_owned(), 2), ("things.example.com".to_owned(), 1)].into(),
            finalizers: [("example.com/hold".to_owned(), 1)].into(),
            failures: Vec::new(),
        };
        let first = conditions(&[], &remains, Timestamp::UNIX_EPOCH);
        let said: Vec<_> = first.iter().map(|c| (c.status.as_str(), c.reason.as_deref().unwrap())).collect();
        let expected = [
            ("False", "ResourcesDiscovered"),
            ("False", "ParsedGroupVersions"),
            ("False", "ContentDeleted"),
            ("True", "SomeResourcesRemain"),
            ("True", "SomeFinalizersRemain"),
        ];
        assert_eq!(said, expected);
        assert_eq!(
            first[3].message.as_deref(),
            Some(
                "Some resources are remaining: pods. has 2 resource instances, things.example.com has 1 resource instances"
            )
        );
        let later = conditions(&first, &remains, Timestamp::now());
        assert_eq!(later, first, "unchanged conditions keep their time");
        assert_eq!(
            conditions(&first, &Remains::default(), Timestamp::now())[3].reason.as_deref(),
            Some("ContentRemoved")
        );
    }
}
