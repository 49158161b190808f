//! create: `registry/generic/registry/store.go` `Create` and `registry/rest/create.go` `BeforeCreate`.

use sampan_api::status::{ApiError, Reason};
use sampan_api::validation;
use sampan_store::{Condition, Key, WriteError};
use serde_json::Value;

use super::{Call, Operation, Registry, Target, Written, quota, write_error};
use crate::strategies;
use crate::value::{meta, now, object, remove, set, uid};

/// Attempts at a free generated name: upstream's `maxNameGenerationCreateAttempts`.
const NAME_ATTEMPTS: usize = 8;

impl Registry {
    /// Creates `body` in `target`'s namespace. `target.name` is empty but for PUT-creates.
    pub async fn create(&self, call: &Call<'_>, target: &Target, body: Value) -> Result<Written, ApiError> {
        let generated = meta(&body, "name").is_empty() && !meta(&body, "generateName").is_empty();
        if !generated {
            return self.create_once(call, target, body).await;
        }
        let mut attempt = 1;
        loop {
            match self.create_once(call, target, body.clone()).await {
                Err(error) if error.reason == Reason::AlreadyExists && attempt < NAME_ATTEMPTS => {
                    attempt += 1
                }
                Err(error) if error.reason == Reason::AlreadyExists => {
                    let mut error = error;
                    error.retry_after_seconds = Some(1);
                    return Err(error);
                }
                other => return other,
            }
        }
    }

    async fn create_once(
        &self,
        call: &Call<'_>,
        target: &Target,
        mut new: Value,
    ) -> Result<Written, ApiError> {
        let kind = target.kind;
        // upstream's storage says this, after admission
        let has_version = meta(&new, "resourceVersion").parse::<u64>().is_ok_and(|version| version != 0);
        self.stamp(target, &mut new);
        self.require_namespace(target, meta(&new, "name"))?;
        super::owners::dedup(&mut new, false);
        strategies::rules::defaults(kind, &mut new);
        self.track(call, target, None, &mut new).await;
        let target = &Target { name: meta(&new, "name").to_owned(), ..target.clone() };
        strategies::prepare_create(kind, &mut new);
        strategies::rules::defaults(kind, &mut new);
        let review = call.review(self, target, Operation::Create, None);
        self.admit(&review, &mut new).await?;
        super::owners::dedup(&mut new, true);
        strategies::prepare_admitted(kind, &target.subresource, None, &mut new);
        strategies::rules::defaults(kind, &mut new);
        let dry_run = call.options.dry_run;
        let mut allocation = self.services.begin(&self.store, target, None, &mut new, dry_run)?;
        let mut errors = strategies::admin_access::errors(&self.store, target, None, &new);
        errors.extend(strategies::rules::create_errors(kind, &new));
        if !errors.is_empty() {
            return Err(target.invalid(errors));
        }
        self.admit_validate(&review, &new).await?;
        if has_version {
            return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
        }
        self.to_storage(&mut new, kind).await?;
        loop {
            let mut beside = allocation.writes(&self.store, &new);
            let charges = quota::charge(&review, &new)?;
            let charged = charges.len();
            beside.extend(charges);
            let error = match self.put(target, &new, Condition::Absent, beside, dry_run).await {
                Ok(json) => {
                    allocation.keep();
                    call.warnings.lock().extend(strategies::rules::warnings(kind, &new, None));
                    return Ok(Written { json: self.answered(json, kind).await?, created: true });
                }
                Err(error) => error,
            };
            if quota::is_race(&error, charged) || super::manage::drop_if_too_large(call, &error, &mut new) {
                continue;
            }
            let WriteError::Exists(other) = &error else { return Err(write_error(target, error)) };
            allocation
                .collided(&self.store, target, other, &mut new)
                .unwrap_or_else(|| Err(write_error(target, error)))?;
        }
    }

    /// What the system fills in: upstream's `rest.FillObjectMetaSystemFields` and name generation.
    fn stamp(&self, target: &Target, new: &mut Value) {
        let base = meta(new, "generateName").to_owned();
        if meta(new, "name").is_empty() && !base.is_empty() {
            set(new, &["metadata", "name"], validation::generate_name(&base, rand::random()));
        }
        let metadata = object(new, &["metadata"]);
        for field in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
            metadata.shift_remove(field);
        }
        metadata.insert("uid".into(), uid().into());
        metadata.insert("creationTimestamp".into(), now().into());
        metadata.shift_remove("generation");
        if strategies::has_generation(target.kind) {
            metadata.insert("generation".into(), 1.into());
        }
        match target.kind.namespaced {
            true => drop(metadata.insert("namespace".into(), target.namespace.as_str().into())),
            false => drop(metadata.shift_remove("namespace")),
        }
        set(new, &["kind"], target.kind.kind);
        set(new, &["apiVersion"], target.kind.api_version());
        if strategies::has_status_subresource(target.kind) && !strategies::keeps_status_on_create(target.kind)
        {
            remove(new, &["status"]);
        }
    }

    /// The namespace has to exist and not be on its way out: admission plugin NamespaceLifecycle.
    fn require_namespace(&self, target: &Target, name: &str) -> Result<(), ApiError> {
        if !target.kind.namespaced {
            return Ok(());
        }
        let namespace = &target.namespace;
        let Some(entry) = self.store.get(&Key::new("namespaces", namespace.as_str())) else {
            return Err(ApiError::not_found("", "namespaces", namespace));
        };
        let terminating =
            entry.columns.fields.iter().any(|(k, v)| &**k == "status.phase" && &**v == "Terminating");
        if !terminating {
            return Ok(());
        }
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut error = ApiError::forbidden(target.kind.group, target.kind.plural, name, &why);
        let message = format!("namespace {namespace} is being terminated");
        error.causes = vec![("NamespaceTerminating".into(), message, "metadata.namespace".into())];
        Err(error)
    }
}
