//! What a profile says of nodes and of their pods. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use sampan_api::quantity::Quantity;
use sampan_api::validation::{is_label_value, is_qualified_name};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::words;

/// What simulated nodes are like; all of it has defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Profile {
    /// The nodes.
    pub node: NodeShape,
    /// Their pods.
    pub pods: PodBehaviour,
}

/// What a simulated node has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeShape {
    /// Quantities by resource, instead of or beside the defaults: 32 of `cpu`, 256Gi of `memory`, 1Ti of
    /// `ephemeral-storage`.
    pub capacity: BTreeMap<String, String>,
    /// Labels beside the usual.
    pub labels: BTreeMap<String, String>,
}

/// How simulated pods behave. Annotations of a pod say otherwise for it alone. Seconds are whole, as Kubernetes' times are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct PodBehaviour {
    /// From being scheduled to Running.
    #[serde(deserialize_with = "whole")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub start_seconds: u32,
    /// From Running to the containers' exit. Without it pods of Jobs exit at once, and all others run for ever.
    #[serde(deserialize_with = "whole_if_any")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub run_seconds: Option<u32>,
    /// From deletion to the containers' end, within the grace period.
    #[serde(deserialize_with = "whole")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub stop_seconds: u32,
    /// Of a hundred pods, how many exit with 1.
    #[serde(deserialize_with = "whole")]
    #[schemars(range(min = 0, max = 100))]
    pub fail_percent: u8,
    /// Whether nothing is heard of pods until they are deleted, as where a kubelet hangs, or where only the scheduler is
    /// looked at.
    pub ignored: bool,
}

impl Profile {
    /// Says what is wrong with a profile: the field, and what is.
    ///
    /// # Errors
    /// A quantity, resource, label or percentage is none.
    pub fn check(&self) -> Result<(), (String, String)> {
        for (name, text) in &self.node.capacity {
            let field = || format!("profile.node.capacity.{name}");
            if let Some(problem) = is_qualified_name(name).into_iter().next() {
                return Err((field(), problem));
            }
            let quantity =
                Quantity::parse(text).map_err(|_| (field(), format!("{text:?} is no quantity")))?;
            if quantity.sign() < 0 {
                return Err((field(), format!("{text} is less than nothing")));
            }
        }
        for (name, value) in &self.node.labels {
            let problems = is_qualified_name(name).into_iter().chain(is_label_value(value));
            if let Some(problem) = problems.into_iter().next() {
                return Err((format!("profile.node.labels.{name}"), problem));
            }
        }
        if self.pods.fail_percent > 100 {
            let problem = format!("{} is more than 100", self.pods.fail_percent);
            return Err(("profile.pods.failPercent".to_owned(), problem));
        }
        Ok(())
    }
}

/// A whole number, which JSON may also write as `60.0`.
pub(crate) fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(deserializer: D) -> Result<T, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let float = || number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15);
    let whole = number.as_i64().or_else(|| float().map(|float| float as i64));
    let whole = whole.and_then(|whole| T::try_from(whole).ok());
    whole.ok_or_else(|| D::Error::custom(format!("{number} is no whole number of this range")))
}

fn whole_if_any<'de, D: Deserializer<'de>, T: TryFrom<i64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    match Option::<serde_json::Value>::deserialize(deserializer)? {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(value) => whole(value).map(Some).map_err(D::Error::custom),
    }
}

/// What one pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conduct {
    pub start_seconds: u32,
    /// For ever without it.
    pub run_seconds: Option<u32>,
    pub stop_seconds: u32,
    pub exit_code: i32,
    pub ready: bool,
    /// Nothing is said of it.
    pub ignored: bool,
}

/// What a pod does: its annotations, else its node's profile. Annotations that cannot be read are as none.
pub(crate) fn conduct(pod: &Pod, profile: &PodBehaviour) -> Conduct {
    let told = |name: &str| pod.metadata.annotations.as_ref().and_then(|all| all.get(name));
    let seconds = |name: &str| told(name).and_then(|text| text.trim().parse::<u32>().ok());
    let exit_code = told(words::EXIT_CODE).and_then(|text| text.trim().parse::<u8>().ok()).map(i32::from);
    let fails = share(pod.metadata.uid.as_deref().unwrap_or_default()) < u32::from(profile.fail_percent);
    let of_job = pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "Job");
    let at_once = (of_job || exit_code.is_some() || fails).then_some(0);
    Conduct {
        start_seconds: seconds(words::START_SECONDS).unwrap_or(profile.start_seconds),
        run_seconds: seconds(words::RUN_SECONDS).or(profile.run_seconds).or(at_once),
        stop_seconds: seconds(words::STOP_SECONDS).unwrap_or(profile.stop_seconds),
        exit_code: exit_code.unwrap_or(i32::from(fails)),
        ready: told(words::READY).is_none_or(|text| text != "false"),
        ignored: profile.ignored,
    }
}

