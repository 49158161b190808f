//! Create, replace, patch and delete of any kind.

use sampan_api::kinds::{self, Kind};
use sampan_api::strict::Spot;
use sampan_api::{defaults, patch};
use serde_json::{Value, json};

use super::{Answer, Name, Place, State, Who, failure, not_found};

/// The time as objects have it.
pub fn stamp() -> Value {
    json!(format!("{:.0}", sampan_reconcile::now()))
}

fn row(place: &Place) -> Option<&'static Kind> {
    kinds::by_resource(&place.group, &place.version, &place.plural)
}

fn conflict(place: &Place) -> Answer {
    let name = place.name.clone().unwrap_or_default();
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    failure(409, "Conflict", &format!("Operation cannot be fulfilled on {} {name:?}: {why}", place.plural))
}

fn list_is_empty(object: &Value, member: &str) -> bool {
    object[member]["finalizers"].as_array().is_none_or(Vec::is_empty)
}

/// A merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(key)),
            value => merge(&mut target[key], value),
        }
    }
}

impl State {
    pub(super) fn create(&mut self, who: Who, place: &Place, mut object: Value) -> Answer {
        let Some(kind) = row(place) else { return failure(404, "NotFound", "no such kind") };
        self.objects.made += 1;
        let made = self.objects.made;
        let meta = &mut object["metadata"];
        if meta["name"].as_str().is_none_or(str::is_empty) {
            let Some(start) = meta["generateName"].as_str() else {
                return failure(422, "Invalid", "name or generateName is required");
            };
            meta["name"] = json!(format!("{start}{made:05}"));
        }
        if kind.namespaced {
            meta["namespace"] = json!(place.namespace);
        }
        meta["uid"] = json!(format!("uid-{made}"));
        meta["generation"] = json!(1);
        meta["creationTimestamp"] = stamp();
        let name: Name = (place.namespace.clone(), meta["name"].as_str().unwrap().to_owned());
        if self.objects.get(&place.kind(), &name).is_some() {
            return failure(409, "AlreadyExists", &format!("{} {:?} already exists", place.plural, name.1));
        }
        object["apiVersion"] = json!(kinds::api_version(&place.group, &place.version));
        object["kind"] = json!(kind.kind);
        match kind.kind {
            "Pod" => self.admit_pod(&mut object),
            "Job" => select_own(&mut object),
            "Namespace" => object["status"] = json!({"phase": "Active"}),
            _ => {}
        }
        defaults::apply(kind.kind, kind.group, kind.version, &mut object);
        (201, self.put(who, place, name, Some(object)))
    }

    pub(super) fn replace(&mut self, who: Who, place: &Place, sub: Option<&str>, body: Value) -> Answer {
        let Some(old) = self.objects.get(&place.kind(), &place.one()).cloned() else {
            return not_found(place);
        };
        self.change(who, place, sub, &old, body)
    }

    pub(super) fn patch(
        &mut self,
        who: Who,
        place: &Place,
        sub: Option<&str>,
        content: &str,
        body: Value,
    ) -> Answer {
        let Some(old) = self.objects.get(&place.kind(), &place.one()).cloned() else {
            return not_found(place);
        };
        let mut new = old.clone();
        if content.starts_with("application/strategic-merge-patch") {
            let node = row(place).and_then(|kind| kinds::schema_of(old["apiVersion"].as_str()?, kind.kind));
            let Some(node) = node.and_then(Spot::root) else {
                return failure(415, "Unsupported", "no schema");
            };
            let Value::Object(body) = body else {
                return failure(400, "BadRequest", "Invalid JSON document");
            };
            if let Err(error) = patch::strategic(&mut new, body, node) {
                return failure(400, "BadRequest", &error.to_string());
            }
        } else {
            merge(&mut new, &body);
        }
        self.change(who, place, sub, &old, new)
    }

