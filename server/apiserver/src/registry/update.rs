//! update: `registry/generic/registry/store.go` `Update` and `registry/rest/update.go` `BeforeUpdate`.

use bytes::Bytes;
use sampan_api::go;
use sampan_api::kinds::Kind;
use sampan_api::meta as words;
use sampan_api::status::ApiError;
use sampan_store::{Action, Condition, Entry, Write, WriteError};
use serde_json::{Map, Value};

use super::{Call, Operation, Registry, Target, Written, encoded, quota, write_error};
use crate::crd::convert::Memo;
use crate::strategies;
use crate::strategies::services::Allocation;
use crate::value::{at, keep, meta, set};

/// Attempts at a write whose author named no revision: as long as somebody else is faster, something is done. Upstream tries
/// until the request times out.
pub(super) const ATTEMPTS: usize = 4096;

impl Registry {
    /// Replaces the object (or one of its subresources) by `body`. Objects of some kinds are created if they are not
    /// there, by whoever `may_create` them.
    pub async fn update(
        &self,
        call: &Call<'_>,
        target: &Target,
        mut body: Value,
        may_create: impl FnOnce() -> Result<(), ApiError>,
    ) -> Result<Written, ApiError> {
        if self.store.get(&target.key()).is_none() {
            if target.subresource.is_empty() && strategies::put_creates(target.kind) {
                may_create()?;
                return self.create(call, target, body).await;
            }
            return Err(target.not_found());
        }
        if !pinned(&body) && !strategies::unconditional_update(target.kind) {
            return Err(unpinned(target));
        }
        super::owners::dedup(&mut body, false);
        self.modify(call, target, |_| Ok(body.clone())).await
    }

    /// Reads, lets `change` make the new object, and writes it back; again when someone else was faster,
    /// unless the new object names the revision it was made from.
    pub async fn modify<F>(
        &self,
        call: &Call<'_>,
        target: &Target,
        mut change: F,
    ) -> Result<Written, ApiError>
    where
        F: FnMut(&Value) -> Result<Value, ApiError>,
    {
        self.modify_converting(call, target, |old, _| change(old)).await
    }

    /// As [`Registry::modify`], of a change that asks a memo for conversions: it is tried until it has all it asks for.
    pub(super) async fn modify_converting<F>(
        &self,
        call: &Call<'_>,
        target: &Target,
        mut change: F,
    ) -> Result<Written, ApiError>
    where
        F: FnMut(&Value, &Memo) -> Result<Value, ApiError>,
    {
        for _ in 0..ATTEMPTS {
            let entry = self.entry(target)?;
            let old = self.decoded(&entry, target.kind).await?;
            let new = self.converting(target.kind, |memo| change(&old, memo)).await??;
            match self.replace(call, target, &entry, &old, new).await? {
                Some(written) => return Ok(written),
                None => continue,
            }
        }
        Err(target.modified())
    }

    /// One attempt; `None` when the object changed meanwhile and the author does not mind.
    async fn replace(
        &self,
        call: &Call<'_>,
        target: &Target,
        entry: &Entry,
        old: &Value,
        mut new: Value,
    ) -> Result<Option<Written>, ApiError> {
        check_preconditions(target, old, &new)?;
        let pinned = pinned(&new);
        let mut allocation = self.prepare(call, target, old, &mut new).await?;
        super::manage::ignore_times(target.kind, old, &mut new);
        self.to_storage(&mut new, target.kind).await?;
        if gone(&new) {
            return self.finish_deletion(call, target, entry, new).await;
        }
        if unchanged(entry, old, &new, target.kind) {
            let json = self.answered(entry.value.clone(), target.kind).await?;
            return Ok(Some(Written { json, created: false }));
        }
        let condition = Condition::Revision(entry.revision);
        loop {
            let mut beside = allocation.writes(&self.store, &new);
            let review = call.review(self, target, Operation::Update, Some(old));
            beside.extend(quota::charge(&review, &new)?);
            let error = match self.put(target, &new, condition, beside, call.options.dry_run).await {
                Ok(json) => {
                    allocation.keep();
                    if target.subresource.is_empty() {
                        let told = strategies::rules::warnings(target.kind, &new, Some(old));
                        call.warnings.lock().extend(told);
                    }
                    let json = self.answered(json, target.kind).await?;
                    return Ok(Some(Written { json, created: false }));
                }
                Err(error) => error,
            };
            if super::manage::drop_if_too_large(call, &error, &mut new) {
                continue;
            }
            match &error {
                WriteError::Changed(other) if !pinned || other.key != entry.key => return Ok(None),
                // what was to go with it was gone already
                WriteError::Missing if self.store.get(&target.key()).is_some() => return Ok(None),
                WriteError::Exists(other) => allocation
                    .collided(&self.store, target, other, &mut new)
                    .unwrap_or_else(|| Err(write_error(target, error)))?,
                _ => return Err(write_error(target, error)),
            }
        }
    }

