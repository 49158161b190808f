//! Has the runtime change a running pod, step by step: the rim of [`super::plan`].

use sampan_cri::{Resources, Runtime, SandboxMemory};

use super::plan::{Step, Target};
use crate::pod::machine::Event;

/// Does the steps in order, up to the first that fails. None is done if a limit of memory would come below what is used.
pub async fn carry_out(runtime: &Runtime, sandbox_id: &str, steps: Vec<Step>) -> Event {
    let mut done = Vec::new();
    let error = match fits(runtime, sandbox_id, &steps).await {
        Err(error) => Some(error),
        Ok(()) => {
            let mut error = None;
            for step in steps {
                if let Err(why) = set(runtime, sandbox_id, &step).await {
                    error = Some(why);
                    break;
                }
                done.push(step);
            }
            error
        }
    };
    if let Some(error) = &error {
        tracing::warn!(sandbox_id, error, "pod not resized");
    }
    Event::Resized(done, error)
}

async fn set(runtime: &Runtime, sandbox_id: &str, step: &Step) -> Result<(), String> {
    if step.set == Resources::default() {
        return Ok(());
    }
    let set = step.set.clone();
    let result = match &step.target {
        Target::Pod => runtime.update_pod_sandbox_resources(sandbox_id, set).await,
        Target::Container { id, .. } => runtime.update_container_resources(id, set).await,
    };
    result.map_err(|error| error.to_string())
}

async fn fits(runtime: &Runtime, sandbox_id: &str, steps: &[Step]) -> Result<(), String> {
    if !steps.iter().any(|step| step.lowers_memory) {
        return Ok(());
    }
    let used = runtime.pod_sandbox_memory(sandbox_id).await.map_err(|error| error.to_string())?;
    too_low(steps, &used).map_or(Ok(()), Err)
}

/// Upstream's words if limits would come below what is used.
fn too_low(steps: &[Step], used: &SandboxMemory) -> Option<String> {
    let pod_first = |step: &&Step| step.target != Target::Pod;
    let mut lowered: Vec<&Step> = steps.iter().filter(|step| step.lowers_memory).collect();
    lowered.sort_by_key(pod_first);
    let complaints: Vec<String> = lowered.into_iter().filter_map(|step| complaint(step, used)).collect();
    let text = complaints.join(", ");
    match complaints.len() {
        0 => None,
        1 => Some(format!("cannot decrease memory limits: {text}")),
        _ => Some(format!("cannot decrease memory limits: [{text}]")),
    }
}

fn complaint(step: &Step, used: &SandboxMemory) -> Option<String> {
    let limit = u64::try_from(step.set.memory_limit_bytes?).ok()?;
    let (whose, used) = match &step.target {
        Target::Pod => ("pod".to_owned(), used.pod_bytes),
        Target::Container { name, id, .. } => {
            (format!("container {name:?}"), used.containers.get(id).copied().unwrap_or_default())
        }
    };
    (used >= limit)
        .then(|| format!("attempting to set {whose} memory limit ({limit}) below current usage ({used})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_below_what_is_used_are_named() {
        let step = |target: Target, limit: i64| Step {
            target,
            set: Resources { memory_limit_bytes: Some(limit), ..Resources::default() },
            lowers_memory: true,
        };
        let container = |name: &str| Target::Container {
            name: name.to_owned(),
            id: format!("id-{name}"),
            resource: "memory",
            request: None,
            limit: None,
        };
        let used = SandboxMemory {
            pod_bytes: 300,
            containers: [("id-a".to_owned(), 200), ("id-b".to_owned(), 50)].into(),
        };
        let steps = [step(container("a"), 100), step(container("b"), 100), step(Target::Pod, 200)];
        assert_eq!(
            too_low(&steps, &used).as_deref(),
            Some(
                "cannot decrease memory limits: [attempting to set pod memory limit (200) below current usage (300), \
                 attempting to set container \"a\" memory limit (100) below current usage (200)]"
            )
        );
        assert_eq!(
            too_low(&steps[..2], &used).as_deref(),
            Some(
                "cannot decrease memory limits: attempting to set container \"a\" memory limit (100) below current usage (200)"
            )
        );
        assert_eq!(too_low(&steps[1..2], &used), None);
    }
}
