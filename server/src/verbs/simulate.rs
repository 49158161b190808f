//! `sampan simulate`: nodes that behave like kubelets without containers.

use std::path::Path;

use sampan_simulate::{Profile, Progress, Status};
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::cli::Simulate;
use crate::control::{self, Request};
use crate::failure::{Failure, Kind};
use crate::messages::Message;
use crate::ui::Format;

/// Runs the verb.
pub async fn run(mut context: Context, options: Simulate) -> Outcome {
    let request = request(&options)?;
    if let Request::Simulation = request {
        let status = ask(&mut context, request).await?;
        return show(&context, status);
    }
    let status = ask(&mut context, request).await?;
    if context.ui.format() == Format::Json {
        context.ui.value(&status);
        return Ok(0);
    }
    let Status { nodes, ready, .. } = serde_json::from_value(status).map_err(anyhow::Error::from)?;
    let message = match (&options.fail_zone, &options.recover_zone) {
        (Some(zone), _) => Message::SimulateFailed { zone: zone.clone() },
        (_, Some(zone)) => Message::SimulateRecovered { zone: zone.clone() },
        _ if options.delete => Message::SimulateDeleted,
        _ => Message::SimulateDone { nodes, ready },
    };
    context.ui.step(&message);
    Ok(0)
}

fn request(options: &Simulate) -> Result<Request, Failure> {
    if options.delete {
        return Ok(Request::SimulateDelete);
    }
    let zone = |zone: &String, verb| Ok(Request::SimulateZone { zone: zone.clone(), verb });
    match (&options.fail_zone, &options.recover_zone, options.nodes) {
        (Some(name), ..) => zone(name, "fail"),
        (_, Some(name), _) => zone(name, "recover"),
        (.., Some(nodes)) => {
            let profile = options.profile_file.as_deref().map(read).transpose()?.unwrap_or_default();
            Ok(Request::Simulate(json!({
                "nodes": nodes, "zones": options.zones, "podsPerNode": options.pods_per_node,
                "taint": !options.no_taint, "profile": profile,
            })))
        }
        _ => Ok(Request::Simulation),
    }
}

/// A profile of YAML or JSON, which is YAML as well.
fn read(file: &Path) -> Result<Profile, Failure> {
    let wrong =
        |kind, problem: String| Failure::new(kind, format!("--profile-file={}: {problem}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong(Kind::NotFound, error.to_string()),
        _ => wrong(Kind::Usage, error.to_string()),
    })?;
    parse(&text).map_err(|problem| wrong(Kind::Usage, problem))
}

fn parse(text: &str) -> Result<Profile, String> {
    let value: Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    if value.is_null() {
        return Ok(Profile::default());
    }
    let profile: Profile = serde_json::from_value(value).map_err(|error| error.to_string())?;
    profile.check().map_err(|(field, problem)| format!("{field}: {problem}"))?;
    Ok(profile)
}

async fn ask(context: &mut Context, request: Request) -> Result<Value, Failure> {
    let socket = context.profile.socket();
    let ui = &mut context.ui;
    control::ask(&socket, &request, |step| {
        let message = match serde_json::from_value(step) {
            Ok(Progress::Making { done, total }) => Message::SimulateMaking { done, total },
            Ok(Progress::Removing { done, total }) => Message::SimulateRemoving { done, total },
            Ok(Progress::Telling { done, total }) => Message::SimulateTelling { done, total },
            Ok(Progress::Waiting { left }) => Message::SimulateWaiting { left },
            Err(_) => return,
        };
        ui.step(&message);
    })
    .await
}

fn show(context: &Context, status: Value) -> Outcome {
    if context.ui.format() == Format::Json {
        context.ui.value(&status);
        return Ok(0);
    }
    let status: Status = serde_json::from_value(status).map_err(anyhow::Error::from)?;
    let line = |name: &str, nodes: usize, ready: usize, failed: &str, pods: usize| {
        context.ui.plain(&format!("{name:<24} {nodes:>7} {ready:>7} {failed:>7} {pods:>9}"));
    };
    context.ui.plain(&format!("{:<24} {:>7} {:>7} {:>7} {:>9}", "ZONE", "NODES", "READY", "FAILED", "PODS"));
    for zone in &status.zones {
        let name = if zone.name.is_empty() { "-" } else { &zone.name };
        line(name, zone.nodes, zone.ready, &zone.failed.to_string(), zone.pods);
    }
    let failed: usize = status.zones.iter().map(|zone| zone.failed).sum();
    line("TOTAL", status.nodes, status.ready, &failed.to_string(), status.pods);
    Ok(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn profiles_are_yaml_or_json() {
        let yaml = parse("node:\n  capacity: {cpu: \"8\"}\npods:\n  runSeconds: 5\n").unwrap();
        assert_eq!((yaml.node.capacity["cpu"].as_str(), yaml.pods.run_seconds), ("8", Some(5)));
        assert_eq!(parse(r#"{"pods": {"failPercent": 3}}"#).unwrap().pods.fail_percent, 3);
        assert_eq!(parse("").unwrap(), Profile::default());
        for (text, words) in [
            ("pods: {runSecond: 5}", "unknown field `runSecond`"),
            ("node: {capacity: {cpu: x}}", "profile.node.capacity.cpu: \"x\" is no quantity"),
            ("[", "flow node"),
        ] {
            assert!(parse(text).unwrap_err().contains(words), "{text}: {:?}", parse(text));
        }
    }
}