    /// Everything between the author's object and the stored one.
    async fn prepare(
        &self,
        call: &Call<'_>,
        target: &Target,
        old: &Value,
        new: &mut Value,
    ) -> Result<Allocation, ApiError> {
        let kind = target.kind;
        // a custom resource has its defaults when it is decoded: what a write to its status keeps gets no others
        let decoded = kind.custom.is_some() && target.subresource == "status";
        if decoded {
            strategies::rules::defaults(kind, new);
        }
        carry_over(target, old, new);
        if !decoded {
            strategies::rules::defaults(kind, new);
        }
        self.track(call, target, Some(old), new).await;
        strategies::prepare_update(kind, &target.subresource, old, new);
        if !decoded {
            strategies::rules::defaults(kind, new);
        }
        let review = call.review(self, target, Operation::Update, Some(old));
        self.admit(&review, new).await?;
        super::owners::dedup(new, true);
        strategies::prepare_admitted(kind, &target.subresource, Some(old), new);
        let allocation = self.services.begin(&self.store, target, Some(old), new, call.options.dry_run)?;
        bump_generation(target, old, new);
        let mut warnings = Vec::new();
        let mut errors = strategies::rules::finalizer_errors(new);
        errors.extend(strategies::admin_access::errors(&self.store, target, Some(old), new));
        errors.extend(match target.subresource.as_str() {
            "" => strategies::rules::update_errors(kind, new, old, &mut warnings),
            // a scale of no type of its own: it is the object that changes
            "scale" if kind.custom.is_some() => {
                strategies::rules::update_errors(kind, new, old, &mut warnings)
            }
            "status" => strategies::rules::status_errors(kind, new, old, &mut warnings),
            other => {
                let mut errors = strategies::rules::metadata_errors(kind, new, old);
                errors.extend(strategies::subresource_errors(kind, other, new, old));
                errors
            }
        });
        {
            // a change may be tried more than once
            let mut told = call.warnings.lock();
            warnings.retain(|warning| !told.contains(warning));
            told.extend(warnings);
        }
        if !errors.is_empty() {
            return Err(target.invalid(errors));
        }
        self.admit_validate(&review, new).await?;
        Ok(allocation)
    }

    /// The last finalizer of a deleted object went: so does the object.
    async fn finish_deletion(
        &self,
        call: &Call<'_>,
        target: &Target,
        entry: &Entry,
        last: Value,
    ) -> Result<Option<Written>, ApiError> {
        let value = encoded(&last);
        if call.options.dry_run {
            let json = self.answered(Bytes::from(last.to_string()), target.kind).await?;
            return Ok(Some(Written { json, created: false }));
        }
        let write = Write {
            key: target.key(),
            condition: Condition::Revision(entry.revision),
            action: Action::Delete(value),
        };
        let beside = strategies::services::deletes_with(&self.store, target, &last);
        match self.write(write, beside).await {
            Ok(json) => {
                self.services.release(target, &last);
                Ok(Some(Written { json: self.answered(json, target.kind).await?, created: false }))
            }
            Err(WriteError::Changed(_)) => Ok(None),
            Err(error) => Err(write_error(target, error)),
        }
    }
}

/// Whether the author names the revision that the object was made from: 0 is none.
fn pinned(new: &Value) -> bool {
    let asked = meta(new, "resourceVersion");
    !asked.is_empty() && go::parse_uint(asked) != Ok(0)
}

/// What an object without a revision is told where the kind wants one.
fn unpinned(target: &Target) -> ApiError {
    let why = "must be specified for an update";
    let error = sampan_api::status::FieldError::invalid("metadata.resourceVersion", 0, why);
    // the resource is named as if it were the kind
    ApiError::invalid(target.kind.group, target.kind.plural, &target.name, vec![error])
}

/// The author's UID and revision, if given, have to be the object's.
fn check_preconditions(target: &Target, old: &Value, new: &Value) -> Result<(), ApiError> {
    let (asked, is) = (meta(new, "uid"), meta(old, "uid"));
    if !asked.is_empty() && asked != is {
        // etcd3's `NewInvalidObjError`
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
             UID in precondition: {asked}, UID in object meta: {is}",
            target.registry_key()
        );
        return Err(target.conflict(&why));
    }
    let asked = meta(new, "resourceVersion");
    if asked.is_empty() || asked == meta(old, "resourceVersion") {
        return Ok(());
    }
    match go::parse_uint(asked) {
        Ok(0) if strategies::unconditional_update(target.kind) => Ok(()),
        Ok(0) => Err(unpinned(target)),
        Ok(_) => Err(target.modified()),
        Err(why) => {
            let error = sampan_api::status::FieldError::invalid("metadata.resourceVersion", asked, why);
            Err(target.invalid(vec![error]))
        }
    }
}

