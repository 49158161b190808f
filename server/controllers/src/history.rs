//! ControllerRevisions: the templates that a DaemonSet or StatefulSet has had, for `kubectl rollout history` and
//! `undo` (upstream's `controller_history.go`).

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Resource;
use kube::api::PostParams;
use sampan_api::defaults;
use sampan_reconcile::{Error, HashSet, Informer, Object};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::claim::{self, Claim, claim};
use crate::context::{BY_CONTROLLER, Context, candidates, index_by_owner};
use crate::pod_control::delete_params;
use crate::words::{
    Map, POD_TEMPLATE, controller_reference, hash_of, name, namespace, resource_version, uid,
};

/// What is done so that the present template is the newest revision.
#[derive(Debug, PartialEq)]
enum Choice {
    /// It is.
    Keep(Arc<ControllerRevision>),
    /// It was once, and is again: the old revision gets the next number.
    Renew(Arc<ControllerRevision>, i64),
    /// It is new.
    Create(i64),
}

/// `history` is in order of age.
fn choose(history: &[Arc<ControllerRevision>], data: &Value) -> Choice {
    let next = history.last().map_or(1, |last| last.revision + 1);
    let same = |revision: &&Arc<ControllerRevision>| {
        revision.data.as_ref().is_some_and(|stored| same_data(&stored.0, data))
    };
    match history.iter().rfind(same) {
        Some(found) if found.revision + 1 == next => Choice::Keep(found.clone()),
        Some(found) => Choice::Renew(found.clone(), next),
        None => Choice::Create(next),
    }
}

/// The others that hold the same template as `present`.
fn twins(history: &[Arc<ControllerRevision>], present: &ControllerRevision) -> Vec<Arc<ControllerRevision>> {
    let twin = |one: &&Arc<ControllerRevision>| {
        one.metadata.name != present.metadata.name && same_datas(one.data.as_ref(), present.data.as_ref())
    };
    history.iter().filter(twin).cloned().collect()
}

fn same_datas(one: Option<&RawExtension>, other: Option<&RawExtension>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => same_data(&one.0, &other.0),
        (one, other) => one == other,
    }
}

/// Whether two revisions hold the same template. Upstream compares bytes; what is in a revision that an earlier version stored
/// may lack what is always said since, or hold empty lists, and must not make pods anew.
fn same_data(one: &Value, other: &Value) -> bool {
    let template = |data: &'_ Value| data.get("spec").and_then(|spec| spec.get("template")).cloned();
    one == other
        || template(one)
            .zip(template(other))
            .is_some_and(|(one, other)| defaults::same(POD_TEMPLATE, &one, &other))
}

/// Those beyond `limit`, oldest first, that no pod is made from.
fn surplus(
    history: &[Arc<ControllerRevision>],
    limit: usize,
    live: &HashSet<String>,
) -> Vec<Arc<ControllerRevision>> {
    let unused: Vec<_> = history.iter().filter(|revision| !live.contains(name(&revision.metadata))).collect();
    unused.iter().take(unused.len().saturating_sub(limit)).map(|revision| (*revision).clone()).collect()
}

/// The patch that brings a template back, which is what a revision holds.
fn data_of(template: &PodTemplateSpec) -> Value {
    // our types serialise: their maps have string keys
    let mut template = serde_json::to_value(template).unwrap_or_default();
    if let Some(template) = template.as_object_mut() {
        template.insert("$patch".to_owned(), "replace".into());
        template.entry("metadata").or_insert_with(|| json!({}));
    }
    sorted(json!({"spec": {"template": template}}))
}

/// With the fields of all objects in order, as Go writes maps: kubectl compares bytes.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// The template that a revision holds.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let template = revision.data.as_ref()?.0.get("spec")?.get("template")?;
    serde_json::from_value(template.clone()).ok()
}

/// The revisions of all owners of one kind.
pub(crate) struct History {
    context: Context,
    revisions: Informer<ControllerRevision>,
    /// The label that carries the template's hash.
    label: &'static str,
}

impl History {
    pub fn new(context: &Context, label: &'static str) -> Self {
        let revisions = context.informers.of();
        index_by_owner(&revisions);
        Self { context: context.clone(), revisions, label }
    }

    pub fn informer(&self) -> &Informer<ControllerRevision> {
        &self.revisions
    }

