//! `sampan kubectl -- …`: the kubectl on the PATH, pointed at this cluster.

use std::os::unix::process::CommandExt;

use super::{Context, Outcome};
use crate::failure::{Failure, Kind};
use crate::rights;

/// Becomes kubectl; returns only if it cannot.
pub fn run(context: &Context, arguments: Vec<String>) -> Outcome {
    let Some(kubectl) = rights::find_tool("kubectl") else {
        return Err(Failure::new(Kind::HostMissing, "there is no kubectl on the PATH"));
    };
    let Some((path, name)) = context.profile.settings()?.kubeconfig else {
        return Err(Failure::new(
            Kind::NotRunning,
            format!("there is no cluster {:?}", context.profile.name),
        ));
    };
    let mut command = std::process::Command::new(kubectl);
    let error = command.arg("--kubeconfig").arg(path).arg("--context").arg(name).args(arguments).exec();
    Err(Failure::new(Kind::HostMissing, format!("cannot run kubectl: {error}")))
}
