//! Tables and properties of field management.

mod core;
mod operations;
mod properties;

use serde_json::{Value, json};

use super::manager::{Tracker, Versions};
use super::reset::{Reset, of_kind};
use super::shape::Shape;

/// One built-in kind in one version.
struct One(&'static str, &'static str);

impl Versions for One {
    fn shape(&self, api_version: &str) -> Option<Shape<'_>> {
        (api_version == self.0).then(|| Shape::root(self.1)).flatten()
    }
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        (api_version == self.0).then(|| object.clone())
    }
}

const POD: One = One("v1", "io.k8s.api.core.v1.Pod");
const DEPLOYMENT: One = One("apps/v1", "io.k8s.api.apps.v1.Deployment");
const MAP: One = One("v1", "io.k8s.api.core.v1.ConfigMap");

const NOW: &str = "2026-01-02T03:04:05Z";

fn tracker<'a>(versions: &'a One, subresource: &'a str, reset: &'a Reset) -> Tracker<'a> {
    let kind = versions.1.rsplit_once('.').map_or("", |(_, kind)| kind);
    Tracker { versions, api_version: versions.0, kind, subresource, reset, now: NOW }
}

/// A cluster of one object.
struct Object {
    versions: &'static One,
    live: Option<Value>,
}

impl Object {
    fn new(versions: &'static One) -> Self {
        Self { versions, live: None }
    }

    fn reset(&self, subresource: &str) -> Reset {
        let (group, _) = crate::meta::group_version(self.versions.0);
        let kind = self.versions.1.rsplit_once('.').map_or("", |(_, kind)| kind);
        of_kind(group, kind, subresource)
    }

    fn dressed(&self, mut object: Value) -> Value {
        let kind = self.versions.1.rsplit_once('.').map_or("", |(_, kind)| kind);
        object["apiVersion"] = self.versions.0.into();
        object["kind"] = kind.into();
        object["metadata"]["name"] = "x".into();
        object
    }

    fn update(&mut self, manager: &str, object: Value) {
        self.update_through("", manager, object);
    }

    fn update_through(&mut self, subresource: &str, manager: &str, object: Value) {
        let mut new = self.dressed(object);
        let reset = self.reset(subresource);
        tracker(self.versions, subresource, &reset).update(self.live.as_ref(), &mut new, manager);
        new["metadata"]["uid"] = "u".into();
        self.live = Some(new);
    }

    fn apply(&mut self, manager: &str, config: Value) -> Result<(), crate::status::ApiError> {
        self.apply_with(manager, config, false)
    }

    fn force(&mut self, manager: &str, config: Value) {
        self.apply_with(manager, config, true).expect("force leaves no conflicts");
    }

    fn apply_with(
        &mut self,
        manager: &str,
        config: Value,
        force: bool,
    ) -> Result<(), crate::status::ApiError> {
        let config = self.dressed(config);
        let reset = self.reset("");
        let mut new =
            tracker(self.versions, "", &reset).apply(self.live.as_ref(), &config, manager, force)?;
        new["metadata"]["uid"] = "u".into();
        self.live = Some(new);
        Ok(())
    }

    fn object(&self) -> &Value {
        self.live.as_ref().expect("there is one")
    }

    /// `(manager, operation, subresource)` → fields.
    fn managers(&self) -> Vec<(String, Value)> {
        let list = self.object()["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let name = |entry: &Value| {
            let part = |key: &str| entry[key].as_str().unwrap_or("").to_owned();
            [part("manager"), part("operation"), part("subresource")].join(" ").trim_end().to_owned()
        };
        list.iter().map(|entry| (name(entry), entry["fieldsV1"].clone())).collect()
    }

    fn fields_of(&self, manager: &str) -> Value {
        self.managers()
            .into_iter()
            .find(|(name, _)| name == manager)
            .map_or(json!(null), |(_, fields)| fields)
    }
}