    /// Adopts the orphans that the owner's selector finds: those that an owner of this name left behind.
    pub async fn adopt<K>(&self, owner: &K, selector: &LabelSelector) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let sorted = Claim { release: Vec::new(), ..self.sorted(owner.meta(), selector) };
        claim::settle(&self.context, owner, &self.revisions, sorted).await.map(drop)
    }

    /// As [`adopt`](Self::adopt), and releases those that the selector does not find any more.
    pub async fn claim<K>(&self, owner: &K, selector: &LabelSelector) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let sorted = self.sorted(owner.meta(), selector);
        claim::settle(&self.context, owner, &self.revisions, sorted).await.map(drop)
    }

    fn sorted(&self, owner: &ObjectMeta, selector: &LabelSelector) -> Claim<ControllerRevision> {
        claim(owner, selector, candidates(&self.revisions, uid(owner), namespace(owner)))
    }

    /// An owner's revisions, oldest first.
    pub fn of(&self, owner: &ObjectMeta) -> Vec<Arc<ControllerRevision>> {
        let mut history = self.revisions.by_index(BY_CONTROLLER, uid(owner));
        history.sort_by(|a, b| {
            (a.revision, a.metadata.creation_timestamp.as_ref().map(|t| t.0), &a.metadata.name).cmp(&(
                b.revision,
                b.metadata.creation_timestamp.as_ref().map(|t| t.0),
                &b.metadata.name,
            ))
        });
        history
    }

    /// The hash in a revision's label, by which DaemonSets' pods name it.
    pub fn hash<'a>(&self, revision: &'a ControllerRevision) -> &'a str {
        let labels = revision.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(self.label)).map_or("", String::as_str)
    }

    /// The revision of the owner's present template, made or renewed if it is not the newest; with it the count of
    /// names that were taken.
    pub async fn present<K>(
        &self,
        owner: &K,
        template: &PodTemplateSpec,
        collisions: Option<i32>,
    ) -> Result<(Arc<ControllerRevision>, Option<i32>), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Object,
    {
        let data = data_of(template);
        match choose(&self.of(owner.meta()), &data) {
            Choice::Keep(found) => Ok((found, collisions)),
            Choice::Renew(found, number) => {
                let mut renewed = (*found).clone();
                renewed.revision = number;
                let api = self.context.namespaced::<ControllerRevision>(namespace(owner.meta()));
                let written = api.replace(name(&found.metadata), &PostParams::default(), &renewed).await?;
                Ok((self.seen(written).await, collisions))
            }
            Choice::Create(number) => self.create(owner, template, data, number, collisions).await,
        }
    }

    async fn create<K: Resource<DynamicType = ()> + Object>(
        &self,
        owner: &K,
        template: &PodTemplateSpec,
        data: Value,
        number: i64,
        mut collisions: Option<i32>,
    ) -> Result<(Arc<ControllerRevision>, Option<i32>), Error> {
        let api = self.context.namespaced::<ControllerRevision>(namespace(owner.meta()));
        loop {
            let hash = hash_of(template, collisions.filter(|count| *count > 0));
            let revision = self.revision(owner, template, &data, number, &hash);
            match api.create(&PostParams::default(), &revision).await {
                Ok(written) => return Ok((self.seen(written).await, collisions)),
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    let live = api.get(name(&revision.metadata)).await?;
                    // another owner's too: that of a predecessor is about to be an orphan, or to go; not another kind's
                    if same_datas(live.data.as_ref(), revision.data.as_ref()) && !self.hash(&live).is_empty()
                    {
                        return Ok((self.seen(live).await, collisions));
                    }
                    collisions = Some(collisions.unwrap_or(0) + 1);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn revision<K: Resource<DynamicType = ()> + Object>(
        &self,
        owner: &K,
        template: &PodTemplateSpec,
        data: &Value,
        number: i64,
        hash: &str,
    ) -> ControllerRevision {
        let labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone());
        let mut labels: Map = labels.unwrap_or_default();
        labels.insert(self.label.to_owned(), hash.to_owned());
        ControllerRevision {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", name(owner.meta()))),
                namespace: owner.meta().namespace.clone(),
                labels: Some(labels),
                annotations: owner.meta().annotations.clone(),
                owner_references: Some(vec![controller_reference(owner)]),
                ..ObjectMeta::default()
            },
            data: Some(RawExtension(data.clone())),
            revision: number,
        }
    }

    async fn seen(&self, written: ControllerRevision) -> Arc<ControllerRevision> {
        self.revisions.reached(resource_version(&written.metadata)).await;
        Arc::new(written)
    }

    /// The owner's other revisions of the template that `present` holds.
    pub fn twins(&self, owner: &ObjectMeta, present: &ControllerRevision) -> Vec<Arc<ControllerRevision>> {
        twins(&self.of(owner), present)
    }

    /// Deletes revisions beyond `limit`, except those in `live`, which pods are made from.
    pub async fn trim(
        &self,
        owner: &ObjectMeta,
        limit: Option<i32>,
        live: &HashSet<String>,
    ) -> Result<(), Error> {
        let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
        self.delete(&surplus(&self.of(owner), limit, live)).await
    }

    pub async fn delete(&self, revisions: &[Arc<ControllerRevision>]) -> Result<(), Error> {
        for old in revisions {
            let api = self.context.namespaced::<ControllerRevision>(namespace(&old.metadata));
            match api.delete(name(&old.metadata), &delete_params(&old.metadata)).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                result => drop(result?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "image": image}]}})).unwrap()
    }

    fn revision(image: &str, number: i64) -> Arc<ControllerRevision> {
        Arc::new(ControllerRevision {
            metadata: ObjectMeta { name: Some(format!("d-{image}")), ..ObjectMeta::default() },
            data: Some(RawExtension(data_of(&template(image)))),
            revision: number,
        })
    }

    #[test]
    fn the_present_template_is_the_newest_revision() {
        let (one, two) = (revision("one", 1), revision("two", 2));
        let history = [one.clone(), two.clone()];
        let cases = [
            ("one", &history[..0], Choice::Create(1)),
            ("two", &history, Choice::Keep(two)),
            ("one", &history, Choice::Renew(one, 3)),
            ("three", &history, Choice::Create(3)),
        ];
        for (image, history, expected) in cases {
            assert_eq!(choose(history, &data_of(&template(image))), expected, "{image}");
        }
    }

    #[test]
    fn a_revision_of_before_an_upgrade_is_of_the_same_template() {
        let container = |source: Value, drop: Value| {
            json!({"name": "c", "env": [{"name": "E", "valueFrom": {"resourceFieldRef": source}}],
                   "securityContext": {"capabilities": drop}})
        };
        let of = |template: Value| data_of(&serde_json::from_value(template).unwrap());
        let mut stored = (*revision("one", 1)).clone();
        let before = container(json!({"resource": "limits.cpu"}), json!({"drop": []}));
        stored.data = Some(RawExtension(of(json!({"spec": {"containers": [before], "volumes": []}}))));
        let stored = Arc::new(stored);
        let after = container(json!({"resource": "limits.cpu", "divisor": "0"}), json!({}));
        let present = of(json!({"metadata": {}, "spec": {"containers": [after]}}));
        assert_ne!(stored.data.as_ref().unwrap().0, present);
        let history = [stored.clone()];
        assert_eq!(choose(&history, &present), Choice::Keep(stored.clone()));
        let newer = ControllerRevision { data: Some(RawExtension(present)), ..(*revision("two", 2)).clone() };
        assert_eq!(twins(&history, &newer), [stored]);
        let other = container(json!({"resource": "limits.cpu", "divisor": "1"}), json!({}));
        assert_eq!(choose(&history, &of(json!({"spec": {"containers": [other]}}))), Choice::Create(2));
    }

    #[test]
    fn of_one_template_there_may_be_several() {
        let mut twin = (*revision("one", 1)).clone();
        twin.metadata.name = Some("d-other".to_owned());
        let history = [Arc::new(twin), revision("two", 2), revision("one", 3)];
        for (present, expected) in [(0, vec!["d-one"]), (1, vec![]), (2, vec!["d-other"])] {
            let found = twins(&history, &history[present]);
            assert_eq!(found.iter().map(|r| name(&r.metadata)).collect::<Vec<_>>(), expected, "{present}");
        }
    }

    #[test]
    fn revisions_hold_templates_as_patches() {
        let held = revision("one", 1);
        let text = serde_json::to_string(&held.data).unwrap();
        assert!(
            text.starts_with(r#"{"spec":{"template":{"$patch":"replace","metadata":{},"spec":"#),
            "{text}"
        );
        assert_eq!(template_of(&held).unwrap().spec, template("one").spec);
    }

    #[test]
    fn old_revisions_go_unless_pods_use_them() {
        let history: Vec<_> = (1..=4).map(|n| revision(&n.to_string(), n)).collect();
        let live = ["d-1".to_owned(), "d-4".to_owned()].into_iter().collect();
        let gone = surplus(&history, 1, &live);
        assert_eq!(gone.iter().map(|r| name(&r.metadata)).collect::<Vec<_>>(), ["d-2"]);
    }
}
