//! What simulated nodes and their pods are marked by, and told by.

use k8s_openapi::api::core::v1::Node;

/// Annotation of a simulated node, as KWOK's users know it; its value is [`FAKE`].
pub const NODE: &str = "kwok.x-k8s.io/node";
/// The value of [`NODE`], as an annotation and as a taint.
pub const FAKE: &str = "fake";
/// Label of the nodes that [`crate::Simulator::create`] makes, with its value: KWOK's manifests select it.
pub const TYPE: (&str, &str) = ("type", "kwok");
/// Annotation of a node: how it fails. See [`State`].
pub const STATE: &str = "sampan.dev/simulate-state";
/// Annotation of a node: how its pods behave, a [`crate::PodBehaviour`] in JSON.
pub const PODS: &str = "sampan.dev/simulate-pods";
/// Annotation of a node: the names of the labels that a profile gave it, a list in JSON. Another profile takes them back.
pub const LABELS: &str = "sampan.dev/simulate-labels";
/// Annotation of a pod: whole seconds from being scheduled to Running.
pub const START_SECONDS: &str = "sampan.dev/simulate-start-seconds";
/// Annotation of a pod: whole seconds from Running to its containers' exit.
pub const RUN_SECONDS: &str = "sampan.dev/simulate-run-seconds";
/// Annotation of a pod: whole seconds from its deletion to its containers' end.
pub const STOP_SECONDS: &str = "sampan.dev/simulate-stop-seconds";
/// Annotation of a pod: what its containers exit with, 0 to 255. Without [`RUN_SECONDS`] they exit at once.
pub const EXIT_CODE: &str = "sampan.dev/simulate-exit-code";
/// Annotation of a pod: `false` keeps its containers from being ready.
pub const READY: &str = "sampan.dev/simulate-ready";

/// What a node does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// All that a kubelet does.
    #[default]
    Alive,
    /// Says that it is not ready, and goes on otherwise.
    NotReady,
    /// Says nothing and does nothing, as a machine without power.
    Failed,
}

impl State {
    /// As the annotation has it.
    pub fn text(self) -> &'static str {
        match self {
            State::Alive => "alive",
            State::NotReady => "not-ready",
            State::Failed => "failed",
        }
    }
}

/// Whether a node is simulated.
pub fn is_simulated(node: &Node) -> bool {
    annotation(node, NODE) == Some(FAKE)
}

/// What a node does; a word that means nothing is as none.
pub fn state(node: &Node) -> State {
    let text = annotation(node, STATE).unwrap_or_default();
    [State::NotReady, State::Failed].into_iter().find(|state| state.text() == text).unwrap_or_default()
}

/// The zone that a node is in; empty for none.
pub fn zone(node: &Node) -> &str {
    let labels = node.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get("topology.kubernetes.io/zone")).map_or("", String::as_str)
}

pub(crate) fn annotation<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    node.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_marked_by_kwoks_annotation_and_told_by_ours() {
        let node = |annotations: &[(&str, &str)]| {
            let mut node = Node::default();
            let all = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            node.metadata.annotations = Some(all.collect());
            node
        };
        assert!(!is_simulated(&Node::default()) && !is_simulated(&node(&[(NODE, "real")])));
        assert!(is_simulated(&node(&[(NODE, "fake")])));
        for (text, expected) in [
            ("failed", State::Failed),
            ("not-ready", State::NotReady),
            ("alive", State::Alive),
            ("?", State::Alive),
        ] {
            assert_eq!(state(&node(&[(STATE, text)])), expected, "{text}");
        }
        assert_eq!(state(&Node::default()), State::Alive);
    }
}