/// A number below a hundred that is always the same of one text, and spread evenly over texts.
fn share(text: &str) -> u32 {
    hash(text) % 100
}

/// FNV-1a, whose high bits are mixed in once more.
pub(crate) fn hash(text: &str) -> u32 {
    let fold = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = text.bytes().fold(0x811c_9dc5, fold);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, owner: Option<&str>, annotations: serde_json::Value) -> Pod {
        let owners: Vec<_> = owner
            .map(|kind| json!({"apiVersion": "x", "kind": kind, "name": "o", "uid": "o"}))
            .into_iter()
            .collect();
        serde_json::from_value(json!({"metadata": {
            "name": "p", "uid": uid, "annotations": annotations, "ownerReferences": owners}}))
        .unwrap()
    }

    #[test]
    fn annotations_come_before_the_profile() {
        let profile = PodBehaviour { start_seconds: 2, stop_seconds: 3, ..PodBehaviour::default() };
        let plain = Conduct {
            start_seconds: 2,
            run_seconds: None,
            stop_seconds: 3,
            exit_code: 0,
            ready: true,
            ignored: false,
        };
        let cases = [
            (pod("u", None, json!({})), plain),
            (pod("u", Some("ReplicaSet"), json!({})), plain),
            (pod("u", Some("Job"), json!({})), Conduct { run_seconds: Some(0), ..plain }),
            (
                pod("u", Some("Job"), json!({"sampan.dev/simulate-run-seconds": "7"})),
                Conduct { run_seconds: Some(7), ..plain },
            ),
            (
                pod("u", None, json!({"sampan.dev/simulate-exit-code": "3"})),
                Conduct { run_seconds: Some(0), exit_code: 3, ..plain },
            ),
            (pod("u", None, json!({"sampan.dev/simulate-exit-code": "300"})), plain),
            (
                pod(
                    "u",
                    None,
                    json!({
                    "sampan.dev/simulate-ready": "false", "sampan.dev/simulate-start-seconds": "0",
                    "sampan.dev/simulate-stop-seconds": "soon"}),
                ),
                Conduct { start_seconds: 0, ready: false, ..plain },
            ),
        ];
        for (pod, expected) in cases {
            assert_eq!(conduct(&pod, &profile), expected, "{:?}", pod.metadata);
        }
    }

    #[test]
    fn as_many_fail_as_the_profile_says_and_always_the_same() {
        let profile = PodBehaviour { fail_percent: 10, ..PodBehaviour::default() };
        let fails = |number: u32| {
            let conduct = conduct(&pod(&format!("uid-{number}"), None, json!({})), &profile);
            assert_eq!(conduct.run_seconds.is_some(), conduct.exit_code == 1);
            conduct.exit_code == 1
        };
        let count = (0..10_000).filter(|number| fails(*number)).count();
        assert!((800..1_200).contains(&count), "{count}");
        assert_eq!((0..100).map(fails).collect::<Vec<_>>(), (0..100).map(fails).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_wrong_with_a_profile_is_named() {
        let parse = |text: &str| serde_json::from_str::<Profile>(text);
        let field = |text: &str| parse(text).unwrap().check().err().map(|(field, _)| field);
        assert_eq!(field(r#"{"node": {"capacity": {"cpu": "4"}}, "pods": {"runSeconds": 3}}"#), None);
        assert_eq!(
            field(r#"{"node": {"capacity": {"cpu": "many"}}}"#).as_deref(),
            Some("profile.node.capacity.cpu")
        );
        assert_eq!(
            field(r#"{"node": {"capacity": {"cpu": "-1"}}}"#).as_deref(),
            Some("profile.node.capacity.cpu")
        );
        for (shape, name) in [
            (r#"{"labels": {"disk": "ssd", "a.example/b": ""}}"#, None),
            (r#"{"labels": {"disk": "solid state"}}"#, Some("profile.node.labels.disk")),
            (r#"{"labels": {"a/b/c": "x"}}"#, Some("profile.node.labels.a/b/c")),
            (r#"{"capacity": {"c p u": "1"}}"#, Some("profile.node.capacity.c p u")),
        ] {
            assert_eq!(field(&format!(r#"{{"node": {shape}}}"#)).as_deref(), name, "{shape}");
        }
        assert_eq!(field(r#"{"pods": {"failPercent": 101}}"#).as_deref(), Some("profile.pods.failPercent"));
        for wrong in [
            "{\"runSecond\": 3}",
            "{\"runSeconds\": 1.5}",
            "{\"startSeconds\": -1}",
            "{\"failPercent\": 300}",
        ] {
            assert!(parse(&format!("{{\"pods\": {wrong}}}")).is_err(), "{wrong}");
        }
        let pods = parse(r#"{"pods": {"runSeconds": 3.0, "stopSeconds": 2}}"#).unwrap().pods;
        assert_eq!((pods.run_seconds, pods.stop_seconds), (Some(3), 2));
        assert_eq!(parse(r#"{"pods": {"runSeconds": null}}"#).unwrap(), Profile::default());
    }
}
