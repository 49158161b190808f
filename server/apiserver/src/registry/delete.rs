//! delete and deletecollection: `registry/generic/registry/store.go` `Delete` and
//! `registry/rest/delete.go` `BeforeDelete`.

use bytes::Bytes;
use sampan_api::go;
use sampan_api::kinds::Kind;
use sampan_api::meta as words;
use sampan_api::status::{ApiError, FieldError};
use sampan_store::{Action, Condition, Entry, Write, WriteError};
use serde_json::{Map, Value, json};

use super::{Call, Operation, Registry, Target, encoded, write_error};
use crate::pipeline::query::Query;
use crate::strategies;
use crate::value::{at, keep, meta, object, set, strings, text};

/// What becomes of the dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They keep living.
    Orphan,
    /// They are collected afterwards.
    Background,
    /// They are collected first.
    Foreground,
}

/// `metav1.DeleteOptions`.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// `gracePeriodSeconds`.
    pub grace_seconds: Option<i64>,
    /// `propagationPolicy`, or what `orphanDependents` means.
    pub propagation: Option<Propagation>,
    /// `orphanDependents`.
    pub orphans: Option<bool>,
    /// `preconditions.uid`.
    pub uid: Option<String>,
    /// `preconditions.resourceVersion`.
    pub resource_version: Option<String>,
    /// `dryRun`.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// From the query, or from a body, which wins.
    pub fn parse(query: &Query, body: Option<&Value>) -> Result<Self, ApiError> {
        let from_query;
        let options = match body {
            Some(body) => body,
            None => {
                from_query = query_options(query)?;
                &from_query
            }
        };
        let mut errors = Vec::new();
        let dry = strings(at(options, &["dryRun"]));
        errors.extend(super::options::dry_run_error(&dry.iter().map(String::as_str).collect::<Vec<_>>()));
        let orphan = at(options, &["orphanDependents"]).as_bool();
        let policy = at(options, &["propagationPolicy"]).as_str();
        if orphan.is_some() && policy.is_some() {
            errors.push(FieldError::invalid(
                "propagationPolicy",
                policy.unwrap_or(""),
                "orphanDependents and deletionPropagation cannot be both set",
            ));
        }
        let propagation = match (policy, orphan) {
            (None, None) => None,
            (None, Some(true)) | (Some("Orphan"), _) => Some(Propagation::Orphan),
            (None, Some(false)) | (Some("Background"), _) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some(other), _) => {
                errors.push(FieldError::not_supported(
                    "propagationPolicy",
                    other,
                    &["Foreground", "Background", "Orphan", "nil"],
                ));
                None
            }
        };
        if !errors.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", errors));
        }
        let precondition = |key: &str| at(options, &["preconditions", key]).as_str().map(str::to_owned);
        Ok(Self {
            grace_seconds: at(options, &["gracePeriodSeconds"]).as_i64(),
            propagation,
            orphans: orphan,
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            dry_run: !dry.is_empty(),
        })
    }
}

impl DeleteOptions {
    /// Its fields that were given, for admission.
    pub fn said(&self) -> Map<String, Value> {
        let mut said = Map::new();
        said.extend(self.grace_seconds.map(|seconds| ("gracePeriodSeconds".to_owned(), seconds.into())));
        let preconditions = [("uid", &self.uid), ("resourceVersion", &self.resource_version)];
        let given = preconditions
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?.into())));
        let preconditions: Map<String, Value> = given.collect();
        if !preconditions.is_empty() {
            said.insert("preconditions".to_owned(), preconditions.into());
        }
        let policy = self.propagation.map(|policy| match policy {
            Propagation::Orphan => "Orphan",
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
        });
        said.extend(policy.map(|policy| ("propagationPolicy".to_owned(), policy.into())));
        said
    }
}

fn query_options(query: &Query) -> Result<Value, ApiError> {
    let mut options = json!({});
    if let Some(grace) = query.get("gracePeriodSeconds") {
        let seconds = go::parse_int(grace).map_err(ApiError::bad_request)?;
        set(&mut options, &["gracePeriodSeconds"], seconds);
    }
    if let Some(policy) = query.get("propagationPolicy") {
        set(&mut options, &["propagationPolicy"], policy);
    }
    if query.get("orphanDependents").is_some() {
        set(&mut options, &["orphanDependents"], query.flag("orphanDependents"));
    }
    let dry: Vec<&str> = query.all("dryRun").filter(|v| !v.is_empty()).collect();
    if !dry.is_empty() {
        set(&mut options, &["dryRun"], json!(dry));
    }
    Ok(options)
}

/// The outcome of a deletion.
pub enum Deleted {
    /// It is gone; the final state, as it was stored and in the version of the request.
    Gone(Bytes, Value),
    /// It waits for finalizers or its grace period.
    Waiting(Bytes),
}

