//! What a review keeps between plugins and between its two rounds: audit annotations, objects in other versions, and who
//! is to be asked again (upstream's `admission.ReinvocationContext`).

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use serde_json::Value;

use crate::crd::convert::Memo;
use crate::value::at;

const MANAGED_FIELDS: &[&str] = &["metadata", "managedFields"];

/// Kept with a review.
#[derive(Default)]
pub struct Notes {
    through: &'static str,
    annotations: Mutex<BTreeMap<String, String>>,
    rounds: Mutex<Rounds>,
    /// The managed fields before somebody else wrote them.
    fields: Mutex<Option<Value>>,
    /// What webhooks and policies were shown of custom resources.
    pub(crate) conversions: Memo,
}

#[derive(Default)]
struct Rounds {
    second: bool,
    wanted: bool,
    plugins: BTreeMap<&'static str, Invoked>,
}

/// What a plugin that asks others has done in the first round.
#[derive(Default)]
struct Invoked {
    /// Those that may be asked again, and have been asked.
    asked: BTreeSet<String>,
    /// Those of them after which the object changed.
    again: BTreeSet<String>,
    /// The object as the plugin left it.
    left: Option<Value>,
}

impl Notes {
    /// Of a write through a subresource that is a view of the whole object, such as `scale`.
    pub fn through(subresource: &'static str) -> Self {
        Self { through: subresource, ..Self::default() }
    }

    /// The subresource that the object is written through, empty if it is written as it is.
    pub fn view(&self) -> &'static str {
        self.through
    }

    /// Adds an audit annotation; the first of a key stays.
    pub fn annotate(&self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        crate::audit::annotate(&key, || value.clone());
        self.annotations.lock().entry(key).or_insert(value);
    }

    /// The audit annotations.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.annotations.lock().clone()
    }

    /// Begins the second round, if one is wanted.
    pub fn begin_second_round(&self) -> bool {
        let mut rounds = self.rounds.lock();
        rounds.second = rounds.wanted;
        rounds.second
    }

    /// Whether this is the second round.
    pub fn is_second_round(&self) -> bool {
        self.rounds.lock().second
    }

    /// A plugin begins: if others changed the object since it was last asked, all it may ask again is asked again.
    pub fn resume(&self, plugin: &'static str, object: &Value) {
        let mut rounds = self.rounds.lock();
        let second = rounds.second;
        let invoked = rounds.plugins.entry(plugin).or_default();
        if second && invoked.left.as_ref().is_some_and(|left| left != object) {
            invoked.again = invoked.asked.clone();
        }
    }

    /// Whether `one` is to be asked: anyone in the first round, in the second whoever the object changed after.
    pub fn is_due(&self, plugin: &'static str, one: &str) -> bool {
        let rounds = self.rounds.lock();
        !rounds.second || rounds.plugins.get(plugin).is_some_and(|invoked| invoked.again.contains(one))
    }

    /// `one` was asked; it may be asked again if `repeatable`; it changed the object if `changed`.
    pub fn asked(&self, plugin: &'static str, one: &str, repeatable: bool, changed: bool) {
        let mut rounds = self.rounds.lock();
        rounds.wanted |= changed;
        let invoked = rounds.plugins.entry(plugin).or_default();
        if changed {
            invoked.again = invoked.asked.clone();
        }
        if repeatable {
            invoked.asked.insert(one.to_owned());
        }
    }

    /// Somebody else made `after` out of `before`: whether its managed fields can still be read is to be seen at the end.
    pub fn changed(&self, before: &Value, after: &Value) {
        let (was, is) = (at(before, MANAGED_FIELDS), at(after, MANAGED_FIELDS));
        if was != is {
            self.fields.lock().get_or_insert_with(|| was.clone());
        }
    }

    /// The managed fields before somebody else wrote them, if somebody did.
    pub fn fields_before(&self) -> Option<Value> {
        self.fields.lock().clone()
    }

    /// A plugin has ended.
    pub fn leave(&self, plugin: &'static str, object: &Value) {
        let mut rounds = self.rounds.lock();
        let invoked = rounds.plugins.entry(plugin).or_default();
        if !invoked.asked.is_empty() {
            invoked.left = Some(object.clone());
        }
    }
}
