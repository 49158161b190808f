//! What a restarted daemon has to know of a pod's resources: a file of the pod, written before anything is done.
//!
//! Of a pod that asks for nothing there is none: it cannot be resized.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sampan_cri::Resources;
use serde::{Deserialize, Serialize};

use super::Allocation;
use crate::pod::state::PodState;

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What is set aside for the pod.
    pub allocation: Allocation,
    /// What its containers have, by name.
    pub actuated: BTreeMap<String, ResourceRequirements>,
    /// What they share of the pod's limits, by name.
    #[serde(default)]
    pub shared: BTreeMap<String, BTreeMap<String, Quantity>>,
    /// What its cgroup has.
    pub cgroup: Option<Resources>,
}

impl Checkpoint {
    /// Of a state; `None` if there is nothing to remember.
    pub fn of(state: &PodState) -> Option<Self> {
        let allocation = &state.resize.allocation;
        let slots = || state.slots.iter().filter(|slot| allocation.containers.contains_key(&slot.spec.name));
        let actuated = || slots().map(|slot| (slot.spec.name.clone(), slot.actuated.clone())).collect();
        let shares = || slots().filter(|slot| !slot.shared.is_empty());
        (!allocation.is_empty()).then(|| Self {
            allocation: Allocation::clone(allocation),
            actuated: actuated(),
            shared: shares().map(|slot| (slot.spec.name.clone(), slot.shared.clone())).collect(),
            cgroup: state.resize.cgroup.clone(),
        })
    }

    /// What an earlier process wrote. A file that does not parse counts as none, and is told of: the pod then has what its
    /// object says.
    pub fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read(path).ok()?;
        let read = serde_json::from_slice(&text);
        read.inspect_err(
            |error| tracing::warn!(path = %path.display(), %error, "allocated resources not read"),
        )
        .ok()
    }

    /// Replaces the file as a whole.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        crate::dirs::write(&new, &serde_json::to_vec(self)?)?;
        std::fs::rename(new, path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pod::machine::{Event, step};
    use jiff::Timestamp;
    use serde_json::json;
    use std::sync::Arc;

    fn state(resources: serde_json::Value) -> PodState {
        let spec = json!({"containers": [{"name": "c", "resources": resources}]});
        let pod = serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap();
        let state = PodState::new(Arc::new(pod), Timestamp::UNIX_EPOCH);
        step(state, Event::Tick, Timestamp::UNIX_EPOCH).0
    }

    #[test]
    fn what_was_allocated_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pods/u/resources.json");
        assert_eq!(Checkpoint::read(&path), None);
        let written = Checkpoint::of(&state(json!({"requests": {"cpu": "1"}}))).unwrap();
        assert_eq!(written.cgroup.as_ref().unwrap().cpu_shares, Some(1024));
        written.write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path), Some(written));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Checkpoint::read(&path), None);
        assert_eq!(Checkpoint::of(&state(json!({}))), None);
    }
}