/// Metadata that only the system writes.
const SYSTEM: &[&str] = &[
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
];

fn carry_over(target: &Target, old: &Value, new: &mut Value) {
    for field in SYSTEM {
        keep(new, old, &["metadata", field]);
    }
    crate::value::remove(new, &["metadata", "selfLink"]);
    keep(new, old, &["metadata", "name"]);
    keep(new, old, &["metadata", "namespace"]);
    keep(new, old, &["metadata", "resourceVersion"]);
    set(new, &["kind"], target.kind.kind);
    set(new, &["apiVersion"], target.kind.api_version());
    match target.subresource.as_str() {
        "" if strategies::has_status_subresource(target.kind) => keep(new, old, &["status"]),
        "status" => strategies::keep_all_but_status(target.kind, old, new),
        _ => {}
    }
}

fn bump_generation(target: &Target, old: &Value, new: &mut Value) {
    // where a pod is bound to nobody asked for: upstream's binding goes past the strategy of pods
    let counts = strategies::has_generation(target.kind) && target.subresource != "binding";
    if !counts || !strategies::generation_changes(target.kind, old, new) {
        return;
    }
    words::set_generation(new, words::generation(old) + 1);
}

/// Whether a deleted object has nothing left to wait for.
fn gone(new: &Value) -> bool {
    let finalizers = words::finalizers(new).next().is_some();
    let deleted = words::deletion_timestamp(new).is_some();
    let grace = words::deletion_grace_period_seconds(new).unwrap_or(0);
    let spec_finalizers = at(new, &["spec", "finalizers"]).as_array().is_some_and(|f| !f.is_empty());
    deleted
        && !finalizers
        && grace == 0
        && !(meta(new, "namespace").is_empty() && at(new, &["kind"]) == "Namespace" && spec_finalizers)
}

/// Whether the stored object would stay the same but for its revision; `old` is that, in the version of `kind`.
fn unchanged(entry: &Entry, old: &Value, new: &Value, kind: &'static Kind) -> bool {
    if kind.custom.is_none() && !strategies::convert::many_versions(kind) {
        return same_but_revision(old, new);
    }
    let value = encoded(new);
    let revision = entry.revision.to_string();
    let stored = &entry.value;
    let (head, tail) = value.bytes.split_at(value.at);
    if stored.len() == value.bytes.len() + revision.len()
        && stored.starts_with(head)
        && stored.ends_with(tail)
    {
        return true;
    }
    // the same fields in another order
    serde_json::from_slice::<Value>(stored).is_ok_and(|mut old| {
        strategies::convert::settle_as_stored(&mut old, kind);
        same_but_revision(&old, new)
    })
}

/// Equality of objects, whatever their revisions. Most changes are of a few fields: nothing is copied to see them.
fn same_but_revision(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return old == new };
    old.len() == new.len()
        && old.iter().all(|(field, value)| match (field.as_str(), value, new.get(field)) {
            ("metadata", Value::Object(old), Some(Value::Object(new))) => {
                same_but(old, new, "resourceVersion")
            }
            (_, value, other) => other == Some(value),
        })
}

fn same_but(old: &Map<String, Value>, new: &Map<String, Value>, field: &str) -> bool {
    let count = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key(field));
    count(old) == count(new)
        && old.iter().filter(|(key, _)| *key != field).all(|(key, value)| new.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::same_but_revision;

    #[test]
    fn objects_are_the_same_whatever_their_revisions_and_the_order_of_their_fields() {
        let old =
            json!({"kind": "A", "metadata": {"name": "n", "resourceVersion": "1"}, "spec": {"a": 1, "b": 2}});
        for (new, same) in [
            (
                json!({"metadata": {"resourceVersion": "2", "name": "n"}, "spec": {"b": 2, "a": 1}, "kind": "A"}),
                true,
            ),
            (json!({"metadata": {"name": "n"}, "spec": {"b": 2, "a": 1}, "kind": "A"}), true),
            (json!({"metadata": {"name": "m"}, "spec": {"b": 2, "a": 1}, "kind": "A"}), false),
            (json!({"metadata": {"name": "n", "x": "y"}, "spec": {"b": 2, "a": 1}, "kind": "A"}), false),
            (json!({"metadata": {}, "spec": {"b": 2, "a": 1}, "kind": "A"}), false),
            (json!({"metadata": {"name": "n"}, "spec": {"b": 2}, "kind": "A"}), false),
            (json!({"metadata": {"name": "n"}, "kind": "A"}), false),
            (json!({"metadata": {"name": "n"}, "status": {}, "kind": "A"}), false),
        ] {
            assert_eq!(same_but_revision(&old, &new), same, "{new}");
        }
    }
}