/// What one attempt decided.
enum Plan {
    Remove(Value),
    Mark(Value),
    /// Marked before; nothing to write.
    Nothing,
}

impl Registry {
    /// Deletes one object, at once or by marking it.
    pub async fn delete(
        &self,
        call: &Call<'_>,
        target: &Target,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        loop {
            let entry = self.entry(target)?;
            let old = self.decoded(&entry, target.kind).await?;
            check(target, options, &old)?;
            let review = call.review(self, target, Operation::Delete, Some(&old));
            self.admit(&review, &mut Value::Null).await?;
            self.admit_validate(&review, &Value::Null).await?;
            let mut plan = plan(target, options, &old);
            let seen = match &plan {
                Plan::Nothing => old,
                Plan::Mark(new) | Plan::Remove(new) => new.clone(),
            };
            match &mut plan {
                Plan::Nothing => {}
                Plan::Mark(new) => self.to_storage(new, target.kind).await?,
                Plan::Remove(last) => self.last_state(last, &entry, target.kind).await?,
            }
            match self.attempt(target, options, &entry, plan).await {
                Err(WriteError::Changed(_)) => continue,
                // what was to go with it was gone already
                Err(WriteError::Missing) if self.store.get(&target.key()).is_some() => continue,
                Err(WriteError::Missing) => return Err(target.not_found()),
                Err(error) => return Err(write_error(target, error)),
                Ok((json, true)) => return Ok(Deleted::Gone(json, seen)),
                Ok((json, false)) => return Ok(Deleted::Waiting(self.told(json, seen, target).await?)),
            }
        }
    }

    /// Makes of an object that is to be removed what was stored of it. Of a custom resource nothing but metadata has
    /// changed, so that nobody has to convert it.
    async fn last_state(&self, last: &mut Value, entry: &Entry, kind: &'static Kind) -> Result<(), ApiError> {
        if kind.custom.is_none() {
            return self.to_storage(last, kind).await;
        }
        let mut stored: Value = serde_json::from_slice(&entry.value).map_err(ApiError::internal)?;
        for field in ["finalizers", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
            keep(&mut stored, last, &["metadata", field]);
        }
        *last = stored;
        Ok(())
    }

    /// A marked object in the version of the request. It is marked, whatever its converter says now: if that fails it is told
    /// as it was `seen` before.
    async fn told(&self, json: Bytes, mut seen: Value, target: &Target) -> Result<Bytes, ApiError> {
        match self.answered(json.clone(), target.kind).await {
            Err(error) => {
                tracing::warn!(%error, key = %target.key(), "cannot show what is being deleted as it is stored");
                let stored: Value = serde_json::from_slice(&json).map_err(ApiError::internal)?;
                keep(&mut seen, &stored, &["metadata", "resourceVersion"]);
                Ok(seen.to_string().into())
            }
            Ok(told) => Ok(told),
        }
    }

    /// Carries a plan out; the object as it is stored then, and whether it is gone.
    async fn attempt(
        &self,
        target: &Target,
        options: &DeleteOptions,
        entry: &Entry,
        plan: Plan,
    ) -> Result<(Bytes, bool), WriteError> {
        let condition = Condition::Revision(entry.revision);
        match plan {
            Plan::Nothing => Ok((entry.value.clone(), false)),
            Plan::Mark(new) => {
                Ok((self.put(target, &new, condition, Vec::new(), options.dry_run).await?, false))
            }
            Plan::Remove(_) if options.dry_run => Ok((entry.value.clone(), true)),
            Plan::Remove(last) => {
                let write = Write { key: target.key(), condition, action: Action::Delete(encoded(&last)) };
                let beside = strategies::services::deletes_with(&self.store, target, &last);
                let json = self.write(write, beside).await?;
                self.services.release(target, &last);
                Ok((json, true))
            }
        }
    }
}

/// Preconditions: `rest.BeforeDelete`, whose conflict names the kind.
fn check(target: &Target, options: &DeleteOptions, old: &Value) -> Result<(), ApiError> {
    let (uid, revision) = (meta(old, "uid"), meta(old, "resourceVersion"));
    if let Some(asked) = options.uid.as_deref().filter(|asked| *asked != uid) {
        let why = format!(
            "the UID in the precondition ({asked}) does not match the UID in record ({uid}). The object might have been \
             deleted and then recreated"
        );
        return Err(ApiError::conflict(target.kind.group, target.kind.kind, &target.name, &why));
    }
    if let Some(asked) = options.resource_version.as_deref().filter(|asked| *asked != revision) {
        let why = format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({revision}). \
             The object might have been modified"
        );
        return Err(ApiError::conflict(target.kind.group, target.kind.kind, &target.name, &why));
    }
    Ok(())
}