    /// Writes what was sent, as far as it may be.
    fn change(&mut self, who: Who, place: &Place, sub: Option<&str>, old: &Value, sent: Value) -> Answer {
        for precondition in ["uid", "resourceVersion"] {
            let asked = &sent["metadata"][precondition];
            if !asked.is_null() && *asked != old["metadata"][precondition] {
                return conflict(place);
            }
        }
        let mut new = sent;
        match sub {
            Some("status") => {
                let status = new["status"].take();
                let mut whole = old.clone();
                whole["status"] = status;
                new = whole;
            }
            Some("scale") => {
                let replicas = new["spec"]["replicas"].take();
                let mut whole = old.clone();
                whole["spec"]["replicas"] = replicas;
                new = whole;
            }
            _ => new["status"] = old["status"].clone(),
        }
        let fixed =
            ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"];
        for field in fixed.into_iter().chain(["name", "namespace", "resourceVersion"]) {
            match &old["metadata"][field] {
                Value::Null => drop(new["metadata"].as_object_mut().unwrap().remove(field)),
                value => new["metadata"][field] = value.clone(),
            }
        }
        (new["apiVersion"], new["kind"]) = (old["apiVersion"].clone(), old["kind"].clone());
        if new["status"].is_null() {
            new.as_object_mut().unwrap().remove("status");
        }
        if let Some(kind) = row(place) {
            defaults::apply(kind.kind, kind.group, kind.version, &mut new);
        }
        if new["spec"] != old["spec"] {
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
        }
        let ends = !new["metadata"]["deletionTimestamp"].is_null()
            && new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
            && list_is_empty(&new, "metadata")
            && list_is_empty(&new, "spec");
        if ends {
            self.put(who, place, place.one(), None);
            return (200, new);
        }
        (200, self.put(who, place, place.one(), Some(new)))
    }

    pub(super) fn delete(&mut self, who: Who, place: &Place, options: &Value) -> Answer {
        let Some(old) = self.objects.get(&place.kind(), &place.one()).cloned() else {
            return not_found(place);
        };
        for precondition in ["uid", "resourceVersion"] {
            let asked = &options["preconditions"][precondition];
            if !asked.is_null() && *asked != old["metadata"][precondition] {
                return conflict(place);
            }
        }
        let mut object = old;
        let finalizer = match options["propagationPolicy"].as_str() {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        let already = !object["metadata"]["deletionTimestamp"].is_null();
        if let Some(finalizer) = finalizer.filter(|_| !already) {
            let mut all = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            all.push(json!(finalizer));
            object["metadata"]["finalizers"] = json!(all);
        }
        let grace = if place.plural == "pods" && place.group.is_empty() {
            super::pods::grace(&object, options)
        } else {
            0
        };
        let before = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
        if already && before.is_some_and(|before| before <= grace) && grace > 0 {
            return (200, object);
        }
        if grace == 0 && list_is_empty(&object, "metadata") && list_is_empty(&object, "spec") {
            self.put(who, place, place.one(), None);
            return (200, object);
        }
        if !already || before.is_none_or(|before| before > grace) {
            let at = sampan_reconcile::now() + std::time::Duration::from_secs(grace.unsigned_abs());
            object["metadata"]["deletionTimestamp"] = json!(format!("{at:.0}"));
            object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        }
        (200, self.put(who, place, place.one(), Some(object)))
    }

    /// Puts an object, and has the judge look at it.
    pub(super) fn put(&mut self, who: Who, place: &Place, name: Name, new: Option<Value>) -> Value {
        let kind = place.kind();
        let old = self.objects.get(&kind, &name).cloned();
        let object = self.objects.put(&kind, &name, new.clone());
        if old != new {
            self.judge.look(&self.objects, who, &kind, old.as_ref(), new.as_ref());
        }
        object
    }
}

/// A Job selects its own pods by its uid (upstream's `jobStrategy`).
fn select_own(job: &mut Value) {
    let (uid, name) = (job["metadata"]["uid"].clone(), job["metadata"]["name"].clone());
    if !job["spec"]["selector"].is_null() {
        return;
    }
    let template = &mut job["spec"]["template"]["metadata"];
    if !template.is_object() {
        *template = json!({});
    }
    for (key, value) in [
        ("controller-uid", &uid),
        ("job-name", &name),
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
    ] {
        template["labels"][key] = value.clone();
    }
    job["spec"]["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
}
