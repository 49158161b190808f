//! One webhook of a configuration, parsed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::dynamic::client::Place;
use crate::dynamic::expressions::{Conditions, env, fails};
use crate::dynamic::matching::Matcher;
use crate::registry::Review;
use crate::value::{at, items, meta, strings, text};

/// A webhook.
pub(super) struct Hook {
    pub name: String,
    /// The configuration's name.
    configuration: String,
    /// Distinguishes it from all others.
    pub uid: String,
    pub matcher: Matcher,
    pub conditions: Conditions,
    pub place: Result<Place, String>,
    /// Whether a failure refuses the request.
    pub fail: bool,
    pub timeout: Duration,
    /// Whether it may be asked when nothing will be written.
    pub dry_run: bool,
    /// `reinvocationPolicy: IfNeeded`
    pub repeatable: bool,
    /// `v1` or `v1beta1`, the first that it and we know.
    pub version: Option<&'static str>,
}

pub(super) fn parse(configuration: &Value) -> Vec<Hook> {
    let name = meta(configuration, "name");
    let hooks = items(at(configuration, &["webhooks"])).iter().enumerate();
    hooks.map(|(index, hook)| Hook::parse(name, index, hook)).collect()
}

impl Hook {
    fn parse(configuration: &str, index: usize, hook: &Value) -> Self {
        let name = text(hook, &["name"]);
        let known = ["v1", "v1beta1"];
        let versions = strings(at(hook, &["admissionReviewVersions"]));
        Self {
            name: name.to_owned(),
            configuration: configuration.to_owned(),
            uid: format!("{configuration}/{name}/{index}"),
            matcher: Matcher::of_webhook(hook),
            conditions: Conditions::parse(at(hook, &["matchConditions"]), &env(false, true)),
            place: Place::parse(at(hook, &["clientConfig"])),
            fail: fails(hook),
            timeout: Duration::from_secs(at(hook, &["timeoutSeconds"]).as_u64().unwrap_or(10)),
            dry_run: matches!(text(hook, &["sideEffects"]), "None" | "NoneOnDryRun"),
            repeatable: text(hook, &["reinvocationPolicy"]) == "IfNeeded",
            version: versions.iter().find_map(|one| known.into_iter().find(|known| known == one)),
        }
    }

    /// `mutation.webhook.admission.k8s.io/round_0_index_1`
    pub(super) fn note_mutation(&self, review: &Review<'_>, round: usize, index: usize, mutated: bool) {
        let value = json!({"configuration": self.configuration, "webhook": self.name, "mutated": mutated});
        let key = format!("mutation.webhook.admission.k8s.io/round_{round}_index_{index}");
        review.notes.annotate(key, value.to_string());
    }

    /// That it was let pass although it failed.
    pub(super) fn note_failure(&self, review: &Review<'_>, place: Option<(usize, usize)>) {
        let key = match place {
            Some((round, index)) => {
                format!("failed-open.mutation.webhook.admission.k8s.io/round_{round}_index_{index}")
            }
            None => "failed-open.validating.webhook.admission.k8s.io/round_0_index_0".to_owned(),
        };
        review.notes.annotate(key, self.name.as_str());
    }
}