/// Finalizers that the garbage collector takes off again.
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

fn plan(target: &Target, options: &DeleteOptions, old: &Value) -> Plan {
    let mut new = old.clone();
    propagate(target, options, &mut new);
    strategies::before_delete(target.kind, &mut new);
    let finalizers = words::finalizers(&new).next().is_some();
    let marked = words::deletion_timestamp(old).is_some();
    let grace = strategies::deletion_grace(target.kind, old, options.grace_seconds);
    if target.kind.kind == "Namespace" && target.kind.group.is_empty() {
        return namespace_plan(new, old, marked, finalizers);
    }
    let before = words::deletion_grace_period_seconds(old).unwrap_or(0);
    match (marked, grace) {
        // a deletion can be hurried, never slowed down: rest.BeforeDelete
        (true, Some(seconds)) if seconds >= before && before > 0 => unless_same(new, old),
        (_, None | Some(0)) if !finalizers => Plan::Remove(new),
        (true, _) if before == 0 => unless_same(new, old),
        (_, grace) => {
            mark(&mut new, grace.unwrap_or(0), marked.then_some(before));
            Plan::Mark(new)
        }
    }
}

fn unless_same(new: Value, old: &Value) -> Plan {
    if new == *old { Plan::Nothing } else { Plan::Mark(new) }
}

fn namespace_plan(mut new: Value, old: &Value, marked: bool, finalizers: bool) -> Plan {
    let holds = at(old, &["spec", "finalizers"]).as_array().is_some_and(|f| !f.is_empty());
    if marked && !holds && !finalizers {
        return Plan::Remove(new);
    }
    if marked {
        return unless_same(new, old);
    }
    if !holds && !finalizers {
        return Plan::Remove(new);
    }
    mark(&mut new, 0, None);
    object(&mut new, &["metadata"]).shift_remove("deletionGracePeriodSeconds");
    set(&mut new, &["status", "phase"], "Terminating");
    Plan::Mark(new)
}

/// Sets deletionTimestamp (when the grace will be over) and the grace itself.
fn mark(new: &mut Value, grace: i64, before: Option<i64>) {
    let base = match before {
        // hurried: the same beginning, an earlier end
        Some(was) => words::deletion_timestamp(new)
            .and_then(|t| t.parse::<jiff::Timestamp>().ok())
            .map(|t| t.as_second() - was)
            .unwrap_or_else(|| jiff::Timestamp::now().as_second()),
        None => jiff::Timestamp::now().as_second(),
    };
    let end = jiff::Timestamp::from_second(base + grace).unwrap_or_else(|_| jiff::Timestamp::now());
    set(new, &["metadata", "deletionTimestamp"], end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    set(new, &["metadata", "deletionGracePeriodSeconds"], grace);
    if before.is_none() && words::generation(new) > 0 {
        let generation = words::generation(new) + 1;
        words::set_generation(new, generation);
    }
}

/// `deletionFinalizersForGarbageCollection`: an explicit policy decides which of the two finalizers stays, then those that
/// are there, then the kind.
fn propagate(target: &Target, options: &DeleteOptions, new: &mut Value) {
    if target.kind.group.is_empty()
        && matches!(target.kind.kind, "Event" | "Namespace")
        && options.propagation.is_none()
    {
        return;
    }
    let had: Vec<String> = words::finalizers(new).map(str::to_owned).collect();
    let (orphan, foreground) = match options.propagation {
        Some(policy) => (policy == Propagation::Orphan, policy == Propagation::Foreground),
        None => {
            let (orphan, foreground) = (had.iter().any(|f| f == ORPHAN), had.iter().any(|f| f == FOREGROUND));
            (orphan || !foreground && strategies::orphans_by_default(target.kind), foreground)
        }
    };
    let mut finalizers: Vec<String> =
        had.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    if orphan {
        finalizers.push(ORPHAN.into());
    }
    if foreground {
        finalizers.push(FOREGROUND.into());
    }
    if finalizers == had {
        return;
    }
    match finalizers.is_empty() {
        true => drop(crate::value::remove(new, &["metadata", "finalizers"])),
        false => set(new, &["metadata", "finalizers"], finalizers),
    }
}

/// `Status` of a finished deletion.
pub fn success(target: &Target, last: &Value) -> Value {
    let mut details = json!({"name": target.name});
    if !target.kind.group.is_empty() {
        set(&mut details, &["group"], target.kind.group);
    }
    set(&mut details, &["kind"], target.kind.plural);
    set(&mut details, &["uid"], text(last, &["metadata", "uid"]));
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
